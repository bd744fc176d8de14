"""What fits a device: how many images at once, or a clear word before the weights are loaded.

The counts below are of whole feature maps that exist at the same time, read off the code; what the libraries need
besides is in `SHARE`. As with every batch size, images do not depend on the plan beyond rounding.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from loading.machine import free_bytes
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AutoencoderConfig, UNetConfig
from versatile_diffusion.unet import UNet, attention_blocks

SHARE = 0.8  # of the free memory; the rest is for work space of kernels, fragments and other programs
# On a processor what a layer writes should be in the cache when the next one reads it: bytes of the largest tensor.
CACHED = 16 << 20
SMALL = 10**9  # bytes of a batch: the mini model's takes 0.9 GB at most, one published image of 512 px more than that
MOST = 64  # images on a GPU; more only wait longer for the first result
# On a processor. Measured with the mini model on one core: 0.37 s per image alone, 0.31 with 2, 0.26 with 4, 0.23 with
# 8 to 64 at once. All of a batch is lost when a run is killed, and nothing moves until it is done.
MOST_ON_PROCESSOR = 8
# Feature maps of a level alive at once while attention works: the state, the sum of the first block, and of the second
# its tokens, their normalised copy, and both halves of the gated layer, four times as wide.
MAPS = 14
# Feature maps of a residual block that a gradient needs; and bytes of an image up to which all of them are kept.
MAPS_OF_BLOCK, KEPT = 9, 64 << 20


@dataclass(frozen=True)
class Plan:
    """How to run, and what it takes.

    n_images, n_decoded : int; images at once in the UNet, and in the autoencoder.
    weights, image, decoded : int; bytes of both networks, of one image in the UNet, and of one in the autoencoder: the
        gradient of its pixels included, where that is asked for.
    usable : int; bytes that all of it may take.
    """

    n_images: int
    n_decoded: int
    weights: int
    image: int
    decoded: int
    usable: int

    @property
    def least(self) -> int:
        """Bytes of a single image: the weights, and the larger of the two parts of the work."""
        return self.weights + max(self.image, self.decoded)

    def side_by_side(self, n: int) -> int:
        """How many batches, up to n, run at the same time: n of small networks, for which threads that share a batch
        wait for each other; 1 of large ones, or where memory ends."""
        batch = max(self.n_images * self.image, self.n_decoded * self.decoded)
        return n if batch <= SMALL and n * batch <= self.usable - self.weights else 1


@functools.cache
def _sizes(config: UNetConfig | AutoencoderConfig) -> tuple[int, int, int]:
    """Number of weights; of those of the largest kernel; channels of all attention places together."""
    with torch.device("meta"):
        model: nn.Module = UNet(config) if isinstance(config, UNetConfig) else Autoencoder(config)
    shapes = [value.numel() for value in model.state_dict().values()]
    places = attention_blocks(model.unet_image) if isinstance(model, UNet) else []
    return sum(shapes), max(shapes), sum(len(block.norm.weight) for block in places)


def _image_values(config: UNetConfig, latent_px: int, n_tokens: int, guided: bool) -> int:
    """Numbers that one image takes in the UNet: skips, the busiest level, keys and values, once alone and once joined
    with the unconditional ones."""
    pixels = [latent_px // 2**level for level in range(len(config.multipliers))]
    maps = [p**2 * config.width * m for p, m in zip(pixels, config.multipliers, strict=True)]
    context = 2 * n_tokens * _sizes(config)[2]
    n = 2 if guided else 1
    return n * (sum((config.n_blocks + 1) * values for values in maps) + MAPS * max(maps) + 2 * context)


def _decoded_values(config: AutoencoderConfig, size_px: int) -> int:
    """Numbers that one image takes in the decoder, which needs more than the encoder: at the finest level the map that
    comes from the level below, its normalised copy, a third one inside the kernels, and two of its own width; measured
    in kl-f8, 96 % of that."""
    below = config.width * config.multipliers[min(1, len(config.multipliers) - 1)]
    return size_px**2 * (3 * below + 2 * config.width * config.multipliers[0])


def _kept_values(config: AutoencoderConfig, size_px: int) -> int:
    """Numbers that one image takes while the gradient of its pixels is computed and nothing is computed twice: of each
    block what its two normalisations, their activations and convolutions keep, 49 of 53 MB in the mini autoencoder."""
    maps = sum((size_px >> level) ** 2 * config.width * m for level, m in enumerate(config.multipliers))
    return MAPS_OF_BLOCK * (config.n_blocks + 1) * maps


def sparing(config: AutoencoderConfig, size_px: int) -> bool:
    """Whether the gradient of decoded pixels keeps the inputs of blocks alone (`pixels`, sparing), which takes a fifth
    more time: where an image would take more than `KEPT` otherwise. float32."""
    return 4 * _kept_values(config, size_px) > KEPT


def _descended_values(config: AutoencoderConfig, size_px: int) -> int:
    """Numbers that one image takes while the gradient of its pixels is computed, with `sparing` where that is so: the
    input of each block of the decoder; and of the widest one, computed again, what its layers keep and two maps of
    gradients."""
    if not sparing(config, size_px):
        return _kept_values(config, size_px)
    below = config.width * config.multipliers[min(1, len(config.multipliers) - 1)]
    own = config.width * config.multipliers[0]
    inputs = sum(
        (size_px >> level) ** 2 * config.width * m * (config.n_blocks + 2) for level, m in enumerate(config.multipliers)
    )
    return inputs + size_px**2 * (7 * below + 8 * own)


def plan(
    unet: UNetConfig,
    autoencoder: AutoencoderConfig,
    *,
    size_px: int,
    n_tokens: int,
    guided: bool,
    dtype: torch.dtype,
    batch_size: int | str,
    device: str,
    free: int | None = None,
    descends: bool = False,
) -> Plan:
    """How many images at once, with nothing loaded yet.

    Parameters
    ----------
    unet, autoencoder : UNetConfig, AutoencoderConfig
    size_px : int
        Side of the images.
    n_tokens : int
        Of both contexts together; 334 as published.
    guided : bool
        Whether guidance is not 1: two predictions per image.
    dtype : torch.dtype
        Of both networks.
    batch_size : int or "auto"
        A number is taken as it is, if it fits.
    device : str
        As torch names it.
    free : int, optional
        Bytes; without it those that the device has free now.
    descends : bool
        Whether the gradient of decoded pixels is needed.

    Returns
    -------
    Plan

    Raises
    ------
    ValueError
        batch_size is neither "auto" nor 1 or more, or the size is not a multiple of what the networks halve.
    MemoryError
        Not even one image, or not the asked number, fits; the message says what would.
    """
    if batch_size != "auto" and (not isinstance(batch_size, int) or batch_size < 1):
        raise ValueError(f"batch_size is {batch_size!r}, expected auto or a number of images, 1 or more")
    step = autoencoder.factor * unet.factor
    if size_px < step or size_px % step:
        raise ValueError(f"images of {size_px} px, expected a multiple of {step}")
    free = free_bytes(device) if free is None else free
    usable = int(SHARE * free)

    def cost(size: int, kind: torch.dtype, pair: bool) -> Plan:
        itemsize = torch.empty((), dtype=kind).element_size()
        kernel = max(_sizes(unet)[1], _sizes(autoencoder)[1])  # a copy in the order that the kernels of a library want
        weights = itemsize * (_sizes(unet)[0] + _sizes(autoencoder)[0] + kernel)
        image = itemsize * _image_values(unet, size // autoencoder.factor, n_tokens, pair)
        decoded = (_descended_values if descends else _decoded_values)(autoencoder, size)
        return Plan(1, 1, weights, image, itemsize * decoded, usable)

    one = cost(size_px, dtype, guided)
    fitting = (usable - one.weights) // one.image
    wanted = 1 if batch_size == "auto" else int(batch_size)
    if one.least > usable or wanted > fitting:
        advice = _what_fits(cost, size_px, dtype, guided, step, usable, int(fitting))
        needed = max(one.weights + wanted * one.image, one.least) / SHARE
        raise MemoryError(
            f"{wanted} x {size_px} px at once in {_name(dtype)} need {_gb(needed)} of memory (weights "
            f"{_gb(one.weights)}, an image {_gb(one.image)}, decoding it {_gb(one.decoded)}, a fifth in "
            f"reserve), {device} has {_gb(free)} free. {advice}"
        )
    if batch_size != "auto":
        return replace(one, n_images=wanted, n_decoded=min(wanted, (usable - one.weights) // one.decoded))
    most, most_decoded = MOST, MOST
    if torch.device(device).type == "cpu":
        itemsize = torch.empty((), dtype=dtype).element_size()
        most = CACHED // (itemsize * (2 if guided else 1) * (size_px // autoencoder.factor) ** 2 * unet.width)
        most = min(most, MOST_ON_PROCESSOR)
        most_decoded = CACHED // (itemsize * size_px**2 * autoencoder.width)
    return replace(
        one,
        n_images=max(1, min(most, fitting)),
        n_decoded=max(1, min(most_decoded, (usable - one.weights) // one.decoded)),
    )


def _what_fits(
    cost: Callable[[int, torch.dtype, bool], Plan],
    size_px: int,
    dtype: torch.dtype,
    guided: bool,
    step: int,
    usable: int,
    fitting: int,
) -> str:
    """The first of the changes, from the mildest on, that makes an image fit."""
    if fitting >= 1 and cost(size_px, dtype, guided).least <= usable:
        return f"Set batch_size to {fitting}, or to auto"
    half = torch.bfloat16 if dtype == torch.float32 else dtype
    smaller = [size for size in range(size_px - step, step - 1, -step)]
    for size, pair in [(size_px, guided), *((size, guided) for size in smaller), (step, False)]:
        found = cost(size, half, pair)
        if found.least <= usable:
            changes = [f"{_name(half)} (or float16 on a GPU)"] if half != dtype else []
            changes += [f"images of {size} px"] if size != size_px else []
            changes += ["guidance 1"] if pair != guided else []
            return f"What fits: {' and '.join(changes)}, {_gb(found.least / SHARE)}"
    least = cost(step, half, False).least / SHARE
    return f"Nothing fits: the smallest images in {_name(half)} take {_gb(least)}. Free memory or take another device"


def _gb(n: float) -> str:
    return f"{math.ceil(n / 1e8) / 10:.1f} GB"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
