"""A VDVAE of a few thousand random weights, known as `tiny` while a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

from vdvae.config import CONFIGS, Config
from vdvae.model import VDVAE


def config(channels: int) -> Config:
    """Five layers at 16 px, of grey (1) or coloured (3) images."""
    return Config(
        enc_blocks="16x1,16d2,8x1,8d2,4d4,1x1",
        dec_blocks="1x1,4m1,8m4,16m8,16x1",
        image_size=16,
        image_channels=channels,
        width=16,
        zdim=3,
        no_bias_above=8,
        num_mixtures=2,
        shift=-120.0,
        scale=1 / 64,
    )


@contextmanager
def checkpoint(folder: Path, channels: int) -> Iterator[Path]:
    """Its weights, all of which matter, as a file."""
    torch.manual_seed(0)
    model = VDVAE(config(channels))
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    path = folder / f"tiny_{channels}.safetensors"
    save_file(dict(model.state_dict()), path)
    CONFIGS["tiny"] = model.config
    try:
        yield path
    finally:
        del CONFIGS["tiny"]
