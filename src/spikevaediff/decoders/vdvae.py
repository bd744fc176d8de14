"""VDVAE decoder: predicted coarse latents, finer ones from the model's own prior, expected pixels."""

from pathlib import Path

import numpy as np
from rich.progress import track

from loading.noise import Noise, image_noise
from spikevaediff.images import rgb
from spikevaediff.records import Features, Reconstructions
from spikevaediff.seeds import image_seed
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS
from vdvae.memory import images_at_once


def decode(
    predicted: Features,
    *,
    config: str,
    weights: str | Path,
    n_layers: int,
    temperature: float,
    seed: int,
    batch_size: int | str,
    device: str,
) -> Reconstructions:
    """Images of predicted latents.

    Parameters
    ----------
    predicted : Features
        Space "vdvae", (n_images, n_dims) of the first `n_layers` layers.
    config, weights : str, Path
        As in features/vdvae.py.
    n_layers : int
        Layers that were predicted.
    temperature : float
        0: finer layers are the means of their priors. Otherwise they are drawn with their standard deviations times
        this, from a stream seeded by (seed, image_id).
    seed : int
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding. "auto": as many images at once as pay and fit.

    Returns
    -------
    Reconstructions
        uint8 (n_images, size, size, 3).

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        Unknown configuration, unreadable weights, features of another space or length, temperature below 0.
    """
    if predicted.space != "vdvae":
        raise ValueError(f"the VDVAE decodes the feature space vdvae, got {predicted.space}")
    if not temperature >= 0:
        raise ValueError(f"temperature must be 0 or more, got {temperature}")
    if config not in CONFIGS:
        raise KeyError(f"VDVAE configuration {config!r} is unknown; there are {', '.join(CONFIGS)}")
    model = checkpoints.load(weights, CONFIGS[config]).to(device)
    images = []
    size = images_at_once(batch_size, model.config, device)
    for start in track(range(0, len(predicted.values), size), "VDVAE images"):
        rows = slice(start, start + size)
        latents = model.unflatten(predicted.values[rows], n_layers)
        noise: Noise | None = None
        if temperature > 0:
            noise = image_noise([image_seed(seed, image_id) for image_id in predicted.image_id[rows].tolist()])
        images.append(model.decode(latents, noise=noise, temperature=temperature))
    pixels = np.concatenate(images)
    return Reconstructions(predicted.image_id, pixels if pixels.shape[3] == 3 else rgb(pixels[..., 0]))
