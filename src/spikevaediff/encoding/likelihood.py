"""How far measured responses are from those that an encoding model predicts: minus log likelihoods, for torch.

gaussian, with r the response, f the prediction and C the covariance of the noise, trial noise and error of the model:

    1/2 (r - f)' C^-1 (r - f).

poisson, for counts: with r the mean of n presentations (one, as a rule) and f the predicted count, FLOOR at least,

    n sum_u (f_u - r_u + r_u log(r_u / f_u)),

half the deviance: minus log of the probability of the counts, less its value where f = r. For large counts it comes to
n sum_u (r_u - f_u)^2 / (2 f_u), the Gaussian whose variance is the mean. Few spikes are far from Gaussian; but units
are independent here, and what the model errs by counts as if it were known. Over many presentations that error is
larger than trial noise: then the Gaussian is the one to take.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from spikevaediff.encoding import rowwise
from spikevaediff.records import few

LIKELIHOODS = ("gaussian", "poisson")
# Spikes per presentation. A model may predict less, and even less than none; a count that comes all the same must not
# be impossible.
FLOOR = 0.05

Misfit = Callable[[Tensor, Tensor], Tensor]  # measured, predicted (n_images, n_columns) -> (n_images,)


def gaussian(covariance: np.ndarray, device: str) -> Misfit:
    """Minus the log likelihood of responses with correlated noise, up to a constant.

    Parameters
    ----------
    covariance : float64, (n_columns, n_columns), positive definite
    device : str
        Where the responses are.
    """
    whiten = whitener(covariance, device)

    def misfit(measured: Tensor, predicted: Tensor) -> Tensor:
        return 0.5 * (rowwise.product(measured - predicted, whiten) ** 2).sum(1)

    return misfit


def whitener(covariance: np.ndarray, device: str) -> Tensor:
    """A matrix that rows of residuals are multiplied by to have unit covariance, float32 (n_columns, n_columns)."""
    return torch.from_numpy(np.linalg.inv(np.linalg.cholesky(covariance)).T.astype(np.float32)).to(device)


def poisson(n_presentations: Tensor) -> Misfit:
    """Minus the log likelihood of counts, less its least value.

    Parameters
    ----------
    n_presentations : float32, (n_images,)
        That each measured response is the mean of.
    """

    def misfit(measured: Tensor, predicted: Tensor) -> Tensor:
        rate = predicted.clamp(min=FLOOR)
        least = measured - torch.xlogy(measured, measured)
        # Not r log(r / f): where r is 0 that has no gradient.
        return n_presentations * (rate - measured * torch.log(rate) - least).sum(1)

    return misfit


def check_counts(response: np.ndarray, image_id: np.ndarray) -> None:
    """Refuse responses that are not numbers of spikes, for the likelihood of counts.

    Parameters
    ----------
    response : float, (n_presentations, n_columns)
        Of single presentations.
    image_id : int64, (n_presentations,)

    Raises
    ------
    ValueError
        Values below 0 or between whole numbers: means over presentations, z-scores, normalised activity.
    """
    wrong = (response < 0) | (response != np.round(response))
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"decode.posterior.likelihood is poisson, and responses are not counts: {response[row, column]:g} in column"
            f" {column} for image_id {few(np.unique(image_id[wrong.any(1)]))} ({wrong.mean():.0%} of all). Expected "
            "whole numbers of spikes, 0 or more, of single presentations: no means, z-scores or normalised activity. "
            "Bring counts, or set decode.posterior.likelihood to gaussian"
        )
