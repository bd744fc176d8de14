"""Files of `model: published` as their publishers lay them out, with random weights: names, shapes, types, archives.

With fewer layers than the published networks (`SHALLOW`) they are small enough for a test; their width is the published
one.
"""

import hashlib
import json
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.bench_vdvae import random_weights
from benchmarks.bench_versatile_diffusion import fill
from spikevaediff.files import assets
from spikevaediff.networks import clip
from vdvae.config import CONFIGS
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.sampler import Schedule
from versatile_diffusion.unet import UNet
from versatile_diffusion.weights import BUFFERS, CLIP, OPTIMUS, autoencoder_names, unet_names

NAMES = ("vdvae_imagenet64_ema", "clip_vit_l14", "versatile_diffusion_fp16", "kl_f8")


def make_shallow(patch: pytest.MonkeyPatch) -> None:
    """Fewer layers in every network of the published model."""
    blocks = {
        "enc_blocks": "64x1,64d2,32x1,32d2,16x1,16d2,8x1,8d2,4x1,4d4,1x1",
        "dec_blocks": "1x1,4m1,4x1,8m4,8x1,16m8,16x1,32m16,32x1,64m32,64x1",
    }
    patch.setitem(CONFIGS, "imagenet64", replace(CONFIGS["imagenet64"], **blocks))
    patch.setitem(UNETS, "four_flow", replace(UNETS["four_flow"], n_blocks=1))
    patch.setitem(AUTOENCODERS, "kl_f8", replace(AUTOENCODERS["kl_f8"], n_blocks=1))
    deep = clip.CONFIGS["vit_l14"]
    towers = {name: deep[name] | {"layers": 2} for name in ("vision_cfg", "text_cfg")}
    patch.setitem(clip.CONFIGS, "vit_l14", deep | towers)


def write(folder: Path, manifest: Path | None = None) -> dict[str, Path]:
    """The four files. manifest: lists all that the file of Versatile Diffusion holds, unused parts included."""
    paths = {name: folder / assets.ASSETS[name].file for name in NAMES}
    torch.save(random_weights(CONFIGS["imagenet64"], 0), paths["vdvae_imagenet64_ema"])
    with torch.device("meta"):
        unet, autoencoder = UNet(UNETS["four_flow"]), Autoencoder(AUTOENCODERS["kl_f8"])
    coder = fill(autoencoder, 1)
    torch.save(coder, paths["kl_f8"])
    half = {unet_names(unet, "deprecated")[name]: value for name, value in fill(unet, 2, torch.float16).items()}
    half |= {autoencoder_names(autoencoder, "deprecated")[name]: value.half() for name, value in coder.items()}
    half |= dict.fromkeys(BUFFERS, torch.zeros(1000, dtype=torch.float16))
    half["alphas_cumprod"] = torch.from_numpy(Schedule.published().alphas_cumprod).half()
    listed = json.loads(manifest.read_text()) if manifest else {f"{OPTIMUS}x": [[3], "float32"]}
    for name, (shape, dtype) in listed.items():
        if name not in half:
            kind = torch.int64 if dtype == "int64" else torch.float16
            half[name] = (
                torch.arange(shape[-1]).expand(shape) if kind == torch.int64 else torch.zeros(shape, dtype=kind)
            )
    torch.save(half, paths["versatile_diffusion_fp16"])
    assert manifest is None or any(name.startswith(CLIP) for name in half)
    _write_clip(paths["clip_vit_l14"])
    return paths


class OpenAi(nn.Module):
    """What OpenAI's archive holds beside the network: its sizes, as buffers."""

    def __init__(self, network: nn.Module, side_px: int) -> None:
        super().__init__()
        for name, child in network.named_children():
            self.add_module(name, child)
        for name in ("positional_embedding", "text_projection", "logit_scale"):
            self.register_parameter(name, getattr(network, name))
        for name, size in (("input_resolution", side_px), ("context_length", 77), ("vocab_size", 49408)):
            self.register_buffer(name, torch.tensor(size))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.visual(image) * self.logit_scale


def _write_clip(path: Path) -> None:
    """An archive of TorchScript in half precision, under open_clip's names."""
    from open_clip.model import CLIP as Network
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg

    sizes = clip.CONFIGS["vit_l14"]
    torch.manual_seed(3)
    parts: dict[str, Any] = {"vision_cfg": CLIPVisionCfg(**sizes["vision_cfg"])}
    parts["text_cfg"] = CLIPTextCfg(**sizes["text_cfg"])
    network = Network(sizes["embed_dim"], **parts, quick_gelu=True).eval().requires_grad_(False)
    side = sizes["vision_cfg"]["image_size"]
    archive = torch.jit.trace(OpenAi(network, side), torch.zeros(1, 3, side, side), check_trace=False).half()
    archive.save(path)


class Served:
    """The files on a server of this machine, and the table of assets as if they had been published there."""

    def __init__(self, paths: dict[str, Path], patch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                asked.append(self.path.strip("/"))

        folder = next(iter(paths.values())).parent
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.thread = Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        for name, path in paths.items():
            asset = assets.ASSETS[name]
            known: dict[str, Any] = {"bytes": path.stat().st_size, "mirrors": ()}
            if asset.is_pinned:
                with path.open("rb") as file:
                    known["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
            known["source"] = f"http://127.0.0.1:{self.server.server_address[1]}/{path.name}"
            patch.setitem(assets.ASSETS, name, replace(asset, **known))

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join(timeout=10)
        self.server.server_close()
