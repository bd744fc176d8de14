"""The code that a stage runs through: what it imports of this project, directly or not, with the hash of every file.

The first stage writes it to artifacts/code, one small file per stage, and the stage depends on that file. An edit of a
module reruns the stages that reach it and no other, and nobody keeps lists of modules by hand. What is chosen by name
cannot be read from imports: dvc.yaml lists such modules and folders as dependencies, and what they import follows here.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from spikevaediff.files.atomic import replacing
from spikevaediff.parameters.declared import of_all_stages

FOLDER = "artifacts/code"

# Unable to change a number beyond rounding: how files are renamed, how parameters are read, how bytes of a known hash
# are fetched, what lets a library be imported, what a machine has, and how many threads work. Its imports are left out.
PLUMBING = frozenset(
    {
        "stages/__init__.py",
        "src/spikevaediff/__init__.py",
        "src/spikevaediff/files/asset_table.py",
        "src/spikevaediff/files/assets.py",
        "src/spikevaediff/files/atomic.py",
        "src/spikevaediff/files/checksums.py",
        "src/spikevaediff/files/download.py",
        "src/spikevaediff/files/file_part.py",
        "src/spikevaediff/files/file_structure.py",
        "src/spikevaediff/files/left_out.py",
        "src/spikevaediff/files/one_request.py",
        "src/spikevaediff/files/pip_archive.py",
        "src/spikevaediff/files/weights_used.py",
        "src/spikevaediff/networks/torchvision_ops.py",
        "src/spikevaediff/parameters/check.py",
        "src/spikevaediff/parameters/declared.py",
        "src/spikevaediff/parameters/of_space.py",
        "src/spikevaediff/parameters/options.py",
        "src/spikevaediff/parameters/own.py",
        "src/spikevaediff/parameters/schema.py",
        "vendor/loading/machine.py",
    }
)
# Which bytes are fetched: what fetches any of them depends on the table of their hashes. A stage asks by these names.
_ASSETS, _TABLE = "src/spikevaediff/files/assets.py", "src/spikevaediff/files/assets.toml"
_ASKED = {"weights_path", "with_weights", "decoder"}
# Where statements hold statements; the many expressions in them import nothing.
_BLOCKS = ("body", "orelse", "finalbody", "handlers", "cases")


def write_code(root: Path) -> None:
    """The code of every stage that depends on a file of artifacts/code, where stages look for it.

    A line per module, sorted: its sha256 and its path.

    Parameters
    ----------
    root : Path
        The checkout. artifacts/code is replaced.

    Raises
    ------
    ValueError
        A module is no Python, or dvc.yaml cannot be read.
    """
    with replacing(root / FOLDER, folder=True) as temporary:
        for name, modules in code_of_stages(root).items():
            lines = [f"{hashlib.sha256((root / path).read_bytes()).hexdigest()}  {path}\n" for path in modules]
            (temporary / name).write_text("".join(lines), encoding="utf-8")


def code_of_stages(root: Path) -> dict[str, list[str]]:
    """The modules that stages reach, by the name of the file of artifacts/code on which these depend.

    Parameters
    ----------
    root : Path
        The checkout.

    Returns
    -------
    dict of str to list of str
        Paths below the checkout, sorted. Stages that depend on the same file share it: it has the modules of all.

    Raises
    ------
    ValueError
        As in `write_code`.
    """
    found: dict[str, set[str]] = {}
    for stage in of_all_stages(root, ("cmd", "deps")).values():
        deps = stage.get("deps", [])
        commands = [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]
        roots = {path for dep in deps for path in _modules_of(root / dep)} | {
            root / "stages" / f"{_script(command)}.py" for command in commands
        }
        for name in [dep.removeprefix(f"{FOLDER}/") for dep in deps if dep.startswith(f"{FOLDER}/")]:
            found.setdefault(name, set()).update(reached(roots, root))
    return {name: sorted(modules) for name, modules in found.items()}


def reached(roots: Iterable[Path], root: Path) -> set[str]:
    """Some modules of a checkout and all of its modules that they import, directly or not.

    Imports within functions count, and those for type checkers do not. Plumbing is left out, and so are the
    `__init__.py` that hold words alone.

    Parameters
    ----------
    roots : iterable of Path
        Files of Python.
    root : Path
        The checkout, in which packages lie in src/, vendor/ and at the top.

    Returns
    -------
    set of str
        Paths below the checkout.

    Raises
    ------
    ValueError
        A module is no Python; the message names it.
    """
    found: set[Path] = set()
    todo = [*roots]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _imported(path, root)
    paths = {path.relative_to(root).as_posix() for path in found}
    if _ASSETS in paths or any(_asks_for_weights(path) for path in found if path.parent == root / "stages"):
        paths.add(_TABLE)
    return {path for path in paths - PLUMBING if path == _TABLE or not _has_words_alone(root / path)}


def _script(command: str) -> str:
    """The stage that a command of dvc.yaml runs: python -m stages.NAME, or stages.part PART NAME."""
    words = command.split()
    name = words[words.index("-m") + 1].removeprefix("stages.")
    return words[words.index("-m") + 3] if name == "part" else name


def _modules_of(path: Path) -> list[Path]:
    """Those that a dependency stands for: itself, or all in a folder."""
    return sorted(path.rglob("*.py")) if path.is_dir() else [path] * (path.suffix == ".py" and path.is_file())


@cache
def _tree(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        raise ValueError(f"{path} is no Python{where}: {error}") from error


@cache
def _imported(path: Path, root: Path) -> tuple[Path, ...]:
    """The files of the checkout that a module names in its imports, and the packages that these lie in."""
    if path.relative_to(root).as_posix() in PLUMBING:
        return ()
    return tuple(file for name in _names(_tree(path), path, root) for file in _files_of(name, root))


def _names(tree: ast.Module, path: Path, root: Path) -> Iterator[str]:
    """Every name that may be a module's, absolute."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            todo += node.orelse  # the rest is never run
            continue
        todo += [inner for block in _BLOCKS for inner in getattr(node, block, ())]
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            inside = path.relative_to(root).parts[:-1]
            inside = inside[1:] if inside[0] in ("src", "vendor") else inside
            above = inside[: len(inside) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@cache
def _files_of(name: str, root: Path) -> tuple[Path, ...]:
    """A module of the checkout and the packages above it; nothing for other people's."""
    parts = name.split(".")
    for place in (root / "src", root / "vendor", root):
        if (place / parts[0] / "__init__.py").is_file():
            packages = [place.joinpath(*parts[:depth]) / "__init__.py" for depth in range(1, len(parts) + 1)]
            module = place.joinpath(*parts).with_suffix(".py")
            return tuple(path for path in [*packages, module] if path.is_file())
    return ()


@cache
def _asks_for_weights(path: Path) -> bool:
    asked = [node for node in ast.walk(_tree(path)) if isinstance(node, ast.Attribute) and node.attr in _ASKED]
    return any(isinstance(node.value, ast.Name) and node.value.id == "stages" for node in asked)


@cache
def _has_words_alone(path: Path) -> bool:
    return path.name == "__init__.py" and all(isinstance(node, ast.Expr) for node in _tree(path).body)
