"""Pixel correlation.

Images are compared in grey, since the scenes are grey and a tint that a decoder adds says nothing about them.
"""

from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.correlation import correlation
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
