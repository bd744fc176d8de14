"""The part of a session file that reconstruction needs, in the same layout: 2 to 3 GB become about a hundred MB.

Kept are the tables of units and electrodes, the spikes around the natural scenes and the movies that are asked for,
their presentations and the grey screens in between, invalid times, running speed and pupil area, probes and subject.
Left out are waveforms, amplitudes, spikes at other times, other stimuli and optotagging. Spikes are kept of the units
that some choice of limits could let pass; the others keep their row, so that the numbers of units before and after a
filter stay those of the recording.

Every value that is kept is copied, not converted. pynwb and allensdk open the extract as they open the original, and
find its columns of waveforms and amplitudes empty; a dataset of its own says of which times the spikes are there (NWB
has a column for it, obs_intervals, which allensdk cannot read). The same file and margin give the same bytes, by which
DVC knows a result.
"""

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
from rich.progress import track

from spikevaediff.files.atomic import replacing
from spikevaediff.recordings import behaviour, session_file, spike_trains
from spikevaediff.recordings.nwb import KEPT, read_presentations, read_units
from spikevaediff.recordings.nwb_writer import typed
from spikevaediff.recordings.session_file import NOT_OF_THE_FILE, Source, has, opened
from spikevaediff.recordings.spike_trains import Clock

Ahead = Callable[[list[tuple[int, int]]], None]
_TABLES = ("natural_scenes_presentations", "spontaneous_presentations", "invalid_times")
_SERIES = (
    "processing/running/running_speed",
    "processing/running/running_speed_end_times",
    "processing/running/running_wheel_rotation",
    "processing/filtered_gaze_mapping/pupil_area",
)
_WHOLE = (
    "file_create_date",
    "identifier",
    "session_description",
    "session_start_time",
    "timestamps_reference_time",
    "general",
    "specifications",
    "processing/stimulus",
)
_EMPTY = ("acquisition", "analysis", "stimulus/presentation", "stimulus/templates")
_EMPTIED = ("spike_amplitudes", "waveform_mean")  # allensdk wants to see them
_MAKER = "spikevaediff/extract"  # of objects that the recording does not have


def kept_intervals(start_s: np.ndarray, stop_s: np.ndarray, margin_s: float) -> np.ndarray:
    """The union of presentations widened by a margin.

    Parameters
    ----------
    start_s, stop_s : float64, (n_presentations,)
    margin_s : float

    Returns
    -------
    float64, (n_intervals, 2)
        Disjoint and sorted.
    """
    order = np.argsort(start_s, kind="stable")
    start, stop = start_s[order] - margin_s, np.maximum.accumulate(stop_s[order] + margin_s)
    first = np.flatnonzero(np.concatenate([[True], start[1:] > stop[:-1]]))
    return np.column_stack([start[first], stop[np.append(first[1:], len(start)) - 1]])


