"""Spike counts of a session file, one unit at a time.

The counts are those of allensdk, but that a spike exactly on the edge of two windows is counted once and not in both.
"""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from rich.progress import track

from spikevaediff.recordings import nwb, spike_trains, unit_filter
from spikevaediff.recordings.session_file import opened
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import LONGEST_WINDOW_S, Responses


def sliding_windows(start_s: float, stop_s: float, step_s: float, width_s: float) -> np.ndarray:
    """Windows [t, t + width) for t = start, start + step, ..., as long as they end at or before stop.

    Returns
    -------
    float64, (n_windows, 2), seconds after onset

    Raises
    ------
    ValueError
        Step or width is not positive, or no window fits.
    """
    if not step_s > 0 or not width_s > 0:
        raise ValueError(f"step_s is {step_s} and width_s {width_s}, both must be above 0")
    n = int(np.floor((stop_s - start_s - width_s) / step_s + 1e-9)) + 1
    if n < 1:
        raise ValueError(f"no window of {width_s} s fits between start_s {start_s} and stop_s {stop_s}")
    start = np.round(start_s + step_s * np.arange(n), 9)
    return np.column_stack([start, np.round(start + width_s, 9)])


def _checked_windows(windows_s: np.ndarray) -> np.ndarray:
    windows = np.asarray(windows_s, np.float64)
    if windows.ndim != 2 or windows.shape[1] != 2 or len(windows) == 0:
        raise ValueError(f"windows_s has shape {windows.shape}, expected one row [start, stop] per window")
    wrong = windows[~(windows[:, 0] < windows[:, 1]) | ~np.isfinite(windows).all(1)]
    if len(wrong):
        raise ValueError(f"windows_s: {wrong[0].tolist()} must start before it stops (seconds after onset)")
    if np.abs(windows).max() > LONGEST_WINDOW_S:
        raise ValueError(f"windows_s is {windows.tolist()}, expected seconds, up to {LONGEST_WINDOW_S:g} from onset")
    return windows


def _check_kept(file: h5py.File, edges: np.ndarray) -> None:
    """Refuse windows that reach beyond the times of which the file holds the spikes, where it is an extract."""
    if nwb.KEPT not in file:
        return
    kept = file[nwb.KEPT][:]
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
    limits: Limits,
    min_units: int,
    shown: nwb.Presentations | None = None,
) -> Responses:
    """Spike counts of one session to every presentation of the natural scenes.

    counts[i, j, k] is the number of spikes t of unit j with onset_i + start_k <= t < onset_i + stop_k. allensdk counts
    the closed interval, onset_i + start_k <= t <= onset_i + stop_k, so that a spike exactly on the edge between two
    windows is counted twice; half-open windows that touch add up to their union.

    A unit is kept when its peak channel is valid and lies in one of the areas, when it was judged good, and when it
    meets the limits. Units stay in the order of the file, presentations are in that of time. Presentations that
    overlap a time marked invalid for the stimulus are left out; blanks are kept, with image_id -1.

    Parameters
    ----------
    path : str or Path
        A session in the layout of Allen Visual Coding Neuropixels (NWB 2).
    areas : sequence of str
        Acronyms of the Allen Common Coordinate Framework without sub-structure: LGd, not LGd-sh.
    windows_s : float64, (n_windows, 2)
        Start and stop in seconds after onset. They may overlap.
    limits : Limits
    min_units : int
        Fewest units of a session worth decoding.
    shown : Presentations, optional
        Others than those of the natural scenes: movies.presentations.

    Returns
    -------
    Responses
        counts uint16 (n_presentations, n_units, n_windows); presentation_id is the `id` column of the table of
        presentations.

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
    units, criteria = nwb.read_units(path)
    criteria |= unit_filter.met(units, limits)
    chosen = unit_filter.choose(path, units, criteria, areas=areas, min_units=min_units)
    shown = nwb.read_presentations(path) if shown is None else shown
    edges = shown.start_s[:, None, None] + windows[None]
    counts = np.empty((len(edges), len(chosen), len(windows)), np.uint16)
    with opened(path) as file:
        starts, ends = spike_trains.bounds(file, len(units))
        _check_kept(file, edges)
        for column, unit in enumerate(track(chosen, description="counting spikes")):
            spikes = spike_trains.spikes(file, int(units.unit_id[unit]), starts[unit], ends[unit])
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
        image_id=shown.image_id,
        presentation_id=shown.presentation_id[:, None],
        session_id=units.session_id[:1],
        window_s=windows,
        units=units.take(chosen),
    )
