"""Mixture of discretised logistic distributions over pixels (Salimans et al. 2017, arXiv 1701.05517).

symbol            | variable
------------------|-----------------------------------------------------------------
pi_k              | logits, softmax over k mixtures; shared by the colours of a pixel
mu_kc, log s_kc   | means, log_scales (floored at -7)
a, b, c           | coefficients: tanh; green's mean gains a * red, blue's gains b * red + c * green

Pixels are x = value / 127.5 - 1 in [-1, 1] and 1/255 is half a grey level. The channels of the parameters are, per
pixel: k logits; then, for three colours, for each colour k means, k log scales, k coefficients; for grey k means, k log
scales.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

MIN_LOG_SCALE = -7.0


def n_parameters(num_mixtures: int, image_channels: int) -> int:
    """Channels of the parameters of a pixel: 10 k for colour, 3 k for grey."""
    return num_mixtures * (10 if image_channels == 3 else 1 + 2 * image_channels)


def _split(parameters: Tensor, image_channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(..., channels) -> logits (..., k); means, log_scales, coefficients (..., colours, k), the last empty for
    grey."""
    kinds = 3 if image_channels == 3 else 2
    k = parameters.shape[-1] // (1 + kinds * image_channels)
    logits, rest = parameters[..., :k], parameters[..., k:]
    rest = rest.unflatten(-1, (image_channels, kinds * k))
    coefficients = torch.tanh(rest[..., 2 * k :])
    return logits, rest[..., :k], rest[..., k : 2 * k].clamp(min=MIN_LOG_SCALE), coefficients


def log_likelihood(parameters: Tensor, pixels: Tensor, *, low_bit: bool) -> Tensor:
    """Natural logarithm of the probability of each pixel, all its colours together.

    log p(x) = logsumexp_k [log pi_k + sum_c log (sigmoid((x_c + h - m_kc) / s_kc) - sigmoid((x_c - h - m_kc) / s_kc))],
    the first and last level taking all the probability beyond them.

    Parameters
    ----------
    parameters : float32, (image, row, column, channel)
    pixels : float32, (image, row, column, colour), in [-1, 1]
    low_bit : bool
        32 levels instead of 256: h is 1/31 instead of 1/255.

    Returns
    -------
    float32, (image, row, column); nats.
    """
    logits, means, log_scales, coefficients = _split(parameters, pixels.shape[-1])
    x = pixels[..., None]
    if pixels.shape[-1] == 3:
        red, green = x[..., 0, :], x[..., 1, :]
        a, b, c = coefficients.unbind(-2)
        means = torch.stack([means[..., 0, :], means[..., 1, :] + a * red, means[..., 2, :] + b * red + c * green], -2)
    half = 1 / 31 if low_bit else 1 / 255
    low_edge, high_edge = (-0.999, 0.999)
    inverse = torch.exp(-log_scales)
    above, below = inverse * (x - means + half), inverse * (x - means - half)
    middle = inverse * (x - means)
    probability = torch.sigmoid(above) - torch.sigmoid(below)
    # Where the two sigmoids cancel, the density times the width is the accurate value.
    density = middle - log_scales - 2 * F.softplus(middle) - torch.log(torch.tensor(0.5 / half))
    log_p = torch.where(probability > 1e-5, probability.clamp(min=1e-12).log(), density)
    log_p = torch.where(x > high_edge, -F.softplus(below), log_p)
    log_p = torch.where(x < low_edge, above - F.softplus(above), log_p)
    return torch.logsumexp(log_p.sum(-2) + F.log_softmax(logits, -1), -1)


def mean(parameters: Tensor, image_channels: int) -> Tensor:
    """Expected pixel, clipped to [-1, 1]: the reconstruction of least squared error.

    E[x_c] = sum_k pi_k m_kc with the means of green and blue taken at the component's own mean red and green; exact but
    for the clipping of single draws. Shapes (image, row, column, channel) -> (image, row, column, colour).
    """
    logits, means, _, coefficients = _split(parameters, image_channels)
    if image_channels == 3:
        a, b, c = coefficients.unbind(-2)
        red = means[..., 0, :]
        green = means[..., 1, :] + a * red
        means = torch.stack([red, green, means[..., 2, :] + b * red + c * green], -2)
    return (means * F.softmax(logits, -1)[..., None, :]).sum(-1).clamp(-1, 1)


def sample(parameters: Tensor, image_channels: int, choice: Tensor, noise: Tensor) -> Tensor:
    """Draw pixels: a component by the Gumbel-max trick, then a logistic variate for each colour.

    Parameters
    ----------
    parameters : float32, (image, row, column, channel)
    image_channels : int
    choice, noise : float32, (image, row, column, k) and (image, row, column, colour)
        Uniform on (1e-5, 1 - 1e-5).

    Returns
    -------
    float32, (image, row, column, colour), in [-1, 1].
    """
    logits, means, log_scales, coefficients = _split(parameters, image_channels)
    component = (logits - torch.log(-torch.log(choice))).argmax(-1)[..., None, None]

    def chosen(values: Tensor) -> Tensor:
        return values.gather(-1, component.expand(*values.shape[:-1], 1)).squeeze(-1)

    x = chosen(means) + torch.exp(chosen(log_scales)) * (torch.log(noise) - torch.log(1 - noise))
    if image_channels != 3:
        return x.clamp(-1, 1)
    a, b, c = chosen(coefficients).unbind(-1)
    red = x[..., 0].clamp(-1, 1)
    green = (x[..., 1] + a * red).clamp(-1, 1)
    blue = (x[..., 2] + b * red + c * green).clamp(-1, 1)
    return torch.stack([red, green, blue], -1)
