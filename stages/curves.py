"""How decoding depends on time, on the number of units and of presentations: python -m stages.curves

Writes artifacts/curves/latency.csv, identity decoding of single presentations in sliding windows, area by area, and
artifacts/curves/counts.csv, ridge regression to images of a few pixels from some of the units or presentations of a
population. How, and what the bands are: spikevaediff.analysis.curves.
"""

from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

import stages
from spikevaediff import images
from spikevaediff.analysis import curves
from spikevaediff.evaluation import statistics
from spikevaediff.files import tables
from spikevaediff.recordings import preprocessing, sessions
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK, ImageSplit, Responses, Stimuli


def main() -> None:
    """Write both tables."""
    params = stages.declared("curves")
    latency, counts = (stages.section(params, "curves", name) for name in ("latency", "counts"))
    resampling = {name: stages.section(params, "curves", name) for name in ("n_resamples", "seed")}
    stages.check_options(latency_rows, latency, "curves.latency", passed=("areas", "limits", *resampling))
    stages.check_options(count_rows, counts, "curves.counts", passed=tuple(resampling))
    responses, areas = stages.section(params, "responses"), stages.section(params, "areas")
    limits = Limits.of(responses)
    every = sessions.areas_of(areas)
    paths = sessions.paths(Path("artifacts/sessions"))
    if not any(map(sessions.has_spike_times, paths)):
        print("curves.latency is not read: tables of responses have the windows that they were counted in, no others")
    rows = latency_rows(paths, areas=every, limits=limits, **resampling, **latency)
    tables.write("artifacts/curves/latency.csv", rows)
    stages.done(f"latency: {len(rows)} windows of {len({row['area'] for row in rows})} areas")
    rows = [row for name in ("visual", "control") for row in count_rows(name, **resampling, **counts)]
    tables.write("artifacts/curves/counts.csv", rows)
    stages.done(f"counts: {len(rows)} numbers of units and presentations")


def latency_rows(
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
    """One row an area and window: the share of presentations that are recognised, mean over sessions and images.

    Raises
    ------
    ValueError
        Sessions have different images or windows.
    """
    windows = curves.sliding_windows(start_s, stop_s, step_s, width_s)
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
            of_area = curves.identity_by_window(chosen, found.image_id, n_folds=n_folds, shrinkage=shrinkage)
            shares.setdefault(area, []).append(of_area)
    rows = []
    for area in areas:
        for window, (start, stop) in enumerate([] if counted is None else counted.tolist()):
            if area in shares:
                mean = np.mean([of_session[window] for of_session in shares[area]], axis=0)
                value, low, high = curves.band(mean[None], n_resamples=n_resamples, seed=seed)
                row = {"area": area, "n_units": n_units[area], "start_s": start, "stop_s": stop}
                rows.append(row | {"accuracy": value, "low": low, "high": high, "chance": 1 / len(mean)})
    return rows


def count_rows(
    population: str,
    *,
    units: list[int],
    presentations: list[int],
    n_draws: int,
    size_px: int,
    alphas: list[float],
    n_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One row a number of units and a number of presentations of one population."""
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    y = images.resize(stimuli.rows(split.image_id), size_px).reshape(len(split.image_id), -1).astype(np.float32)
    # A unit is one regressor here, whatever the number of time bins: curves are over units and not over their bins.
    x = responses.counts.sum(2, dtype=np.float64)
    means = preprocessing.mean_over_presentations(x, responses.image_id, split.image_id)

    def score(some: np.ndarray) -> np.ndarray:
        # Both scores travel as one row: correlations of all images, then identifications.
        return np.concatenate(curves.pixel_scores(some, y, split, alphas=alphas, n_columns=x.shape[1]))

    drawn = {"n_draws": n_draws, "seed": seed}
    curve = {
        "units": curves.over_units(means, score, units, **drawn),
        "presentations": curves.over_presentations(
            x, responses.image_id, split.image_id, score, presentations, **drawn
        ),
    }
    rows, spread = [], statistics.spread_of_intervals(split.fold_of(split.test_ids))
    for of, found in curve.items():
        for n, scores in found.items():
            row: dict[str, Any] = {"population": population, "of": of, "n": n}
            parts = zip(("correlation", "two_way"), (-1, 0), np.split(scores, 2, axis=1), strict=True)
            for name, least, part in parts:
                value, *ends = curves.band(part, n_resamples=n_resamples, seed=seed, spread=spread)
                low, high = np.clip(ends, least, 1).tolist()
                row |= {name: value, f"{name}_low": low, f"{name}_high": high}
            rows.append(row)
    return rows


if __name__ == "__main__":
    main()
