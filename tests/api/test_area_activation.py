"""What an area alone says to the decoders: the sum of its weights, at the length of features of images."""

from typing import Any

import numpy as np
import pytest

from spikevaediff.api import area_activation
from spikevaediff.recordings.preprocessing import Scale
from spikevaediff.records import Responses, UnitTable
from spikevaediff.regression import new_responses
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.renormalise import group_factors

AREA = np.array(["V1", "V1", "V2", "V1", "V4", "V2", "V2", "V1"])
N_IMAGES, GROUPS, ALPHA = 40, np.array([5, 7]), 3.0


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """Standardised responses (image, unit), the last unit constant, and features with a mean (image, feature)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_IMAGES, len(AREA)))
    x[:, -1] = 0.0
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    y = x @ rng.normal(size=(len(AREA), GROUPS.sum())) + rng.normal(size=(N_IMAGES, GROUPS.sum())) + 4.0
    return x, y.astype(np.float32)


def fitted(x: np.ndarray, y: np.ndarray, how: str = "none", n_scored: int | None = None) -> Fit:
    fit = ridge.fit(
        x,
        y,
        y_row=np.arange(len(x)),
        group_size=GROUPS,
        alphas=[ALPHA],
        alpha_scope="global",
        folds="image",
        seed=0,
        n_scored=n_scored,
    )
    n, unknown = len(AREA), np.full(len(AREA), np.nan)
    deviation = np.where(np.arange(n) < n - 1, 2.0, 0.0)
    units = UnitTable(np.arange(n), np.ones(n, np.int64), AREA, *[unknown] * 5)
    responses = Responses.make(
        counts=np.zeros((1, n, 1)),
        image_id=np.array([0]),
        presentation_id=np.array([[0]]),
        session_id=np.array([1]),
        window_s=np.array([[0.0, 1.0]]),
        units=units,
    )
    given: dict[str, Any] = {"space": "vdvae", "group_name": np.array(["a", "b"]), "image_id": np.arange(len(x))}
    scale = Scale(np.zeros(n), deviation, 1)
    return new_responses.with_context(fit, scale=scale, transform="none", responses=responses, how=how, **given)


def weights(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of ridge regression, float64 (unit, feature)."""
    centred, targets = x - x.mean(0), y.astype(np.float64) - y.mean(0, dtype=np.float64)
    return np.linalg.solve(centred.T @ centred + ALPHA * np.eye(x.shape[1]), centred.T @ targets)


@pytest.mark.parametrize("deviations", [1.0, 2.5, -1.0])
def test_an_area_points_along_the_sum_of_its_weights(data: tuple[np.ndarray, np.ndarray], deviations: float) -> None:
    x, y = data
    z = area_activation.responses(AREA, 1, ["V1", "V4"], deviations=deviations)
    found = area_activation.features(fitted(x, y), z)
    mean = y.mean(0, dtype=np.float64)
    usual = np.sqrt(((y - mean) ** 2).sum(1).mean())
    np.testing.assert_allclose(found.values[0], mean, rtol=1e-5)
    for row, name in enumerate(["V1", "V4"], start=1):
        added = deviations * weights(x, y)[name == AREA].sum(0)
        expected = mean + added * usual / np.linalg.norm(added)
        np.testing.assert_allclose(found.values[row], expected, rtol=1e-4, atol=1e-4)
    assert (found.space, found.group_size.tolist()) == ("vdvae", GROUPS.tolist())


def test_groups_are_renormalised_as_in_the_run_and_areas_are_independent(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    plain, raised = (fitted(x, y, how) for how in ("none", "train"))
    z = area_activation.responses(AREA, 1, ["V1", "V2", "V4"], deviations=1.0)
    groups = np.split(np.arange(12), [5])
    ratio = []
    for fit in (plain, raised):
        deviation = area_activation.features(fit, z).values[2] - y.mean(0)
        ratio.append(np.linalg.norm(deviation[groups[0]]) / np.linalg.norm(deviation[groups[1]]))
    factor = group_factors(plain)
    np.testing.assert_allclose(ratio[1] / ratio[0], factor[0] / factor[1], rtol=1e-4)
    # test_legacy divides by statistics over the rows: then an area would depend on the others.
    together, legacy = (area_activation.features(fit, z).values for fit in (plain, fitted(x, y, "test_legacy")))
    np.testing.assert_array_equal(together, legacy)
    np.testing.assert_allclose(together[[0, 3]], area_activation.features(plain, z[[0, 3]]).values, rtol=1e-5)


def test_an_area_that_says_nothing_stays_at_the_mean(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    silent = np.where(np.arange(len(AREA)) == len(AREA) - 1, "silent", AREA)  # the unit that never varied
    z = area_activation.responses(silent, 1, ["silent", "V2"], deviations=3.0)
    found = area_activation.features(fitted(x, y), z).values
    np.testing.assert_array_equal(found[1], found[0])
    assert np.linalg.norm(found[2] - found[0]) > 1


def test_images_of_a_library_do_not_set_the_length(data: tuple[np.ndarray, np.ndarray]) -> None:
    x, y = data
    both = np.concatenate([y, 50 * y])
    fit = fitted(np.concatenate([x, x]), both, n_scored=len(x))
    expected = np.sqrt(((y - y.mean(0, dtype=np.float64)) ** 2).sum(1).mean())
    assert area_activation.usual_length(fit) == pytest.approx(expected, rel=1e-6)


def test_all_windows_of_the_units_are_active_and_mistakes_are_named(data: tuple[np.ndarray, np.ndarray]) -> None:
    z = area_activation.responses(np.array(["b", "a"]), 2, ["a"], deviations=2.0)
    assert z.tolist() == [[0, 0, 0, 0], [0, 2, 0, 2]]
    with pytest.raises(KeyError, match="no unit is of area V5; there are V1, V2, V4"):
        area_activation.responses(AREA, 1, ["V1", "V5"], deviations=1.0)
    with pytest.raises(ValueError, match=r"deviations is 0\.0, expected a number of standard deviations other than 0"):
        area_activation.responses(AREA, 1, ["V1"], deviations=0.0)
    with pytest.raises(ValueError, match="responses have 4 columns, the fit 8"):
        area_activation.features(fitted(*data), z)
