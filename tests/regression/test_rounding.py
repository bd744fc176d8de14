"""Left-out scores equal refits without each image whatever the penalty and the kernel, or are refused."""

import jax
import numpy as np
import pytest
from conftest import close
from scipy.spatial.distance import cdist
from test_ridge import make, scores_of

from spikevaediff.regression import factors, held_out, optimise, solver
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import banded, kernel_ridge, ridge

ONE = Budget(devices=jax.devices()[:1])
KERNEL = {"degree": 2, "width_search": "grid", "max_steps": 1}
LOST = "the smallest alpha is too small for the responses: at .* rounding may change the errors of left-out images by"


def options(y, y_row, **others):
    common = {"alpha_scope": "target", "folds": "image", "seed": 0, "budget": ONE}
    return common | {"y_row": y_row, "group_size": [y.shape[1]]} | others


def refit_ridge(x, y, alpha, fold):
    """Predictions without each fold, by least squares with the penalty as further rows: no square of x is formed."""
    predicted = np.empty_like(y)
    for f in np.unique(fold):
        out, rest = fold == f, fold != f
        mean_x, mean_y = x[rest].mean(0), y[rest].mean(0)
        rows = np.vstack([x[rest] - mean_x, np.sqrt(alpha) * np.eye(x.shape[1])])
        wanted = np.vstack([y[rest] - mean_y, np.zeros((x.shape[1], y.shape[1]))])
        predicted[out] = (x[out] - mean_x) @ np.linalg.lstsq(rows, wanted, rcond=0.0)[0] + mean_y
    return predicted


def refit_kernel(k, y, alpha, fold):
    """Predictions without each fold from [K + alpha I, 1; 1', 0] [c; b] = [y; 0]."""
    predicted = np.empty_like(y)
    for f in np.unique(fold):
        out, rest = fold == f, np.flatnonzero(fold != f)
        n = len(rest)
        system = np.ones((n + 1, n + 1))
        system[:n, :n] = k[np.ix_(rest, rest)] + alpha * np.eye(n)
        system[n, n] = 0.0
        solution = np.linalg.solve(system, np.vstack([y[rest], np.zeros((1, y.shape[1]))]))
        predicted[out] = k[np.ix_(out, rest)] @ solution[:n] + solution[n]
    return predicted


def kernel_of(name, x, width):
    """The kernel at a width in the unit of the fit, for rows that show one image each."""
    x = x - x.mean(0)
    apart = ~np.eye(len(x), dtype=bool)
    if name == "rbf":
        return np.exp(-(cdist(x, x) ** 2) / (2 * (width * np.median(cdist(x, x)[apart])) ** 2))
    if name == "laplacian":
        distance = cdist(x, x, "cityblock")
        return np.exp(-distance / (width * np.median(distance[apart])))
    if name == "polynomial":
        return (x @ x.T / (width**2 * (x**2).sum(1).mean()) + 1) ** 2
    return x @ x.T


