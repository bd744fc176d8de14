"""The CLIP family of encoding models: its maps against open_clip's own blocks, and their gradient."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import close
from safetensors.torch import save_file

import spikevaediff.networks.torchvision_ops  # noqa: F401, before open_clip imports torchvision
from spikevaediff.encoding import encoder
from spikevaediff.encoding.families import IMAGE_PX
from spikevaediff.encoding.families import clip as family
from spikevaediff.networks import clip
from spikevaediff.networks.small import CLIP_MEAN, CLIP_STD

TINY = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 56, "layers": 8, "width": 32, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A small CLIP with random weights, under the name of the published one."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    monkeypatch.setitem(clip.CONFIGS, family.CONFIG, TINY)
    torch.manual_seed(0)
    sizes = (CLIPVisionCfg(**TINY["vision_cfg"]), CLIPTextCfg(**TINY["text_cfg"]))
    return CLIP(TINY["embed_dim"], *sizes, quick_gelu=True).eval()


@pytest.fixture
def weights(network: torch.nn.Module, tmp_path: Path) -> Path:
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, tmp_path / "clip.safetensors"
    )
    return tmp_path / "clip.safetensors"


def test_maps_are_patch_tokens_of_four_depths_in_their_places(network: torch.nn.Module, weights: Path) -> None:
    images = torch.rand((2, IMAGE_PX, IMAGE_PX), generator=torch.Generator().manual_seed(1))
    found = family.build(weights)(images)
    large = torch.nn.functional.interpolate(images[:, None], size=(56, 56), mode="bilinear", align_corners=False)
    shift, scale = (torch.tensor(c)[:, None, None] for c in (CLIP_MEAN, CLIP_STD))
    tower = network.visual
    with torch.no_grad():
        x = tower._embeds((large.expand(-1, 3, -1, -1) - shift) / scale)
        depths = []
        for number, block in enumerate(tower.transformer.resblocks):
            x = block(x)
            if number in (1, 3, 5, 7):
                depths.append(x)
    assert len(found) == family.N_LAYERS == len(family.WINDOWS)
    for layer, tokens in zip(found, depths, strict=True):
        grid = tokens[:, 1:].reshape(2, 4, 4, 32)  # without the class token, row after row
        expected = grid.reshape(2, 2, 2, 2, 2, 32).mean((2, 4)).permute(0, 3, 1, 2)
        close(layer.numpy(), expected.numpy(), 1e-5)


def test_images_can_be_moved_towards_responses(weights: Path) -> None:
    maps = family.build(weights)
    images = torch.full((1, IMAGE_PX, IMAGE_PX), 0.5)
    images[0, :32] = 0.8
    images.requires_grad_(True)
    sum((layer**2).sum() for layer in maps(images)).backward()
    assert images.grad is not None
    assert torch.isfinite(images.grad).all()
    assert images.grad.abs().max() > 0


def test_a_unit_that_reads_clip_is_given_to_clip(weights: Path) -> None:
    """A unit that is a channel of one place of a map, among luminance and CLIP."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (60, IMAGE_PX, IMAGE_PX), dtype=np.uint8)
    names = ["luminance", "clip"]
    maps = encoder.maps_of(pixels, names, lambda _: weights)
    layer = maps[1][2].numpy().astype(np.float64)
    x = (10 + 5 * layer[:, 3].mean((1, 2)) / layer[:, 3].mean((1, 2)).std())[:, None]
    units = {"unit_id": np.array([7]), "session_id": np.array([1]), "area": np.array(["V4"])}
    model = encoder.fit(maps, x, families=names, image_id=np.arange(60), units=units)
    assert model.family_name[model.family[0]] == "clip"
    assert model.r2[0] > 0.5
    predicted = encoder.predict(model, pixels[:5], lambda _: weights)
    assert np.corrcoef(predicted[:, 0], x[:5, 0])[0, 1] > 0.9
