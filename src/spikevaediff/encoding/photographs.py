"""A prior of latents that lies around photographs: what chance adds to the VDVAE's prior mean is no photograph.

The prior is the mixture, with equal weights, of normal distributions around the whitened latents of photographs: those
that a model was trained on and those of the library. The search for a sample begins at photograph c with a probability
in proportion to p(r | f_c), with f_c the response that is predicted to it. This is so at any temperature of the
samples: their mean averages over the photographs that explain the response.

Where the encoding model knows nothing, any photograph is as good as another.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from spikevaediff.encoding.likelihood import Misfit


class Photographs(NamedTuple):
    """Photographs that the prior lies around; none of them may be a tested one.

    predicted : float32, (n_photographs, n_columns)
        Mean responses; of training images, by a model that has not learnt from them.
    whitened : float32, (n_photographs, n_numbers)
    """

    predicted: np.ndarray
    whitened: np.ndarray


def drawn(misfit: Misfit, response: Tensor, predicted: Tensor, normal: Tensor) -> Tensor:
    """Which photograph a sample starts from.

    The largest of log p_c + g_c, with draws g_c of the Gumbel distribution, is a draw in proportion to p_c.

    Parameters
    ----------
    misfit : callable
        Minus log likelihood of measured and predicted responses, (n_images, n_columns) each.
    response : float32, (n_images, n_columns)
    predicted : float32, (n_photographs, n_columns)
    normal : float32, (n_images, n_photographs)
        Draws of the standard normal distribution, of which g = -log(-log Phi(normal)).

    Returns
    -------
    int64, (n_images,)

    Source: Gumbel 1954, Statistical Theory of Extreme Values; Naselaris et al. 2009, Neuron 63, 902, for the prior.
    """
    against = torch.stack([misfit(response, one.expand_as(response)) for one in predicted], 1)
    gumbel = -torch.log(-torch.special.log_ndtr(normal))
    return (gumbel - against).argmax(1)
