"""The VDVAE once more, in the most direct way, as the yardstick of speed and memory and a second route for tests.

Module for module what the paper describes, nothing left out because it is not needed: latents come from a pass through
all blocks, every block computes its prior, (image, channel, row, column) tensors, no tensor is reused. Parameter names
are those of `vdvae.layers`, so that one state dict serves both.
"""

import math
from itertools import zip_longest

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vdvae import mixture
from vdvae.config import BlockSpec, Config, parse_blocks


def convolution(n_in: int, n_out: int, size: int) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, size, padding=size // 2)


def with_channels(x: Tensor, channels: int) -> Tensor:
    """The first channels, or all of them and zeros."""
    if channels <= x.shape[1]:
        return x[:, :channels]
    return torch.cat([x, x.new_zeros(x.shape[0], channels - x.shape[1], *x.shape[2:])], 1)


class EagerBlock(nn.Module):
    """Four convolutions, a GELU before each."""

    def __init__(self, n_in: int, n_inner: int, n_out: int, resolution: int) -> None:
        super().__init__()
        size = 3 if resolution > 2 else 1
        self.c1 = convolution(n_in, n_inner, 1)
        self.c2 = convolution(n_inner, n_inner, size)
        self.c3 = convolution(n_inner, n_inner, size)
        self.c4 = convolution(n_inner, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c1(F.gelu(x))
        x = self.c2(F.gelu(x))
        x = self.c3(F.gelu(x))
        return self.c4(F.gelu(x))


class EagerEncoder(nn.Module):
    """Activations of every resolution."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.specs = config, parse_blocks(config.enc_blocks)
        self.in_conv = convolution(config.image_channels, config.width_at(self.specs[0].resolution), 3)
        self.enc_blocks = nn.ModuleList()
        for spec in self.specs:
            width = config.width_at(spec.resolution)
            self.enc_blocks.append(EagerBlock(width, int(width * config.bottleneck), width, spec.resolution))

    def forward(self, x: Tensor) -> dict[int, Tensor]:
        x = self.in_conv(x)
        activations = {x.shape[2]: x}
        for spec, block in zip(self.specs, self.enc_blocks, strict=True):
            x = x + block(x)
            if spec.pool > 1:
                x = F.avg_pool2d(x, spec.pool)
            x = with_channels(x, self.config.width_at(x.shape[2]))
            activations[x.shape[2]] = x
        return activations


class EagerDecBlock(nn.Module):
    """Posterior, prior and merging of one latent."""

    def __init__(self, config: Config, spec: BlockSpec) -> None:
        super().__init__()
        self.spec, self.zdim = spec, config.zdim
        width, size = config.width_at(spec.resolution), spec.resolution
        inner = int(width * config.bottleneck)
        self.enc = EagerBlock(2 * width, inner, 2 * config.zdim, size)
        self.prior = EagerBlock(width, inner, 2 * config.zdim + width, size)
        self.z_proj = convolution(config.zdim, width, 1)
        self.resnet = EagerBlock(width, inner, width, size)

    def forward(
        self,
        states: dict[int, Tensor],
        activations: dict[int, Tensor] | None,
        given: Tensor | None,
        whitened: Tensor | None = None,
    ) -> Tensor:
        """The latent used; `states` gets the new state. Without activations and given latent: the mean of the prior,
        and `whitened` of its standard deviations away from it."""
        x = states[self.spec.resolution]
        if self.spec.mix_in:
            coarse = with_channels(states[self.spec.mix_in], x.shape[1])
            x = x + F.interpolate(coarse, scale_factor=self.spec.resolution // self.spec.mix_in)
        prior = self.prior(x)
        mean, log_sigma, features = prior.split([self.zdim, self.zdim, x.shape[1]], 1)
        if whitened is not None:
            mean = mean + torch.exp(log_sigma) * whitened
        if activations is not None:
            mean, _ = self.enc(torch.cat([x, activations[self.spec.resolution]], 1)).chunk(2, 1)
        z = mean if given is None else given
        x = x + features
        x = x + self.z_proj(z)
        states[self.spec.resolution] = x + self.resnet(x)
        return z


class EagerDecoder(nn.Module):
    """All blocks, and the parameters of the pixels."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.specs = config, parse_blocks(config.dec_blocks)
        self.resolutions = sorted({spec.resolution for spec in self.specs})
        self.dec_blocks = nn.ModuleList(EagerDecBlock(config, spec) for spec in self.specs)
        learned = [r for r in self.resolutions if r <= config.no_bias_above]
        self.bias_xs = nn.ParameterList(nn.Parameter(torch.zeros(1, config.width_at(r), r, r)) for r in learned)
        width = config.width_at(config.image_size)
        self.gain = nn.Parameter(torch.ones(1, width, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, width, 1, 1))
        per_mixture = 10 if config.image_channels == 3 else 3
        self.out_net = nn.Module()
        self.out_net.out_conv = convolution(width, config.num_mixtures * per_mixture, 1)

    def start(self, n_images: int) -> dict[int, Tensor]:
        states = {}
        for index, r in enumerate(self.resolutions):
            if index < len(self.bias_xs):
                states[r] = self.bias_xs[index].repeat(n_images, 1, 1, 1)
            else:
                states[r] = self.gain.new_zeros(n_images, self.config.width_at(r), r, r)
        return states


class EagerVDVAE(nn.Module):
    """Encoder and decoder of one configuration."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = EagerEncoder(config), EagerDecoder(config)

    @torch.no_grad()
    def encode(self, x: Tensor) -> list[Tensor]:
        """Posterior means of all blocks for normalised images (image, colour, row, column)."""
        activations = self.encoder(x)
        states = self.decoder.start(len(x))
        return [block(states, activations, None) for block in self.decoder.dec_blocks]

    @torch.no_grad()
    def pixel_parameters(self, latents: list[Tensor], n_images: int) -> Tensor:
        """Mixture parameters (image, row, column, channel) of given latents, the others at their prior means."""
        states = self.decoder.start(n_images)
        rest: list[None] = [None] * (len(self.decoder.dec_blocks) - len(latents))
        for block, given in zip(self.decoder.dec_blocks, [*latents, *rest], strict=True):
            block(states, None, given)
        return self.parameters_of(states)

    def parameters_of(self, states: dict[int, Tensor]) -> Tensor:
        x = states[self.config.image_size] * self.decoder.gain + self.decoder.bias
        return self.decoder.out_net.out_conv(x).permute(0, 2, 3, 1)

    def pixels_of_whitened(self, whitened: Tensor, n_layers: int) -> Tensor:
        """Expected pixels (image, row, column, colour) of latents in standard deviations of their priors."""
        shapes = self.config.latent_shapes()[:n_layers]
        flat = whitened.split([math.prod(shape) for shape in shapes], 1)
        parts = [part.unflatten(1, shape) for part, shape in zip(flat, shapes, strict=True)]
        states = self.decoder.start(len(whitened))
        for block, part in zip_longest(self.decoder.dec_blocks, parts):
            block(states, None, None, part)
        return mixture.mean(self.parameters_of(states), self.config.image_channels)
