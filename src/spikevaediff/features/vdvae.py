"""VDVAE latents: the posterior means of the first layers, coarse to fine.

Means and not draws: a draw adds noise of about one standard deviation to every target, differently each time, and no
regression can predict it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.progress import track

from spikevaediff.images import resize, rgb
from spikevaediff.records import Features, Stimuli
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS, Config
from vdvae.memory import images_at_once


def network_pixels(grey: np.ndarray, config: Config) -> np.ndarray:
    """Grey images as a configuration takes them: resized by the project's rule, three equal colours where it has three.

    uint8 (n, height, width) -> uint8 (n, size, size, channels).
    """
    pixels = resize(grey, config.image_size)
    return rgb(pixels) if config.image_channels == 3 else pixels[..., None]


def layer_names(shapes: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Names of latents of these shapes, str (n_layers,): "05 (8x8)" is the sixth, of 8 rows and columns."""
    return np.array([f"{index:02d} ({size}x{size})" for index, (_, size, _) in enumerate(shapes)])


def extract(
    stimuli: Stimuli, *, config: str, weights: str | Path, n_layers: int, batch_size: int | str, device: str
) -> Features:
    """Latents of the images that were shown.

    Parameters
    ----------
    stimuli : Stimuli
        Resized to the model's size by the project's rule.
    config : str
        Name in vdvae.config.CONFIGS.
    weights : str or Path
        Checkpoint of that configuration.
    n_layers : int
        Layers kept, from the coarsest.
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding. "auto": as many images at once as pay and fit.

    Returns
    -------
    Features
        values float32 (n_images, n_dims), layer after layer in (channel, row, column) order; a group is a layer.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        Unknown configuration; a weight file that is missing, damaged or of another model; n_layers out of range.
    """
    if config not in CONFIGS:
        raise KeyError(f"VDVAE configuration {config!r} is unknown; there are {', '.join(CONFIGS)}")
    model = checkpoints.load(weights, CONFIGS[config]).to(device)
    pixels = network_pixels(stimuli.pixels, model.config)
    size = images_at_once(batch_size, model.config, device)
    starts = range(0, len(pixels), size)
    rows = [
        model.flatten(model.encode(pixels[start : start + size], n_layers=n_layers))
        for start in track(starts, "VDVAE latents")
    ]
    shapes = model.config.latent_shapes()[:n_layers]
    return Features(
        space="vdvae",
        image_id=stimuli.image_id,
        values=np.concatenate(rows).astype(np.float32),
        group_name=layer_names(shapes),
        group_size=np.array([np.prod(shape) for shape in shapes], np.int64),
    )
