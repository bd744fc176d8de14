"""Vision context of the published model: CLIP ViT-L/14 at its 257 tokens, as Versatile Diffusion has it.

A class token and 16 x 16 patches, row after row. All pass the last layer norm and the projection into the space that
text and images share, and are divided by the norm of the projected class token, the one that CLIP compares with text.

What goes in: the image squashed to 512 x 512 (Pillow, bilinear), then to 224 x 224 (Pillow, bicubic), then CLIP's mean
and standard deviation. Between the two the published code takes pixels to [-1, 1] in float32 and back, and cuts the
result off to whole numbers, which lowers those of 1 to 63 by one and leaves all others. The diffusion model has only
ever seen such images; `published_rounding` says whether to do the same. Guidance is against a uniform grey of 127.

Xu et al. 2023, arXiv:2211.08332; what its published code computes was recorded and is compared in the tests.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from spikevaediff.images import check_bytes, rgb
from spikevaediff.networks import clip
from spikevaediff.networks.small import CLIP_MEAN, CLIP_STD, scaled
from spikevaediff.records import Features, Stimuli

SEEN_PX = 512  # side of the images that Versatile Diffusion makes
UNCONDITIONAL_GREY = 127  # of 255
BATCH_SIZE = 16


def extract(
    stimuli: Stimuli,
    *,
    weights: str | Path,
    config: str,
    published_rounding: bool,
    batch_size: int | str,
    device: str,
) -> Features:
    """Contexts of the images that were shown.

    Parameters
    ----------
    stimuli : Stimuli
        Grey images, repeated to three channels.
    weights : str or Path
        The asset clip_vit_l14, or another file that spikevaediff.networks.clip reads.
    config : str
        Name in spikevaediff.networks.clip.CONFIGS.
    published_rounding : bool
        Lower pixels of 1 to 63 by one, as the published code does.
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding.

    Returns
    -------
    Features
        values float32 (n_images, 257 * 768), token after token; a group is a token.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        Unknown configuration; a weight file that is missing, damaged or of another network.
    """
    tokens = contexts(
        rgb(stimuli.pixels),
        weights=weights,
        config=config,
        published_rounding=published_rounding,
        batch_size=batch_size,
        device=device,
    )
    return Features.of_tokens("vision", stimuli.image_id, tokens)


def contexts(
    pixels: np.ndarray,
    *,
    weights: str | Path,
    config: str,
    published_rounding: bool,
    batch_size: int | str,
    device: str,
) -> np.ndarray:
    """Contexts of images.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    weights, config, published_rounding, batch_size, device
        As in extract.

    Returns
    -------
    float32, (n_images, 257, 768)

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As extract; or the pixels are not uint8 images with three channels.
    """
    check(pixels)
    network = clip.load(weights, config).visual.to(device)
    side = network.image_size[0]
    size = BATCH_SIZE if batch_size == "auto" else int(batch_size)
    found = np.empty((len(pixels), *network.positional_embedding.shape[:1], network.proj.shape[1]), np.float32)
    for start in track(range(0, len(pixels), size), "CLIP vision"):
        batch = prepared(pixels[start : start + size], side, published_rounding=published_rounding)
        found[start : start + size] = _tokens(network, batch.to(device))
    return found


def unconditional(*, weights: str | Path, config: str, published_rounding: bool, device: str) -> np.ndarray:
    """Context of a uniform grey image, float32 (257, 768); its pixels are none that `published_rounding` changes."""
    network = clip.load(weights, config).visual.to(device)
    grey = np.full((1, *network.image_size, 3), UNCONDITIONAL_GREY, np.uint8)
    return _tokens(network, scaled(grey, CLIP_MEAN, CLIP_STD).to(device))[0]


def _tokens(network: Any, x: Tensor) -> np.ndarray:
    """All tokens of the vision tower, projected and divided by the norm of the projected class token."""
    network.output_tokens = True
    with torch.inference_mode():
        # The class token is projected already, the patches are not.
        pooled, patches = network(x)
        tokens = torch.cat([pooled[:, None], patches @ network.proj], dim=1)
        return (tokens / pooled.norm(dim=1)[:, None, None]).cpu().numpy()


def prepared(pixels: np.ndarray, side_px: int, *, published_rounding: bool) -> Tensor:
    """What CLIP is given: two resizes, and (x / 255 - mean) / std with the constants of each channel.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    side_px : int
        224 for ViT-L/14.
    published_rounding : bool
        As in extract.

    Returns
    -------
    float32, (n_images, 3, side_px, side_px)

    Raises
    ------
    ValueError
        The pixels are not uint8 images with three channels.
    """
    check(pixels)
    small = np.empty((len(pixels), side_px, side_px, 3), np.uint8)
    for row, image in enumerate(pixels):
        seen = np.asarray(Image.fromarray(image).resize((SEEN_PX, SEEN_PX), Image.Resampling.BILINEAR))
        if published_rounding:
            seen = seen - ((seen >= 1) & (seen <= 63)).astype(np.uint8)
        small[row] = np.asarray(Image.fromarray(seen).resize((side_px, side_px), Image.Resampling.BICUBIC))
    return scaled(small, CLIP_MEAN, CLIP_STD)


def check(pixels: np.ndarray) -> None:
    """Refuse anything but a stack of uint8 images.

    Raises
    ------
    ValueError
        The pixels are not uint8 (in [0, 1], say), have other axes, or an image has no pixel.
    """
    check_bytes(pixels)
    if pixels.ndim != 4 or pixels.shape[3] != 3 or 0 in pixels.shape[1:3]:
        raise ValueError(
            f"images must be (image, row, column, 3), got {pixels.shape}; for grey ones use images.rgb first"
        )
