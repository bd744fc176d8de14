"""Identification among all images from fewer units or fewer presentations; see `identification`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikevaediff.encoding import identification
from spikevaediff.encoding.fewer_presentations import Noise
from spikevaediff.evaluation import statistics
from spikevaediff.records import BLANK


@dataclass(frozen=True)
class Task:
    """Tested images, and what the encoding model of each fold expects of all images.

    covariances : list of float64, (n_columns, n_columns); one per fold, around a mean over all presentations.
    predicted : float32, (n_folds, n_images, n_columns).
    fold, own : int64, (n_tested,); the fold that tests an image, and its row among all images.
    unit : int64, (n_columns,); columns of one unit, its time windows, have one number.
    """

    covariances: list[np.ndarray]
    predicted: np.ndarray
    fold: np.ndarray
    own: np.ndarray
    unit: np.ndarray

    def first(self, response: np.ndarray, columns: np.ndarray, more_noise: Sequence[np.ndarray | float]) -> np.ndarray:
        """1 for a tested image that is identified, 1 / k for a tie of k, else 0: float64 (n_tested,).

        Parameters
        ----------
        response : float64, (n_tested, n_columns)
        columns : int64, (n,)
            Those that are used.
        more_noise : sequence of float64, (n_columns, n_columns), or of 0
            Added to the covariance of each fold.
        """
        found = np.empty(len(self.fold))
        for k, covariance in enumerate(self.covariances):
            rows = np.flatnonzero(self.fold == k)
            noise = (covariance + more_noise[k])[np.ix_(columns, columns)]
            expected = self.predicted[k][:, columns].astype(np.float64)
            likelihood = identification.log_likelihood(response[rows][:, columns], expected, noise)
            found[rows] = identification.successes(identification.rank(likelihood, self.own[rows]))
        return found


def over_units(task: Task, response: np.ndarray, counts: Sequence[int], *, n_draws: int, seed: int) -> dict[int, Any]:
    """Successes from some of the units.

    Parameters
    ----------
    task : Task
    response : float64, (n_tested, n_columns)
        Mean over all presentations.
    counts : sequence of int
        Numbers of units; those above n_units are left out, and n_units itself is added.
    n_draws, seed : int
        A draw is an order of the units, of which the first n are taken: more units contain fewer ones.

    Returns
    -------
    dict of n to float64, (n_tested,), mean over draws
    """
    units, nothing = np.unique(task.unit), [0.0] * len(task.covariances)
    orders = [np.random.default_rng([seed, draw]).permutation(units) for draw in range(n_draws)]
    found = {}
    for n in [n for n in counts if n < len(units)]:
        taken = [np.flatnonzero(np.isin(task.unit, order[:n])) for order in orders]
        found[n] = np.mean([task.first(response, columns, nothing) for columns in taken], axis=0)
    return found | {len(units): task.first(response, np.arange(len(task.unit)), nothing)}


def over_presentations(
    task: Task,
    x: np.ndarray,
    image_id: np.ndarray,
    tested: np.ndarray,
    train: Sequence[np.ndarray],
    mean_of: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    counts: Sequence[int],
    *,
    n_draws: int,
    seed: int,
) -> dict[int, Any]:
    """Successes from the mean over some of the presentations of each tested image; the models keep all of theirs.

    A mean over k presentations has more noise than the models know, see `fewer_presentations`.

    Parameters
    ----------
    task : Task
    x : float64, (n_presentations, n_columns)
    image_id : int64, (n_presentations,)
    tested : int64, (n_tested,)
    train : list of int64, (n_train,)
        Training images of each fold.
    mean_of : callable
        preprocessing.mean_over_presentations.
    counts : sequence of int
        Numbers of presentations; those that some image lacks are left out, and the largest that all have is added.
    n_draws, seed : int
        A draw is an order of the presentations of each image, by (seed, draw, image_id).

    Returns
    -------
    dict of k to float64, (n_tested,), mean over draws
    """
    presented = [np.flatnonzero(image_id == image) for image in tested.tolist()]
    most = min(map(len, presented))
    columns, trained = np.arange(x.shape[1]), [np.isin(image_id, ids) for ids in train]
    noises = [Noise.of(x[mask], image_id[mask]) for mask in trained]
    found = {}
    for k in sorted({*[k for k in counts if k < most], most}):
        more = [noise.added(k) for noise in noises]
        drawn = []
        for draw in range(n_draws if k < most else 1):
            taken = [
                np.random.default_rng([seed, draw, image - BLANK]).permutation(of_image)[:k]
                for image, of_image in zip(tested.tolist(), presented, strict=True)
            ]
            rows = np.sort(np.concatenate(taken))
            drawn.append(task.first(mean_of(x[rows], image_id[rows], tested), columns, more))
        found[k] = np.mean(drawn, axis=0)
    return found


def rows(population: str, of: str, curve: dict[int, Any], fold: np.ndarray, chance: float) -> list[dict[str, Any]]:
    """One row per number of units or presentations, or per window: share identified, its 95 % interval, chance."""
    spread = statistics.spread_of_intervals(fold)
    found = []
    for n, first in curve.items():
        low, high = statistics.interval_of_proportion(first, len(first), spread)
        row = {"population": population, "of": of, "n": n, "top1": float(first.mean())}
        found.append(row | {"low": low, "high": high, "chance": chance})
    return found
