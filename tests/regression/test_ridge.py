"""Ridge against refits by scikit-learn and least squares by NumPy, both float64, and its properties."""

import jax
import numpy as np
import pytest
from conftest import close
from himalaya.ridge import RidgeCV as HimalayaRidgeCV
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import PredefinedSplit

from spikevaediff.regression import factors, held_out, solver
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import ridge

ALPHAS = np.logspace(-1, 4, 6)
ONE = Budget(devices=jax.devices()[:1])


def predict(fit, x, **options):
    return ridge.predict(fit, x, **({"budget": ONE} | options))


def make(n_images, n_units, n_targets, repeats=1, *, seed=0, dtype=np.float64):
    """Responses with signal and noise, distinct targets and which image each row shows (repeats in random order)."""
    rng = np.random.default_rng([seed, n_images, n_units, n_targets, repeats])
    latent = rng.standard_normal((n_images, 3))
    y_row = rng.permutation(np.repeat(np.arange(n_images), repeats))
    x = latent[y_row] @ rng.standard_normal((3, n_units)) + rng.standard_normal((len(y_row), n_units)) + 2.0
    y = latent @ rng.standard_normal((3, n_targets)) + 0.5 * rng.standard_normal((n_images, n_targets)) + 5.0
    return x, y.astype(dtype), y_row


def run(x, y, y_row, **options):
    # One device unless a test is about several: a program for eight takes longer to compile.
    options = {"alphas": ALPHAS, "alpha_scope": "target", "folds": "image", "seed": 0, "budget": ONE} | options
    options.setdefault("group_size", [y.shape[1]])
    return ridge.fit(x, y, y_row=y_row, **options)


def refit(x, y, y_row, alpha, fold):
    """Held-out predictions of scikit-learn, fitted again for every fold, targets copied to rows."""
    expanded = y[y_row].astype(np.float64)
    predicted = np.empty_like(expanded)
    for f in np.unique(fold):
        out = fold == f
        model = Ridge(alpha=alpha, solver="svd").fit(x[~out], expanded[~out])
        predicted[out] = model.predict(x[out]).reshape(out.sum(), -1)
    return predicted


def scores_of(expanded, predicted):
    """Loss, R2 and correlation over rows, each by its definition."""
    loss = ((expanded - predicted) ** 2).sum(0)
    p, t = predicted - predicted.mean(0), expanded - expanded.mean(0)
    squares = (t**2).sum(0)
    return loss, 1 - loss / squares, (p * t).sum(0) / np.sqrt((p**2).sum(0) * squares)


SHAPES = [(9, 4, 1), (9, 9, 1), (7, 20, 1), (8, 5, 4), (6, 24, 4), (6, 60, 4)]  # images, units, repeats


@pytest.mark.parametrize(("n_images", "n_units", "repeats"), SHAPES)
def test_choice_scores_and_predictions_equal_refits_without_each_image(n_images, n_units, repeats):
    x, y, y_row = make(n_images, n_units, 5, repeats)
    fit = run(x, y, y_row)
    scores = [scores_of(y[y_row], refit(x, y, y_row, a, y_row)) for a in ALPHAS]
    best = np.argmin([s[0] for s in scores], axis=0)
    np.testing.assert_array_equal(fit.alpha, ALPHAS[best])
    columns = np.arange(5)
    close(fit.loo_r2, np.array([s[1] for s in scores])[best, columns])
    close(fit.loo_correlation, np.array([s[2] for s in scores])[best, columns])
    x_new = make(4, n_units, 5, seed=2)[0]
    expected = [Ridge(alpha=a, solver="svd").fit(x, y[y_row]).predict(x_new) for a in ALPHAS]
    close(predict(fit, x_new), np.array(expected)[best, :, columns].T)


