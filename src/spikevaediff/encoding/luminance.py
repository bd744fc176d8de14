"""Where an image is light and dark, as far as a regression from responses can tell without an encoding model.

Units of higher areas respond to features, and models of such units say little about coarse luminance. Photographs that
evoke similar responses nevertheless have some of it in common, which a regression learns. With l(x) the mean luminance
of image x in 8 x 8 squares and m(r) its ridge regression on mean responses r, the search for images that explain the
responses can add

    w/2 (m(r) - l(x))' S^-1 (m(r) - l(x)),

S the covariance of the residuals of training images, each left out of its own prediction. Responses then count twice,
so that weights w well below 1 are right. Where responses say nothing, m is the mean of the training images and S their
covariance: what is left is a prior of coarse luminance.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikevaediff.encoding import encoder, families, noise

PX = 8  # squares per side; of 4, 6, 8 and 16, the best for features and pixels together: docs/encoding.md
PENALTIES = tuple(10.0 ** (k / 2) for k in range(2, 10))  # of standardised responses


class Luminance(NamedTuple):
    """What is expected of some images.

    mean : float64, (n_images, 64); m(r), squares row by row, grey in [0, 1].
    covariance : float64, (64, 64); S.
    """

    mean: np.ndarray
    covariance: np.ndarray


def of_pictures(pictures: Tensor) -> Tensor:
    """l(x) of pictures as encoding models see them: float32 (n, 64, 64) -> (n, 64), differentiable."""
    return torch.nn.functional.avg_pool2d(pictures[:, None], families.IMAGE_PX // PX).flatten(1)


def expected(trained: np.ndarray, pixels: np.ndarray, response: np.ndarray) -> Luminance:
    """Luminance that is expected from responses to unseen images.

    Parameters
    ----------
    trained : float64, (n_train, n_columns)
        Mean responses to training images.
    pixels : uint8, (n_train, height, width)
        These images, in the same order.
    response : float64, (n_images, n_columns)
        Mean responses to the unseen ones.

    Raises
    ------
    ValueError
        Fewer than 4 training images, or training images of which all are the same.
    """
    # Half a second, which stages that do without it need not wait for.
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    target = of_pictures(encoder.seen(pixels)).double().numpy()
    if len(target) < noise.FEWEST:
        raise ValueError(f"coarse luminance: {len(target)} training images, expected {noise.FEWEST} or more")
    if not np.ptp(target, axis=0).any():
        raise ValueError("coarse luminance: the training images are all the same, so that there is nothing to expect")
    scaler = StandardScaler().fit(trained)
    # Given a score, RidgeCV keeps predictions that leave out their image; without one, only squared errors.
    ridge = RidgeCV(PENALTIES, scoring="neg_mean_squared_error", store_cv_results=True)
    ridge.fit(scaler.transform(trained), target)
    left_out = ridge.cv_results_[:, :, PENALTIES.index(ridge.alpha_)]
    covariance, _ = noise.covariance(target - left_out)
    return Luminance(ridge.predict(scaler.transform(response)), covariance)
