"""Vision contexts of EfficientNet-lite0: the grid before pooling, an image's own however it is computed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MODEL_TOLERANCE, close

from spikevaediff.features import efficientnet
from spikevaediff.files import assets
from spikevaediff.images import rgb
from spikevaediff.networks import small
from spikevaediff.records import Stimuli

IDS = np.array([8, 1, 40, 3])
OPTIONS: dict[str, Any] = {"batch_size": "auto", "device": "cpu"}


@pytest.fixture(scope="module")
def weights() -> Path:
    try:
        return assets.fetch("efficientnet_lite0")
    except FileNotFoundError as error:
        pytest.skip(str(error))


def stimuli(ids: np.ndarray = IDS) -> Stimuli:
    pixels = [np.random.default_rng([2, i]).integers(0, 256, (40, 60), dtype=np.uint8) for i in ids.tolist()]
    return Stimuli("a test", ids, np.stack(pixels))


def test_tokens_are_the_positions_of_the_grid_row_after_row(weights: Path) -> None:
    found = efficientnet.extract(stimuli(), weights=weights, **OPTIONS)
    assert (found.space, found.values.shape, found.values.dtype) == ("vision", (4, 49 * 1280), np.float32)
    assert found.group_size.tolist() == [1280] * 49
    tokens = found.values.reshape(4, 7, 7, 1280)
    grid = small.efficientnet_lite0(weights)(small.lite0_input(rgb(stimuli().pixels))).detach().numpy()
    close(tokens, grid.transpose(0, 2, 3, 1), MODEL_TOLERANCE)
    assert tokens.min() >= 0
    assert tokens.max() <= 6


@pytest.mark.parametrize("batch_size", [1, 3])
def test_an_image_does_not_depend_on_the_others_or_their_number(weights: Path, batch_size: int) -> None:
    every = efficientnet.extract(stimuli(), weights=weights, **OPTIONS)
    few = efficientnet.extract(stimuli(IDS[2:0:-1]), weights=weights, **OPTIONS | {"batch_size": batch_size})
    np.testing.assert_array_equal(few.image_id, IDS[2:0:-1])
    close(few.values, every.rows(few.image_id), MODEL_TOLERANCE)
    np.testing.assert_array_equal(efficientnet.extract(stimuli(), weights=weights, **OPTIONS).values, every.values)


def test_the_unconditional_context_is_that_of_a_grey_image(weights: Path) -> None:
    grey = np.full((1, 20, 30, 3), 127, np.uint8)
    found = efficientnet.unconditional(weights=weights, device="cpu")
    assert found.shape == (efficientnet.N_TOKENS, efficientnet.WIDTH)
    close(found, efficientnet.contexts(grey, weights=weights, **OPTIONS)[0])


def test_images_that_cannot_be_are_refused(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 in 0..255, got float64 in \[0, 1\]"):
        efficientnet.contexts(np.eye(8).reshape(1, 8, 8, 1).repeat(3, 3), weights=weights, **OPTIONS)
    with pytest.raises(ValueError, match=r"images must be \(image, row, column, 3\), got \(1, 8, 8\)"):
        efficientnet.contexts(np.zeros((1, 8, 8), np.uint8), weights=weights, **OPTIONS)
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        efficientnet.contexts(np.zeros((1, 8, 8, 3), np.uint8), weights=tmp_path / "none.pth", **OPTIONS)


def test_weights_that_are_not_these_are_refused(weights: Path, tmp_path: Path) -> None:
    grey = np.zeros((1, 8, 8, 3), np.uint8)
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "text.pth").write_text("no weights")
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "other.pth")
    for name in ("cut", "text", "other"):
        with pytest.raises(
            ValueError, match=rf"{name}\.pth is not EfficientNet-lite0 \(.* assets fetch efficientnet_l"
        ):
            efficientnet.contexts(grey, weights=tmp_path / f"{name}.pth", **OPTIONS)
