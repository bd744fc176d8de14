"""Rows that are never left out (a library): fits, choices and spread against explicit refits in float64."""

from typing import Any

import jax
import numpy as np
import pytest
from conftest import close

from spikevaediff.regression import fits, renormalise
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import banded, kernel_ridge, ridge

ALPHAS = [0.3, 3.0, 30.0, 300.0]
GROUPS = np.array([3, 5])
N_REAL, N_LIBRARY, N_UNITS = 12, 25, 7
ONE = Budget(devices=jax.devices()[:1])
COMMON: dict[str, Any] = {"group_size": GROUPS, "folds": "image", "seed": 0, "budget": ONE}
KERNEL: dict[str, Any] = {"kernel": "rbf", "degree": 2, "widths": [0.7, 2.0], "width_search": "grid", "max_steps": 1}


def data(n_library: int = N_LIBRARY, dtype: type = np.float64) -> tuple[np.ndarray, np.ndarray]:
    """Real rows, then those of a library whose responses err in their own way; targets with a mean, one constant."""
    rng = np.random.default_rng(n_library)
    n = N_REAL + n_library
    latent = rng.normal(size=(n, 3))
    x = latent @ rng.normal(size=(3, N_UNITS)) + rng.normal(size=(n, N_UNITS))
    y = 5 + latent @ rng.normal(size=(3, GROUPS.sum())) + 0.5 * rng.normal(size=(n, GROUPS.sum()))
    x[N_REAL:] += 0.5  # encoding models have a bias
    y[:N_REAL, 2] = rng.normal(size=N_REAL)
    y[:, 7] = 3.0
    return x, y.astype(dtype)


def left_out(x: np.ndarray, y: np.ndarray, alpha: float, folds: list[np.ndarray]) -> np.ndarray:
    """Predictions of the real images of each fold by ridge refitted to everything else, the library included."""
    predicted = np.full((N_REAL, y.shape[1]), np.nan)
    for out in folds:
        rest = np.setdiff1d(np.arange(len(x)), out)
        mean_x, mean_y = x[rest].mean(0), y[rest].mean(0)
        a = x[rest] - mean_x
        weights = np.linalg.solve(a.T @ a + alpha * np.eye(x.shape[1]), a.T @ (y[rest] - mean_y))
        predicted[out] = (x[out] - mean_x) @ weights + mean_y
    return predicted


def losses(x: np.ndarray, y: np.ndarray, folds: list[np.ndarray]) -> np.ndarray:
    """Summed squares of the errors of real images, float64 (n_alphas, n_targets)."""
    return np.stack([((y[:N_REAL] - left_out(x, y, alpha, folds)) ** 2).sum(0) for alpha in ALPHAS])


def chosen(loss: np.ndarray, scope: str) -> np.ndarray:
    if scope == "target":
        return loss.argmin(0)
    of_group = np.add.reduceat(loss, [0, GROUPS[0]], axis=1)
    if scope == "global":
        of_group = np.broadcast_to(of_group.sum(1, keepdims=True), of_group.shape)
    return np.repeat(of_group.argmin(0), GROUPS)


@pytest.mark.parametrize("scope", ["target", "group", "global"])
@pytest.mark.parametrize(("folds", "block_mb"), [("image", 256.0), ("image", 0.01), (4, 256.0)])
def test_choice_and_scores_are_those_of_refits_without_each_real_image(
    scope: str, folds: str | int, block_mb: float
) -> None:
    """Also where Gram matrices of all images would not fit into the memory that is given."""
    x, y = data()
    given = COMMON | {"folds": folds, "budget": Budget(block_mb, ONE.devices)}
    fit = ridge.fit(x, y, y_row=np.arange(len(x)), alphas=ALPHAS, alpha_scope=scope, n_scored=N_REAL, **given)
    if folds == "image":
        parts = [np.array([i]) for i in range(N_REAL)]
    else:
        of_image = np.random.default_rng([0, folds]).permutation(np.arange(N_REAL) % folds)
        parts = [np.flatnonzero(of_image == k) for k in range(folds)]
    loss = losses(x, y, parts)
    varying = slice(0, 7)
    np.testing.assert_array_equal(fit.candidate[varying], chosen(loss, scope)[varying])
    squares = ((y[:N_REAL] - y[:N_REAL].mean(0)) ** 2).sum(0)
    taken = np.take_along_axis(loss, fit.candidate[None], 0)[0]
    close(fit.loo_r2[varying], (1 - taken / np.where(squares > 0, squares, 1))[varying], 1e-8)
    assert np.isnan(fit.loo_r2[7])
    group_loss = np.add.reduceat(loss, [0, GROUPS[0]], axis=1)
    close(fit.group_r2, (1 - group_loss / np.add.reduceat(squares, [0, GROUPS[0]])).T, 1e-8)
    best = np.stack([left_out(x, y, alpha, parts) for alpha in ALPHAS])[fit.candidate, :, np.arange(8)].T
    correlation = [np.corrcoef(best[:, t], y[:N_REAL, t])[0, 1] for t in range(7)]
    close(fit.loo_correlation[varying], np.array(correlation), 1e-8)