@pytest.mark.parametrize("scope", ["target", "group", "global"])
@pytest.mark.parametrize("repeats", [1, 4])
def test_k_folds_of_images_equal_refits_for_every_scope(scope, repeats):
    x, y, y_row = make(11, 6, 7, repeats)
    fit = run(x, y, y_row, folds=3, seed=5, alpha_scope=scope, group_size=[2, 4, 1])
    image_fold = np.random.default_rng([5, 3]).permutation(np.arange(11) % 3)
    loss = np.array([scores_of(y[y_row], refit(x, y, y_row, a, image_fold[y_row]))[0] for a in ALPHAS])
    groups = slice(0, 2), slice(2, 6), slice(6, 7)
    if scope == "target":
        best = loss.argmin(0)
    elif scope == "group":
        best = np.repeat([loss[:, s].sum(1).argmin() for s in groups], [2, 4, 1])
    else:
        best = np.full(7, loss.sum(1).argmin())
    np.testing.assert_array_equal(fit.alpha, ALPHAS[best])
    squares = ((y[y_row] - y[y_row].mean(0)) ** 2).sum(0)
    close(fit.loo_r2, (1 - loss / squares)[best, np.arange(7)])
    close(fit.group_r2, np.array([1 - loss[:, s].sum(1) / squares[s].sum() for s in groups]))


def test_choice_equals_leave_one_out_of_scikit_learn_when_images_are_shown_once():
    x, y, y_row = make(40, 15, 6)
    expected = RidgeCV(alphas=ALPHAS, alpha_per_target=True).fit(x, y[y_row])
    fit = run(x, y, y_row)
    np.testing.assert_array_equal(fit.alpha, expected.alpha_)
    close(predict(fit, x[:7] + 1), expected.predict(x[:7] + 1))


def test_choice_by_folds_equals_himalaya():
    x, y, y_row = make(20, 20, 5)
    image_fold = np.random.default_rng([3, 5]).permutation(np.arange(20) % 5)
    folds = PredefinedSplit(image_fold[y_row])
    expected = HimalayaRidgeCV(alphas=ALPHAS, fit_intercept=True, cv=folds).fit(x, y[y_row])
    fit = run(x, y, y_row, folds=5, seed=3)
    np.testing.assert_allclose(fit.alpha, expected.best_alphas_, rtol=1e-12)
    close(predict(fit, x + 1), expected.predict(x + 1))


@pytest.mark.parametrize("n_units", [10, 700])
def test_presentations_reduce_to_the_full_fit_over_copied_targets(n_units):
    x, y, y_row = make(12, n_units, 30, repeats=50)
    copied = y[y_row]
    fit = run(x, y, y_row, alphas=[30.0])
    centred, mean = x - x.mean(0), copied.mean(0)
    weights = np.linalg.solve(centred.T @ centred + 30.0 * np.eye(n_units), centred.T @ (copied - mean))
    close(predict(fit, x[::40]), (x[::40] - x.mean(0)) @ weights + mean)


def test_presentations_equal_weighted_image_means_with_their_scatter_in_the_penalty():
    x, y, y_row = make(12, 10, 30, repeats=50)
    means = np.array([x[y_row == g].mean(0) for g in range(12)])
    scatter = (x - means[y_row]).T @ (x - means[y_row])
    centred = means - means.mean(0)
    weights = np.linalg.solve(50 * centred.T @ centred + scatter + 30.0 * np.eye(10), 50 * centred.T @ (y - y.mean(0)))
    close(predict(run(x, y, y_row, alphas=[30.0]), x[::40]), (x[::40] - means.mean(0)) @ weights + y.mean(0))


def test_the_reduction_of_5900_presentations_is_exact():
    """All rows with copied targets, against 118 means and the scatter within images, solved apart."""
    x, y, y_row = make(118, 40, 25, repeats=50)
    x += np.random.default_rng(1).standard_normal((118, 40))[y_row]
    predicted = predict(run(x, y, y_row, alphas=[300.0]), x[::100])
    means = np.stack([np.bincount(y_row, column) / 50 for column in x.T], axis=1)
    scatter = (x - means[y_row]).T @ (x - means[y_row])
    centre, mean = means.mean(0), y.mean(0)
    between = 50 * (means - centre).T @ (means - centre)
    reduced = np.linalg.solve(between + scatter + 300 * np.eye(40), 50 * (means - centre).T @ (y - mean))
    close(predicted, (x[::100] - centre) @ reduced + mean)
    full = Ridge(alpha=300.0, solver="cholesky").fit(x, y[y_row])
    close(predicted, full.predict(x[::100]))


