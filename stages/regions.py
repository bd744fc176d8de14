"""Compare areas at equal numbers of units: python -m stages.regions

Writes artifacts/regions/curves.csv (score by area and number of units, with intervals), tests.csv (every pair of areas
at the common number) and bands.csv (the weights that banded ridge gives areas with that many units each).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.progress import track

import stages
from spikevaediff import images
from spikevaediff.analysis import curves, regions
from spikevaediff.files import tables
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.regression.methods import banded


def main() -> None:
    """Write the three tables."""
    options = stages.section(stages.declared("regions"), "regions")
    stages.check_options(compare, options, "regions")
    found = compare(**options)
    for name, rows in found.items():
        tables.write(f"artifacts/regions/{name}.csv", rows)
    stages.done(f"regions: {len(found['curves'])} points, {len(found['tests'])} pairs of areas")


def compare(
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
    """The rows of the three tables; see `spikevaediff.analysis.regions`."""
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    y = images.resize(stimuli.rows(split.image_id), size_px).reshape(len(split.image_id), -1).astype(np.float32)
    populations = {name: Responses.load(f"artifacts/responses/{name}.npz") for name in ("visual", "control")}
    visual = dict.fromkeys(populations["visual"].unit_area.tolist())
    x = regions.means_by_area(populations, split.image_id)
    common, widest = regions.common_units(x, n_units), max(values.shape[1] for values in x.values())

    def score(some: np.ndarray) -> np.ndarray:
        return curves.pixel_scores(some, y, split, alphas=alphas, n_columns=widest)[1]

    scores = {
        area: regions.scores_by_area({area: x[area]}, score, counts, n_units=common, n_draws=n_draws, seed=seed)[area]
        for area in track(x, "areas")
    }
    at_common = {area: by_count[common] for area, by_count in scores.items()}
    return {
        "curves": regions.curve_rows(scores, split, n_resamples=n_resamples, seed=seed),
        "tests": regions.pair_rows(at_common, split, n_draws=n_resamples, seed=seed),
        "bands": band_rows(
            {area: x[area] for area in visual},
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
    """The weight of every area in banded ridge regression with equal numbers of units, draw by draw of the units."""
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


if __name__ == "__main__":
    main()
