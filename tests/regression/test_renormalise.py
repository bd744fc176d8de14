"""Spread given back to predictions: left-out predictions in closed form against refits, and no test image in it."""

from typing import Any

import numpy as np
import pytest
from conftest import close

from spikevaediff.regression import renormalise
from spikevaediff.regression.methods import banded, kernel_ridge, ridge

GROUPS = np.array([3, 6, 2])
COMMON: dict[str, Any] = {"group_size": GROUPS, "alpha_scope": "target", "folds": "image", "seed": 0}
METHODS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ridge": (ridge, {}),
    "kernel_ridge": (
        kernel_ridge,
        {"kernel": "rbf", "degree": 2, "widths": [0.7, 2.0], "width_search": "grid", "max_steps": 1},
    ),
}


def data(n_images: int = 20, n_units: int = 7, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Responses, and targets of which some are predictable, some are noise, one is constant and all have a mean."""
    rng = np.random.default_rng([n_images, n_units])
    x = rng.normal(size=(n_images, n_units))
    y = 5 + x @ rng.normal(size=(n_units, GROUPS.sum())) + 2 * rng.normal(size=(n_images, GROUPS.sum()))
    y[:, 4:7] = rng.normal(size=(n_images, 3))
    y[:, 10] = 3.0
    return x, y.astype(dtype)


def fitted(method: str, x: np.ndarray, y: np.ndarray, alphas: list[float] | None = None) -> Any:
    module, options = METHODS[method]
    return module.fit(x, y, y_row=np.arange(len(x)), alphas=alphas or [0.3, 3.0, 30.0, 3000.0], **COMMON, **options)


@pytest.mark.parametrize(("n_images", "n_units"), [(20, 7), (12, 12), (9, 30)])
def test_deviations_equal_those_of_refits_without_each_image(n_images: int, n_units: int) -> None:
    x, y = data(n_images, n_units)
    fit = fitted("ridge", x, y)
    expected = np.empty_like(y)
    for i in range(n_images):
        others = np.arange(n_images) != i
        mean_x, mean_y = x[others].mean(0), y[others].mean(0)
        a, b = x[others] - mean_x, y[others] - mean_y
        for t in range(y.shape[1]):
            weights = np.linalg.solve(a.T @ a + fit.alpha[t] * np.eye(n_units), a.T @ b[:, t])
            expected[i, t] = (x[i] - mean_x) @ weights
    close(renormalise.left_out_deviations(fit), expected, 1e-9)
    assert len(np.unique(fit.candidate)) > 1


def test_deviations_of_kernel_ridge_equal_those_of_refits() -> None:
    x, y = data()
    n, fit = len(x), fitted("kernel_ridge", x, y)
    p = fit.parameters
    square = ((x[:, None] - x[None]) ** 2).sum(2)
    expected = np.empty_like(y)
    for i, t in np.ndindex(*y.shape):
        b, a = divmod(int(fit.candidate[t]), len(fit.alphas))
        kernel = np.exp(-square / (2 * (p["widths"][b] * float(p["scale"])) ** 2))
        others = np.arange(n) != i
        # Ridge with a free intercept: [K + alpha I, 1; 1', 0] [c; b] = [y; 0].
        system = np.ones((n, n))
        system[:-1, :-1] = kernel[np.ix_(others, others)] + fit.alphas[a] * np.eye(n - 1)
        system[-1, -1] = 0
        solution = np.linalg.solve(system, np.append(y[others, t], 0))
        expected[i, t] = kernel[i, others] @ solution[:-1] + solution[-1] - y[others, t].mean()
    close(renormalise.left_out_deviations(fit), expected, 1e-8)


def test_banded_fits_are_renormalised_too() -> None:
    x, y = data()
    options = {"bands": np.array(["a"] * 3 + ["b"] * 4), "units_per_band": 0, "max_steps": 2}
    fit = banded.fit(x, y, y_row=np.arange(len(x)), alphas=[3.0, 30.0], **COMMON, **options)
    assert (renormalise.group_factors(fit) >= 1).all()


def test_renormalised_left_out_predictions_have_the_spread_of_the_targets() -> None:
    x, y = data()
    fit = fitted("ridge", x, y)
    deviation, factor = renormalise.left_out_deviations(fit), renormalise.group_factors(fit)
    for group, part in enumerate(np.split(np.arange(GROUPS.sum()), np.cumsum(GROUPS)[:-1])):
        spread = (factor[group] * deviation[:, part]) ** 2
        close(spread.mean(0).sum(), y[:, part].var(0).sum(), 1e-9)
    assert (factor > 1).all()


def test_train_scales_the_deviations_of_a_group_about_the_training_mean() -> None:
    x, y = data(dtype=np.float32)
    fit = fitted("ridge", x, y)
    new = ridge.predict(fit, np.random.default_rng([3]).normal(size=(5, 7)))
    scaled, factor = renormalise.renormalise(new, fit, how="train")
    mean = y.mean(0)
    close(scaled, mean + (new - mean) * np.repeat(factor, GROUPS), 1e-5)
    assert scaled.dtype == np.float32


def test_the_prediction_of_an_image_depends_on_no_other_test_image_unless_it_is_legacy() -> None:
    x, y = data(dtype=np.float32)
    fit = fitted("ridge", x, y)
    new = ridge.predict(fit, np.random.default_rng([3]).normal(size=(5, 7)))
    for how, alone in (("none", True), ("train", True), ("test_legacy", False)):
        whole, part = (renormalise.renormalise(p, fit, how=how)[0] for p in (new, new[:3]))
        assert np.array_equal(whole[:3], part) == alone


def test_none_changes_nothing() -> None:
    x, y = data(dtype=np.float32)
    fit = fitted("ridge", x, y)
    same, factor = renormalise.renormalise(y, fit, how="none")
    assert same is y
    assert factor.tolist() == [1, 1, 1]


def test_legacy_gives_test_predictions_the_mean_and_deviation_of_training_targets() -> None:
    x, y = data()
    fit = fitted("ridge", x, y)
    new = ridge.predict(fit, np.random.default_rng([3]).normal(size=(9, 7)))
    scaled, factor = renormalise.renormalise(new, fit, how="test_legacy")
    close(scaled.mean(0), y.mean(0), 1e-9)
    close(scaled.std(0)[:10], y.std(0)[:10], 1e-9)
    close(scaled[:, 10], np.full(9, 3.0))  # a constant target
    close(factor[0], np.median(y.std(0)[:3] / new.std(0)[:3]), 1e-9)


def test_a_regression_that_knows_nothing_is_not_made_sure_of_itself_target_by_target() -> None:
    rng = np.random.default_rng([8])
    x, y = rng.normal(size=(40, 10)), rng.normal(size=(40, 11))
    fit = fitted("ridge", x, y, [1e5])
    new = ridge.predict(fit, rng.normal(size=(12, 10)))
    scaled, factor = renormalise.renormalise(new, fit, how="train")
    assert factor.max() <= renormalise.LARGEST
    assert ((scaled - rng.normal(size=scaled.shape)) ** 2).mean() < 1.2
    scaled, factor = renormalise.renormalise(new, fit, how="test_legacy")
    assert factor.min() > 100
    # Full spread without any knowledge: squared error doubles. This is what a report must show as R2 below 0.
    assert ((scaled - rng.normal(size=scaled.shape)) ** 2).mean() > 1.5


def test_rows_in_any_subset_of_images_are_those_of_training(tmp_path: Any) -> None:
    """A fit that uses some rows of its targets, as a memory map, and in their order."""
    x, y = data(dtype=np.float32)
    few = np.array([1, 2, 5, 7, 8, 11, 13, 14, 16, 19])
    np.save(tmp_path / "y.npy", y)
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    some = ridge.fit(x[few], mapped, y_row=few, alphas=[3.0, 30.0], **COMMON)
    alone = ridge.fit(x[few], y[few], y_row=np.arange(10), alphas=[3.0, 30.0], **COMMON)
    close(renormalise.group_factors(some), renormalise.group_factors(alone), 1e-6)
    new = np.zeros((2, 11), np.float32)
    close(*(renormalise.renormalise(new, fit, how="train")[0] for fit in (some, alone)), 1e-5)


def test_an_unknown_way_is_answered_with_those_there_are() -> None:
    x, y = data()
    with pytest.raises(ValueError, match="renormalise is 'test', expected one of none, train, test_legacy"):
        renormalise.renormalise(y, fitted("ridge", x, y), how="test")


def test_one_test_image_has_no_spread() -> None:
    x, y = data()
    with pytest.raises(ValueError, match="takes statistics of test images, and this fold tests one"):
        renormalise.renormalise(y[:1], fitted("ridge", x, y), how="test_legacy")


def test_fits_to_presentations_or_without_scores_are_refused() -> None:
    x, y = data()
    twice = ridge.fit(np.repeat(x, 2, 0) + 0.1, y, y_row=np.repeat(np.arange(20), 2), alphas=[3.0], **COMMON)
    unseen = ridge.fit(x, y, y_row=np.arange(20), alphas=[3.0], **COMMON | {"folds": "none"})
    for fit in (twice, unseen):
        with pytest.raises(ValueError, match="needs a fit to one row per image, with weights of one"):
            renormalise.left_out_deviations(fit)


def test_a_group_of_which_nothing_is_predicted_stays_at_its_mean_and_no_factor_is_above_the_bound() -> None:
    """24 images with every target at the largest penalty once were multiplied by up to 3,896."""
    rng = np.random.default_rng([4])
    x = rng.normal(size=(24, 60))
    y = np.hstack([x[:, :3] @ rng.normal(size=(3, 3)), rng.normal(size=(24, 8))])
    fit = fitted("ridge", x, y, [1e6])
    deviation = renormalise.left_out_deviations(fit)
    agreement = np.add.reduceat(((y - y.mean(0)) * deviation).sum(0), [0, 3, 9])
    full = np.sqrt(np.add.reduceat(y.var(0), [0, 3, 9]) / np.add.reduceat((deviation**2).mean(0), [0, 3, 9]))
    assert full.min() > 1000
    factor = renormalise.group_factors(fit)
    assert factor.tolist() == np.where(agreement > 0, 100.0, 0.0).tolist()
    assert set(factor.tolist()) == {0.0, 100.0}
    scaled, _ = renormalise.renormalise(ridge.predict(fit, x[:3] + 1), fit, how="train")
    out = np.repeat(factor == 0, GROUPS)
    close(scaled[:, out], np.broadcast_to(y.mean(0)[out], (3, out.sum())), 1e-12)
    said = renormalise.unusual_factors(np.stack([factor, np.full(3, 2.0)]), np.array(["a", "b", "c"]))
    assert "left at the mean, nothing is predicted in" in said
    assert "at the bound in" in said
    assert renormalise.unusual_factors(np.full((2, 3), 2.0), np.array(["a", "b", "c"])) == ""


def test_left_out_deviations_keep_their_digits_where_a_fit_passes_through_its_images() -> None:
    x, y = data(9, 30)
    fit = fitted("ridge", x, y, [1e-12])
    expected = np.empty_like(y)
    for i in range(9):
        others = np.arange(9) != i
        a, b = x[others] - x[others].mean(0), y[others] - y[others].mean(0)
        expected[i] = (x[i] - x[others].mean(0)) @ np.linalg.lstsq(a, b, rcond=1e-10)[0]
    close(renormalise.left_out_deviations(fit), expected, 1e-9)
