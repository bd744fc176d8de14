"""Pixel correlation, and the Pearson correlation of rows that the feature metrics share.

Images are compared in grey, since the scenes are grey and a tint that a decoder adds says nothing about them.
"""

from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.looks import PIXELS
from spikevaediff.images import grey

if TYPE_CHECKING:
    from spikevaediff.evaluation.protocols import Protocol

LOOKS_AT = {"pixcorr": PIXELS}
LARGER_IS_BETTER = True
RANGE = (-1.0, 1.0)
CHANCE = (
    "0 for a constant image. Photographs have their low frequencies in common (sky above, ground below); the mean over "
    "wrong pairings says what an unrelated one scores."
)

_BLOCK = 1 << 18  # numbers taken to float64 at a time, of all images; they stay in the processor's cache


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of every row of `a` with every row of `b`.

    r[i, j] = <a_i - mean(a_i), b_j - mean(b_j)> / (||a_i - mean(a_i)|| ||b_j - mean(b_j)||), in float64.

    Parameters
    ----------
    a, b : real, (n, n_dims) and (m, n_dims)

    Returns
    -------
    float64, (n, m), in [-1, 1]. A row whose values are all equal has no correlation with anything; it gets 0, the
    value of a guess that is unrelated to the other row, so that a flat reconstruction is scored instead of dropped.

    Raises
    ------
    ValueError
        The rows differ in length or are empty.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] == 0:
        raise ValueError(f"correlation needs (n, n_dims) and (m, n_dims), got {a.shape} and {b.shape}")
    mean_a, mean_b = (x.mean(axis=1, dtype=np.float64, keepdims=True) for x in (a, b))
    product = np.zeros((len(a), len(b)))
    square_a, square_b = np.zeros((len(a), 1)), np.zeros((len(b), 1))
    step = max(1, _BLOCK // max(len(a), len(b), 1))
    for start in range(0, a.shape[1], step):
        u, v = a[:, start : start + step] - mean_a, b[:, start : start + step] - mean_b
        product += u @ v.T
        square_a += (u * u).sum(axis=1, keepdims=True)
        square_b += (v * v).sum(axis=1, keepdims=True)
    # By their extremes, since the mean of equal numbers may differ from them in the last digit.
    varies = (np.ptp(a, axis=1) > 0)[:, None] & (np.ptp(b, axis=1) > 0)[None, :]
    r = np.divide(product, np.sqrt(square_a) * np.sqrt(square_b).T, out=np.zeros_like(product), where=varies)
    return np.clip(r, -1, 1)  # rounding leaves 1 + 2e-16 for a row with itself


def pairwise(shown: np.ndarray, reconstructed: np.ndarray, protocol: "Protocol") -> np.ndarray:
    """Pearson correlation of all pixels, for every pair.

    Parameters
    ----------
    shown, reconstructed : float64, (n, height, width) and (m, height, width), with a last axis of colours or without
        As protocols.pixels_of gives them.
    protocol : Protocol
        Has decided what the pixels are; not read.

    Returns
    -------
    float64, (n, m), in [-1, 1]; 0 where an image is constant (see `correlation`).

    Raises
    ------
    ValueError
        The sizes differ.
    """
    if shown.shape[1:] != reconstructed.shape[1:]:
        raise ValueError(f"images must have one size, got {shown.shape[1:]} and {reconstructed.shape[1:]}; resize them")
    return correlation(shown.reshape(len(shown), -1), reconstructed.reshape(len(reconstructed), -1))


def of_images(shown: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Pearson correlation of the grey of images, for every pair.

    Parameters
    ----------
    shown, reconstructed : uint8, (n, height, width, 3) and (m, height, width, 3)
        Of one size.

    Returns
    -------
    float64, (n, m), as `pairwise`

    Raises
    ------
    ValueError
        The sizes differ, or the images are not uint8 with three channels.
    """
    if shown.shape[1:] != reconstructed.shape[1:]:
        raise ValueError(f"images must have one size, got {shown.shape[1:]} and {reconstructed.shape[1:]}; resize them")
    return correlation(grey(shown).reshape(len(shown), -1), grey(reconstructed).reshape(len(reconstructed), -1))


def ceiling(agreement: float) -> float:
    """What noise lets the correlation reach, from that of two halves: with r the agreement, sqrt(2 r / (1 + r)).

    Two halves agree less than both together would with the image. All presentations are as reliable as 2 r / (1 + r)
    (Spearman 1910, Brown 1910), and cannot correlate above the root of that with what is known without noise (Spearman
    1904).

    Parameters
    ----------
    agreement : float, in [-1, 1]

    Returns
    -------
    float, in [0, 1]; 0 where the halves do not agree.
    """
    return float(np.sqrt(max(2 * agreement / (1 + agreement), 0.0))) if agreement > -1 else 0.0
