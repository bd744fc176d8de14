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
from rich.progress import track

from spikevaediff import images
from spikevaediff.analysis import curves
from spikevaediff.evaluation import statistics
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.regression.methods import banded

_ZERO = 1e-12


def compare(
    stimuli: Stimuli,
    split: ImageSplit,
    populations: Mapping[str, Responses],
    *,
    n_units: int,
    counts: Sequence[int],
    n_draws: int,
    size_px: int,
    alphas: Sequence[float],
    n_resamples: int,
    max_steps: int,
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """Areas compared at equal numbers of units, and what each adds to the others.

    Parameters
    ----------
    stimuli : Stimuli
    split : ImageSplit
    populations : dict of name to Responses
        visual and control; areas of the first alone take part in banded ridge.
    n_units, counts, n_draws
        See `scores_by_area`.
    size_px : int
        Side of the images that are predicted.
    alphas : float, (n_alphas,)
    n_resamples : int
        Of images for intervals, of signs for the tests.
    max_steps : int
        Of the search for weights of banded ridge.
    seed : int

    Returns
    -------
    dict of str to list of dict
        curves, score by area and number of units; tests, every pair of areas at the common number; bands, the weights
        that banded ridge gives areas with that many units each.

    Raises
    ------
    KeyError, ValueError
        As `means_by_area` and `scores_by_area`.
    """
    y = images.resize(stimuli.rows(split.image_id), size_px).reshape(len(split.image_id), -1).astype(np.float32)
    visual = dict.fromkeys(populations["visual"].unit_area.tolist())
    x = means_by_area(populations, split.image_id)
    common, widest = common_units(x, n_units), max(values.shape[1] for values in x.values())

    def score(some: np.ndarray) -> np.ndarray:
        return curves.pixel_scores(some, y, split, alphas=alphas, n_columns=widest)[1]

    scores = {
        area: scores_by_area({area: x[area]}, score, counts, n_units=common, n_draws=n_draws, seed=seed)[area]
        for area in track(x, "areas")
    }
    at_common = {area: by_count[common] for area, by_count in scores.items()}
    return {
        "curves": curve_rows(scores, split, n_resamples=n_resamples, seed=seed),
        "tests": pair_rows(at_common, split, n_draws=n_resamples, seed=seed),
        "bands": band_rows(
            {area: x[area] for area in visual if area in x},
            y,
            common,
            alphas=alphas,
            n_draws=n_draws,
            max_steps=max_steps,
            seed=seed,
        ),
    }


def band_rows(
    x: dict[str, np.ndarray],
    y: np.ndarray,
    n_units: int,
    *,
    alphas: Sequence[float],
    n_draws: int,
    max_steps: int,
    seed: int,
) -> list[dict[str, Any]]:
    """The weight of every area in banded ridge regression with equal numbers of units, draw by draw of the units.

    Parameters
    ----------
    x : dict of area to float64, (n_images, n_units of the area)
    y : float, (n_images, n_pixels)
    n_units : int
        Of every area.
    alphas, n_draws, max_steps, seed
        As in `compare`.

    Returns
    -------
    list of dict
        draw, area, n_units, weight.
    """
    every = np.concatenate(list(x.values()), axis=1)
    area = np.repeat(list(x), [values.shape[1] for values in x.values()])
    z = preprocessing.standardise(every, preprocessing.scale_of(every))
    found = []
    for draw in track(range(n_draws), "banded ridge"):
        fit = banded.fit(
            z,
            y - y.mean(0, keepdims=True),
            y_row=np.arange(len(y)),
            group_size=np.array([y.shape[1]]),
            bands=area,
            units_per_band=n_units,
            max_steps=max_steps,
            alphas=alphas,
            alpha_scope="global",
            folds="image",
            seed=seed + draw,
        )
        summary = fit.summary()
        for name, weight in zip(summary["band_name"].tolist(), summary["band_weight"][0].tolist(), strict=True):
            found.append({"draw": draw, "area": name, "n_units": n_units, "weight": weight})
    return found


def means_by_area(populations: Mapping[str, Responses], image_ids: np.ndarray) -> dict[str, np.ndarray]:
    """Mean responses to images, area by area; a unit is one column, its time bins added up.

    Units whose mean response is the same to all images tell nothing apart, and are left out. An area that has no
    others is left out too, and printed.

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
    ValueError
        No unit of any area varies.
    """
    found: dict[str, np.ndarray] = {}
    for population, responses in populations.items():
        counts = responses.counts.sum(2, dtype=np.float64)
        means = preprocessing.mean_over_presentations(counts, responses.image_id, image_ids)
        for area in dict.fromkeys(responses.unit_area.tolist()):
            name = f"{area} of {population}" if area in found else area
            of_area = means[:, responses.unit_area == area]
            if (varies := np.ptp(of_area, axis=0) > 0).any():
                found[name] = of_area[:, varies]
            else:
                print(
                    f"{name} is left out: none of its units ({of_area.shape[1]}) responds differently to any two images"
                )
    if not found:
        raise ValueError("no unit of any area responds differently to any two images: there is nothing to compare")
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
        From (n_images, n) to one score per image.
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