@pytest.mark.parametrize("folds", ["image", "none"])
@pytest.mark.parametrize("n_units", [6, 40])
def test_units_that_never_vary_are_dropped_and_counted(folds, n_units):
    x, y, y_row = make(12, n_units, 5)
    x[:, [1, 4]] = 0.1
    options = {"folds": folds, "alphas": [3.0]}
    fit, without = run(x, y, y_row, **options), run(np.delete(x, [1, 4], 1), y, y_row, **options)
    assert (fit.n_constant, without.n_constant) == (2, 0)
    assert fit.summary()["n_constant"] == 2
    x_new = x[:3] + np.arange(n_units)  # also these two vary now
    close(predict(fit, x_new), predict(without, np.delete(x_new, [1, 4], 1)))


def test_identical_presentations_equal_their_means_with_alpha_times_repeats():
    x, y, y_row = make(12, 20, 5)
    once = run(x, y, y_row)
    often = run(np.repeat(x, 5, 0), y, np.repeat(y_row, 5), alphas=5 * ALPHAS)
    close(often.alpha, 5 * once.alpha)
    close(often.loo_r2, once.loo_r2)
    close(predict(often, x + 1), predict(once, x + 1))


@pytest.mark.parametrize("alpha", np.logspace(-5, 5, 11))
@pytest.mark.parametrize("kind", ["plain", "constant columns", "duplicated rows", "duplicated units", "more units"])
def test_predictions_are_right_over_ten_decades_of_alpha(alpha, kind):
    x, y, y_row = make(30, 80 if kind == "more units" else 12, 6)
    if kind == "constant columns":
        x[:, 3:5] = 7.0
    if kind == "duplicated rows":
        x[10:20] = x[:10]
    if kind == "duplicated units":
        x[:, 6:] = x[:, :6]
    centre = x.mean(0)
    left, values, right = np.linalg.svd(x - centre, full_matrices=False)
    x_new = make(5, x.shape[1], 6, seed=3)[0]
    values[values < 1e-12 * values[0]] = 0.0  # a unit that copies another adds rounding noise, divided by alpha
    weights = right.T @ ((values / (values**2 + alpha))[:, None] * (left.T @ (y[y_row] - y.mean(0))))
    expected = (x_new - centre) @ weights + y.mean(0)
    close(predict(run(x, y, y_row, alphas=[alpha]), x_new), expected)
    # float32 targets: everything small stays float64, so the regime of float32 does not depend on alpha.
    predicted = predict(run(x, y.astype(np.float32), y_row, alphas=[alpha]), x_new)
    assert predicted.dtype == np.float32
    close(predicted, expected)


def test_small_alpha_gives_least_squares_and_large_alpha_the_mean():
    x, y, y_row = make(30, 8, 3)
    design = np.column_stack([np.ones(30), x])
    exact = design @ np.linalg.lstsq(design, y[y_row], rcond=None)[0]
    close(predict(run(x, y, y_row, alphas=[1e-10]), x), exact)
    close(predict(run(x, y, y_row, alphas=[1e16]), x), np.broadcast_to(y.mean(0), y.shape))


@pytest.mark.parametrize(("n_units", "repeats"), [(6, 1), (6, 3), (40, 1), (40, 3)])
def test_one_alpha_without_left_out_images_gives_the_same_predictions_and_no_scores(n_units, repeats):
    x, y, y_row = make(12, n_units, 5, repeats)
    a, b = run(x, y, y_row, folds="none", alphas=[3.0]), run(x, y, y_row, alphas=[3.0])
    close(predict(a, x[:4] + 1), predict(b, x[:4] + 1))
    assert np.isnan(a.loo_r2).all()
    assert np.isnan(a.summary()["group_loo_r2"]).all()


