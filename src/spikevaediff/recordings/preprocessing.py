"""From spike counts to the regressors x: one row per image, one column per unit and window.

Small pure functions in float64: counts are summed and standardised here once, and it is for the regression to choose
a precision. What is learnt from data (mean and scale) is learnt from training rows only.
"""

from dataclasses import dataclass

import numpy as np

from spikevaediff.records import Responses, rows_of

ROUNDING = 64 * np.finfo(np.float64).eps  # of the largest response of a column: what sums and means may err by


def response_matrix(responses: Responses, *, transform: str) -> np.ndarray:
    """One row per presentation, all units of the first window, then of the next.

    Parameters
    ----------
    responses : Responses
    transform : str
        none: counts. square_root: sqrt(count), which brings the variance of a Poisson count to about 1/4 for all
        means above 5 (and less than the mean itself below), so that a few units with high rates do not set the noise.

    Returns
    -------
    float64, (n_presentations, n_windows * n_units)

    Raises
    ------
    ValueError
        An unknown transform, or the root of a response below 0.

    Source: Bartlett 1936, The square root transformation in analysis of variance.
    """
    if transform not in ("none", "square_root"):
        raise ValueError(f"transform {transform!r} does not exist, choose none or square_root")
    x = np.concatenate(np.moveaxis(responses.counts, 2, 0), axis=1).astype(np.float64)
    if transform == "none":
        return x
    if np.any(x < 0):
        raise ValueError(
            f"responses fall to {x.min():g}, which has no square root: transform square_root is for spike counts, "
            f"choose none"
        )
    return np.sqrt(x)


def units_of_columns(responses: Responses) -> dict[str, np.ndarray]:
    """The unit of every column of `response_matrix`.

    Returns
    -------
    dict of arrays, (n_windows * n_units,)
        unit_id, session_id int64; area str.
    """
    units, n_windows = responses.units, len(responses.window_s)
    return {name: np.tile(getattr(units, name), n_windows) for name in ("unit_id", "session_id", "area")}


def mean_over_presentations(x: np.ndarray, image_id: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Mean response to each image.

    Parameters
    ----------
    x : float64, (n_presentations, n_columns)
        As from `response_matrix`; a transform thus comes before the mean.
    image_id : int64, (n_presentations,)
        The image of each presentation, in any order; -1 is the blank, an image like any other here.
    wanted : int64, (n_images,)
        Ids of the rows of the result, in their order.

    Returns
    -------
    float64, (n_images, n_columns)

    Raises
    ------
    KeyError
        Images that were not presented; the message names them.
    ValueError
        x and image_id differ in length.
    """
    if len(x) != len(image_id):
        raise ValueError(f"x has {len(x)} presentations, image_id {len(image_id)}")
    shown, row, n_presentations = np.unique(image_id, return_inverse=True, return_counts=True)
    chosen = rows_of(wanted, shown, "the presentations of this session")
    order = np.argsort(row, kind="stable")
    starts = np.cumsum(n_presentations) - n_presentations
    means = np.add.reduceat(x[order], starts, axis=0) / n_presentations[:, None]
    return means[chosen]


def mean_responses(responses: Responses, image_id: np.ndarray, *, transform: str = "none") -> np.ndarray:
    """Mean response to each of these images: `mean_over_presentations` of the `response_matrix`.

    Parameters
    ----------
    responses : Responses
    image_id : int64, (n_images,)
    transform : str
        As in `response_matrix`; it comes before the mean.

    Returns
    -------
    float64, (n_images, n_windows * n_units)

    Raises
    ------
    KeyError, ValueError
        As these two.
    """
    return mean_over_presentations(response_matrix(responses, transform=transform), responses.image_id, image_id)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of every column over training rows.

    mean, deviation : float64, (n_columns,); the deviation of a column that is constant but for rounding is 0.
    n_constant : int; columns that never vary, units that tell nothing.
    """

    mean: np.ndarray
    deviation: np.ndarray
    n_constant: int


def scale_of(x_train: np.ndarray) -> Scale:
    """Mean and standard deviation (over n, not n - 1) of every column.

    Parameters
    ----------
    x_train : float64, (n_train, n_columns)
        Training rows only: statistics that have seen test rows leak them.

    Raises
    ------
    ValueError
        Fewer than two rows, or values that are not finite.
    """
    if len(x_train) < 2:
        raise ValueError(f"z-scoring needs at least 2 training images, got {len(x_train)}")
    if not np.isfinite(x_train).all():
        raise ValueError(f"responses are not finite in {np.sum(~np.isfinite(x_train))} of {x_train.size} places")
    x_train = np.asarray(x_train, np.float64)
    largest = np.abs(x_train).max(0)
    # Means over different numbers of presentations of the same response differ by rounding, and so does the mean of a
    # column from its entries: a deviation of 1e-17 would be blown up to noise of full size.
    constant = np.ptp(x_train, axis=0) <= ROUNDING * largest
    # A power of two changes no digit, and keeps the squares of the largest and smallest numbers numbers.
    size = np.ldexp(1.0, np.frexp(largest)[1] - 1)
    deviation = (x_train / size[None]).std(0) * size
    return Scale(x_train.mean(0), np.where(constant, 0.0, deviation), int(constant.sum()))


def standardise(x: np.ndarray, scale: Scale) -> np.ndarray:
    """z = (x - mean) / deviation with the statistics of the training rows; columns constant there become 0.

    Parameters
    ----------
    x : float64, (n, n_columns)
        Training or test rows.
    scale : Scale

    Returns
    -------
    float64, (n, n_columns)
    """
    inverse = np.divide(1.0, scale.deviation, out=np.zeros_like(scale.deviation), where=scale.deviation > 0)
    return (np.asarray(x, np.float64) - scale.mean[None]) * inverse[None]
