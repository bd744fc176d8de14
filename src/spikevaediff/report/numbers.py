"""The small results that Git keeps: one table of numbers, curves and pictures, each saying which data it is of."""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spikevaediff.evaluation.correlation import correlation
from spikevaediff.evaluation.feature_r2 import training_means
from spikevaediff.evaluation.metrics import two_way
from spikevaediff.evaluation.statistics import (
    holm,
    interval_of_mean,
    interval_of_paired_proportions,
    resampled,
    spread_of_intervals,
)
from spikevaediff.parameters.runs import Runs
from spikevaediff.recordings.reliability import correlation_of_groups
from spikevaediff.records import Features, ImageSplit
from spikevaediff.report.figures.picture import Picture, subplots

# Of metrics.json, so that a rerun on another processor or with other threads changes none of its lines: there, what
# looks through a network or tells images apart moves by 5e-6 to 7e-5, everything else by 1e-6 (docs/experiments.md).
COARSE_DIGITS = 2
MEAN_DIGITS = 3
DIGITS = 4  # of statistics.json and the tables in plots/, which show all that a processor and its threads decide


def table(scores: dict[str, dict[str, Any]], halves: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean scores, run by run; then those of the first run for wrong images, and its noise ceiling.

    Parameters
    ----------
    scores : dict of run to what scores.score_run returns
        The first run is the one that reports wrong pairings.
    halves : dict
        As ceilings.of_halves returns.

    Returns
    -------
    dict of run to dict of metric to float
        Rounded; a metric that is absent is left out. "shuffled" pairs reconstructions with wrong images of their fold.
    """
    first = next(iter(scores))
    coarse = {name for name, metric in scores[first]["metrics"].items() if metric["network"] is not None}
    result = {run: _numbers(one["metrics"], "mean", coarse) for run, one in scores.items()}
    result["shuffled"] = _numbers(scores[first]["metrics"], "chance", coarse)
    result["noise_ceiling"] = _numbers(halves["metrics"], "ceiling", coarse)
    return result


def _numbers(metrics: dict[str, dict[str, Any]], key: str, coarse: set[str]) -> dict[str, float]:
    there = {name: metric[key] for name, metric in metrics.items() if metric[key] is not None}
    return {name: mean_of_metrics(value, coarse=name in coarse) for name, value in there.items()}


def mean_of_metrics(value: float, *, coarse: bool = False) -> float:
    """A mean with the digits of metrics.json, fewer where it is coarse; never -0.0, another line than 0.0."""
    return round(float(value), COARSE_DIGITS if coarse else MEAN_DIGITS) + 0.0


def identification(found: dict[str, dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Rows of the table that say how many unseen images encoding models identify.

    Parameters
    ----------
    found : dict of population to what encoding.identification.of_sets returns

    Returns
    -------
    dict
        identification, of the visual population, and identification_control: top1_fold, top1_all, top1_library: share
        of images identified among those of the fold, all, and the library's; top1_chance: of top1_all.
    """
    rows = {}
    for population, sets in found.items():
        row = {f"top1_{name}": round(one["top1"], DIGITS) for name, one in sets.items()}
        row["top1_chance"] = _chance(sets["all"]["chance"])
        rows["identification" if population == "visual" else f"identification_{population}"] = row
    return rows


def _chance(share: float) -> float:
    """The share of images identified by chance, with the digits of the metrics; 1 of 22,348 is not 0."""
    return round(share, DIGITS) if share >= 1e-3 else float(f"{share:.3g}")


def rounded(value: Any) -> Any:
    """Nested dicts and lists with the digits of the metrics; p-values keep 6, and shares identified by chance three
    significant ones."""
    if isinstance(value, dict):
        kept = {"p_value": lambda p: round(p, 6)} | ({"chance": _chance} if "top1" in value else {})
        return {k: kept.get(k, rounded)(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(one) for one in value]
    return _digits(value)


def per_image(run: str, scored: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per image: run, image_id and every score; a metric that is absent is left out."""
    there = {name: metric["scores"] for name, metric in scored["metrics"].items() if metric["absent"] is None}
    ids = sorted(map(int, next(iter(there.values()))))
    return [{"run": run, "image_id": i} | {name: scores[str(i)] for name, scores in there.items()} for i in ids]


def evidence(
    scores: dict[str, dict[str, Any]],
    halves: dict[str, Any],
    features: dict[str, dict[str, Any]],
    findings: dict[str, list[dict[str, Any]]],
    *,
    hypotheses: tuple[str, ...],
    compared: tuple[tuple[str, str], ...],
) -> dict[str, Any]:
    """What stands behind the table: intervals, chance, p-values before and after correction, ceilings, networks.

    Parameters
    ----------
    scores, halves
        As `table`.
    features : dict of run to what feature_r2.summary returns
    findings : dict of run to the findings of its checks
    hypotheses : tuple of str
        The runs whose scores are tested. Their p-values, of all metrics and of their features, are one
        family for the correction; those of ceilings and baselines are not corrected.
    compared : tuple of (run, other)
        As `differences`.

    Returns
    -------
    dict
        protocol, n_images, n_folds, settings; runs : run -> metric -> mean, low, high, chance, p, p_holm, n;
        differences : as of `differences`; ceilings : metric -> noise, agreement, generator; features : run -> the same
        as a metric, with groups; metrics : metric -> larger_is_better, network, resize, input_px, weights_sha256,
        absent; checks.
    """
    first = next(iter(scores.values()))
    runs: dict[str, dict[str, dict[str, Any]]] = {
        run: {name: _worth(m, one["n_images"]) for name, m in one["metrics"].items() if m["absent"] is None}
        for run, one in scores.items()
    }
    spaces = {run: _worth(one, first["n_images"]) | {"groups": one["groups"]} for run, one in features.items()}
    family = [entry for run in hypotheses for entry in runs.get(run, {}).values()] + list(spaces.values())
    family = [entry for entry in family if entry["p"] is not None]
    for entry, p in zip(family, holm([entry["p"] for entry in family]), strict=True):
        entry["p_holm"] = round(p, 6)
    about = ("larger_is_better", "network", "resize", "input_px", "weights_sha256", "absent")
    ceilings = {
        name: {"noise": halves["metrics"][name]["ceiling"], "agreement": halves["metrics"][name]["agreement"]}
        | ({"generator": scores["ceiling"]["metrics"][name]["mean"]} if "ceiling" in scores else {})
        for name in first["metrics"]
        if first["metrics"][name]["absent"] is None
    }
    return {
        "protocol": first["protocol"],
        "n_images": first["n_images"],
        "n_folds": first["n_folds"],
        "settings": first["settings"],
        "runs": runs,
        "differences": differences(scores, compared),
        "ceilings": {name: {k: _digits(v) for k, v in one.items()} for name, one in ceilings.items()},
        "features": spaces,
        "metrics": {name: {key: metric[key] for key in about} for name, metric in first["metrics"].items()},
        "checks": findings,
    }


def differences(
    scores: dict[str, dict[str, Any]], compared: tuple[tuple[str, str], ...]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """What one run gains over another on the same images, score by score.

    Parameters
    ----------
    scores : dict of run to what scores.score_run returns
    compared : tuple of (run, other)

    Returns
    -------
    dict of "run - other" to dict of metric to mean, low, high
        Mean over images of the difference of their scores, joined by id, and its 95 % interval: bootstrap over images,
        the same draws for both runs, of what an image adds as the one shown and as a competitor where the score is
        identification; for retrieval that of paired proportions.
    """
    first = next(iter(scores.values()))
    n, settings = first["n_images"], first["settings"]
    counts = resampled(n, n_draws=settings["n_draws"], seed=settings["seed"])
    spread = spread_of_intervals(np.arange(first["n_folds"]))
    found: dict[str, dict[str, dict[str, float | None]]] = {}
    for run, other in compared:
        ours, theirs = scores[run]["metrics"], scores[other]["metrics"]
        found[f"{run} - {other}"] = of_pair = {}
        for name in ours:
            if ours[name]["absent"] is None and theirs[name]["absent"] is None:
                pairs = ours[name].get("projection") is not None
                one, two = (side[name]["projection" if pairs else "scores"] for side in (ours, theirs))
                value = np.array([score - two[i] for i, score in one.items()])
                if ours[name].get("proportion") and not pairs:
                    low, high = interval_of_paired_proportions(value, spread)
                else:
                    low, high = interval_of_mean(value, counts, spread)
                of_pair[name] = {"mean": _digits(value.mean()), "low": _digits(low), "high": _digits(high)}
    return found


def _worth(metric: dict[str, Any], n_images: int) -> dict[str, Any]:
    low, high = metric["interval"]
    found = {"mean": metric["mean"], "low": low, "high": high, "chance": metric["chance"]}
    p = metric["p"] if metric["p"] is None else round(metric["p"], 6)
    return {name: _digits(value) for name, value in found.items()} | {"p": p, "p_holm": None, "n": n_images}


def _digits(value: float | None) -> float | None:
    return None if value is None else round(float(value), DIGITS) + 0.0


def correlation_by_group(true: Features, predicted: Features) -> np.ndarray:
    """How well each group of features (VDVAE layer) is predicted for images that were not trained on.

    Pearson correlation over images, dim by dim, then the mean over the dims of a group; a dim that is constant in
    either counts as 0. Uninformative predictions come out below 0, not at it: each fold predicts about the mean of its
    training images, and an image is left out of its own mean.

    Parameters
    ----------
    true, predicted : Features
        (n_images, n_dims) of the same space; joined by id.

    Returns
    -------
    float64, (n_groups,)
    """
    return correlation_of_groups(true.rows(predicted.image_id), predicted.values, predicted.group_size)


def correlations(wanted: Runs, artifacts: Path) -> dict[str, np.ndarray]:
    """How well each layer of latents is predicted, run by run, float64 (n_layers,) each; see `correlation_by_group`."""
    true = Features.load(artifacts / "features/vdvae.npz")
    return {
        run: correlation_by_group(true, Features.load(artifacts / f"predicted/{run}_raw.npz"))
        for run in wanted.of_space("vdvae")
    }


def identification_in_folds(true: Features, predicted: Features, split: ImageSplit) -> float:
    """Whether a predicted context tells the image that was shown from another one of its fold.

    Two-way identification by the Pearson correlation of what both are beyond the mean of the fold's training images.
    Only images of one fold compete: every image is left out of its own training mean, so that across folds any
    prediction is most unlike the image that it is for.

    Parameters
    ----------
    true, predicted : Features
        (n_images, n_dims) of the same space; joined by id.
    split : ImageSplit

    Returns
    -------
    float, in [0, 1]; 0.5 is chance. The mean over images; NaN where no fold tests two images.
    """
    found: list[float] = []
    for fold, mean in enumerate(training_means(true, split)):
        test_ids = split.ids(fold)[1]
        if len(test_ids) > 1:
            won = two_way.wins(correlation(true.rows(test_ids) - mean, predicted.rows(test_ids) - mean))
            found += ((won.sum(0) - won.diagonal()) / (len(won) - 1)).tolist()
    return float(np.mean(found)) if found else float("nan")


@Picture
def draw_scores(scores: dict[str, dict[str, Any]], title: str) -> Figure:
    """Every image's score, run beside run, one panel per metric that is there; the dashed line is chance. PNG."""
    runs, first = list(scores), next(iter(scores.values()))["metrics"]
    # Networks that the default run lacks are named below the panels: a row of empty ones says nothing.
    metrics = [name for name, metric in first.items() if metric["absent"] is None]
    missing = [name for name in first if name not in metrics]
    n_rows = min(2, len(metrics))
    figure, axes = subplots(n_rows, -(-len(metrics) // n_rows), figsize=(14, 1 + 3.4 * n_rows), squeeze=False)
    for axis in axes.flat[len(metrics) :]:
        axis.remove()
    for axis, name in zip(axes.flat[: len(metrics)], metrics, strict=True):
        metric = scores[runs[0]]["metrics"][name]
        axis.set_title(f"{name} ({'higher' if metric['larger_is_better'] else 'lower'} is better)", size=10)
        there = [place for place, run in enumerate(runs) if scores[run]["metrics"][name]["absent"] is None]
        means = []
        for place in there:
            values = np.array(list(scores[runs[place]]["metrics"][name]["scores"].values()))
            # A fixed spread instead of random jitter: the same scores give the same picture.
            offset = 0.3 * (np.arange(len(values)) * 0.618 % 1 - 0.5)
            axis.plot(place + offset, values, ".", ms=3, alpha=0.5, color=f"C{place}")
            means.append(values.mean())
        low, high = np.array([scores[runs[place]]["metrics"][name]["interval"] for place in there], np.float64).T
        # As two collections: a line by itself takes longer to make than to draw.
        at, colours = np.array(there), [f"C{place}" for place in there]
        axis.hlines(means, at - 0.3, at + 0.3, colors=colours, lw=2, capstyle="projecting", zorder=2)
        axis.vlines(at, low, high, colors="black", lw=1.5, capstyle="projecting", zorder=2)
        if metric["chance"] is not None:
            axis.axhline(metric["chance"], color="grey", ls="--", lw=1)
        axis.set_xticks(range(len(runs)), runs, size=7, rotation=90)
    figure.suptitle(title, size=12, weight="bold")
    figure.supxlabel(
        f"dot: an image; bar: their mean; black: its 95 % interval; dashed: {runs[0]} with wrong images of the fold"
        + (f"\nabsent, for the reasons that the report gives: {', '.join(missing)}" if missing else ""),
        size=9,
    )
    return figure


@Picture
def draw_latents(layers: list[str], correlation: dict[str, np.ndarray], title: str) -> Figure:
    """Correlation of predicted with true latents, layer by layer, one line per run. PNG."""
    figure, axis = subplots(figsize=(max(8, 0.3 * len(layers)), 4.5))
    for run, values in correlation.items():
        axis.plot(range(len(layers)), values, "o-", label=run)
    axis.axhline(0, color="grey", lw=1)
    axis.set_xticks(range(len(layers)), layers, size=8, rotation=60)
    axis.set(ylabel="correlation over images,\nmean over latents")
    axis.set_xlabel(
        "VDVAE layer, coarse to fine\nwithout information: below 0, as an image is left out of its own training mean",
        size=9,
    )
    axis.legend()
    figure.suptitle(textwrap.fill(title, 72), size=11, weight="bold")
    return figure
