"""A data set whose captions are all empty: what the stages make of it, one after the other."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import stages
from spikevaediff.decoders import versatile_diffusion
from spikevaediff.decoders.second_stage import given, unconditional
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.evaluation import feature_r2
from spikevaediff.features import efficientnet, minilm
from spikevaediff.files import assets
from spikevaediff.parameters.runs import read_runs
from spikevaediff.records import Captions, Features, ImageSplit, Reconstructions, Responses, Stimuli, UnitTable
from spikevaediff.report import results
from stages import decode_diffusion, features, regress
from stages import unconditional as without_content

IDS = np.arange(8)
RNG = np.random.default_rng([12])


@pytest.fixture(scope="module")
def weights() -> dict[str, Path]:
    try:
        return {name: assets.fetch(name) for name in ("all_minilm_l6_v2", "efficientnet_lite0")}
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: dict[str, Path]) -> dict[str, Any]:
    """A folder with images, responses and a split, and params.yaml with fewer steps and penalties."""
    found = YAML(typ="safe").load(ROOT / "params.yaml")
    found["models"]["mini"]["diffusion"] |= {"steps": 2, "mixing": 0.6}
    monkeypatch.setattr(stages, "declared", lambda _stage: found)
    monkeypatch.chdir(tmp_path)
    number = np.full(5, np.nan)
    Stimuli("a test", IDS, RNG.integers(0, 256, (8, 16, 16), np.uint8)).save("artifacts/images.npz")
    ImageSplit(IDS, IDS % 2).save("artifacts/split.npz")
    Responses.make(
        counts=RNG.poisson(4.0, (24, 5, 1)).astype(np.uint16),
        image_id=np.tile(IDS, 3),
        presentation_id=np.arange(24)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=UnitTable(np.arange(5), np.ones(5, np.int64), np.array(["VISp"] * 5), *([number] * 5)),
    ).save("artifacts/responses/visual.npz")
    Reconstructions(IDS, RNG.integers(0, 256, (8, 64, 64, 3), np.uint8)).save("artifacts/decoded/vdvae")
    return found


def captions(*sentences: tuple[str, ...]) -> None:
    Captions(IDS, (*sentences, *[()] * (8 - len(sentences)))).save("artifacts/captions.csv")


def test_without_captions_the_text_context_is_left_out(
    params: dict[str, Any], weights: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    captions()
    features.main("text")
    assert re.search("text: .*; no image has a caption", capsys.readouterr().out)
    true = Features.load("artifacts/features/text.npz")
    nothing = minilm.unconditional(weights=weights["all_minilm_l6_v2"], n_tokens=24, device="cpu")
    np.testing.assert_allclose(true.values, np.tile(nothing.ravel(), (8, 1)), atol=1e-4)
    np.testing.assert_array_equal(true.values, np.tile(true.values[0], (8, 1)))
    regress.main("text", "text", "visual")
    assert "text is the same for every image, which leaves nothing to predict" in capsys.readouterr().out
    for name in ("text", "text_all_images"):
        with np.load(f"artifacts/fits/{name}.npz") as fit:
            for of in ("group_r2", "loo_r2", "loo_correlation"):
                assert np.isnan(fit[of]).all(), f"{name}: {of}"
    predicted = Features.load("artifacts/predicted/text.npz")
    np.testing.assert_allclose(predicted.values, true.values, atol=1e-4)
    found = feature_r2.summary(true, true, ImageSplit.load("artifacts/split.npz"), n_draws=10, seed=0)
    assert [found[name] for name in ("mean", "chance", "p")] == [None] * 3
    assert {group["r2"] for group in found["groups"]} == {None}

    drawn = RNG.standard_normal((8, efficientnet.N_TOKENS, efficientnet.WIDTH)).astype(np.float32)
    vision = Features.of_tokens("vision", IDS, drawn)
    vision.save("artifacts/features/vision.npz")
    without_content.main()
    nothing = "artifacts/split.npz"
    files = ["artifacts/decoded/vdvae", "artifacts/features/vision.npz", "artifacts/predicted/text.npz"]
    decode_diffusion.main("diffusion", nothing, nothing, *files)
    assert "no image has a caption, so the text context is left out (mixing 1)" in capsys.readouterr().out
    options = {k: v for k, v in params["models"]["mini"]["diffusion"].items() if k != "module"}
    options |= {name: stages.weights_path(options[name]) for name in ("unet_weights", "autoencoder_weights")}
    expected = versatile_diffusion.samples(
        Guides(IDS, Reconstructions.load("artifacts/decoded/vdvae").pixels, vision.tokens(IDS), None),
        **options | {"mixing": 1.0, "n_samples": 1, "seed": params["seed"], "kept": None},
        unconditional=given.nothing(unconditional.contexts(params["models"]["mini"], stages.weights_path, "cpu")),
        batch_size="auto",
        device="cpu",
    )
    np.testing.assert_array_equal(Reconstructions.load("artifacts/decoded/diffusion").pixels, expected[:, 0])


def test_a_report_without_captions_says_so_in_every_title(params: dict[str, Any]) -> None:
    np.savez("fit.npz", renormalise=np.array(["train"]))
    Path("artifacts/fits").mkdir()
    Path("fit.npz").rename("artifacts/fits/vdvae.npz")
    scores = {"vdvae": {"protocol": "strict"}}
    same = np.ones((8, 24, 4), np.float32)
    for tokens, marks in (
        (same, ["no captions: guided by vision alone"]),
        (same * IDS[:, None, None].astype(np.float32), []),
    ):
        Features.of_tokens("text", IDS, tokens).save("artifacts/features/text.npz")
        assert results.marks_of(scores, read_runs(ROOT / "runs.yaml"), {}) == marks
        found = {"vdvae": [{"check": "near-duplicates", "status": "legacy"}]}
        legacy = results.marks_of(scores, read_runs(ROOT / "runs.yaml"), found)
        assert legacy == ["legacy: trained on images that look like tested ones", *marks]


def test_one_caption_is_enough_to_be_checked(params: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    captions(("A dog.",))
    features.main("text")
    said = capsys.readouterr().out
    assert "no image has a caption" not in said
    assert "extracted again" in said
    values = Features.load("artifacts/features/text.npz").values
    assert np.abs(values[1:] - values[1]).max() < 1e-4
    assert np.abs(values[0] - values[1]).max() > 0.1


def test_captions_that_are_all_the_same_are_refused(params: dict[str, Any]) -> None:
    captions(*[("A picture.",)] * 8)
    with pytest.raises(ValueError, match="feature space text is the same for all 8 images"):
        features.main("text")
