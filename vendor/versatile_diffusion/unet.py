"""The image UNet of Versatile Diffusion with two contexts, with the parameter names of the deprecated checkpoints.

Between its residual blocks stand attention places. At each of them an attention block A of the image UNet looks at the
vision context and an attention block B, the only part taken from the text UNet, looks at the text context:

    h += r A(h, vision) + (1 - r) B(h, text),          r = mixed_ratio in [0, 1]

Keys and values of the contexts depend neither on the latent nor on the time. `UNet.contexts` computes them once, and
every step of a sampler reads them. A latent may also meet several contexts, as in classifier-free guidance: what comes
before the first look at a context is then computed once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from versatile_diffusion.config import UNetConfig

# Of the three kinds of normalisation: before attention blocks, elsewhere in images, and of tokens.
ATTENTION_EPSILON, EPSILON, TOKEN_EPSILON = 1e-6, 1e-5, 1e-5

ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")

KeyValue = tuple[Tensor, Tensor]  # each (image, head, token, channel of a head)


@dataclass(frozen=True)
class Contexts:
    """Keys and values of two contexts at every attention place, in the order of the network.

    vision, text : list of (key, value), or None for a context that is not there (its weight must be zero).
    """

    vision: list[KeyValue] | None
    text: list[KeyValue] | None

    def __len__(self) -> int:
        places = self.vision or self.text
        assert places is not None
        return len(places[0][0])

    def expand(self, n: int) -> "Contexts":
        """The contexts of one image for n images, without a copy."""
        return self._map(lambda x: x.expand(n, *x.shape[1:]))

    def rows(self, index: Tensor) -> "Contexts":
        """The contexts of some of the images."""
        return self._map(lambda x: x[index])

    @staticmethod
    def join(parts: "Sequence[Contexts]") -> "Contexts":
        """The images of several contexts, one after the other."""

        def joined(kinds: list[list[KeyValue] | None]) -> list[KeyValue] | None:
            if any(places is None for places in kinds):
                return None
            pairs = zip(*cast(list[list[KeyValue]], kinds), strict=True)
            return [(torch.cat([k for k, _ in place]), torch.cat([v for _, v in place])) for place in pairs]

        return Contexts(joined([part.vision for part in parts]), joined([part.text for part in parts]))

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Contexts":
        def changed(places: list[KeyValue] | None) -> list[KeyValue] | None:
            return None if places is None else [(change(k), change(v)) for k, v in places]

        return Contexts(changed(self.vision), changed(self.text))


def numbered(**layers: nn.Module) -> nn.ModuleDict:
    """Layers under the numbers that they have in the published names: `numbered(_0=norm, _2=conv)`."""
    return nn.ModuleDict({name[1:]: layer for name, layer in layers.items()})


def silu(x: Tensor) -> Tensor:
    """x sigmoid(x), written over x where no gradient is recorded: x comes fresh from a normalisation."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


def plus(x: Tensor, y: Tensor) -> Tensor:
    """x + y, written over y where no gradient is recorded: y is the fresh output of a layer."""
    return x + y if torch.is_grad_enabled() else y.add_(x)


