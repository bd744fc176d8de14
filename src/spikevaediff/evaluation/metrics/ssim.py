"""Structural similarity of grey images.

The two-dimensional index of Wang et al. with their Gaussian window. Some reconstruction papers print another number
under this name: with scikit-image before 0.20 their call averages one-dimensional indices of the image columns, which
is 0.06 to 0.11 higher on photographs. Only two-dimensional numbers can be set beside those from here.
"""

from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.looks import PIXELS

if TYPE_CHECKING:
    from spikevaediff.evaluation.protocols import Protocol

LOOKS_AT = {"ssim": PIXELS}
LARGER_IS_BETTER = True
RANGE = (-1.0, 1.0)
CHANCE = (
    "No fixed number: a flat grey image scores about 0.4 on photographs, more than many published reconstructions. "
    "Compare with the run of grey images."
)

SIGMA_PX = 1.5
DATA_RANGE = 255.0
_RADIUS = 5  # int(3.5 * SIGMA_PX + 0.5): 11 taps, as Wang et al. and scikit-image
_C1, _C2 = (0.01 * DATA_RANGE) ** 2, (0.03 * DATA_RANGE) ** 2


def _window(size_px: int) -> np.ndarray:
    """The Gaussian window as a banded matrix, (size_px - 10, size_px): only where all of it is inside the image."""
    taps = np.exp(-0.5 * (np.arange(-_RADIUS, _RADIUS + 1) / SIGMA_PX) ** 2)
    taps /= taps.sum()
    matrix = np.zeros((size_px - 2 * _RADIUS, size_px))
    for row in range(len(matrix)):
        matrix[row, row : row + len(taps)] = taps
    return matrix


def pairwise(shown: np.ndarray, reconstructed: np.ndarray, protocol: "Protocol") -> np.ndarray:
    """Mean structural similarity index of grey pixels, for every pair.

    Parameters
    ----------
    shown, reconstructed : float64, (n, height, width) and (m, height, width), with a last axis of colours or without
        As protocols.pixels_of gives them.
    protocol : Protocol
        Says how colours become grey, and whether the index is that of columns.

    Returns
    -------
    float64, (n, m), in [-1, 1]

    Raises
    ------
    ValueError
        The images are below 11 px.
    """
    return of_grey(protocol.grey(shown), protocol.grey(reconstructed), columns=protocol.column_ssim)


def of_grey(x: np.ndarray, y: np.ndarray, *, columns: bool = False) -> np.ndarray:
    """Mean structural similarity index of grey images, for every pair.

    mean over positions of (2 u_x u_y + C1) (2 v_xy + C2) / ((u_x^2 + u_y^2 + C1) (v_x + v_y + C2)),
    u and v being means and (co)variances under an 11 x 11 Gaussian window of sigma 1.5 px, C1 = (0.01 * 255)^2,
    C2 = (0.03 * 255)^2, over the positions where the window lies inside the image. Equals
    skimage.metrics.structural_similarity(x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    data_range=255). Means and variances are filtered once per image and only the product x y once per pair: 14,000
    pairs of 128 px take about 5 s of one core, of 256 px 30 s.

    Parameters
    ----------
    x, y : float64, (n, height, width) and (m, height, width), in [0, 255]
    columns : bool
        The mean over columns of the one-dimensional index along each, as scikit-image before 0.20 computes for a grey
        image that is declared to have channels. For comparison with publications whose code did so.

    Returns
    -------
    float64, (n, m), in [-1, 1]

    Raises
    ------
    ValueError
        The images are below 11 px.

    References
    ----------
    Wang, Bovik, Sheikh & Simoncelli 2004, IEEE Trans. Image Processing 13, 600, doi:10.1109/TIP.2003.819861.
    """
    height, width = x.shape[1:]
    if min(height, width) <= 2 * _RADIUS:
        raise ValueError(
            f"images must be at least 11 px wide and high, got {height} x {width}; choose a larger size_px"
        )
    down = _window(height)
    across = None if columns else _window(width).T

    def smooth(z: np.ndarray) -> np.ndarray:
        return down @ (z if across is None else z @ across)

    mean_x, mean_y = smooth(x), smooth(y)
    variance_x, variance_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    similarity = np.empty((len(x), len(y)))
    for i, j in np.ndindex(similarity.shape):  # a pair at a time stays in the processor's cache
        means = mean_x[i] * mean_y[j]
        covariance = smooth(x[i] * y[j]) - means
        luminance = (2 * means + _C1) / (mean_x[i] ** 2 + mean_y[j] ** 2 + _C1)
        structure = (2 * covariance + _C2) / (variance_x[i] + variance_y[j] + _C2)
        similarity[i, j] = (luminance * structure).mean()
    return similarity
