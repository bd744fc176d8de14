"""Identification from the spikes of short windows: when a response begins to say which image was shown.

The encoding models of the whole response stay as they are. What a unit does in a short window is a line over its drive
d, the count that they predict for the whole window of `responses`:

    r = a + b d,    b >= 0,

fitted by least squares for each unit, window and fold to the training images, each with the drive that is predicted
without it. The noise is the covariance of what remains (see `noise`). A unit that keeps its mean has no drive, and b
is 0; so it is before the image can have reached a unit, but for chance.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikevaediff.encoding import noise
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.encoding.identification_curves import Task
from spikevaediff.recordings.preprocessing import mean_over_presentations
from spikevaediff.records import Responses, UnitTable


def lines(drive: np.ndarray, response: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least squares of r = a + b d with b >= 0, for each unit alone.

    Parameters
    ----------
    drive, response : float64, (n_images, n_units)

    Returns
    -------
    a, b : float64, (n_units,)
        b is 0 where the drive never varies.
    """
    d, r = drive - drive.mean(0), response - response.mean(0)
    squares = (d**2).sum(0)
    slope = np.divide((d * r).sum(0), squares, out=np.zeros(len(squares)), where=squares > 0)
    slope = np.maximum(slope, 0)
    return response.mean(0) - slope * drive.mean(0), slope


def of_unit(values: np.ndarray, n_units: int) -> np.ndarray:
    """Summed over the time windows of each unit: (..., n_windows * n_units) -> (..., n_units)."""
    return values.reshape(*values.shape[:-1], -1, n_units).sum(-2)


def over_time(
    models: Sequence[Encoder],
    of_shown: np.ndarray,
    fold: np.ndarray,
    own: np.ndarray,
    tested: np.ndarray,
    responses: Responses,
) -> dict[int, Any]:
    """Successes among all images, window by window, from the mean over all presentations.

    Parameters
    ----------
    models : sequence of Encoder
        One per fold.
    of_shown : float32, (n_folds, n_images, n_columns)
        What they predict for all images.
    fold, own, tested : int64, (n_tested,)
        The fold that tests an image, its row among all images, and its id.
    responses : Responses
        Spike counts of the same units in the windows of the curve.

    Returns
    -------
    dict of int to float64, (n_tested,)
        By the middle of the window, whole milliseconds after onset.

    Raises
    ------
    ValueError
        The responses are of other units than the models.
    """
    n_units = len(responses.units)
    for model in models:
        _check_units(model, responses.units)
    found = {}
    for window, (start_s, stop_s) in enumerate(responses.window_s.tolist()):
        counts = responses.counts[:, :, window].astype(np.float64)
        expected, covariances = [], []
        for model, predicted in zip(models, of_shown, strict=True):
            drive = of_unit(model.left_out, n_units)
            # A left-out mean is no drive: it falls exactly where the response rises.
            drive[:, of_unit((model.family >= 0).astype(np.int64), n_units) == 0] = 0
            trained = mean_over_presentations(counts, responses.image_id, model.image_id)
            a, b = lines(drive, trained)
            expected.append(a + b * of_unit(predicted.astype(np.float64), n_units))
            covariances.append(noise.covariance(trained - a - b * drive)[0])
        task = Task(covariances, np.stack(expected), fold, own, np.arange(n_units))
        mean = mean_over_presentations(counts, responses.image_id, tested)
        found[round(500 * (start_s + stop_s))] = task.first(mean, np.arange(n_units), [0.0] * len(models))
    return found


def _check_units(model: Encoder, units: UnitTable) -> None:
    n = len(units)
    if len(model.unit_id) % n or not np.array_equal(
        np.stack([model.session_id, model.unit_id]), np.tile([units.session_id, units.unit_id], len(model.unit_id) // n)
    ):
        raise ValueError("responses in short windows are of other units than the encoding models: dvc repro encode")
