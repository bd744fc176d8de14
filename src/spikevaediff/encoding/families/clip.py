"""Patch tokens of CLIP ViT-L/14 after a quarter, half, three quarters and all of its blocks (Radford et al. 2021).

Meant for `model: published`, which has its weights on the machine anyway: CLIP takes about a second per image and core.
Images are enlarged to the 224 px that CLIP was trained on. Its 16 x 16 patches are averaged in squares of four, which
halves the map: a unit's weights are kept for every channel and place.
"""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from spikevaediff.networks import clip
from spikevaediff.networks.small import CLIP_MEAN, CLIP_STD

ASSETS = ("clip_vit_l14",)
CONFIG = "vit_l14"
N_LAYERS = 4
WINDOWS = (((0.06, 8), (0.12, 5), (0.25, 3), (1.0, 1)),) * N_LAYERS


def build(weights: Path) -> Callable[[Tensor], list[Tensor]]:
    """Images, float32 (n, row, column) in [0, 1] -> four of (n, 1024, 8, 8)."""
    network = clip.load(weights, CONFIG).visual
    side = network.image_size[0]
    n_blocks = len(network.transformer.resblocks)
    blocks = [n_blocks * (layer + 1) // N_LAYERS - 1 for layer in range(N_LAYERS)]
    shift, scale = (torch.tensor(constants)[:, None, None] for constants in (CLIP_MEAN, CLIP_STD))

    def maps(images: Tensor) -> list[Tensor]:
        network.to(images.device)
        large = F.interpolate(images[:, None], size=(side, side), mode="bilinear", align_corners=False)
        x = (large.expand(-1, 3, -1, -1) - shift.to(images)) / scale.to(images)
        found = network.forward_intermediates(x, indices=blocks, intermediates_only=True)["image_intermediates"]
        return [F.avg_pool2d(layer, 2) for layer in found]

    return maps
