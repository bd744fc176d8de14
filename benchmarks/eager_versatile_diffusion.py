"""The UNet of Versatile Diffusion once more, in the most direct way, as the yardstick of speed and memory.

Module for module what the paper describes: the whole matrix of every attention, keys and values of the contexts in
every step, (image, channel, row, column) tensors, no tensor reused. Parameter names are those of
`versatile_diffusion.unet`, so that one state dict serves both.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from versatile_diffusion.config import UNetConfig
from versatile_diffusion.unet import UNet


def group_norm(x: Tensor, w: dict[str, Tensor], name: str, groups: int, epsilon: float) -> Tensor:
    return F.group_norm(x, groups, w[f"{name}.weight"], w[f"{name}.bias"], epsilon)


def layer_norm(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)


def linear(x: Tensor, w: dict[str, Tensor], name: str) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def convolution(x: Tensor, w: dict[str, Tensor], name: str, stride: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w[f"{name}.bias"], stride=stride, padding=weight.shape[-1] // 2)


class EagerUNet(nn.Module):
    """The same function as `versatile_diffusion.unet.UNet` and `Contexts`, from the same state dict."""

    def __init__(self, config: UNetConfig, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.config, self.w = config, weights

    def attention(self, x: Tensor, context: Tensor, name: str) -> Tensor:
        n_images, n_tokens, width = x.shape
        heads = self.config.n_heads

        def split(y: Tensor) -> Tensor:
            return y.view(n_images, y.shape[1], heads, width // heads).transpose(1, 2)

        q, k, v = (
            split(linear(y, self.w, f"{name}.{part}"))
            for y, part in ((x, "to_q"), (context, "to_k"), (context, "to_v"))
        )
        scores = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(width // heads), -1)
        h = (scores @ v).transpose(1, 2).reshape(n_images, n_tokens, width)
        return linear(h, self.w, f"{name}.to_out.0")

    def attention_block(self, h: Tensor, context: Tensor, name: str) -> Tensor:
        size = h.shape[2:]
        h = convolution(group_norm(h, self.w, f"{name}.norm", self.config.groups, 1e-6), self.w, f"{name}.proj_in")
        x = h.flatten(2).transpose(1, 2)
        inner = f"{name}.transformer_blocks.0"
        y = layer_norm(x, self.w, f"{inner}.norm1")
        x = x + self.attention(y, y, f"{inner}.attn1")
        x = x + self.attention(layer_norm(x, self.w, f"{inner}.norm2"), context, f"{inner}.attn2")
        value, gate = linear(layer_norm(x, self.w, f"{inner}.norm3"), self.w, f"{inner}.ff.net.0.proj").chunk(2, -1)
        x = x + linear(value * F.gelu(gate), self.w, f"{inner}.ff.net.2")
        return convolution(x.transpose(1, 2).unflatten(2, size), self.w, f"{name}.proj_out")

    def residual_block(self, x: Tensor, time: Tensor, name: str) -> Tensor:
        groups, w = self.config.groups, self.w
        h = convolution(F.silu(group_norm(x, w, f"{name}.in_layers.0", groups, 1e-5)), w, f"{name}.in_layers.2")
        h = h + linear(F.silu(time), w, f"{name}.emb_layers.1")[:, :, None, None]
        h = convolution(F.silu(group_norm(h, w, f"{name}.out_layers.0", groups, 1e-5)), w, f"{name}.out_layers.3")
        return h + (convolution(x, w, f"{name}.skip_connection") if f"{name}.skip_connection.weight" in w else x)

    def forward(self, x: Tensor, t: Tensor, vision: Tensor, text: Tensor, mixed_ratio: float) -> Tensor:
        half = self.config.width // 2
        angles = t[:, None] * torch.exp(torch.arange(half, device=t.device) * (-math.log(10000) / half))
        features = torch.cat([angles.cos(), angles.sin()], 1).to(self.w["time_embed.0.weight"])
        time = linear(features, self.w, "time_embed.0")
        time = linear(F.silu(time), self.w, "time_embed.2")

        def run(h: Tensor, block: str) -> Tensor:
            for number in range(3):
                name = f"{block}.{number}"
                if f"unet_image.{name}.in_layers.0.weight" in self.w:
                    h = self.residual_block(h, time, f"unet_image.{name}")
                elif f"unet_image.{name}.proj_in.weight" in self.w:
                    a = self.attention_block(h, vision, f"unet_image.{name}")
                    b = self.attention_block(h, text, f"unet_text.{name}")
                    h = h + mixed_ratio * a + (1 - mixed_ratio) * b
                elif f"unet_image.{name}.op.weight" in self.w:
                    h = convolution(h, self.w, f"unet_image.{name}.op", stride=2)
                elif f"unet_image.{name}.conv.weight" in self.w:
                    h = convolution(F.interpolate(h, scale_factor=2.0), self.w, f"unet_image.{name}.conv")
                elif f"unet_image.{name}.weight" in self.w:
                    h = convolution(h, self.w, f"unet_image.{name}")
            return h

        with torch.device("meta"):
            shape = UNet(self.config).unet_image
        h, skips = x, []
        for i in range(len(shape.input_blocks)):
            h = run(h, f"input_blocks.{i}")
            skips.append(h)
        h = run(h, "middle_block")
        for i in range(len(shape.output_blocks)):
            h = run(torch.cat([h, skips.pop()], 1), f"output_blocks.{i}")
        h = F.silu(group_norm(h, self.w, "unet_image.out.0", self.config.groups, 1e-5))
        return convolution(h, self.w, "unet_image.out.2")
