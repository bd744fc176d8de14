"""What known mistakes do to a score: each one made on purpose, alone, in an otherwise honest run.

Published code for this task makes them (it is cited in the report): a network without its weights gives the targets,
the regression is scored on the rows that it was fitted to, presentations are taken for images, penalties are copied
from a data set ninety times larger, and predictions are standardised with the statistics of the test set. Some of
them destroy the result, some flatter it, and none can be seen in a single score. That is why each stands beside the
honest run here.

Every function returns predictions for the test images of all folds, in the order of split.test_ids, as an honest run
does.
"""

from collections.abc import Callable

import numpy as np

from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, rows_of
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.renormalise import renormalise

FitFunction = Callable[[np.ndarray, np.ndarray], Fit]
PredictFunction = Callable[[Fit, np.ndarray], np.ndarray]
NSD_ALPHA = 100_000.0  # chosen by others for 8,859 images and 15,724 voxels

ERRORS = {
    "none": "This pipeline, fitted to real images alone",
    "noise_targets": "Targets from a network without its weights: noise that knows nothing of the image",
    "training_rows_predicted": "The rows predicted are those fitted to",
    "misaligned_rows": "The first presentations are taken for images in order",
    "nsd_alphas": "One penalty of 100,000, copied from a data set of 8,859 images",
    "test_renormalisation": "Predictions standardised with the statistics of the test images",
    "nsd_alphas_and_test_renormalisation": "The last two together, as published",
}


def possible(split: ImageSplit) -> list[str]:
    """The mistakes of ERRORS that can be made with these folds: one test image has no statistics of its own."""
    fewest = min(len(split.ids(fold)[1]) for fold in range(split.n_folds))
    return [name for name in ERRORS if fewest > 1 or "test_renormalisation" not in name]


def noise_targets(features: Features, *, seed: int) -> Features:
    """Standard normal numbers instead of features, each image's from (seed, image_id).

    Parameters
    ----------
    features : Features
        Gives ids and shape.
    seed : int

    Returns
    -------
    Features
        With the mean and deviation over images that each dim had, so that a decoder gets numbers of the usual size.
    """
    drawn = np.stack(
        [
            np.random.default_rng([seed, image_id]).standard_normal(features.values.shape[1], np.float32)
            for image_id in features.image_id.tolist()
        ]
    )
    values = features.values.mean(0, keepdims=True) + drawn * features.values.std(0, keepdims=True)
    return Features(features.space, features.image_id, values, features.group_name, features.group_size)


def image_rows(x: np.ndarray, responses: Responses, image_ids: np.ndarray) -> np.ndarray:
    """The right rows: the mean response to each image, float64 (n_ids, n_units), from x (n_presentations, n_units)."""
    return preprocessing.mean_over_presentations(x, responses.image_id, image_ids)


def misaligned_rows(x: np.ndarray, responses: Responses, image_ids: np.ndarray, every_id: np.ndarray) -> np.ndarray:
    """The wrong rows: the k-th presentation of the session for the k-th image.

    Parameters
    ----------
    x : float, (n_presentations, n_units)
    responses : Responses
        Of the same presentations, in the order in which they were shown.
    image_ids : int64, (n_wanted,)
    every_id : int64, (n_images,)
        All images in the order that numbers them.
    """
    shown = x[responses.image_id != BLANK]
    return shown[rows_of(image_ids, every_id, "the images")]


def out_of_fold(
    rows: Callable[[np.ndarray], np.ndarray],
    features: Features,
    split: ImageSplit,
    *,
    fit: FitFunction,
    predict: PredictFunction,
    how: str,
) -> np.ndarray:
    """Predictions of every test image by the fit of its fold.

    Parameters
    ----------
    rows : callable
        image ids -> float, (n_ids, n_units), the responses taken for them.
    features : Features
    split : ImageSplit
    fit, predict : callable
        fit(x, y) and predict(fit, x) of a regression, its options bound.
    how : str
        Of `renormalise`.

    Returns
    -------
    float32, (n_test_images, n_dims)
    """
    predicted = np.empty((len(split.test_ids), features.values.shape[1]), np.float32)
    for fold in range(split.n_folds):
        train_ids, test_ids = split.ids(fold)
        x_train = rows(train_ids)
        scale = preprocessing.scale_of(x_train)
        fitted = fit(preprocessing.standardise(x_train, scale), features.rows(train_ids))
        x_test = preprocessing.standardise(rows(test_ids), scale)
        predicted[rows_of(test_ids, split.test_ids, "the split")] = renormalise(
            predict(fitted, x_test), fitted, how=how
        )[0]
    return predicted


def fitted_to_themselves(
    rows: Callable[[np.ndarray], np.ndarray],
    features: Features,
    split: ImageSplit,
    *,
    fit: FitFunction,
    predict: PredictFunction,
    how: str,
) -> np.ndarray:
    """Predictions of the rows that the fit has seen, as `out_of_fold` otherwise."""
    x = rows(split.test_ids)
    scale = preprocessing.scale_of(x)
    z = preprocessing.standardise(x, scale)
    fitted = fit(z, features.rows(split.test_ids))
    return renormalise(predict(fitted, z), fitted, how=how)[0].astype(np.float32)
