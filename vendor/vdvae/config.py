"""Configurations of the VDVAE family, in the strings of the paper's release.

A string lists blocks from first to last, separated by commas: `RxN` is N blocks at resolution R, `RdK` one block at R
followed by average pooling by K (encoder), `RmS` one block at R that first takes in the state of resolution S
(decoder).
"""

import re
from dataclasses import dataclass
from typing import NamedTuple


class BlockSpec(NamedTuple):
    """One block: its resolution, the pooling after it (1: none) and the resolution it takes in first (0: none)."""

    resolution: int
    pool: int = 1
    mix_in: int = 0


def parse_blocks(text: str) -> list[BlockSpec]:
    """Blocks of a configuration string.

    Raises
    ------
    ValueError
        A part is not of the form RxN, RdK or RmS.
    """
    blocks: list[BlockSpec] = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:([xdm])(\d+))?", part.strip())
        if match is None:
            raise ValueError(f"block {part!r} in {text!r} is not RxN, RdK or RmS, as in 64x11,64d2,32x20")
        resolution, kind, number = int(match[1]), match[2], int(match[3] or 1)
        if kind == "d":
            blocks.append(BlockSpec(resolution, pool=number))
        elif kind == "m":
            blocks.append(BlockSpec(resolution, mix_in=number))
        else:
            blocks += [BlockSpec(resolution)] * number
    return blocks


@dataclass(frozen=True)
class Config:
    """Everything that decides the names and shapes of the weights and the meaning of the pixels.

    enc_blocks, dec_blocks : str; see the module's docstring.
    image_size, image_channels : int; pixels of a side, and colours (1 is grey).
    width : int; channels of the residual stream; `custom_width` gives others for single resolutions.
    zdim : int; channels of a latent.
    bottleneck : float; inner channels of a block as a fraction of its width.
    no_bias_above : int; the top-down state starts from learned values up to this resolution, from zeros above.
    num_mixtures : int; logistic distributions per pixel.
    shift, scale : float; network input is (pixel + shift) * scale, pixels in 0..255.
    low_bit : bool; the likelihood is that of pixels floored to multiples of 8 (32 levels).
    """

    enc_blocks: str
    dec_blocks: str
    image_size: int
    width: int
    shift: float
    scale: float
    image_channels: int = 3
    zdim: int = 16
    bottleneck: float = 0.25
    no_bias_above: int = 64
    num_mixtures: int = 10
    custom_width: tuple[tuple[int, int], ...] = ()
    low_bit: bool = False

    def width_at(self, resolution: int) -> int:
        """Channels of the residual stream at a resolution."""
        return dict(self.custom_width).get(resolution, self.width)

    def latent_shapes(self) -> list[tuple[int, int, int]]:
        """(channels, rows, columns) of the latent of every decoder block, first to last."""
        return [(self.zdim, block.resolution, block.resolution) for block in parse_blocks(self.dec_blocks)]


CONFIGS = {
    "cifar10": Config(
        enc_blocks="32x11,32d2,16x6,16d2,8x6,8d2,4x3,4d4,1x3",
        dec_blocks="1x1,4m1,4x2,8m4,8x5,16m8,16x10,32m16,32x21",
        image_size=32,
        width=384,
        shift=-120.63838,
        scale=1 / 64.16736,
    ),
    "imagenet32": Config(
        enc_blocks="32x15,32d2,16x9,16d2,8x8,8d2,4x6,4d4,1x6",
        dec_blocks="1x2,4m1,4x4,8m4,8x9,16m8,16x19,32m16,32x40",
        image_size=32,
        width=512,
        shift=-116.2373,
        scale=1 / 69.37404,
    ),
    "imagenet64": Config(
        enc_blocks="64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5",
        dec_blocks="1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12",
        image_size=64,
        width=512,
        shift=-115.92961967,
        scale=1 / 69.37404,
    ),
    "ffhq256": Config(
        enc_blocks="256x3,256d2,128x8,128d2,64x12,64d2,32x17,32d2,16x7,16d2,8x5,8d2,4x5,4d4,1x4",
        dec_blocks="1x2,4m1,4x3,8m4,8x4,16m8,16x9,32m16,32x21,64m32,64x13,128m64,128x7,256m128",
        image_size=256,
        width=512,
        shift=-112.8666757481,
        scale=1 / 69.84780273,
        low_bit=True,
    ),
    # Trained by this project on grey photographs (stages/pretrain). Few channels where there are many pixels:
    # every resolution from 16 to 64 then costs about the same.
    "mini64": Config(
        enc_blocks="64d2,32x2,32d2,16x3,16d2,8x2,8d2,4x1,4d4,1x1",
        dec_blocks="1x1,4m1,4x1,8m4,8x2,16m8,16x3,32m16,32x1,64m32",
        image_size=64,
        image_channels=1,
        width=128,
        custom_width=((64, 32), (32, 64)),
        bottleneck=0.5,
        zdim=8,
        num_mixtures=3,
        no_bias_above=16,
        shift=-115.0,
        scale=1 / 65.0,
    ),
}
