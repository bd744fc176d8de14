"""What is too large for copies is worked on in blocks, and the results are those of the whole."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spikevaediff.records import Features, ImageSplit, Responses, UnitTable
from spikevaediff.regression import cross_validation, renormalise, task
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.task import Task

N_IMAGES, N_UNITS, N_WINDOWS, GROUPS = 30, 11, 2, np.array([40, 60])


def a_task(dtype: Any = np.float16, how: str = "train") -> Task:
    rng = np.random.default_rng(1)
    image_id = rng.permutation(np.repeat(np.arange(N_IMAGES), 3))
    unknown = np.full(N_UNITS, np.nan)
    units = UnitTable(np.arange(N_UNITS), np.ones(N_UNITS, np.int64), np.full(N_UNITS, "V1"), *[unknown] * 5)
    responses = Responses.make(
        counts=rng.uniform(0, 9, (len(image_id), N_UNITS, N_WINDOWS)).astype(dtype),
        image_id=image_id,
        presentation_id=np.arange(len(image_id))[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.1], [0.1, 0.2]]),
        units=units,
    )
    means = np.array([responses.counts[image_id == i].mean(0, dtype=np.float64).ravel() for i in range(N_IMAGES)])
    values = means @ rng.normal(size=(N_UNITS * N_WINDOWS, GROUPS.sum())) + rng.normal(size=(N_IMAGES, GROUPS.sum()))
    features = Features("vdvae", np.arange(N_IMAGES), values.astype(np.float32), np.array(["a", "b"]), GROUPS)
    split = ImageSplit(np.arange(N_IMAGES), np.where(np.arange(N_IMAGES) % 5 == 2, 0, -1))
    options = {"alphas": [1.0, 10.0], "alpha_scope": "target", "folds": "image", "seed": 0, "group_size": GROUPS}
    return Task("vdvae", "visual", responses, split, features, None, [], None, ridge, "none", how, options)


@pytest.mark.parametrize("transform", ["none", "square_root"])
def test_mean_responses_of_a_few_units_at_a_time(transform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(a_task(), transform=transform).x
    presentations = replace(a_task(), transform=transform).presentations
    monkeypatch.setattr(task, "BLOCK_BYTES", 8 * 3 * N_IMAGES * N_WINDOWS * 4)  # four units
    parts = replace(a_task(), transform=transform).x
    np.testing.assert_array_equal(parts, whole)
    image_id = a_task().responses.image_id
    expected = np.array([presentations[image_id == i].mean(0) for i in range(N_IMAGES)])
    np.testing.assert_allclose(whole, expected, rtol=1e-13)


@pytest.mark.parametrize("how", ["none", "train", "test_legacy"])
def test_large_targets_are_not_copied_and_predicted_alike(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def predicted() -> tuple[Any, Any]:
        job = a_task(how=how)
        given = (job.x, job.y, job.split, job.method, job.options)
        return cross_validation.predict(*given, renormalise=how), cross_validation.fit_to_all(*given)[0]

    whole, all_images = predicted()
    monkeypatch.setattr(cross_validation, "LARGE", 1)
    monkeypatch.setattr(renormalise, "BLOCK_BYTES", 8 * N_IMAGES * 7)  # seven targets
    blocks, not_copied = predicted()
    job = a_task()
    assert job.y is job.features.values
    for one, other in ((whole.raw, blocks.raw), (whole.renormalised, blocks.renormalised)):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)
    for name in ("alpha", "renormalise_factor", "loo_r2"):
        np.testing.assert_allclose(blocks.choices[0][name], whole.choices[0][name], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(not_copied.y, all_images.y)
    np.testing.assert_array_equal(not_copied.images, np.arange(N_IMAGES))
