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

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from spikevaediff.coarse import exchanged
from spikevaediff.decoders.second_stage.explained import Explained, Guide
from spikevaediff.files.atomic import replacing
from spikevaediff.images import resize, rgb
from spikevaediff.records import Features, Reconstructions, few
from spikevaediff.seeds import sample_seed
from spikevaediff.side_by_side import side_by_side, workers
from versatile_diffusion import weights as checkpoints
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.memory import plan
from versatile_diffusion.sampler import Schedule, Steps, denoise, image_noise
from versatile_diffusion.unet import UNet


@dataclass(frozen=True)
class Protocol:
    """How a start image becomes the first latent, and the last latent an image.

    stored_schedule : bool; the schedule is what the checkpoint holds, rounded to float16 there, and not the formula.
    published_noising : bool; the start is noised for one step more than is taken; see sampler.denoise.
    drawn_latents : bool; the latents of the start are drawn from the autoencoder's posterior; else its mean.
    cut_off : bool; grey levels are cut off; else rounded.
    numbers : dict of option to value; those that belong to it. Another number is another protocol.
    """

    stored_schedule: bool = False
    published_noising: bool = False
    drawn_latents: bool = False
    cut_off: bool = False
    numbers: dict[str, float] = field(default_factory=dict, hash=False)


PROTOCOLS = {
    "strict": Protocol(),
    # The reconstruction script of Ozcelik & VanRullen 2023. Its flag --mix is 0.4, the weight of text.
    "brain_diffuser_2023": Protocol(
        stored_schedule=True,
        published_noising=True,
        drawn_latents=True,
        cut_off=True,
        numbers={
            "strength": 0.75,
            "mixing": 0.6,
            "guidance": 7.5,
            "steps": 50,
            "eta": 0.0,
            "guidance_likelihood": 0.0,
            "start_share": 0.0,
        },
    ),
}

TELL_S = 60.0  # seconds between two lines about progress


