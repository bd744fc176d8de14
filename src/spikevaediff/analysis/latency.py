"""How identity decoding of single presentations depends on the time window: sliding windows, area by area."""

from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from spikevaediff.analysis import curves
from spikevaediff.recordings import identity, sessions, spike_counts
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK
from spikevaediff.side_by_side import side_by_side, workers


def identity_by_window(x: np.ndarray, image_id: np.ndarray, *, n_folds: int, shrinkage: float) -> np.ndarray:
    """Share of the presentations of each image that are recognised, window by window.

    Parameters
    ----------
    x : real, (n_presentations, n_units, n_windows)
        In the order of the session; blanks are left out. Whole numbers are counts and are decoded by their roots.
    image_id : int64, (n_presentations,)
    n_folds, shrinkage
        See spikevaediff.recordings.identity.

    Returns
    -------
    float64, (n_windows, n_images); images in the order of their ids.
    """
    kept = image_id != BLANK
    images, label = np.unique(image_id[kept], return_inverse=True)
    fold = identity.folds(image_id[kept], n_folds)

    def shares(window: int) -> np.ndarray:
        values = x[kept, :, window].astype(np.float64)
        if np.issubdtype(x.dtype, np.integer):
            values = np.sqrt(values)
        correct = identity.discriminant(values, image_id[kept], fold, shrinkage=shrinkage)
        return np.bincount(label, correct, len(images)) / np.bincount(label, minlength=len(images))

    found = list(side_by_side(shares, range(x.shape[2]), at_once=workers()))
    return np.array(found).reshape(x.shape[2], len(images))


def rows(
    paths: list[Path],
    *,
    areas: list[str],
    limits: Limits,
    start_s: float,
    stop_s: float,
    step_s: float,
    width_s: float,
    n_folds: int,
    shrinkage: float,
    n_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The share of presentations that are recognised, mean over sessions and images, for every area and window.

    Parameters
    ----------
    paths : list of Path
        Sessions.
    areas : list of str
    limits : Limits
        Of the quality of units.
    start_s, stop_s, step_s, width_s : float
        See spike_counts.sliding_windows; tables of responses keep the windows that they were counted in.
    n_folds, shrinkage
        See spikevaediff.recordings.identity.
    n_resamples, seed : int
        Of the bands.

    Returns
    -------
    list of dict
        area, n_units of all sessions together, start_s, stop_s, accuracy, low, high, chance, n_sessions. Each session
        is decoded by itself.

    Raises
    ------
    ValueError
        Sessions have different images or windows.
    """
    windows = spike_counts.sliding_windows(start_s, stop_s, step_s, width_s)
    shares: dict[str, list[np.ndarray]] = {}
    n_units: dict[str, int] = {}
    counted = shown = None
    for path in paths:
        left = sessions.summary(path, limits)
        here = [area for area in areas if area in left and list(left[area].values())[-1]]
        found = sessions.read_responses(path, areas=here, windows_s=windows, min_units=1, limits=limits)
        images_shown, n_shown = np.unique(found.image_id[found.image_id != BLANK], return_counts=True)
        if counted is not None and not np.array_equal(counted, found.window_s):
            raise ValueError(f"{path} was counted in other windows than {paths[0]}; leave one of them out")
        if shown is not None and not np.array_equal(shown, images_shown):
            raise ValueError(f"{path} shows other images than {paths[0]}; leave one of them out")
        counted, shown = found.window_s, images_shown
        if n_shown.min() < 2:
            print(f"{path.name}: images were shown once, so that identity cannot be learnt from other presentations")
            continue
        for area in track(here, f"{path.stem}: windows"):
            chosen = found.counts[:, found.units.area == area]
            n_units[area] = n_units.get(area, 0) + chosen.shape[1]
            of_area = identity_by_window(chosen, found.image_id, n_folds=n_folds, shrinkage=shrinkage)
            shares.setdefault(area, []).append(of_area)
    found_rows = []
    for area in areas:
        for window, (start, stop) in enumerate([] if counted is None else counted.tolist()):
            if area in shares:
                mean = np.mean([of_session[window] for of_session in shares[area]], axis=0)
                value, low, high = curves.band(mean[None], n_resamples=n_resamples, seed=seed)
                row = {"area": area, "n_units": n_units[area], "start_s": start, "stop_s": stop}
                row |= {"accuracy": value, "low": low, "high": high, "chance": 1 / len(mean)}
                found_rows.append(row | {"n_sessions": len(shares[area])})
    return found_rows
