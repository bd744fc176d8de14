"""Modules that params.yaml chooses by name, and sections that are the options of a function.

The folder is the registry, and the signature of a function says what its section may hold.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType, NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PACKAGE = Path(__file__).resolve().parents[1]


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
    return sorted(path.stem for path in (PACKAGE / folder).glob("[!_]*.py"))


def is_weights(key: str, value: object) -> bool:
    """Whether an option of a space names a file of weights; those of a module of your own may be anything."""
    return key.split("_")[-1] == "weights" and isinstance(value, str)


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


def asked(function: Callable[..., object], given: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some options that the function has, as keyword-only parameters."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: given[p.name] for p in parameters if p.kind is p.KEYWORD_ONLY and p.name in given}


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
