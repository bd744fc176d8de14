"""Decoders of one's own are called by the stages, and what is wrong with a module is said before anything runs."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import edit, stage

from spikevaediff.records import Captions, Features, ImageSplit, Reconstructions

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
IDS = np.array([3, 5, 8])
SPLIT = ImageSplit(np.array([3, 5, 8, 9]), np.array([0, 1, 0, -1]))
SHOWN = np.array([3, 5, 8, 9])
PIXELS = np.random.default_rng([4]).integers(0, 256, (4, 8, 8, 3), np.uint8)

BLOCKS = """
import numpy as np
from spikevaediff.records import Features, Reconstructions


def decode(predicted: Features, *, size_px: int, seed: int) -> Reconstructions:
    grey = np.clip(predicted.values[:, :1, None, None] + seed, 0, 255).astype(np.uint8)
    return Reconstructions(predicted.image_id, np.broadcast_to(grey, (len(grey), size_px, size_px, 3)))
"""
NEGATIVE = """
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.records import Reconstructions


def decode(guides: Guides, *, brightest: int) -> Reconstructions:
    return Reconstructions(guides.image_id, brightest - guides.start)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Code and parameters as they are, with two decoders more; data and weights are not copied."""
    folder = tmp_path / "checkout"
    for name in ("dvc.yaml", "params.yaml", "runs.yaml", "data.dvc", ".dvc/config"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copyfile(ROOT / name, folder / name)
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "pretrain"))
    (folder / "vendor").symlink_to(ROOT / "vendor")
    (folder / "src/spikevaediff/decoders/blocks.py").write_text(BLOCKS)
    (folder / "src/spikevaediff/decoders/negative.py").write_text(NEGATIVE)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def run(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    done = stage(checkout, command)
    assert done.returncode == 0, done.stderr
    return done


def test_a_decoder_of_features_is_called_with_what_it_asks_for(checkout: Path) -> None:
    edit(checkout / "params.yaml", {"decode.vdvae": {"module": "blocks", "size_px": 16}, "seed": 7})
    SPLIT.save(checkout / "artifacts/split.npz")
    values = np.array([[10.0], [20.0], [400.0], [0.0]], np.float32)
    Features("vdvae", SHOWN, values, np.array(["a"]), np.array([1])).save(checkout / "artifacts/predicted/vdvae.npz")
    run(checkout, "decode vdvae vdvae artifacts/predicted/vdvae.npz")
    found = Reconstructions.load(checkout / "artifacts/decoded/vdvae")
    assert found.image_id.tolist() == IDS.tolist()
    assert found.pixels.shape == (3, 16, 16, 3)
    assert [np.unique(image).tolist() for image in found.pixels] == [[17], [27], [255]]  # value + seed


def test_a_second_stage_is_the_module_that_the_model_names(checkout: Path) -> None:
    edit(checkout / "params.yaml", {"models.mini.diffusion": {"module": "negative", "brightest": 255}})
    artifacts = checkout / "artifacts"
    SPLIT.save(artifacts / "split.npz")
    Reconstructions(SHOWN, PIXELS).save(artifacts / "decoded/posterior")
    for space in ("vision", "text"):
        tokens = np.ones((4, 2, 3), np.float32)
        Features.of_tokens(space, SHOWN, tokens).save(artifacts / f"predicted/{space}.npz")
    Captions(SHOWN, tuple((f"picture {k}",) for k in SHOWN)).save(artifacts / "captions.csv")
    predicted = "artifacts/predicted/vision.npz artifacts/predicted/text.npz"
    given = "artifacts/encoders/visual artifacts/responses/visual.npz artifacts/decoded/posterior"
    run(checkout, f"decode_diffusion diffusion {given} {predicted}")
    found = Reconstructions.load(artifacts / "decoded/diffusion")
    np.testing.assert_array_equal(found.pixels, 255 - PIXELS[:3])


SECOND = "models.mini.diffusion"
TOO_MUCH = {"method": "half", "library": 0}


@pytest.mark.parametrize(
    ("path", "section", "source", "message"),
    [
        ("decode.vdvae", {"module": "block"}, None, "decode.vdvae.module is 'block', expected a module of"),
        ("decode.vdvae", {"module": "blocks"}, None, "section decode.vdvae lacks size_px. Its keys are size_px"),
        (
            "decode.vdvae",
            {"module": "blocks", "size_px": 16, "size": 2},
            None,
            "section decode.vdvae has size, which does not exist. Its keys are size_px",
        ),
        ("decode.mine", {"module": "blocks", "size_px": "big"}, None, "decode.mine.size_px is 'big', expected a whole"),
        (SECOND, {"module": "negative"}, None, f"section {SECOND} lacks brightest"),
        (
            "models.mini.light",
            {"module": "light"},
            ("features/light.py", "def extracts() -> None: ..."),
            "models.mini.light names light, but src/spikevaediff/features/light.py has no function extract",
        ),
        (
            "datasets.own",
            {"module": "own", "n": 3},
            ("datasets/own.py", "def acquire(data_dir, out_dir, *, n: int, m: int) -> None: ..."),
            "section datasets.own lacks m. Its keys are m, n",
        ),
        (
            "regress.text",
            TOO_MUCH,
            ("regression/methods/half.py", "def fit(x, y, *, y_row, group_size, alphas: list[float]) -> None: ..."),
            "section regress.text has alpha_scope, folds, seed, which does not exist. Its keys are alphas",
        ),
    ],
)
def test_a_module_that_does_not_fit_its_section_is_refused_in_one_line(
    checkout: Path, path: str, section: dict[str, Any], source: tuple[str, str] | None, message: str
) -> None:
    if source:
        (checkout / "src/spikevaediff" / source[0]).write_text(source[1])
    edit(checkout / "params.yaml", {path: section})
    done = stage(checkout, "start")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ValueError: params.yaml: {message}"), line
    assert not (checkout / "artifacts/started").exists()
