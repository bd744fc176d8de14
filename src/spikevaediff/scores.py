"""Scores of a run: shown and reconstructed images joined by id, every metric over all pairs, summed up for a file.

Each metric gives the matrix that `spikevaediff.metrics` describes; the scores are its diagonal, and the mean off the
diagonal says what the same reconstructions would score for the wrong images. Baselines are reconstructions too: `grey`
and `mean_training_image` know nothing of the brain, and show what a score is worth.

Numbers stand beside what made them (sizes, rules, hashes of weights, versions). A metric whose network cannot be had
is reported as absent, with the reason, and never computed with another network.
"""

import json
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spikevaediff import assets, images, networks
from spikevaediff.atomic import replacing
from spikevaediff.metrics import feature_distance, lpips, pixcorr, ssim, two_way
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli, rows_of

# The module that says what the numbers of a metric mean.
METRICS: dict[str, ModuleType] = {
    "pixcorr": pixcorr,
    "ssim": ssim,
    "alexnet2": two_way,
    "alexnet5": two_way,
    "lpips": lpips,
    "efficientnet_lite0": feature_distance,
}
_WEIGHTS = {
    "alexnet2": ("alexnet_convolutions",),
    "alexnet5": ("alexnet_convolutions",),
    "lpips": ("alexnet_convolutions", "lpips_heads"),
    "efficientnet_lite0": ("efficientnet_lite0",),
}
_DIGITS = 6  # kept in the file; float32 networks agree between machines to about this much
_MID_GREY = 128


def score_run(
    shown: Stimuli, reconstructed: Reconstructions, *, size_px: int, metrics: list[str], batch_size: int = 16
) -> dict[str, Any]:
    """Score every reconstruction against the image of its id.

    Parameters
    ----------
    shown : Stimuli
        Holds at least the images that were reconstructed; those, and no others, are the pool of identification.
    reconstructed : Reconstructions
        Of two images or more.
    size_px : int
        Side at which pixcorr and ssim compare; networks look at 224 px. Each image is resized once, from its own size.
    metrics : list of str
        Keys of METRICS.
    batch_size : int
        Images a network sees at a time; results do not depend on it.

    Returns
    -------
    dict
        source : str, of the stimuli. n_images : int. settings : dict, all that the numbers depend on.
        metrics : for each name a dict with larger_is_better; scores, image_id -> float; mean, of the scores;
        shuffled_mean, of all wrong pairings; and absent, None or the reason why the other three are None.

    Raises
    ------
    KeyError
        A metric does not exist, or a reconstruction's image is not among the shown ones.
    ValueError
        Fewer than two reconstructions, or a metric is named twice.
    """
    ids = np.sort(reconstructed.image_id)
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} reconstructions leave no wrong pairing to compare with; at least 2 are needed")
    weights, absent = _fetched(metrics)
    computed = pairwise(
        images.rgb(shown.rows(ids)),
        reconstructed.rows(ids),
        size_px=size_px,
        metrics=[name for name in metrics if name not in absent],
        weights=weights,
        batch_size=batch_size,
    )
    wrong = ~np.eye(len(ids), dtype=bool)
    results: dict[str, dict[str, Any]] = {}
    for name in metrics:
        results[name] = {
            "larger_is_better": METRICS[name].LARGER_IS_BETTER,
            "absent": absent.get(name),
            "scores": None,
            "mean": None,
            "shuffled_mean": None,
        }
        if name in computed:
            matrix = computed[name]
            results[name]["scores"] = dict(zip(ids.tolist(), matrix.diagonal().tolist(), strict=True))
            results[name]["mean"] = float(matrix.diagonal().mean())
            results[name]["shuffled_mean"] = float(matrix[wrong].mean())
    return {
        "source": shown.source,
        "n_images": len(ids),
        "settings": {
            "size_px": size_px,
            "network_input_px": networks.INPUT_PX,
            "resize_rule": images.RESIZE_RULE,
            "grey_rule": pixcorr.GREY_RULE,
            "weights_sha256": {name: assets.ASSETS[name].sha256 for name in weights},
            "versions": {name: version(name) for name in ("numpy", "pillow", "scipy", "torch")},
        },
        "metrics": results,
    }


