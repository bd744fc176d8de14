"""Arrays whose axes have names and ids, so that results are joined by id and never by position."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from spikevaediff.records import few


@dataclass(frozen=True, eq=False)
class Named:
    """An array with a name for every axis and an id for every place along it.

    values : array of any dtype, one axis for each of `axes`.
    axes : dict of name to ids, (length,), unique; in the order of the axes of `values`. image_id and unit, say.
    labels : dict of name to (axis, values); what else is known along an axis, such as the area of every unit.

    NumPy functions take it as an array: np.mean(named, axis=0).
    """

    values: np.ndarray
    axes: Mapping[str, np.ndarray]
    labels: Mapping[str, tuple[str, np.ndarray]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = tuple(len(ids) for ids in self.axes.values())
        if self.values.shape != lengths:
            raise ValueError(f"values have the shape {self.values.shape}, the axes {self.sizes}")
        for name, ids in self.axes.items():
            found, counts = np.unique(ids, return_counts=True)
            if (counts > 1).any():
                raise ValueError(f"ids along {name} must be unique, but {few(found[counts > 1])} occur more than once")
        for name, (axis, values) in self.labels.items():
            if len(values) != len(self._ids(axis)):
                raise ValueError(f"{name} has {len(values)} values, the axis {axis} has {len(self.axes[axis])}")

    @property
    def sizes(self) -> dict[str, int]:
        """Length of every axis, by name."""
        return {name: len(ids) for name, ids in self.axes.items()}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of `values`."""
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        axes = ", ".join(f"{name}: {length}" for name, length in self.sizes.items())
        known = f"; labels {', '.join(self.labels)}" if self.labels else ""
        return f"Named {self.values.dtype} ({axes}){known}"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype=dtype, copy=copy)

    def sel(self, **wanted: Any) -> Self:
        """Some ids of some axes, in the order given; an axis with one id that is not a list is dropped.

        Parameters
        ----------
        **wanted : axis to an id or a sequence of ids
            sel(image_id=[17, 3]), sel(image_id=17, metric="pixcorr").

        Raises
        ------
        KeyError
            There is no such axis, or an id is not along it; the message names both.
        """
        values, axes, labels = self.values, dict(self.axes), dict(self.labels)
        for name, ids in wanted.items():
            present, chosen = self._ids(name), np.atleast_1d(np.asarray(ids))
            mask = chosen.dtype == bool and present.dtype != bool  # True would be the id 1
            if isinstance(ids, slice) or chosen.ndim > 1 or mask:
                kind = (
                    "a mask" if mask else "a slice" if isinstance(ids, slice) else f"an array of shape {chosen.shape}"
                )
                raise KeyError(f"{name} is asked for by {kind}, expected an id or a row of ids")
            place = {one: row for row, one in enumerate(present.tolist())}
            if missing := [one for one in chosen.tolist() if one not in place]:
                numbers = present.dtype.kind in "iu" and chosen.dtype.kind in "iu"  # of which there are hundreds
                there = "" if numbers else f"; there are {few(present.tolist())}"
                asked = f"({len(missing)} of {len(chosen)} asked for)"
                raise KeyError(f"{name} lacks {few([*map(repr, missing)])} {asked}{there}")
            rows = np.array([place[one] for one in chosen.tolist()], np.int64)
            position = list(axes).index(name)
            if np.ndim(ids):
                values, axes[name] = np.take(values, rows, axis=position), present[rows]
                labels = {k: (a, v[rows] if a == name else v) for k, (a, v) in labels.items()}
            else:
                values = np.take(values, int(rows[0]), axis=position)
                del axes[name]
                labels = {k: (a, v) for k, (a, v) in labels.items() if a != name}
        return replace(self, values=values, axes=axes, labels=labels)

    def where(self, **wanted: Any) -> Self:
        """The places of an axis at which a label has one of some values: where(area=["VISp", "VISl"]).

        Raises
        ------
        KeyError
            There is no such label, or nothing along the axis has one of the values; the message lists those there are.
        """
        found = self
        for name, values in wanted.items():
            if name not in found.labels:
                raise KeyError(f"there is no label {name}; there are {', '.join(found.labels) or 'none'}")
            axis, present = found.labels[name]
            asked = np.atleast_1d(np.asarray(values))
            if len(absent := asked[~np.isin(asked, present)]) or not len(asked):
                there = few(np.unique(present).tolist())
                raise KeyError(f"no {axis} has the {name} {few(absent) or values}; there are {there}")
            found = found.sel(**{axis: found.axes[axis][np.isin(present, asked)]})
        return found

    def _ids(self, axis: str) -> np.ndarray:
        if axis not in self.axes:
            raise KeyError(f"there is no axis {axis}; there are {', '.join(self.axes)}")
        return self.axes[axis]


def join(*arrays: Named, axis: str = "image_id") -> tuple[Named, ...]:
    """The arrays with the ids of one axis that all of them have, in sorted order.

    Parameters
    ----------
    *arrays : Named
    axis : str

    Raises
    ------
    KeyError, ValueError
        An array has no such axis; they have no id in common.
    """
    if not arrays:
        return ()
    if other := [type(one).__name__ for one in arrays if not isinstance(one, Named)]:
        raise ValueError(f"arrays are joined by the names of their axes, which {few(other)} does not have: give Named")
    common = arrays[0]._ids(axis)
    for one in arrays[1:]:
        common = np.intersect1d(common, one._ids(axis))
    if not len(common):
        raise ValueError(f"the arrays have no {axis} in common")
    return tuple(one.sel(**{axis: np.sort(common)}) for one in arrays)
