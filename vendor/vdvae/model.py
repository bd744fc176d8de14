"""The VDVAE (Child 2021, arXiv 2011.10650): latents of images, images of latents, and the training objective.

Bottom-up: residual blocks from the image to one activation per resolution. Top-down: every decoder block holds a latent
z with prior p(z | state) and posterior q(z | state, encoder), both diagonal normal. `encode` reads the latents,
`decode` draws the image from given ones, `elbo` is the training objective.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from loading.noise import Noise, image_noise
from vdvae import mixture
from vdvae.config import Config
from vdvae.layers import Decoder, Encoder


def kl(mean_q: Tensor, log_q: Tensor, mean_p: Tensor, log_p: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two diagonal normal distributions, elementwise, in nats."""
    return log_p - log_q - 0.5 + 0.5 * (torch.exp(2 * log_q) + (mean_q - mean_p) ** 2) * torch.exp(-2 * log_p)


class VDVAE(nn.Module):
    """Encoder and decoder of one configuration.

    Parameters
    ----------
    config : Config
        One of `vdvae.config.CONFIGS`, or your own.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    @property
    def n_layers(self) -> int:
        """Number of latents."""
        return len(self.decoder.dec_blocks)

    def check_images(self, images: np.ndarray) -> None:
        """Refuse anything but uint8 images of this configuration's size.

        Raises
        ------
        ValueError
            Wrong type or range (images in [0, 1] look almost constant to the network), size or number of colours.
        """
        size, colours = self.config.image_size, self.config.image_channels
        if images.dtype != np.uint8:
            low, high = (float(images.min()), float(images.max())) if images.size else (0.0, 0.0)
            first = "multiply by 255" if low >= 0 and high <= 1 else "bring them to that range"
            expected = f"expected uint8 in 0..255: {first}, round and cast"
            raise ValueError(f"images are {images.dtype} in [{low:g}, {high:g}], {expected}")
        if images.shape[1:] != (size, size, colours) or images.ndim != 4:
            raise ValueError(
                f"images are {images.shape}, expected (image, {size}, {size}, {colours}): resize them first"
            )
        if images.size and images.max() == 1:  # a photograph in [0, 1] that was cast; one of zeros alone may be black
            raise ValueError(
                "images are uint8 in [0, 1], expected 0..255: multiply by 255 and round before they are cast"
            )

    def network_input(self, images: np.ndarray) -> Tensor:
        """uint8 (image, row, column, colour) -> normalised (image, colour, row, column).

        Channels stay last in memory. Every convolution keeps that order, and on a processor it is a quarter faster.
        """
        self.check_images(images)
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(self.decoder.gain.device)
        x = (pixels.float() + self.config.shift) * self.config.scale
        return x.to(self.decoder.gain.dtype).permute(0, 3, 1, 2)

    @torch.no_grad()
    def encode(self, images: np.ndarray, n_layers: int | None = None, *, noise: Noise | None = None) -> list[Tensor]:
        """Latents of images: z = m + sigma e of q(z | image), from the top down.

        Only the blocks up to the last latent asked for are run.

        Parameters
        ----------
        images : uint8, (image, row, column, colour)
        n_layers : int, optional
            How many latents, from the coarsest; all where it is not given.
        noise : Noise, optional
            Source of e; without one e = 0, the posterior mean (of the first layer exactly, of the following ones given
            the means before).

        Returns
        -------
        list of float32, (image, zdim, resolution, resolution)

        Raises
        ------
        ValueError
            Wrong images, number of layers out of range, or a latent that is not finite.
        """
        n_layers = self.n_layers if n_layers is None else n_layers
        self._check_layers(n_layers)
        activations = self.encoder(self.network_input(images))
        states = self.decoder.start(len(images))
        latents: list[Tensor] = []
        for block in self.decoder.blocks[:n_layers]:
            x = self.decoder.input_state(states, block.spec)
            z, log_sigma = block.posterior_of(x, activations[block.spec.resolution])
            if noise is not None:
                z = z + torch.exp(log_sigma) * noise(z.shape).to(z)
            latents.append(z)
            if len(latents) < n_layers:
                states[block.spec.resolution] = block.merge(x, block.prior.inner(x), z)
        for number, z in enumerate(latents):  # after the last block: a GPU would wait for every answer
            if not torch.isfinite(z).all():
                raise ValueError(
                    f"latent {number} is not finite: the weights are damaged or the images are not photographs"
                )
        return latents

    @torch.no_grad()
    def pixel_parameters(
        self, latents: Sequence[Tensor], n_images: int, *, noise: Noise | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Run the top-down path on given latents, the remaining ones taken from the prior.

        Parameters
        ----------
        latents : sequence of float32, (image, zdim, resolution, resolution)
            The first latents; may be empty.
        n_images : int
        noise : Noise, optional
            Source of the remaining latents; without one they are the means of their priors.
        temperature : float
            Factor of the standard deviations of the remaining latents.

        Returns
        -------
        float32, (image, row, column, channel)

        Raises
        ------
        ValueError
            A given latent is of another shape or not finite, or the temperature is below 0.
        """
        self._check_latents(latents, n_images)
        if not temperature >= 0:
            raise ValueError(f"temperature is {temperature}, expected 0 or more")
        states = self.decoder.start(n_images)
        for block, z in zip(self.decoder.blocks, latents, strict=False):
            self.decoder.run_given(states, block, z)
        for block in self.decoder.blocks[len(latents) :]:
            self.decoder.run_prior(states, block, noise, temperature)
        return self.decoder.parameters_of(states)

    @torch.no_grad()
    def decode(
        self,
        latents: Sequence[Tensor] | np.ndarray,
        n_layers: int | None = None,
        *,
        noise: Noise | None = None,
        temperature: float = 1.0,
    ) -> np.ndarray:
        """Images of given latents: the expected pixel of `pixel_parameters`, without a random draw of pixels.

        Parameters
        ----------
        latents : sequence of float32, (image, zdim, resolution, resolution), or one array as from `flatten`
            The first latents, one or more.
        n_layers : int, optional
            How many of them are used, from the coarsest; all where it is not given. A flat array holds exactly those
            of so many layers.
        noise, temperature
            As in `pixel_parameters`.

        Returns
        -------
        uint8, (image, row, column, colour)

        Raises
        ------
        ValueError
            Latents of another shape or number, or that are not finite.
        """
        if isinstance(latents, np.ndarray):
            latents = self.unflatten(latents, self.n_layers if n_layers is None else n_layers)
        n_layers = len(latents) if n_layers is None else n_layers
        self._check_layers(n_layers)
        if n_layers > len(latents):
            raise ValueError(f"{n_layers} layers asked for, {len(latents)} latents given")
        parameters = self.pixel_parameters(latents[:n_layers], len(latents[0]), noise=noise, temperature=temperature)
        return to_uint8(mixture.mean(parameters, self.config.image_channels), round_up=True)

    @torch.no_grad()
    def decode_each(self, latents: Sequence[Tensor], n_images: int) -> Iterator[np.ndarray]:
        """Images of the first 0, 1, ..., all of the given latents, the others at the means of their priors.

        The same images as from `decode`, without running the blocks that a next one shares with the one before.

        Yields
        ------
        uint8, (image, row, column, colour); len(latents) + 1 times
        """
        self._check_latents(latents, n_images)
        states = self.decoder.start(n_images)
        for given in range(len(latents) + 1):
            copies = {r: x.clone(memory_format=torch.preserve_format) for r, x in states.items()}
            for block in self.decoder.blocks[given:]:
                self.decoder.run_prior(copies, block, None, 0.0)
            parameters = self.decoder.parameters_of(copies)
            yield to_uint8(mixture.mean(parameters, self.config.image_channels), round_up=True)
            if given < len(latents):
                self.decoder.run_given(states, self.decoder.blocks[given], latents[given])

    def n_numbers(self, n_layers: int) -> int:
        """How many numbers the first `n_layers` latents of an image are."""
        self._check_layers(n_layers)
        return sum(math.prod(shape) for shape in self.config.latent_shapes()[:n_layers])

    @torch.no_grad()
    def whiten(self, latents: Sequence[Tensor] | np.ndarray, n_layers: int | None = None) -> np.ndarray:
        """How far latents are from the means of their priors, in standard deviations: e = (z - m) / s, layer by layer.

        Parameters
        ----------
        latents : sequence of float32, (image, zdim, resolution, resolution), or one array as from `flatten`
            The first latents; m and s of a layer follow from those before it.
        n_layers : int, optional
            How many layers a flat array holds; all where it is not given.

        Returns
        -------
        float32, (image, n_numbers), as `flatten` orders them; independent standard normal numbers under the prior

        Raises
        ------
        ValueError
            Latents of another shape or number, or that are not finite.
        """
        if isinstance(latents, np.ndarray):
            latents = self.unflatten(latents, self.n_layers if n_layers is None else n_layers)
        self._check_latents(latents, len(latents[0]))
        states, whitened = self.decoder.start(len(latents[0])), []
        for block, z in zip(self.decoder.blocks, latents, strict=False):
            x = self.decoder.input_state(states, block.spec)
            h = block.prior.inner(x)
            mean, log_sigma = block.prior_of(h)
            whitened.append((z.to(mean) - mean) * torch.exp(-log_sigma))
            states[block.spec.resolution] = block.merge(x, h, z.to(mean))
        return self.flatten(whitened)

    def pixels_of_whitened(self, whitened: Tensor, n_layers: int) -> Tensor:
        """Expected pixels of whitened latents z = m + s e, the remaining layers at the means of their priors.

        Differentiable, unlike `decode`: this is the way from a picture back to the latents that explain it.

        Parameters
        ----------
        whitened : float32, (image, n_numbers)
            As `whiten` gives them, of the first `n_layers` layers.
        n_layers : int

        Returns
        -------
        float32, (image, row, column, colour), in [-1, 1]

        Raises
        ------
        ValueError
            Another number of layers or numbers.
        """
        self._check_layers(n_layers)
        shapes = self.config.latent_shapes()[:n_layers]
        sizes = [math.prod(shape) for shape in shapes]
        if whitened.ndim != 2 or whitened.shape[1] != sum(sizes):
            raise ValueError(
                f"latents are {tuple(whitened.shape)}, expected (image, {sum(sizes)}) for {n_layers} layers"
            )
        states = self.decoder.start(len(whitened))
        parts = whitened.split(sizes, 1)
        for block, part, shape in zip(self.decoder.blocks, parts, shapes, strict=False):
            x = self.decoder.input_state(states, block.spec)
            h = block.prior.inner(x)
            mean, log_sigma = block.prior_of(h)
            z = mean + torch.exp(log_sigma) * part.unflatten(1, shape)
            states[block.spec.resolution] = block.merge(x, h, z)
        for block in self.decoder.blocks[n_layers:]:
            self.decoder.run_prior(states, block, None, 0.0)
        return mixture.mean(self.decoder.parameters_of(states), self.config.image_channels)

    @torch.no_grad()
    def sample(self, n_images: int, temperature: float = 1.0, *, seed: int = 0) -> np.ndarray:
        """Images drawn from the model alone: latents from the priors, pixels from the mixture.

        Parameters
        ----------
        n_images : int
        temperature : float
            Factor of the standard deviations of the latents.
        seed : int
            Image i follows from (seed, i) alone, however many are drawn.

        Returns
        -------
        uint8, (image, row, column, colour)

        Raises
        ------
        ValueError
            No image asked for, or a temperature below 0.
        """
        if n_images < 1:
            raise ValueError(f"{n_images} images asked for, expected 1 or more")
        seeds = [np.random.SeedSequence([seed, i]).generate_state(2, np.uint64) for i in range(n_images)]
        noise = image_noise([int(latent) for latent, _ in seeds])
        parameters = self.pixel_parameters([], n_images, noise=noise, temperature=temperature)
        generators = [torch.Generator().manual_seed(int(pixel)) for _, pixel in seeds]
        parts = [draw_pixels(parameters[i : i + 1], self.config, one) for i, one in enumerate(generators)]
        return np.concatenate(parts)

    def losses(self, images: np.ndarray, noise: Noise | None) -> tuple[Tensor, Tensor]:
        """Distortion -log p(x | z), (image,), and rate KL(q || p) of every latent, (image, layer); nats."""
        activations = self.encoder(self.network_input(images))
        states = self.decoder.start(len(images))
        rates = []
        for block in self.decoder.blocks:
            x = self.decoder.input_state(states, block.spec)
            mean_q, log_q = block.posterior_of(x, activations[block.spec.resolution])
            h = block.prior.inner(x)
            mean_p, log_p = block.prior_of(h)
            z = mean_q if noise is None else mean_q + torch.exp(log_q) * noise(mean_q.shape).to(mean_q)
            rates.append(kl(mean_q.float(), log_q.float(), mean_p.float(), log_p.float()).sum((1, 2, 3)))
            states[block.spec.resolution] = block.merge(x, h, z)
        parameters = self.decoder.parameters_of(states).float()
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(parameters)
        if self.config.low_bit:
            pixels = torch.floor(pixels / 8) * 8
        log_p = mixture.log_likelihood(parameters, (pixels - 127.5) / 127.5, low_bit=self.config.low_bit)
        return -log_p.sum((1, 2)), torch.stack(rates, 1)

    @torch.no_grad()
    def elbo(self, images: np.ndarray, *, noise: Noise | None = None) -> np.ndarray:
        """Upper bound of -log2 p(image) in bits per dimension (pixel and colour), float64 (image,).

        The bound is the expectation over posterior draws (`noise`); without noise it is taken at the posterior means.
        """
        distortion, rates = self.losses(images, noise)
        return ((distortion + rates.sum(1)) / math.log(2) / math.prod(images.shape[1:])).double().cpu().numpy()

    @torch.no_grad()
    def layer_bits(self, images: np.ndarray) -> np.ndarray:
        """Information in every latent, KL(q || p) in bits per image at the posterior means; float64 (image, layer)."""
        return (self.losses(images, None)[1] / math.log(2)).double().cpu().numpy()

    def flatten(self, latents: Sequence[Tensor]) -> np.ndarray:
        """Latents as one row per image: layer after layer, each in (channel, row, column) order; float32."""
        return torch.cat([z.flatten(1) for z in latents], 1).float().cpu().numpy()

    def unflatten(self, values: np.ndarray, n_layers: int) -> list[Tensor]:
        """The inverse of `flatten`.

        Raises
        ------
        ValueError
            The number of columns is not that of the first `n_layers` latents.
        """
        self._check_layers(n_layers)
        shapes = self.config.latent_shapes()[:n_layers]
        sizes = [math.prod(shape) for shape in shapes]
        if values.ndim != 2 or values.shape[1] != sum(sizes):
            raise ValueError(f"latents are {values.shape}, expected (image, {sum(sizes)}) for {n_layers} layers")
        parts = torch.from_numpy(np.ascontiguousarray(values, np.float32)).split(sizes, 1)
        return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]

    def _check_latents(self, latents: Sequence[Tensor], n_images: int) -> None:
        self._check_layers(len(latents), least=0)
        for number, (z, shape) in enumerate(zip(latents, self.config.latent_shapes(), strict=False)):
            if z.shape != (n_images, *shape):
                raise ValueError(f"latent {number} is {tuple(z.shape)}, expected {(n_images, *shape)}")
            if not torch.isfinite(z).all():
                raise ValueError(f"latent {number} is not finite")

    def _check_layers(self, n_layers: int, least: int = 1) -> None:
        if not least <= n_layers <= self.n_layers:
            raise ValueError(f"{n_layers} layers asked for, this configuration has {least} to {self.n_layers}")


def to_uint8(pixels: Tensor, *, round_up: bool) -> np.ndarray:
    """[-1, 1] -> 0..255, rounded to the nearest or, as the published code does with drawn pixels, cut off."""
    levels = (pixels + 1) * 127.5 + (0.5 if round_up else 0.0)
    return levels.clamp(0, 255).to(torch.uint8).cpu().numpy()


def draw_pixels(parameters: Tensor, config: Config, generator: torch.Generator) -> np.ndarray:
    """Images drawn from the mixture, in the order of random numbers of the published code; uint8."""
    low, high = 1e-5, 1 - 1e-5
    shape = parameters.shape[:3]
    choice = torch.empty(*shape, config.num_mixtures).uniform_(low, high, generator=generator).to(parameters)
    noise = torch.empty(*shape, config.image_channels).uniform_(low, high, generator=generator).to(parameters)
    return to_uint8(mixture.sample(parameters, config.image_channels, choice, noise), round_up=False)
