"""What the mouse did while it looked: running speed and the area of its pupil, as a session file has them."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from spikevaediff import nwb

_RUNNING = "processing/running/running_speed"
_PUPIL = "processing/filtered_gaze_mapping/pupil_area"


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
    with nwb.opened(path) as file:
        return _RUNNING in file


def read_running_speed(path: str | Path) -> RunningSpeed:
    """Running speed over the session.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is damaged or has no running speed (every session of the data set has); the columns
        differ in length; time is not finite or falls.
    """
    with nwb.opened(path) as file:
        start = _rising(file, _RUNNING)
        stop = _rising(file, f"{_RUNNING}_end_times")
        speed = nwb.numbers(file, _RUNNING, "data")
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
    with nwb.opened(path) as file:
        if _PUPIL not in file:
            return None
        time, area = _rising(file, _PUPIL), nwb.numbers(file, _PUPIL, "data")
        if len(time) != len(area):
            raise ValueError(f"{file.filename}: /{_PUPIL} has {len(time)} times and {len(area)} areas")
    return Pupil(time, area)


def _rising(file: h5py.File, series: str) -> np.ndarray:
    time = nwb.numbers(file, series, "timestamps")
    if not np.isfinite(time).all() or np.any(time[1:] < time[:-1]):
        raise ValueError(f"{file.filename}: /{series}/timestamps must be finite and rise, but does not")
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
