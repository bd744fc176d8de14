"""The networks that metrics look through: the weight files of each, and how these become a function."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Networks are imported when one is loaded: a second that those who only ask for names need not wait.
Outputs = Callable[["Tensor"], list["Tensor"]]


@dataclass(frozen=True)
class Network:
    """assets : tuple of str, its weight files; load : callable of their paths, gives its outputs for a batch."""

    assets: tuple[str, ...]
    load: Callable[..., Outputs]


def _alexnet(path: Path) -> Outputs:
    from spikevaediff.networks import small

    return small.alexnet(path)


def _lite0(path: Path) -> Outputs:
    from spikevaediff.networks import small

    network = small.fused(small.efficientnet_lite0(path))
    return lambda x: [network(x).mean(dim=(2, 3))]


def _published(name: str, path: Path) -> Outputs:
    from spikevaediff.networks import published

    extract = published.load(name, path)
    return lambda x: [extract(x)]


NETWORKS = {
    "alexnet": Network(("alexnet_convolutions",), _alexnet),
    "efficientnet_lite0": Network(("efficientnet_lite0",), _lite0),
    "inception": Network(("inception_v3",), partial(_published, "inception")),
    "clip": Network(("clip_vit_l14",), partial(_published, "clip")),
    "efficientnet_b1": Network(("efficientnet_b1_v2",), partial(_published, "efficientnet_b1")),
    "swav": Network(("swav_resnet50",), partial(_published, "swav")),
}
