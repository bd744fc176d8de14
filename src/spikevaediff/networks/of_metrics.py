"""The networks that metrics look through: the weight files of each, and how these become a function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from spikevaediff.networks import published, small

Outputs = Callable[[Tensor], list[Tensor]]


@dataclass(frozen=True)
class Network:
    """assets : tuple of str, its weight files; load : callable of their paths, gives its outputs for a batch."""

    assets: tuple[str, ...]
    load: Callable[..., Outputs]


def _lite0(path: Path) -> Outputs:
    network = small.efficientnet_lite0(path)
    return lambda x: [network(x).mean(dim=(2, 3))]


def _published(name: str, path: Path) -> Outputs:
    extract = published.load(name, path)
    return lambda x: [extract(x)]


NETWORKS = {
    "alexnet": Network(("alexnet_convolutions",), small.alexnet),
    "efficientnet_lite0": Network(("efficientnet_lite0",), _lite0),
    "inception": Network(("inception_v3",), partial(_published, "inception")),
    "clip": Network(("clip_vit_l14",), partial(_published, "clip")),
    "efficientnet_b1": Network(("efficientnet_b1_v2",), partial(_published, "efficientnet_b1")),
    "swav": Network(("swav_resnet50",), partial(_published, "swav")),
}
