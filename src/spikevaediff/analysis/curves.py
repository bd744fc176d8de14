"""How decoding depends on the number of units and of presentations.

Every curve has a band: the 2.5th to 97.5th percentile over images drawn with replacement, and over draws of units or
presentations where a part of them is taken. The images are few, and most of the band is theirs. At the full number
nothing is left to draw, and the band is that of the images alone. Predictions of images by folds share training images;
their bands are as much wider as intervals of scores are (statistics.spread_of_intervals).
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from spikevaediff import images
from spikevaediff.evaluation import statistics
from spikevaediff.evaluation.metrics import two_way
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, ImageSplit, Responses, Stimuli
from spikevaediff.regression import cross_validation, folds
from spikevaediff.regression.methods import ridge

BAND = (2.5, 97.5)


def band(scores: np.ndarray, *, n_resamples: int, seed: int, spread: float = 1.0) -> tuple[float, float, float]:
    """Mean and band of scores of images.

    Parameters
    ----------
    scores : float64, (n_draws, n_images)
        One row per draw of units or presentations.
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
    return likeness(y[split.fold >= 0] - folds.training_mean(y, split), found.raw[0])


def likeness(shown: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlation over pixels of predicted and shown, and two-way identification by it among all.

    Parameters
    ----------
    shown, predicted : float, (n_images, n_pixels)

    Returns
    -------
    two of float64, (n_images,)
        As from `pixel_scores`.
    """
    shown, predicted = shown.astype(np.float64), predicted.astype(np.float64)
    unit = []
    for values in (shown, predicted):
        centred = values - values.mean(1, keepdims=True)
        norm = np.linalg.norm(centred, axis=1, keepdims=True)
        unit.append(np.divide(centred, norm, out=np.zeros_like(centred), where=norm > 0))
    alike = unit[0] @ unit[1].T
    return alike.diagonal().copy(), two_way.projection(two_way.wins(alike))


def over_units(
    x: np.ndarray, score: Callable[[np.ndarray], np.ndarray], counts: Sequence[int], *, n_draws: int, seed: int
) -> dict[int, np.ndarray]:
    """Scores from some of the units.

    Parameters
    ----------
    x : float64, (n_images, n_units)
    score : callable
        From (n_images, n) to one score per image.
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
        From (n_images, n_units) to one score per image.
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


def rows(
    population: str,
    responses: Responses,
    stimuli: Stimuli,
    split: ImageSplit,
    *,
    units: list[int],
    presentations: list[int],
    n_draws: int,
    size_px: int,
    alphas: list[float],
    n_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """How well images of a few pixels are predicted from some of the units or presentations of a population.

    Parameters
    ----------
    population : str
        Its name in the rows.
    responses : Responses
        A unit is one regressor, whatever the number of time bins: curves are over units and not over their bins.
    stimuli : Stimuli
    split : ImageSplit
    units, presentations : list of int
        See `over_units` and `over_presentations`.
    n_draws : int
        Of units, and of presentations.
    size_px : int
        Side of the images that are predicted.
    alphas : list of float
    n_resamples, seed : int
        Of the bands; the seed of the draws as well.

    Returns
    -------
    list of dict
        population; of, units or presentations; n; correlation and two_way with their _low and _high ends.
    """
    y = images.resize(stimuli.rows(split.image_id), size_px).reshape(len(split.image_id), -1).astype(np.float32)
    x = responses.counts.sum(2, dtype=np.float64)
    means = preprocessing.mean_over_presentations(x, responses.image_id, split.image_id)

    def score(some: np.ndarray) -> np.ndarray:
        # Both scores travel as one row: correlations of all images, then identifications.
        return np.concatenate(pixel_scores(some, y, split, alphas=alphas, n_columns=x.shape[1]))

    drawn = {"n_draws": n_draws, "seed": seed}
    curve = {
        "units": over_units(means, score, units, **drawn),
        "presentations": over_presentations(x, responses.image_id, split.image_id, score, presentations, **drawn),
    }
    found_rows, spread = [], statistics.spread_of_intervals(split.fold_of(split.test_ids))
    for of, found in curve.items():
        for n, scores in found.items():
            row: dict[str, Any] = {"population": population, "of": of, "n": n}
            parts = zip(("correlation", "two_way"), (-1, 0), np.split(scores, 2, axis=1), strict=True)
            for name, least, part in parts:
                value, *ends = band(part, n_resamples=n_resamples, seed=seed, spread=spread)
                low, high = np.clip(ends, least, 1).tolist()
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            found_rows.append(row)
    return found_rows
