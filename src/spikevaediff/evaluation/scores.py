"""Scores of a run: shown and reconstructed images joined by id, every metric of a protocol over pairs, and what the
means are worth.

Each metric gives the matrix that `evaluation.metrics` describes; scores are its diagonal, chance is its mean over the
wrong images of a fold, or of a group where folds are large (statistics.groups), and p-values and intervals follow from
it as statistics says. Baselines are reconstructions too (spikevaediff.evaluation.baselines).

Numbers stand beside what made them: protocol, resize rule, network, hash of its weights, versions.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.evaluation import statistics
from spikevaediff.evaluation.looking import Looks, Shown, look, prepared, weights_of
from spikevaediff.evaluation.looks import Weights
from spikevaediff.evaluation.metrics import two_way
from spikevaediff.evaluation.protocols import Protocol
from spikevaediff.evaluation.registry import METRICS
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli
from spikevaediff.side_by_side import side_by_side, workers

_DIGITS = 6  # kept in the file; float32 networks agree between machines to about this much


def score_run(
    shown: Stimuli,
    reconstructed: Reconstructions,
    split: ImageSplit,
    *,
    protocol: str,
    size_px: int,
    metrics: list[str],
    n_draws: int,
    seed: int,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Score every reconstruction against the image of its id.

    Parameters
    ----------
    shown : Stimuli
        Holds at least the images that were reconstructed; those, and no others, are the pool of identification.
    reconstructed : Reconstructions
        Of two images or more.
    split : ImageSplit
        Says which images were tested together.
    protocol : str
        A key of protocols.PROTOCOLS.
    size_px : int
        Side at which pixels are compared where the protocol does not fix it.
    metrics : list of str
        Keys of registry.METRICS.
    n_draws : int
        Permutations of the pairing, and bootstrap samples of the images.
    seed : int
        Of both.
    batch_size : int
        Images a network sees at a time; results do not depend on it.

    Returns
    -------
    dict
        protocol, source : str; n_images, n_folds : int; settings : dict, all that the numbers depend on;
        metrics : for each name what `summary` returns.

    Raises
    ------
    KeyError
        A protocol or metric does not exist, or a reconstruction's image is not among the shown ones.
    ValueError
        Fewer than two reconstructions, or a metric is named twice.
    """
    ids = np.sort(reconstructed.image_id)
    seen = Shown.of(shown, ids, protocol=protocol, size_px=size_px, metrics=metrics, batch_size=batch_size)
    options: dict[str, Any] = {"metrics": metrics, "n_draws": n_draws, "seed": seed, "batch_size": batch_size}
    return score(seen, reconstructed, split, **options)


