"""A regression of the pipeline from the results of earlier stages: what is taken from them, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikevaediff.records import Features, ImageSplit, LibraryResponses, Responses, UnitTable
from spikevaediff.regression import task
from spikevaediff.regression.methods import banded, ridge
from spikevaediff.regression.parts import parts

IDS = np.array([3, 5, 8, 9])
REGRESS: dict[str, Any] = {
    "method": "ridge",
    "library": 2,
    "library_weights": [],
    "transform": "none",
    "renormalise": "train",
    "alphas": [1.0, 10.0],
    "alpha_scope": "target",
    "folds": "image",
    "seed": 0,
    "kernel_ridge": {"kernel": "rbf"},
    "banded": {"bands": "area", "units_per_band": 0, "max_steps": 5},
}


def features(ids: np.ndarray, n_dims: int = 3, start: float = 0.0) -> Features:
    values = np.arange(start, start + len(ids) * n_dims, dtype=np.float32).reshape(len(ids), n_dims)
    return Features("vdvae", ids, values, np.array(["a", "b"]), np.array([1, n_dims - 1]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shown = np.repeat(IDS[::-1], 2)
    nothing = [np.full(2, np.nan)] * 5
    Responses.make(
        counts=np.arange(16, dtype=np.uint16).reshape(8, 2, 1),
        image_id=shown,
        presentation_id=np.arange(8)[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=UnitTable(np.arange(2), np.ones(2, np.int64), np.array(["VISp", "LP"]), *nothing),
    ).save(tmp_path / "responses/visual.npz")
    ImageSplit(IDS, np.array([0, 1, 0, 1])).save(tmp_path / "split.npz")
    features(IDS[::-1]).save(tmp_path / "features/vdvae.npz")
    features(np.array([50, 40]), start=100).save(tmp_path / "library/vdvae.npz")
    values = np.arange(18, dtype=np.float32).reshape(3, 3, 2)
    LibraryResponses(np.array([40, 50, 60]), values).save(tmp_path / "library/responses_visual.npz")
    return tmp_path


def test_rows_are_in_the_order_of_the_split_and_joined_by_id(folder: Path) -> None:
    found = task.load(folder, "vdvae", "visual", REGRESS, ridge)
    np.testing.assert_array_equal(found.x, [[13, 14], [9, 10], [5, 6], [1, 2]])
    np.testing.assert_array_equal(found.y[:, 0], [9, 6, 3, 0, 100, 103])
    assert found.simulated is not None
    np.testing.assert_array_equal(found.simulated[:, :, 0], [[2, 0], [8, 6], [14, 12]])
    assert found.options.keys() == {"alphas", "alpha_scope", "folds", "seed", "group_size"}
    assert found.record(np.zeros((4, 3), np.float32)).image_id.tolist() == IDS.tolist()


def test_weights_of_the_library_come_with_answers_of_models_without_some_images(folder: Path) -> None:
    """Two training images a fold, and four of all images: each is left out alone."""
    assert task.load(folder, "vdvae", "visual", REGRESS, ridge).library_weights is None
    offered = REGRESS | {"library_weights": [0.0, 0.5]}
    n = [len(parts(np.array(train, bool))) for train in ([0, 1, 0, 1], [1, 0, 1, 0], [1, 1, 1, 1])]
    values = np.arange(sum(n) * 3 * 2, dtype=np.float32).reshape(-1, 3, 2)
    LibraryResponses(np.array([40, 50, 60]), values).save(folder / "library/left_out_visual.npz")
    found = task.load(folder, "vdvae", "visual", offered, ridge).library_weights
    assert found is not None
    assert found.offered == [0.0, 0.5]
    assert [len(answers) for answers in found.answers] == n
    np.testing.assert_array_equal(np.concatenate(found.answers), values[:, [1, 0]])
    LibraryResponses(np.array([40, 50, 60]), values[1:]).save(folder / "library/left_out_visual.npz")
    with pytest.raises(ValueError, match="models without some training images answered the library, expected"):
        assert task.load(folder, "vdvae", "visual", offered, ridge).library_weights


def test_the_method_gets_its_own_options_and_the_bands_of_the_columns(folder: Path) -> None:
    found = task.load(folder, "vdvae", "visual", REGRESS | {"method": "banded"}, banded)
    assert found.options["bands"].tolist() == ["VISp", "LP"]
    assert found.options["max_steps"] == 5
    assert task.options_of(REGRESS | {"method": "kernel_ridge"})["kernel"] == "rbf"
    with pytest.raises(KeyError, match="lacks method; choose one of banded, kernel_ridge, ridge"):
        task.options_of({"library": 0})


def test_a_library_is_left_out_where_it_is_not_asked_for_or_nothing_can_be_learnt(folder: Path) -> None:
    for options, given in ((REGRESS | {"library": 0}, {}), (REGRESS, {"with_library": False})):
        found = task.load(folder, "vdvae", "visual", options, ridge, **given)
        assert found.simulated is None
        assert len(found.y) == 4
    same = features(IDS)
    same.values[:] = 1
    same.save(folder / "features/vdvae.npz")
    assert task.load(folder, "vdvae", "visual", REGRESS, ridge).library is None


def test_a_library_that_does_not_fit_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"regress\.vdvae\.transform must be none: encoding models"):
        task.load(folder, "vdvae", "visual", REGRESS | {"transform": "square_root"}, ridge)
    features(np.array([50, 40]), 4).save(folder / "library/vdvae.npz")
    with pytest.raises(ValueError, match=r"has 4 dims of vdvae and 2 columns of visual, expected 3 and 2\. Make it"):
        task.load(folder, "vdvae", "visual", REGRESS, ridge)