@pytest.mark.parametrize("folds", ["image", 3, "none"])
@pytest.mark.parametrize(("n_units", "repeats"), [(6, 5), (60, 5), (6, 1)])
def test_lapack_on_a_processor_and_the_program_for_accelerators_agree(folds, n_units, repeats, monkeypatch):
    x, y, y_row = make(10, n_units, 4, repeats)
    options = {"folds": folds, "alphas": [3.0] if folds == "none" else ALPHAS}
    monkeypatch.setattr(held_out, "LONG_FOLD", 2)
    monkeypatch.setattr(held_out, "WIDE", 45)  # four of the six penalties in one product, then two
    results = []
    for on_processor in (True, False):
        monkeypatch.setattr(factors, "on_processor", lambda on_processor=on_processor: on_processor)
        fit = run(x, y, y_row, **options)
        results.append((fit.candidate, fit.loo_r2, fit.loo_correlation, predict(fit, x[:3] + 1)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_folds_of_unequal_length_equal_refits_by_either_route(monkeypatch):
    x, y, _ = make(7, 5, 3, 4)
    y_row = np.sort(np.random.default_rng(3).integers(0, 7, len(x)))
    image_fold = np.random.default_rng([1, 2]).permutation(np.arange(7) % 2)
    expected = scores_of(y[y_row], refit(x, y, y_row, 10.0, image_fold[y_row]))
    monkeypatch.setattr(held_out, "LONG_FOLD", 2)
    for on_processor in (True, False):
        monkeypatch.setattr(factors, "on_processor", lambda on_processor=on_processor: on_processor)
        fit = run(x, y, y_row, alphas=[10.0], folds=2, seed=1)
        close(fit.loo_r2, expected[1])
        close(fit.loo_correlation, expected[2])


def test_a_gram_matrix_that_cannot_be_factorised_asks_for_a_larger_alpha():
    x, y, y_row = make(12, 40, 5)
    x[6:] = x[:6]
    with pytest.raises(ValueError, match="alpha 1e-30 is too small for the responses"):
        run(x, y, y_row, folds="none", alphas=[1e-30])


def large(offset=0.0):
    """Enough rows and units that float32 is considered."""
    rng = np.random.default_rng(0)
    y_row = np.repeat(np.arange(40), 50)
    y = rng.standard_normal((40, 20)).astype(np.float32)
    x = (y @ rng.standard_normal((20, 720)))[y_row] * 0.2 + rng.standard_normal((2000, 720)) + offset
    return x.astype(np.float32), y, y_row


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_large_well_conditioned_fits_are_float32_and_right(offset):
    x, y, y_row = large(offset)
    x64 = x.astype(np.float64)
    fit = run(x, y, y_row, alphas=[1.0, 100.0, 1e4])
    assert fit.precision == "float32"
    assert run(x64[:, :300], y, y_row, alphas=[1.0]).precision == "float64"
    centred, mean = x64 - x64.mean(0), y[y_row].mean(0, dtype=np.float64)
    predicted = predict(fit, x64[::100] + 0.5)
    for alpha in np.unique(fit.alpha):
        columns = fit.alpha == alpha
        target = centred.T @ (y[y_row] - mean)[:, columns]
        weights = np.linalg.solve(centred.T @ centred + alpha * np.eye(720), target)
        # float32 with 1,440,000 counts: 1e-5 is the regime that solver.centred states (measured 3e-6).
        close(predicted[:, columns], (x64[::100] + 0.5 - x64.mean(0)) @ weights + mean[columns])


def test_large_badly_conditioned_fits_stay_float64():
    x, y, y_row = large()
    assert run(x, y, y_row, alphas=[1e-4, 1.0]).precision == "float64"


def test_permuting_targets_permutes_results():
    x, y, y_row = make(12, 20, 5)
    order = np.random.default_rng(0).permutation(5)
    a, b = run(x, y, y_row), run(x, y[:, order], y_row)
    np.testing.assert_array_equal(a.alpha[order], b.alpha)
    close(b.loo_correlation, a.loo_correlation[order])
    close(predict(b, x), predict(a, x)[:, order])


def test_order_of_rows_and_of_distinct_targets_changes_nothing():
    x, y, y_row = make(11, 6, 5, repeats=4)
    rng = np.random.default_rng(0)
    rows, images = rng.permutation(44), rng.permutation(11)
    a = run(x, y, y_row)
    b = run(x[rows], y[images], np.argsort(images)[y_row[rows]])
    close(b.loo_r2, a.loo_r2)
    close(predict(b, x), predict(a, x))


def test_a_constant_added_to_targets_moves_only_the_intercept():
    x, y, y_row = make(12, 20, 5)
    a, b = run(x, y, y_row), run(x, y + 100.0, y_row)
    np.testing.assert_array_equal(a.alpha, b.alpha)
    close(b.loo_r2, a.loo_r2)
    close(predict(b, x), predict(a, x) + 100.0)


def test_units_given_twice_at_half_the_size_with_half_alpha_predict_the_same():
    x, y, y_row = make(12, 20, 5)
    a = run(x, y, y_row)
    b = run(np.hstack([x, x]) / 2, y, y_row, alphas=ALPHAS / 2)
    close(b.alpha, a.alpha / 2)
    close(predict(b, np.hstack([x, x]) / 2), predict(a, x))


def test_whole_counts_are_as_good_as_floats():
    x, y, y_row = make(12, 20, 5)
    counts = np.rint(4 * x).astype(np.int16)
    close(predict(run(counts, y, y_row), counts), predict(run(counts.astype(np.float64), y, y_row), counts))


def test_rows_of_y_that_are_not_shown_do_not_matter():
    x, y, y_row = make(12, 20, 5)
    spaced = np.full((25, 5), np.nan)
    spaced[1::2][:12] = y
    a, b = run(x, y, y_row), run(x, spaced, 2 * y_row + 1)
    close(b.loo_r2, a.loo_r2)
    close(predict(b, x), predict(a, x))


def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix():
    x, y, y_row = make(12, 6, 3, repeats=2)
    hats = [Ridge(alpha=a).fit(x, np.eye(24)).predict(x) for a in ALPHAS]
    close(run(x, y, y_row).dof, np.trace(hats, axis1=1, axis2=2))


def test_a_constant_target_has_no_score_and_is_predicted():
    x, y, y_row = make(12, 20, 5, dtype=np.float32)
    y[:, 1] = 0.1
    fit = run(x, y, y_row)
    np.testing.assert_array_equal(np.isnan(fit.loo_r2), [False, True, False, False, False])
    np.testing.assert_array_equal(np.isnan(fit.loo_correlation), [False, True, False, False, False])
    np.testing.assert_allclose(predict(fit, x)[:, 1], 0.1, rtol=1e-6)


def test_noise_targets_take_the_largest_alpha_and_the_share_at_the_edge_says_so():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 10)), rng.standard_normal((30, 200))
    fit = run(x, y, np.arange(30), alphas=[1e-6, 1e6])
    assert fit.edge_share["largest"] > 0.9
    assert fit.edge_share["smallest"] + fit.edge_share["largest"] == 1.0
    assert run(x, y, np.arange(30), alphas=[1.0]).edge_share == {"smallest": 0.0, "largest": 0.0}


