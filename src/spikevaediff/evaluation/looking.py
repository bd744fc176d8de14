"""Looking at images for metrics: which of them this machine can compute, and one look at each image for all that look
at the same output of the same network.

A metric whose network is not on this machine is absent, with the reason, and never computed with another network; and
no run downloads a network by itself that only metrics need.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np

from spikevaediff import images
from spikevaediff.evaluation import protocols
from spikevaediff.evaluation.looks import Look, Weights
from spikevaediff.evaluation.protocols import Protocol
from spikevaediff.evaluation.registry import METRICS
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.networks import of_metrics
from spikevaediff.records import Stimuli, read_npz, rows_of
from spikevaediff.side_by_side import side_by_side, workers

Looks = dict[str, np.ndarray]  # all that was looked at, by the keys of looks.Look, one image per row


def weights_of(metric: str, protocol: Protocol) -> tuple[str, ...]:
    """Names of the assets that a metric needs."""
    module, look = METRICS[metric]
    return (*_assets(look, protocol), *getattr(module, "ASSETS", ()))


def _assets(look: Look, protocol: Protocol) -> tuple[str, ...]:
    """Names of the assets of the network that is looked through."""
    if look.network is None or look.assets is not None:
        return look.assets or ()
    if look.network in protocol.weights:
        return (protocol.weights[look.network],)
    return of_metrics.NETWORKS[look.network].assets


def prepared(protocol: str, metrics: Sequence[str]) -> tuple[Protocol, Weights, dict[str, str]]:
    """The protocol, the weight files that are there, and for each metric that cannot be computed here the reason.

    Raises
    ------
    KeyError
        A protocol or metric does not exist; the message lists those that do.
    ValueError
        A metric is named twice, or a weight file has wrong bytes.
    """
    chosen = protocols.named(protocol)
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise KeyError(f"there is no metric {', '.join(unknown)}; there are {', '.join(METRICS)}")
    if len(set(metrics)) < len(metrics):
        raise ValueError(f"metrics {metrics} names one twice; keep one of each")
    weights: Weights = {}
    absent: dict[str, str] = {}
    for metric in metrics:
        if chosen.metrics and metric not in chosen.metrics:
            absent[metric] = f"protocol {chosen.name} does not define it"
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
    metrics: Sequence[str],
    weights: Weights,
    batch_size: int = 8,
) -> Looks:
    """All that the metrics compare, of one set of images.

    Parameters
    ----------
    pixels : uint8, (n, height, width, 3)
    protocol : Protocol
    shown : bool
        Whether they are the shown images, which some protocols store at another size.
    size_px : int
        Side at which pixels are compared where the protocol does not fix it.
    metrics : sequence of str
    weights : dict of asset to Path
        As `prepared` gives them.
    batch_size : int
        Images a network sees at a time; results do not depend on it.

    Returns
    -------
    dict of key to array, (n, ...)
        "pixels" and the outputs of networks. AlexNet's activations take up to 1.9 MB for each image.
    """
    # A baseline shows one picture for every image; it is looked at once, and its copies are exactly equal.
    place: dict[bytes, int] = {}
    row = np.array([place.setdefault(sha256(p.tobytes()).digest(), len(place)) for p in pixels])
    repeated = len(place) < len(pixels)
    if repeated:
        pixels = pixels[np.unique(row, return_index=True)[1]]
    wanted = [METRICS[metric].look for metric in metrics]
    looked: Looks = {}
    if any(one.network is None for one in wanted):
        looked["pixels"] = protocols.pixels_of(pixels, protocol, shown=shown, size_px=size_px)
    networks = sorted({one.network for one in wanted if one.network is not None})
    if networks:
        from spikevaediff.networks import small  # torch, for which pixels alone need not wait

    def through(name: str) -> Looks:
        using = [one for one in wanted if one.network == name]
        outputs = sorted({output for one in using for output in one.outputs})
        load = using[0].load or of_metrics.NETWORKS[name].load
        network = load(*(weights[asset] for asset in _assets(using[0], protocol)))

        def chosen(x: Any) -> list[Any]:
            found = network(x)
            return [found[output] for output in outputs]

        def prepare(batch: np.ndarray) -> Any:
            return protocols.network_input(batch, protocol, name, shown=shown)

        arrays = small.run(chosen, prepare, pixels, batch_size)
        return {f"{name}_{output}": array for output, array in zip(outputs, arrays, strict=True)}

    for found in side_by_side(through, networks, at_once=workers()):
        looked |= found
    return {key: array[row] for key, array in looked.items()} if repeated else looked


@dataclass(frozen=True)
class Shown:
    """The images that were shown, looked at once for all runs.

    image_id : int64, (n,)
    source : str; of the stimuli.
    protocol, size_px : str, int; how they were looked at.
    absent : dict of metric to the reason for which this machine cannot compute it.
    looks : as `look` returns.
    """

    image_id: np.ndarray
    source: str
    protocol: str
    size_px: int
    absent: dict[str, str]
    looks: Looks

    @classmethod
    def of(
        cls, stimuli: Stimuli, ids: np.ndarray, *, protocol: str, size_px: int, metrics: list[str], batch_size: int = 8
    ) -> Self:
        """A look at some of the stimuli.

        Raises
        ------
        KeyError, ValueError
            As `prepared`; or an image is not among the stimuli.
        """
        chosen, weights, absent = prepared(protocol, metrics)
        present = [name for name in metrics if name not in absent]
        options: dict[str, Any] = {"size_px": size_px, "metrics": present, "weights": weights, "batch_size": batch_size}
        looked = look(images.rgb(stimuli.rows(ids)), chosen, shown=True, **options)
        return cls(ids, stimuli.source, protocol, size_px, absent, looked)

    def rows(self, ids: np.ndarray) -> Looks:
        """What was seen of some images, in the order of their ids; KeyError names those that were not looked at."""
        if np.array_equal(ids, self.image_id):
            return self.looks
        rows = rows_of(ids, self.image_id, "what was looked at")
        return {key: array[rows] for key, array in self.looks.items()}

    def save(self, path: str | Path) -> None:
        """Write it for `load`, whole or not at all."""
        about = {name: getattr(self, name) for name in ("source", "protocol", "size_px", "absent")}
        arrays = {"image_id": self.image_id, "about": np.array(json.dumps(about, sort_keys=True))}
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays, **self.looks)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Raises FileNotFoundError or ValueError where the file is not there or damaged."""
        arrays = read_npz(path)
        return cls(image_id=arrays.pop("image_id"), **json.loads(str(arrays.pop("about"))), looks=arrays)


LOOKING = ("protocol", "size_px", "metrics")  # what decides how images are looked at; the rest, what is made of it


def split_up(evaluate: Mapping[str, Any], compute: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sections `evaluate` and `compute` of params.yaml as the options of looking at images, and of what is made of it.

    Both name the metrics and the batch size: every network of the metrics fits anywhere, and "auto" is the number of
    images that is taken without being told.
    """
    batch = {name: n for name, n in compute.items() if name == "batch_size" and n != "auto"}
    looking = {name: evaluate[name] for name in LOOKING}
    return looking | batch, {n: value for n, value in evaluate.items() if n not in ("protocol", "size_px")} | batch
