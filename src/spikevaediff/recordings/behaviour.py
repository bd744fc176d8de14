"""What the mouse did while it looked: running speed and the area of its pupil, as a session file has them."""

from typing import NamedTuple

import h5py
import numpy as np

from spikevaediff.recordings.session_file import Source, has, numbers, opened, times

_RUNNING = "processing/running/running_speed"
_PUPIL = "processing/filtered_gaze_mapping/pupil_area"
_CM_PER_S = {"cm/s": 1.0, "cm/sec": 1.0, "m/s": 100.0, "m/sec": 100.0, "mm/s": 0.1}


class RunningSpeed(NamedTuple):
    """How fast the mouse ran on its wheel.

    start_s, stop_s : float64, (n_samples,); what a sample spans.
    cm_per_s : float64, (n_samples,); negative when it ran backwards.
    """

    start_s: np.ndarray
    stop_s: np.ndarray
    cm_per_s: np.ndarray


def has_running_speed(path: Source) -> bool:
    """Whether a session knows how fast the mouse ran; those of the Allen Institute do, others may not."""
    with opened(path) as file:
        return has(file, _RUNNING)


def read_running_speed(path: Source) -> RunningSpeed:
    """Running speed over the session.

    A file that does not say when samples end is taken to measure until the next sample.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is damaged or has no running speed (every session of the data set has); the columns
        differ in length; time is not finite or falls; the unit is not a speed.
    """
    with opened(path) as file:
        start = times(file, _RUNNING)
        speed = numbers(file, _RUNNING, "data") * _cm_per_s(file)
        stop = times(file, f"{_RUNNING}_end_times") if has(file, f"{_RUNNING}_end_times") else None
    if stop is None and len(start) == len(speed) > 1:
        stop = np.append(start[1:], 2 * start[-1] - start[-2])
    lengths = {"start": len(start), "end": len(start if stop is None else stop), "speed": len(speed)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{path}: columns of /{_RUNNING} differ in length: {lengths}")
    return RunningSpeed(start, start if stop is None else stop, speed)


def _cm_per_s(file: h5py.File) -> float:
    """What a stored number of running speed is worth, in cm/s."""
    stored = file[f"{_RUNNING}/data"].attrs
    unit = "".join(str(stored.get("unit", "cm/s")).casefold().split())
    if unit not in _CM_PER_S:
        raise ValueError(
            f"{file.filename}: /{_RUNNING}/data is in {stored['unit']!r}, expected {', '.join(_CM_PER_S)}. Convert it, "
            f"or leave running speed out"
        )
    return _CM_PER_S[unit] * float(stored.get("conversion", 1.0))


class Pupil(NamedTuple):
    """The area of the pupil, seen by a camera.

    time_s : float64, (n_frames,).
    area : float64, (n_frames,); in the units of the file (square metres as published); NaN at blinks.
    """

    time_s: np.ndarray
    area: np.ndarray


def read_pupil(path: Source) -> Pupil | None:
    """Pupil area over the session, after the blinks were taken out; None for a session without eye tracking.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file; it is damaged; the columns differ in length; time is not finite or falls.
    """
    with opened(path) as file:
        if not has(file, _PUPIL):
            return None
        time, area = times(file, _PUPIL), numbers(file, _PUPIL, "data")
        if len(time) != len(area):
            raise ValueError(f"{file.filename}: /{_PUPIL} has {len(time)} times and {len(area)} areas")
    return Pupil(time, area)


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
