"""The weights in vendor/data/weights: what the mini Versatile Diffusion makes of photographs that it has never seen."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors import safe_open

from spikevaediff.datasets import simulated
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.features import efficientnet, minilm
from spikevaediff.files import assets
from spikevaediff.files.checksums import sha256_of
from spikevaediff.images import resize, rgb
from spikevaediff.records import Captions
from versatile_diffusion import weights
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.sampler import Schedule

FOLDER = ROOT / "vendor" / "data" / "weights"
AUTOENCODER, UNET = FOLDER / "autoencoder_mini.safetensors", FOLDER / "unet_mini.safetensors"
SCENES = np.arange(0, 118, 4)
FLOOR_DB = 22.0  # measured: 22.7


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    _, crops = simulated.crops(ROOT / "vendor" / "data" / "simulated", role="scene")
    return np.concatenate([resize(crops[i][None], simulated.SIZE_PX) for i in SCENES])


@pytest.fixture(scope="module")
def autoencoder() -> Autoencoder:
    return weights.load_autoencoder(AUTOENCODER, AUTOENCODERS["mini"])[0]


@pytest.fixture(scope="module")
def guides(scenes: np.ndarray) -> tuple[Guides, Guides]:
    """The contexts of the scenes and of their captions, and those of nothing."""
    captions = Captions.load(ROOT / "vendor" / "data" / "simulated" / "captions.csv").of(SCENES)
    lite0, words = assets.fetch("efficientnet_lite0"), assets.fetch("all_minilm_l6_v2")
    vision = efficientnet.contexts(rgb(scenes), weights=lite0, batch_size="auto", device="cpu")
    text = minilm.extract(captions, weights=words, n_tokens=24, batch_size="auto", device="cpu")
    nothing = Guides(
        np.array([0]),
        None,
        efficientnet.unconditional(weights=lite0, device="cpu")[None],
        minilm.unconditional(weights=words, n_tokens=24, device="cpu")[None],
    )
    return Guides(SCENES, None, vision, text.tokens(SCENES)), nothing


def test_the_files_are_small_enough_for_git_and_belong_together() -> None:
    assert AUTOENCODER.stat().st_size + UNET.stat().st_size < 40e6
    with safe_open(UNET, "pt") as file:
        made_for = file.metadata()["autoencoder_sha256"]
    assert made_for == sha256_of(AUTOENCODER)


def test_unseen_scenes_come_back_from_latents_of_unit_variance(autoencoder: Autoencoder, scenes: np.ndarray) -> None:
    small = resize(scenes, 128)[..., None]
    latents = autoencoder.encode(small)
    assert latents.shape == (len(SCENES), 4, 16, 16)
    assert 0.8 < float(latents.std()) < 1.2
    back = autoencoder.decode(latents)
    error = ((back.astype(float) - small) ** 2).mean((1, 2, 3))
    psnr = 10 * np.log10(255**2 / error)
    assert psnr.mean() >= FLOOR_DB, f"PSNR {psnr.mean():.2f} dB on average, {psnr.min():.1f} to {psnr.max():.1f}"


@pytest.mark.slow
def test_the_right_contexts_predict_the_noise_better_than_wrong_ones_and_none(
    autoencoder: Autoencoder, scenes: np.ndarray, guides: tuple[Guides, Guides]
) -> None:
    some, nothing = guides
    unet, _ = weights.load_unet(UNET, UNETS["mini"])
    latents = autoencoder.encode(resize(scenes, 128)[..., None])
    n = len(latents)
    vision, text = (torch.from_numpy(c) for c in (some.vision, some.text))  # type: ignore[arg-type]
    empty = [torch.from_numpy(np.repeat(c, n, 0)) for c in (nothing.vision, nothing.text)]  # type: ignore[arg-type]
    contexts = {
        "own": unet.contexts(vision, text),
        "others'": unet.contexts(vision.roll(7, 0), text.roll(7, 0)),
        "none": unet.contexts(*empty),
    }
    error = dict.fromkeys(contexts, 0.0)
    with torch.no_grad():
        for time in (300, 500, 700):
            noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(time))
            t = torch.full((n,), time)
            alpha = float(Schedule.published().alphas_cumprod[time])
            x = alpha**0.5 * latents + (1 - alpha) ** 0.5 * noise
            for name, c in contexts.items():
                error[name] += float((unet(x, t, c, mixed_ratio=0.6) - noise).square().mean()) / 3
    assert error["own"] < 0.99 * error["none"], error  # measured: 0.984
    assert error["own"] < 0.97 * error["others'"], error  # measured: 0.955
