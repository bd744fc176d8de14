"""The one reader of session files, simulated ones and those of the Allen Brain Observatory alike: units, presentations.

It reads the layout of Visual Coding Neuropixels (NWB 2) with plain h5py (session_file). A session file holds 2 to 3 GB,
most of it waveforms and spikes of units that are then dropped: only the needed columns are read. It also keeps the
environment free: allensdk 2.16.2, which reads the same files, asks for numpy < 1.24. The choice of units and the choice
of presentations are those of allensdk.

What else is read from a session has modules of its own: spike_trains, spike_counts, behaviour.
"""

from typing import NamedTuple

import h5py
import numpy as np

from spikevaediff.recordings import unit_filter
from spikevaediff.recordings.session_file import (
    ELECTRODES,
    LARGEST,
    SCENES,
    Source,
    check_step,
    ends,
    finite,
    flags,
    has,
    ids,
    numbers,
    opened,
    presentations_table,
    same_length,
    texts,
    whole,
)
from spikevaediff.records import BLANK, UnitTable

_INVALID = "intervals/invalid_times"
KEPT = "scratch/kept_intervals_s"  # (n_intervals, 2), disjoint and sorted: of which times an extract holds the spikes
_OUT_OF_BRAIN = ("", "none", "nan")  # what the `location` column holds where the channel is in no structure


# ---- units


def _session_id(file: h5py.File) -> int:
    there = file.get("identifier")
    is_text = isinstance(there, h5py.Dataset) and there.ndim == 0 and h5py.check_string_dtype(there.dtype) is not None
    identifier = there.asstr()[()] if is_text else ""
    if not identifier.isdecimal() or int(identifier) >= LARGEST:
        raise ValueError(
            f"{file.filename}: /identifier is {identifier!r}, expected the number of the session, below 2**53"
        )
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
    peak = whole(file, "units", "peak_channel_id")
    if not len(channel_id):
        raise ValueError(f"{file.filename}: /{ELECTRODES} lists no channel, so that no unit has an area")
    order = np.argsort(channel_id)
    row = order[np.searchsorted(channel_id, peak, sorter=order).clip(max=len(order) - 1)]
    return peak, row, channel_id[row] == peak


def read_units(path: Source) -> tuple[UnitTable, dict[str, np.ndarray]]:
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
        if not len(unit_id):
            raise ValueError(f"{file.filename}: /units lists no unit. Write one row for each sorted unit")
        peak, row, listed = peak_channels(file)
        location = texts(file, ELECTRODES, "location")
        area = np.array(
            ["" if name.casefold() in _OUT_OF_BRAIN else name.split("-")[0] for name in map(str.strip, location)],
            dtype=str,
        )
        # These two columns name what the curators rejected; a file without them rejects nothing.
        valid = np.ones(len(location), bool)
        if "valid_data" in file[ELECTRODES]:
            valid = flags(file, ELECTRODES, "valid_data")
        good = np.ones(len(unit_id), bool)
        if "quality" in file["units"]:
            good = np.array([str(word).strip().casefold() == "good" for word in texts(file, "units", "quality")])
        metrics = {
            name: numbers(file, "units", name) for name in ("isi_violations", "amplitude_cutoff", "presence_ratio")
        }
        for name in ("snr", "firing_rate"):
            there = name in file["units"]
            metrics[name] = numbers(file, "units", name) if there else np.full(len(unit_id), np.nan)
        same_length(file, ELECTRODES, id=ids(file, ELECTRODES), location=location, valid_data=valid)
        same_length(file, "units", id=unit_id, peak_channel_id=peak, quality=good, **metrics)
        session_id = _session_id(file)
    units = UnitTable(
        unit_id=unit_id,
        session_id=np.full(len(unit_id), session_id, np.int64),
        area=np.where(listed, area[row], ""),
        **metrics,
    )
    if (wrong := unit_filter.impossible(units)) is not None:
        raise ValueError(f"{path}: /units/{wrong}")
    # A unit whose channel is not listed sits on an invalid one.
    criteria = {"in a brain area": units.area != "", "on a valid channel": listed & valid[row], "quality good": good}
    return units, criteria


# ---- presentations


class Presentations(NamedTuple):
    """The presentations of a stimulus outside the times that are invalid for it.

    presentation_id : int64, (n_presentations,); the `id` column of the table.
    image_id : int64, (n_presentations,); -1 is the grey screen. Of a movie, the number of the frame.
    start_s, stop_s : float64, (n_presentations,).
    """

    presentation_id: np.ndarray
    image_id: np.ndarray
    start_s: np.ndarray
    stop_s: np.ndarray


