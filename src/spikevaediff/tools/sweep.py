"""Many experiments at once: `spikevaediff sweep` queues a set of sweeps.yaml, and DVC runs them side by side.

cluster.py runs the same sets on many machines.
"""

import importlib
import itertools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from spikevaediff.parameters.of_space import COMMON
from spikevaediff.tools.shell import command, dvc, flags, folder_of, is_shallow

EACH = "each"  # in place of a list of values: every element of the list in params.yaml by itself
_NO_TEXT = {"true", "false", "null", "nan", "inf"}
_WINDOW = ("responses.start_s", "responses.duration_s", "responses.n_bins")


def load(path: Path) -> dict[str, dict[str, Any]]:
    """The sets of experiments of sweeps.yaml: name -> path in params.yaml -> values, or EACH.

    Raises
    ------
    FileNotFoundError, ValueError, YAMLError
        The file is absent, of another form, or not YAML.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Run this at the top of a checkout of SpikeVAEDiff")
    content = YAML(typ="safe").load(path) or {}
    if not isinstance(content, dict):
        raise ValueError(f"{path} must be names of sets, each with paths of params.yaml; got {content!r}")
    for name, grid in content.items():
        wanted = (
            isinstance(grid, dict)
            and grid
            and all(values == EACH or (isinstance(values, list) and values) for values in grid.values())
        )
        if not wanted:
            raise ValueError(f"{path}: {name} must be paths of params.yaml, each with a list of values; got {grid!r}")
    return content


def with_values(grid: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, list[Any]]:
    """A grid in which EACH is replaced by the elements of the list in params.yaml, each in a list of its own."""
    return {path: _each(params, path) if values == EACH else list(values) for path, values in grid.items()}


def refuse(name: str, grid: Mapping[str, Any], params: Mapping[str, Any], root: Path) -> None:
    """Refuse a sweep whose experiments would be one and the same, or all but one refused by a stage.

    Parameters
    ----------
    name : str
        Of the sweep.
    grid : mapping
        From `load`.
    params : mapping
        params.yaml.
    root : Path
        Top of the checkout.

    Raises
    ------
    ValueError
        A list of which each element makes an experiment has fewer than two; or windows are varied of tables, which were
        counted in theirs.
    """
    for path in [path for path, values in grid.items() if values == EACH]:
        if len(_each(params, path)) < 2:
            raise ValueError(
                f"sweep {name}: {path} of params.yaml is {_text(_at(params, path))}, expected a list of two or more, "
                f"each of which makes an experiment"
            )
    if varied := [path for path in _WINDOW if path in grid]:
        _refuse_windows(name, varied, params, root)


def _refuse_windows(name: str, varied: Sequence[str], params: Mapping[str, Any], root: Path) -> None:
    from spikevaediff.parameters import of_folder  # which imports what reads recordings
    from spikevaediff.records import few

    dataset = params["dataset"]
    options = params["datasets"][dataset]
    module, said = options.get("module", dataset), ""
    if module == "plain":
        counted = of_folder.windows_s(root / "vendor/data" / dataset, options["window_s"])
        said = (
            f" ({few([f'{start:g} to {stop:g} s' for start, stop in next(iter(counted.values()))])})" if counted else ""
        )
    publishers = getattr(importlib.import_module(f"spikevaediff.datasets.{module}"), "COUNTED", False)
    if said or publishers:
        raise ValueError(
            f"sweep {name}: responses of {dataset} are tables, counted in fixed windows{said}, so that "
            f"{', '.join(varied)} cannot be varied. Other windows need spike times"
        )


def _each(params: Mapping[str, Any], path: str) -> list[Any]:
    found = _at(params, path)
    return [[value] for value in found] if isinstance(found, list) else []


def _at(params: Mapping[str, Any], path: str) -> Any:
    found: Any = params
    for key in path.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def experiments(name: str, grid: Mapping[str, Sequence[Any]], params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every combination of a grid, as the name of an experiment and its `-S` settings.

    Raises
    ------
    KeyError
        A path is not in params.yaml; DVC would add it as a new parameter that nothing reads.
    """
    sign = {}
    for path in grid:
        section, _, rest = path.removeprefix("regress.").partition(".")
        sign[path] = ""
        if not _has(params, path):
            # What all feature spaces have in common may be said of one: `++` adds it there.
            if not (_has(params, f"regress.{section}") and _has(params, f"regress.{COMMON}.{rest}")):
                raise KeyError(f"sweep {name}: params.yaml has no {path}")
            sign[path] = "++"
    combinations = list(itertools.product(*grid.values()))
    width = len(str(len(combinations) - 1))
    return {
        f"{name}-{i:0{width}d}": [
            f"{sign[path]}{path}={_text(value)}" for path, value in zip(grid, values, strict=True)
        ]
        for i, values in enumerate(combinations)
    }


def _has(params: Mapping[str, Any], path: str) -> bool:
    """Whether nested parameters have a path."""
    found: Any = params
    for key in path.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def _text(value: Any) -> str:
    """A value as `dvc exp run -S` reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_text(one)}' for key, one in value.items())}}}"
    if not isinstance(value, str):
        return json.dumps(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value.lower() not in _NO_TEXT:
        return value
    # Bare, x,y would be two experiments and true no text. Backslashes count before a quote only.
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    return "'" + re.sub(r"(\\+)$", r"\1\1", escaped) + "'"


def run_here(root: Path, wanted: Mapping[str, Sequence[str]], *, jobs: int) -> Iterator[str]:
    """Queue the experiments, one after the other, and start DVC's workers; `dvc queue status` follows them.

    Parameters
    ----------
    root : Path
        Top of the checkout.
    wanted : mapping
        Names and settings, from `experiments`.
    jobs : int
        Experiments that run at once.

    Yields
    ------
    name : str
        Every experiment when it is queued.

    Raises
    ------
    ValueError
        `jobs` is less than 1; the clone is shallow; code is not in Git; some are there already; or DVC refuses one,
        and what was queued before it stays queued.
    """
    if jobs < 1:
        raise ValueError(f"--jobs is {jobs}: with fewer than 1 at a time nothing would run")
    if is_shallow(root):
        raise ValueError(
            f"{root} is a shallow clone, in which DVC would compute queued experiments and keep nothing of them. Fetch "
            "the history first: git fetch --unshallow"
        )
    code = command(root, "git", "ls-files", "-z", "--others", "--exclude-standard", "--", "src", "stages", "vendor")
    if unknown := [name for name in code.split("\0") if name]:
        some = ", ".join(unknown[:3]) + (", ..." if len(unknown) > 3 else "")
        raise ValueError(
            f"Git does not know {some}, so that queued experiments would run without it: git add {shlex.join(unknown)}"
        )
    refs = command(root, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/{folder_of(root)}")
    made = {ref.split("/")[-1] for ref in refs.splitlines()}
    if again := " ".join(name for name in wanted if name in made):
        # Other settings may hide behind the same names, and their results would be lost.
        raise ValueError(
            f"this commit has these experiments already: {again}. To run them anew: dvc exp remove {again}"
        )
    for name, settings in wanted.items():
        dvc(root, "exp", "run", "--queue", "--name", name, *flags(settings))
        yield name
    dvc(root, "queue", "start", "--jobs", str(jobs))
