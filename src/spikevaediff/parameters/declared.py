"""What dvc.yaml declares for one stage: parameters, as `dvc.api.params_show(stages=...)` gives them, and results.

DVC's index loads every stage and every dependency first, which costs a processor second at the start of each stage.
Here DVC's own resolver fills in the templates of one stage and reads nothing else.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_FILE = "params.yaml"
_RESULTS = ("outs", "metrics", "plots")
# What DVC asks of a file system here. Its own is imported with those of every cloud, which takes longer than the rest.
_FILES: Any = SimpleNamespace(
    exists=os.path.exists,
    isdir=os.path.isdir,
    join=os.path.join,
    normpath=os.path.normpath,
    relpath=os.path.relpath,
    suffix=lambda path: os.path.splitext(path)[1],
    open=open,
)


def of_stage(stage: str, root: Path) -> dict[str, Any]:
    """The parameters of a stage, nested as in params.yaml, and no others.

    Parameters
    ----------
    stage : str
        As dvc.yaml names it: `split`, `regress@text`.
    root : Path
        The folder with dvc.yaml and params.yaml.

    Returns
    -------
    dict
        A declared path that params.yaml does not have is left out.

    Raises
    ------
    ValueError
        There is no such stage, a file cannot be read or a template not be filled in, or the stage declares parameters
        of another file.
    FileNotFoundError
        A file is not there.
    """
    found = _resolved(stage, root, ("params",))
    paths = found.get("params", [])
    if others := [path for path in paths if not isinstance(path, str)]:
        raise ValueError(f"dvc.yaml: {stage} declares {others[0]}, and a stage can read those of {_FILE} alone")
    return _at(_loaded(root / found.get("wdir", "") / _FILE), paths)


def results_of(stage: str, root: Path) -> list[str]:
    """The paths of what a stage writes, as dvc.yaml names them.

    Parameters
    ----------
    stage, root
        As in `of_stage`.

    Raises
    ------
    ValueError, FileNotFoundError
        As in `of_stage`.
    """
    found = _resolved(stage, root, _RESULTS)
    outs = [out for key in _RESULTS for out in found.get(key, [])]
    return [out if isinstance(out, str) else next(iter(out)) for out in outs]


def of_all_stages(root: Path, keys: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Some keys of every stage, by its whole name, their templates filled in.

    Parameters
    ----------
    root : Path
        As in `of_stage`.
    keys : tuple of str
        `cmd`, `deps`, ...; a stage that has none of them is empty.

    Raises
    ------
    ValueError, FileNotFoundError
        As in `of_stage`.
    """
    from dvc.exceptions import DvcException

    try:
        found: dict[str, dict[str, Any]] = _resolver(root, keys).resolve()["stages"]
    except DvcException as error:
        raise ValueError(f"dvc.yaml: cannot read the stages: {error}") from error
    return found


def _resolved(stage: str, root: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """Some keys of a stage, their templates filled in."""
    from dvc.exceptions import DvcException

    try:
        found: dict[str, Any] = _resolver(root, keys, stage.partition("@")[0]).resolve_one(stage)[stage]
    except DvcException as error:
        raise ValueError(f"dvc.yaml: cannot read stage {stage}: {error}") from error
    return found


def _resolver(root: Path, keys: tuple[str, ...], group: str | None = None) -> Any:
    """DVC's own, of some keys of one group of stages or of all."""
    from dvc.exceptions import DvcException
    from dvc.parsing import DataResolver

    written = _loaded(root / "dvc.yaml")
    definitions = {name: _only(of, keys) for name, of in written["stages"].items() if group in (None, name)}
    reduced = {"vars": written.get("vars", []), "stages": definitions}
    repo: Any = SimpleNamespace(fs=_FILES, config={})
    try:
        return DataResolver(repo, os.fspath(root), reduced)
    except DvcException as error:
        raise ValueError(f"dvc.yaml: cannot read stage {group or 'start'}: {error}") from error


def _only(definition: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The part of a stage's definition that is needed; the rest takes longer to fill in."""
    kept = {key: value for key, value in definition.items() if key in (*keys, "foreach", "matrix", "vars", "wdir")}
    return kept | {"do": _only(definition["do"], keys)} if "do" in definition else kept


def _loaded(path: Path) -> dict[str, Any]:
    """A file as DVC reads it."""
    from dvc.exceptions import DvcException
    from dvc.utils.serialize import load_path

    try:
        found: dict[str, Any] = load_path(os.fspath(path), _FILES)
    except DvcException as error:
        raise ValueError(str(error)) from error
    return found


def _at(values: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The values at some paths, `a.b.c`, nested; paths may lie inside one another."""
    found: dict[str, Any] = {}
    for path in paths:
        *above, last = path.split(".")
        inner: Any = values
        target = found
        for name in above:
            inner = inner.get(name) if isinstance(inner, Mapping) else None
        if not isinstance(inner, Mapping) or last not in inner:
            continue
        for name in above:
            target = target.setdefault(name, {})
        target[last] = inner[last]
    return found
