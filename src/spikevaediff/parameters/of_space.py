"""The regression of one feature space: what all spaces have in common, and what differs in this one."""

from collections.abc import Mapping
from typing import Any

COMMON = "common"


def of_space(regress: Mapping[str, Any], space: str) -> dict[str, Any]:
    """Section `regress.common` of params.yaml with the values that `regress.<space>` has of its own.

    Parameters
    ----------
    regress : mapping
        Section `regress`, as a stage declares it: `common` and the space.
    space : str
        vdvae, text or vision.

    Returns
    -------
    dict
        Sections in it (`kernel_ridge`, `banded`) are joined key by key.
    """
    return _joined(regress[COMMON], regress[space])


def spaces(regress: Mapping[str, Any]) -> list[str]:
    """The feature spaces of section `regress`, in its order."""
    return [name for name in regress if name != COMMON]


def _joined(common: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: value for name, value in own.items() if isinstance(value, Mapping) and name in common}
    return {**common, **own, **{name: _joined(common[name], value) for name, value in both.items()}}