def test_float16_targets_are_computed_in_float32():
    x, y, y_row = make(9, 6, 40)
    half = y.astype(np.float16)
    a, b = run(x, half, y_row), run(x, half.astype(np.float64), y_row)
    predicted = predict(a, x)
    assert predicted.dtype == np.float32
    np.testing.assert_array_equal(a.alpha, b.alpha)
    close(predicted, predict(b, x))


def spoiled(array, index, value):
    array = np.array(array, dtype=np.float64)
    array[index] = value
    return array


X, Y, Y_ROW = make(9, 6, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphas": [1.0, 0.0]}, "expected one or more positive penalties"),
        ({"alphas": [1.0, -2.0]}, "expected one or more positive penalties"),
        ({"alphas": []}, "expected one or more positive penalties"),
        ({"alphas": [1.0, 1.0]}, "expected each penalty once"),
        ({"alpha_scope": "layer"}, "alpha_scope is 'layer', expected one of target, group, global, component"),
        ({"folds": "trial"}, "folds is 'trial', expected 'image'"),
        ({"folds": "none"}, "but 6 alphas are offered"),
        ({"folds": 1}, "folds is 1, expected 2 to 9"),
        ({"folds": 10}, "folds is 10, expected 2 to 9"),
        (
            {"x": spoiled(X, (4, 2), np.nan)},
            r"x is not finite in rows 4 \(1 of 9\): units \(columns\) 2, images \(rows of y\) 3\.",
        ),
        ({"x": np.ones_like(X)}, "x is constant in every column"),
        ({"x": X[:, 0]}, r"expected \(rows, units\)"),
        ({"y": spoiled(Y, (3, 1), np.inf)}, r"y is not finite in rows 3 \(1 of 9\)"),
        ({"y": spoiled(Y, (2, 0), np.nan).astype(np.float16)}, "y is not finite in rows 2 "),
        ({"y_row": Y_ROW[:5]}, "expected one entry for each of the 9 rows"),
        ({"y_row": np.where(Y_ROW == 8, 9, Y_ROW)}, "y_row points outside the 9 rows of y in rows"),
        ({"y_row": np.zeros(9, np.int64)}, "x shows 1 image, expected at least two"),
        ({"group_size": [2, 1]}, "group_size adds up to 3, expected positive sizes for the 4 targets"),
        ({"group_size": [5, -1]}, "expected positive sizes"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_reason(change, message):
    arguments = {"x": X, "y": Y, "y_row": Y_ROW, "group_size": [4], "alphas": ALPHAS} | change
    with pytest.raises(ValueError, match=message):
        run(**arguments)


@pytest.mark.parametrize("folds", ["none", "image"])
def test_no_new_responses_have_no_predictions(folds):
    x, y, y_row = make(6, 4, 3)
    fit = run(x, y, y_row, folds=folds, alphas=[1.0])
    assert predict(fit, x[:0]).shape == (0, 3)


@pytest.mark.parametrize("n_new", [3, 24, 90])
def test_products_in_pieces_equal_the_whole(n_new):
    """More targets than one piece of a product of few rows holds, and not a multiple of it."""
    x, y, y_row = make(94, 20, 5003, dtype=np.float32)
    fit = run(x, y, y_row, folds="none", alphas=[10.0])
    new = np.random.default_rng(1).standard_normal((n_new, 20))
    expected = Ridge(alpha=10.0).fit(x, y[y_row].astype(np.float64)).predict(new)
    close(predict(fit, new), expected)


def test_new_responses_that_do_not_fit_are_refused():
    fit = run(X, Y, Y_ROW)
    with pytest.raises(ValueError, match=r"x has shape \(9, 5\), expected \(rows, 6 units\)"):
        predict(fit, X[:, :5])
    with pytest.raises(ValueError, match=r"x is not finite in rows \[4\] \(1 of 9\), units \[2\]"):
        predict(fit, spoiled(X, (4, 2), np.nan))


@pytest.mark.parametrize("devices", [1, 3])
def test_targets_that_one_given_penalty_does_not_need_are_refused_by_predict(devices, monkeypatch):
    options = {"folds": "none", "alphas": [1.0], "budget": Budget(devices=jax.devices()[:devices])}
    for dtype in (np.float64, np.float16):
        y = spoiled(spoiled(Y, (3, 1), np.inf), (5, 2), np.nan).astype(dtype)
        fit = run(X, y, Y_ROW, **options)
        with pytest.raises(ValueError, match=r"y is not finite in rows 3, 5 \(2 of 9\)"):
            predict(fit, X, budget=options["budget"])
    shown = Y_ROW != 3  # a row of y that no row of x shows is not read
    y = spoiled(Y, (3, 1), np.inf)
    expected = Ridge(alpha=1.0).fit(X[shown], y[Y_ROW[shown]]).predict(X)
    close(predict(run(X[shown], y, Y_ROW[shown], **options), X, budget=options["budget"]), expected)
    monkeypatch.setattr(solver, "takes_long", lambda x: True)
    with pytest.raises(ValueError, match=r"y is not finite in rows 3 \(1 of 9\)"):
        run(X, y, Y_ROW, **options)
