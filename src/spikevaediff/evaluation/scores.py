"""Scores of a run: shown and reconstructed images joined by id, every metric of a protocol over pairs, and what the
means are worth.

Each metric gives the matrix that `evaluation.metrics` describes; scores are its diagonal, chance is its mean over the
wrong images of a fold, and p-values and intervals follow from it as statistics says. Baselines are
reconstructions too (spikevaediff.evaluation.baselines).

Numbers stand beside what made them: protocol, resize rule, network, hash of its weights, versions. A metric whose
network is not on this machine is reported as absent, with the reason, and never computed with another network; and no
run downloads a network by itself that only metrics need.
"""

import json
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spikevaediff import images
from spikevaediff.evaluation import protocols, statistics
from spikevaediff.evaluation.metrics import feature_distance, lpips, pixcorr, ssim, two_way
from spikevaediff.evaluation.protocols import Protocol
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.networks import published, small
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli

_IDENTIFICATION = ("alexnet2", "alexnet5", "inception", "clip")
_RETRIEVAL = {f"{name}_top{k}": (name, k) for name in _IDENTIFICATION for k in (1, 5)}
# The module that says what the numbers of a metric mean.
METRICS: dict[str, ModuleType] = {
    "pixcorr": pixcorr,
    "ssim": ssim,
    **dict.fromkeys(_IDENTIFICATION, two_way),
    "efficientnet_b1": feature_distance,
    "swav": feature_distance,
    "lpips": lpips,
    "efficientnet_lite0": feature_distance,
    **dict.fromkeys(_RETRIEVAL, two_way),
}
# What looks at the images: the name of the network, and which of its outputs.
NETWORKS = {
    "alexnet2": ("alexnet", "AlexNet, second convolution, rectified"),
    "alexnet5": ("alexnet", "AlexNet, fifth convolution, rectified"),
    "inception": ("inception", "Inception v3, pooled"),
    "clip": ("clip", "CLIP ViT-L/14, image embedding"),
    "efficientnet_b1": ("efficientnet_b1", "EfficientNet-B1, pooled"),
    "swav": ("swav", "ResNet-50 trained by SwAV, pooled"),
    "lpips": ("alexnet", "AlexNet, five convolutions, with the heads of LPIPS 0.1"),
    "efficientnet_lite0": ("efficientnet_lite0", "EfficientNet-lite0, pooled"),
}
_DIGITS = 6  # kept in the file; float32 networks agree between machines to about this much
_ALEXNET_LAYERS = {"alexnet2": (1,), "alexnet5": (4,), "lpips": (0, 1, 2, 3, 4)}


def of_network(metric: str) -> str:
    """The metric whose network a metric looks through: its own, but for retrieval."""
    return _RETRIEVAL[metric][0] if metric in _RETRIEVAL else metric


def weights_of(metric: str, protocol: Protocol) -> tuple[str, ...]:
    """Names of the assets that a metric needs."""
    name = of_network(metric)
    network = NETWORKS[name][0] if name in NETWORKS else None
    return {
        None: (),
        "alexnet": ("alexnet_convolutions", "lpips_heads") if name == "lpips" else ("alexnet_convolutions",),
        "efficientnet_lite0": ("efficientnet_lite0",),
        "inception": ("inception_v3",),
        "clip": ("clip_vit_l14",),
        "efficientnet_b1": (protocol.efficientnet_b1,),
        "swav": ("swav_resnet50",),
    }[network]


@dataclass(frozen=True)
class Compared:
    """One metric over pairs.

    matrix : float64, (n_images, n_images); the score of reconstruction j had image i been shown. SSIM is computed
        within folds only, where alone it is used, and NaN elsewhere.
    wins : float64, (n_images, n_images), or None; of identification, see two_way.wins.
    """

    matrix: np.ndarray
    wins: np.ndarray | None = None


Looks = dict[str, list[np.ndarray]]


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
    batch_size: int = 16,
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
        Side at which pixels are compared where the protocol does not say it.
    metrics : list of str
        Keys of METRICS.
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
    chosen, weights, absent = prepared(ids, protocol, metrics)
    present = [name for name in metrics if name not in absent]
    options: dict[str, Any] = {"size_px": size_px, "metrics": present, "weights": weights, "batch_size": batch_size}
    pixels = images.rgb(shown.rows(ids))
    looked = [look(p, chosen, shown=k == 0, **options) for k, p in enumerate((pixels, reconstructed.rows(ids)))]
    return summed_up(
        ids, looked[0], looked[1], split, chosen, source=shown.source, metrics=metrics, absent=absent, weights=weights,
        size_px=size_px, n_draws=n_draws, seed=seed,
    )  # fmt: skip


