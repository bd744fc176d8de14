"""Encoding models for means over fewer presentations than they learnt from, which are noisier.

A model knows the covariance C of mean responses around its predictions, error of the model and trial noise together,
from means over the presentations of training images. With N the covariance of single responses around the mean of their
image, a mean over k presentations has

    C + (1 / k - 1 / n) N,

1 / n the mean over training images. With C instead, noise would be taken for what the image causes. For k above n, C is
kept: what of it is the model's error is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from spikevaediff.encoding.encoder import Encoder
from spikevaediff.recordings import preprocessing
from spikevaediff.records import Responses

SMALLEST = 0.1  # share of 1 / n from which a difference counts: few images have some presentations fewer than others


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
        return cls(residual.T @ residual / max(len(single) - len(image), 1), float(np.mean(1 / n)))

    def added(self, n_presentations: int) -> np.ndarray:
        """(1 / k - 1 / n) N for k presentations, 0 where that is negative: float64 (n_columns, n_columns)."""
        return max(0.0, 1 / n_presentations - self.share) * self.single


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
        With those of `image_id`.
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
    x = preprocessing.response_matrix(known, transform="none")
    for one in np.unique(number).tolist():
        of_training = np.isin(known.image_id, models[one].image_id)
        noise = Noise.of(x[of_training], known.image_id[of_training])
        for n in np.unique(n_shown[number == one]).tolist():
            if 1 / n > (1 + SMALLEST) * noise.share and noise.single.any():
                position[(number == one) & (n_shown == n)] = len(every)
                every.append(replace(models[one], covariance=models[one].covariance + noise.added(n)))
    return every, position
