"""Correlation distance of pooled network features.

The published figures of this kind look through EfficientNet-B1 and SwAV. EfficientNet-lite0, which comes with a
package, has distances on another scale: its results carry "lite0" in their name and must not be set beside the
published ones.
"""

from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.correlation import correlation
from spikevaediff.evaluation.looks import Look

if TYPE_CHECKING:
    from spikevaediff.evaluation.protocols import Protocol

LOOKS_AT = {
    "efficientnet_b1": Look("efficientnet_b1", words="EfficientNet-B1, pooled"),
    "swav": Look("swav", words="ResNet-50 trained by SwAV, pooled"),
    "efficientnet_lite0": Look("efficientnet_lite0", words="EfficientNet-lite0, pooled"),
}
LARGER_IS_BETTER = False
RANGE = (0.0, 2.0)
CHANCE = "Below 1, since photographs share features; the mean over wrong pairings says what an unrelated one scores."


def pairwise(shown: np.ndarray, reconstructed: np.ndarray, protocol: "Protocol") -> np.ndarray:
    """1 - r, r being the Pearson correlation of two feature vectors, for every pair.

    Parameters
    ----------
    shown, reconstructed : float, (n, n_dims) and (m, n_dims)
        Pooled features, one image per row.
    protocol : Protocol
        Has decided what the network saw; not read.

    Returns
    -------
    float64, (n, m), in [0, 2]; 1 where a vector is constant.

    Raises
    ------
    ValueError
        The vectors differ in length.
    """
    return 1 - correlation(shown, reconstructed)
