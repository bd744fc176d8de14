"""The network of the VDVAE (Child 2021, arXiv 2011.10650), with the parameter names of the published checkpoints.

Bottom-up: residual blocks from the image to one vector a resolution. Top-down: every decoder block holds a latent z
with prior p(z | state) and posterior q(z | state, encoder), both diagonal normal. `encode` reads the latents, `decode`
draws the image from given ones, `elbo` is the training objective.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdvae import mixture
from vdvae.config import BlockSpec, Config, parse_blocks

# Standard normal numbers of a shape (image, channel, row, column), asked for in the order of the blocks.
Noise = Callable[[tuple[int, ...]], Tensor]

ONEDNN = torch.backends.mkldnn.is_available()


def batch_noise(generator: torch.Generator) -> Noise:
    """One stream for the whole batch, as the published code draws it."""
    return lambda shape: torch.randn(shape, generator=generator)


def image_noise(seeds: Sequence[int]) -> Noise:
    """One stream an image, so that an image does not depend on which others are in its batch.

    Parameters
    ----------
    seeds : sequence of int, (n_images,)
        In 0..2**64 - 1, one for each image of the batch.
    """
    generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    def draw(shape: tuple[int, ...]) -> Tensor:
        if shape[0] != len(generators):
            raise ValueError(f"noise for {shape[0]} images asked for, {len(generators)} seeds given")
        return torch.stack([torch.randn(shape[1:], generator=generator) for generator in generators])

    return draw


# The residual stream is the largest tensor, and a new one for every sum costs more time than the sum: memory that comes
# fresh from the system is cleared page by page. Where no gradient is recorded, `gelu`, `plus` and `plus_convolution`
# write over their first argument, which therefore must have no other reader.


def gelu(x: Tensor) -> Tensor:
    """GELU(x), the exact one."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolution of stride 1 that keeps the size.

    On a processor F.conv2d hands kernels of one pixel to a general matrix product. Asked directly, oneDNN computes them
    in half the time (measured on AVX-512); F.conv2d itself asks it for the larger kernels.
    """
    padding = weight.shape[-1] // 2
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled() and ONEDNN:
        return torch.mkldnn_convolution(x, weight, bias, [padding] * 2, [1, 1], [1, 1], 1)
    return F.conv2d(x, weight, bias, padding=padding)


def plus_convolution(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x + bias + 1x1 convolution of h; on a GPU as a matrix product that adds to what is there."""
    if torch.is_grad_enabled() or x.device.type == "cpu":
        return plus(x, convolution(h, weight, bias))
    pixels = x.permute(0, 2, 3, 1).view(-1, x.shape[1])  # rows, since the channels are last in memory
    pixels.add_(bias).addmm_(h.permute(0, 2, 3, 1).reshape(-1, h.shape[1]), weight.flatten(1).T)
    return x


