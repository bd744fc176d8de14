"""Which area carries the image, compared fairly.

An area with more units reconstructs better whatever it encodes, so areas are compared at equal numbers of units,
drawn repeatedly, and their curves over that number are shown. All areas predict the same images in the same folds: a
difference between two of them is tested image by image, and all pairs are corrected for together. The control area
(hippocampus) runs through the same code and must stay at chance. Banded ridge over all areas at once, with as many
units of each, asks something else: what an area adds to the others.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from spikevaediff.analysis import curves
from spikevaediff.evaluation import statistics
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses

_ZERO = 1e-12


def means_by_area(populations: Mapping[str, Responses], image_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Mean responses to images, area by area; a unit is one column, its time bins added up.

    Parameters
    ----------
    populations : dict of name to Responses
        An area that an earlier population has too (a shuffled control has all of them) is called "VISp of control".
    image_ids : int64, (n_images,)

    Returns
    -------
    dict of area to float64, (n_images, n_units of the area), in the order of the populations

    Raises
    ------
    KeyError
        An image was not presented.
    """
    found: dict[str, np.ndarray] = {}
    for population, responses in populations.items():
        counts = responses.counts.sum(2, dtype=np.float64)
        means = preprocessing.mean_over_presentations(counts, responses.image_id, image_ids)
        for area in dict.fromkeys(responses.unit_area.tolist()):
            name = f"{area} of {population}" if area in found else area
            found[name] = means[:, responses.unit_area == area]
    return found


def scores_by_area(
    x: Mapping[str, np.ndarray],
    score: Callable[[np.ndarray], np.ndarray],
    counts: Sequence[int],
    *,
    n_units: int,
    n_draws: int,
    seed: int,
) -> dict[str, dict[int, np.ndarray]]:
    """Scores of every area from some of its units.

    Parameters
    ----------
    x : dict of area to float64, (n_images, n_units of the area)
    score : callable
        From (n_images, n) to one score an image.
    counts : int
        Numbers of units of the curves; `n_units` is added.
    n_units : int
        Number at which areas are compared; 0: that of the smallest area.
    n_draws, seed : int
        Draws of units, as in curves.over_units.

    Returns
    -------
    dict of area to dict of n to float64, (n_draws, n_images)

    Raises
    ------
    ValueError
        n_units is below 0, or an area has fewer; areas and units are listed.
    """
    common = common_units(x, n_units)
    wanted = sorted({*counts, common})
    return {area: curves.over_units(values, score, wanted, n_draws=n_draws, seed=seed) for area, values in x.items()}


def common_units(x: Mapping[str, np.ndarray], n_units: int) -> int:
    """The number of units at which areas are compared; parameters and errors as `scores_by_area`."""
    there = {area: values.shape[1] for area, values in x.items()}
    if n_units < 0:
        raise ValueError(f"regions.n_units is {n_units}, expected 1 or more, or 0 for the number of the smallest area")
    common = n_units or min(there.values())
    if min(there.values()) < common:
        listed = ", ".join(f"{area} {n}" for area, n in sorted(there.items(), key=lambda pair: pair[1]))
        raise ValueError(f"regions.n_units is {common}, but areas have: {listed}. Lower it, or leave areas out")
    return common


def curve_rows(
    scores: Mapping[str, Mapping[int, np.ndarray]], split: ImageSplit, *, n_resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Mean and 95 % interval, in [0, 1], for every area and number of units; scores are means over draws."""
    fold = split.fold_of(split.test_ids)
    counts = statistics.resampled(len(fold), n_draws=n_resamples, seed=seed)
    spread = statistics.spread_of_intervals(fold)
    rows = []
    for area, by_count in scores.items():
        for n, drawn in sorted(by_count.items()):
            of_image = drawn.mean(0)
            low, high = np.clip(statistics.interval_of_mean(of_image, counts, spread), 0, 1).tolist()
            rows.append(
                {"area": area, "n_units": n, "n_draws": len(drawn), "score": of_image.mean(), "low": low, "high": high}
            )
    return rows


def sign_flip_p(difference: np.ndarray, *, spread: float, n_draws: int, seed: int) -> float:
    """Two-sided p-value of a mean difference, image by image, that is zero on average.

    p = (1 + #{|mean of differences with random signs| >= |mean difference| / spread}) / (1 + n_draws).

    Parameters
    ----------
    difference : float64, (n_images,)
    spread : float
        As from statistics.spread_of_folds: predictions of different folds share training images.
    n_draws, seed : int
    """
    sign = np.random.default_rng([seed]).integers(2, size=(n_draws, len(difference))) * 2.0 - 1.0
    drawn = np.abs(sign @ difference) / len(difference)
    return float((1 + np.sum(drawn >= abs(difference.mean()) / spread - _ZERO)) / (1 + n_draws))


def pair_rows(scores: Mapping[str, np.ndarray], split: ImageSplit, *, n_draws: int, seed: int) -> list[dict[str, Any]]:
    """Every pair of areas at equal numbers of units, corrected together by Holm's rule.

    Parameters
    ----------
    scores : dict of area to float64, (n_draws_of_units, n_images)
    split : ImageSplit
    n_draws, seed : int
        Of signs.
    """
    spread = statistics.spread_of_folds(split.fold_of(split.test_ids))
    rows = []
    for one, other in itertools.combinations(scores, 2):
        difference = scores[one].mean(0) - scores[other].mean(0)
        p = sign_flip_p(difference, spread=spread, n_draws=n_draws, seed=seed)
        rows.append({"area": one, "other": other, "difference": difference.mean(), "p": p})
    for row, corrected in zip(rows, statistics.holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = corrected
    return rows