def tokens(x: Tensor) -> Tensor:
    """(image, channel, row, column) -> (image, pixel, channel); no copy where channels are last in memory."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def repeat(x: Tensor, n_images: int) -> Tensor:
    """x, its images repeated as a whole until there are n_images."""
    return x if len(x) == n_images else x.repeat(n_images // len(x), *[1] * (x.ndim - 1))


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + linear(time)))), 1x1 convolution on x where the channels change."""

    def __init__(self, n_in: int, n_out: int, config: UNetConfig) -> None:
        super().__init__()
        self.in_layers = numbered(
            _0=nn.GroupNorm(config.groups, n_in, EPSILON), _2=nn.Conv2d(n_in, n_out, 3, padding=1)
        )
        self.emb_layers = numbered(_1=nn.Linear(4 * config.width, n_out))
        self.out_layers = numbered(
            _0=nn.GroupNorm(config.groups, n_out, EPSILON), _3=nn.Conv2d(n_out, n_out, 3, padding=1)
        )
        _start_at_zero(self.out_layers["3"])
        if n_in != n_out:
            self.skip_connection = nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """time: silu of the time embedding, (image or 1, 4 width)."""
        h = self.in_layers["2"](silu(self.in_layers["0"](x)))
        h = plus(self.emb_layers["1"](time)[:, :, None, None], h)
        h = self.out_layers["3"](silu(self.out_layers["0"](h)))
        return plus(self.skip_connection(x) if hasattr(self, "skip_connection") else x, h)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weight' + bias.

    On a processor F.linear hands float32 to MKL, which knows Intel's processors best. Asked directly, oneDNN takes half
    the time on an AMD EPYC.
    """
    if ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_grad_enabled():
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], ""))
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """`linear` as a layer."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Attention(nn.Module):
    """Multi-head attention of tokens to a context, or to themselves."""

    def __init__(self, width: int, context_width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.to_q = Linear(width, width, bias=False)
        self.to_k = Linear(context_width, width, bias=False)
        self.to_v = Linear(context_width, width, bias=False)
        self.to_out = numbered(_0=Linear(width, width))

    def heads(self, x: Tensor) -> Tensor:
        """(image, token, channel) -> (image, head, token, channel of a head)."""
        return x.unflatten(2, (self.n_heads, -1)).transpose(1, 2)

    def key_value(self, context: Tensor) -> KeyValue:
        """What a context (image, token, context_width) offers to every query."""
        return self.heads(self.to_k(context)), self.heads(self.to_v(context))

    def forward(self, x: Tensor, key_value: KeyValue | None = None) -> Tensor:
        key, value = self.key_value(x) if key_value is None else key_value
        h = F.scaled_dot_product_attention(self.heads(self.to_q(x)), key, value)
        return self.to_out["0"](h.transpose(1, 2).flatten(2))


class GatedLinear(nn.Module):
    """GEGLU: the first half of the outputs times the exact GELU of the second half."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj = Linear(n_in, 2 * n_out)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            value, gate = self.proj(x).chunk(2, -1)
            return value * F.gelu(gate)
        # Two products instead of one: each half lies in one piece and can be written over.
        n_out = len(self.proj.bias) // 2
        gate = linear(x, self.proj.weight[n_out:], self.proj.bias[n_out:])
        return linear(x, self.proj.weight[:n_out], self.proj.bias[:n_out]).mul_(torch.ops.aten.gelu_(gate))


class TransformerBlock(nn.Module):
    """x += attention to itself; x += attention to the context; x += gated two-layer network; each on LayerNorm(x)."""

    def __init__(self, width: int, context_width: int, n_heads: int) -> None:
        super().__init__()
        self.attn1 = Attention(width, width, n_heads)
        self.attn2 = Attention(width, context_width, n_heads)
        self.ff = nn.ModuleDict({"net": numbered(_0=GatedLinear(width, 4 * width), _2=Linear(4 * width, width))})
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width, TOKEN_EPSILON) for _ in range(3))

    def forward(self, x: Tensor, context: KeyValue) -> Tensor:
        x = plus(x, self.attn1(self.norm1(x)))
        x = repeat(x, len(context[0]))
        x = plus(x, self.attn2(self.norm2(x), context))
        net = cast(nn.ModuleDict, self.ff["net"])
        return plus(x, net["2"](net["0"](self.norm3(x))))


class AttentionBlock(nn.Module):
    """A(h, context): normalisation, tokens, one transformer block; without the outer residual."""

    def __init__(self, width: int, context_width: int, config: UNetConfig) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(config.groups, width, ATTENTION_EPSILON)
        self.proj_in = nn.Conv2d(width, width, 1)
        self.transformer_blocks = numbered(_0=TransformerBlock(width, context_width, config.n_heads))
        self.proj_out = nn.Conv2d(width, width, 1)
        _start_at_zero(self.proj_out)

    def key_value(self, context: Tensor) -> KeyValue:
        return cast(TransformerBlock, self.transformer_blocks["0"]).attn2.key_value(context)

    def inner(self, h: Tensor, context: KeyValue) -> Tensor:
        """What the last layer reads: (image, pixel, channel)."""
        x = linear(tokens(self.norm(h)), self.proj_in.weight.flatten(1), self.proj_in.bias)
        return self.transformer_blocks["0"](x, context)


class Down(nn.Module):
    """Half the rows and columns: convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    """Every pixel repeated twice each way, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def _start_at_zero(layer: nn.Module) -> None:
    """A new model starts as the identity between its first and last convolution: residual branches add nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def mix(h: Tensor, parts: Sequence[tuple[AttentionBlock, KeyValue, float | Tensor]]) -> Tensor:
    """h + sum of ratio * A(h, context) over (A, context, ratio), written over h where no gradient is recorded.

    h has no other reader; it has fewer images than the contexts where they are to be repeated.
    """
    size = h.shape[2:]
    inner = [(block.inner(h, context), block.proj_out, ratio) for block, context, ratio in parts]
    rows = tokens(repeat(h, len(parts[0][1][0]))).contiguous()  # a repeated h lost its order in memory
    for x, layer, ratio in inner:
        weight = layer.weight.flatten(1)
        if torch.is_grad_enabled() or isinstance(ratio, Tensor):
            factor = ratio[:, None, None].to(x) if isinstance(ratio, Tensor) else ratio
            rows = rows + factor * linear(x, weight, layer.bias)
        elif ONEDNN and rows.device.type == "cpu":
            rows.add_(linear(x, weight, layer.bias), alpha=ratio)
        else:  # a matrix product that adds to what is there
            assert layer.bias is not None
            rows.flatten(0, 1).addmm_(x.flatten(0, 1), weight.T, alpha=ratio).add_(layer.bias, alpha=ratio)
    return rows.unflatten(1, size).permute(0, 3, 1, 2)


class ImageUNet(nn.Module):
    """Layers of the image UNet: lists of layers on the way down, in the middle and on the way up."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()

        def attention(width: int) -> AttentionBlock:
            return AttentionBlock(width, config.vision_width, config)

        channels = config.width
        down: list[list[nn.Module]] = [[nn.Conv2d(config.latent_channels, channels, 3, padding=1)]]
        skips = [channels]
        widths = [config.width * m for m in config.multipliers]
        for level, width in enumerate(widths):
            for _ in range(config.n_blocks):
                layers: list[nn.Module] = [ResidualBlock(channels, width, config)]
                channels = width
                down.append([*layers, attention(width)] if config.attention[level] else layers)
                skips.append(channels)
            if level < len(widths) - 1:
                down.append([Down(channels)])
                skips.append(channels)
        middle = [
            ResidualBlock(channels, channels, config),
            attention(channels),
            ResidualBlock(channels, channels, config),
        ]
        up: list[list[nn.Module]] = []
        for level, width in reversed(list(enumerate(widths))):
            for i in range(config.n_blocks + 1):
                layers = [ResidualBlock(channels + skips.pop(), width, config)]
                channels = width
                if config.attention[level]:
                    layers.append(attention(width))
                if level > 0 and i == config.n_blocks:
                    layers.append(Up(width))
                up.append(layers)
        self.input_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in down)
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList(nn.ModuleList(layers) for layers in up)
        self.out = numbered(
            _0=nn.GroupNorm(config.groups, channels, EPSILON),
            _2=nn.Conv2d(channels, config.latent_channels, 3, padding=1),
        )
        _start_at_zero(self.out["2"])


class TextAttention(nn.Module):
    """Attention blocks of the text UNet, under the numbers of those of the image UNet; the text UNet's other layers
    make text and are not needed."""

    def __init__(self, image: ImageUNet, config: UNetConfig) -> None:
        super().__init__()

        def beside(layers: nn.Module) -> nn.ModuleDict:
            children = layers.named_children()
            return nn.ModuleDict(
                {
                    number: AttentionBlock(len(layer.norm.weight), config.text_width, config)
                    for number, layer in children
                    if isinstance(layer, AttentionBlock)
                }
            )

        def beside_all(blocks: nn.ModuleList) -> nn.ModuleDict:
            found = {number: beside(layers) for number, layers in blocks.named_children()}
            return nn.ModuleDict({number: layers for number, layers in found.items() if len(layers)})

        self.input_blocks = beside_all(image.input_blocks)
        self.middle_block = beside(image.middle_block)
        self.output_blocks = beside_all(image.output_blocks)


def attention_blocks(model: nn.Module) -> list[AttentionBlock]:
    """In the order in which the network runs them."""
    return [module for module in model.modules() if isinstance(module, AttentionBlock)]


def time_features(t: Tensor, width: int) -> Tensor:
    """[cos | sin](t 10000^(-i / half)), i = 0 .. half - 1, half = width / 2; (image,) -> float32 (image, width)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(10000) / half))
    angles = t.float()[:, None] * rates
    return torch.cat([torch.cos(angles), torch.sin(angles)], 1)


