"""What a fold knows: statistics of its training images, for responses and for all that is predicted or shown."""

import numpy as np

from spikevaediff.recordings import preprocessing
from spikevaediff.recordings.preprocessing import Scale
from spikevaediff.records import ImageSplit


def trained(split: ImageSplit, fold: int | None) -> np.ndarray:
    """Which images of split.image_id a fold trains on, bool (n_images,); all of them where it is None."""
    return np.ones(len(split.fold), bool) if fold is None else split.fold != fold


def standardisation(x: np.ndarray, split: ImageSplit, fold: int | None) -> Scale:
    """Mean and deviation of responses over the training images of a fold; over all images where it is None.

    Parameters
    ----------
    x : float64, (n_images, n_columns)
        Rows in the order of split.image_id.
    split : ImageSplit
    fold : int or None

    Raises
    ------
    ValueError
        As preprocessing.scale_of.
    """
    return preprocessing.scale_of(x[trained(split, fold)])


def training_mean(values: np.ndarray, split: ImageSplit, *, dtype: type | None = None) -> np.ndarray:
    """For every test image the mean over the training images of its fold.

    Parameters
    ----------
    values : real, (n_images, ...)
        Rows in the order of split.image_id.
    split : ImageSplit
    dtype : optional
        In which is summed, as of np.mean.

    Returns
    -------
    (n_test, ...)
        In the order of split.test_ids.
    """
    means = [values[trained(split, fold)].mean(0, dtype=dtype) for fold in range(split.n_folds)]
    return np.stack(means)[split.fold[split.fold >= 0]]
