"""What dvc.yaml declares for one stage, with the values of params.yaml: as `dvc.api.params_show(stages=...)` gives it.

That function first loads DVC, every stage and every dependency, which costs a processor second at the start of each
stage. Here DVC's own resolver fills in the templates of this stage's parameters and reads nothing else.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_FILE = "params.yaml"
_READ = ("params", "vars", "wdir")  # the keys of a stage that its parameters depend on
_ITERATED = ("foreach", "matrix")
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
    from dvc.exceptions import DvcException
    from dvc.parsing import DataResolver
    from dvc.utils.serialize import load_path

    try:
        written = load_path(os.fspath(root / "dvc.yaml"), _FILES)
        group = stage.partition("@")[0]
        definitions = {name: _only_parameters(value) for name, value in written["stages"].items() if name == group}
        reduced = {"vars": written.get("vars", []), "stages": definitions}
        repo: Any = SimpleNamespace(fs=_FILES, config={})
        found = DataResolver(repo, os.fspath(root), reduced).resolve_one(stage)[stage]
        values = load_path(os.fspath(root / found.get("wdir", "") / _FILE), _FILES)
    except DvcException as error:
        raise ValueError(f"cannot read the parameters of {stage}: {error}") from error
    paths = found.get("params", [])
    if others := [path for path in paths if not isinstance(path, str)]:
        raise ValueError(f"dvc.yaml: {stage} declares {others[0]}, and a stage can read those of {_FILE} alone")
    return _at(values, paths)


def _only_parameters(definition: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a stage's definition that is needed; the rest takes longer to fill in."""
    if "do" in definition:
        iterated = {key: definition[key] for key in _ITERATED if key in definition}
        return iterated | {"do": _only_parameters(definition["do"])}
    return {key: definition[key] for key in (*_READ, "matrix") if key in definition}


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