def read_presentations(path: Source, stimulus: str = SCENES) -> Presentations:
    """When which natural scene was shown, in the order of time; the rows are those of spike_counts.read_responses.

    Files have their presentations in any order, and drift and the identity of images are read off that of the session.

    Parameters
    ----------
    path : str, Path or RemoteFile
    stimulus : str
        Or which frame of a movie: natural_movie_one, natural_movie_three.

    Raises
    ------
    FileNotFoundError, ValueError
        As spike_counts.read_responses.
    """
    table, least = presentations_table(stimulus), BLANK if stimulus == SCENES else 0
    with opened(path) as file:
        presentation_id = ids(file, table)
        onset = finite(file, table, "start_time")
        offset = finite(file, table, "stop_time")
        frame = numbers(file, table, "frame")
        same_length(file, table, id=presentation_id, start_time=onset, stop_time=offset, frame=frame)
        bad = np.flatnonzero((frame != np.round(frame)) | ~((frame >= least) & (frame < LARGEST)))
        if len(bad):
            raise ValueError(
                f"{file.filename}: /{table}/frame is {frame[bad[0]]} in row {bad[0]} ({len(bad)} such rows), "
                + (
                    f"expected the number of an image, or {BLANK} for the grey screen"
                    if least
                    else "expected its number"
                )
            )
        _check_times(file, table, onset, offset)
        valid = np.ones(len(onset), bool)
        for start, stop in _invalid_times(file):
            valid &= np.maximum(onset, start) > np.minimum(offset, stop)  # intervals that touch overlap
    rows = np.flatnonzero(valid)[np.argsort(onset[valid], kind="stable")]
    return Presentations(presentation_id[rows], frame[rows].astype(np.int64), onset[rows], offset[rows])


def _check_times(file: h5py.File, table: str, start_s: np.ndarray, stop_s: np.ndarray) -> None:
    """Refuse presentations that end before they begin, or begin together: such columns are not what their names say;
    and types that do not hold their times to the millisecond."""
    for name, values in (("start_time", start_s), ("stop_time", stop_s)):
        check_step(file, f"{table}/{name}", file[f"{table}/{name}"].dtype, values)
    early = np.flatnonzero(stop_s <= start_s)
    if len(early):
        row = early[0]
        length = " or holds durations" * bool(np.all(stop_s > 0) and np.ptp(stop_s) < 0.1 * np.ptp(start_s))
        raise ValueError(
            f"{file.filename}: /{table}/stop_time is {stop_s[row]:g} s where start_time is {start_s[row]:g} s "
            f"(row {row}, {len(early)} such rows), which is too early{length}. Expected seconds on the same clock"
        )
    distinct, n = np.unique(start_s, return_counts=True)
    if len(distinct) < len(start_s):
        raise ValueError(
            f"{file.filename}: /{table}/start_time is {distinct[n.argmax()]:g} s in {n.max()} of "
            f"{len(start_s)} rows. Expected the onset of each presentation"
        )
    order = np.argsort(start_s)
    n_over = int(np.sum(stop_s[order][:-2] > start_s[order][2:]))  # whole presentations within another
    if 2 * n_over > len(order):
        raise ValueError(
            f"{file.filename}: {n_over} of {len(order)} presentations last until the next but one begins. Is "
            f"/{table}/stop_time in seconds, as start_time is?"
        )


def _invalid_times(file: h5py.File) -> list[tuple[float, float]]:
    """Start and stop of the times that are invalid for the stimulus: tagged so, or without any tag, as pynwb writes
    them."""
    if not has(file, _INVALID):
        return []
    start, stop = finite(file, _INVALID, "start_time"), finite(file, _INVALID, "stop_time")
    same_length(file, _INVALID, start_time=start, stop_time=stop)
    backwards = np.flatnonzero(stop < start)
    if len(backwards):
        row = backwards[0]
        raise ValueError(
            f"{file.filename}: /{_INVALID}/stop_time is {stop[row]:g} s where start_time is {start[row]:g} s "
            f"(row {row}). Expected an end that is not before its start"
        )
    if "tags" not in file[_INVALID]:
        return list(zip(start.tolist(), stop.tolist(), strict=True))
    tags = texts(file, _INVALID, "tags")
    each = np.arange(len(tags) + 1)  # without an index, one tag per row
    first, last = ends(file, _INVALID, "tags") if "tags_index" in file[_INVALID] else (each[:-1], each[1:])
    same_length(file, _INVALID, start_time=start, tags=first)
    # Times tagged for one probe spoil its local field potential; allensdk keeps the presentations too.
    of_stimulus = [a == b or "stimulus" in tags[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    return list(zip(start[of_stimulus].tolist(), stop[of_stimulus].tolist(), strict=True))
