"""The second stage as a stage: where unfinished images are kept, and what is done without captions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikevaediff.decoders.versatile_diffusion import Guides
from stages import decode_diffusion

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
    kept = decode_diffusion.unfinished("diffusion", GUIDES, options("/one"))
    assert kept.is_dir()
    assert kept.parent == cache / "diffusion"
    assert decode_diffusion.unfinished("diffusion", GUIDES, options("/one/.dvc/tmp/exps/two")) == kept
    others = [
        decode_diffusion.unfinished("diffusion_control", GUIDES, options("/one")),
        decode_diffusion.unfinished("diffusion", GUIDES, options("/one", strength=0.6)),
        decode_diffusion.unfinished("diffusion", GUIDES.take(np.array([1, 0, 2])), options("/one")),
        decode_diffusion.unfinished(
            "diffusion", Guides(GUIDES.image_id, None, np.zeros((3, 2, 4), np.float32), None), options("/one")
        ),
    ]
    assert len({kept, *others}) == 5


def test_a_cache_that_cannot_be_written_is_left_alone(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert decode_diffusion.unfinished("diffusion", GUIDES, options("/one")) == Path("artifacts/kept/diffusion")
