"""Kernel ridge regression against scikit-learn and himalaya with kernels from scikit-learn, refitted for every
image."""

import jax
import numpy as np
import pytest
from conftest import close
from himalaya.kernel_ridge import KernelRidge as HimalayaKernelRidge
from scipy.spatial.distance import cdist
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import laplacian_kernel, linear_kernel, polynomial_kernel, rbf_kernel
from test_ridge import make, scores_of, spoiled
from test_ridge import run as run_ridge

from spikevaediff.regression import designs, factors, fits, held_out
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import kernel_ridge, ridge
from spikevaediff.regression.methods.kernel_ridge import _likeness, _loss_of

ALPHAS = np.logspace(-3, 2, 4)
WIDTHS = np.array([0.5, 1.0, 3.0])
ONE = Budget(devices=jax.devices()[:1])


def run(x, y, y_row, **options):
    options = {
        "kernel": "rbf",
        "degree": 2,
        "widths": WIDTHS,
        "width_search": "grid",
        "max_steps": 30,
        "alphas": ALPHAS,
        "alpha_scope": "target",
        "folds": "image",
        "seed": 0,
        "budget": ONE,
    } | options
    options.setdefault("group_size", [y.shape[1]])
    return kernel_ridge.fit(x, y, y_row=y_row, **options)


def sklearn_kernel(name, x, y_row, width):
    """The kernel of scikit-learn with the bandwidth that a width stands for, and the mean to take from responses."""
    centre = x.mean(0)
    different = y_row[:, None] != y_row[None, :]
    if name == "rbf":
        s = width * np.median(cdist(x, x)[different])
        return centre, lambda a, b: rbf_kernel(a, b, gamma=1 / (2 * s**2))
    if name == "laplacian":
        s = width * np.median(cdist(x, x, "cityblock")[different])
        return centre, lambda a, b: laplacian_kernel(a, b, gamma=1 / s)
    if name == "polynomial":
        s = width * np.sqrt(((x - centre) ** 2).sum(1).mean())
        return centre, lambda a, b: polynomial_kernel(a, b, degree=2, gamma=1 / s**2, coef0=1)
    return centre, linear_kernel


def solve(kernel, x, y, alpha, x_new):
    """Kernel ridge with a free intercept: scikit-learn after centring in feature space."""
    n = len(x)
    centring = np.eye(n) - 1 / n
    k = kernel(x, x)
    model = KernelRidge(alpha=alpha, kernel="precomputed").fit(centring @ k @ centring, y - y.mean(0))
    return (kernel(x_new, x) - k.mean(0)) @ centring @ model.dual_coef_ + y.mean(0)


@pytest.mark.parametrize("name", kernel_ridge.KERNELS)
@pytest.mark.parametrize("repeats", [1, 3])
def test_width_alpha_scores_and_predictions_equal_refits_without_each_image(name, repeats):
    x, y, y_row = make(10, 6, 5, repeats)
    widths = WIDTHS if name != "linear" else np.array([1.0])
    fit = run(x, y, y_row, kernel=name, widths=widths)
    expanded, scores, predictions = y[y_row], [], []
    x_new = make(4, 6, 5, seed=4)[0]
    for width in widths:
        centre, kernel = sklearn_kernel(name, x, y_row, width)
        for alpha in ALPHAS:
            held_out = np.empty_like(expanded)
            for image in range(10):
                out = y_row == image
                held_out[out] = solve(kernel, (x - centre)[~out], expanded[~out], alpha, (x - centre)[out])
            scores.append(scores_of(expanded, held_out))
            predictions.append(solve(kernel, x - centre, expanded, alpha, x_new - centre))
    best, columns = np.argmin([s[0] for s in scores], axis=0), np.arange(5)
    np.testing.assert_array_equal(fit.candidate, best)
    np.testing.assert_array_equal(fit.alpha, np.tile(ALPHAS, len(widths))[best])
    close(fit.loo_r2, np.array([s[1] for s in scores])[best, columns], 1e-9)
    close(fit.loo_correlation, np.array([s[2] for s in scores])[best, columns], 1e-9)
    # 1e-9: kernels of the widest polynomials and Gaussians have condition numbers of 10^7 (measured error 2e-10).
    close(kernel_ridge.predict(fit, x_new, budget=ONE), np.array(predictions)[best, :, columns].T, 1e-9)


def test_precomputed_kernel_of_himalaya_gives_the_same_predictions():
    x, y, y_row = make(12, 6, 5)
    centre, kernel = sklearn_kernel("rbf", x, y_row, 1.0)
    centring = np.eye(12) - 1 / 12
    k = kernel(x - centre, x - centre)
    model = HimalayaKernelRidge(alpha=0.1, kernel="precomputed", solver="eigenvalues").fit(
        centring @ k @ centring, y[y_row] - y.mean(0)
    )
    fit = run(x, y, y_row, widths=[1.0], alphas=[0.1])
    close(kernel_ridge.predict(fit, x, budget=ONE), model.predict(centring @ k @ centring) + y.mean(0))


def test_linear_kernel_is_ridge_with_folds():
    x, y, y_row = make(12, 6, 5, 2)
    options = {"folds": 4, "seed": 2, "alphas": ALPHAS}
    a, b = run(x, y, y_row, kernel="linear", widths=[1.0], **options), run_ridge(x, y, y_row, **options)
    np.testing.assert_array_equal(a.alpha, b.alpha)
    close(a.loo_r2, b.loo_r2)
    close(a.dof, b.dof)
    close(kernel_ridge.predict(a, x, budget=ONE), ridge.predict(b, x, budget=ONE))


