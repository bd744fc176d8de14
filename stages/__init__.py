"""One thin script a stage, run as `python -m stages.NAME` from the top of the checkout.

The checkout's own src/ and vendor/ come first on the path: an installed copy of the package would make a queued
experiment run the code of another working tree.
"""

import importlib.util
import inspect
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType, NoneType, TracebackType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

ROOT = Path(__file__).resolve().parents[1]
# A DVC that was called by its path runs the stages with another Python, the first one of PATH.
if lacking := [name for name in ("dvc", "jax", "torch") if importlib.util.find_spec(name) is None]:
    sys.exit(
        f"{sys.executable} lacks {', '.join(lacking)}: it is not this project's Python, and stages run with the first "
        "`python` of PATH. Activate the environment (. .venv/bin/activate) and try again, or run: make repro"
    )
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "vendor")]

from spikevaediff import threads  # found by the path above

threads.set_once()
for _stream in (sys.stdout, sys.stderr):
    if isinstance(_stream, io.TextIOWrapper):
        _stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail

_STARTED = time.monotonic()


def refuse_experiment_that_would_be_lost(root: Path) -> None:
    """End a run in a folder of DVC (`dvc exp run --temp`, a queue) whose experiment DVC could not keep.

    In a shallow clone it computes, cannot walk the commit's history, and drops the experiment without a word.

    Raises
    ------
    SystemExit
        `root` is below .dvc/tmp/exps of a shallow clone.
    """
    parts = root.parts
    for depth in range(len(parts) - 3, 0, -1):
        if parts[depth : depth + 3] == (".dvc", "tmp", "exps"):
            clone = Path(*parts[:depth])
            asked = ["git", "rev-parse", "--is-shallow-repository"]
            if subprocess.run(asked, cwd=clone, capture_output=True, check=False).stdout.strip() == b"true":
                sys.exit(
                    f"{clone} is a shallow clone, in which DVC would compute this experiment and keep nothing of it. "
                    "Fetch the history first: git fetch --unshallow; or run it in place: dvc exp run without --temp"
                )


refuse_experiment_that_would_be_lost(ROOT)


def declared(stage: str) -> dict[str, Any]:
    """The parameters that dvc.yaml declares for a stage, and no others.

    A number that the stage uses but does not declare is a KeyError from `section` instead of a stale result later.

    Raises
    ------
    ValueError
        dvc.yaml or params.yaml cannot be read.
    """
    import dvc.api  # half a second, which the tests that import a stage need not wait for
    from dvc.exceptions import DvcException

    try:
        return dvc.api.params_show(stages=stage)
    except DvcException as error:
        raise ValueError(f"cannot read the parameters of {stage}: {error}") from error


def section(params: dict[str, Any], *names: str) -> Any:
    """params[names[0]][names[1]]... of what a stage declares.

    Raises
    ------
    KeyError
        A name is not there; the message lists those of params.yaml, or says that dvc.yaml does not declare it.
    """
    found: Any = params
    try:
        for name in names:
            found = found[name]
    except (KeyError, TypeError):
        written: Any = _params_yaml()
        for depth, name in enumerate(names):
            if not isinstance(written, dict) or name not in written:
                path, above = ".".join(names[: depth + 1]), ".".join(names[:depth]) or "it"
                there = ", ".join(map(str, written)) if isinstance(written, dict) else repr(written)
                raise KeyError(f"params.yaml has no {path}; {above} has {there}") from None
            written = written[name]
        raise KeyError(
            f"dvc.yaml does not declare the parameter {'.'.join(names)} for this stage; add it to its params"
        ) from None
    return found


def compute() -> dict[str, Any]:
    """How to compute: section `compute` of params.yaml, which no stage declares because results do not depend on it.

    Raises
    ------
    KeyError, ValueError
        The section lacks a key, has another one, or a value that is not possible.
    """
    options = dict(section(_params_yaml(), "compute"))
    if set(options) != {"device", "batch_size"}:
        raise ValueError(f"params.yaml: section compute has {', '.join(options)}; expected device and batch_size")
    size = options["batch_size"]
    if size != "auto" and (not isinstance(size, int) or size < 1):
        raise ValueError(f"params.yaml: compute.batch_size is {size!r}, expected 1 or more images, or auto")
    if options["device"] == "auto":
        import torch

        options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    return options


def _params_yaml() -> dict[str, Any]:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(ROOT / "params.yaml")


def module(folder: str, name: str) -> ModuleType:
    """spikevaediff.<folder>.<name>.

    Raises
    ------
    KeyError
        There is no such module; the message lists those that exist.
    """
    check_module(folder, name)
    return importlib.import_module(f"spikevaediff.{folder.replace('/', '.')}.{name}")


def check_module(folder: str, name: str) -> None:
    """Refuse the name of a module that is not there, without importing any; raises as `module`."""
    if name not in modules(folder):
        there = ", ".join(modules(folder))
        raise KeyError(f"params.yaml asks for {name!r}, which is not in src/spikevaediff/{folder}; there are {there}")