@dataclass(frozen=True)
class Guides:
    """What the generator is given for each image. Whatever is None is not given.

    image_id : int64, (n_images,), unique.
    start : uint8, (n_images, height, width, 3), or None: from noise.
    vision, text : float32, (n_images, n_tokens, width), or None: the context of no image, or of the empty caption.
    """

    image_id: np.ndarray
    start: np.ndarray | None
    vision: np.ndarray | None
    text: np.ndarray | None

    @classmethod
    def predicted(
        cls,
        image_ids: np.ndarray,
        *,
        start: Reconstructions | None,
        vision: Features | None,
        text: Features | None,
    ) -> Self:
        """The guides of some images out of records, joined by id; a group of features is a token.

        Raises
        ------
        KeyError, ValueError
            A record lacks an image, or is of another space, or its tokens differ in width.
        """

        def context(name: str, features: Features | None) -> np.ndarray | None:
            if features is not None and features.space != name:
                raise ValueError(f"the {name} context is of the feature space {features.space}")
            return None if features is None else features.tokens(image_ids)

        started = None if start is None else start.rows(image_ids)
        return cls(np.asarray(image_ids), started, context("vision", vision), context("text", text))

    def take(self, rows: np.ndarray) -> Self:
        """Some of the images, by position."""
        rest = [None if a is None else a[rows] for a in (self.start, self.vision, self.text)]
        return type(self)(self.image_id[rows], *rest)


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
        A key of PROTOCOLS.
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
    _check(
        guides,
        unconditional,
        strength=strength,
        mixing=mixing,
        guidance=guidance,
        guidance_likelihood=guidance_likelihood,
        start_share=start_share,
        n_samples=n_samples,
    )
    settings = {"strength": strength, "guidance": guidance, "steps": steps, "eta": eta}
    settings |= {"mixing": mixing} if guides.text is not None else {}  # nothing is mixed where there is no text
    chosen = _protocol(protocol, **settings, guidance_likelihood=guidance_likelihood, start_share=start_share)
    moving = explained if guidance_likelihood > 0 else None
    if moving is not None and not np.array_equal(moving.image_id, guides.image_id):
        raise ValueError("the responses that shall guide are not those to the images of the guides, in their order")
    schedule = checkpoints.load_schedule(unet_weights) if chosen.stored_schedule else Schedule.published()
    grid = Steps.ddim(schedule, steps, eta)
    if guides.start is not None:
        grid.n_taken(strength)
    size = UNETS[unet].latent_size * AUTOENCODERS[autoencoder].factor
    without_contexts = guides.vision is None and guides.text is None
    # Guidance away from the unconditional contexts towards themselves is no guidance.
    if without_contexts:
        guidance = 1.0
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
    empty = _contexts(network, unconditional, 1, mixing, unconditional)
    decisive = {"unet": asdict(UNETS[unet]), "autoencoder": asdict(AUTOENCODERS[autoencoder]), "mixing": mixing}
    decisive |= {"strength": strength, "guidance": guidance, "steps": steps, "eta": eta, "seed": seed}
    decisive |= {"start_share": start_share}
    decisive |= {"protocol": asdict(chosen)}
    decisive |= {
        "weights": [_hash_of(unet_weights), _hash_of(autoencoder_weights)],
        "empty": _content(unconditional),
    }

    rows = np.repeat(np.arange(len(guides.image_id)), n_samples)
    numbers = np.tile(np.arange(n_samples), len(guides.image_id))
    of_row = [_content(guides.take(np.array([row]))) for row in range(len(guides.image_id))]
    if moving is not None:
        decisive |= {"guidance_likelihood": guidance_likelihood}
        of_row = [[*content, moving.content(row)] for row, content in enumerate(of_row)]
    keys = [
        hashlib.sha256(json.dumps([decisive, of_row[row], number], sort_keys=True).encode()).hexdigest()
        for row, number in zip(rows.tolist(), numbers.tolist(), strict=True)
    ]
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    todo = []
    for i, key in enumerate(keys):
        found = None if kept is None else _read(kept / f"{key}.png", size)
        if found is None:
            todo.append(i)
        else:
            pixels[i] = found
    if kept is not None and len(todo) < len(rows):
        print(f"{len(rows) - len(todo)} of {len(rows)} images were finished before (in {kept})")
    # Always the same images together: then an interrupted run ends with the same bytes, not with other rounding.
    # Those that are moved share an encoding model, that of their fold.
    fold = np.zeros(len(rows), int) if moving is None else moving.fold[rows]
    folds = [np.flatnonzero(fold == one) for one in np.unique(fold)]
    together = [some[i : i + fits.n_images] for some in folds for i in range(0, len(some), fits.n_images)]
    together = [batch for batch in together if not set(todo).isdisjoint(batch.tolist())]
    at_once = fits.side_by_side(workers(device))
    of_fold: dict[int, Guide] = {}  # no more than are in use: a hundred megabytes each
    lock = threading.Lock()

    def moved_by(batch: np.ndarray) -> Callable[[Tensor, float], Tensor] | None:
        """What moves the latents of a batch towards its responses."""
        if moving is None:
            return None
        with lock:
            if (one := int(fold[batch[0]])) not in of_fold:
                while len(of_fold) >= at_once:
                    del of_fold[min(of_fold)]
                of_fold[one] = moving.guide(one, coder, guidance_likelihood)
            return of_fold[one].of_images(moving.response[rows[batch]], fits.n_decoded)

    @torch.no_grad()
    def made_of(batch: np.ndarray) -> np.ndarray:
        """Images of a batch, uint8 (image, row, column, 3); kept."""
        some = guides.take(rows[batch])
        ids = some.image_id.tolist()
        seeds = [sample_seed(seed, i, number) for i, number in zip(ids, numbers[batch].tolist(), strict=True)]
        # The autoencoder takes more memory for an image than the UNet: fewer at once, and while no contexts are there.
        pieces = [slice(i, i + fits.n_decoded) for i in range(0, len(batch), fits.n_decoded)]
        noise, latents, shown = image_noise(seeds), None, None
        if some.start is not None:
            latent = (len(batch), network.config.latent_channels, *(network.config.latent_size,) * 2)
            drawn = noise(latent).to(network.weight.device) if chosen.drawn_latents else None
            shown = _network_size(some.start, coder, size)
            encoded = [coder.encode(shown[p], noise=None if drawn is None else drawn[p]) for p in pieces]
            latents = torch.cat(encoded)
        corrected = moved_by(batch)
        contexts = _contexts(network, some, len(batch), mixing, unconditional)
        trajectory = denoise(
            network,
            contexts,
            empty,
            noise=noise,
            start=latents,
            steps=grid,
            strength=strength,
            guidance=guidance,
            mixed_ratio=mixing,
            published_noising=chosen.published_noising,
            corrected=corrected,
        )
        *_, (last, _) = trajectory
        del contexts, trajectory
        made = np.concatenate([coder.decode(last[p], round_up=not chosen.cut_off) for p in pieces])
        if shown is not None and start_share:
            light = exchanged(made.astype(np.float32), shown.astype(np.float32), share=start_share)
            made = np.clip(np.rint(light), 0, 255).astype(np.uint8)
        made = made if made.shape[3] == 3 else rgb(made[..., 0])
        for i, image in zip(batch.tolist(), made, strict=True):
            if kept is not None:
                with replacing(kept / f"{keys[i]}.png") as temporary:
                    Image.fromarray(image).save(temporary)
        return made

    told = time.monotonic()
    finished = zip(together, side_by_side(made_of, together, at_once=at_once), strict=True)
    for n_done, (batch, made) in enumerate(track(finished, "diffusion", total=len(together), disable=not todo), 1):
        pixels[batch] = made
        if time.monotonic() - told > TELL_S:  # where no terminal shows the bar, as in the log of a queue
            print(f"{n_done} of {len(together)} batches of {fits.n_images} images are done", flush=True)
            told = time.monotonic()
    return pixels.reshape(len(guides.image_id), n_samples, *pixels.shape[1:])


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


