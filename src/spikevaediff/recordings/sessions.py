"""Sessions of either kind: a recording with spike times (`*.nwb`), or a table of responses counted elsewhere (`*.npz`).

A table is a records.Responses of all units of a session, as the acquisition of a data set leaves it. Its time windows
were chosen by whoever counted; those of params.yaml apply to recordings. Quality metrics that nobody measured are NaN
for all units of a table, and then limit nothing: its units were chosen by whoever made it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.recordings import nwb, spike_counts, unit_filter
from spikevaediff.recordings.pseudo_population import concatenate
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK, Responses, UnitTable, same_windows

Shown = Callable[[Path], nwb.Presentations]


def paths(folder: Path) -> list[Path]:
    """The sessions of a folder, sorted by name.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    found = sorted([*Path(folder).glob("*.nwb"), *Path(folder).glob("*.npz")])
    if not found:
        raise FileNotFoundError(f"{folder} holds no session (*.nwb or *.npz). Make one with: dvc repro acquire")
    return found


SHUFFLED = "shuffled"  # in place of a list of areas: the units of the others, their images exchanged


def areas_of(areas: Mapping[str, Sequence[str] | str], *populations: str) -> list[str]:
    """The areas of some populations of params.yaml, or of all, each once; a shuffled one has those of the others.

    Raises
    ------
    KeyError
        There is no such population.
    ValueError
        A population is neither a list of areas nor "shuffled", names an area twice, or shares one with the control;
        or nothing is left that is not shuffled.
    """
    if unknown := [name for name in populations if name not in areas]:
        raise KeyError(f"params.yaml has no areas.{unknown[0]}; areas has {', '.join(areas)}")
    for name, listed in areas.items():
        if listed != SHUFFLED and (isinstance(listed, str) or not all(isinstance(area, str) for area in listed)):
            raise ValueError(f"params.yaml: areas.{name} is {listed!r}, expected a list of areas, or {SHUFFLED}")
        if listed != SHUFFLED and (twice := [area for area in listed if listed.count(area) > 1]):
            raise ValueError(f"params.yaml: areas.{name} names {twice[0]} twice; name it once")
    control = areas.get("control", SHUFFLED)
    for name, listed in areas.items():
        if name != "control" and SHUFFLED not in (control, listed) and (both := [a for a in listed if a in control]):
            raise ValueError(
                f"params.yaml: {both[0]} is in areas.{name} and in areas.control, so the control would contain units "
                f"of the population that it is for. Remove it from one; or, if every area responds to images: "
                f"-S areas.control={SHUFFLED}"
            )
    if any(areas[name] == SHUFFLED for name in populations) or not populations:
        populations = tuple(areas)
    found = dict.fromkeys(area for name in populations if areas[name] != SHUFFLED for area in areas[name])
    if not found and all(areas[name] == SHUFFLED for name in populations):
        raise ValueError("params.yaml: all of areas is shuffled; name the areas of at least one population")
    return list(found)


def shuffled(responses: Responses) -> Responses:
    """The same responses, each image's presentations taken for those of another: a control that knows nothing.

    All that a decoder could make of the units' rates, their noise and the number of presentations is left as it is;
    blanks stay blanks. The exchange depends on the ids of the images alone, and no image keeps its own responses.
    """
    images = np.unique(responses.image_id[responses.image_id != BLANK])
    order = np.random.default_rng([0, len(images)]).permutation(len(images))
    other = np.empty_like(images)
    other[order] = images[np.roll(order, 1)]
    shown = responses.image_id != BLANK
    image_id = responses.image_id.copy()
    image_id[shown] = other[np.searchsorted(images, image_id[shown])]
    return replace(responses, image_id=image_id)


def without_presentations(responses: Responses) -> Responses:
    """The same units and windows, and no presentation: what a session without movies answers to them."""
    return replace(
        responses,
        counts=responses.counts[:0],
        image_id=responses.image_id[:0],
        presentation_id=responses.presentation_id[:0],
    )


def has_spike_times(path: Path) -> bool:
    """Whether a session can be counted in any window."""
    return Path(path).suffix == ".nwb"


