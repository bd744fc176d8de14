"""Encoding models for means over fewer presentations than they learnt from, which are noisier.

A model knows the covariance C of mean responses around its predictions, error of the model and trial noise together,
from means over the presentations of training images. With N the covariance of single responses around the mean of their
image, a mean over k presentations has

    C + (1 / k - 1 / n) N,

1 / n the mean over training images. With C instead, noise would be taken for what the image causes. For k above n, C is
kept: what of it is the model's error is not known.

n / k counts in steps of a tenth, rounded down, so that images with nearly as many presentations have one model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from spikevaediff.encoding.encoder import Encoder
from spikevaediff.recordings import preprocessing
from spikevaediff.records import Responses

STEP = 1.1  # factor between two numbers of presentations that are told apart


@dataclass(frozen=True)
class Noise:
    """Noise of single presentations, and how much of it is in the means that a model learnt from.

    single : float64, (n_columns, n_columns); N.
    share : float; 1 / n.
    """

    single: np.ndarray
    share: float

    @classmethod
    def of(cls, x: np.ndarray, image_id: np.ndarray) -> Self:
        """From single responses to training images, float64 (n_presentations, n_columns), and int64 (n_presentations,).

        N is zero where every image was shown once.
        """
        image, number, n = np.unique(image_id, return_inverse=True, return_counts=True)
        single = np.asarray(x, np.float64)
        total = np.zeros((len(image), x.shape[1]))
        np.add.at(total, number, single)
        residual = single - (total / n[:, None])[number]
        return cls(residual.T @ residual / max(len(single) - len(image), 1), share_of(image_id))

    def added(self, n_presentations: float) -> np.ndarray:
        """(1 / k - 1 / n) N for k presentations, 0 where that is negative: float64 (n_columns, n_columns)."""
        return max(0.0, 1 / n_presentations - self.share) * self.single


def share_of(image_id: np.ndarray) -> float:
    """1 / n of presentations of training images, int64 (n_presentations,)."""
    return float(np.mean(1 / np.unique(image_id, return_counts=True)[1]))


def models_of(
    models: Sequence[Encoder], number: np.ndarray, known: Responses, responses: Responses, image_id: np.ndarray
) -> tuple[list[Encoder], np.ndarray]:
    """The models with which responses to images are explained, by how often each image was presented.

    Parameters
    ----------
    models : sequence of Encoder
    number : int64, (n_images,)
        Position of the model of each image.
    known : Responses
        With the presentations of the images that the models were trained on.
    responses : Responses
        With those of `image_id`. Fractions where `known` are counts are means, over an unknown number of presentations.
    image_id : int64, (n_images,)

    Returns
    -------
    list of Encoder
        Those given, then those with more noise.
    int64, (n_images,)
        Position of the model of each image in this list; as given where its means are as good as those of training
        images, or all that is known are means.
    """
    n_shown = (responses.image_id == image_id[:, None]).sum(1)
    every, position = list(models), np.array(number, np.int64)
    if np.issubdtype(known.counts.dtype, np.integer) and (responses.counts % 1).any():
        return every, position
    for one in np.unique(number).tolist():
        rows, of_training = np.flatnonzero(number == one), np.isin(known.image_id, models[one].image_id)
        share = share_of(known.image_id[of_training])
        steps = np.floor(np.log(1 / n_shown[rows] / share) / np.log(STEP) + 1e-9).astype(int)
        if share == 1 or not (steps > 0).any():
            continue
        single = preprocessing.response_matrix(known, transform="none")[of_training]
        noise = Noise.of(single, known.image_id[of_training])
        for step in np.unique(steps[steps > 0]).tolist():
            position[rows[steps == step]] = len(every)
            more = noise.added(STEP**-step / share)
            every.append(replace(models[one], covariance=models[one].covariance + more))
    return every, position
