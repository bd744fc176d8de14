"""The one reader of sessions, simulated ones and those of the Allen Brain Observatory alike.

It reads the layout of Visual Coding Neuropixels (NWB 2) with plain h5py. A session file holds 2 to 3 GB, most of it
waveforms and spikes of units that are then dropped: only the needed columns are read, and the spikes of one unit at a
time. It also keeps the environment free: allensdk 2.16.2, which reads the same files, asks for numpy < 1.24. The choice
of units, the choice of presentations and (but for spikes exactly on an edge, see `read_responses`) the counts are
those of allensdk.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from rich.progress import track

from spikevaediff.records import BLANK, Responses, UnitTable

_ELECTRODES = "general/extracellular_ephys/electrodes"
_PRESENTATIONS = "intervals/natural_scenes_presentations"
_INVALID = "intervals/invalid_times"
_RUNNING = "processing/running/running_speed"
_PUPIL = "processing/filtered_gaze_mapping/pupil_area"
KEPT = "scratch/kept_intervals_s"  # (n_intervals, 2), disjoint and sorted: of which times an extract holds the spikes
_OUT_OF_BRAIN = ("", "None")  # what the `location` column holds where the channel is in no structure


@contextmanager
def _opened(path: str | Path) -> Iterator[h5py.File]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"session file {path} does not exist. Make it with: dvc repro acquire")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:  # raised on opening (truncated, not HDF5) and on reading a damaged chunk
        raise ValueError(
            f"{path} is not a whole HDF5 file ({error}). Delete it and get it again: dvc repro acquire"
        ) from error


def _column(file: h5py.File, table: str, name: str) -> h5py.Dataset:
    for needed in (table, f"{table}/{name}"):
        if needed not in file:
            raise ValueError(
                f"{file.filename} has no /{needed}. Expected the layout of an Allen Visual Coding Neuropixels session "
                f"(NWB 2 with /units, /{_ELECTRODES} and /{_PRESENTATIONS}); files of another layout must be converted"
            )
    return file[f"{table}/{name}"]


def _ids(file: h5py.File, table: str) -> np.ndarray:
    ids = _column(file, table, "id")[:]
    values, counts = np.unique(ids, return_counts=True)
    if np.any(counts > 1):
        raise ValueError(f"{file.filename}: /{table}/id must be unique, but {values[counts > 1][:5].tolist()} repeat")
    return ids.astype(np.int64)


def _finite(file: h5py.File, table: str, name: str) -> np.ndarray:
    values = _column(file, table, name)[:].astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{file.filename}: /{table}/{name} is not finite in {len(bad)} of {len(values)} rows (first: row {bad[0]})"
        )
    return values


def _ends(file: h5py.File, table: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one position of every row in the flat column `name`."""
    ends = _column(file, table, f"{name}_index")[:].astype(np.int64)
    length = len(_column(file, table, name))
    starts = np.concatenate([[0], ends])[:-1]
    if np.any(ends < starts) or (len(ends) and ends[-1] != length):
        raise ValueError(
            f"{file.filename}: /{table}/{name}_index must rise to the length of /{table}/{name}, {length}, "
            f"but ends at {ends[-1]} and falls in {np.sum(ends < starts)} places"
        )
    return starts, ends


def _session_id(file: h5py.File) -> int:
    identifier = file["identifier"].asstr()[()] if "identifier" in file else ""
    if not identifier.isdecimal():
        raise ValueError(f"{file.filename}: /identifier is {identifier!r}, expected the number of the session")
    return int(identifier)


def _recorded_units(file: h5py.File) -> tuple[UnitTable, np.ndarray, np.ndarray]:
    """All units in the order of the file, whether each peak channel is valid, and whether each was judged good."""
    unit_id = _ids(file, "units")
    channel_id = _ids(file, _ELECTRODES)
    location = _column(file, _ELECTRODES, "location").asstr()[:]
    area = np.array(["" if name in _OUT_OF_BRAIN else name.split("-")[0] for name in location], dtype=str)
    # These two columns name what the curators rejected; a file without them rejects nothing.
    valid = np.ones(len(channel_id), bool)
    if f"{_ELECTRODES}/valid_data" in file:
        valid = file[f"{_ELECTRODES}/valid_data"][:].astype(bool)
    good = np.ones(len(unit_id), bool)
    if "units/quality" in file:
        good = file["units/quality"].asstr()[:] == "good"

    peak = _column(file, "units", "peak_channel_id")[:]
    order = np.argsort(channel_id)
    row = order[np.searchsorted(channel_id, peak, sorter=order).clip(max=len(order) - 1)]
    # Some files list the valid channels only, so a unit whose channel is not listed sits on an invalid one.
    listed = channel_id[row] == peak
    metrics = {
        name: _column(file, "units", name)[:] for name in ("isi_violations", "amplitude_cutoff", "presence_ratio")
    }
    for name in ("snr", "firing_rate"):
        metrics[name] = file[f"units/{name}"][:] if f"units/{name}" in file else np.full(len(unit_id), np.nan)
    units = UnitTable(
        unit_id=unit_id,
        session_id=np.full(len(unit_id), _session_id(file), np.int64),
        area=np.where(listed, area[row], ""),
        **{name: values.astype(np.float64) for name, values in metrics.items()},
    )
    return units, listed & valid[row], good


