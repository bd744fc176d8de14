"""Configurations of the two networks: everything that decides the names and shapes of the weights.

`AUTOENCODERS["kl_f8"]` is the published one; `"mini"` is trained by this project on grey photographs (stages/pretrain)
and differs in numbers only.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class AutoencoderConfig:
    """Autoencoder with a diagonal normal posterior (Rombach et al. 2022, the kl-f* family).

    width : int; channels of the finest level; `multipliers` gives those of every level, from fine to coarse, in these
        units. Every level but the last halves rows and columns, so the side of a latent is that of the image divided
        by 2^(levels - 1).
    n_blocks : int; residual blocks per level in the encoder, one more in the decoder.
    latent_channels, image_channels : int; an image has 3 colours, or 1 that is grey.
    groups : int; groups of the normalisations, a divisor of every number of channels.
    scale : float; latent = scale * posterior sample, chosen so that latents have a variance near one.
    image_size : int; side in pixels of the images it was trained on.
    """

    width: int
    multipliers: tuple[int, ...]
    n_blocks: int
    image_size: int
    scale: float
    latent_channels: int = 4
    image_channels: int = 3
    groups: int = 32

    @property
    def factor(self) -> int:
        """Side of an image in sides of its latent."""
        return 2 ** (len(self.multipliers) - 1)


AUTOENCODERS = {
    "kl_f8": AutoencoderConfig(width=128, multipliers=(1, 2, 4, 4), n_blocks=2, image_size=512, scale=0.18215),
    # Few channels where there are many pixels, so that every level costs about the same. Fewer groups, because a group
    # of one channel would take its mean, which holds brightness, out of it.
    "mini": AutoencoderConfig(
        width=16, multipliers=(1, 2, 4, 8), n_blocks=2, image_size=128, scale=1.0, image_channels=1, groups=8
    ),
}


@dataclass(frozen=True)
class UNetConfig:
    """Network that predicts the noise in a latent from two contexts.

    width : int; channels of the finest level; `multipliers` gives those of every level, from fine to coarse, in these
        units.
    attention : tuple of bool; whether a level looks at the contexts. The middle always does.
    n_blocks : int; residual blocks per level on the way down, one more on the way up.
    n_heads : int; heads of every attention.
    vision_width, text_width : int; numbers per token of the two contexts; how many tokens there are is free.
    latent_channels : int
    latent_size : int; rows and columns of the latents it was trained on; others that halve evenly are possible.
    groups : int; groups of the normalisations, a divisor of every number of channels.
    """

    width: int
    multipliers: tuple[int, ...]
    attention: tuple[bool, ...]
    n_blocks: int
    n_heads: int
    vision_width: int
    text_width: int
    latent_size: int
    latent_channels: int = 4
    groups: int = 32

    @property
    def factor(self) -> int:
        """Rows and columns of a latent must be multiples of this."""
        return 2 ** (len(self.multipliers) - 1)


UNETS = {
    "four_flow": UNetConfig(
        width=320,
        multipliers=(1, 2, 4, 4),
        attention=(True, True, True, False),
        n_blocks=2,
        n_heads=8,
        vision_width=768,
        text_width=768,
        latent_size=64,
    ),
    # Contexts of EfficientNet-lite0 (49 tokens) and MiniLM. With the mini autoencoder below 40 MB in float16.
    "mini": UNetConfig(
        width=64,
        multipliers=(1, 2, 2),
        attention=(True, True, False),
        n_blocks=1,
        n_heads=4,
        vision_width=1280,
        text_width=384,
        latent_size=16,
        groups=16,
    ),
}