@pytest.mark.parametrize("name", kernel_ridge.KERNELS)
def test_lapack_on_a_processor_and_the_program_for_accelerators_agree(name, monkeypatch):
    x, y, y_row = make(10, 6, 4, 5)
    options = {"kernel": name, "widths": WIDTHS if name != "linear" else [1.0], "folds": 3}
    monkeypatch.setattr(held_out, "LONG_FOLD", 2)
    results = []
    for on_processor in (True, False):
        monkeypatch.setattr(factors, "on_processor", lambda on_processor=on_processor: on_processor)
        fit = run(x, y, y_row, **options)
        predicted = kernel_ridge.predict(fit, x[:3] + 1, budget=ONE)
        results.append((fit.candidate, fit.loo_r2, fit.loo_correlation, fit.dof, predicted))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    for a, b in zip(results[0][1:], results[1][1:], strict=True):
        close(a, b, 1e-9)  # condition numbers of 10^7, as above


def curved(n_images=40):
    """Targets that are even functions of responses: nothing for a line to find."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n_images, 2))
    y = np.column_stack([x[:, 0] ** 2, 2 * np.cos(x[:, 1])]) + 0.2 * rng.standard_normal((n_images, 2))
    return x, y, np.arange(n_images)


def test_a_curved_relation_is_found_by_rbf_and_not_by_a_line():
    x, y, y_row = curved()
    assert run_ridge(x, y, y_row).loo_r2.max() < 0.1
    assert run(x, y, y_row).loo_r2.min() > 0.6


SLOW = [pytest.param(*case, marks=pytest.mark.slow) for case in (("laplacian", 2), ("polynomial", 1), ("rbf", 2))]


@pytest.mark.parametrize(("name", "repeats"), [("rbf", 1), *SLOW])
def test_gradient_search_reaches_a_width_that_no_fine_grid_beats(name, repeats):
    x, y, y_row = curved(24)
    x, y_row = np.repeat(x, repeats, 0), np.repeat(y_row, repeats)
    x = x + 0.05 * np.random.default_rng(1).standard_normal(x.shape)
    found = run(
        x, y, y_row, kernel=name, widths=[3.0], width_search="gradient", alpha_scope="global", alphas=[0.1, 1, 10]
    )
    loss, slope = found.convergence[0, np.isfinite(found.convergence[0, :, 0])].T
    assert np.all(np.diff(loss) < 0)
    assert slope[-1] < 1e-2 * slope[0]
    fine = run(
        x,
        y,
        y_row,
        kernel=name,
        widths=np.geomspace(0.2, 50, 24),
        alphas=np.geomspace(1e-4, 1e3, 33),  # below, rounding would decide at the largest widths: refused
        alpha_scope="global",
    )
    # The middle alpha on offer is the one that the search found, so that its loss is among those compared.
    assert found.group_r2.max() >= fine.group_r2.max() - 1e-4
    np.testing.assert_allclose(1 - loss[-1], found.group_r2[0, 1], rtol=1e-9)


def test_derivatives_of_the_search_equal_differences():
    x, y, y_row = make(8, 5, 3, 2)
    design = designs.check(x, y, y_row=y_row, group_size=[3], alphas=ALPHAS, alpha_scope="global", folds=3, seed=0)
    rows = x - x.mean(0)
    centred = y - y.mean(0)
    data = np.array([5.0, 1.0]), _likeness("rbf", rows, rows), design.root, design.targets_of_rows, design.rows_of_folds
    loss, at, h = _loss_of("rbf", 2), np.array([0.1, -0.3]), 1e-6
    value_and_gradient = jax.jit(jax.value_and_grad(lambda at: loss(at, *data, centred @ centred.T)))
    gradient = value_and_gradient(at)[1]
    differences = [(value_and_gradient(at + h * e)[0] - value_and_gradient(at - h * e)[0]) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(gradient, differences, rtol=1e-6)


def test_a_saved_fit_predicts_the_same(tmp_path):
    x, y, y_row = make(9, 6, 40, dtype=np.float32)
    a = run(x, y, y_row)
    a.save(tmp_path / "fit.npz")
    b = fits.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(
        kernel_ridge.predict(b, x + 1, budget=ONE), kernel_ridge.predict(a, x + 1, budget=ONE)
    )


@pytest.mark.parametrize("name", ["rbf", "laplacian", "polynomial"])
def test_units_that_never_vary_are_dropped(name):
    x, y, y_row = make(9, 6, 4)
    x[:, 2] = 0.1
    options = {"kernel": name, "widths": [1.0], "alphas": [0.1]}
    fit, without = run(x, y, y_row, **options), run(np.delete(x, 2, 1), y, y_row, **options)
    assert fit.n_constant == 1
    new = x + np.arange(6)
    close(kernel_ridge.predict(fit, new, budget=ONE), kernel_ridge.predict(without, np.delete(new, 2, 1), budget=ONE))


X, Y, Y_ROW = make(9, 6, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": "cubic"}, "kernel is 'cubic', expected one of linear, rbf, polynomial, laplacian"),
        ({"width_search": "random"}, "width_search is 'random', expected one of grid, gradient"),
        ({"widths": []}, "expected one or more positive multiples"),
        ({"widths": [1.0, -1.0]}, "expected one or more positive multiples"),
        ({"degree": 0}, "degree is 0, expected at least 1"),
        ({"kernel": "linear"}, "the linear kernel has no width"),
        ({"width_search": "gradient"}, "the gradient search starts from one"),
        ({"folds": "none"}, "folds is 'none', which only ridge knows"),
        ({"alphas": [0.0]}, "expected one or more positive penalties"),
        ({"y": spoiled(Y, (3, 1), np.inf)}, "y is not finite in rows 3"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_reason(change, message):
    with pytest.raises(ValueError, match=message):
        run(**({"x": X, "y": Y, "y_row": Y_ROW} | change))