def drawn(rng, n):
    """Responses of n images of some kind that is hard, targets, a penalty and folds."""
    p = int(rng.choice([1, n // 2 + 1, n - 1, n, 2 * n]))
    x, y = rng.standard_normal((n, p)), rng.standard_normal((n, 3))
    kind = rng.choice(["plain", "copied units", "copied rows", "large unit", "unit of one image", "few dimensions"])
    if kind == "copied units":
        x[:, p // 2 :] = x[:, : p - p // 2]
    elif kind == "copied rows" and n > 3:
        x[n // 2 :] = x[: n - n // 2]
    elif kind == "large unit":
        x[:, 0] *= 1e7
    elif kind == "unit of one image" and p > 1:
        x[:, 0] = np.arange(n) == 0
    elif kind == "few dimensions":
        x = x[:, :1] @ rng.standard_normal((1, p)) + 10.0 ** rng.uniform(-9, -1) * x
    folds = 2 if n > 3 and rng.random() < 0.3 else "image"
    fold = np.arange(n) if folds == "image" else np.random.default_rng([0, 2]).permutation(np.arange(n) % 2)
    return x, y, 10.0 ** rng.uniform(-14, 14), folds, fold


METHODS = ("ridge", *kernel_ridge.KERNELS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cases", [range(12), pytest.param(range(12, 150), marks=pytest.mark.slow)])
def test_scores_equal_refits_over_alphas_kernels_and_sizes_or_are_refused(method, cases):
    equal, refused = 0, 0
    for case in cases:
        rng = np.random.default_rng([METHODS.index(method), case])
        n = int(rng.choice([2, 9, 60] if case < 12 else [2, 3, 9, 30, 60]))
        x, y, alpha, folds, fold = drawn(rng, n)
        width = 1.0 if method == "linear" else 10.0 ** rng.uniform(-1, 1.5)
        given = options(y, np.arange(n), alphas=[alpha], folds=folds)
        try:
            if method == "ridge":
                fit = ridge.fit(x, y, **given)
            else:
                fit = kernel_ridge.fit(x, y, kernel=method, widths=[width], **KERNEL, **given)
        except ValueError as error:
            assert any(words in str(error) for words in ("rounding may change", "the median distance is zero"))  # noqa: PT017
            refused += 1
            continue
        if method == "ridge":
            predicted = refit_ridge(x, y, alpha, fold)
        else:
            predicted = refit_kernel(kernel_of(method, x, width), y, alpha, fold)
        expected = scores_of(y, predicted)[1]
        assert np.all(np.abs(fit.loo_r2 - expected) < 1e-5 * (1 + np.abs(expected))), f"case {case}"
        equal += 1
    assert equal > len(cases) / 3
    assert refused > 0 or len(cases) < 50


def noise(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((25, 60)), rng.standard_normal((25, 40))


@pytest.mark.parametrize(("seed", "mean"), [(0, -0.65), (2, -0.59), (39, -0.63)])
def test_noise_is_not_predicted_by_a_kernel_that_passes_through_its_rows(seed, mean):
    """With alpha 1e-10 and a wide kernel noise once scored 1.000."""
    x, y = noise(seed)
    fold, widths, alphas = np.arange(25), (0.5, 1.0, 2.0, 4.0), (1e-10, 1.0)
    kernels = [kernel_of("rbf", x, width) for width in widths]
    scores = [scores_of(y, refit_kernel(k, y, a, fold)) for k in kernels for a in alphas]
    loss, r2, correlation = np.moveaxis(np.array(scores), 1, 0)
    given = options(y, fold, kernel="rbf", **KERNEL)
    fit = kernel_ridge.fit(x, y, widths=widths, alphas=alphas, **given)
    best, columns = loss.argmin(0), np.arange(40)
    np.testing.assert_array_equal(fit.candidate, best)
    close(fit.loo_r2, r2[best, columns], 1e-8)
    close(fit.loo_correlation, correlation[best, columns], 1e-8)
    alone = kernel_ridge.fit(x, y, widths=[2.0], alphas=[1e-10], **given)
    close(alone.loo_r2, r2[4], 1e-8)
    assert round(alone.loo_r2.mean(), 2) == mean


def counts_and_latents(n_images=106):
    """Spike counts of 333 units, a tenth of whose variance is of 5 dimensions of the image, as z-scores; latents."""
    rng = np.random.default_rng(0)
    content = rng.standard_normal((n_images, 5))
    rate = np.exp(0.15 * content @ rng.standard_normal((5, 333)) + rng.uniform(0, 2, 333))
    x = rng.poisson(rate, (50, n_images, 333)).mean(0)
    y = content @ rng.standard_normal((5, 200)) + 5 * rng.standard_normal((n_images, 200))
    return (x - x.mean(0)) / x.std(0), y.astype(np.float32)


@pytest.mark.parametrize("left_out", [0, 1, 2, 3])
def test_a_wide_laplacian_kernel_of_counts_scores_as_refits_do(left_out):
    """Some subsets of the images once scored 0.98 where refits give less than 0.1."""
    x, y = (np.delete(values, left_out, axis=0) for values in counts_and_latents())
    n = len(x)
    k = kernel_of("laplacian", x, 16.0)
    given = options(y, np.arange(n), kernel="laplacian", widths=[16.0], **KERNEL)
    y64, alphas = y.astype(np.float64), [1e-9, 0.01, 1.0]
    scores = np.array([scores_of(y64, refit_kernel(k, y64, a, np.arange(n)))[:2] for a in alphas])
    best, columns = scores[:, 0].argmin(0), np.arange(200)
    fit = kernel_ridge.fit(x, y, alphas=alphas, **given)
    np.testing.assert_allclose(fit.loo_r2, scores[best, 1, columns], atol=1e-5)
    np.testing.assert_allclose(kernel_ridge.fit(x, y, alphas=[1e-9], **given).loo_r2, scores[0, 1], atol=1e-5)


@pytest.mark.parametrize("folds", [1, 4])
def test_the_loss_of_the_gradient_search_equals_refits_or_is_infinite(folds):
    x, y = noise(2)
    ones, infinite = np.ones(25), 0
    fold = np.arange(25) // folds
    slot = np.array(
        [np.pad(np.flatnonzero(fold == f), (0, folds - np.sum(fold == f)), constant_values=25) for f in np.unique(fold)]
    )
    gram = (y - y.mean(0)) @ (y - y.mean(0)).T
    form = jax.jit(optimise.held_out_form)
    for width, of_x in ((0.5, x), (300.0, x), (4.0, x[:, :2])):
        k = kernel_of("rbf", of_x, width)
        for alpha in 10.0 ** np.arange(-14, 3):
            loss = float(np.sum(form(k / alpha, ones, np.eye(25), slot) * gram))
            if np.isinf(loss) or np.isnan(loss):
                infinite += 1
                assert of_x.shape[1] == 2
            else:
                expected = np.sum((y - refit_kernel(k, y, alpha, fold)) ** 2)
                np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert 0 < infinite < 17
    # A hundredth of the alpha must be certain, too.
    at = 10.0 ** np.arange(-14, 3)
    finite = [[np.isfinite(np.sum(form(k / a, ones, np.eye(25), slot, s))) for a in at] for s in (1.0, 0.01)]
    assert sum(finite[0]) - sum(finite[1]) in (1, 2)


def test_the_gradient_search_finds_no_skill_in_noise():
    for seed in range(10):
        x, y = noise(seed)
        given = options(y, np.arange(25), alphas=[0.1, 1.0, 10.0], alpha_scope="global", kernel="rbf", widths=[1.0])
        fit = kernel_ridge.fit(x, y, **(KERNEL | given | {"width_search": "gradient", "max_steps": 40}))
        assert fit.group_r2.max() < 0


def test_the_search_stops_where_rounding_would_decide():
    """Targets without noise that a plane explains: the wider the kernel and the smaller alpha, the better."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 2))
    y = x @ rng.standard_normal((2, 4))
    given = options(y, np.arange(30), alphas=[1e-3, 1e-2, 1e-1], alpha_scope="global", kernel="rbf", widths=[4.0])
    fit = kernel_ridge.fit(x, y, **(KERNEL | given | {"width_search": "gradient", "max_steps": 100}))
    k = kernel_of("rbf", x, float(fit.parameters["widths"][0]))
    expected = [np.sum((y - refit_kernel(k, y, a, np.arange(30))) ** 2) for a in fit.alphas]
    left_over = (1 - fit.group_r2[0]) * np.sum((y - y.mean(0)) ** 2)
    np.testing.assert_allclose(left_over, expected, rtol=1e-3)  # of targets explained to 1e-6 and better
    assert fit.group_r2.max() > 0.9999
    with pytest.raises(ValueError, match="too small for the responses to search from"):
        kernel_ridge.fit(x, y, **(KERNEL | given | {"width_search": "gradient", "alphas": [1e-13]}))


def by_svd(x, y, alpha):
    """Left-out errors by singular values and the plain formula, where alpha leaves it its digits."""
    return scores_of(y, refit_ridge(x, y, alpha, np.arange(len(x))))[:2]


HARD = [("more units", 1e-12), ("large unit", 1e-2), ("large unit and fewer units", 1.0), ("unit of one image", 1e-6)]


@pytest.mark.parametrize(("change", "smallest"), HARD)
def test_penalties_chosen_for_hard_responses_are_those_of_least_squares(change, smallest):
    x, y, y_row = make(24, 8 if "fewer" in change or "one image" in change else 60, 30)
    if "large" in change:
        x[:, 3] *= 1e7
    if change == "unit of one image":
        x[:, 3] = y_row == 5
    alphas = [smallest, 3.0, 30.0, 1000.0]
    fit = ridge.fit(x, y, **options(y, y_row, alphas=alphas))
    scores = np.array([by_svd(x, y[y_row], alpha) for alpha in alphas])
    best, columns = scores[:, 0].argmin(0), np.arange(30)
    np.testing.assert_array_equal(fit.candidate, best)
    np.testing.assert_allclose(fit.loo_r2, scores[best, 1, columns], atol=1e-8)
    # The new responses are predicted by the same weights.
    new = x[:3] + 0.1 * np.random.default_rng(0).standard_normal((3, x.shape[1]))
    centre, mean = x.mean(0), y[y_row].mean(0)
    root = np.sqrt(fit.alpha)
    for t in range(3):
        rows = np.vstack([x - centre, root[t] * np.eye(x.shape[1])])
        wanted = np.append(y[y_row, t] - mean[t], np.zeros(x.shape[1]))
        weights = np.linalg.lstsq(rows, wanted, rcond=0.0)[0]
        np.testing.assert_allclose(
            ridge.predict(fit, new, budget=ONE)[:, t], (new - centre) @ weights + mean[t], rtol=1e-6, atol=1e-6
        )


def test_every_route_gives_the_scores_of_refits_at_tiny_penalties(monkeypatch):
    """Folds of one and of several rows; programs for accelerators, and LAPACK fold by fold."""
    for n_units, repeats in ((60, 1), (60, 3)):
        x, y, y_row = make(8, n_units, 4, repeats)
        expected = scores_of(y[y_row], refit_kernel(x @ x.T, y[y_row], 1e-11, y_row))[1]
        for on_processor, long_fold in ((True, 64), (True, 1), (False, 64)):
            monkeypatch.setattr(factors, "on_processor", lambda on_processor=on_processor: on_processor)
            monkeypatch.setattr(held_out, "LONG_FOLD", long_fold)
            given = options(y, y_row, alphas=[1e-11])
            np.testing.assert_allclose(ridge.fit(x, y, **given).loo_r2, expected, rtol=1e-6)
            fit = kernel_ridge.fit(x, y, kernel="linear", widths=[1.0], **KERNEL, **given)
            np.testing.assert_allclose(fit.loo_r2, expected, rtol=1e-6)
            bands = np.repeat(["a", "b"], [2, n_units - 2])
            fit = banded.fit(x, y, bands=bands, units_per_band=0, max_steps=0, **given)
            scaled = x * fit.parameters["scale"][0]
            refit = refit_kernel(scaled @ scaled.T, y[y_row], 1e-11, y_row)
            np.testing.assert_allclose(fit.loo_r2, scores_of(y[y_row], refit)[1], rtol=1e-6)


def test_tiny_penalties_equal_refits_for_folds_of_many_rows_or_are_refused():
    x, y, y_row = make(4, 300, 3, 70)
    x *= 1e6
    fit = ridge.fit(x, y, **options(y, y_row, alphas=[1e-12]))
    expected = scores_of(y[y_row], refit_kernel(x @ x.T, y[y_row], 1e-12, y_row))
    close(fit.loo_r2, expected[1], 1e-6)
    x[140:] = x[:140]
    with pytest.raises(ValueError, match=LOST):
        ridge.fit(x, y, **options(y, y_row, alphas=[1e-12]))


def test_float32_gives_way_where_a_unit_tells_one_presentation(monkeypatch):
    """That row's leverage is so near one that float32 has three digits of the rest."""
    monkeypatch.setattr(solver, "takes_long", lambda x: True)
    x, y, y_row = make(20, 6, 4, repeats=4)
    assert ridge.fit(x, y, **options(y, y_row, alphas=[1.0])).precision == "float32"
    x[:, 2] = 20.0 * (np.arange(80) == 7)
    fit = ridge.fit(x, y, **options(y, y_row, alphas=[0.1]))
    assert fit.precision == "float64"
    expected = scores_of(y[y_row], refit_ridge(x, y[y_row], 0.1, y_row))[1]
    np.testing.assert_allclose(fit.loo_r2, expected, atol=1e-6)


def test_what_rounding_decides_is_refused_with_its_cure():
    x, y, y_row = make(12, 30, 3)
    x[6:] = x[:6]
    with pytest.raises(ValueError, match=LOST + " .* of their size. Offer larger alphas.$"):
        ridge.fit(x, y, **options(y, y_row, alphas=[1e-30, 1.0]))
    with pytest.raises(ValueError, match=LOST):
        kernel_ridge.fit(x, y, kernel="rbf", widths=[1.0], **KERNEL, **options(y, y_row, alphas=[1e-14]))
    x, y, y_row = make(12, 30, 3)
    with pytest.raises(ValueError, match="or weights that differ less than 1 and 1e"):
        ridge.fit(x, y, **options(y, y_row, alphas=[1e-3], n_scored=6, library_weight=1e22))


@pytest.mark.parametrize("on_processor", [True, False])
@pytest.mark.parametrize("alpha", [1e-12, 1e-6, 1.0])
def test_one_given_penalty_predicts_as_least_squares_does_or_is_refused(alpha, on_processor, monkeypatch):
    monkeypatch.setattr(factors, "on_processor", lambda: on_processor)
    for n_units, copied in ((60, False), (8, False), (60, True), (8, True)):
        x, y, y_row = make(24, n_units, 5)
        if copied:
            x[12:] = x[:12]
            x[:, n_units // 2 :] = x[:, : n_units // 2]
        centre, mean = x.mean(0), y[y_row].mean(0)
        rows = np.vstack([x - centre, np.sqrt(alpha) * np.eye(n_units)])
        wanted = np.vstack([y[y_row] - mean, np.zeros((n_units, 5))])
        given = options(y, y_row, alphas=[alpha], folds="none")
        if copied and alpha == 1e-12:
            with pytest.raises(ValueError, match="alpha 1e-12 is too small for the responses"):
                ridge.fit(x, y, **given)
            continue
        new = make(4, n_units, 5, seed=3)[0]
        expected = (new - centre) @ np.linalg.lstsq(rows, wanted, rcond=0.0)[0] + mean
        close(ridge.predict(ridge.fit(x, y, **given), new, budget=ONE), expected, 1e-6)
