"""Units of another family than Gabor filters: activations of a network, divided by those around them.

No family of encoding models holds this model: AlexNet is another network, and of EfficientNet-lite0 they read the last
grid alone. So reconstructions from it tell what is left where the encoding model is only similar to the units.

A unit reads a few channels of one stage of EfficientNet-lite0 (Tan & Le 2019) within its receptive field. With x_c(p)
the activation of channel c at place p, standardised over images and places, w its weights of length 1, and g_s a
Gaussian of deviation s at its centre,

    R = sum g_s(p) max(0, sum_c w_c x_c(p))^2 / (1 + sum g_s(p) e(p) + k sum g_3s(p) e(p)),    e(p) = mean_c x_c(p)^2,

which is divisive normalisation with a suppressive surround of strength k (Carandini & Heeger 2012; Cavanaugh, Bair &
Movshon 2002). The drive is R^0.55, standardised over the images.
"""

import numpy as np
import torch
import torch.nn.functional as F

from spikevaediff.files import assets
from spikevaediff.images import resize
from spikevaediff.networks.small import efficientnet_lite0

ASSET = "efficientnet_lite0"
_AT_ONCE = 200  # images, more than a data set of scenes has
_FIELD_PX, _SEEN_PX = 64, 128  # the detail that units see is that of the Gabor units; the network wants larger images
_LAST_BLOCK = (2, 4, 7)  # of three stages: 24 channels of 32 x 32 places, 40 of 16 x 16, 80 of 8 x 8
_N_CHANNELS = 4  # that a unit reads
_SURROUND = 3.0  # deviation of the surround, in those of the receptive field
_MOST_SUPPRESSION = 2.0  # k is uniform from 0 to this
# Of R, which is the square of an amplitude. With it the strength of tuning that gives Gabor units the published
# reliabilities gives these units the same.
_EXPONENT = 0.55


def tuning(
    pixels: np.ndarray, rng: np.random.Generator, *, field: np.ndarray, movie: np.ndarray | None = None
) -> np.ndarray:
    """How much each unit likes each image, and each frame of a movie, see above.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width)
    rng : np.random.Generator
    field : float64, (n_units,)
        Size of the receptive fields relative to those of VISp.
    movie : uint8, (n_frames, height, width), optional

    Returns
    -------
    float64, (n_units, n_images + n_frames)
        Mean 0 and variance 1 over the images; frames by the mean and deviation of the images.

    Raises
    ------
    OSError, ValueError
        The weights of EfficientNet-lite0 cannot be fetched, see `assets.fetch`.
    """
    sets = [activations(pixels)] + ([] if movie is None else [activations(movie, like=pixels)])
    n_units = len(field)
    sigma = field * 0.04 * 3.0 ** rng.random(n_units)
    centre, suppression = rng.uniform(0.1, 0.9, (n_units, 2)), rng.uniform(0, _MOST_SUPPRESSION, n_units)
    drive = np.empty((n_units, sum(len(stages[0]) for stages in sets)))
    for unit in range(n_units):
        stage = rng.integers(len(sets[0]))
        weight = np.zeros(sets[0][stage].shape[1])
        weight[rng.choice(len(weight), _N_CHANNELS, replace=False)] = rng.standard_normal(_N_CHANNELS)
        weight /= np.linalg.norm(weight)
        found = [response(stages[stage], weight, centre[unit], sigma[unit], suppression[unit]) for stages in sets]
        drive[unit] = np.concatenate(found) ** _EXPONENT
    of_images = drive[:, : len(pixels)]
    return (drive - of_images.mean(1, keepdims=True)) / of_images.std(1, keepdims=True)


def response(x: np.ndarray, weight: np.ndarray, centre: np.ndarray, sigma: float, suppression: float) -> np.ndarray:
    """R above, of one unit.

    Parameters
    ----------
    x : float64, (n_images, channel, row, column)
    weight : float64, (n_channels,)
        Of length 1.
    centre : float64, (2,)
        Row and column, image widths from the upper left corner.
    sigma : float
        Deviation of the receptive field, image widths.
    suppression : float
        Strength k of the surround.

    Returns
    -------
    float64, (n_images,)
    """
    within, around = (_window(x.shape[2], centre, s * sigma) for s in (1, _SURROUND))
    excited = np.maximum(0, np.einsum("c,ncyx->nyx", weight, x)) ** 2
    energy = (x**2).mean(1)
    return np.einsum("yx,nyx->n", within, excited) / (1 + np.einsum("yx,nyx->n", within + suppression * around, energy))


def activations(pixels: np.ndarray, *, like: np.ndarray | None = None) -> list[np.ndarray]:
    """Three stages of the network, each float64 (n_images, channel, row, column).

    Channels have mean 0 and variance 1 over places and images, or over those of `like`, where it is given.
    """
    stages = _stages(pixels)
    moments = [
        torch.std_mean(x, (0, 2, 3), correction=0, keepdim=True) for x in (stages if like is None else _stages(like))
    ]
    return [((x - mean) / deviation).numpy() for x, (deviation, mean) in zip(stages, moments, strict=True)]


@torch.no_grad()
def _stages(pixels: np.ndarray) -> list[torch.Tensor]:
    if len(pixels) > _AT_ONCE:
        parts = [_stages(pixels[i : i + _AT_ONCE]) for i in range(0, len(pixels), _AT_ONCE)]
        return [torch.cat(of_stage) for of_stage in zip(*parts, strict=True)]
    # In float64, since the last bits of float32 differ between processors.
    network = efficientnet_lite0(assets.fetch(ASSET)).double()
    images = torch.from_numpy(resize(pixels, _FIELD_PX).astype(np.float64))[:, None]
    x = F.interpolate(images, size=(_SEEN_PX, _SEEN_PX), mode="bilinear", align_corners=False)
    x = F.relu6(network.bn0(network.conv_stem((x.expand(-1, 3, -1, -1) - 127.5) / 127.5)))
    found = []
    for number, block in enumerate(network.blocks[: _LAST_BLOCK[-1] + 1]):
        x = block(x)
        if number in _LAST_BLOCK:
            found.append(x)
    return found


def _window(n_side: int, centre: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian over the places of a map, (n_side, n_side), of sum 1; at least as wide as a place."""
    place = (np.arange(n_side) + 0.5) / n_side
    row, column = (np.exp(-((place - at) ** 2) / (2 * max(sigma, 0.5 / n_side) ** 2)) for at in centre)
    window = row[:, None] * column
    return window / window.sum()
