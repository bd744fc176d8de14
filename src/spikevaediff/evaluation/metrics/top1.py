"""Retrieval: is the shown image the one most like the reconstruction, of all images that were shown?"""

from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.metrics import two_way

if TYPE_CHECKING:
    from spikevaediff.evaluation.protocols import Protocol

AT_LEAST = 1
LOOKS_AT = {f"{name}_top1": look for name, look in two_way.LOOKS_AT.items()}
COMPETES = True
LARGER_IS_BETTER = True
RANGE = (0.0, 1.0)
CHANCE = "1 / n for n images. One and the same picture for every image scores that, too."


def pairwise(shown: np.ndarray, reconstructed: np.ndarray, protocol: "Protocol") -> np.ndarray:
    """two_way.within 1 of the Pearson correlation of network activations, for every pair.

    Parameters
    ----------
    shown, reconstructed : float, (n, ...) and (m, ...)
        As of two_way.pairwise.
    protocol : Protocol
        Not read: images that tie share the places that are left.

    Returns
    -------
    float64, (n, m), in [0, 1]

    Raises
    ------
    ValueError
        The activations differ in size, or there are fewer than 1 shown images.
    """
    return two_way.within(two_way.likeness(shown, reconstructed), 1)