def nearest(pixels: np.ndarray, training: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The training image that is most like each generated one, by the correlation of pixels.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    training : uint8, (n_training, height, width)
        Grey, of the same size; mirrored ones are tried too, since training mirrors.

    Returns
    -------
    int64, (n_images,)
        Its row.
    float64, (n_images,)
        Pearson correlation; 1 is a copy. What photographs that were not trained on reach is the value to compare with.
    """
    if pixels.shape[1:3] != training.shape[1:]:
        raise ValueError(f"images of {pixels.shape[1:3]} and training images of {training.shape[1:]}: resize one")

    def normed(images: np.ndarray) -> np.ndarray:
        flat = images.reshape(len(images), -1).astype(np.float64)
        flat -= flat.mean(1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)

    a = normed(pixels.mean(3))
    r = np.maximum(a @ normed(training).T, a @ normed(training[:, :, ::-1]).T)
    return r.argmax(1), r.max(1)


def _protocol(name: str, **numbers: float) -> Protocol:
    """The protocol of this name, if these are its numbers."""
    if name not in PROTOCOLS:
        raise KeyError(f"there is no diffusion protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    own = PROTOCOLS[name].numbers
    other = [f"{key} is {given!r}, not {own[key]!r}" for key, given in numbers.items() if own.get(key, given) != given]
    if other:
        raise ValueError(f"protocol {name}: {'; '.join(other)}. Set the numbers of the protocol, or protocol strict")
    return PROTOCOLS[name]


def _check(
    guides: Guides,
    unconditional: Guides,
    *,
    strength: float,
    mixing: float,
    guidance: float,
    guidance_likelihood: float,
    start_share: float,
    n_samples: int,
) -> None:
    shares = {"strength": strength, "mixing": mixing, "guidance_likelihood": guidance_likelihood}
    for name, value in (shares | {"start_share": start_share}).items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value}, expected 0 to 1")
    if not 0 <= guidance < np.inf:
        raise ValueError(f"guidance is {guidance}, expected 0 or more; 1 follows the contexts, 7.5 is usual")
    if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 1:
        raise ValueError(f"n_samples is {n_samples!r}, expected a whole number from 1")
    n = len(guides.image_id)
    for name in ("vision", "text"):
        context, empty = getattr(guides, name), getattr(unconditional, name)
        if empty is None or empty.ndim != 3 or len(empty) != 1:
            raise ValueError(f"the unconditional {name} context must be one context (1, token, width)")
        if context is None:
            continue
        if context.ndim != 3 or context.shape != (n, *empty.shape[1:]):
            raise ValueError(
                f"{name} contexts are {context.shape}, expected {(n, *empty.shape[1:])} (image, token, width): "
                f"features of another model? Make them again with: dvc repro features regress"
            )
        bad = guides.image_id[~np.isfinite(context).all((1, 2))]
        if len(bad):
            raise ValueError(
                f"{name} contexts of image_id {few(bad)} hold NaN or infinity "
                f"({len(bad)} of {n}). Predict them again with: dvc repro regress"
            )
    if guides.start is not None:
        start = guides.start
        if start.dtype != np.uint8 or start.ndim != 4 or start.shape[3] != 3 or len(start) != n:
            raise ValueError(f"start images are {start.dtype} {start.shape}, expected uint8 ({n}, row, column, 3)")


def _contexts(network: UNet, guides: Guides, n: int, mixing: float, unconditional: Guides) -> Any:
    """Keys and values; a context that is not given is the unconditional one, one of weight zero is not computed."""

    def tensor(name: str, weight: float) -> Tensor | None:
        if weight == 0:
            return None
        context = getattr(guides, name)
        empty = getattr(unconditional, name)
        array = np.repeat(empty, n, axis=0) if context is None else context
        return torch.from_numpy(array).to(network.weight.device)

    with torch.no_grad():
        return network.contexts(tensor("vision", mixing), tensor("text", 1 - mixing))


def _network_size(pixels: np.ndarray, coder: Autoencoder, size: int) -> np.ndarray:
    """Start images as the autoencoder wants them: its size, and one channel where it is grey (ITU-R 601 luma)."""
    pixels = resize(pixels, size)
    if coder.config.image_channels == 3:
        return pixels
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])[..., None]


def _content(guides: Guides) -> list[str]:
    """Hashes of what the guides hold."""
    arrays = [getattr(guides, name) for name in ("image_id", "start", "vision", "text")]
    return [
        "" if a is None else hashlib.sha256(str(a.shape).encode() + np.ascontiguousarray(a).tobytes()).hexdigest()
        for a in arrays
    ]


def _hash_of(path: str | Path) -> str:
    path = Path(path)
    files: Sequence[Path] = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def _read(path: Path, size: int) -> np.ndarray | None:
    """A finished image, or None where there is none that is whole."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError):
        return None
    return pixels if pixels.shape == (size, size, 3) else None
