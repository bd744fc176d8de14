"""Vision context of the mini model: the last grid of EfficientNet-lite0, 49 tokens of 1,280 numbers.

A token is one of the 7 x 7 positions, row after row, before pooling; every number is a rectified activation in [0, 6].
Weights of this size come with a pinned package and classify ImageNet at 224 px, which makes the grid a stand-in for
the 257 tokens of CLIP where no CLIP can be had.
"""

from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from spikevaediff.images import rgb
from spikevaediff.networks.small import INPUT_PX, efficientnet_lite0, fused, lite0_input
from spikevaediff.records import Features, Stimuli

N_TOKENS, WIDTH = 49, 1280
UNCONDITIONAL_GREY = 127  # of 255; the image without content, as in Versatile Diffusion
# 60 ms per image on one core either way: larger batches only take more memory (16 images 0.4 GB).
BATCH_SIZE = 16


def extract(stimuli: Stimuli, *, weights: str | Path, batch_size: int | str, device: str) -> Features:
    """Contexts of the images that were shown.

    Parameters
    ----------
    stimuli : Stimuli
        Grey images, repeated to three channels.
    weights : str or Path
        The asset efficientnet_lite0.
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding.

    Returns
    -------
    Features
        values float32 (n_images, 49 * 1280), in [0, 6], token after token; a group is a token.

    Raises
    ------
    FileNotFoundError, ValueError
        The weight file is missing, damaged or of another network.
    """
    found = contexts(rgb(stimuli.pixels), weights=weights, batch_size=batch_size, device=device)
    return Features.of_tokens("vision", stimuli.image_id, found)


def contexts(pixels: np.ndarray, *, weights: str | Path, batch_size: int | str, device: str) -> np.ndarray:
    """Contexts of images.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
        Of any size; squashed to 224 px by the project's rule.
    weights, batch_size, device
        As in extract.

    Returns
    -------
    float32, (n_images, 49, 1280)

    Raises
    ------
    FileNotFoundError, ValueError
        As extract; or the pixels are not uint8 images with three channels.
    """
    try:
        network = fused(efficientnet_lite0(weights)).to(device)
    except ValueError as error:
        said = " ".join(str(error).removeprefix(f"weight file {weights} ").split())[:200]
        raise ValueError(
            f"weight file {weights} is not EfficientNet-lite0 ({said}). "
            f"Get it with: python -m spikevaediff assets fetch efficientnet_lite0"
        ) from error
    size = BATCH_SIZE if batch_size == "auto" else int(batch_size)
    found = np.empty((len(pixels), N_TOKENS, WIDTH), np.float32)
    with torch.inference_mode():
        for start in track(range(0, len(pixels), size), "EfficientNet-lite0"):
            grid = network(lite0_input(pixels[start : start + size]).to(device))
            found[start : start + size] = grid.flatten(2).transpose(1, 2).cpu().numpy()
    return found


def unconditional(*, weights: str | Path, device: str) -> np.ndarray:
    """Context of no image: a uniform grey of 127 of 255, as float32 (49, 1280)."""
    grey = np.full((1, INPUT_PX, INPUT_PX, 3), UNCONDITIONAL_GREY, np.uint8)
    return contexts(grey, weights=weights, batch_size=1, device=device)[0]