def prepared(ids: np.ndarray, protocol: str, metrics: list[str]) -> tuple[Protocol, dict[str, Path], dict[str, str]]:
    """The protocol, the weight files that are there, and for each metric that cannot be computed the reason.

    Raises
    ------
    KeyError, ValueError
        As `score_run`.
    """
    if len(ids) < 2:
        raise ValueError(f"{len(ids)} reconstructions leave no wrong pairing to compare with; at least 2 are needed")
    chosen = protocols.named(protocol)
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise KeyError(f"there is no metric {', '.join(unknown)}; there are {', '.join(METRICS)}")
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"metrics {metrics} names one twice; keep one of each")
    weights: dict[str, Path] = {}
    absent: dict[str, str] = {}
    for metric in metrics:
        if chosen.metrics and metric not in chosen.metrics:
            absent[metric] = f"protocol {chosen.name} does not define it"
            continue
        if metric in _RETRIEVAL and _RETRIEVAL[metric][1] > len(ids):
            absent[metric] = f"there are {len(ids)} images to retrieve from"
            continue
        reasons = []
        for name in weights_of(metric, chosen):
            if name not in weights:
                try:
                    weights[name] = _file(name)
                except FileNotFoundError as error:
                    reasons.append(str(error))
        if reasons:
            absent[metric] = "\n".join(reasons)
    return chosen, weights, absent


def _file(name: str) -> Path:
    """The file of an asset. Only "is not here" (FileNotFoundError) makes a metric absent; wrong bytes are an error."""
    asset = assets.ASSETS[name]
    if not asset.embedded and (there := assets.state(name)) != "yes":
        how = "is damaged" if there == "damaged" else "is not"
        raise FileNotFoundError(
            f"asset {name} ({assets.size_text(asset.bytes)}) {how} on this machine. Get it with: "
            f"python -m spikevaediff assets fetch {name}"
        )
    return assets.fetch(name)


def look(
    pixels: np.ndarray,
    protocol: Protocol,
    *,
    shown: bool,
    size_px: int,
    metrics: list[str],
    weights: dict[str, Path],
    batch_size: int = 16,
) -> Looks:
    """All that the metrics compare, of one set of images: pixels, and what each network says.

    Parameters
    ----------
    pixels : uint8, (n, height, width, 3)
    protocol : Protocol
    shown : bool
        Whether they are the shown images, which some protocols store at another size.
    size_px, metrics, weights, batch_size
        As `score_run` and `prepared`.

    Returns
    -------
    dict of "pixels", or of network, to arrays with an image a row; AlexNet's activations take up to 1.9 MB an image.
    """
    # A baseline shows one picture for every image; it is looked at once, and its copies are exactly equal.
    # Told apart by their bytes: np.unique along an axis takes seconds for rows of half a million numbers.
    _, first, row = np.unique([sha256(p.tobytes()).hexdigest() for p in pixels], return_index=True, return_inverse=True)
    pixels = pixels[first]
    looks: Looks = {}
    if {"pixcorr", "ssim"} & set(metrics):
        looks["pixels"] = [protocols.pixels_of(pixels, protocol, shown=shown, size_px=size_px)]
    names = {of_network(metric) for metric in metrics} & set(NETWORKS)
    for network in sorted({NETWORKS[name][0] for name in names}):
        run: Any
        if network == "alexnet":
            layers = sorted({layer for name in names for layer in _ALEXNET_LAYERS.get(name, ())})
            whole = small.alexnet(weights["alexnet_convolutions"])

            def run(x: Any, whole: Any = whole, layers: list[int] = layers) -> list[Any]:
                activations = whole(x)
                return [activations[layer] for layer in layers]
        elif network == "efficientnet_lite0":
            lite0 = small.efficientnet_lite0(weights["efficientnet_lite0"])

            def run(x: Any, lite0: Any = lite0) -> list[Any]:
                return [lite0(x).mean(dim=(2, 3))]
        else:
            (weight,) = weights_of(network, protocol)
            extract = published.load(network, weights[weight])

            def run(x: Any, extract: Any = extract) -> list[Any]:
                return [extract(x)]

        def prepare(batch: np.ndarray, network: str = network) -> Any:
            return protocols.network_input(batch, protocol, network, shown=shown)

        looks[network] = small.run(run, prepare, pixels, batch_size)
    return {name: [array[row] for array in arrays] for name, arrays in looks.items()}


