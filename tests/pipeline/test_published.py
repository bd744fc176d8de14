"""All that a run with `model: published` does, for one image: files over HTTP, features, regressions, both stages.

Weights are random, in files of the published layouts; networks have the published width. By default they have few
layers, and few steps are taken. SPIKEVAEDIFF_PUBLISHED=full takes the published depth and steps (16 GB of disk, 10 GB
of memory and 50 minutes of two busy cores) and prints what each stage took:

    SPIKEVAEDIFF_PUBLISHED=full python -m pytest -m slow -s tests/pipeline/test_published.py
"""

import csv
import ctypes
import gc
import importlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import published_files
import pytest
from conftest import ROOT
from PIL import Image
from small_profile import checkout, edit

from spikevaediff.files import assets
from spikevaediff.records import Features, Reconstructions
from spikevaediff.regression import jax_cache

FULL = os.environ.get("SPIKEVAEDIFF_PUBLISHED") == "full"
N_IMAGES, N_UNITS = 8, 12
PARAMS = {
    "dataset": "mine",
    "model": "published",
    "datasets.mine": {
        "module": "plain", "source": "random pictures", "size_px": 64, "window_s": [0.0, 0.25], "margin_s": 1.0
    },
    "areas.visual": ["V1"],
    "areas.control": "shuffled",
    "responses.start_s": 0.0,
    "split.method": "hold_out",
    "split.n_test": 1,
    "library.folder": "vendor/data/pictures",
    "library.n_images": 4,
    "regress.vdvae.library": 4,
    "regress.vision.library": 2,
    "regress.text.library": 0,
    "layers.n_images": 1,
}  # fmt: skip
SHALLOW = {
    "models.published.vdvae.n_layers": 8,
    "models.published.diffusion.steps": 2,
    "models.published.diffusion.strength": 0.5,
    "decode.posterior.n_samples": 2,
    "decode.posterior.steps": 2,
    "decode.posterior.shared_steps": 1,
}
CONTEXTS = "artifacts/predicted/vision.npz artifacts/predicted/text.npz"
STAGES = [
    "start",
    "acquire",
    "captions",
    "responses visual",
    "responses control",
    "split",
    "features vdvae",
    "features vision",
    "features text",
    "encode visual",
    "library",
    "library_features vdvae",
    "library_features vision",
    "library_features text",
    "library_responses visual",
    "regress vdvae vdvae visual",
    "regress vision vision visual",
    "regress text text visual",
    "decode vdvae vdvae artifacts/predicted/vdvae.npz",
    "decode ceiling vdvae artifacts/features/vdvae.npz",
    "decode_posterior posterior visual",
    "posterior_images posterior artifacts/decoded/vdvae",
    "layers",
    "unconditional",
    "decode_diffusion diffusion artifacts/encoders/visual artifacts/responses/visual.npz artifacts/decoded/posterior "
    + CONTEXTS,
]


@pytest.fixture
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def picture(seed: int) -> Image.Image:
    """Smooth random grey levels, no two alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 5), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


def write_data(data: Path) -> None:
    """Pictures, responses to them, and a library of others."""
    for folder in ("mine/images", "mine/sessions", "pictures"):
        (data / folder).mkdir(parents=True)
    rng, shown = np.random.default_rng(0), np.tile(np.arange(N_IMAGES), 6)
    with (data / "mine/images.csv").open("w", newline="") as file:
        rows = [(i, f"{i}.png", f"A random picture, number {i}.") for i in range(N_IMAGES)]
        csv.writer(file).writerows([("image_id", "file", "caption"), *rows])
    for i in range(N_IMAGES):
        picture(i).save(data / f"mine/images/{i}.png")
    for i in range(4):
        picture(100 + i).save(data / f"pictures/{i}.png")
    with (data / "mine/units.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("session_id", "unit_id", "area"), *((1, unit, "V1") for unit in range(N_UNITS))])
    rate = rng.gamma(2.0, 4.0, (N_IMAGES, N_UNITS))
    counts = rng.poisson(rate[shown]).astype(np.int64)
    np.savez(data / "mine/sessions/1.npz", responses=counts, image_id=shown, unit_id=np.arange(N_UNITS))


def peak_gb() -> float:
    """Largest memory of this process since it was asked before (Linux)."""
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists():
        return float("nan")
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, or it would count again
    found = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024 / 1e9
    refs.write_text("5")
    return found


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_one_image_goes_through_the_published_model(
    tmp_path: Path, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = ROOT.parent / "shared/golden/manifests/vd_deprecated.json"
    if not FULL:
        published_files.make_shallow(patch)
    clone = checkout(tmp_path / "clone")
    write_data(clone / "vendor/data")
    edit(clone / "params.yaml", PARAMS | ({} if FULL else SHALLOW))
    (tmp_path / "published").mkdir()
    paths = published_files.write(tmp_path / "published", manifest if FULL else None)
    patch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    # Stages run in this process: its other tests would go on keeping programs in a folder that is gone.
    patch.setattr(jax_cache, "keep", lambda: None)
    patch.chdir(clone)
    served = published_files.Served(paths, patch)
    took = []
    try:
        for command in STAGES:
            name, *words = command.split()
            gc.collect()
            peak_gb()
            started = time.monotonic()
            importlib.import_module(f"stages.{name}").main(*words)
            took.append((command, time.monotonic() - started, peak_gb()))
    finally:
        served.close()
        with capsys.disabled():
            print("\n| stage | seconds | peak memory, GB |\n|---|---:|---:|")
            print("\n".join(f"| {command} | {seconds:.1f} | {peak:.1f} |" for command, seconds, peak in took))

    assert sorted(asked.split()[0] for asked in served.asked) == sorted(path.name for path in paths.values())
    assert [assets.state(name) for name in paths] == ["yes"] * 4
    for name in ("vdvae_imagenet64_ema", "kl_f8"):  # of which nobody publishes a sha256
        assert (tmp_path / f"cache/noted/{name}.json").is_file()
    vision, text = (Features.load(f"artifacts/predicted/{space}.npz") for space in ("vision", "text"))
    assert (len(vision.group_size), len(text.group_size)) == (257, 77)
    first, second = (Reconstructions.load(f"artifacts/decoded/{run}") for run in ("posterior", "diffusion"))
    assert first.pixels.shape == (1, 64, 64, 3)
    assert second.pixels.shape == (1, 512, 512, 3)
    assert first.image_id.tolist() == second.image_id.tolist()
    assert second.pixels.std() > 5
