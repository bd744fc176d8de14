"""`spikevaediff generate`: every flow of the diffusion model without spikes, and what it refuses."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from spikevaediff import __main__ as command_line
from spikevaediff.datasets import simulated
from spikevaediff.images import resize
from spikevaediff.records import Features
from spikevaediff.tools import generate
from stages.pretrain.train_vdvae import training_crops


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the mini weights, one scene as a picture, and features of two images."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copy(ROOT / "params.yaml", folder)
    (folder / "vendor").symlink_to(ROOT / "vendor")
    _, scenes = simulated.crops(folder / "vendor/data/simulated", "scene")
    Image.fromarray(scenes[16]).save(folder / "scene.png")
    (folder / "damaged.png").write_bytes(b"damaged")
    for space, n_tokens, width in (("vision", 49, 1280), ("text", 24, 384)):
        values = np.random.default_rng(0).random((2, n_tokens * width), np.float32)
        made = Features(space, np.arange(2), values, np.arange(n_tokens).astype(str), np.full(n_tokens, width))
        made.save(folder / "artifacts" / "features" / f"{space}.npz")
    return folder


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.chdir(root)
    return command_line.main(["generate", "out", "--steps", "4", *arguments])


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image).astype(int)


FLOWS = {
    "variation": ["--image", "scene.png"],
    "text": ["--text", "A house behind a fence."],
    "dual": ["--image", "scene.png", "--text", "A house behind a fence.", "--mixing", "0.5", "--guidance", "3"],
    "start": ["--start", "scene.png", "--text", "A house behind a fence.", "--strength", "0.5"],
    "mean": ["--mean"],
    "prior": [],
}


@pytest.mark.slow
def test_every_flow_makes_its_own_pictures(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {}
    for name, arguments in FLOWS.items():
        assert run(root, monkeypatch, *arguments) == 0
        made[name] = picture(root / "out" / "0.png")
        assert made[name].shape == (128, 128, 3)
    names = list(made)
    for i, a in enumerate(names):
        for b in names[:i]:
            assert np.abs(made[a] - made[b]).mean() > 1, f"{a} and {b} are the same"
    start = resize(picture(root / "scene.png").astype(np.uint8)[None], 128)[0]
    r = {name: np.corrcoef(image[..., 0].ravel(), start.ravel())[0, 1] for name, image in made.items()}
    assert r["start"] > max(value for name, value in r.items() if name != "start")


@pytest.mark.slow
def test_samples_their_spread_and_the_nearest_training_photograph(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, monkeypatch, "--samples", "3", "--nearest", "--seed", "2", "--eta", "0.5") == 0
    told = capsys.readouterr().out
    assert "3 pictures of 128 px" in told
    assert told.count("nearest training photograph") == 3
    assert "photographs never trained on" in told
    assert "(searched: 260 training crops and their quarters; the UNet was also trained on 693 squares of 81 " in told
    names = {path.name for path in (root / "out").iterdir()}
    assert names == {"0.png", "1.png", "2.png", "sheet.png", "spread.png", ".spikevaediff"}
    assert picture(root / "out" / "sheet.png").shape == (256, 384, 3)
    samples = np.stack([picture(root / "out" / f"{k}.png")[..., 0] for k in range(3)])
    wanted = np.clip(samples.std(0) * 4, 0, 255)
    assert np.abs(picture(root / "out" / "spread.png") - wanted).max() <= 1


def test_the_crops_that_are_searched_are_those_that_were_trained_on(root: Path) -> None:
    parts = generate.searched(root)
    wanted = training_crops(root / "vendor/data/simulated")
    np.testing.assert_array_equal(parts[::5], np.concatenate([resize(crop[None], 256) for crop in wanted]))
    half = slice(len(wanted[-1]) // 2, len(wanted[-1]) // 2 * 2)
    np.testing.assert_array_equal(parts[-1], resize(wanted[-1][None, half, half], 256)[0])


def test_photographs_that_are_not_searched_are_those_of_stages_pretrain() -> None:
    with open(ROOT / "stages/pretrain/photographs.csv", encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == generate.N_WALLPAPERS
    said = " ".join((ROOT / "stages/pretrain/README.md").read_text(encoding="utf-8").split())
    assert f"{generate.N_WALLPAPERS} wallpapers" in said
    assert f"{generate.N_SQUARES} in all" in said


def test_nearest_is_refused_for_networks_that_were_trained_elsewhere(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("model: mini", "model: published"))
    assert run(tmp_path, monkeypatch, "--nearest") == 1
    said = capsys.readouterr().err
    assert said.startswith("--nearest knows what the mini models were trained on, and models.published.diffusion names")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image", "absent.png"], "absent.png does not exist"),
        (["--image", "damaged.png"], "damaged.png is not an image that can be read"),
        (["--mean", "--text", "a"], "--mean is a context of its own"),
        (["--strength", "1.5", "--start", "scene.png"], "strength is 1.5, expected 0 to 1"),
        (["--start-share", "1.5", "--start", "scene.png"], "start_share is 1.5, expected 0 to 1"),
        (["--start-share", "0.5", "--text", "a"], "--start-share needs a picture to start from: name one with --start"),
        (["--strength", "0.5"], "--strength needs a picture to start from: name one with --start, or leave --strength"),
        (["--mixing", "-1"], "mixing is -1.0, expected 0 to 1"),
        (["--samples", "0"], "samples is 0, expected a whole number from 1"),
        (["--eta", "3"], "eta is 3.0, expected"),
        (["--guidance", "inf"], "guidance is inf, expected 0 or more"),
        (["--steps", "0"], "steps is 0, expected a whole number from 1 to 500"),
        (["--strength", "0.1", "--start", "scene.png"], "strength 0.1 of 4 steps is less than one step"),
    ],
)
def test_bad_wishes_are_answered_in_one_line(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    shutil.rmtree(root / "out", ignore_errors=True)
    assert run(root, monkeypatch, *arguments) == 1
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (root / "out").exists()


@pytest.mark.parametrize("option", ["--strength", "--mixing", "--guidance", "--steps", "--samples", "--eta"])
def test_numbers_are_refused_before_any_weights_are_wanted(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)  # without vendor/data, so that a network would say so
    assert run(tmp_path, monkeypatch, option, "-1") == 1
    assert f"{option[2:]} is -1" in capsys.readouterr().err


def test_a_second_stage_of_ones_own_draws_no_pictures(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    params = (root / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("module: versatile_diffusion", "module: mine"))
    assert run(tmp_path, monkeypatch) == 1
    said = "models.mini.diffusion names the module mine, but pictures are drawn by versatile_diffusion alone\n"
    assert capsys.readouterr().err == said