def test_predictions_are_those_of_the_fit_to_all_rows() -> None:
    x, y = data()
    fit = ridge.fit(x, y, y_row=np.arange(len(x)), alphas=ALPHAS, alpha_scope="target", n_scored=N_REAL, **COMMON)
    new = np.random.default_rng(1).normal(size=(5, N_UNITS))
    mean_x, mean_y = x.mean(0), y.mean(0)
    a = x - mean_x
    expected = np.stack(
        [
            (new - mean_x) @ np.linalg.solve(a.T @ a + alpha * np.eye(N_UNITS), a.T @ (y[:, t] - mean_y[t])) + mean_y[t]
            for t, alpha in enumerate(fit.alpha)
        ],
        axis=1,
    )
    close(ridge.predict(fit, new, budget=ONE), expected, 1e-9)


def test_a_part_of_the_real_images_can_be_trained_on() -> None:
    """The rows of a fold: y holds tested images too, which the fit neither reads nor scores."""
    x, y = data()
    train = np.array([0, 2, 3, 5, 6, 7, 9, 11])
    rows = np.concatenate([train, N_REAL + np.arange(N_LIBRARY)])
    options: dict[str, Any] = {"alphas": ALPHAS, "alpha_scope": "target"} | COMMON
    spoilt = y.copy()
    spoilt[np.setdiff1d(np.arange(N_REAL), train)] = 1e6
    fit = ridge.fit(x[rows], spoilt, y_row=rows, n_scored=N_REAL, **options)
    alone = ridge.fit(x[rows], y[rows], y_row=np.arange(len(rows)), n_scored=len(train), **options)
    assert fit.n_scored == alone.n_scored == len(train)
    np.testing.assert_array_equal(fit.candidate, alone.candidate)
    close(ridge.predict(fit, x, budget=ONE), ridge.predict(alone, x, budget=ONE), 1e-12)
    close(renormalise.left_out_deviations(fit), renormalise.left_out_deviations(alone), 1e-12)


def test_spread_is_that_of_real_images_left_out(tmp_path: Any) -> None:
    x, y = data()
    fit = ridge.fit(x, y, y_row=np.arange(len(x)), alphas=ALPHAS, alpha_scope="target", n_scored=N_REAL, **COMMON)
    parts = [np.array([i]) for i in range(N_REAL)]
    every = np.stack([left_out(x, y, alpha, parts) for alpha in ALPHAS])
    predicted = every[fit.candidate, :, np.arange(8)].T
    real = y[:N_REAL]
    others = (real.sum(0) - real) / (N_REAL - 1)
    close(renormalise.left_out_deviations(fit), predicted - others, 1e-8)
    wanted = np.add.reduceat(((real - real.mean(0)) ** 2).sum(0), [0, GROUPS[0]])
    there = np.add.reduceat(((predicted - others) ** 2).sum(0), [0, GROUPS[0]])
    factor = np.sqrt(wanted / there)
    new = np.random.default_rng(2).normal(size=(4, 8))
    expected = real.mean(0) + np.repeat(factor, GROUPS) * (new - real.mean(0))
    found, factors = renormalise.renormalise(new, fit, how="train")
    close(factors, factor, 1e-8)
    close(found, expected, 1e-8)
    # A saved fit does the same.
    fit.save(tmp_path / "fit.npz")
    close(renormalise.renormalise(new, fits.load(tmp_path / "fit.npz"), how="train")[0], found, 1e-12)