def pairwise(
    shown: np.ndarray,
    reconstructed: np.ndarray,
    *,
    size_px: int,
    metrics: list[str],
    weights: dict[str, Path],
    batch_size: int = 16,
) -> dict[str, np.ndarray]:
    """The matrix of each metric over all pairs; tests of the pairing, retrieval and the like start here.

    Parameters
    ----------
    shown, reconstructed : uint8, (n, h, w, 3) and (m, h', w', 3)
        Of any size; for identification by alexnet2 and alexnet5 the n shown images are the pool.
    size_px, metrics, batch_size
        As `score_run`.
    weights : dict of str to Path
        The asset files that the metrics need. AlexNet's activations of both sets are held in memory: 1.9 MB an image.

    Returns
    -------
    dict of metric name to float64, (n, m)

    Raises
    ------
    KeyError
        A metric does not exist, or its weights are not given.
    ValueError
        A metric is named twice, or the images are not uint8 with three channels.
    """
    _check(metrics)
    # A baseline shows one picture for every image; it is looked at once, and its equal columns are exactly equal.
    reconstructed, column = np.unique(reconstructed, axis=0, return_inverse=True)
    matrices: dict[str, np.ndarray] = {}
    small = [images.resize(pixels, size_px) for pixels in (shown, reconstructed)]
    if "pixcorr" in metrics:
        matrices["pixcorr"] = pixcorr.pairwise(*small)
    if "ssim" in metrics:
        matrices["ssim"] = ssim.pairwise(*small)
    if {"alexnet2", "alexnet5", "lpips"} & set(metrics):
        network = networks.alexnet(weights["alexnet_convolutions"])
        x = networks.alexnet_activations(network, shown, batch_size=batch_size)
        y = networks.alexnet_activations(network, reconstructed, batch_size=batch_size)
        if "alexnet2" in metrics:
            matrices["alexnet2"] = two_way.pairwise(x[1], y[1])
        if "alexnet5" in metrics:
            matrices["alexnet5"] = two_way.pairwise(x[4], y[4])
        if "lpips" in metrics:
            matrices["lpips"] = lpips.pairwise(x, y, heads=networks.lpips_heads(weights["lpips_heads"]))
    if "efficientnet_lite0" in metrics:
        lite0 = networks.efficientnet_lite0(weights["efficientnet_lite0"])
        u = networks.lite0_features(lite0, shown, batch_size=batch_size)
        v = networks.lite0_features(lite0, reconstructed, batch_size=batch_size)
        matrices["efficientnet_lite0"] = feature_distance.pairwise(u, v)
    return {name: matrices[name][:, column] for name in metrics}


def grey(image_ids: np.ndarray, *, size_px: int) -> Reconstructions:
    """The baseline that shows the same mid grey (128 of 255) for every image.

    Parameters
    ----------
    image_ids : int64, (n_images,)
    size_px : int
    """
    return Reconstructions(image_ids, np.full((len(image_ids), size_px, size_px, 3), _MID_GREY, np.uint8))


def mean_training_image(stimuli: Stimuli, split: ImageSplit, *, size_px: int) -> Reconstructions:
    """The baseline that shows, for every test image of a fold, the mean of the images that fold trains on.

    It scores below chance, not at it: an image is left out of its own mean, which is thereby pushed away from it. On
    the 118 photographs two-way identification by alexnet2 is 0.48. A decoder that shrinks to the training mean inherits
    that.

    Parameters
    ----------
    stimuli : Stimuli
        Holds every image of the split.
    split : ImageSplit
    size_px : int
        Images are resized before they are averaged.

    Returns
    -------
    Reconstructions
        Of split.test_ids; means are rounded to the nearest grey level.

    Raises
    ------
    KeyError
        The stimuli lack an image of the split.
    """
    everything = images.resize(stimuli.rows(split.image_id), size_px)
    pixels = np.empty((len(split.test_ids), size_px, size_px), np.uint8)
    for fold in range(split.n_folds):
        train_ids, test_ids = split.ids(fold)
        mean = everything[rows_of(train_ids, split.image_id, "ImageSplit")].mean(axis=0)
        pixels[rows_of(test_ids, split.test_ids, "ImageSplit")] = np.rint(mean).astype(np.uint8)
    return Reconstructions(split.test_ids, images.rgb(pixels))


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
        temporary.write_text(json.dumps(_rounded(scores), indent=1, sort_keys=True, allow_nan=False) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) else value


def _check(metrics: list[str]) -> None:
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise KeyError(f"there is no metric {', '.join(unknown)}; there are {', '.join(METRICS)}")
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"metrics {metrics} names one twice; keep one of each")


def _fetched(metrics: list[str]) -> tuple[dict[str, Path], dict[str, str]]:
    """Weight files by asset name, and for each metric that lacks one the reason.

    Only "cannot be had now" (FileNotFoundError) makes a metric absent; a file with wrong bytes is an error.
    """
    _check(metrics)
    weights: dict[str, Path] = {}
    missing: dict[str, str] = {}
    absent: dict[str, str] = {}
    for metric in metrics:
        for name in _WEIGHTS.get(metric, ()):
            if name not in weights and name not in missing:
                try:
                    weights[name] = assets.fetch(name)
                except FileNotFoundError as error:
                    missing[name] = str(error)
        reasons = [missing[name] for name in _WEIGHTS.get(metric, ()) if name in missing]
        if reasons:
            absent[metric] = "\n".join(reasons)
    return weights, absent
