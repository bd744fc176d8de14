"""The one reader of session files, simulated ones and those of the Allen Brain Observatory alike: units, presentations.

It reads the layout of Visual Coding Neuropixels (NWB 2) with plain h5py. A session file holds 2 to 3 GB, most of it
waveforms and spikes of units that are then dropped: only the needed columns are read. It also keeps the environment
free: allensdk 2.16.2, which reads the same files, asks for numpy < 1.24. The choice of units and the choice of
presentations are those of allensdk.

What else is read from a session has modules of its own, which open it through this one: spike_counts, behaviour,
unit_places.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from spikevaediff.records import BLANK, UnitTable

ELECTRODES = "general/extracellular_ephys/electrodes"
_PRESENTATIONS = "intervals/natural_scenes_presentations"
_INVALID = "intervals/invalid_times"
KEPT = "scratch/kept_intervals_s"  # (n_intervals, 2), disjoint and sorted: of which times an extract holds the spikes
_OUT_OF_BRAIN = ("", "None")  # what the `location` column holds where the channel is in no structure


# ---- the file and its columns


@contextmanager
def opened(path: str | Path) -> Iterator[h5py.File]:
    """A session file, open for reading.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is damaged: found out here, or when a column is read while it is open.
    """
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


def column(file: h5py.File, table: str, name: str) -> h5py.Dataset:
    """A column of a table, unread; ValueError names what the file lacks."""
    for needed in (table, f"{table}/{name}"):
        if needed not in file:
            raise ValueError(
                f"{file.filename} has no /{needed}. Expected the layout of an Allen Visual Coding Neuropixels session "
                f"(NWB 2 with /units, /{ELECTRODES} and /{_PRESENTATIONS}); files of another layout must be converted"
            )
    found = file[f"{table}/{name}"]
    if not isinstance(found, h5py.Dataset) or found.ndim == 0:
        raise ValueError(f"{file.filename}: /{table}/{name} is no column. Expected a value for each row of /{table}")
    return found


def texts(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of text, object (n_rows,) of str; ValueError where it holds something else."""
    found = column(file, table, name)
    if h5py.check_string_dtype(found.dtype) is None:
        raise ValueError(f"{file.filename}: /{table}/{name} holds {found.dtype}, expected text")
    return found.asstr()[:]


def numbers(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of numbers, float64 (n_rows, ...); ValueError where it holds something else."""
    found = column(file, table, name)
    if found.dtype.kind not in "uifb":
        raise ValueError(f"{file.filename}: /{table}/{name} holds {found.dtype}, expected numbers")
    return found[:].astype(np.float64)


def finite(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of numbers, float64 (n_rows,); ValueError names the first row that is not finite."""
    values = numbers(file, table, name)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{file.filename}: /{table}/{name} is not finite in {len(bad)} of {len(values)} rows (first: row {bad[0]})"
        )
    return values


def ids(file: h5py.File, table: str) -> np.ndarray:
    """The column `id` of a table, int64 (n_rows,); ValueError where one comes twice."""
    found = column(file, table, "id")[:]
    values, counts = np.unique(found, return_counts=True)
    if np.any(counts > 1):
        raise ValueError(f"{file.filename}: /{table}/id must be unique, but {values[counts > 1][:5].tolist()} repeat")
    return found.astype(np.int64)


