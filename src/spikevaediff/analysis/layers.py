"""Which layer of the VDVAE carries what: images from the first layers alone, and the information in every latent.

A study of the decoder and not of a brain: it says what a perfect prediction of the first layers would show. Beside it
stand the same images from predicted latents, which say how many layers are worth predicting (`n_layers`).
"""

from pathlib import Path

import numpy as np
from rich.progress import track

from spikevaediff.features.vdvae import layer_names, network_pixels
from spikevaediff.images import rgb
from spikevaediff.records import Features, LayerStudy, Stimuli
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS
from vdvae.memory import images_at_once


def evenly(image_ids: np.ndarray, n: int) -> np.ndarray:
    """About n of the ids, int64 (n_images,), evenly spread over the sorted ones, the same every time.

    Raises
    ------
    ValueError
        n is not positive.
    """
    if n < 1:
        raise ValueError(f"n_images must be 1 or more, got {n}")
    ids = np.sort(image_ids)
    return ids[np.unique(np.linspace(0, len(ids) - 1, min(n, len(ids))).round().astype(int))]


def study(
    stimuli: Stimuli,
    predicted: Features,
    *,
    config: str,
    weights: str | Path,
    n_layers: int,
    n_images: int,
    batch_size: int | str,
    device: str,
) -> LayerStudy:
    """Images of the first 0, 1, 2, ... layers, the finer ones at the means of their priors.

    Parameters
    ----------
    stimuli : Stimuli
        The images that were shown.
    predicted : Features
        Latents predicted from spikes, (n_images, n_dims) of the first `n_layers` layers, for images that the fit has
        not seen.
    config, weights : str, Path
        As in features/vdvae.py.
    n_layers : int
        Layers that were predicted. All layers of the true latents are studied.
    n_images : int
        Images of the study, evenly spread over the ids of `predicted`.
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding.

    Returns
    -------
    LayerStudy

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        Unknown configuration, unreadable weights, latents of another length, an image that was not shown, n_images
        below 1.
    """
    ids = evenly(predicted.image_id, n_images)
    if config not in CONFIGS:
        raise KeyError(f"VDVAE configuration {config!r} is unknown; there are {', '.join(CONFIGS)}")
    model = checkpoints.load(weights, CONFIGS[config]).to(device)
    pixels, values = network_pixels(stimuli.rows(ids), model.config), predicted.rows(ids)
    size = images_at_once(batch_size, model.config, device)
    bits, true, from_spikes = [], [], []
    for start in track(range(0, len(ids), size), "VDVAE layers"):
        rows = slice(start, start + size)
        n = len(pixels[rows])
        bits.append(model.layer_bits(pixels[rows]))
        latents = model.encode(pixels[rows], n_layers=model.n_layers)
        true.append(np.stack(list(model.decode_each(latents, n))))
        from_spikes.append(np.stack(list(model.decode_each(model.unflatten(values[rows], n_layers), n))))
    shapes = model.config.latent_shapes()

    def joined(parts: list[np.ndarray]) -> np.ndarray:
        whole = np.concatenate(parts, 1)
        return whole if whole.shape[-1] == 3 else np.stack([rgb(images[..., 0]) for images in whole])

    return LayerStudy(
        image_id=ids,
        layer_name=layer_names(shapes),
        layer_size=np.array([np.prod(shape) for shape in shapes], np.int64),
        bits=np.concatenate(bits),
        true=joined(true),
        from_spikes=joined(from_spikes),
    )
