"""Reconstructions that look at no spikes, or hardly: what a score is worth without a decoder.

All of them use the training images of a fold only. The nearest training image is a decoder without a model: the
picture whose response was most like the one to be decoded.
"""

import numpy as np

from spikevaediff import images
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Reconstructions, Responses, Stimuli, rows_of
from spikevaediff.regression import folds

MID_GREY = 128


def grey(split: ImageSplit, *, size_px: int) -> Reconstructions:
    """The same mid grey (128 of 255) for every test image."""
    ids = split.test_ids
    return Reconstructions(ids, np.full((len(ids), size_px, size_px, 3), MID_GREY, np.uint8))


def mean_training_image(stimuli: Stimuli, split: ImageSplit, *, size_px: int) -> Reconstructions:
    """For every test image of a fold, the mean of the images that fold trains on.

    It scores below 0.5 in identification, not at it: an image is left out of its own mean, which is thereby pushed away
    from it. A decoder that shrinks to the training mean inherits that.

    Parameters
    ----------
    stimuli : Stimuli
        Holds every image of the split.
    split : ImageSplit
    size_px : int
        Images are resized before they are averaged.

    Returns
    -------
    Reconstructions
        Of split.test_ids; means are rounded to the nearest grey level.

    Raises
    ------
    KeyError
        The stimuli lack an image of the split.
    """
    everything = images.resize(stimuli.rows(split.image_id), size_px)
    pixels = np.rint(folds.training_mean(everything, split)).astype(np.uint8)
    return Reconstructions(split.test_ids, images.rgb(pixels))


def nearest_training_image(responses: Responses, split: ImageSplit) -> np.ndarray:
    """The training image whose mean response is most like that of each test image.

    Most like is the largest Pearson correlation over units of responses z-scored with training statistics. Of fewer
    than three columns, whose correlation is 1, -1 or nothing, it is the smallest Euclidean distance.

    Returns
    -------
    int64, (n_test,), image ids, in the order of split.test_ids
    """
    means = preprocessing.mean_responses(responses, split.image_id)
    chosen = np.empty(len(split.image_id), np.int64)
    for fold in range(split.n_folds):
        z = preprocessing.standardise(means, folds.standardisation(means, split, fold))
        test, train = split.fold == fold, split.fold != fold
        if z.shape[1] < 3:
            like = z[test] @ z[train].T - (z[train] ** 2).sum(1) / 2
        else:
            z = z - z.mean(1, keepdims=True)
            length = np.maximum(np.linalg.norm(z[train], axis=1), np.finfo(float).tiny)
            like = (z[test] @ z[train].T) / length
        chosen[test] = split.image_id[train][like.argmax(1)]
    return chosen[split.fold >= 0]


def random_training_image(split: ImageSplit, *, seed: int) -> np.ndarray:
    """A training image drawn for each test image, from (seed, image_id); int64 (n_test,), as above."""
    chosen = np.empty(len(split.test_ids), np.int64)
    for fold in range(split.n_folds):
        train_ids, test_ids = split.ids(fold)
        for row, image_id in zip(rows_of(test_ids, split.test_ids, "the split"), test_ids.tolist(), strict=True):
            chosen[row] = np.random.default_rng([seed, image_id]).choice(train_ids)
    return chosen
