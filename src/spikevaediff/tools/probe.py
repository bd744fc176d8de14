"""How fast this machine is at the work of a run, measured in seconds: for `spikevaediff plan`.

On a processor all is the time of one thread, which other programs hardly change; on a GPU that of the clock. Networks
are built with random weights, since time does not depend on them, and nothing is fetched. Small ones are run on a batch
of images. Of the UNet of the second stage, which would take a minute, a residual and an attention block of every level
are timed, and the operations of the whole network, counted on tensors without values, are divided by their rate.
"""

import math
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import spikevaediff.networks.torchvision_ops  # noqa: F401, before open_clip imports torchvision
from vdvae.config import CONFIGS
from vdvae.memory import images_at_once
from vdvae.model import VDVAE
from versatile_diffusion import unet as unets
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.unet import Contexts, UNet, attention_blocks

_LEAST_S, _LONG_S = 0.3, 1.5  # seconds in which short work is repeated, and after which long work is not
_N_WORK = 1000  # rows and columns of the matrices of `matrix_s`


def matrix_s() -> float:
    """Seconds of a fixed piece of other work: a float64 eigendecomposition and products of matrices, by NumPy."""
    a = np.random.default_rng(0).random((_N_WORK, _N_WORK))

    def work() -> None:
        np.linalg.eigh(a @ a.T)

    return _best(work)


def vdvae_s(config: str, n_layers: int, device: str) -> dict[str, float]:
    """Seconds that an image takes to encode, to decode, and in a step of the search for its latents and back."""
    model = _random(lambda: VDVAE(CONFIGS[config])).to(device)
    assert isinstance(model, VDVAE)
    n = images_at_once("auto", model.config, device)
    side, channels = model.config.image_size, model.config.image_channels
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, channels), dtype=np.uint8)
    n_descended = n if device != "cpu" or model.config.width < 512 else 1
    latents = model.encode(images, n_layers)

    def descend() -> None:
        whitened = torch.zeros(n_descended, model.n_numbers(n_layers), device=device, requires_grad=True)
        model.pixels_of_whitened(whitened, n_layers).sum().backward()

    tasks = {
        "encode": lambda: model.encode(images, n_layers),
        "decode": lambda: model.decode(latents),
        "descend": descend,
    }
    images_of = {"encode": n, "decode": n, "descend": n_descended}
    return {name: _best(task, device) / images_of[name] for name, task in tasks.items()}


def unet_s(config: str, n_vision: int, n_text: int, *, guided: bool, device: str) -> float:
    """Seconds of one denoising step of an image, of both predictions where it is guided."""
    chosen, n = UNETS[config], 2 if guided else 1
    with torch.device("meta"), torch.no_grad():
        whole = UNet(chosen)
        vision, text = torch.empty(n, n_vision, chosen.vision_width), torch.empty(n, n_text, chosen.text_width)
        pairs = [(whole.unet_image, vision), (whole.unet_text, text)]
        contexts = Contexts(*([block.key_value(x) for block in attention_blocks(part)] for part, x in pairs))
        latents = torch.empty(1, chosen.latent_channels, chosen.latent_size, chosen.latent_size)
        with FlopCounterMode(display=False) as counted:
            whole(latents, torch.empty(1), contexts, mixed_ratio=0.5)
    seconds = work = 0.0
    for level, (multiplier, looks) in enumerate(zip(chosen.multipliers, chosen.attention, strict=True)):
        width, side = chosen.width * multiplier, max(1, chosen.latent_size >> level)
        x = torch.randn(n, width, side, side, device=device)
        time_features = torch.randn(1, 4 * chosen.width, device=device)
        residual = _random(lambda: unets.ResidualBlock(width, width, chosen)).to(device)  # noqa: B023
        blocks: list[Callable[[], Tensor]] = [lambda: residual(x.clone(), time_features)]  # noqa: B023
        if looks:
            attention: Any = _random(lambda: unets.AttentionBlock(width, chosen.vision_width, chosen))  # noqa: B023
            attention.to(device)
            with torch.no_grad():
                seen = attention.key_value(torch.randn(n, n_vision, chosen.vision_width, device=device))
            blocks.append(lambda: unets.mix(x.clone(), [(attention, seen, 1.0)]))  # noqa: B023
        for block in blocks:
            # Without gradients, products go to oneDNN by a way that the counter does not know.
            with torch.enable_grad(), FlopCounterMode(display=False) as of_block:
                block()
            with torch.no_grad():
                seconds += _best(block, device)
            work += of_block.get_total_flops()
    return seconds * counted.get_total_flops() / work


def autoencoder_s(config: str, device: str) -> float:
    """Seconds to encode and to decode an image."""
    chosen = AUTOENCODERS[config]
    side, least = chosen.image_size, 16 * chosen.factor
    model = _random(lambda: Autoencoder(chosen)).to(device)
    assert isinstance(model, Autoencoder)
    small = np.zeros((1, min(side, least), min(side, least), chosen.image_channels), np.uint8)
    seconds = _best(lambda: model.decode(model.encode(small)), device)
    return seconds * (side / small.shape[1]) ** 2  # but for its one attention, work is that of pixels


def clip_s(config: str, device: str) -> dict[str, float]:
    """Seconds that an image takes in the vision tower of CLIP, and a sentence in its text tower."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    from spikevaediff.networks import clip

    sizes = clip.CONFIGS[config]
    towers = {"vision_cfg": CLIPVisionCfg(**sizes["vision_cfg"]), "text_cfg": CLIPTextCfg(**sizes["text_cfg"])}
    with torch.device("meta"):
        network = CLIP(sizes["embed_dim"], **towers, quick_gelu=True)
    filled: Any = _filled(network).to(device)
    length = filled.context_length
    filled.register_buffer(
        "attn_mask", torch.full((length, length), -math.inf, device=device).triu(1), persistent=False
    )
    image = torch.zeros(1, 3, *filled.visual.image_size, device=device)
    words = torch.zeros(1, length, dtype=torch.int64, device=device)
    with torch.no_grad():
        tasks = {"vision": lambda: filled.visual(image), "text": lambda: filled.encode_text(words)}
        return {name: _best(task, device) for name, task in tasks.items()}


@cache
def shapes(config: str) -> dict[str, torch.Size]:
    """Weights of a VDVAE by name, without values."""
    with torch.device("meta"):
        return {name: value.shape for name, value in VDVAE(CONFIGS[config]).state_dict().items()}


def _random(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        model = build()
    return _filled(model)


def _filled(model: nn.Module) -> nn.Module:
    """Random weights that keep activations near 1: with ones near 0, arithmetic of subnormal numbers would be timed."""
    model = model.to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, value in model.named_parameters():
        if value.ndim > 1:
            bound = math.sqrt(3 / math.prod(value.shape[1:]))
            value.uniform_(-bound, bound, generator=generator)
            if value.ndim == 4:
                value.data = value.data.contiguous(memory_format=torch.channels_last)
        else:
            value.fill_(0.01 if name.endswith("bias") else 1.0)
    return model


def _best(task: Callable[[], object], device: str = "cpu") -> float:
    """The shortest of some runs."""

    def timed() -> float:
        clock = time.process_time if device == "cpu" else time.perf_counter
        started = clock()
        task()
        if device != "cpu":
            torch.cuda.synchronize()
        return clock() - started

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            seconds = [timed()]
            # The first run also plans; where it is long, that is a small part of it.
            while sum(seconds) < _LEAST_S or (len(seconds) < 3 and sum(seconds) < _LONG_S):
                seconds.append(timed())
    finally:
        torch.set_num_threads(threads)
    return min(seconds)
