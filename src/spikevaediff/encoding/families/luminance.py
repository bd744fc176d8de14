"""Light: the brightness at a place, and the coarse picture as a whole.

The first layer is the luminance at 16 x 16 places. The second holds an 8 x 8 thumbnail as 64 channels of one place, so
that a unit can weight all of it: large receptive fields that networks with small ones do not see.
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

ASSETS: tuple[str, ...] = ()
WINDOWS = (((0.06, 8), (0.12, 5), (0.25, 3)), ((1.0, 1),))


def build() -> Callable[[Tensor], list[Tensor]]:
    """Images, float32 (n, row, column) in [0, 1] -> (n, 1, 16, 16) and (n, 64, 1, 1)."""

    def maps(images: Tensor) -> list[Tensor]:
        light = 2 * images[:, None] - 1
        coarse = F.adaptive_avg_pool2d(light, 8).flatten(1)
        return [F.adaptive_avg_pool2d(light, 16), coarse[:, :, None, None]]

    return maps
