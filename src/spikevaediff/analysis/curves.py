"""How decoding depends on when one listens, to how many units and over how many presentations.

Every curve has a band: the 2.5th to 97.5th percentile over images drawn with replacement, and over draws of units or
presentations where a part of them is taken. The images are few, and most of the band is theirs. At the full number
nothing is left to draw, and the band is that of the images alone. Predictions of images by folds share training images;
their bands are as much wider as intervals of scores are (statistics.spread_of_intervals).
"""

from collections.abc import Callable, Sequence

import numpy as np

from spikevaediff.evaluation.metrics import two_way
from spikevaediff.recordings import identity, preprocessing
from spikevaediff.records import BLANK, ImageSplit
from spikevaediff.regression import cross_validation, folds
from spikevaediff.regression.methods import ridge

BAND = (2.5, 97.5)


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
    fold = identity.contiguous_folds(int(kept.sum()), n_folds)
    shares = np.empty((x.shape[2], len(images)))
    for window in range(x.shape[2]):
        values = x[kept, :, window].astype(np.float64)
        if np.issubdtype(x.dtype, np.integer):
            values = np.sqrt(values)
        correct = identity.discriminant(values, image_id[kept], fold, shrinkage=shrinkage)
        shares[window] = np.bincount(label, correct, len(images)) / np.bincount(label, minlength=len(images))
    return shares


def band(scores: np.ndarray, *, n_resamples: int, seed: int, spread: float = 1.0) -> tuple[float, float, float]:
    """Mean and band of scores of images.

    Parameters
    ----------
    scores : float64, (n_draws, n_images)
        A row a draw of units or presentations.
    n_resamples, seed : int
        Each time one draw is taken, and its images with replacement.
    spread : float
        The band is so much wider about the mean.

    Returns
    -------
    mean, low, high : float
    """
    rng = np.random.default_rng([seed, *scores.shape])
    draw = rng.integers(len(scores), size=(n_resamples, 1))
    image = rng.integers(scores.shape[1], size=(n_resamples, scores.shape[1]))
    low, high = np.percentile(scores[draw, image].mean(1), BAND)
    mean = scores.mean()
    return float(mean), float(mean + spread * (low - mean)), float(mean + spread * (high - mean))


def pixel_scores(
    x: np.ndarray, y: np.ndarray, split: ImageSplit, *, alphas: Sequence[float], n_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """How well images of a few pixels are predicted by ridge regression, out of fold.

    Both scores look at what differs from the mean of the training images; with that mean in place, even responses that
    know nothing of the image would score, above or below chance.

    Parameters
    ----------
    x : float64, (n_images, n_units)
        Mean responses, rows in the order of split.image_id.
    y : float, (n_images, n_pixels), in the same order.
    split : ImageSplit
    alphas : float, (n_alphas,)
        One is chosen for all pixels of a fold, by leaving out its training images.
    n_columns : int
        x is filled up with columns of zeros, which predict nothing: one shape for all numbers of units, compiled once.

    Returns
    -------
    two of float64, (n_test_images,), in the order of split.test_ids
        Pearson correlation over pixels of predicted and shown, and two-way identification by it among all test images,
        as what each image adds to it (two_way.projection): bands and tests are over pairs of images.
    """
    x = np.pad(x, ((0, 0), (0, n_columns - x.shape[1])))
    options = {
        "group_size": np.array([y.shape[1]]),
        "alphas": alphas,
        "alpha_scope": "global",
        "folds": "image",
        "seed": 0,
    }
    found = cross_validation.predict(x, y, split, ridge, options, deviations=True)
    predicted = found.raw[0].astype(np.float64)
    shown = (y[split.fold >= 0] - folds.training_mean(y, split)).astype(np.float64)
    unit = []
    for values in (shown, predicted):
        centred = values - values.mean(1, keepdims=True)
        norm = np.linalg.norm(centred, axis=1, keepdims=True)
        unit.append(np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0))
    likeness = unit[0] @ unit[1].T
    return likeness.diagonal().copy(), two_way.projection(two_way.wins(likeness))


def over_units(
    x: np.ndarray, score: Callable[[np.ndarray], np.ndarray], counts: Sequence[int], *, n_draws: int, seed: int
) -> dict[int, np.ndarray]:
    """Scores from some of the units.

    Parameters
    ----------
    x : float64, (n_images, n_units)
    score : callable
        From (n_images, n) to one score an image.
    counts : int
        Numbers of units; those above n_units are left out, and n_units itself is added.
    n_draws, seed : int
        A draw is an order of the units, of which the first n are taken: more units contain fewer ones.

    Returns
    -------
    dict of n to float64, (n_draws, n_images); a single row for all units.
    """
    n_units = x.shape[1]
    orders = [np.random.default_rng([seed, draw]).permutation(n_units) for draw in range(n_draws)]
    found = {n: np.stack([score(x[:, np.sort(order[:n])]) for order in orders]) for n in counts if n < n_units}
    return found | {n_units: score(x)[None]}


def over_presentations(
    x: np.ndarray,
    image_id: np.ndarray,
    wanted: np.ndarray,
    score: Callable[[np.ndarray], np.ndarray],
    counts: Sequence[int],
    *,
    n_draws: int,
    seed: int,
) -> dict[int, np.ndarray]:
    """Scores from the mean over some of the presentations of each image, in training and test alike.

    Parameters
    ----------
    x : float64, (n_presentations, n_units)
    image_id : int64, (n_presentations,)
    wanted : int64, (n_images,)
    score : callable
        From (n_images, n_units) to one score an image.
    counts : int
        Numbers of presentations; those that some image lacks are left out, and the largest that all have is added.
    n_draws, seed : int
        A draw is an order of the presentations of each image, by (seed, draw, image_id).

    Returns
    -------
    dict of k to float64, (n_draws, n_images)
    """
    rows = [np.flatnonzero(image_id == image) for image in wanted.tolist()]
    most = min(len(of_image) for of_image in rows)
    found: dict[int, list[np.ndarray]] = {k: [] for k in sorted({*[k for k in counts if k < most], most})}
    for draw in range(n_draws):
        orders = [
            np.random.default_rng([seed, draw, image - BLANK]).permutation(of_image)
            for image, of_image in zip(wanted.tolist(), rows, strict=True)
        ]
        for k, scores in found.items():
            taken = np.sort(np.concatenate([order[:k] for order in orders]))
            scores.append(score(preprocessing.mean_over_presentations(x[taken], image_id[taken], wanted)))
    return {k: np.stack(scores) for k, scores in found.items()}