def _criteria(
    file: h5py.File,
    *,
    isi_violations_max: float | None,
    amplitude_cutoff_max: float | None,
    presence_ratio_min: float | None,
) -> tuple[UnitTable, dict[str, np.ndarray]]:
    """All units and, for each criterion by name, which of them meet it. A metric that is NaN meets no limit."""
    units, on_valid_channel, good = _recorded_units(file)
    limits = limits_met(
        units,
        isi_violations_max=isi_violations_max,
        amplitude_cutoff_max=amplitude_cutoff_max,
        presence_ratio_min=presence_ratio_min,
    )
    known = {"in a brain area": units.area != "", "on a valid channel": on_valid_channel, "quality good": good}
    return units, known | limits


def limits_met(
    units: UnitTable,
    *,
    isi_violations_max: float | None,
    amplitude_cutoff_max: float | None,
    presence_ratio_min: float | None,
) -> dict[str, np.ndarray]:
    """For each limit by name, which units meet it (NaN meets none); parameters as in `read_responses`."""
    met = {}
    if isi_violations_max is not None:
        met[f"isi_violations <= {isi_violations_max:g}"] = units.isi_violations <= isi_violations_max
    if amplitude_cutoff_max is not None:
        met[f"amplitude_cutoff <= {amplitude_cutoff_max:g}"] = units.amplitude_cutoff <= amplitude_cutoff_max
    if presence_ratio_min is not None:
        met[f"presence_ratio >= {presence_ratio_min:g}"] = units.presence_ratio >= presence_ratio_min
    return met


