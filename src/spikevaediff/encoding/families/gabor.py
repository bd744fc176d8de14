"""Gabor energy and phase: the textbook model of cells in primary visual cortex (Adelson & Bergen 1985).

A layer is a size. At each place, sigma the standard deviation of the Gaussian envelope g (normalised to sum 1 within
the image) and 0.35 cycles per sigma (a bandwidth of about 1.5 octaves),

    f = sum g(x) (exp(i k x) - sum g exp(i k x)) image(x),    image in [-1, 1],

for 8 orientations of k. Channels are the square roots of |f| and of the four rectified phases of f. The square root
stands for saturation with contrast; a uniform image gives 0. The envelope is separable, so that a layer is two small
matrix products.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from spikevaediff.encoding.families import IMAGE_PX
from spikevaediff.encoding.windows import NEGLIGIBLE

ASSETS: tuple[str, ...] = ()
# (sigma, places per side): image widths. Places are about one sigma apart.
LAYERS = ((0.04, 16), (0.06, 16), (0.09, 12), (0.135, 10), (0.2, 8))
WINDOWS = (((0.03, 13), (0.06, 8)), ((0.04, 10), (0.09, 6)), ((0.05, 8), (0.12, 5)), ((0.06, 7),), ((0.08, 5),))
N_ORIENTATIONS = 8
CYCLES_PER_SIGMA = 0.35
_ROUNDING = 1e-4  # added under the root: its slope at 0 is infinite


def build() -> Callable[[Tensor], list[Tensor]]:
    """Images, float32 (n, row, column) in [0, 1] -> per size (n, 40, places, places): |f|, then 4 phases of each."""
    layers = [_matrices(sigma, places) for sigma, places in LAYERS]

    def maps(images: Tensor) -> list[Tensor]:
        light = 2 * images - 1
        found = []
        for envelope, waves_y, waves_x, own in layers:
            local = envelope.to(images) @ light @ envelope.to(images).T  # (n, place, place)
            real_y, imag_y = waves_y.real.to(images), waves_y.imag.to(images)
            real_x, imag_x = waves_x.real.to(images), waves_x.imag.to(images)
            rows_real, rows_imag = (w @ light[:, None] for w in (real_y, imag_y))  # (n, orientation, place, column)
            even = rows_real @ real_x.mT - rows_imag @ imag_x.mT - own.real.to(images) * local[:, None]
            odd = rows_real @ imag_x.mT + rows_imag @ real_x.mT - own.imag.to(images) * local[:, None]
            energy = torch.sqrt(even**2 + odd**2 + _ROUNDING**2)
            phases = [torch.relu(part) for part in (even, -even, odd, -odd)]
            found.append(torch.sqrt(torch.cat([energy, *phases], 1) + _ROUNDING) - math.sqrt(_ROUNDING))
        return found

    return maps


def _matrices(sigma: float, places: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Envelope (place, px); waves along rows and columns, each (orientation, place, px); mean (orientation, p, p)."""
    pixel = (torch.arange(IMAGE_PX, dtype=torch.float64) + 0.5) / IMAGE_PX
    centre = (torch.arange(places, dtype=torch.float64) + 0.5) / places
    distance = pixel[None] - centre[:, None]
    envelope = torch.exp(-(distance**2) / (2 * sigma**2))
    envelope /= envelope.sum(1, keepdim=True)
    envelope = torch.where(envelope < NEGLIGIBLE, 0.0, envelope)
    angle = torch.arange(N_ORIENTATIONS, dtype=torch.float64) * math.pi / N_ORIENTATIONS
    k = 2 * math.pi * CYCLES_PER_SIGMA / sigma
    waves_x = envelope * torch.exp(1j * k * torch.cos(angle)[:, None, None] * distance)
    waves_y = envelope * torch.exp(1j * k * torch.sin(angle)[:, None, None] * distance)
    own = waves_y.sum(2)[:, :, None] * waves_x.sum(2)[:, None, :]
    return envelope, waves_y, waves_x, own