def modules(folder: str) -> list[str]:
    """The names that `module` knows in a folder, sorted."""
    return sorted(path.stem for path in (ROOT / "src" / "spikevaediff" / folder).glob("[!_]*.py"))


def check_options(
    function: Callable[..., object],
    options: dict[str, Any],
    section: str,
    *,
    stage: Iterable[str] = (),
    passed: Iterable[str] = (),
) -> None:
    """Refuse a section of params.yaml whose keys are not the options of the function that it is for.

    Parameters
    ----------
    function : callable
        Its keyword-only parameters are the keys; those with a default may be left out.
    options : dict
        The section as it stands in params.yaml.
    section : str
        Its name, for the message.
    stage : iterable of str
        Keys of the section that the stage uses itself.
    passed : iterable of str
        Options of the function that come from elsewhere and not from this section.

    Raises
    ------
    ValueError
        Names the keys that are unknown or missing, and all that exist; or a value of another kind than the function's
        annotation, and what was expected.
    """
    if not isinstance(options, dict):
        raise ValueError(f"params.yaml: section {section} is {options!r}, expected keys with values")
    parameters = inspect.signature(function).parameters
    own = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY and name not in passed}
    known = set(own) | set(stage)
    needed = {name for name in known if own.get(name, inspect.Parameter.empty) is inspect.Parameter.empty}
    unknown, missing = sorted(set(options) - known), sorted(needed - set(options))
    if unknown or missing:
        problem = " and ".join(
            [f"has {', '.join(unknown)}, which does not exist"] * bool(unknown)
            + [f"lacks {', '.join(missing)}"] * bool(missing)
        )
        raise ValueError(f"params.yaml: section {section} {problem}. Its keys are {', '.join(sorted(known))}")
    hints = get_type_hints(function)
    for name in own:
        if name in options and not _is_a(options[name], hints.get(name, Any)):
            raise ValueError(f"params.yaml: {section}.{name} is {options[name]!r}, expected {_said(hints[name])}")


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", NoneType: "null"}


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value of params.yaml is what an annotation says; one that YAML cannot write (an array) says nothing."""
    if get_origin(kind) in (Union, UnionType):
        written = [one for one in get_args(kind) if _said(one)]
        return not written or any(_is_a(value, one) for one in written)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) in (list, Sequence):
        return isinstance(value, list) and all(_is_a(one, get_args(kind)[0]) for one in value)
    if kind not in _KINDS:
        return True
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _said(kind: Any) -> str:
    """An annotation in the words of a message; nothing where YAML cannot write such a value."""
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(filter(None, map(_said, get_args(kind))))
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if get_origin(kind) in (list, Sequence):
        one = _said(get_args(kind)[0])
        return f"a list, each {one}" if one else ""
    return _KINDS.get(kind, "")


def check_positive(section: str, **values: Any) -> None:
    """Refuse values of params.yaml, numbers or lists of them, that are not whole and 1 or more, before long work.

    Raises
    ------
    ValueError
        Names the section, the key and the value.
    """
    for name, value in values.items():
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, int) or isinstance(one, bool) or one < 1:
                raise ValueError(f"params.yaml: {section}.{name} is {value!r}, expected whole numbers, 1 or more")


def check_draws(section: str, *, seed: int, **n_draws: int) -> None:
    """Refuse a seed below 0, and fewer than 100 random draws: of ten no p-value is below 0.09, and an interval of one
    has no width.

    Raises
    ------
    ValueError
        Names the section, the key and the value.
    """
    if seed < 0:
        raise ValueError(f"params.yaml: {section}.seed is {seed}, expected 0 or more")
    for name, n in n_draws.items():
        if n < 100:
            raise ValueError(f"params.yaml: {section}.{name} is {n}, expected 100 or more; 10000 is usual")


def weights_path(value: str) -> Path:
    """A weight file: a path below vendor/, or the name of an asset, which is fetched when it is not there."""
    from spikevaediff.files import assets

    return assets.weights(value, ROOT)


def done(text: str) -> None:
    """One line at the end of a step: what was made, and the seconds since the stage began."""
    print(f"{text} [{time.monotonic() - _STARTED:.1f} s]", flush=True)


def _one_clear_error(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Bad input is reported in one line; SPIKEVAEDIFF_TRACEBACK=1, or a mistake of ours, shows where it happened."""
    from loading.machine import out_of_memory

    if (said := out_of_memory(error)) and not os.environ.get("SPIKEVAEDIFF_TRACEBACK"):
        print(f"MemoryError: {said}", file=sys.stderr)
    elif issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    elif issubclass(kind, ValueError | KeyError | OSError) and not os.environ.get("SPIKEVAEDIFF_TRACEBACK"):
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"{kind.__name__}: {text}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _one_clear_error
