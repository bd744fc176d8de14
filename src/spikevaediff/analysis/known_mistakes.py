"""What known mistakes do to a score: each one made on purpose, alone, in an otherwise honest run.

Published code for this task makes them (it is cited in the report): a network without its weights gives the targets,
the regression is scored on the rows that it was fitted to, presentations are taken for images, penalties are copied
from a data set ninety times larger, and predictions are standardised with the statistics of the test set. Some of
them destroy the result, some flatter it, and none can be seen in a single score. That is why each stands beside the
honest run here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
from rich.progress import track

from spikevaediff import images
from spikevaediff.evaluation import statistics
from spikevaediff.evaluation.metrics import pixcorr, two_way
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, ImageSplit, Reconstructions, Responses, Stimuli
from spikevaediff.regression import cross_validation
from spikevaediff.regression.renormalise import LEGACY, renormalise
from spikevaediff.regression.task import Task

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


def possible(split: ImageSplit, image_id: np.ndarray) -> list[str]:
    """The mistakes of ERRORS that can be made with these folds and presentations.

    One test image has no statistics of its own, and where the first presentations are the images in order, as a table
    of means has them, nothing is misaligned.

    Parameters
    ----------
    split : ImageSplit
    image_id : int64, (n_presentations,)
        What was shown, BLANK included.
    """
    fewest = min(len(split.ids(fold)[1]) for fold in range(split.n_folds))
    impossible = {name for name in ERRORS if fewest < 2 and "test_renormalisation" in name}
    if np.array_equal(image_id[image_id != BLANK][: len(split.image_id)], split.image_id):
        impossible.add("misaligned_rows")
    return [name for name in ERRORS if name not in impossible]


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
    return replace(features, values=values)


def misaligned_rows(x: np.ndarray, responses: Responses, n_images: int) -> np.ndarray:
    """The wrong rows: the k-th presentation of the session for the k-th image.

    Parameters
    ----------
    x : float, (n_presentations, n_columns)
    responses : Responses
        Of the same presentations, in the order in which they were shown.
    n_images : int

    Returns
    -------
    float, (n_images, n_columns)
    """
    return x[responses.image_id != BLANK][:n_images]


def predicted(task: Task, mistake: str, *, seed: int) -> np.ndarray:
    """Predictions of the test images with one mistake.

    Parameters
    ----------
    task : Task
        Without a library.
    mistake : str
        A key of ERRORS.
    seed : int
        Of `noise_targets`.

    Returns
    -------
    float32, (n_test_images, n_dims)
        In the order of split.test_ids, as an honest run gives them.

    Raises
    ------
    KeyError, ValueError
        There is no such mistake; or as cross_validation.predict.
    """
    if mistake not in ERRORS:
        raise KeyError(f"there is no mistake {mistake!r}; there are {', '.join(ERRORS)}")
    x, y, options, how = task.x, task.y, task.options, task.renormalise
    if mistake == "training_rows_predicted":
        return fitted_to_themselves(x, y, task.split, task.method, options, how=how)
    if mistake == "misaligned_rows":
        x = misaligned_rows(task.presentations, task.responses, len(x))
    if mistake == "noise_targets":
        y = noise_targets(task.features, seed=seed).rows(task.split.image_id)
    if "nsd_alphas" in mistake:
        options, how = options | {"alphas": [NSD_ALPHA]}, "none"
    if "test_renormalisation" in mistake:
        how = LEGACY
    found = cross_validation.predict(x, y, task.split, task.method, options, renormalise=how)
    return found.renormalised[0]


def fitted_to_themselves(
    x: np.ndarray, y: np.ndarray, split: ImageSplit, method: ModuleType, options: Mapping[str, Any], *, how: str
) -> np.ndarray:
    """Predictions of rows that the fit has seen; parameters of cross_validation.predict, result as of `predicted`."""
    tested = split.fold >= 0
    scale = preprocessing.scale_of(x[tested])
    z = preprocessing.standardise(x[tested], scale)
    fitted = method.fit(z, y[tested], y_row=np.arange(len(z)), **options)
    return renormalise(method.predict(fitted, z), fitted, how=how)[0].astype(np.float32)


def rows(
    task: Task,
    shown: Stimuli,
    decode: Callable[[Features], Reconstructions],
    *,
    noise_seed: int,
    size_px: int,
    n_draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Predict, decode and score once for every mistake that can be made.

    Parameters
    ----------
    task : Task
        Without a library.
    shown : Stimuli
    decode : callable
        That of a module of decoders, with its options.
    noise_seed : int
        Of `noise_targets`.
    size_px : int
        Side at which pixels are compared.
    n_draws, seed : int
        Of pairings, for p-values.

    Returns
    -------
    list of dict
        mistake, what, pixcorr, pixcorr_chance, p, two_way; contrast, the deviation of pixels over that of the images
        shown.

    Raises
    ------
    KeyError, ValueError
        As `predicted` and the decoder.
    """
    split = task.split
    fold = split.fold_of(split.test_ids)
    drawn = statistics.pairings(fold, n_draws=n_draws, seed=seed)
    truth = images.resize(images.rgb(shown.rows(split.test_ids)), size_px)
    found = []
    for name in track(possible(split, task.responses.image_id), "mistakes"):
        decoded = decode(task.record(predicted(task, name, seed=noise_seed)))
        pixels = images.resize(decoded.pixels, size_px)
        matrix = pixcorr.of_images(truth, pixels)
        found.append(
            {
                "mistake": name,
                "what": ERRORS[name],
                "pixcorr": float(matrix.diagonal().mean()),
                "pixcorr_chance": statistics.chance(matrix, fold),
                "p": statistics.p_value(matrix, fold, drawn, larger_is_better=True),
                "two_way": float(two_way.identification(matrix).mean()),
                "contrast": float(pixels.std((1, 2, 3)).mean() / truth.std((1, 2, 3)).mean()),
            }
        )
    return found
