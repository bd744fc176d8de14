"""What is coarse of one picture, with what is fine of another.

Two estimates of the same image err in different places: one has the better luminance of large areas, the other the
better detail. With x the picture whose detail stays, y the other one and G a Gaussian filter, the combination is

    x + share G (y - x).

With a share of 1, everything that G passes is that of y.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

# Standard deviation of G in widths of a picture: two pixels of 64, four of 128. A finer filter gives a little more in
# pixels and costs features of AlexNet, a coarser one the other way round: docs/encoding.md, docs/second-stage.md
WIDTH = 1 / 32


def exchanged(fine: np.ndarray, coarse: np.ndarray, *, share: float) -> np.ndarray:
    """Pictures with a share of others in what is coarse.

    Parameters
    ----------
    fine, coarse : float32 or float64, (n_images, row, column) or (n_images, row, column, colour)
        x and y, of the same images in the same order. Values have any unit, the same in both; they are not clipped.
    share : float
        0 (x as it is) to 1.

    Returns
    -------
    float32 or float64, as the inputs together

    Raises
    ------
    ValueError
        The two have different shapes, or the share is out of range.
    """
    if fine.shape != coarse.shape:
        raise ValueError(f"coarse pictures are {coarse.shape}, expected {fine.shape} as the fine ones")
    if not 0 <= share <= 1:
        raise ValueError(f"share is {share!r}, expected a number from 0 to 1")
    sigma = WIDTH * fine.shape[2]
    sigmas = (0, sigma, sigma, 0)[: fine.ndim]
    return fine + share * gaussian_filter(coarse - fine, sigmas, mode="nearest")
