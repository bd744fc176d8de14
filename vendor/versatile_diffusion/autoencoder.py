"""The autoencoder of latent diffusion (Rombach et al. 2022, arXiv 2112.10752), with the parameter names of kl-f8.

The encoder halves the image level by level and ends in mean and log variance of a normal posterior of every latent
value; the decoder draws the image from a latent. Scaled latents are what the diffusion works on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from versatile_diffusion.config import AutoencoderConfig

EPSILON = 1e-6  # of every normalisation here; the UNet's differ


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), written over x where no gradient is recorded: x has no other reader, it comes from a
    normalisation."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y, written over y where no gradient is recorded: y is the fresh output of a convolution."""
    return x + y if torch.is_grad_enabled() else y.add_(x)


def _through(part: Callable[[Tensor], Tensor], x: Tensor, sparing: bool) -> Tensor:
    """part(x); sparing: of what the gradient needs x alone is kept, and the part computed again on the way back."""
    return checkpoint(part, x, use_reentrant=False) if sparing and torch.is_grad_enabled() else part(x)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))), with a 1x1 convolution on x where the channels change."""

    def __init__(self, n_in: int, n_out: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, n_in, EPSILON)
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, n_out, EPSILON)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1)
        if n_in != n_out:
            self.nin_shortcut = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        return plus(self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x, h)


class Attention(nn.Module):
    """Every pixel looks at every other: one head as wide as the channels, scale channels^-0.5."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, channels, EPSILON)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2)[:, None] for layer in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v)[:, 0]  # (image, pixel, channel)
        return plus(x, self.proj_out(h.transpose(1, 2).unflatten(2, x.shape[2:])))


class Middle(nn.Module):
    """The coarsest level's residual block, attention, residual block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, groups)
        self.attn_1 = Attention(channels, groups)
        self.block_2 = ResidualBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class Down(nn.Module):
    """Half the rows and columns; one row of zeros below and one column right, none on the other sides."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    """Every pixel repeated twice each way, then a convolution.

    Both together are one transposed convolution of stride 2 on x itself, whose kernel along each axis is (W2, W1 + W2,
    W0 + W1, W0): 16 products per pixel of x and pair of channels instead of 36, and no enlarged x.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight.float().permute(1, 2, 3, 0)  # (in, row, column, out)
        for axis in (1, 2):
            w0, w1, w2 = weight.unbind(axis)
            weight = torch.stack([w2, w1 + w2, w0 + w1, w0], axis)
        kernel = weight.permute(0, 3, 1, 2).to(x.dtype).contiguous(memory_format=torch.channels_last)
        return F.conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=1)


class Level(nn.Module):
    """Residual blocks of one resolution, then the step to the next one, if any: "downsample" or "upsample"."""

    def __init__(self, n_in: int, n_out: int, n_blocks: int, groups: int, step: str) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(n_in if i == 0 else n_out, n_out, groups) for i in range(n_blocks))
        self.step = step
        if step:
            self.add_module(step, Down(n_out) if step == "downsample" else Up(n_out))

    def forward(self, x: Tensor, *, sparing: bool = False) -> Tensor:
        for block in self.block:
            x = _through(block, x, sparing)
        return _through(self.get_submodule(self.step), x, sparing) if self.step else x


class Encoder(nn.Module):
    """Image to the coarsest level, then twice the latent channels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(config.image_channels, config.width, 3, padding=1)
        widths = [config.width * m for m in config.multipliers]
        self.down = nn.ModuleList(
            Level(n_in, n_out, config.n_blocks, config.groups, "downsample" if level < len(widths) - 1 else "")
            for level, (n_in, n_out) in enumerate(zip([config.width, *widths[:-1]], widths, strict=True))
        )
        self.mid = Middle(widths[-1], config.groups)
        self.norm_out = nn.GroupNorm(config.groups, widths[-1], EPSILON)
        self.conv_out = nn.Conv2d(widths[-1], 2 * config.latent_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        return self.conv_out(silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Latent to image. `up` is numbered as the encoder's levels, 0 the finest, and run backwards."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = [config.width * m for m in config.multipliers]
        self.conv_in = nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], config.groups)
        self.up = nn.ModuleList(
            Level(n_in, n_out, config.n_blocks + 1, config.groups, "upsample" if level > 0 else "")
            for level, (n_in, n_out) in enumerate(zip([*widths[1:], widths[-1]], widths, strict=True))
        )
        self.norm_out = nn.GroupNorm(config.groups, widths[0], EPSILON)
        self.conv_out = nn.Conv2d(widths[0], config.image_channels, 3, padding=1)

    def forward(self, z: Tensor, *, sparing: bool = False) -> Tensor:
        h = _through(self.mid, self.conv_in(z), sparing)
        for level in reversed(self.up):
            h = level(h, sparing=sparing)
        return _through(self._last, h, sparing)

    def _last(self, h: Tensor) -> Tensor:
        return self.conv_out(silu(self.norm_out(h)))


@dataclass(frozen=True)
class Posterior:
    """Diagonal normal distribution of the latents of images, unscaled.

    mean, log_variance : (image, latent channel, row, column); the log variance is clamped to [-30, 20].
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """mean + sigma * noise, from standard normal numbers of the same shape."""
        return self.mean + torch.exp(0.5 * self.log_variance) * noise.to(self.mean)

    def divergence(self) -> Tensor:
        """KL(posterior || N(0, 1)), nats per image; float32 (image,)."""
        mean, log_variance = self.mean.float(), self.log_variance.float()
        return 0.5 * (mean**2 + torch.exp(log_variance) - 1 - log_variance).sum((1, 2, 3))