def test_kernel_ridge_leaves_out_real_images_alone() -> None:
    x, y = data()
    options: dict[str, Any] = {"alphas": ALPHAS, "alpha_scope": "target"} | COMMON
    linear = kernel_ridge.fit(
        x, y, y_row=np.arange(len(x)), n_scored=N_REAL, **options | KERNEL | {"kernel": "linear", "widths": [1.0]}
    )
    primal = ridge.fit(x, y, y_row=np.arange(len(x)), n_scored=N_REAL, **options)
    np.testing.assert_array_equal(linear.candidate[:7], primal.candidate[:7])
    close(linear.loo_r2[:7], primal.loo_r2[:7], 1e-8)
    close(renormalise.left_out_deviations(linear), renormalise.left_out_deviations(primal), 1e-8)
    fit = kernel_ridge.fit(x, y, y_row=np.arange(len(x)), n_scored=N_REAL, **options | KERNEL)
    p = fit.parameters
    square = ((x[:, None] - x[None]) ** 2).sum(2)
    for t in range(7):
        width = p["widths"][fit.candidate[t] // len(ALPHAS)] * float(p["scale"])
        kernel = np.exp(-square / (2 * width**2))
        error = np.empty(N_REAL)
        for i in range(N_REAL):
            rest = np.arange(len(x)) != i
            k = kernel[np.ix_(rest, rest)]
            centre = np.eye(len(k)) - 1 / len(k)
            dual = np.linalg.solve(centre @ k @ centre + fit.alpha[t] * np.eye(len(k)), y[rest, t] - y[rest, t].mean())
            error[i] = y[i, t] - y[rest, t].mean() - (kernel[i, rest] - k.mean(0)) @ (dual - dual.mean())
        close(fit.loo_r2[t], np.array(1 - (error**2).sum() / ((y[:N_REAL, t] - y[:N_REAL, t].mean()) ** 2).sum()), 1e-7)


def test_banded_learns_weights_from_real_images_and_scores_them_alone() -> None:
    """With one band it is ridge; the weights of two are those of a fit to real images."""
    x, y = data()
    options: dict[str, Any] = {"alphas": ALPHAS, "alpha_scope": "target", "units_per_band": 0, "max_steps": 20} | COMMON
    every = np.arange(len(x))
    one = banded.fit(x, y, y_row=every, bands=np.array(["a"] * N_UNITS), n_scored=N_REAL, **options)
    plain = ridge.fit(x, y, y_row=every, n_scored=N_REAL, alphas=ALPHAS, alpha_scope="target", **COMMON)
    np.testing.assert_array_equal(one.candidate[:3], plain.candidate[:3])
    close(one.loo_r2[:7], plain.loo_r2[:7], 1e-8)
    bands = np.array(["a"] * 3 + ["b"] * 4)
    two = banded.fit(x, y, y_row=every, bands=bands, n_scored=N_REAL, **options)
    spoilt = y.copy()
    spoilt[N_REAL:] = np.random.default_rng(0).normal(size=(N_LIBRARY, y.shape[1]))
    again = banded.fit(x, spoilt, y_row=every, bands=bands, n_scored=N_REAL, **options)
    close(two.parameters["band_weight"], again.parameters["band_weight"], 1e-10)


@pytest.mark.parametrize("method", ["ridge", "kernel_ridge"])
def test_without_such_rows_everything_is_as_before(method: str) -> None:
    x, y = data(n_library=0, dtype=np.float32)
    module, more = {"ridge": (ridge, {}), "kernel_ridge": (kernel_ridge, KERNEL)}[method]
    options: dict[str, Any] = {"alphas": ALPHAS, "alpha_scope": "group"} | COMMON | more
    before = module.fit(x, y, y_row=np.arange(len(x)), **options)
    after = module.fit(x, y, y_row=np.arange(len(x)), n_scored=len(y), **options)
    assert "n_scored" not in after.parameters
    for name in ("candidate", "loo_r2", "group_r2", "coupling", "gain"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    np.testing.assert_array_equal(module.predict(before, x, budget=ONE), module.predict(after, x, budget=ONE))


def test_at_least_two_real_images_are_needed_and_gradients_know_no_library() -> None:
    x, y = data()
    options: dict[str, Any] = {"y_row": np.arange(len(x)), "alphas": ALPHAS, "alpha_scope": "global"} | COMMON
    with pytest.raises(ValueError, match="x shows 1 image, expected at least two"):
        ridge.fit(x, y, n_scored=1, **options)
    with pytest.raises(ValueError, match="folds is 13, expected 2 to 12"):
        ridge.fit(x, y, n_scored=N_REAL, **options | {"folds": 13})
    with pytest.raises(ValueError, match="takes no rows that are never left out"):
        kernel_ridge.fit(x, y, n_scored=N_REAL, **options | KERNEL | {"width_search": "gradient", "widths": [1.0]})