def windows(
    paths: Sequence[Path], *, start_s: float | None, duration_s: float | None, n_bins: int | None
) -> np.ndarray:
    """The time windows in which responses are counted: n_bins equal ones from start_s to start_s + duration_s.

    Parameters
    ----------
    paths : sequence of Path
        All sessions of a data set.
    start_s, duration_s : float or None
        Seconds; the first one from onset.
    n_bins : int or None
        For tables all three are what these were counted in, or None.

    Returns
    -------
    float64, (n_windows, 2)
        Start and stop in seconds after onset.

    Raises
    ------
    ValueError
        A value is not possible; tables were counted in other windows, which the parameters would hide; or a window
        holds more of the responses to other images than of those to its own.
    """
    tables = [path for path in paths if not has_spike_times(path)]
    if len(tables) == len(paths) and (start_s, duration_s, n_bins) == (None, None, None):
        return Responses.load(tables[0]).window_s
    found = equal_windows(start_s=start_s, duration_s=duration_s, n_bins=n_bins)
    for path in tables:
        check_table(path, Responses.load(path).window_s, found)
    for path in paths:
        if has_spike_times(path):
            _check_duration(path, _number("duration_s", duration_s))
    return found


def equal_windows(*, start_s: float | None, duration_s: float | None, n_bins: int | None) -> np.ndarray:
    """The time windows that params.yaml asks for; parameters, result and errors as `windows`, without its sessions."""
    start, duration = _number("start_s", start_s), _number("duration_s", duration_s)
    if not isinstance(n_bins, int) or isinstance(n_bins, bool) or n_bins < 1:
        raise ValueError(f"params.yaml: responses.n_bins is {n_bins!r}, expected a whole number, 1 or more")
    if not duration > 0:
        raise ValueError(f"params.yaml: responses.duration_s is {duration_s!r}, expected seconds, more than 0")
    return _equal(start, start + duration, n_bins)


def check_table(path: Path, counted_s: np.ndarray, asked_s: np.ndarray) -> None:
    """Refuse a table that was counted in other windows than those of params.yaml, float64 (n_windows, 2) both.

    Raises
    ------
    ValueError
        It was; the message says how to name its windows.
    """
    if not same_windows(counted_s, asked_s):
        raise ValueError(
            f"{path} is a table, counted from {counted_s[0, 0]:g} to {counted_s[-1, 1]:g} s in {len(counted_s)} "
            f"window(s), but params.yaml says {asked_s[0, 0]:g} to {asked_s[-1, 1]:g} s in {len(asked_s)}. Set the "
            f"window of the table: {_settings(counted_s)}"
        )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"params.yaml: responses.{name} is {value!r}, expected a number of seconds")
    return value


def _equal(start_s: float, stop_s: float, n: int) -> np.ndarray:
    edges = np.linspace(start_s, stop_s, n + 1)
    return np.column_stack([edges[:-1], edges[1:]])


def _settings(windows_s: np.ndarray) -> str:
    """How to make params.yaml say what a table was counted in; nothing (null) where windows are not equal bins."""
    start, stop, n = float(windows_s[0, 0]), float(windows_s[-1, 1]), len(windows_s)
    said = ("null", "null", "null")
    if np.allclose(windows_s, _equal(start, stop, n), rtol=0, atol=1e-6):
        said = (f"{start:.6g}", f"{stop - start:.6g}", str(n))
    return " ".join(
        f"-S responses.{name}={value}" for name, value in zip(("start_s", "duration_s", "n_bins"), said, strict=True)
    )


def _check_duration(path: Path, duration_s: float) -> None:
    onsets = np.sort(nwb.read_presentations(path).start_s)
    every = float(np.median(np.diff(onsets))) if len(onsets) > 1 else np.inf
    if duration_s > 2 * every:
        raise ValueError(
            f"params.yaml: responses.duration_s is {duration_s:g}, but in {path} one image follows another after "
            f"{every:.3g} s, so the window would hold more of the responses to other images than to its own. Expected "
            f"at most {2 * every:.3g}"
        )


def read_responses(
    path: Path,
    *,
    areas: Sequence[str],
    windows_s: np.ndarray,
    limits: Limits,
    min_units: int,
    shown: Shown | None = None,
) -> Responses:
    """Responses of the chosen units of one session; parameters and errors as spike_counts.read_responses.

    A table keeps its own windows, whatever windows_s says, and its own presentations.

    Parameters
    ----------
    shown : function of a path, optional
        What is presented in a session file, if not the scenes: movie_presentations.read.

    Raises
    ------
    ValueError
        Besides: a table, when `shown` is given; it has no other presentations than its own.
    """
    if has_spike_times(path):
        presented = None if shown is None else shown(path)
        return spike_counts.read_responses(
            path, areas=areas, windows_s=windows_s, limits=limits, min_units=min_units, shown=presented
        )
    if shown is not None:
        raise ValueError(f"{path} is a table of responses to images, which holds none to movies")
    table = Responses.load(path)
    criteria = criteria_of_table(table.units, limits)
    chosen = unit_filter.choose(path, table.units, criteria, areas=areas, min_units=min_units)
    return Responses.make(
        counts=table.counts[:, chosen],
        image_id=table.image_id,
        presentation_id=table.presentation_id,
        session_id=table.session_id,
        window_s=table.window_s,
        units=table.units.take(chosen),
    )