class Autoencoder(nn.Module):
    """Encoder and decoder of one configuration.

    Parameters
    ----------
    config : AutoencoderConfig
        One of `versatile_diffusion.config.AUTOENCODERS`, or your own.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.latent_channels, 2 * config.latent_channels, 1)
        self.post_quant_conv = nn.Conv2d(config.latent_channels, config.latent_channels, 1)

    def moments(self, x: Tensor) -> Tensor:
        """Mean and log variance, not clamped, joined: (image, 2 latent channels, row, column)."""
        return self.quant_conv(self.encoder(x))

    def posterior(self, x: Tensor) -> Posterior:
        """Distribution of the latents of images (image, colour, row, column) in [-1, 1]; differentiable."""
        mean, log_variance = self.moments(x).chunk(2, 1)
        return Posterior(mean, log_variance.clamp(-30, 20))

    def pixels(self, latents: Tensor, *, sparing: bool = False) -> Tensor:
        """Images of scaled latents, (image, colour, row, column), about in [-1, 1], not clamped; differentiable.

        sparing : a gradient takes a fifth more time, and the memory of one block instead of that of all.
        """
        return self.decoder(self.post_quant_conv(latents / self.config.scale), sparing=sparing)

    def network_input(self, images: np.ndarray) -> Tensor:
        """uint8 (image, row, column, colour) -> (image, colour, row, column) in [-1, 1], channels last in memory.

        Raises
        ------
        ValueError
            Not uint8, not the colours of this configuration, or sides that are not multiples of `config.factor`.
        """
        factor, colours = self.config.factor, self.config.image_channels
        if images.dtype != np.uint8:
            low, high = (images.min(), images.max()) if images.size else (0, 0)
            raise ValueError(
                f"images are {images.dtype} in [{low:g}, {high:g}], expected uint8 in 0..255: "
                "multiply by 255 if they are in [0, 1], then round and cast"
            )
        if images.ndim != 4 or images.shape[3] != colours or any(n % factor or not n for n in images.shape[1:3]):
            raise ValueError(
                f"images are {images.shape}, expected (image, row, column, {colours}) with rows and columns that are "
                f"multiples of {factor}: resize them first, to {self.config.image_size} for what it was trained on"
            )
        weight = self.quant_conv.weight
        pixels = torch.from_numpy(np.ascontiguousarray(images)).to(weight.device)
        return (pixels.float() / 255 * 2 - 1).to(weight.dtype).permute(0, 3, 1, 2)

    @torch.no_grad()
    def encode(self, images: np.ndarray, *, noise: Tensor | None = None) -> Tensor:
        """Scaled latents of images: scale * (mean + sigma * noise).

        Parameters
        ----------
        images : uint8, (image, row, column, colour)
        noise : float32, (image, latent channel, row, column), optional
            Standard normal numbers; without them the mean is taken.

        Returns
        -------
        float32, (image, latent channel, row / factor, column / factor)

        Raises
        ------
        ValueError
            See `network_input`; also noise of another shape, and latents that are not finite.
        """
        found = self.posterior(self.network_input(images))
        if noise is not None and noise.shape != found.mean.shape:
            raise ValueError(f"noise is {tuple(noise.shape)}, expected {tuple(found.mean.shape)} as the latents")
        latents = self.config.scale * (found.mean if noise is None else found.sample(noise)).float()
        return _finite(latents, "latents")

    @torch.no_grad()
    def decode(self, latents: Tensor, *, round_up: bool = True) -> np.ndarray:
        """Images of scaled latents.

        Parameters
        ----------
        latents : float32, (image, latent channel, row, column)
        round_up : bool
            Round to the nearest grey level; False cuts off, as the published pipeline does.

        Returns
        -------
        uint8, (image, row * factor, column * factor, colour)

        Raises
        ------
        ValueError
            Latents of another shape, or not finite, or pixels that are not finite.
        """
        if latents.ndim != 4 or latents.shape[1] != self.config.latent_channels:
            raise ValueError(
                f"latents are {tuple(latents.shape)}, expected (image, {self.config.latent_channels}, row, column)"
            )
        weight = self.quant_conv.weight
        _finite(latents, "latents")
        pixels = _finite(self.pixels(latents.to(weight.device, weight.dtype)).float(), "decoded pixels")
        return to_uint8(pixels, round_up=round_up)


def to_uint8(pixels: Tensor, *, round_up: bool) -> np.ndarray:
    """(image, colour, row, column) in [-1, 1] -> uint8 (image, row, column, colour), rounded to the nearest or cut
    off."""
    levels = ((pixels + 1) / 2).clamp(0, 1) * 255 + (0.5 if round_up else 0.0)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _finite(values: Tensor, name: str) -> Tensor:
    if not torch.isfinite(values).all():
        raise ValueError(
            f"{name} are not finite: the weights are damaged, or float16 overflowed; load the autoencoder in float32"
        )
    return values