def choose_units(
    path: str | Path, units: UnitTable, criteria: dict[str, np.ndarray], *, areas: Sequence[str], min_units: int
) -> np.ndarray:
    """Positions of the units that meet all criteria and lie in one of the areas.

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
    failed = ", ".join(f"{np.sum(~met)} not {name}" for name, met in criteria.items())
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


class Presentations(NamedTuple):
    """The presentations of the natural scenes outside the times that are invalid for the stimulus.

    presentation_id : int64, (n_presentations,); the `id` column of the table.
    image_id : int64, (n_presentations,); -1 is the grey screen.
    start_s, stop_s : float64, (n_presentations,).
    """

    presentation_id: np.ndarray
    image_id: np.ndarray
    start_s: np.ndarray
    stop_s: np.ndarray


def _valid_presentations(file: h5py.File) -> Presentations:
    presentation_id = _ids(file, _PRESENTATIONS)
    onset = _finite(file, _PRESENTATIONS, "start_time")
    offset = _finite(file, _PRESENTATIONS, "stop_time")
    frame = _column(file, _PRESENTATIONS, "frame")[:].astype(np.float64)
    lengths = {"id": len(presentation_id), "start_time": len(onset), "stop_time": len(offset), "frame": len(frame)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{file.filename}: columns of /{_PRESENTATIONS} differ in length: {lengths}")
    image_id = np.nan_to_num(frame, nan=BLANK - 1, posinf=BLANK - 1, neginf=BLANK - 1).astype(np.int64)
    bad = np.flatnonzero((image_id != frame) | (image_id < BLANK))
    if len(bad):
        raise ValueError(
            f"{file.filename}: /{_PRESENTATIONS}/frame is {frame[bad[0]]} in row {bad[0]} ({len(bad)} such rows), "
            f"expected the number of an image, or {BLANK} for the grey screen"
        )
    valid = np.ones(len(onset), bool)
    if _INVALID in file:
        tags = _column(file, _INVALID, "tags").asstr()[:]
        for first, last, start, stop in zip(
            *_ends(file, _INVALID, "tags"),
            _finite(file, _INVALID, "start_time"),
            _finite(file, _INVALID, "stop_time"),
            strict=True,
        ):
            # Times tagged for one probe alone spoil its local field potential; allensdk keeps the presentations too.
            if "stimulus" in tags[first:last]:
                valid &= np.maximum(onset, start) > np.minimum(offset, stop)  # intervals that touch overlap
    return Presentations(presentation_id[valid], image_id[valid], onset[valid], offset[valid])


def _checked_windows(windows_s: np.ndarray) -> np.ndarray:
    windows = np.asarray(windows_s, np.float64)
    if windows.ndim != 2 or windows.shape[1] != 2 or len(windows) == 0:
        raise ValueError(f"windows_s has shape {windows.shape}, expected one row [start, stop] a window")
    wrong = windows[~(windows[:, 0] < windows[:, 1]) | ~np.isfinite(windows).all(1)]
    if len(wrong):
        raise ValueError(f"windows_s: {wrong[0].tolist()} must start before it stops (seconds after onset)")
    return windows


def _spikes_of(file: h5py.File, unit_id: int, start: int, stop: int) -> np.ndarray:
    spikes = file["units/spike_times"][start:stop]
    if not np.isfinite(spikes).all():
        raise ValueError(
            f"{file.filename}: unit {unit_id} has {np.sum(~np.isfinite(spikes))} spike times that are not finite"
        )
    falls = np.flatnonzero(spikes[1:] < spikes[:-1])
    if len(falls):
        raise ValueError(
            f"{file.filename}: the spike times of unit {unit_id} are not sorted "
            f"({spikes[falls[0]]:g} s is followed by {spikes[falls[0] + 1]:g} s). Sort them within the unit"
        )
    return spikes


def _check_kept(file: h5py.File, edges: np.ndarray) -> None:
    """Refuse windows that reach beyond the times of which the file holds the spikes, where it is an extract."""
    if KEPT not in file:
        return
    kept = file[KEPT][:]
    first, last = edges[..., 0].ravel(), edges[..., 1].ravel()
    interval = np.searchsorted(kept[:, 0], first, side="right") - 1
    outside = np.flatnonzero((interval < 0) | (last > kept[:, 1][interval.clip(min=0)]))
    if len(outside):
        raise ValueError(
            f"{file.filename} is an extract that does not hold the spikes of all of {first[outside[0]]:.3f} to "
            f"{last[outside[0]]:.3f} s, which a window spans ({len(outside)} such windows). Choose windows nearer to "
            f"the onset, or keep more: datasets.allen.margin_s"
        )


def read_responses(
    path: str | Path,
    *,
    areas: Sequence[str],
    windows_s: np.ndarray,
    isi_violations_max: float | None,
    amplitude_cutoff_max: float | None,
    presence_ratio_min: float | None,
    min_units: int,
) -> Responses:
    """Spike counts of one session to every presentation of the natural scenes.

    counts[i, j, k] is the number of spikes t of unit j with onset_i + start_k <= t < onset_i + stop_k. allensdk counts
    the closed interval, onset_i + start_k <= t <= onset_i + stop_k, so that a spike exactly on the edge between two
    windows is counted twice; half-open windows that touch add up to their union.

    A unit is kept when its peak channel is valid and lies in one of the areas, when it was judged good, and when it
    meets the three limits. Units and presentations stay in the order of the file. Presentations that overlap a time
    marked invalid for the stimulus are left out; blanks are kept, with image_id -1.

    Parameters
    ----------
    path : str or Path
        A session in the layout of Allen Visual Coding Neuropixels (NWB 2).
    areas : sequence of str
        Acronyms of the Allen Common Coordinate Framework without sub-structure: LGd, not LGd-sh.
    windows_s : float64, (n_windows, 2)
        Start and stop in seconds after onset. They may overlap.
    isi_violations_max, amplitude_cutoff_max, presence_ratio_min : float or None
        Inclusive limits; NaN meets none. None: no limit. allensdk applies 0.5, 0.1 and 0.95 (its documents say 0.9
        for the last).
    min_units : int
        Fewest units of a session worth decoding.

    Returns
    -------
    Responses
        presentation_id is the `id` column of the table of presentations.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is damaged or lacks a table or column; ids repeat; a frame is not a whole number; an onset or a spike
        time is not finite; spike times are not sorted; a window is empty, or reaches beyond what an extract kept; no
        area is asked for, or one without units; fewer than min_units pass.

    Source: Siegle et al. 2021, Survey of spiking in the mouse visual system reveals functional hierarchy.
    """
    windows = _checked_windows(windows_s)
    with _opened(path) as file:
        units, criteria = _criteria(
            file,
            isi_violations_max=isi_violations_max,
            amplitude_cutoff_max=amplitude_cutoff_max,
            presence_ratio_min=presence_ratio_min,
        )
        chosen = choose_units(path, units, criteria, areas=areas, min_units=min_units)
        presentation_id, image_id, onset, _ = _valid_presentations(file)
        _column(file, "units", "spike_times")
        starts, ends = _ends(file, "units", "spike_times")
        if len(ends) != len(units):
            raise ValueError(f"{path}: /units/spike_times_index lists {len(ends)} units, /units/id {len(units)}")

        edges = onset[:, None, None] + windows[None]
        _check_kept(file, edges)
        counts = np.empty((len(onset), len(chosen), len(windows)), np.uint16)
        for column, unit in enumerate(track(chosen, description="counting spikes")):
            spikes = _spikes_of(file, int(units.unit_id[unit]), starts[unit], ends[unit])
            before = np.searchsorted(spikes, edges, side="left")
            counted = before[..., 1] - before[..., 0]
            if counted.size and counted.max() > np.iinfo(np.uint16).max:
                raise ValueError(
                    f"{path}: unit {units.unit_id[unit]} has {counted.max()} spikes in one window, more than counts "
                    f"can hold ({np.iinfo(np.uint16).max}). Shorten windows_s"
                )
            counts[:, column] = counted
    return Responses.make(
        counts=counts,
        image_id=image_id,
        presentation_id=presentation_id[:, None],
        session_id=units.session_id[:1],
        window_s=windows,
        units=units.take(chosen),
    )


def summary(
    path: str | Path,
    *,
    isi_violations_max: float | None,
    amplitude_cutoff_max: float | None,
    presence_ratio_min: float | None,
) -> dict[str, dict[str, int]]:
    """How many units of each area are left after each criterion, applied one after the other.

    Parameters and errors are those of `read_responses`; no spike is read.

    Returns
    -------
    dict
        area -> {"recorded": n, criterion: n left, ...}; units outside the brain stand under "".
    """
    with _opened(path) as file:
        units, criteria = _criteria(
            file,
            isi_violations_max=isi_violations_max,
            amplitude_cutoff_max=amplitude_cutoff_max,
            presence_ratio_min=presence_ratio_min,
        )
    return left_after(units, criteria)


def left_after(units: UnitTable, criteria: dict[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """The table of `summary`, of units and the criteria that they meet."""
    table = {}
    for area in np.unique(units.area):
        left = units.area == area
        table[str(area)] = {"recorded": int(left.sum())}
        for name, met in criteria.items():
            left = left & met
            table[str(area)][name] = int(left.sum())
    return table


def read_units(path: str | Path) -> tuple[UnitTable, np.ndarray]:
    """All recorded units in the order of the file, and which of them some limits could let pass.

    Returns
    -------
    UnitTable
        (n_units,) rows.
    bool, (n_units,)
        False for units that were judged noise, sit on an invalid channel or outside the brain.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_responses`.
    """
    with _opened(path) as file:
        units, on_valid_channel, good = _recorded_units(file)
        return units, (units.area != "") & on_valid_channel & good


def check_units(path: str | Path) -> None:
    """Refuse a session with tables or spike times that `read_responses` could stumble over, for whatever areas.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_responses`.
    """
    units, usable = read_units(path)
    with _opened(path) as file:
        _column(file, "units", "spike_times")
        starts, ends = _ends(file, "units", "spike_times")
        if len(ends) != len(units):
            raise ValueError(f"{path}: /units/spike_times_index lists {len(ends)} units, /units/id {len(units)}")
        for unit in track(np.flatnonzero(usable), description="checking spikes"):
            _spikes_of(file, int(units.unit_id[unit]), starts[unit], ends[unit])


def read_presentations(path: str | Path) -> Presentations:
    """When which natural scene was shown, in the order of the file; the rows are those of `read_responses`.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_responses`.
    """
    with _opened(path) as file:
        return _valid_presentations(file)


class RunningSpeed(NamedTuple):
    """How fast the mouse ran on its wheel.

    start_s, stop_s : float64, (n_samples,); what a sample spans.
    cm_per_s : float64, (n_samples,); negative when it ran backwards.
    """

    start_s: np.ndarray
    stop_s: np.ndarray
    cm_per_s: np.ndarray


def has_running_speed(path: str | Path) -> bool:
    """Whether a session knows how fast the mouse ran; those of the Allen Institute do, others may not."""
    with _opened(path) as file:
        return _RUNNING in file


def read_running_speed(path: str | Path) -> RunningSpeed:
    """Running speed over the session.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is damaged or has no running speed (every session of the data set has); the columns
        differ in length; time is not finite or falls.
    """
    with _opened(path) as file:
        start = _rising(file, f"{_RUNNING}/timestamps")
        stop = _rising(file, f"{_RUNNING}_end_times/timestamps")
        speed = _series(file, f"{_RUNNING}/data")
        lengths = {"start": len(start), "end": len(stop), "speed": len(speed)}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{file.filename}: columns of /{_RUNNING} differ in length: {lengths}")
    return RunningSpeed(start, stop, speed)


class Pupil(NamedTuple):
    """The area of the pupil, seen by a camera.

    time_s : float64, (n_frames,).
    area : float64, (n_frames,); in the units of the file (square metres as published); NaN at blinks.
    """

    time_s: np.ndarray
    area: np.ndarray


def read_pupil(path: str | Path) -> Pupil | None:
    """Pupil area over the session, after the blinks were taken out; None for a session without eye tracking.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is damaged; the columns differ in length; time is not finite or falls.
    """
    with _opened(path) as file:
        if _PUPIL not in file:
            return None
        time, area = _rising(file, f"{_PUPIL}/timestamps"), _series(file, f"{_PUPIL}/data")
        if len(time) != len(area):
            raise ValueError(f"{file.filename}: /{_PUPIL} has {len(time)} times and {len(area)} areas")
    return Pupil(time, area)


def _series(file: h5py.File, name: str) -> np.ndarray:
    if name not in file:
        raise ValueError(
            f"{file.filename} has no /{name}. Expected the layout of an Allen Visual Coding Neuropixels session"
        )
    return file[name][:].astype(np.float64)


def _rising(file: h5py.File, name: str) -> np.ndarray:
    time = _series(file, name)
    if not np.isfinite(time).all() or np.any(time[1:] < time[:-1]):
        raise ValueError(f"{file.filename}: /{name} must be finite and rise, but does not")
    return time


def mean_between(time_s: np.ndarray, values: np.ndarray, start_s: np.ndarray, stop_s: np.ndarray) -> np.ndarray:
    """Mean of the samples with start <= time < stop, without those that are NaN.

    Parameters
    ----------
    time_s, values : float64, (n_samples,)
        Time rises.
    start_s, stop_s : float64, (n_intervals,)

    Returns
    -------
    float64, (n_intervals,)
        NaN where an interval holds no sample.
    """
    known = np.isfinite(values)
    time, sums = np.asarray(time_s)[known], np.concatenate([[0.0], np.cumsum(np.asarray(values)[known])])
    first, last = np.searchsorted(time, start_s), np.searchsorted(time, stop_s)
    n = last - first
    return np.divide(sums[last] - sums[first], n, out=np.full(n.shape, np.nan), where=n > 0)


class UnitPlaces(NamedTuple):
    """Where the units of a session sit, in the order of the file.

    unit_id, channel_id, probe_id : int64, (n_units,); channel_id is the peak channel; probe_id is -1 where the
        channel is not listed.
    probe : str, (n_units,); name of the probe, "probeA" and the like.
    area : str, (n_units,); as in UnitTable; "" outside the brain.
    depth_um : float64, (n_units,); position of the channel on the probe, from the tip.
    ccf_um : float64, (n_units, 3); anterior-posterior, dorsal-ventral and left-right coordinate in the Allen Common
        Coordinate Framework; NaN where unknown.
    """

    unit_id: np.ndarray
    channel_id: np.ndarray
    probe_id: np.ndarray
    probe: np.ndarray
    area: np.ndarray
    depth_um: np.ndarray
    ccf_um: np.ndarray


def read_places(path: str | Path) -> UnitPlaces:
    """Probe and position of every recorded unit, by way of its peak channel; join to other tables by unit_id.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_responses`.
    """
    with _opened(path) as file:
        units, _, _ = _recorded_units(file)
        channel_id = _ids(file, _ELECTRODES)
        peak = _column(file, "units", "peak_channel_id")[:].astype(np.int64)
        order = np.argsort(channel_id)
        row = order[np.searchsorted(channel_id, peak, sorter=order).clip(max=len(order) - 1)]
        listed = channel_id[row] == peak
        ccf = np.stack([_column(file, _ELECTRODES, axis)[:].astype(np.float64) for axis in "xyz"], axis=1)
        # What lies outside the brain, or was not registered, has coordinates below 0.
        ccf[(ccf < 0).any(1)] = np.nan
        depth = _column(file, _ELECTRODES, "probe_vertical_position")[:].astype(np.float64)
        probe = _column(file, _ELECTRODES, "group_name").asstr()[:].astype(str)
        probe_id = _column(file, _ELECTRODES, "probe_id")[:].astype(np.int64)
    return UnitPlaces(
        unit_id=units.unit_id,
        channel_id=peak,
        probe_id=np.where(listed, probe_id[row], -1),
        probe=np.where(listed, probe[row], ""),
        area=units.area,
        depth_um=np.where(listed, depth[row], np.nan),
        ccf_um=np.where(listed[:, None], ccf[row], np.nan),
    )


def concatenate(responses: Sequence[Responses]) -> Responses:
    """A pseudo-population: the units of several sessions as if recorded at once.

    The k-th presentation of an image in one session is paired with its k-th in the others, and the presentations that
    some session lacks are cut off; rows keep the order of the first session. What an image evokes in each unit is
    kept. What units of different sessions share from one presentation to the next (noise correlations, running, drift)
    is destroyed, so single-presentation decoding of a pseudo-population is an upper bound, not a measurement.

    Parameters
    ----------
    responses : sequence of Responses
        At least one, of different sessions, counted in the same windows. Each shows all images.

    Returns
    -------
    Responses
        presentation_id has one column for each session. Blanks are dropped when some session has none.

    Raises
    ------
    ValueError
        Nothing to join; windows differ; a session comes twice; a session lacks images that another shows.
    """
    if not responses:
        raise ValueError("no session to concatenate: list at least one")
    first = responses[0]
    session_id = np.concatenate([r.session_id for r in responses])
    values, times = np.unique(session_id, return_counts=True)
    if np.any(times > 1):
        raise ValueError(f"sessions {values[times > 1].tolist()} are listed more than once")
    for other in responses[1:]:
        if not np.array_equal(other.window_s, first.window_s):
            raise ValueError(
                f"sessions were counted in different windows: {first.window_s.tolist()} in "
                f"{first.session_id.tolist()}, {other.window_s.tolist()} in {other.session_id.tolist()}. "
                f"Re-run: dvc repro responses"
            )
    shown = np.unique(np.concatenate([r.image_id for r in responses]))
    n_shown = np.stack([(r.image_id[:, None] == shown).sum(0) for r in responses])
    lacking = (n_shown == 0) & (shown != BLANK)
    if lacking.any():
        names = "; ".join(
            f"session {', '.join(map(str, r.session_id))} lacks image_id {', '.join(map(str, shown[missing][:8]))}"
            + (", ..." if missing.sum() > 8 else "")
            for r, missing in zip(responses, lacking, strict=True)
            if missing.any()
        )
        raise ValueError(f"sessions do not share all images: {names}. Leave these sessions out")
    n_paired = dict(zip(shown.tolist(), n_shown.min(0).tolist(), strict=True))

    def row_by_showing(r: Responses) -> dict[tuple[int, int], int]:
        seen: dict[int, int] = {}
        rows = {}
        for row, image in enumerate(r.image_id.tolist()):
            k = seen.get(image, 0)
            seen[image] = k + 1
            if k < n_paired[image]:
                rows[image, k] = row
        return rows

    showings = list(row_by_showing(first))
    rows = [np.array([found[s] for s in showings], np.int64) for found in map(row_by_showing, responses)]
    tables = [r.units for r in responses]
    return Responses.make(
        counts=np.concatenate([r.counts[chosen] for r, chosen in zip(responses, rows, strict=True)], axis=1),
        image_id=first.image_id[rows[0]],
        presentation_id=np.concatenate(
            [r.presentation_id[chosen] for r, chosen in zip(responses, rows, strict=True)], axis=1
        ),
        session_id=session_id,
        window_s=first.window_s,
        units=UnitTable(**{name: np.concatenate([getattr(t, name) for t in tables]) for name in vars(tables[0])}),
    )
