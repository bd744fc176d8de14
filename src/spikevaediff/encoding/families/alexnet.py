"""The five rectified convolutions of AlexNet, a network trained on photographs (Krizhevsky 2014).

Images are enlarged to 96 px: a unit of the first convolution then sees 11 of 96 pixels, 11 % of the image.
"""

from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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


class _Grey(nn.Module):
    """The first convolution, of grey images in [0, 1], float32 (n, 1, 96, 96): the same sums in another order.

    The three colours are one image, so that their kernels are one kernel, and their normalisation adds what a black
    image gives. A kernel of 12 px every 4 px, of which the last row and column are 0, is one of 3 x 3 squares of
    4 x 4 px at every square: eight times as fast, the gradient too.
    """

    kernel: Tensor
    black: Tensor

    def __init__(self, first: nn.Conv2d) -> None:
        super().__init__()
        shift, scale = (torch.tensor(constants)[:, None, None] for constants in (IMAGENET_MEAN, IMAGENET_STD))
        of_grey = (first.weight / scale).sum(1, keepdim=True)
        kernel = F.pixel_unshuffle(F.pad(of_grey, (0, 1, 0, 1)), 4)
        self.register_buffer("kernel", kernel.contiguous(memory_format=torch.channels_last))
        self.register_buffer("black", first((-shift / scale).expand(1, -1, SEEN_PX, SEEN_PX)))

    def forward(self, images: Tensor) -> Tensor:
        return F.conv2d(F.pixel_unshuffle(F.pad(images, (2, 2, 2, 2)), 4), self.kernel).add_(self.black)


def build(weights: Path) -> Callable[[Tensor], list[Tensor]]:
    """Images, float32 (n, row, column) in [0, 1] -> (n, 64, 23, 23), (n, 192, 11, 11) and three of 5 x 5 places."""
    network = alexnet(weights).requires_grad_(False)
    network.features[0] = _Grey(cast(nn.Conv2d, network.features[0]))

    def maps(images: Tensor) -> list[Tensor]:
        network.to(images.device)
        return network(F.interpolate(images[:, None], size=(SEEN_PX, SEEN_PX), mode="bilinear", align_corners=False))

    return maps