def score(
    shown: Shown,
    reconstructed: Reconstructions,
    split: ImageSplit,
    *,
    metrics: list[str],
    n_draws: int,
    seed: int,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Score every reconstruction against the image of its id, of shown images that have been looked at.

    Parameters
    ----------
    shown : Shown
        Has looked at the images that were reconstructed, for these metrics.
    reconstructed : Reconstructions
        Of two images or more.
    split, metrics, n_draws, seed, batch_size
        As in `score_run`.

    Returns
    -------
    dict
        As `score_run`; a metric whose network this machine, or that which looked at the shown images, lacks is absent.

    Raises
    ------
    KeyError, ValueError
        As `score_looks`.
    """
    ids = np.sort(reconstructed.image_id)
    protocol, weights, absent = prepared(shown.protocol, metrics)
    absent = shown.absent | absent  # shown images may have been looked at on a machine that has other networks
    looked = look(
        reconstructed.rows(ids), protocol, shown=False, size_px=shown.size_px,
        metrics=[name for name in metrics if name not in absent], weights=weights, batch_size=batch_size,
    )  # fmt: skip
    return score_looks(shown, ids, looked, split, metrics=metrics, n_draws=n_draws, seed=seed)


def score_looks(
    shown: Shown, ids: np.ndarray, looked: Looks, split: ImageSplit, *, metrics: list[str], n_draws: int, seed: int
) -> dict[str, Any]:
    """Score reconstructions that have been looked at against the shown images of their ids.

    Parameters
    ----------
    shown : Shown
        Has looked at these images.
    ids : int64, (n_images,), sorted.
    looked : Looks
        The reconstructions as metrics see them: arrays (n_images, ...), rows as `ids`. A metric that compares what is
        not there is absent from the scores, with its reason.
    split, metrics, n_draws, seed
        As in `score_run`.

    Returns
    -------
    dict
        As `score_run`.

    Raises
    ------
    KeyError
        A metric does not exist, an image is not in the split, or was not looked at.
    ValueError
        Fewer than two reconstructions, or a metric is named twice.
    """
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} reconstructions leave no wrong pairing to compare with; at least 2 are needed")
    protocol, weights, here = prepared(shown.protocol, metrics)
    absent = shown.absent | {name: why for name, why in here.items() if not looked.keys() >= {*METRICS[name].look.keys}}
    absent |= too_few(metrics, len(ids), absent)
    fold = split.fold_of(ids)
    group = statistics.groups(fold, seed=seed)
    matrices = compare(shown.rows(ids), looked, group, protocol, metrics=[m for m in metrics if m not in absent])
    drawn = {True: statistics.pairings(fold, n_draws=n_draws, seed=seed)}  # by whether shown images compete
    drawn[False] = drawn[True] if group is fold else statistics.pairings(group, n_draws=n_draws, seed=seed)
    counts = statistics.resampled(len(ids), n_draws=n_draws, seed=seed)

    def worth(name: str) -> dict[str, Any]:
        if name in absent:
            return dict.fromkeys(EMPTY)
        competes = _competes(name)
        given = (matrices[name], ids, fold, drawn[competes], counts)
        return summary(name, *given, tie=protocol.ties, group=None if competes else group)

    results = {}
    for name, found in zip(metrics, side_by_side(worth, metrics, at_once=workers()), strict=True):
        about = signature(name, protocol, weights, shown.size_px)
        module = METRICS[name].module
        results[name] = about | {"larger_is_better": module.LARGER_IS_BETTER, "absent": absent.get(name)} | found
        if not getattr(module, "BOUNDED", True):
            results[name]["bounded"] = False
    return {
        "protocol": protocol.name,
        "source": shown.source,
        "n_images": len(ids),
        "n_folds": len(np.unique(fold)),
        "settings": protocol.rules(shown.size_px)
        | {"n_draws": n_draws, "seed": seed}
        | {"versions": {name: version(name) for name in ("numpy", "pillow", "scipy", "torch")}},
        "metrics": results,
    }


def too_few(metrics: list[str], n_images: int, absent: dict[str, str]) -> dict[str, str]:
    """The metrics that cannot be computed of so few images, with that reason; those that are absent anyway left out."""
    least = {name: getattr(METRICS[name].module, "AT_LEAST", 2) for name in metrics if name not in absent}
    return {name: f"there are {n_images} images to retrieve from" for name, n in least.items() if n > n_images}


def _competes(metric: str) -> bool:
    """Whether a score depends on the other shown images."""
    return getattr(METRICS[metric].module, "COMPETES", False)


def compare(x: Looks, y: Looks, group: np.ndarray, protocol: Protocol, *, metrics: list[str]) -> dict[str, np.ndarray]:
    """The matrix of each metric, as `evaluation.metrics` describes it; tests of the pairing, retrieval start here.

    Parameters
    ----------
    x, y : what `looking.look` returns of the shown and of the reconstructed images, in the same order
    group : int64, (n_images,); folds, or statistics.groups of them
    protocol : Protocol
    metrics : list of str

    Returns
    -------
    dict of metric to float64, (n_images, n_images); NaN across groups where shown images do not compete.

    Raises
    ------
    KeyError
        One of x and y lacks what a metric compares.
    """
    every = np.arange(len(group))

    def matrix_of(name: str) -> np.ndarray:
        module, seen = METRICS[name]
        if missing := [key for key in seen.keys if key not in x or key not in y]:
            raise KeyError(f"{name} compares {', '.join(missing)}, which looks.npz lacks. Run: dvc repro -f looks")
        matrix = np.full((len(group), len(group)), np.nan)
        for rows in [every] if _competes(name) else statistics.members_of(group):
            pair = ([z[key] if rows is every else z[key][rows] for key in seen.keys] for z in (x, y))
            one, two = (arrays if len(seen.outputs) > 1 else arrays[0] for arrays in pair)
            matrix[np.ix_(rows, rows)] = module.pairwise(one, two, protocol)
        return matrix

    return dict(zip(metrics, side_by_side(matrix_of, metrics, at_once=workers()), strict=True))


EMPTY = ("scores", "mean", "interval", "chance", "p")


def summary(
    metric: str,
    matrix: np.ndarray,
    ids: np.ndarray,
    fold: np.ndarray,
    drawn: np.ndarray,
    counts: np.ndarray,
    *,
    tie: float = 0.5,
    group: np.ndarray | None = None,
) -> dict[str, Any]:
    """Scores and what they are worth; `drawn` exchanges within groups, or within folds where there are none.

    Returns
    -------
    dict
        scores, image_id -> float; projection, image_id -> float, of identification (see two_way.projection), else None;
        proportion, whether it is one, with bounds of 0 and 1; mean, of the scores; interval, [low, high], 95 % over
        images, within the bounds; chance, mean over the wrong images of the group; p, of the pairing, one-sided. The
        last two are None where every group is of one image.
    """
    module, spread, projection = METRICS[metric].module, statistics.spread_of_intervals(fold), None
    scores, bounds = matrix.diagonal(), module.RANGE
    proportion = bounds == (0, 1)
    if hasattr(module, "wins"):
        # The bootstrap over pairs, which fails where nearly all are won; n images are at least n / 2 independent pairs.
        wins = module.wins(matrix, tie=tie)
        projection = two_way.projection(wins)
        of_both = (
            statistics.interval_of_pairs(wins, counts, spread),
            statistics.interval_of_proportion(projection, len(ids) // 2, spread),
        )
        interval = min(low for low, _ in of_both), max(high for _, high in of_both)
    elif proportion:
        interval = statistics.interval_of_proportion(scores, len(ids), spread)
    else:
        interval = statistics.interval_of_mean(scores, counts, spread)
    interval = float(np.clip(interval[0], *bounds)), float(np.clip(interval[1], *bounds))
    return {
        "scores": dict(zip(ids.tolist(), scores.tolist(), strict=True)),
        "projection": None if projection is None else dict(zip(ids.tolist(), projection.tolist(), strict=True)),
        "proportion": proportion,
        "mean": float(scores.mean()),
        "interval": list(interval),
        "chance": statistics.chance(matrix, fold if group is None else group),
        "p": statistics.p_value(matrix, fold, drawn, larger_is_better=module.LARGER_IS_BETTER, group=group),
    }


def signature(metric: str, protocol: Protocol, weights: Weights, size_px: int) -> dict[str, Any]:
    """What stands beside a score: protocol, resize rule, network, the side it sees, and the sha256 of its weights."""
    seen, rules = METRICS[metric].look, protocol.rules(size_px)
    pixels = f"{rules['resized_first']}; {'Pillow bicubic' if protocol.resize != 'bilinear' else 'bilinear'}"
    return {
        "protocol": protocol.name,
        "resize": rules["resize_rule"] if seen.network else pixels,
        "input_px": protocol.side(seen.network) if seen.network else rules["size_px"],
        "network": seen.words or seen.network,
        "weights_sha256": {
            asset: assets.sha256_of(weights[asset]) for asset in weights_of(metric, protocol) if asset in weights
        },
    }


def lines(run: str, result: dict[str, Any]) -> list[str]:
    """What a stage says of its scores, a line for each metric; `result` as of `score_run` or ceilings.of_halves."""
    said = []
    for name, metric in result["metrics"].items():
        if metric["absent"] is not None:
            said.append(f"{run}: {name} is absent: {metric['absent']}")
        elif "agreement" in metric:
            said.append(f"{run}: {name} agreement {metric['agreement']:.3f}, ceiling {metric['ceiling']:.3f}")
        else:
            low, high = metric["interval"]
            chance, p = (np.nan if metric[key] is None else metric[key] for key in ("chance", "p"))
            said.append(f"{run}: {name} {metric['mean']:.3f} [{low:.3f}, {high:.3f}], chance {chance:.3f}, p = {p:.2g}")
    return said


def save(scores: dict[str, Any], path: str | Path) -> None:
    """Write scores as JSON: keys sorted, numbers to 6 significant digits, so that equal runs are equal files.

    Parameters
    ----------
    scores : dict
        As `score_run` returns; image ids become strings, as JSON has no other keys.
    path : str or Path

    Raises
    ------
    ValueError
        A score is not finite.
    """
    with replacing(path) as temporary:
        text = json.dumps(_rounded(scores), indent=1, sort_keys=True, allow_nan=False) + "\n"
        temporary.write_text(text, encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value
