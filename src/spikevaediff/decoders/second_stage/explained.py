"""What measured responses say of images that the second stage makes: where to move one, and which sample is likeliest.

Both ask the encoding model of the fold that never saw the image, f, with the covariance of its noise, C, how far the
prediction for an image x is from the measured response r: 1/2 (r - f(x))' C^-1 (r - f(x)).

Guidance works on what a step of the sampler believes the clean latent to be, x0. The noise leaves its variance open
by v = (1 - alpha) / alpha in each direction, so that x0 and the response together ask for the minimum of

    L(z) = 1/2 |C^-1/2 (r - f(D(z)))|^2 + 1/2 |z - x0|^2 / v,

D the autoencoder's decoder, its picture grey and as small as encoding models see it. x0 goes down the gradient g of L
as far as L falls where f(D(z)) is taken as linear along g,

    z = x0 - w t g,    t = |g|^2 / (|C^-1/2 J g|^2 + |g|^2 / v),

J g a difference of two predictions. The length is that of each image alone: it depends neither on the batch nor on the
number of units, and where responses say nothing g is 0 and nothing moves. The gradient does not pass the UNet.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import families, identification, likelihood
from spikevaediff.encoding.encoder import Encoder, Predictor, WeightsOf
from spikevaediff.encoding.fewer_presentations import models_of
from spikevaediff.images import luma
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli
from versatile_diffusion import memory
from versatile_diffusion.autoencoder import Autoencoder

REACH = 0.05  # of the standard deviation sqrt(v), per number of a latent: the difference that stands for J g
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as in the greys that units were shown


@dataclass(frozen=True)
class Explained:
    """Responses to some images, measured or expected, and encoding models that have not seen the images.

    models : sequence of Encoder, of each fold; then those of images that were presented less often.
    fold : int64, (n_images,), position of the model of each image.
    image_id : int64, (n_images,).
    response : float64, (n_images, n_columns), means over presentations.
    weights_of : callable, the weight file of an asset, for networks of the models.
    """

    models: Sequence[Encoder]
    fold: np.ndarray
    image_id: np.ndarray
    response: np.ndarray
    weights_of: WeightsOf

    @classmethod
    def of(cls, models: Sequence[Encoder], responses: Responses, split: ImageSplit, weights_of: WeightsOf) -> Self:
        """Of all tested images.

        Raises
        ------
        KeyError, ValueError
            An image was not presented, or its model was trained on it.
        """
        ids = split.test_ids
        every, number = models_of(models, split.fold_of(ids), responses, responses, ids)
        return cls(every, number, ids, preprocessing.mean_responses(responses, ids), weights_of)

    @classmethod
    def expected(cls, models: Sequence[Encoder], shown: Stimuli, split: ImageSplit, weights_of: WeightsOf) -> Self:
        """Of all tested images, with the responses that the model of its fold expects of each: f(shown image).

        Raises
        ------
        KeyError, ValueError
            An image is not there, or its model was trained on it.
        """
        ids, fold = split.test_ids, split.fold_of(split.test_ids)
        response = np.empty((len(ids), len(models[0].intercept)))
        for number in np.unique(fold).tolist():
            rows = fold == number
            response[rows] = encoders.predict(models[number], shown.rows(ids[rows]), weights_of)
        return cls(models, fold, ids, response, weights_of)

    def __post_init__(self) -> None:
        for fold in np.unique(self.fold).tolist():
            ids = self.image_id[self.fold == fold]
            if seen := np.intersect1d(ids, self.models[fold].image_id).tolist():
                raise ValueError(f"image_id {seen[:8]} were used to train the encoding model that is to judge them")

    def likelihoods(self, pixels: np.ndarray) -> np.ndarray:
        """Log likelihood of the response under each of some pictures for it.

        Parameters
        ----------
        pixels : uint8, (n_images, n_samples, row, column, 3)
            Rows as in image_id.

        Returns
        -------
        float64, (n_images, n_samples), up to a constant of the image
        """
        n, k = pixels.shape[:2]
        found = np.empty((n, k))
        for fold in np.unique(self.fold).tolist():
            rows, model = np.flatnonzero(self.fold == fold), self.models[fold]
            predicted = encoders.predict(model, luma(pixels[rows].reshape(-1, *pixels.shape[2:])), self.weights_of)
            for row, of_samples in zip(rows.tolist(), predicted.reshape(len(rows), k, -1), strict=True):
                found[row] = identification.log_likelihood(self.response[[row]], of_samples, model.covariance)[0]
        return found

    def likeliest(self, pixels: np.ndarray) -> np.ndarray:
        """The sample of each image that explains the response best, the first of equals; int64 (n_images,)."""
        return self.likelihoods(pixels).argmax(1) if pixels.shape[1] > 1 else np.zeros(len(pixels), np.int64)

    def content(self, row: int) -> str:
        """A hash of what moves an image: its response, and the model of its fold."""
        model = self.models[self.fold[row]]
        digest = hashlib.sha256(self.response[row].tobytes())
        for value in (model.family_name, model.row_window, model.row_column, model.weight):
            digest.update(np.ascontiguousarray(value).tobytes())
        for value in (model.intercept, model.covariance):
            digest.update(value.tobytes())
        return digest.hexdigest()

    def guide(self, fold: int, coder: Autoencoder, weight: float) -> "Guide":
        """What moves latents of the images of a fold."""
        return Guide(self.models[fold], coder, weight, self.weights_of)


class Guide:
    """Moves latents towards what measured responses ask for; see the module.

    Parameters
    ----------
    model : Encoder
    coder : Autoencoder
        On the device of the latents.
    weight : float
        w, 0 to 1.
    weights_of : callable
        The weight file of an asset.
    """

    def __init__(self, model: Encoder, coder: Autoencoder, weight: float, weights_of: WeightsOf) -> None:
        device = coder.quant_conv.weight.device
        self.coder, self.weight = coder.requires_grad_(False), weight
        self.predictor = Predictor(model, weights_of).to(device)
        self.whitener = likelihood.whitener(model.covariance, str(device))

    def missed(self, latents: Tensor, response: Tensor) -> Tensor:
        """C^-1/2 (r - f(D(z))), float32 (n_images, n_columns)."""
        return (response - self.predictor(self.seen(latents))) @ self.whitener

    def seen(self, latents: Tensor) -> Tensor:
        """The picture of latents as encoding models see it, float32 (n_images, row, column), grey in [0, 1]."""
        size_px = latents.shape[2] * self.coder.config.factor
        colours = self.coder.pixels(latents, sparing=memory.sparing(self.coder.config, size_px))
        luma = torch.tensor(LUMA if colours.shape[1] == 3 else [1.0]).to(colours)
        light = (torch.einsum("nchw,c->nhw", colours, luma) + 1) / 2
        size = (families.IMAGE_PX,) * 2
        if light.shape[1:] == size:
            return light
        return torch.nn.functional.interpolate(light[:, None], size=size, mode="bilinear", antialias=True)[:, 0]

    def of_images(self, response: np.ndarray, n_at_once: int) -> Callable[[Tensor, float], Tensor]:
        """`corrected` for some images, n_at_once of them together: what sampler.denoise takes."""
        device = self.coder.quant_conv.weight.device
        measured = torch.from_numpy(response.astype(np.float32)).to(device)

        def corrected(x0: Tensor, variance: float) -> Tensor:
            pieces = [slice(i, i + n_at_once) for i in range(0, len(x0), n_at_once)]
            return torch.cat([self.corrected(x0[p], variance, measured[p]) for p in pieces])

        return corrected

    def corrected(self, x0: Tensor, variance: float, response: Tensor) -> Tensor:
        """Clean latents that the response agrees with better.

        Parameters
        ----------
        x0 : float32, (n_images, channel, row, column)
        variance : float
            v of the module.
        response : float32, (n_images, n_columns)

        Returns
        -------
        float32, as x0
        """
        with torch.enable_grad():
            z = x0.detach().requires_grad_(True)
            missed = self.missed(z, response)
            if not missed.requires_grad:  # no unit reads anything of an image
                return x0
            (g,) = torch.autograd.grad(0.5 * (missed**2).sum(), z)
        with torch.no_grad():
            squares = (g**2).flatten(1).sum(1)
            # As far as the whole latent by REACH of what is open.
            reach = REACH * math.sqrt(variance * x0[0].numel()) / squares.clamp(min=1e-30).sqrt()
            beside = self.missed(x0 - reach[:, None, None, None] * g, response)
            along = (((beside - missed) / reach[:, None]) ** 2).sum(1)
            length = torch.where(squares > 0, squares / (along + squares / variance).clamp(min=1e-30), 0.0)
            return x0 - self.weight * length[:, None, None, None] * g
