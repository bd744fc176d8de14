"""The layers of the VDVAE: bottom-up residual blocks, top-down blocks with a latent each, and their arithmetic.

Parameters have the names of the published checkpoints. Axes are (image, channel, row, column) throughout.
"""

import math
from itertools import chain
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from loading.noise import Noise
from vdvae import mixture
from vdvae.config import BlockSpec, Config, parse_blocks

ONEDNN = torch.backends.mkldnn.is_available()


# The residual stream is the largest tensor, and a new one for every sum costs more time than the sum: memory that comes
# fresh from the system is cleared page by page. Where no gradient is recorded, `gelu`, `plus` and `plus_convolution`
# write over their first argument, which therefore must have no other reader.
#
# Where a gradient is recorded but the weights are fixed, as in a search for latents, `_Bottleneck` and `_Convolution`
# keep what the gradient of their input needs and nothing else.


def gelu(x: Tensor) -> Tensor:
    """GELU(x), the exact one."""
    return F.gelu(x) if torch.is_grad_enabled() else torch.ops.aten.gelu_(x)


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y."""
    return x + y if torch.is_grad_enabled() else x.add_(y)


def fixed(*weights: Tensor) -> bool:
    """Whether a gradient is recorded, but not of these."""
    return torch.is_grad_enabled() and not any(weight.requires_grad for weight in weights)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolution of stride 1 that keeps the size.

    On a processor F.conv2d hands kernels of one pixel to a general matrix product. Asked directly, oneDNN computes them
    in half the time (measured on AVX-512); F.conv2d itself asks it for the larger kernels.
    """
    if bias is not None and fixed(weight, bias):
        return cast(Tensor, _Convolution.apply(x, weight, bias))
    padding = weight.shape[-1] // 2
    if x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled() and ONEDNN:
        return torch.mkldnn_convolution(x, weight, bias, [padding] * 2, [1, 1], [1, 1], 1)
    return F.conv2d(x, weight, bias, padding=padding)


def _transposed(g: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the input of `convolution` from that of its result: a convolution too, with mirrored kernels."""
    return convolution(g, weight.transpose(0, 1).flip(2, 3), None)


class _Convolution(torch.autograd.Function):
    """`convolution` with fixed weights. Only these are kept: its gradient does not depend on x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return convolution(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _transposed(g, weight), None, None


class _Bottleneck(torch.autograd.Function):
    """GELU, then [convolution, GELU] with each of some fixed weights: h_0 = GELU(x), a_i = W_i h_(i-1) + b_i,
    h_i = GELU(a_i).

    dL/da_(i-1) = GELU'(a_(i-1)) W_i' dL/da_i with a_0 = x needs no h_i, which autograd would keep as well.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights_and_biases: Tensor) -> Tensor:
        weights = weights_and_biases[::2]
        before = [x]
        for weight, bias in zip(weights, weights_and_biases[1::2], strict=True):
            before.append(convolution(F.gelu(before[-1]), weight, bias))
        ctx.save_for_backward(*before, *weights)
        return F.gelu(before[-1])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        n = len(ctx.saved_tensors) // 2
        *before, last = ctx.saved_tensors[: n + 1]
        weights = ctx.saved_tensors[n + 1 :]
        g = torch.ops.aten.gelu_backward(g, last)
        for a, weight in zip(before[::-1], weights[::-1], strict=True):
            g = _transposed(g, weight)
            torch.ops.aten.gelu_backward.grad_input(g, a, grad_input=g)
        return g, *[None] * (2 * len(weights))


def plus_convolution(x: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x + bias + 1x1 convolution of h; on a GPU as a matrix product that adds to what is there."""
    if torch.is_grad_enabled():
        return convolution(h, weight, bias).add_(x)
    if x.device.type == "cpu":
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
        pairs = [(layer.weight, cast(Tensor, layer.bias)) for layer in (self.c1, self.c2, self.c3)]
        if fixed(*chain(*pairs)):
            return cast(Tensor, _Bottleneck.apply(x, *chain(*pairs)))
        h = F.gelu(x)
        for weight, bias in pairs:
            h = gelu(convolution(h, weight, bias))
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
    """Image to one activation per resolution."""

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

    def input_state(self, states: dict[int, Tensor], spec: BlockSpec) -> Tensor:
        """The state that a block starts from, the coarser one mixed in where the block asks for it."""
        x = states[spec.resolution]
        if spec.mix_in:
            coarse = states[spec.mix_in]
            if coarse.requires_grad:  # that of F.interpolate and of a slice comes with the channels first
                coarse.register_hook(lambda g: g.contiguous(memory_format=torch.channels_last))
            coarse = _match_channels(coarse, x.shape[1])
            x = plus(x, F.interpolate(coarse, scale_factor=spec.resolution // spec.mix_in, mode="nearest"))
        return x

    def run_given(self, states: dict[int, Tensor], block: DecBlock, z: Tensor) -> None:
        """One block with a given latent."""
        x = self.input_state(states, block.spec)
        states[block.spec.resolution] = block.merge(x, block.prior.inner(x), z.to(x))

    def run_prior(self, states: dict[int, Tensor], block: DecBlock, noise: Noise | None, temperature: float) -> None:
        """One block with a latent of its prior: the mean, or drawn."""
        x = self.input_state(states, block.spec)
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
