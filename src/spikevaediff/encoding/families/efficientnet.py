"""The last grid of EfficientNet-lite0: what is where, in 1,280 channels of a network that classifies photographs.

Images are enlarged to 128 px, which leaves a grid of 4 x 4 places.
"""

from collections.abc import Callable
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from spikevaediff.networks.small import efficientnet_lite0, fused

ASSETS = ("efficientnet_lite0",)
SEEN_PX = 128
WINDOWS = (((0.12, 4), (0.25, 2), (1.0, 1)),)


def build(weights: Path) -> Callable[[Tensor], list[Tensor]]:
    """Images, float32 (n, row, column) in [0, 1] -> (n, 1280, 4, 4)."""
    network = fused(efficientnet_lite0(weights)).requires_grad_(False)

    def maps(images: Tensor) -> list[Tensor]:
        network.to(images.device)
        large = F.interpolate(images[:, None], size=(SEEN_PX, SEEN_PX), mode="bilinear", align_corners=False)
        return [network((255 * large.expand(-1, 3, -1, -1) - 127.5) / 127.5)]

    return maps
