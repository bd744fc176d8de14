"""Automatic sentences of the library: from its own vision contexts, never from those of rows of movies behind them."""

import numpy as np
import pytest

from spikevaediff.captioning import class_captions
from spikevaediff.features import efficientnet
from spikevaediff.files import assets
from spikevaediff.records import Features, Stimuli


def test_contexts_of_rows_of_movies_are_not_taken_for_those_of_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images, contexts of the first, and of a row of a movie behind it: the others are looked at."""
    images = Stimuli("t", np.array([40, 41, 42]), np.zeros((3, 4, 4), np.uint8))
    shape = (efficientnet.N_TOKENS, efficientnet.WIDTH)
    tokens = np.stack([np.full(shape, value, np.float32) for value in (1.0, 9.0)])
    vision = Features.of_tokens("vision", np.array([40, 2_000_000]), tokens)
    monkeypatch.setattr(assets, "fetch", lambda name: name)
    monkeypatch.setattr(efficientnet, "contexts", lambda pixels, **_: np.full((len(pixels), *shape), 5, np.float32))
    monkeypatch.setattr(class_captions, "captions_of", lambda grids: [str(grid[0, 0]) for grid in grids])
    assert class_captions.describe(images, vision) == ["1.0", "5.0", "5.0"]
