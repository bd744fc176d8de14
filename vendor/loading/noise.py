"""Where the random numbers of a network come from: one stream for a batch, or one for each image."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Standard normal numbers of a shape (image, channel, row, column), asked for in a fixed order.
Noise = Callable[[tuple[int, ...]], Tensor]


def batch_noise(generator: torch.Generator) -> Noise:
    """One stream for the whole batch, as the published code draws it."""
    return lambda shape: torch.randn(shape, generator=generator)


def image_noise(seeds: Sequence[int]) -> Noise:
    """One stream per image, on the processor, so that an image depends neither on its batch nor on the device.

    Parameters
    ----------
    seeds : sequence of int, (n_images,)
        In 0..2**64 - 1, one for each image of the batch.
    """
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def draw(shape: tuple[int, ...]) -> Tensor:
        if shape[0] != len(generators):
            raise ValueError(f"noise for {shape[0]} images asked for, {len(generators)} seeds given")
        return torch.stack([torch.randn(shape[1:], generator=generator) for generator in generators])

    return draw
