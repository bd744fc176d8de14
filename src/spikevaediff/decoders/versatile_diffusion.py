"""Versatile Diffusion as a decoder: an image to start from, and two contexts that say where to go.

The start image, the VDVAE's reconstruction, is encoded, noised as far as `strength` says, and denoised under the
guidance of the predicted vision and text contexts. The coarse luminance of the start can then take the place of that of
the result (`start_share`): the network draws detail, but knows no better than the first stage how light an area is.

Without a start all begins with noise: with a vision context that is image variation, with a text context text to image,
with both dual-guided generation. Without contexts the model draws from its prior; whatever such images show comes from
its training and not from a brain.

Everything random is drawn on the processor from (seed, image_id, number of the sample), so an image depends neither on
the device nor on which others are made with it, but for the rounding of the kernels: one grey level, two in a few
pixels. Finished images can be kept under a hash of all that decides them; a run that was killed continues from there.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from loading.noise import image_noise
from spikevaediff.coarse import exchanged
from spikevaediff.decoders.second_stage import finished
from spikevaediff.decoders.second_stage.explained import Explained, Guide
from spikevaediff.decoders.second_stage.finished import Finished
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.decoders.second_stage.protocols import Protocol, protocol_of
from spikevaediff.images import luma, resize, rgb
from spikevaediff.records import Reconstructions
from spikevaediff.seeds import sample_seed
from spikevaediff.side_by_side import side_by_side, workers
from versatile_diffusion import weights as checkpoints
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.memory import plan
from versatile_diffusion.sampler import Schedule, Steps, denoise
from versatile_diffusion.unet import UNet

TELL_S = 60.0  # seconds between two lines about progress


def decode(
    guides: Guides,
    *,
    unet: str,
    unet_weights: str | Path,
    autoencoder: str,
    autoencoder_weights: str | Path,
    unconditional: Guides,
    protocol: str,
    strength: float,
    mixing: float,
    guidance: float,
    steps: int,
    eta: float,
    n_samples: int,
    seed: int,
    kept: Path | None,
    batch_size: int | str,
    device: str,
    guidance_likelihood: float,
    start_share: float,
    explained: Explained | None,
) -> Reconstructions:
    """Of every image the sample that explains the responses best; see `samples` and `best`.

    Parameters
    ----------
    guides : Guides
        From spikes, or from images and words.
    unet, unet_weights, autoencoder, autoencoder_weights, unconditional, protocol, strength, mixing, guidance, steps, \
