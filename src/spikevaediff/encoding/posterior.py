"""Images that explain the responses: samples of the posterior under encoding model, noise and VDVAE prior, their mean.

A regression from responses to latents has to learn thousands of latents from a hundred images. An encoding model goes
the other way, has few weights per unit and is learnt well from as many; the prior of images comes from the VDVAE. With
r the response, f the encoding model, C the covariance of the noise and x(e) the image of whitened latents e (standard
normal under the prior), the posterior of e is proportional to

    exp(-1/2 (r - f(x(e)))' C^-1 (r - f(x(e))) - 1/2 |e|^2).

A sample is drawn by randomising and optimising (Bardsley et al. 2014): with d ~ N(0, C) and e_0 ~ N(0, 1),

    e = argmin 1/2 |C^-1/2 (r + d - f(x(e)))|^2 + w/2 |e - e_0|^2,

exact where f(x(e)) is linear and the weight w of the prior is 1. With a temperature T below 1, d and e_0 are T times
such draws, and samples those of the posterior to the power 1 / T^2: closer to its mode, which T = 0 gives.

For counts of single presentations the first term may be the Poisson likelihood instead (see `likelihood`). Then d is
drawn with the variance of the counts, max(r, FLOOR) / n, and no r + d is below 0: as above where counts are large.

The search for the mode e* of an image (d and e_0 are 0) starts at G (r - f(x(0))), G the linear regression from
responses to whitened latents of the library (a Kalman gain), and takes some steps of Adam. That of a sample starts
where the mode would go by the same regression,

    e* + e_0 + G (d - f(x(e* + e_0)) + f(x(e*))),

and needs few more. A single sample looks like a photograph and is the estimate for features; the mean of the samples is
the one for pixels, for which they are drawn in antithetic pairs, d and e_0 of one the negatives of the other's. Where
the encoding model knows nothing, G is 0 and f constant: samples are those of the prior, and their mean the prior's mean
picture.

With photographs given, the prior lies around these (see `photographs`): e_0 are then the latents of one of them, drawn
by how well it explains r. Samples may lie around different ones, so that each is searched from its own,
e_0 + G (r + d - f(x(e_0))).

What a regression expects of coarse luminance (see `luminance`) may be a third term of both searches.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from loading.noise import image_noise
from spikevaediff.encoding import families
from spikevaediff.encoding import likelihood as likelihoods
from spikevaediff.encoding import luminance as luminances
from spikevaediff.encoding import photographs as priors
from spikevaediff.encoding.encoder import Encoder, Predictor, WeightsOf
from spikevaediff.encoding.likelihood import Misfit
from spikevaediff.encoding.rowwise import product
from spikevaediff.files.atomic import replacing
from spikevaediff.records import read_npz
from spikevaediff.seeds import sample_seed
from spikevaediff.side_by_side import side_by_side, workers
from vdvae.memory import images_to_descend
from vdvae.model import VDVAE

R = TypeVar("R")
# Of Adam, to which gradients of latents are compared; those of the prior are about 0.1. With much less, latents that
# hardly change responses would follow the rounding of their gradients, to other pictures on another processor. Around
# photographs, where each sample is far from its goal, weak gradients lead to better pictures of macaque V4.
_EPSILON, _EPSILON_AROUND_PHOTOGRAPHS = 0.1, 1e-8
BATCH_SIZE = 48  # images at most: the weights of the encoder, a hundred megabytes, are read once per batch


def gain(whitened: np.ndarray, responses: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """The linear regression G = cov(e, r) (cov(r) + p / n C)^-1 from responses to whitened latents.

    The covariance of p columns from n images is uncertain as p / n says; as much of the noise C is added, which is
    next to nothing for a large library and keeps a small one from amplifying noise.

    Parameters
    ----------
    whitened : float32, (n_images, n_numbers)
        Of library images.
    responses : float32, (n_images, n_columns)
        Of the encoding model to them, each with a draw of its noise.
    covariance : float64, (n_columns, n_columns)
        Of that noise.

    Returns
    -------
    float32, (n_columns, n_numbers)
        Zeros for a library of no images: the search then starts at the draws of the prior, and needs more steps.
    """
    n, n_columns = responses.shape
    if not n:
        return np.zeros((n_columns, whitened.shape[1]), np.float32)
    r = responses - responses.mean(0, dtype=np.float64)
    e = whitened - whitened.mean(0, dtype=np.float64).astype(np.float32)
    inverse = np.linalg.inv(r.T @ r / n + n_columns / n * covariance)
    return (inverse @ r.T / n).astype(np.float32) @ e


def samples(
    response: np.ndarray,
    image_id: np.ndarray,
    *,
    encoder: Encoder,
    gain: np.ndarray,
    model: VDVAE,
    n_layers: int,
    weights_of: WeightsOf,
    n_samples: int,
    steps: int,
    step_size: float,
    temperature: float,
    seed: int,
    batch_size: int | str,
    device: str,
    shared_steps: int = 0,
    likelihood: str = "gaussian",
    prior_weight: float = 1.0,
    luminance_weight: float = 0.0,
    n_presentations: np.ndarray | None = None,
    photographs: priors.Photographs | None = None,
    luminance: luminances.Luminance | None = None,
) -> np.ndarray:
    """Samples of the posterior.

    Parameters
    ----------
    response : float64, (n_images, n_columns)
        Mean response to each image; none of them may be among the encoder's training images.
    image_id : int64, (n_images,)
        Noise of samples 2 k and 2 k + 1 is drawn from (seed, image_id, k): an image does not depend on the others.
    encoder : Encoder
    gain : float32, (n_columns, n_numbers)
        As from `gain`, of the same encoder.
    model : VDVAE
    n_layers : int
        Layers of latents that are searched, from the coarsest; finer ones are at the means of their priors.
    weights_of : callable
        The weight file of an asset, for the encoder's networks.
    n_samples : int
    steps : int
        Of Adam, for each sample, from its start.
    step_size : float
        Of Adam; falls to 0 over the last third of the steps.
    temperature : float
        Of the samples, 0 to 1: how far they spread about the mode of the posterior.
    seed : int
    batch_size, device : int or "auto", str
        How it is computed. On processors of one kind, samples are identical for any batch size, subset of images and
        number of threads. On another one or a GPU they differ by rounding, which the search amplifies to a few grey
        levels.
    shared_steps : int
        Of Adam before, to the mode, once for all samples of an image; without them samples start from e_0. Around
        photographs none are taken, since samples start from different ones.
    likelihood : str
        Of the responses: gaussian or poisson.
    prior_weight : float
        w above. Below 1, the likelihood counts more than noise and error of the model say that it should.
    luminance_weight : float
        w of `luminance`; above 0 it needs that.
    n_presentations : int64, (n_images,), optional
        That each response is the mean of; poisson needs it, since the sum of counts is what it is about.
    photographs : Photographs, optional
        That the prior lies around, instead of being that of the VDVAE.
    luminance : Luminance, optional
        That a regression expects of these images.

    Returns
    -------
    float32, (n_images, n_samples, row, column), grey in [0, 1]

    Raises
    ------
    ValueError
        A tested image was trained on, shapes that do not fit, options out of range, or the Poisson likelihood of what
        is not a count.
    """
    weights = {"temperature": temperature, "prior_weight": prior_weight, "luminance_weight": luminance_weight}
    _check(response, image_id, encoder, n_samples, steps, shared_steps, step_size, weights)
    if luminance_weight and luminance is None:
        raise ValueError(f"luminance_weight is {luminance_weight!r}, which needs the luminance that is expected")
    _check_likelihood(likelihood, response, image_id, n_presentations)
    if not len(image_id):
        return np.empty((0, n_samples, families.IMAGE_PX, families.IMAGE_PX), np.float32)
    predictor = Predictor(encoder, weights_of).to(device)
    epsilon = _EPSILON if photographs is None else _EPSILON_AROUND_PHOTOGRAPHS
    search = _Search(predictor, model.to(device).requires_grad_(False), n_layers, step_size, prior_weight, epsilon)
    root = torch.from_numpy(np.linalg.cholesky(encoder.covariance).astype(np.float32))
    gaussian = likelihoods.gaussian(encoder.covariance, device)
    to_latents = torch.from_numpy(gain).to(device)
    known = None if photographs is None else torch.from_numpy(photographs.predicted).to(device)
    shared = shared_steps if photographs is None else 0
    unlike = likelihoods.gaussian(luminance.covariance, device) if luminance_weight and luminance is not None else None
    at_once = workers(device)
    size = images_to_descend(batch_size, model.config, n_layers, device, most=BATCH_SIZE, at_once=at_once)

    def misfit_of(rows: np.ndarray) -> Misfit:
        if n_presentations is None or likelihood == "gaussian":
            return gaussian
        return likelihoods.poisson(torch.from_numpy(n_presentations[rows].astype(np.float32)).to(device))

    def tensor(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values.astype(np.float32)).to(device)

    def unlikely_of(rows: np.ndarray) -> Callable[[Tensor], Tensor] | None:
        """How unlikely the luminance of pictures is, if that counts."""
        if unlike is None or luminance is None:
            return None
        mean = tensor(luminance.mean[rows])
        return lambda pictures: luminance_weight * unlike(mean, luminances.of_pictures(pictures))

    def mode_of(rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Latents of the mode of each image, and what it leaves of the response."""
        centre, measured = torch.zeros(len(rows), to_latents.shape[1], device=device), tensor(response[rows])
        start = product(measured - search.answer(centre), to_latents)
        mode = search.run(start, centre, measured, misfit_of(rows), shared, unlikely_of(rows))
        return mode.cpu(), (measured - search.answer(mode)).cpu()

    def of_pairs(pairs: np.ndarray) -> np.ndarray:
        """Sample k of each row, beside the mode of its image."""
        rows, ks = pairs.T
        # The second of a pair has the noise of the first with the other sign: as good a draw, and in their mean what is
        # linear in the noise is gone.
        noise = image_noise([sample_seed(seed, i, k // 2) for i, k in zip(image_id[rows].tolist(), ks, strict=True)])
        sign = torch.from_numpy(np.where(ks % 2, -1.0, 1.0).astype(np.float32))[:, None]
        scale, misfit = temperature * sign, misfit_of(rows)
        of_response = scale * noise((len(rows), len(root)))
        if n_presentations is None or misfit is gaussian:
            target = tensor(response[rows] + product(of_response, root.T).numpy())
        else:
            deviation = np.sqrt(np.maximum(response[rows], likelihoods.FLOOR) / n_presentations[rows, None])
            target = tensor(np.maximum(response[rows] + deviation * of_response.numpy(), 0))
        if photographs is None or known is None:
            centre = (scale * noise((len(rows), to_latents.shape[1]))).to(device)
        else:
            normal = (sign * noise((len(rows), len(known)))).to(device)
            likely = priors.drawn(misfit, tensor(response[rows]), known, normal).numpy(force=True)
            centre = torch.from_numpy(photographs.whitened[likely]).to(device)
        start = centre + mode[rows].to(device) if shared else centre
        left = target - search.answer(start) - (left_by_mode[rows].to(device) if shared else 0)
        start = start + product(left, to_latents)
        e = search.run(start, centre, target, misfit, steps, unlikely_of(rows))
        with torch.no_grad():
            return search.image_of(e).clamp(0, 1).cpu().numpy()

    def in_batches(function: Callable[[np.ndarray], R], what: np.ndarray) -> list[R]:
        n_pieces = -(-len(what) // size)
        if batch_size == "auto":  # as many for each processor
            n_pieces = min(len(what), -(-n_pieces // at_once) * at_once)
        pieces = np.array_split(what, max(1, n_pieces))
        return list(side_by_side(function, pieces, at_once=at_once, one_thread=True))

    if shared:
        mode, left_by_mode = map(torch.cat, zip(*in_batches(mode_of, np.arange(len(image_id))), strict=True))
    made = np.concatenate(in_batches(of_pairs, np.indices((len(image_id), n_samples)).reshape(2, -1).T))
    return made.reshape(len(image_id), n_samples, *made.shape[1:])


@dataclass(frozen=True)
class _Search:
    """Latents that explain responses, by Adam.

    predictor, model, n_layers, step_size, prior_weight : of `samples`.
    epsilon : of Adam.
    """

    predictor: Predictor
    model: VDVAE
    n_layers: int
    step_size: float
    prior_weight: float
    epsilon: float

    def image_of(self, e: Tensor) -> Tensor:
        """Pictures of whitened latents as encoding models see them, float32 (n, row, column), about in [0, 1]."""
        pixels = (self.model.pixels_of_whitened(e, self.n_layers).mean(3) + 1) / 2
        if pixels.shape[1] != families.IMAGE_PX:
            pixels = torch.nn.functional.interpolate(
                pixels[:, None], size=(families.IMAGE_PX,) * 2, mode="bilinear", antialias=True
            )[:, 0]
        return pixels

    @torch.no_grad()
    def answer(self, e: Tensor) -> Tensor:
        """Predicted responses to them, float32 (n, n_columns)."""
        return self.predictor(self.image_of(e))

    def run(
        self,
        start: Tensor,
        centre: Tensor,
        target: Tensor,
        misfit: Misfit,
        steps: int,
        unlikely: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The latents after some steps from a start, with the prior around a centre; float32 (n, n_numbers)."""
        e = start.detach().clone().requires_grad_(True)
        optimiser = torch.optim.Adam([e], lr=self.step_size, betas=(0.9, 0.95), eps=self.epsilon)
        for step in range(steps):
            for group in optimiser.param_groups:
                group["lr"] = self.step_size * min(1.0, (steps - step) / max(1.0, steps / 3))
            optimiser.zero_grad()
            from_prior = 0.5 * self.prior_weight * ((e - centre) ** 2).sum()
            pictures = self.image_of(e)
            energy = misfit(target, self.predictor(pictures)).sum() + from_prior
            if unlikely is not None:
                energy = energy + unlikely(pictures).sum()
            energy.backward()
            optimiser.step()
        return e.detach()


def _check(
    response: np.ndarray,
    image_id: np.ndarray,
    encoder: Encoder,
    n_samples: int,
    steps: int,
    shared_steps: int,
    step_size: float,
    shares: Mapping[str, float],
) -> None:
    if seen := np.intersect1d(image_id, encoder.image_id).tolist():
        raise ValueError(f"image_id {seen[:8]} were used to train the encoding model that is to reconstruct them")
    if response.shape != (len(image_id), len(encoder.intercept)) or not np.isfinite(response).all():
        raise ValueError(
            f"responses are {response.shape}, expected finite ones ({len(image_id)}, {len(encoder.intercept)})"
        )
    for name, value, least in (("n_samples", n_samples, 1), ("steps", steps, 0), ("shared_steps", shared_steps, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"params.yaml: decode.posterior.{name} is {value!r}, expected a whole number from {least}")
    if not 0 < step_size < 10:
        raise ValueError(f"params.yaml: decode.posterior.step_size is {step_size!r}, expected a number above 0")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"params.yaml: decode.posterior.{name} is {share!r}, expected a number from 0 to 1")


def _check_likelihood(
    name: str, response: np.ndarray, image_id: np.ndarray, n_presentations: np.ndarray | None
) -> None:
    if name not in likelihoods.LIKELIHOODS:
        there = " or ".join(likelihoods.LIKELIHOODS)
        raise ValueError(f"params.yaml: decode.posterior.likelihood is {name!r}, expected {there}")
    if name == "poisson":
        if n_presentations is None:
            raise ValueError("decode.posterior.likelihood is poisson, which needs n_presentations of each image")
        sums = response * n_presentations[:, None]
        # Sums of whole numbers come back from their mean with the rounding of float64.
        whole = np.round(sums)
        likelihoods.check_counts(np.where(np.abs(sums - whole) < 1e-6, whole, sums), image_id)


def kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that was finished before, or is made now and kept: a run that was killed continues from there."""
    try:
        return read_npz(path)["samples"]
    except (FileNotFoundError, ValueError, KeyError):
        made = make()
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, samples=made)
        return made


def key(*decisive: object) -> str:
    """One hash of all that decides some samples: arrays and files by content, other values as text."""
    digest = hashlib.sha256()
    for value in decisive:
        if isinstance(value, np.ndarray):
            digest.update(f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes())
        elif isinstance(value, Path):
            digest.update(value.read_bytes())
        else:
            digest.update(repr(value).encode())
    return digest.hexdigest()
