"""Which units are worth decoding: limits on their quality, areas, and how many each criterion leaves.

Units of recordings and of tables of responses go through the same criteria, so that their numbers compare.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from spikevaediff.records import UnitTable


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the quality of a unit, as params.yaml has them in `responses`.

    isi_violations_max, amplitude_cutoff_max, presence_ratio_min : float or None; inclusive, and NaN meets none. None is
        no limit. allensdk applies 0.5, 0.1 and 0.95 (its documents say 0.9 for the last).
    """

    isi_violations_max: float | None
    amplitude_cutoff_max: float | None
    presence_ratio_min: float | None

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The limits among other options.

        Raises
        ------
        KeyError, ValueError
            One is missing; or is neither a number nor None.
        """
        for name in LIMITS:
            value = options[name]
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value != value):
                raise ValueError(f"params.yaml: responses.{name} is {value!r}, expected a number, or null for no limit")
        return cls(**{name: options[name] for name in LIMITS})


LIMITS = tuple(field.name for field in fields(Limits))


_LARGEST = {"isi_violations": np.inf, "amplitude_cutoff": 1.0, "presence_ratio": 1.5}


def impossible(units: UnitTable) -> str | None:
    """What is wrong with a metric that decides which units are used, None where nothing is.

    A percentage passes any lower limit that is meant for a share, and -1 for an unknown value any upper one.
    """
    for name, largest in _LARGEST.items():
        values = getattr(units, name)
        wrong = np.flatnonzero((values < 0) | (values > largest))
        if len(wrong):
            limit = f"to {largest:g}, a share, not a percentage" if np.isfinite(largest) else "or more"
            return (
                f"{name} is {values[wrong[0]]:g} for unit {units.unit_id[wrong[0]]} ({len(wrong)} such units), "
                f"expected 0 {limit}, or NaN where it is not known"
            )
    return None


def met(units: UnitTable, limits: Limits) -> dict[str, np.ndarray]:
    """For each limit by name which units meet it, bool (n_units,); without those that are None."""
    found = {}
    if limits.isi_violations_max is not None:
        found[f"isi_violations <= {limits.isi_violations_max:g}"] = units.isi_violations <= limits.isi_violations_max
    if limits.amplitude_cutoff_max is not None:
        within = units.amplitude_cutoff <= limits.amplitude_cutoff_max
        found[f"amplitude_cutoff <= {limits.amplitude_cutoff_max:g}"] = within
    if limits.presence_ratio_min is not None:
        found[f"presence_ratio >= {limits.presence_ratio_min:g}"] = units.presence_ratio >= limits.presence_ratio_min
    return found


def left_after(units: UnitTable, criteria: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """How many units of each area are left after each criterion, applied one after the other.

    Parameters
    ----------
    units : UnitTable
    criteria : mapping of name to bool, (n_units,)

    Returns
    -------
    dict
        area -> {"recorded": n, criterion: n left, ...}; units outside the brain are counted under "".
    """
    table = {}
    for area in np.unique(units.area):
        left = units.area == area
        table[str(area)] = {"recorded": int(left.sum())}
        for name, passes in criteria.items():
            left = left & passes
            table[str(area)][name] = int(left.sum())
    return table


def choose(
    path: str | Path, units: UnitTable, criteria: Mapping[str, np.ndarray], *, areas: Sequence[str], min_units: int
) -> np.ndarray:
    """Positions of the units that meet all criteria and lie in one of the areas.

    Parameters
    ----------
    path : str or Path
        The session, named in errors.
    units : UnitTable
    criteria : mapping of name to bool, (n_units,)
    areas : sequence of str
        Acronyms without sub-structure: LGd, not LGd-sh.
    min_units : int
        Fewest units of a session worth decoding.

    Returns
    -------
    int64, (n_chosen,), ascending

    Raises
    ------
    ValueError
        No area is asked for, or one without such units; fewer than min_units are left. The message names the file and
        says how many units each criterion refuses and what is left in each area.
    """
    areas = list(areas)
    if not areas:
        raise ValueError("areas is empty: name at least one, VISp for primary visual cortex")
    passing = np.logical_and.reduce(list(criteria.values()))
    present = ", ".join(
        f"{area} {np.sum(passing & (units.area == area))}/{np.sum(units.area == area)}"
        for area in np.unique(units.area)
        if area
    )
    failed = ", ".join(f"{np.sum(~passes)} not {name}" for name, passes in criteria.items())
    if not passing.any():
        raise ValueError(f"{path}: none of {len(units)} units passes ({failed}). Loosen the limits")
    without = [area for area in areas if not np.any(passing & (units.area == area))]
    if without:
        raise ValueError(
            f"{path}: no unit in {', '.join(without)}. Units that pass / were recorded, by area: {present}. "
            f"Choose areas among these, without sub-structure"
        )
    chosen = np.flatnonzero(passing & np.isin(units.area, areas))
    if len(chosen) < min_units:
        raise ValueError(
            f"{path}: {len(chosen)} units pass in {', '.join(areas)}, fewer than min_units = {min_units} "
            f"(of {len(units)} recorded: {failed}; by area, passing / recorded: {present}). "
            f"Leave the session out, add areas or loosen the limits"
        )
    return chosen