def common_intervals(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What two unions of intervals have in common.

    Parameters
    ----------
    a, b : float64, (n_intervals, 2)
        Disjoint and sorted.

    Returns
    -------
    float64, (n_intervals, 2)
        Disjoint and sorted; pieces that touch are one.
    """
    bounds = np.unique(np.concatenate([a.ravel(), b.ravel()]))
    middle = (bounds[1:] + bounds[:-1]) / 2
    # Within an interval, an odd number of bounds lies below.
    inside = (np.searchsorted(a.ravel(), middle) % 2 == 1) & (np.searchsorted(b.ravel(), middle) % 2 == 1)
    edges = np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8))
    return np.column_stack([bounds[edges == 1], bounds[edges == -1]])


def check_margin(margin_s: float) -> None:
    """Refuse an impossible margin before recordings are fetched and read, which takes hours and minutes.

    Raises
    ------
    ValueError
        It is negative or not finite.
    """
    if not 0 <= margin_s < np.inf:
        raise ValueError(f"margin_s is {margin_s}, expected seconds, 0 or more")


def extract(
    source: Source, path: str | Path, *, margin_s: float, movies: Sequence[str] = (), ahead: Ahead | None = None
) -> float:
    """Write the extract of a session file, once its tables agree with each other (spike_trains.Clock).

    Parameters
    ----------
    source : str, Path or RemoteFile
        A session in the layout of Allen Visual Coding Neuropixels (NWB 2), or an extract of one; its path, or the file
        on a server, of which only what the extract needs is read.
    path : str or Path
        Appears whole or not at all.
    margin_s : float
        Spikes, running speed and pupil are kept from this many seconds before each presentation to as many after it;
        of an extract, as far as it has them.
    movies : sequence of str
        Whose presentations are kept as well: natural_movie_one, natural_movie_three.
    ahead : function of list of (start, stop), or None
        Told which bytes of the source, most of what is read, will be read, before they are: RemoteFile.fetch.

    Returns
    -------
    float
        Mean rate in Hz of the units that some choice of limits could let pass.

    Raises
    ------
    FileNotFoundError, ValueError
        As spike_counts.read_responses and spike_trains.Clock.check, for all units that could pass; no unit could; the
        margin is negative or not finite; running speed or pupil cannot be read; the file is of another layout.
    OSError
        No right to read or write, or the disk is full.
    """
    check_margin(margin_s)
    try:
        return _extract(source, Path(path), margin_s, movies, ahead)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # On a full disk HDF5 can neither write nor close the file, and says so as an error of its own.
        number = re.search(r"errno = (\d+)", str(error))
        if number and int(number[1]) in NOT_OF_THE_FILE:
            raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
        if isinstance(error, ValueError) and str(source) in str(error):
            raise
        raise ValueError(
            f"{source} cannot be taken over ({type(error).__name__}: {error}): a part of it is not laid out as in an "
            f"Allen Visual Coding Neuropixels session (NWB 2). Convert it, or count the spikes yourself: sessions/1.npz"
        ) from error


def _extract(source: Source, path: Path, margin_s: float, movies: Sequence[str], ahead: Ahead | None) -> float:
    units, criteria = read_units(source)
    usable = np.logical_and.reduce(list(criteria.values()))
    if not usable.any():
        failed = ", ".join(f"{np.sum(~passes)} not {name}" for name, passes in criteria.items())
        raise ValueError(f"{source}: none of {len(units)} units can be used ({failed}). Correct these columns")
    presentations = read_presentations(source)
    if not len(presentations.start_s):
        raise ValueError(f"{source} has no valid presentation of a natural scene; nothing can be decoded from it")
    if behaviour.has_running_speed(source):
        behaviour.read_running_speed(source)
    behaviour.read_pupil(source)
    of_movies = [read_presentations(source, name) for name in movies]
    start_s, stop_s = (
        np.concatenate([getattr(shown, name) for shown in (presentations, *of_movies)])
        for name in ("start_s", "stop_s")
    )
    wanted = kept_intervals(start_s, stop_s, margin_s)
    clock = Clock(presentations)
    with replacing(path) as temporary, opened(source) as old, h5py.File(temporary, "w") as new:
        # An extract has the spikes of some intervals, and this one cannot have more.
        intervals = common_intervals(wanted, old[KEPT][:]) if has(old, KEPT) else wanted
        _copy_attributes(old, new)
        for name in _WHOLE:
            if name in old:
                old.copy(old[name], new.require_group(str(Path(name).parent)), name=Path(name).name)
        for name in _EMPTY:
            new.require_group(name)
        for name in (*_TABLES, *(f"{movie}_presentations" for movie in movies)):
            if f"intervals/{name}" in old:
                old.copy(old[f"intervals/{name}"], new.require_group("intervals"), name=name)
        for name in ("processing/running", "processing/filtered_gaze_mapping"):
            if name in old:
                _copy_attributes(old[name], new.require_group(name))
        running_s = session_file.times(old, _SERIES[0]) if has(old, _SERIES[0]) else None
        for name in _SERIES:
            if has(old, name):
                # Running speed has its ends in a series of their own: all three are cut by the same samples.
                together = running_s if name.startswith("processing/running/") else None
                time_s = session_file.times(old, name) if together is None else together
                _copy_series(old[name], new.create_group(name), intervals, time_s)
        _copy_units(old, new, units.unit_id, usable, intervals, clock, ahead)
        kept_s = float(np.ptp(old[KEPT][:], axis=1).sum()) if has(old, KEPT) else None
        mean_hz = clock.check(str(source), units.firing_rate[usable], kept_s)
        kept = new.create_dataset(KEPT, data=intervals)
        kept.attrs["notes"] = "seconds from and to which the spikes of the recording were kept"
        typed(kept, "ScratchData", "core", maker=_MAKER)
        _renew_references(old, new)
        _replace_broken_links(old, new)
    return mean_hz


def _copy_attributes(old: h5py.Group | h5py.Dataset, new: h5py.Group | h5py.Dataset) -> None:
    for name, value in old.attrs.items():
        if not isinstance(value, h5py.Reference):
            new.attrs.create(name, value, dtype=old.attrs.get_id(name).dtype)


def _copy_series(old: h5py.Group, new: h5py.Group, intervals: np.ndarray, time_s: np.ndarray) -> None:
    """The samples of a time series, taken at `time_s`, within the intervals."""
    _copy_attributes(old, new)
    spans = np.column_stack([np.searchsorted(time_s, intervals[:, 0]), np.searchsorted(time_s, intervals[:, 1])])
    for name, dataset in old.items():
        if name == "starting_time":  # a start and a rate do not tell when samples with gaps were taken
            stamps = new.create_dataset("timestamps", data=np.concatenate([time_s[a:b] for a, b in spans]))
            stamps.attrs["interval"], stamps.attrs["unit"] = 1, "seconds"
        elif isinstance(dataset, h5py.Dataset) and dataset.ndim and len(dataset) == len(time_s):
            kept = new.create_dataset(name, data=np.concatenate([dataset[a:b] for a, b in spans]))
            _copy_attributes(dataset, kept)
        else:
            old.copy(dataset, new, name=name)


def _copy_units(
    old: h5py.File,
    new: h5py.File,
    unit_id: np.ndarray,
    usable: np.ndarray,
    intervals: np.ndarray,
    clock: Clock,
    ahead: Ahead | None,
) -> None:
    units = new.create_group("units")
    _copy_attributes(old["units"], units)
    columns = ["spike_times", *(name for name in _EMPTIED if name in old["units"])]
    ours = {*columns, *(f"{name}_index" for name in columns)}
    for name in old["units"]:
        if name not in ours and has(old, f"units/{name}"):
            old.copy(old[f"units/{name}"], units, name=name)
    for name in columns[1:]:
        whole = old[f"units/{name}"]
        _copy_attributes(whole, units.create_dataset(name, shape=(0, *whole.shape[1:]), dtype=whole.dtype))
        _index(units, name, np.zeros(len(usable), np.int64))

    spikes_s = []
    spike_trains.check_observed(old, unit_id, usable, clock.shown)
    starts, stops = spike_trains.bounds(old, len(usable))
    spikes_at = old["units/spike_times"].id.get_offset()  # None where they are not in one piece
    if ahead is not None and spikes_at is not None:
        size = old["units/spike_times"].dtype.itemsize
        ahead(
            [(spikes_at + size * a, spikes_at + size * b) for a, b in zip(starts[usable], stops[usable], strict=True)]
        )
    for unit in track(range(len(usable)), description="keeping spikes around the scenes"):
        if usable[unit]:
            all_s = spike_trains.spikes(old, int(unit_id[unit]), starts[unit], stops[unit])
            clock.add(all_s)
            spikes_s.append(np.concatenate([all_s[a:b] for a, b in np.searchsorted(all_s, intervals)]))
        else:
            spikes_s.append(np.empty(0))
    end = np.cumsum([len(spikes) for spikes in spikes_s])
    column = units.create_dataset("spike_times", shape=(end[-1],), dtype=np.float64)
    for spikes, stop in zip(spikes_s, end, strict=True):
        column[stop - len(spikes) : stop] = spikes
    _copy_attributes(old["units/spike_times"], column)
    _index(units, "spike_times", end)


def _index(units: h5py.Group, name: str, ends: np.ndarray) -> None:
    index = units.create_dataset(f"{name}_index", data=ends.astype(np.min_scalar_type(max(int(ends[-1]), 1))))
    index.attrs["description"] = f"Index for VectorData '{name}'"
    index.attrs["target"] = units[name].ref
    typed(index, "VectorIndex", "hdmf-common", maker=_MAKER)


def _renew_references(old: h5py.File, new: h5py.File) -> None:
    """Object references hold addresses in one file: point them at the objects of the same name in the other."""

    def renewed(reference: h5py.Reference) -> h5py.Reference:
        name = old[reference].name if reference else None
        # To nothing where it pointed to nothing, or to what is not taken over.
        return new[name].ref if name is not None and name in new else h5py.Reference()

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if name not in old:
            return
        for key in old[name].attrs:
            if isinstance(old[name].attrs[key], h5py.Reference) and not (
                item.attrs.get(key) and name.startswith("units/")
            ):
                item.attrs[key] = renewed(old[name].attrs[key])
        if not isinstance(item, h5py.Dataset):
            return
        if h5py.check_ref_dtype(item.dtype) is not None:
            references = np.ravel(old[name][()])
            item[...] = np.array([renewed(r) for r in references], dtype=h5py.ref_dtype).reshape(item.shape)
        for field in item.dtype.names or ():
            if h5py.check_ref_dtype(item.dtype[field]) is not None:
                rows = old[name][:]
                targets = {r: renewed(r) for r in set(rows[field])} if len(rows) else {}
                rows[field] = [targets[r] for r in rows[field]]
                item[...] = rows

    new.visititems(visit)
    for key in old.attrs:
        if isinstance(old.attrs[key], h5py.Reference):
            new.attrs[key] = renewed(old.attrs[key])


def _replace_broken_links(old: h5py.File, new: h5py.File) -> None:
    """Put what a link led to in the original in its place, where the extract holds the link and not its target."""
    links = []
    new.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else links.append((name, link)))
    for name, link in links:
        if isinstance(link, h5py.ExternalLink) or not has(new, name):
            del new[name]
            if has(old, name):
                old.copy(old[name], new[str(Path("/", name).parent)], name=Path(name).name)
