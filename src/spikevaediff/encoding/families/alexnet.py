"""The five rectified convolutions of AlexNet, a network trained on photographs (Krizhevsky 2014).

Images are enlarged to 96 px: a unit of the first convolution then sees 11 of 96 pixels, 11 % of the image.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from spikevaediff.networks.small import IMAGENET_MEAN, IMAGENET_STD, alexnet

ASSETS = ("alexnet_convolutions",)
SEEN_PX = 96
WINDOWS = (
    ((0.04, 12), (0.08, 8), (0.16, 5)),
    ((0.05, 10), (0.1, 6), (0.2, 4)),
    ((0.1, 5), (0.2, 3), (1.0, 1)),
    ((0.1, 5), (0.2, 3), (1.0, 1)),
    ((0.1, 5), (0.2, 3), (1.0, 1)),
)


def build(weights: Path) -> Callable[[Tensor], list[Tensor]]:
    """Images, float32 (n, row, column) in [0, 1] -> (n, 64, 23, 23), (n, 192, 11, 11) and three of 5 x 5 places."""
    network = alexnet(weights).requires_grad_(False)
    shift, scale = (torch.tensor(constants)[:, None, None] for constants in (IMAGENET_MEAN, IMAGENET_STD))

    def maps(images: Tensor) -> list[Tensor]:
        network.to(images.device)
        large = F.interpolate(images[:, None], size=(SEEN_PX, SEEN_PX), mode="bilinear", align_corners=False)
        return network((large.expand(-1, 3, -1, -1) - shift.to(images)) / scale.to(images))

    return maps
