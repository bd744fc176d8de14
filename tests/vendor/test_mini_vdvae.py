"""The weights in vendor/data/weights: what the mini VDVAE makes of photographs that it has never seen."""

import numpy as np
import pytest
from conftest import ROOT

from loading.noise import image_noise
from spikevaediff.datasets import simulated
from spikevaediff.images import resize
from vdvae import weights
from vdvae.config import CONFIGS
from vdvae.model import VDVAE

WEIGHTS = ROOT / "vendor" / "data" / "weights" / "vdvae_mini.safetensors"


@pytest.fixture(scope="module")
def model() -> VDVAE:
    return weights.load(WEIGHTS, CONFIGS["mini64"])


@pytest.fixture(scope="module")
def scenes() -> np.ndarray:
    _, crops = simulated.crops(ROOT / "vendor" / "data" / "simulated", role="scene")
    return np.concatenate([resize(crop[None], 64) for crop in crops])[..., None]


def decoded(model: VDVAE, scenes: np.ndarray, to_resolution: int) -> np.ndarray:
    shapes = model.config.latent_shapes()
    n_layers = sum(shape[1] <= to_resolution for shape in shapes)
    return np.concatenate([model.decode(model.encode(scenes[i : i + 30], n_layers)) for i in range(0, len(scenes), 30)])


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([np.corrcoef(x.ravel(), y.ravel())[0, 1] for x, y in zip(a, b, strict=True)])


def test_the_file_is_small_enough_for_git() -> None:
    assert WEIGHTS.stat().st_size < 20e6


def test_unseen_scenes_come_back_at_30_db(model: VDVAE, scenes: np.ndarray) -> None:
    error = ((decoded(model, scenes, 64).astype(float) - scenes) ** 2).mean((1, 2, 3))
    psnr = 10 * np.log10(255**2 / error)
    assert psnr.mean() >= 30, f"PSNR {psnr.mean():.2f} dB on average, {psnr.min():.1f} to {psnr.max():.1f}"


def test_the_coarse_latents_alone_show_the_layout(model: VDVAE, scenes: np.ndarray) -> None:
    """Latents up to 8 x 8 and 16 x 16 against the scene itself, and against pictures of as many pixels."""
    for resolution, least in ((8, 0.65), (16, 0.75)):
        images = decoded(model, scenes, resolution)
        r = correlations(images, scenes)
        assert np.median(r) >= least, f"up to {resolution} px: median correlation {np.median(r):.3f}"
        wrong = correlations(images, np.roll(scenes, 1, 0))
        assert (r > wrong).mean() >= 0.97


def test_the_bound_is_far_below_eight_bits(model: VDVAE, scenes: np.ndarray) -> None:
    assert model.elbo(scenes[::4], noise=image_noise(range(30))).mean() < 5.4  # 5.19 over all 118
