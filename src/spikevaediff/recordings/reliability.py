"""Split halves: how much of a mean response, or of anything computed from it, would come out again.

The presentations of every image are split at random into two halves of equal size. What the halves have in common is
what the images cause; Spearman and Brown's formula says what a comparison of two wholes, each of all presentations,
would give (`lengthening`: of an odd number one is in no half). Every image is split by its own generator, seeded by
(seed, draw, image_id), so that leaving out an image changes no other image's halves.
"""

import numpy as np

from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, group_edges


def halves(image_id: np.ndarray, *, seed: int, draw: int) -> np.ndarray:
    """Split the presentations of every image at random into two halves of equal size.

    Parameters
    ----------
    image_id : int64, (n_presentations,)
    seed, draw : int
        Another draw is another split.

    Returns
    -------
    int64, (n_presentations,)
        0 or 1, and -1 for the one left over of an odd number.
    """
    half = np.full(len(image_id), -1)
    for image in np.unique(image_id).tolist():
        rows = np.flatnonzero(image_id == image)
        dealt = np.random.default_rng([seed, draw, image - BLANK]).permutation(rows)
        n = len(rows) // 2
        half[dealt[:n]], half[dealt[n : 2 * n]] = 0, 1
    return half


def half_means(x: np.ndarray, image_id: np.ndarray, half: np.ndarray, wanted: np.ndarray) -> list[np.ndarray]:
    """Mean response to each image in either half.

    Parameters
    ----------
    x : float64, (n_presentations, n_columns)
    image_id, half : int64, (n_presentations,)
        The second as from `halves`.
    wanted : int64, (n_images,)

    Returns
    -------
    two of float64, (n_images, n_columns)

    Raises
    ------
    KeyError
        An image has fewer than two presentations.
    """
    return [preprocessing.mean_over_presentations(x[half == h], image_id[half == h], wanted) for h in (0, 1)]


def correlation_of_columns(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation over rows, column by column.

    Parameters
    ----------
    a, b : float, (n_rows, n_columns)

    Returns
    -------
    float64, (n_columns,); NaN where a column is constant in either.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    varies = (a != a[:1]).any(0) & (b != b[:1]).any(0)  # compared exactly: the mean of equal numbers may be rounded
    a, b = a - a.mean(0, keepdims=True), b - b.mean(0, keepdims=True)
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    return np.divide((a * b).sum(0), norm, out=np.full(len(norm), np.nan), where=varies & (norm > 0))


def correlation_of_groups(a: np.ndarray, b: np.ndarray, group_size: np.ndarray) -> np.ndarray:
    """Mean over the columns of each group of their correlation over rows; a constant column counts as 0.

    Parameters
    ----------
    a, b : float, (n_rows, n_columns)
    group_size : int64, (n_groups,)
        Consecutive columns that belong together.

    Returns
    -------
    float64, (n_groups,)
    """
    starts = group_edges(group_size)[:-1]
    return np.add.reduceat(np.nan_to_num(correlation_of_columns(a, b)), starts) / group_size


def lengthening(image_id: np.ndarray) -> float:
    """How many times as long as a half all presentations are, by the noise in a mean over them.

    k = mean_i(1 / h_i) / mean_i(1 / n_i) with n_i presentations of image i, h_i = floor(n_i / 2) of them in a half: 2
    where all n_i are even, 3 for three presentations, of which `halves` leaves one out.

    Parameters
    ----------
    image_id : int64, (n_presentations,)
        Blanks are left out, and so are images that were shown once.

    Returns
    -------
    float, at least 2; NaN where no image was shown twice.
    """
    n = np.unique(image_id[image_id != BLANK], return_counts=True)[1]
    n = n[n > 1]
    return float(np.mean(1 / (n // 2)) / np.mean(1 / n)) if len(n) else np.nan


def spearman_brown(r: np.ndarray | float, lengthening: float = 2.0) -> np.ndarray:
    """Reliability of a whole from the correlation r of two parts.

    k r / (1 + (k - 1) r), k how many times as long as a part the whole is: 2 for halves. 0 where r is not positive.

    float64, of any shape, NaN where r is.

    Source: Brown 1910 and Spearman 1910, British Journal of Psychology 3.
    """
    r = np.asarray(r, np.float64)
    positive = np.maximum(r, 0)
    return np.where(np.isnan(r), np.nan, lengthening * positive / (1 + (lengthening - 1) * positive))