def compare(
    x: Looks,
    y: Looks,
    fold: np.ndarray,
    protocol: Protocol,
    *,
    metrics: list[str],
    weights: dict[str, Path],
) -> dict[str, Compared]:
    """The matrix of each metric; tests of the pairing, retrieval and the like start here.

    Parameters
    ----------
    x, y : what `look` returns of the shown and of the reconstructed images, in the same order
    fold : int64, (n_images,)
    protocol, metrics, weights
        As `look`.
    """
    compared: dict[str, Compared] = {}
    similarity: dict[str, np.ndarray] = {}
    layers = sorted({layer for name in map(of_network, metrics) for layer in _ALEXNET_LAYERS.get(name, ())})

    def of(looks: Looks, name: str) -> np.ndarray:
        network = NETWORKS[name][0]
        array = looks[network][layers.index(_ALEXNET_LAYERS[name][0]) if network == "alexnet" else 0]
        return array.reshape(len(array), -1)

    for metric in metrics:
        name = of_network(metric)
        if name in _IDENTIFICATION and name not in similarity:
            similarity[name] = pixcorr.correlation(of(x, name), of(y, name))
        if metric in _IDENTIFICATION:
            s, tie = similarity[metric], protocol.ties
            compared[metric] = Compared(two_way.shares(s, tie=tie), two_way.wins(s, tie=tie))
        elif metric in _RETRIEVAL:
            compared[metric] = Compared(two_way.within(similarity[name], _RETRIEVAL[metric][1]))
        elif metric == "pixcorr":
            compared[metric] = Compared(
                pixcorr.correlation(*(z["pixels"][0].reshape(len(z["pixels"][0]), -1) for z in (x, y)))
            )
        elif metric == "ssim":
            matrix = np.full((len(fold), len(fold)), np.nan)
            for members in statistics.members_of(fold):
                pair = (protocols.grey_of(z["pixels"][0][members], protocol) for z in (x, y))
                matrix[np.ix_(members, members)] = ssim.of_grey(*pair, columns=protocol.column_ssim)
            compared[metric] = Compared(matrix)
        elif metric == "lpips":
            heads = small.lpips_heads(weights["lpips_heads"])
            compared[metric] = Compared(lpips.pairwise(x["alexnet"], y["alexnet"], heads=heads))
        else:
            compared[metric] = Compared(feature_distance.pairwise(of(x, metric), of(y, metric)))
    return compared


def summed_up(
    ids: np.ndarray,
    x: Looks,
    y: Looks,
    split: ImageSplit,
    protocol: Protocol,
    *,
    source: str,
    metrics: list[str],
    absent: dict[str, str],
    weights: dict[str, Path],
    size_px: int,
    n_draws: int,
    seed: int,
) -> dict[str, Any]:
    """What `score_run` returns, from what was looked at; ids : int64, (n_images,), of the rows of x and y."""
    fold = split.fold_of(ids)
    present = [name for name in metrics if name not in absent]
    compared = compare(x, y, fold, protocol, metrics=present, weights=weights)
    drawn = statistics.pairings(fold, n_draws=n_draws, seed=seed)
    counts = statistics.resampled(len(ids), n_draws=n_draws, seed=seed)
    results = {}
    for name in metrics:
        about = signature(name, protocol, weights, size_px)
        better = METRICS[name].LARGER_IS_BETTER
        if name in absent:
            results[name] = about | {"larger_is_better": better, "absent": absent[name]} | dict.fromkeys(EMPTY)
        else:
            bounds = METRICS[name].RANGE
            found = summary(compared[name], ids, fold, drawn, counts, larger_is_better=better, bounds=bounds)
            results[name] = about | {"larger_is_better": better, "absent": None} | found
    return {
        "protocol": protocol.name,
        "source": source,
        "n_images": len(ids),
        "n_folds": len(np.unique(fold)),
        "settings": protocol.rules(size_px)
        | {"n_draws": n_draws, "seed": seed}
        | {"versions": {name: version(name) for name in ("numpy", "pillow", "scipy", "torch")}},
        "metrics": results,
    }


EMPTY = ("scores", "mean", "interval", "chance", "p")


def summary(
    compared: Compared,
    ids: np.ndarray,
    fold: np.ndarray,
    drawn: np.ndarray,
    counts: np.ndarray,
    *,
    larger_is_better: bool,
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """Scores and what they are worth.

    Returns
    -------
    dict
        scores, image_id -> float; projection, image_id -> float, of identification (see two_way.projection), else None;
        proportion, whether it is one, with bounds of 0 and 1; mean, of the scores; interval, [low, high], 95 % over
        images, within the bounds; chance, mean over the wrong images of the fold; p, of the pairing, one-sided. The
        last two are None where every fold tests one image.
    """
    matrix, spread, projection = compared.matrix, statistics.spread_of_intervals(fold), None
    scores, proportion = matrix.diagonal(), bounds == (0, 1)
    if compared.wins is not None:
        # The bootstrap over pairs, which fails where nearly all are won; n images are at least n / 2 independent pairs.
        projection = two_way.projection(compared.wins)
        of_both = (
            statistics.interval_of_pairs(compared.wins, counts, spread),
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
        "chance": statistics.chance(matrix, fold),
        "p": statistics.p_value(matrix, fold, drawn, larger_is_better=larger_is_better),
    }


def signature(metric: str, protocol: Protocol, weights: dict[str, Path], size_px: int) -> dict[str, Any]:
    """What stands beside a score: protocol, resize rule, network, the side it sees, and the sha256 of its weights."""
    name, rules = of_network(metric), protocol.rules(size_px)
    network = NETWORKS.get(name)
    pixels = f"{rules['resized_first']}; {'Pillow bicubic' if protocol.resize != 'bilinear' else 'bilinear'}"
    return {
        "protocol": protocol.name,
        "resize": rules["resize_rule"] if network else pixels,
        "input_px": protocol.input_px.get(network[0]) if network else rules["size_px"],
        "network": network[1] if network else None,
        "weights_sha256": {
            asset: assets.sha256_of(weights[asset]) for asset in weights_of(metric, protocol) if asset in weights
        },
    }


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