class Block(nn.Module):
    """Bottleneck: four times [GELU, convolution] with kernels 1, 3, 3, 1; (image, channel, row, column) throughout."""

    def __init__(
        self, n_in: int, n_inner: int, n_out: int, *, resolution: int, pool: int = 1, residual: bool = False
    ) -> None:
        super().__init__()
        self.pool, self.residual = pool, residual
        # Three by three makes no sense on a map of one or two pixels, and the published weights have none there.
        size = 3 if resolution > 2 else 1
        self.c1 = nn.Conv2d(n_in, n_inner, 1)
        self.c2 = nn.Conv2d(n_inner, n_inner, size, padding=size // 2)
        self.c3 = nn.Conv2d(n_inner, n_inner, size, padding=size // 2)
        self.c4 = nn.Conv2d(n_inner, n_out, 1)

    def inner(self, x: Tensor) -> Tensor:
        """What the last convolution reads."""
        h = F.gelu(x)
        for layer in (self.c1, self.c2, self.c3):
            assert layer.bias is not None
            h = gelu(convolution(h, layer.weight, layer.bias))
        return h

    def last(self, channels: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Weight and bias of some channels of the last convolution."""
        assert self.c4.bias is not None
        return self.c4.weight[channels], self.c4.bias[channels]

    def forward(self, x: Tensor) -> Tensor:
        h = self.inner(x)
        if not self.residual:
            return convolution(h, *self.last())
        if self.pool > 1:  # the finer x stays, the decoder reads it
            return F.avg_pool2d(plus(convolution(h, *self.last()), x), self.pool)
        return plus_convolution(x, h, *self.last())


def _inner(width: int, config: Config) -> int:
    return max(1, int(width * config.bottleneck))


def _match_channels(x: Tensor, channels: int) -> Tensor:
    """Drop the last channels or append zeros."""
    missing = channels - x.shape[1]
    return F.pad(x, (0, 0, 0, 0, 0, missing)) if missing > 0 else x[:, :channels]


class Encoder(nn.Module):
    """Image to one activation a resolution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.specs = config, parse_blocks(config.enc_blocks)
        self.in_conv = nn.Conv2d(config.image_channels, config.width_at(self.specs[0].resolution), 3, padding=1)
        blocks = []
        for spec in self.specs:
            width = config.width_at(spec.resolution)
            inner = _inner(width, config)
            blocks.append(Block(width, inner, width, resolution=spec.resolution, pool=spec.pool, residual=True))
            blocks[-1].c4.weight.data *= math.sqrt(1 / len(self.specs))
        self.enc_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        x = self.in_conv(x).contiguous(memory_format=torch.channels_last)
        activations = {x.shape[2]: x}
        for block in self.enc_blocks:
            x = block(x)
            resolution = x.shape[2]
            x = _match_channels(x, self.config.width_at(resolution))
            activations[resolution] = x  # the last one of a resolution stays
        return activations


class DecBlock(nn.Module):
    """One latent of the top-down path."""

    def __init__(self, config: Config, spec: BlockSpec, n_blocks: int) -> None:
        super().__init__()
        self.spec, self.zdim = spec, config.zdim
        width = config.width_at(spec.resolution)
        inner = _inner(width, config)
        self.enc = Block(2 * width, inner, 2 * config.zdim, resolution=spec.resolution)
        self.prior = Block(width, inner, 2 * config.zdim + width, resolution=spec.resolution)
        self.z_proj = nn.Conv2d(config.zdim, width, 1)
        self.resnet = Block(width, inner, width, resolution=spec.resolution, residual=True)
        # A new model starts near the identity: prior N(0, 1), residual branches small (paper, section 3.2).
        self.prior.c4.weight.data.zero_()
        self.z_proj.weight.data *= math.sqrt(1 / n_blocks)
        self.resnet.c4.weight.data *= math.sqrt(1 / n_blocks)

    def prior_of(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log sigma) of p(z | x) from h = prior.inner(x)."""
        mean, log_sigma = convolution(h, *self.prior.last(slice(2 * self.zdim))).chunk(2, 1)
        return mean, log_sigma

    def posterior_of(self, x: Tensor, activation: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, log sigma) of q(z | x, image)."""
        mean, log_sigma = self.enc(torch.cat([x, activation], 1)).chunk(2, 1)
        return mean, log_sigma

    def merge(self, x: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """The state after this block, from the one before it, h = prior.inner(x) and the latent; x is used up.

        The features W h + a of the prior and the projection P z + b of the latent are one convolution of (h, z).
        """
        assert self.z_proj.bias is not None
        weight, bias = self.prior.last(slice(2 * self.zdim, None))
        both = torch.cat([weight, self.z_proj.weight], 1)
        return self.resnet(plus_convolution(x, torch.cat([h, z], 1), both, bias + self.z_proj.bias))

    def merge_mean(self, x: Tensor, h: Tensor) -> Tensor:
        """`merge` with the mean of the prior, z = M h + m: W h + a + P z + b = (W + P M) h + (a + P m + b)."""
        assert self.z_proj.bias is not None
        weight, bias = self.prior.last(slice(2 * self.zdim, None))
        mean_weight, mean_bias = self.prior.last(slice(self.zdim))
        project = self.z_proj.weight.flatten(1)
        weight = weight + (project @ mean_weight.flatten(1)).unflatten(1, (-1, 1, 1))
        return self.resnet(plus_convolution(x, h, weight, bias + project @ mean_bias + self.z_proj.bias))


def kl(mean_q: Tensor, log_q: Tensor, mean_p: Tensor, log_p: Tensor) -> Tensor:
    """Kullback-Leibler divergence of two diagonal normal distributions, elementwise, in nats."""
    return log_p - log_q - 0.5 + 0.5 * (torch.exp(2 * log_q) + (mean_q - mean_p) ** 2) * torch.exp(-2 * log_p)


class Decoder(nn.Module):
    """The top-down path."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.specs = config, parse_blocks(config.dec_blocks)
        self.resolutions = sorted({spec.resolution for spec in self.specs})
        self.dec_blocks = nn.ModuleList(DecBlock(config, spec, len(self.specs)) for spec in self.specs)
        self.bias_xs = nn.ParameterList(
            nn.Parameter(torch.zeros(1, config.width_at(r), r, r))
            for r in self.resolutions
            if r <= config.no_bias_above
        )
        width = config.width_at(config.image_size)
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        channels = mixture.n_parameters(config.num_mixtures, config.image_channels)
        self.out_net = nn.ModuleDict({"out_conv": nn.Conv2d(width, channels, 1)})

    @property
    def blocks(self) -> list[DecBlock]:
        """From coarse to fine."""
        return cast(list[DecBlock], list(self.dec_blocks))

    def start(self, n_images: int) -> dict[int, Tensor]:
        """The state of every resolution before the first block; the blocks write over it."""
        states = {}
        for index, resolution in enumerate(self.resolutions):
            if resolution <= self.config.no_bias_above:
                states[resolution] = self.bias_xs[index].repeat(n_images, 1, 1, 1)
            else:
                shape = (n_images, self.config.width_at(resolution), resolution, resolution)
                states[resolution] = self.gain.new_zeros(shape)
            states[resolution] = states[resolution].contiguous(memory_format=torch.channels_last)
        return states

    def take_in(self, states: dict[int, Tensor], spec: BlockSpec) -> Tensor:
        """The state that a block starts from, the coarser one mixed in where the block asks for it."""
        x = states[spec.resolution]
        if spec.mix_in:
            coarse = _match_channels(states[spec.mix_in], x.shape[1])
            x = plus(x, F.interpolate(coarse, scale_factor=spec.resolution // spec.mix_in, mode="nearest"))
        return x

    def put_in(self, states: dict[int, Tensor], block: DecBlock, z: Tensor) -> None:
        """One block with a given latent."""
        x = self.take_in(states, block.spec)
        states[block.spec.resolution] = block.merge(x, block.prior.inner(x), z.to(x))

    def go_on(self, states: dict[int, Tensor], block: DecBlock, noise: Noise | None, temperature: float) -> None:
        """One block with a latent of its prior: the mean, or drawn."""
        x = self.take_in(states, block.spec)
        h = block.prior.inner(x)
        if noise is None or temperature == 0:
            states[block.spec.resolution] = block.merge_mean(x, h)
        else:
            z, log_sigma = block.prior_of(h)
            z = z + temperature * torch.exp(log_sigma) * noise(z.shape).to(x)
            states[block.spec.resolution] = block.merge(x, h, z)

    def features_of(self, states: dict[int, Tensor]) -> Tensor:
        """What the parameters of the pixels are linear in, (image, channel, row, column)."""
        return torch.addcmul(self.bias, states[self.config.image_size], self.gain)

    def parameters_of(self, states: dict[int, Tensor]) -> Tensor:
        """Parameters of the pixel mixture, (image, row, column, channel), in float32 at least."""
        x = self.features_of(states)
        out = cast(nn.Conv2d, self.out_net["out_conv"])
        assert out.bias is not None
        parameters = convolution(x, out.weight, out.bias).permute(0, 2, 3, 1)
        return parameters.to(torch.promote_types(parameters.dtype, torch.float32))


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
            x = self.decoder.take_in(states, block.spec)
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
            self.decoder.put_in(states, block, z)
        for block in self.decoder.blocks[len(latents) :]:
            self.decoder.go_on(states, block, noise, temperature)
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
                self.decoder.go_on(copies, block, None, 0.0)
            parameters = self.decoder.parameters_of(copies)
            yield to_uint8(mixture.mean(parameters, self.config.image_channels), round_up=True)
            if given < len(latents):
                self.decoder.put_in(states, self.decoder.blocks[given], latents[given])

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
            x = self.decoder.take_in(states, block.spec)
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
            x = self.decoder.take_in(states, block.spec)
            h = block.prior.inner(x)
            mean, log_sigma = block.prior_of(h)
            z = mean + torch.exp(log_sigma) * part.unflatten(1, shape)
            states[block.spec.resolution] = block.merge(x, h, z)
        for block in self.decoder.blocks[n_layers:]:
            self.decoder.go_on(states, block, None, 0.0)
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
            x = self.decoder.take_in(states, block.spec)
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
        """Information in every latent, KL(q || p) in bits an image at the posterior means; float64 (image, layer)."""
        return (self.losses(images, None)[1] / math.log(2)).double().cpu().numpy()

    def flatten(self, latents: Sequence[Tensor]) -> np.ndarray:
        """Latents as one row an image: layer after layer, each in (channel, row, column) order; float32."""
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