class UNet(nn.Module):
    """Noise in latents, from two contexts.

    Parameters
    ----------
    config : UNetConfig
        One of `versatile_diffusion.config.UNETS`, or your own.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = numbered(
            _0=Linear(config.width, 4 * config.width), _2=Linear(4 * config.width, 4 * config.width)
        )
        self.unet_image = ImageUNet(config)
        self.unet_text = TextAttention(self.unet_image, config)

    @property
    def weight(self) -> Tensor:
        """Any weight: its device and dtype are those of the network."""
        return cast(nn.Linear, self.time_embed["0"]).weight

    def contexts(self, vision: Tensor | None, text: Tensor | None) -> Contexts:
        """Keys and values of contexts at every attention place; differentiable.

        Parameters
        ----------
        vision, text : float, (image, token, vision_width) and (image, token, text_width), or None
            Any number of tokens, the same for all images of a call.

        Raises
        ------
        ValueError
            No context at all, a wrong shape, different numbers of images, or values that are not finite.
        """
        if vision is None and text is None:
            raise ValueError("neither a vision nor a text context is given, expected at least one")
        widths = {"vision": self.config.vision_width, "text": self.config.text_width}
        given = {"vision": vision, "text": text}
        for name, context in given.items():
            if context is None:
                continue
            if context.ndim != 3 or context.shape[2] != widths[name] or 0 in context.shape:
                raise ValueError(
                    f"{name} context is {tuple(context.shape)}, expected (image, token, {widths[name]}): "
                    "features of another model, or flattened ones that must be given their tail shape back"
                )
            if not torch.isfinite(context).all():
                raise ValueError(f"{name} context holds NaN or infinity: compute or predict these features again")
        if vision is not None and text is not None and len(vision) != len(text):
            raise ValueError(f"vision context has {len(vision)} images and text context {len(text)}")

        def places(model: nn.Module, context: Tensor | None) -> list[KeyValue] | None:
            if context is None:
                return None
            context = context.to(self.weight)
            return [block.key_value(context) for block in attention_blocks(model)]

        return Contexts(places(self.unet_image, vision), places(self.unet_text, text))

    def forward(self, x: Tensor, t: Tensor, contexts: Contexts, *, mixed_ratio: float | Tensor) -> Tensor:
        """Predict the noise in noised latents.

        Parameters
        ----------
        x : float, (image, latent channel, row, column)
        t : float or int, (image,) or (1,)
            Time in 0..999; one value for all images saves work.
        contexts : Contexts
            Of as many images, or of k times as many: then all latents meet the first contexts, then all the second,
            ..., and there are k times as many results, in this order.
        mixed_ratio : float, or float (images of the contexts,)
            Weight of the vision context, 1 - mixed_ratio that of text. A context whose weight is the float 0 is not
            looked at and may be missing.

        Returns
        -------
        (images of the contexts, latent channel, row, column), in the dtype of the weights

        Raises
        ------
        ValueError
            Wrong shapes, numbers of images that do not fit, a ratio outside [0, 1], a missing context.
        """
        self._check(x, t, contexts, mixed_ratio)
        time = self.time_embed["0"](time_features(t.to(self.weight.device), self.config.width).to(self.weight.dtype))
        time = F.silu(self.time_embed["2"](F.silu(time)))
        places = iter(self._places(contexts, mixed_ratio))

        def run(layers: nn.ModuleList, h: Tensor) -> Tensor:
            for layer in layers:
                if isinstance(layer, ResidualBlock):
                    h = layer(h, time if len(time) in (1, len(h)) else repeat(time, len(h)))
                elif isinstance(layer, AttentionBlock):
                    h = mix(h, next(places))
                else:
                    h = layer(h)
            return h

        h = x.to(self.weight).contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for layers in self.unet_image.input_blocks:
            h = run(cast(nn.ModuleList, layers), h)
            skips.append(h)
        h = run(self.unet_image.middle_block, h)
        for layers in self.unet_image.output_blocks:
            h = run(cast(nn.ModuleList, layers), torch.cat([h, repeat(skips.pop(), len(h))], 1))
        return self.unet_image.out["2"](silu(self.unet_image.out["0"](h)))

    def _places(
        self, contexts: Contexts, mixed_ratio: float | Tensor
    ) -> list[list[tuple[AttentionBlock, KeyValue, float | Tensor]]]:
        """For every attention place its blocks, their contexts and weights; those of weight zero left out."""
        branches = [
            [(block, pair, ratio) for block, pair in zip(attention_blocks(model), pairs, strict=True)]
            for model, pairs, ratio in (
                (self.unet_image, contexts.vision, mixed_ratio),
                (self.unet_text, contexts.text, 1 - mixed_ratio),
            )
            if pairs is not None and (isinstance(ratio, Tensor) or ratio > 0)
        ]
        return [list(place) for place in zip(*branches, strict=True)]

    def _check(self, x: Tensor, t: Tensor, contexts: Contexts, mixed_ratio: float | Tensor) -> None:
        config = self.config
        if x.ndim != 4 or x.shape[1] != config.latent_channels or any(n % config.factor or not n for n in x.shape[2:]):
            raise ValueError(
                f"latents are {tuple(x.shape)}, expected (image, {config.latent_channels}, row, column) with rows and "
                f"columns that are multiples of {config.factor}"
            )
        if len(contexts) % len(x) or t.shape not in ((1,), (len(x),)):
            raise ValueError(
                f"{len(x)} latents with contexts of {len(contexts)} images and times {tuple(t.shape)}: expected as "
                f"many contexts or a multiple, and (1,) or ({len(x)},) times"
            )
        if isinstance(mixed_ratio, Tensor):
            if mixed_ratio.shape != (len(contexts),):
                raise ValueError(f"mixed_ratio is {tuple(mixed_ratio.shape)}, expected ({len(contexts)},)")
            needed = {"vision", "text"}
        else:
            if not 0 <= mixed_ratio <= 1:
                raise ValueError(f"mixed_ratio is {mixed_ratio}, expected 0 (text alone) to 1 (vision alone)")
            needed = {name for name, ratio in (("vision", mixed_ratio), ("text", 1 - mixed_ratio)) if ratio > 0}
        missing = [name for name in sorted(needed) if getattr(contexts, name) is None]
        if missing:
            raise ValueError(f"mixed_ratio is {mixed_ratio}, but the {missing[0]} context is missing")
