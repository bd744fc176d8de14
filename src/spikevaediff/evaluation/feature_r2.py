"""R2 of predicted features, before any decoder: how much of the variance of unseen images the regression explains.

R2_g = 1 - sum_j ||y_j - p_j||^2 / sum_j ||y_j - m_j||^2 over test images j and the dims of group g (a layer, a token),
m_j being the mean of the images that the fold of j trained on: 0 is that mean, negative is worse than it. The number of
a space is the mean over its groups, so that a layer with many dims is not all there is. Predictions are taken as the
regression left them: renormalised ones would be punished for their contrast.
"""

import itertools
from functools import lru_cache
from typing import Any

import numpy as np

from spikevaediff.evaluation import statistics
from spikevaediff.records import Features, ImageSplit, group_edges


def training_means(true: Features, split: ImageSplit) -> np.ndarray:
    """The mean of the images that each fold trains on, float64 (n_folds, n_dims)."""
    total = true.rows(split.image_id).sum(0, dtype=np.float64)
    means = np.empty((split.n_folds, len(total)))
    for fold in range(split.n_folds):
        # What is left of the sum of all, which takes one pass over the images, not one for every fold.
        train_ids, test_ids = split.ids(fold)
        means[fold] = (total - true.rows(test_ids).sum(0, dtype=np.float64)) / len(train_ids)
    return means


def squares(true: Features, predicted: Features, split: ImageSplit) -> tuple[np.ndarray, np.ndarray]:
    """Squared errors of all pairs, and squared deviations from the training mean.

    Parameters
    ----------
    true, predicted : Features
        Of one space; true ones of every image of the split.
    split : ImageSplit

    Returns
    -------
    error : float64, (n_groups, n_test, n_test)
        [g, i, j] : of prediction j had image i been shown.
    deviation : float64, (n_groups, n_test)
    """
    ids = split.test_ids
    starts = group_edges(predicted.group_size)
    y, p = true.rows(ids), predicted.rows(ids)
    error = np.empty((len(starts) - 1, len(ids), len(ids)))
    deviation = np.empty((len(starts) - 1, len(ids)))
    means = training_means(true, split)
    fold = split.fold_of(ids)
    for g, (a, b) in enumerate(itertools.pairwise(starts.tolist())):
        # Without their common mean, squares lose no digits to it.
        centre = y[:, a:b].mean(0, dtype=np.float64)
        u, v = y[:, a:b] - centre, p[:, a:b] - centre
        error[g] = np.maximum((u * u).sum(1)[:, None] + (v * v).sum(1)[None, :] - 2 * u @ v.T, 0)
        deviation[g] = ((y[:, a:b] - means[fold, a:b]) ** 2).sum(1)
    return error, deviation


@lru_cache(maxsize=1)
def _draws(fold: bytes, n_draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairings and resampled images of the folds, int64, which are the same for every space and run."""
    of_image = np.frombuffer(fold, np.int64)
    drawn = statistics.pairings(of_image, n_draws=n_draws, seed=seed)
    return drawn, statistics.resampled(len(of_image), n_draws=n_draws, seed=seed)


def summary(true: Features, predicted: Features, split: ImageSplit, *, n_draws: int, seed: int) -> dict[str, Any]:
    """R2 of a space with its interval, chance and p-value, and of its groups.

    Returns
    -------
    dict
        mean, interval, chance, p as scores.summary; groups : list of dict with group and r2, None for a constant one.
        None everywhere for a space that is the same for every image (texts where no image has a caption).
    """
    error, deviation = squares(true, predicted, split)
    fold = split.fold_of(split.test_ids).astype(np.int64, copy=False)
    total = deviation.sum(1)
    used = total > 1e-9 * max(float(total.max()), 1e-300)  # a constant group (a padded token) has no R2
    names = predicted.group_name.tolist()
    if not used.any():
        unknown = {"mean": None, "interval": [None, None], "chance": None, "p": None}
        return unknown | {"groups": [{"group": name, "r2": None} for name in names]}
    weight = np.where(used, 1 / np.where(used, total, 1), 0) / max(int(used.sum()), 1)
    matrix, below = np.einsum("g,gij->ij", weight, error), weight @ deviation
    above = matrix.diagonal()
    wrong = statistics.chance(matrix, fold)
    drawn, counts = _draws(fold.tobytes(), n_draws, seed)
    spread = statistics.spread_of_intervals(fold)
    own = 1 - np.einsum("gjj->g", error) / np.where(used, total, 1)
    return {
        "mean": float(1 - above.sum() / below.sum()),
        "interval": list(statistics.interval_of_ratio(above, below, counts, spread)),
        "chance": None if wrong is None else float(1 - wrong * len(fold) / below.sum()),
        "p": statistics.p_value(matrix, fold, drawn, larger_is_better=False),
        "groups": [
            {"group": name, "r2": float(value) if there else None}
            for name, value, there in zip(names, own.tolist(), used.tolist(), strict=True)
        ],
    }