def ends(file: h5py.File, table: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one position of every row in the flat column `name`, int64 (n_rows,) each.

    Raises
    ------
    ValueError
        The positions fall, or do not end where the column does.
    """
    last = column(file, table, f"{name}_index")[:].astype(np.int64)
    length = len(column(file, table, name))
    first = np.concatenate([[0], last])[:-1]
    if np.any(last < first) or (len(last) and last[-1] != length):
        raise ValueError(
            f"{file.filename}: /{table}/{name}_index must rise to the length of /{table}/{name}, {length}, "
            f"but ends at {last[-1]} and falls in {np.sum(last < first)} places"
        )
    return first, last


def _same_length(file: h5py.File, table: str, **columns: np.ndarray) -> None:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{file.filename}: columns of /{table} differ in length: {lengths}")


# ---- units


def _session_id(file: h5py.File) -> int:
    there = file.get("identifier")
    is_text = isinstance(there, h5py.Dataset) and there.ndim == 0 and h5py.check_string_dtype(there.dtype) is not None
    identifier = there.asstr()[()] if is_text else ""
    if not identifier.isdecimal():
        raise ValueError(f"{file.filename}: /identifier is {identifier!r}, expected the number of the session")
    return int(identifier)


def peak_channels(file: h5py.File) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The channel on which each unit is largest, by way of which it has a place.

    Returns
    -------
    channel_id : int64, (n_units,)
    row : int64, (n_units,)
        Its row in the table of electrodes; any row where it is not listed.
    listed : bool, (n_units,)
        Some files list the valid channels only.

    Raises
    ------
    ValueError
        A column is missing or holds no numbers; the file lists no channel.
    """
    channel_id = ids(file, ELECTRODES)
    peak = finite(file, "units", "peak_channel_id").astype(np.int64)
    if not len(channel_id):
        raise ValueError(f"{file.filename}: /{ELECTRODES} lists no channel, so that no unit has an area")
    order = np.argsort(channel_id)
    row = order[np.searchsorted(channel_id, peak, sorter=order).clip(max=len(order) - 1)]
    return peak, row, channel_id[row] == peak


def read_units(path: str | Path) -> tuple[UnitTable, dict[str, np.ndarray]]:
    """All recorded units in the order of the file, and which of them some limits could let pass.

    Returns
    -------
    UnitTable
        (n_units,) rows.
    dict of str to bool, (n_units,)
        What a unit must meet whatever the limits: its peak channel lies in a brain area and is valid, and it was judged
        good.

    Raises
    ------
    FileNotFoundError, ValueError
        As spike_counts.read_responses.
    """
    with opened(path) as file:
        unit_id = ids(file, "units")
        peak, row, listed = peak_channels(file)
        location = texts(file, ELECTRODES, "location")
        area = np.array(["" if name in _OUT_OF_BRAIN else name.split("-")[0] for name in location], dtype=str)
        # These two columns name what the curators rejected; a file without them rejects nothing.
        valid = np.ones(len(location), bool)
        if f"{ELECTRODES}/valid_data" in file:
            valid = column(file, ELECTRODES, "valid_data")[:].astype(bool)
        good = np.ones(len(unit_id), bool)
        if "units/quality" in file:
            good = texts(file, "units", "quality") == "good"
        metrics = {
            name: numbers(file, "units", name) for name in ("isi_violations", "amplitude_cutoff", "presence_ratio")
        }
        for name in ("snr", "firing_rate"):
            there = f"units/{name}" in file
            metrics[name] = numbers(file, "units", name) if there else np.full(len(unit_id), np.nan)
        _same_length(file, ELECTRODES, id=column(file, ELECTRODES, "id"), location=location, valid_data=valid)
        _same_length(file, "units", id=unit_id, peak_channel_id=peak, quality=good, **metrics)
        session_id = _session_id(file)
    units = UnitTable(
        unit_id=unit_id,
        session_id=np.full(len(unit_id), session_id, np.int64),
        area=np.where(listed, area[row], ""),
        **metrics,
    )
    # A unit whose channel is not listed sits on an invalid one.
    criteria = {"in a brain area": units.area != "", "on a valid channel": listed & valid[row], "quality good": good}
    return units, criteria


# ---- presentations


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


def read_presentations(path: str | Path) -> Presentations:
    """When which natural scene was shown, in the order of the file; the rows are those of spike_counts.read_responses.

    Raises
    ------
    FileNotFoundError, ValueError
        As spike_counts.read_responses.
    """
    with opened(path) as file:
        presentation_id = ids(file, _PRESENTATIONS)
        onset = finite(file, _PRESENTATIONS, "start_time")
        offset = finite(file, _PRESENTATIONS, "stop_time")
        frame = numbers(file, _PRESENTATIONS, "frame")
        _same_length(file, _PRESENTATIONS, id=presentation_id, start_time=onset, stop_time=offset, frame=frame)
        image_id = np.nan_to_num(frame, nan=BLANK - 1, posinf=BLANK - 1, neginf=BLANK - 1).astype(np.int64)
        bad = np.flatnonzero((image_id != frame) | (image_id < BLANK))
        if len(bad):
            raise ValueError(
                f"{file.filename}: /{_PRESENTATIONS}/frame is {frame[bad[0]]} in row {bad[0]} ({len(bad)} such rows), "
                f"expected the number of an image, or {BLANK} for the grey screen"
            )
        valid = np.ones(len(onset), bool)
        if _INVALID in file:
            tags = texts(file, _INVALID, "tags")
            for first, last, start, stop in zip(
                *ends(file, _INVALID, "tags"),
                finite(file, _INVALID, "start_time"),
                finite(file, _INVALID, "stop_time"),
                strict=True,
            ):
                # Times tagged for one probe spoil its local field potential; allensdk keeps the presentations too.
                if "stimulus" in tags[first:last]:
                    valid &= np.maximum(onset, start) > np.minimum(offset, stop)  # intervals that touch overlap
    return Presentations(presentation_id[valid], image_id[valid], onset[valid], offset[valid])
