"""The second stage as a stage: where unfinished images are kept, and what is done without captions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikevaediff.decoders.second_stage import given, unfinished
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.decoders.versatile_diffusion import decode
from spikevaediff.records import Features, ImageSplit

GUIDES = Guides(np.arange(3), None, np.ones((3, 2, 4), np.float32), None)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def options(checkout: str, **changes: Any) -> dict[str, Any]:
    weights = Path(checkout) / "vendor/data/weights/unet_mini.safetensors"
    return {"unet_weights": weights, "strength": 0.5, "unconditional": GUIDES} | changes


def test_unfinished_images_are_found_by_another_checkout_and_by_no_other_experiment(cache: Path) -> None:
    """A queued experiment that is started again runs in another folder."""
    kept = unfinished.folder("diffusion", GUIDES, options("/one"), decode)
    assert kept.is_dir()
    assert kept.parent == cache / "diffusion"
    assert unfinished.folder("diffusion", GUIDES, options("/one/.dvc/tmp/exps/two"), decode) == kept
    others = [
        unfinished.folder("diffusion_control", GUIDES, options("/one"), decode),
        unfinished.folder("diffusion", GUIDES, options("/one", strength=0.6), decode),
        unfinished.folder("diffusion", GUIDES.take(np.array([1, 0, 2])), options("/one"), decode),
        unfinished.folder(
            "diffusion", Guides(GUIDES.image_id, None, np.zeros((3, 2, 4), np.float32), None), options("/one"), decode
        ),
    ]
    assert len({kept, *others}) == 5


def test_unfinished_images_of_other_code_are_not_gone_on_with(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = [unfinished.folder("diffusion", GUIDES, options("/one"), decode)]
    (tmp_path / "artifacts/code").mkdir(parents=True)
    for text in ("a  one.py", "b  one.py"):
        (tmp_path / "artifacts/code/decode_diffusion").write_text(text)
        found.append(unfinished.folder("diffusion", GUIDES, options("/one"), decode))
    found.append(unfinished.folder("diffusion", GUIDES, options("/one"), given.guides))  # another module
    assert len(set(found)) == 4
    assert unfinished.folder("diffusion", GUIDES, options("/one"), decode) == found[2]


def test_a_cache_that_cannot_be_written_is_left_alone(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert unfinished.folder("diffusion", GUIDES, options("/one"), decode) == Path("artifacts/kept/diffusion")


def test_priors_are_given_no_image_and_no_context_or_the_means_of_the_training_images(tmp_path: Path) -> None:
    split, rng = ImageSplit(np.arange(6), np.array([0, 1, 0, 1, -1, -1])), np.random.default_rng(0)
    tokens = {space: rng.standard_normal((6, 2, 3)).astype(np.float32) for space in ("vision", "text")}
    for space, values in tokens.items():
        Features.of_tokens(space, np.arange(6), values).save(tmp_path / f"{space}.npz")
    nothing = given.guides("prior_no_spikes", split, tmp_path)
    assert nothing.image_id.tolist() == [0, 1, 2, 3]
    assert (nothing.start, nothing.vision, nothing.text) == (None, None, None)
    means = given.guides("prior_mean_spikes", split, tmp_path)
    assert means.start is None
    for found, values in ((means.vision, tokens["vision"]), (means.text, tokens["text"])):
        assert found is not None
        np.testing.assert_allclose(found[[0, 2]], [values[[1, 3, 4, 5]].astype(np.float64).mean(0)] * 2, atol=1e-6)
        np.testing.assert_allclose(found[[1, 3]], [values[[0, 2, 4, 5]].astype(np.float64).mean(0)] * 2, atol=1e-6)