def read_population(
    paths: Sequence[Path],
    *,
    areas: Sequence[str],
    windows_s: np.ndarray,
    limits: Limits,
    min_units: int,
    shown: Shown | None = None,
) -> Responses:
    """Responses of one session, or of several joined as a pseudo-population (see pseudo_population).

    Probes are not in the same areas in every session: of several sessions, each gives the areas that it has, and every
    area must be in one of them. Parameters and errors are those of `read_responses`; min_units holds for each session.

    Raises
    ------
    ValueError
        Besides: an area has no units in any session, or a session none in all areas.
    """
    of_session = [list(areas)] * len(paths)
    if len(paths) > 1:
        of_session = areas_of_sessions({path: summary(path, limits) for path in paths}, areas)
    return concatenate(
        [
            read_responses(path, areas=present, windows_s=windows_s, limits=limits, min_units=min_units, shown=shown)
            for path, present in zip(paths, of_session, strict=True)
        ]
    )


def areas_of_sessions(left: Mapping[Path, Mapping[str, Mapping[str, int]]], areas: Sequence[str]) -> list[list[str]]:
    """Which of the areas each of several sessions has.

    Parameters
    ----------
    left : mapping of Path to dict
        The `summary` of each session.
    areas : sequence of str

    Returns
    -------
    list of list of str
        In the order of the sessions.

    Raises
    ------
    ValueError
        An area has no units in any session, or a session none in all areas.
    """
    passing = [{area for area, row in of.items() if [*row.values()][-1]} for of in left.values()]
    if without := [area for area in areas if not any(area in there for there in passing)]:
        there = sorted(set().union(*passing) - {""})
        raise ValueError(
            f"no unit in {', '.join(without)} passes in any of {len(left)} sessions. There are {', '.join(there)}"
        )
    if empty := [path for path, there in zip(left, passing, strict=True) if not there & set(areas)]:
        raise ValueError(f"no unit in {', '.join(areas)} passes in {', '.join(map(str, empty))}. Leave it out")
    return [[area for area in areas if area in there] for there in passing]


def counted_again(
    paths: Sequence[Path],
    areas: Mapping[str, Sequence[str] | str],
    population: str,
    windows_s: np.ndarray,
    *,
    limits: Limits,
    min_units: int,
) -> Responses | None:
    """Responses of a population of params.yaml in other windows than those of `responses`, shuffled where it is.

    None where a session is a table: its windows were chosen by whoever counted. Other parameters and errors as
    `read_population`.
    """
    if not all(map(has_spike_times, paths)):
        return None
    chosen = areas_of(areas, population)
    found = read_population(paths, areas=chosen, windows_s=windows_s, limits=limits, min_units=min_units)
    return shuffled(found) if areas[population] == SHUFFLED else found


def report_line(responses: Responses, population: str, kind: Sequence[str] | str) -> str:
    """A line about the responses of a population, for those who run it; kind is what section `areas` says of it."""
    found, n = np.unique(responses.units.area, return_counts=True)
    listed = ", ".join(f"{area} {count}" for area, count in zip(found.tolist(), n.tolist(), strict=True))
    kinds = f"{kind} " if kind == SHUFFLED else ""
    return f"{population}: {kinds}counts {responses.counts.shape} (presentation, unit, window); units {listed}"


def summary(path: Path, limits: Limits) -> dict[str, dict[str, int]]:
    """Units of each area left after each criterion, applied one after the other; no spike is read.

    Returns
    -------
    dict
        As spikevaediff.recordings.unit_filter.left_after.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_responses`.
    """
    if has_spike_times(path):
        units, criteria = nwb.read_units(path)
        return unit_filter.left_after(units, criteria | unit_filter.met(units, limits))
    units = Responses.load(path).units
    return unit_filter.left_after(units, criteria_of_table(units, limits))


def criteria_of_table(units: UnitTable, limits: Limits) -> dict[str, np.ndarray]:
    """Which units of a table meet each criterion, bool (n_units,); metrics that nobody measured limit nothing."""
    unknown = {name: None for name in unit_filter.LIMITS if np.isnan(getattr(units, name.rpartition("_")[0])).all()}
    return {"in an area": units.area != ""} | unit_filter.met(units, replace(limits, **unknown))
