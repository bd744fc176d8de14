"""How many images at once: as many as pay, never more than there is memory for.

A GPU works best on many images. A processor does not: what a block writes, the next one reads, and with few images it
is still in the cache. Larger tensors also come from the operating system page by page, each time anew, which costs more
than the arithmetic of a GELU. Results do not depend on any of this beyond rounding.
"""

from functools import cache

import torch
from torch import Tensor

from loading.machine import free_bytes
from vdvae.config import Config
from vdvae.mixture import n_parameters
from vdvae.model import VDVAE

# Bytes of the largest tensor on a processor. Measured with imagenet64 on one core: 1 or 2 images (8 MiB each) at
# 20 microseconds a pixel and decoder block, 4 images at 25, 32 at 28.
CACHED = 16 << 20
MOST = 256  # images on a GPU; more only wait longer for the first result
SHARE = 0.5  # of the free memory: work space of the convolutions, and other programs


def bytes_per_image(config: Config) -> int:
    """Upper bound of the memory that an image takes in encode, decode or elbo, weights not counted, in float32.

    Kept throughout: the encoder's activations and the decoder's states of all resolutions. In a block of width w, 5 w
    channels at most beside them: the state and the activation joined, their GELU, the new state; and the inner ones.
    At the end four copies of the parameters of the pixels.
    """
    resolutions = {shape[1] for shape in config.latent_shapes()} | {config.image_size}
    kept = sum(config.width_at(r) * r * r for r in resolutions)
    block = max(config.width_at(r) * (5 + config.bottleneck) * r * r for r in resolutions)
    pixels = 4 * n_parameters(config.num_mixtures, config.image_channels) * config.image_size**2
    return int(4 * (2 * kept + block + pixels))


@cache
def bytes_of_descent(config: Config, n_layers: int) -> int:
    """Memory that an image takes while its latents are searched, by `VDVAE.pixels_of_whitened` and back, in float32.

    What autograd keeps of a pass, counted on tensors without values, and half as much for gradients and work space;
    weights are not counted. 9 MB and 5 for mini64, 0.7 GB and 0.3 for imagenet64.
    """
    with torch.device("meta"):
        model = VDVAE(config).requires_grad_(False)
        whitened = torch.empty(1, model.n_numbers(n_layers), requires_grad=True)
    weights = {value.untyped_storage()._cdata for value in model.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors too, so that no other one is given the place of one that is gone

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage()._cdata] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model.pixels_of_whitened(whitened, n_layers)
    return sum(value.untyped_storage().nbytes() for place, value in kept.items() if place not in weights) * 3 // 2


def images_to_descend(
    batch_size: int | str, config: Config, n_layers: int, device: str, *, most: int, at_once: int = 1
) -> int:
    """The number of images whose latents are searched together; "auto": as many as fit into half of the free memory
    while so many batches are searched at once, 1 to `most`."""
    if batch_size == "auto":
        return max(1, min(most, int(SHARE * free_bytes(device)) // (at_once * bytes_of_descent(config, n_layers))))
    return images_at_once(batch_size, config, device)


def images_at_once(batch_size: int | str, config: Config, device: str) -> int:
    """The number of images of a batch.

    Parameters
    ----------
    batch_size : int or "auto"
        A number is taken as it is.
    config : Config
    device : str
        As torch names it; the weights are already there.

    Returns
    -------
    int, 1 or more

    Raises
    ------
    ValueError
        Neither "auto" nor 1 or more.
    """
    if batch_size == "auto":
        most = MOST
        if torch.device(device).type == "cpu":
            largest = 4 * max(config.width_at(r) * r * r for _, r, _ in config.latent_shapes())
            most = max(1, CACHED // largest)
        return max(1, min(most, int(SHARE * free_bytes(device)) // bytes_per_image(config)))
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}, expected auto or a number of images, 1 or more")
    return batch_size
