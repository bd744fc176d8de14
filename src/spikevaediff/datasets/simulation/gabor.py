"""Units as Gabor filters, energy and half-rectified output (Adelson & Bergen 1985; in mice Niell & Stryker 2008)."""

import numpy as np

from spikevaediff.images import resize

_FIELD_PX = 64  # side of the images that the receptive fields see
# With it, tuning that is strong enough for the published decoding accuracy also has the published spread of
# reliability; without it a few scenes carry everything.
_COMPRESSION = 0.5  # exponent of the drive: responses saturate with contrast


def tuning(
    pixels: np.ndarray, rng: np.random.Generator, *, field: np.ndarray, movie: np.ndarray | None = None
) -> np.ndarray:
    """How much each unit likes each image, and each frame of a movie.

    A unit sees the image through a Gabor filter with even and odd part e and o; its drive is the square root of
    m sqrt(e^2 + o^2) + (1 - m) max(0, e cos p + o sin p), m and p its own, standardised over the images.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width)
    rng : np.random.Generator
    field : float64, (n_units,)
        Size of the receptive fields relative to those of VISp.
    movie : uint8, (n_frames, height, width), optional

    Returns
    -------
    float64, (n_units, n_images + n_frames)
        Mean 0 and variance 1 over the images; frames by the mean and deviation of the images.
    """
    n_units = len(field)
    # Standard deviation of the envelope in image widths: 5 to 14 degrees on a screen 120 degrees wide, in VISp.
    sigma = field * 0.04 * 3.0 ** rng.random(n_units)
    theta, phase = np.pi * rng.random(n_units), 2 * np.pi * rng.random(n_units)
    mix, centre = rng.random(n_units), rng.uniform(0.1, 0.9, (n_units, 2))
    row, column = np.meshgrid(*[(np.arange(_FIELD_PX) + 0.5) / _FIELD_PX] * 2, indexing="ij")
    filters = np.empty((n_units, _FIELD_PX**2), np.complex128)
    for unit in range(n_units):
        y, x = row.ravel() - centre[unit, 0], column.ravel() - centre[unit, 1]
        envelope = np.exp(-(x**2 + y**2) / (2 * sigma[unit] ** 2))
        envelope /= envelope.sum()
        # 0.35 cycles per standard deviation make a bandwidth of about 1.5 octaves, usual for cortical cells.
        wave = np.exp(2j * np.pi * 0.35 / sigma[unit] * (x * np.cos(theta[unit]) + y * np.sin(theta[unit])))
        filters[unit] = envelope * (wave - envelope @ wave)  # less its mean: a uniform grey excites nothing

    def drive(pixels: np.ndarray) -> np.ndarray:
        seen = resize(pixels, _FIELD_PX).reshape(len(pixels), -1) / 127.5 - 1
        filtered = filters @ seen.T.astype(np.complex128)
        half = np.maximum(0, (filtered * np.exp(-1j * phase[:, None])).real)
        return (mix[:, None] * np.abs(filtered) + (1 - mix[:, None]) * half) ** _COMPRESSION

    found = drive(pixels)
    mean, deviation = found.mean(1, keepdims=True), found.std(1, keepdims=True)
    if movie is not None:
        found = np.concatenate([found, drive(movie)], axis=1)
    return (found - mean) / deviation