eta, n_samples, seed, kept, batch_size, device, guidance_likelihood, start_share, explained
        As in samples.

    Returns
    -------
    Reconstructions
        uint8 (n_images, size, size, 3).

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As samples.
    """
    options: dict[str, Any] = {name: value for name, value in locals().items() if name != "guides"}
    found = samples(guides, **options)
    if n_samples > 1:
        print(f"{np.mean(spread(found)):.1f} grey levels between {n_samples} samples of an image")
    return best(guides, found, explained)


def best(guides: Guides, pixels: np.ndarray, explained: Explained | None) -> Reconstructions:
    """Of each image the sample that explains the responses best; the first, where there are no responses.

    Parameters
    ----------
    guides : Guides
    pixels : uint8, (n_images, n_samples, row, column, 3)
    explained : Explained or None
    """
    chosen = 0 if explained is None else explained.likeliest(pixels)
    return Reconstructions(guides.image_id, pixels[np.arange(len(pixels)), chosen])


def samples(
    guides: Guides,
    *,
    unet: str,
    unet_weights: str | Path,
    autoencoder: str,
    autoencoder_weights: str | Path,
    unconditional: Guides,
    protocol: str,
    strength: float,
    mixing: float,
    guidance: float,
    steps: int,
    eta: float,
    n_samples: int,
    seed: int,
    kept: Path | None,
    batch_size: int | str,
    device: str,
    guidance_likelihood: float = 0.0,
    start_share: float = 0.0,
    explained: Explained | None = None,
) -> np.ndarray:
    """Several images for the guides of each image.

    Parameters
    ----------
    guides : Guides
    unet, autoencoder : str
        Configurations: names in versatile_diffusion.config.UNETS and AUTOENCODERS.
    unet_weights, autoencoder_weights : str or Path
    unconditional : Guides
        One row: the contexts of no image and of the empty caption.
    protocol : str
        A key of second_stage.protocols.PROTOCOLS.
    strength : float
        In [0, 1]: 0 keeps the start, but for the autoencoder; 1 forgets it. Without a start it has no effect.
    mixing : float
        Weight of the vision context, in [0, 1]; text has 1 - mixing. Brain-Diffuser's flag is the weight of text.
    guidance : float
        1 follows the contexts, more exaggerates them.
    steps : int
        DDIM steps from noise to image; with a start the share `strength` of them is taken.
    eta : float
        0: deterministic from the first noise on; 1: fresh noise in every step.
    n_samples : int
        Images of each row, which differ in their noise. Sample k is the same however many there are.
    seed : int
    kept : Path or None
        A folder of finished images. Those that it holds are not made again.
    batch_size, device : int or "auto", str
        How it is computed; see the module about rounding.
    guidance_likelihood : float
        In [0, 1]: how far each step is moved towards what the responses say, see second_stage.explained; 0: not.
    start_share : float
        In [0, 1]: the share of the start in what is coarse of the result, x + share G (start - x), see
        spikevaediff.coarse; 0: none. Without a start it has no effect.
    explained : Explained, optional
        The responses to these images, row by row. Where there are none (ceilings, priors), nothing is moved.

    Returns
    -------
    uint8, (n_images, n_samples, size, size, 3)

    Raises
    ------
    KeyError
        An unknown configuration or protocol; the message lists those there are.
    FileNotFoundError, ValueError
        A number that the protocol does not have, or a checkpoint without the schedule that it needs; weights that are
        missing, damaged or of another model; options out of range; contexts of another shape, or NaN; responses to
        other images than those of the guides.
    MemoryError
        Not one image fits, or not as many as asked for; the message says what would.
    """
    for name, kind, there in (("unet", unet, UNETS), ("autoencoder", autoencoder, AUTOENCODERS)):
        if kind not in there:
            raise KeyError(f"{name} configuration {kind!r} is unknown; there are {', '.join(there)}")
    shares = {"strength": strength, "mixing": mixing, "guidance_likelihood": guidance_likelihood}
    _check(shares | {"start_share": start_share}, guidance, n_samples)
    guides.check(unconditional)
    numbers = {"strength": strength, "guidance": guidance, "steps": steps, "eta": eta, "start_share": start_share}
    numbers |= {"guidance_likelihood": guidance_likelihood}
    # Nothing is mixed where there is no text.
    chosen = protocol_of(protocol, **numbers | ({"mixing": mixing} if guides.text is not None else {}))
    moving = explained if guidance_likelihood > 0 else None
    if moving is not None and not np.array_equal(moving.image_id, guides.image_id):
        raise ValueError("the guiding responses are not those to the images of the guides, in the same order")
    schedule = checkpoints.load_schedule(unet_weights) if chosen.stored_schedule else Schedule.published()
    grid = Steps.ddim(schedule, steps, eta)
    if guides.start is not None:
        grid.n_taken(strength)
    # Guidance away from the unconditional contexts towards themselves is no guidance.
    guidance = 1.0 if guides.vision is None and guides.text is None else guidance
    size = UNETS[unet].latent_size * AUTOENCODERS[autoencoder].factor
    fits = plan(
        UNETS[unet],
        AUTOENCODERS[autoencoder],
        size_px=size,
        n_tokens=unconditional.vision.shape[1] + unconditional.text.shape[1],  # type: ignore[union-attr]
        guided=guidance != 1,
        dtype=torch.float32,
        batch_size=batch_size,
        device=device,
        descends=moving is not None,
    )
    network, _ = checkpoints.load_unet(unet_weights, UNETS[unet], device=device)
    coder, _ = checkpoints.load_autoencoder(autoencoder_weights, AUTOENCODERS[autoencoder], device=device)
    generator = Generator(
        network=network,
        coder=coder,
        unconditional=unconditional,
        protocol=chosen,
        steps=grid,
        strength=strength,
        mixing=mixing,
        guidance=guidance,
        start_share=start_share,
        seed=seed,
        size_px=size,
        n_decoded=fits.n_decoded,
    )

    decisive = {"unet": asdict(UNETS[unet]), "autoencoder": asdict(AUTOENCODERS[autoencoder]), "seed": seed}
    decisive |= numbers | {"mixing": mixing, "protocol": asdict(chosen), "empty": unconditional.hashes()}
    decisive |= {"weights": [finished.of_file(unet_weights), finished.of_file(autoencoder_weights)]}
    of_image = [guides.take(np.array([row])).hashes() for row in range(len(guides.image_id))]
    if moving is not None:
        of_image = [[*hashes, moving.content(row)] for row, hashes in enumerate(of_image)]
    row = np.repeat(np.arange(len(guides.image_id)), n_samples)
    sample = np.tile(np.arange(n_samples), len(guides.image_id))
    keys = [finished.key(decisive, of_image[i], k) for i, k in zip(row.tolist(), sample.tolist(), strict=True)]
    images = Finished(kept, keys, size)
    pixels, todo = images.read()

    # Those that are moved share an encoding model, that of their fold.
    fold = np.zeros(len(row), int) if moving is None else moving.fold[row]
    together = _batches(fold, todo, fits.n_images)
    at_once = fits.side_by_side(workers(device))
    towards = None if moving is None else Towards(moving, coder, guidance_likelihood, fits.n_decoded, at_once)

    def made_of(batch: np.ndarray) -> np.ndarray:
        """Images of a batch, uint8 (image, row, column, 3); kept."""
        corrected = None if towards is None else towards.responses(row[batch])
        made = generator.images(guides.take(row[batch]), sample[batch], corrected)
        images.keep(batch.tolist(), made)
        return made

    told = time.monotonic()
    batches = zip(together, side_by_side(made_of, together, at_once=at_once), strict=True)
    for n_done, (batch, made) in enumerate(track(batches, "diffusion", total=len(together), disable=not todo), 1):
        pixels[batch] = made
        if time.monotonic() - told > TELL_S:  # where no terminal shows the bar, as in the log of a queue
            print(f"{n_done} of {len(together)} batches of {fits.n_images} images are done", flush=True)
            told = time.monotonic()
    return pixels.reshape(len(guides.image_id), n_samples, *pixels.shape[1:])


class Towards:
    """What moves the latents of a batch towards the responses to its images.

    Encoding models of as many folds are held as there are batches at once: each takes a hundred megabytes.
    """

    def __init__(self, explained: Explained, coder: Autoencoder, weight: float, n_decoded: int, at_once: int) -> None:
        self._explained, self._coder, self._weight = explained, coder, weight
        self._n_decoded, self._at_once = n_decoded, at_once
        self._of_fold: dict[int, Guide] = {}
        self._lock = threading.Lock()

    def responses(self, rows: np.ndarray) -> Callable[[Tensor, float], Tensor]:
        """For these images of one fold, by position: a function of latents and their noise, as `denoise` takes it."""
        with self._lock:
            if (fold := int(self._explained.fold[rows[0]])) not in self._of_fold:
                while len(self._of_fold) >= self._at_once:
                    del self._of_fold[min(self._of_fold)]
                self._of_fold[fold] = self._explained.guide(fold, self._coder, self._weight)
            return self._of_fold[fold].of_images(self._explained.response[rows], self._n_decoded)


@dataclass(frozen=True)
class Generator:
    """The two networks, and how a batch of guides becomes images.

    The autoencoder takes more memory for an image than the UNet, so that it sees `n_decoded` at once. Other fields are
    options of `samples`.
    """

    network: UNet
    coder: Autoencoder
    unconditional: Guides
    protocol: Protocol
    steps: Steps
    strength: float
    mixing: float
    guidance: float
    start_share: float
    seed: int
    size_px: int
    n_decoded: int

    @torch.no_grad()
    def images(
        self, guides: Guides, sample: np.ndarray, corrected: Callable[[Tensor, float], Tensor] | None
    ) -> np.ndarray:
        """Images of some guides and numbers of samples, int64 (n_images,), as uint8 (n_images, size, size, 3)."""
        n, coder = len(guides.image_id), self.coder
        ids = guides.image_id.tolist()
        noise = image_noise([sample_seed(self.seed, i, k) for i, k in zip(ids, sample.tolist(), strict=True)])
        pieces = [slice(i, i + self.n_decoded) for i in range(0, n, self.n_decoded)]
        latents, shown = None, None
        if guides.start is not None:  # encoded while no contexts take memory
            config = self.network.config
            drawn = None
            if self.protocol.drawn_latents:
                drawn = noise((n, config.latent_channels, *(config.latent_size,) * 2)).to(self.network.weight.device)
            shown = _network_size(guides.start, coder, self.size_px)
            latents = torch.cat([coder.encode(shown[p], noise=None if drawn is None else drawn[p]) for p in pieces])
        *_, (last, _) = denoise(
            self.network,
            self._contexts(guides, n),
            self._contexts(self.unconditional, 1),
            noise=noise,
            start=latents,
            steps=self.steps,
            strength=self.strength,
            guidance=self.guidance,
            mixed_ratio=self.mixing,
            published_noising=self.protocol.published_noising,
            corrected=corrected,
        )
        made = np.concatenate([coder.decode(last[p], round_up=not self.protocol.cut_off) for p in pieces])
        if shown is not None and self.start_share:
            light = exchanged(made.astype(np.float32), shown.astype(np.float32), share=self.start_share)
            made = np.clip(np.rint(light), 0, 255).astype(np.uint8)
        return made if made.shape[3] == 3 else rgb(made[..., 0])

    def _contexts(self, guides: Guides, n: int) -> Any:
        """Keys and values; a context that is not given is the unconditional one, one of weight zero is not computed."""

        def tensor(name: str, weight: float) -> Tensor | None:
            if weight == 0:
                return None
            context, empty = getattr(guides, name), getattr(self.unconditional, name)
            array = np.repeat(empty, n, axis=0) if context is None else context
            return torch.from_numpy(array).to(self.network.weight.device)

        return self.network.contexts(tensor("vision", self.mixing), tensor("text", 1 - self.mixing))


def spread(pixels: np.ndarray) -> np.ndarray:
    """How much the samples of an image differ, pixel by pixel: standard deviation in grey levels.

    Parameters
    ----------
    pixels : uint8, (n_images, n_samples, height, width, 3)

    Returns
    -------
    float32, (n_images, height, width); zero for one sample
    """
    return pixels.mean(4, dtype=np.float32).std(1)


def _batches(fold: np.ndarray, todo: set[int], n_images: int) -> list[np.ndarray]:
    """Numbers of images of one fold that are made together, of those batches that have something to do.

    Always the same images together: then an interrupted run ends with the same bytes, not with other rounding.
    """
    folds = [np.flatnonzero(fold == one) for one in np.unique(fold)]
    batches = [some[i : i + n_images] for some in folds for i in range(0, len(some), n_images)]
    return [batch for batch in batches if not todo.isdisjoint(batch.tolist())]


def _check(shares: dict[str, float], guidance: float, n_samples: int) -> None:
    for name, value in shares.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected 0 to 1")
    if not 0 <= guidance < np.inf:
        raise ValueError(f"guidance is {guidance}, expected 0 or more; 1 follows the contexts, 7.5 is usual")
    if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 1:
        raise ValueError(f"n_samples is {n_samples!r}, expected a whole number from 1")


def _network_size(pixels: np.ndarray, coder: Autoencoder, size: int) -> np.ndarray:
    """Start images as the autoencoder wants them: its size, and one channel where it is grey (ITU-R 601 luma)."""
    pixels = resize(pixels, size)
    if coder.config.image_channels == 3:
        return pixels
    return luma(pixels)[..., None]
