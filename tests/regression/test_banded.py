"""Banded ridge: equals ridge on scaled units, finds the bands that carry the targets, and draws units fairly."""

import jax
import numpy as np
import pytest
from conftest import close
from sklearn.linear_model import Ridge
from test_ridge import make, spoiled

from spikevaediff.regression import fits
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import banded

ALPHAS = np.logspace(-1, 4, 6)
ONE = Budget(devices=jax.devices()[:1])
N_IMAGES = 40


def bands_and_targets(seed=0):
    """Four bands of 10 units at different powers; groups of targets from a, from b and c, and from none."""
    rng = np.random.default_rng(seed)
    a, b, c, d = (rng.standard_normal((N_IMAGES, 10)) for _ in range(4))
    x = np.hstack([a, 5 * b, 0.2 * c, d])
    weights = rng.standard_normal((3, 10, 8)) / 3
    y = np.hstack([a @ weights[0], b @ weights[1] + c @ weights[2], np.zeros((N_IMAGES, 8))])
    return x, y + 0.3 * rng.standard_normal(y.shape), np.repeat(["a", "b", "c", "d"], 10)


def run(x, y, bands, **options):
    options = {
        "y_row": np.arange(len(x)),
        "units_per_band": 0,
        "max_steps": 40,
        "alphas": ALPHAS,
        "alpha_scope": "group",
        "folds": "image",
        "seed": 0,
        "group_size": [8, 8, 8],
        "budget": ONE,
    } | options
    return banded.fit(x, y, bands=bands, **options)


@pytest.fixture(scope="module")
def learned():
    x, y, bands = bands_and_targets()
    return x, y, run(x, y, bands)


def test_weights_tell_which_band_carries_which_group(learned):
    weights = learned[2].parameters["band_weight"]
    np.testing.assert_allclose(weights.sum(1), 1.0)
    assert weights[0, 0] > 0.9
    assert weights[1, 1:3].sum() > 0.9
    assert weights[1, 1:3].min() > 0.2


def test_learned_weights_predict_left_out_images_better_than_ridge_on_bands_of_equal_power(learned):
    from spikevaediff.regression.methods import ridge

    x, y, fit = learned
    plain = ridge.fit(
        x / x.std(0),
        y,
        y_row=np.arange(N_IMAGES),
        group_size=[8, 8, 8],
        alphas=np.logspace(-1, 4, 21),
        alpha_scope="group",
        folds="image",
        seed=0,
        budget=ONE,
    )
    assert np.all(fit.group_r2.max(1)[:2] > plain.group_r2.max(1)[:2] + 0.05)


def test_predictions_and_scores_equal_ridge_of_scikit_learn_on_units_scaled_by_the_weights(learned):
    x, y, fit = learned
    scale = fit.parameters["scale"]
    assert scale.shape == (3, 40)
    x_new = x[:5] + 1
    for group in range(3):
        columns = slice(8 * group, 8 * group + 8)
        alpha = fit.alpha[columns]
        assert len(set(alpha)) == 1
        model = Ridge(alpha=alpha[0]).fit(x * scale[group], y[:, columns])
        close(banded.predict(fit, x_new, budget=ONE)[:, columns], model.predict(x_new * scale[group]))
        errors = np.empty((N_IMAGES, 8))
        for i in range(N_IMAGES):
            rest = np.arange(N_IMAGES) != i
            model = Ridge(alpha=alpha[0]).fit((x * scale[group])[rest], y[rest, columns])
            errors[i] = y[i, columns] - model.predict((x * scale[group])[[i]])[0]
        squares = ((y[:, columns] - y[:, columns].mean(0)) ** 2).sum(0)
        close(fit.loo_r2[columns], 1 - (errors**2).sum(0) / squares)


def test_power_of_a_band_does_not_matter(learned):
    x, y, fit = learned
    other = x * np.repeat([7.0, 1.0, 0.01, 3.0], 10)
    again = run(other, y, np.repeat(["a", "b", "c", "d"], 10))
    close(again.parameters["band_weight"], fit.parameters["band_weight"], 1e-4)


def test_search_descends_to_a_flat_place(learned):
    record = learned[2].convergence
    assert record.shape == (3, 41, 2)
    for loss, slope in (r[np.isfinite(r[:, 0])].T for r in record[:2]):
        assert np.all(np.diff(loss) < 0)
        assert slope[-1] < 1e-4


@pytest.mark.parametrize("scope", ["target", "global"])
def test_scopes_share_weights_as_documented(scope):
    x, y, bands = bands_and_targets()
    fit = run(x, y, bands, alpha_scope=scope)
    assert fit.parameters["band_weight"].shape == ((1, 4) if scope == "global" else (3, 4))
    assert len(set(fit.alpha)) == 1 if scope == "global" else len(set(fit.alpha[:8])) > 1
    assert banded.predict(fit, x, budget=ONE).shape == y.shape


def test_presentations_of_an_image_are_left_out_together():
    """Noise drawn anew for every image but shared by its presentations must not look predictable."""
    rng = np.random.default_rng(0)
    y_row = np.repeat(np.arange(20), 5)
    x = rng.standard_normal((20, 6))[y_row] + 0.1 * rng.standard_normal((100, 6))
    y = rng.standard_normal((20, 50))
    for folds in ("image", 4):
        fit = run(x, y, np.repeat(["a", "b"], 3), y_row=y_row, group_size=[50], folds=folds)
        assert fit.loo_r2.mean() < 0.1


def test_a_saved_fit_predicts_the_same(learned, tmp_path):
    x, _, fit = learned
    fit.save(tmp_path / "fit.npz")
    again = fits.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(banded.predict(again, x, budget=ONE), banded.predict(fit, x, budget=ONE))
    assert again.summary()["band_name"].tolist() == ["a", "b", "c", "d"]


def test_as_many_units_of_every_band_are_drawn_whatever_other_bands_there_are():
    bands = np.array(["b"] * 9 + ["a"] * 5 + ["c"] * 7)
    units = banded.equal_units(bands, 4, seed=1)
    assert np.unique(bands[units], return_counts=True)[1].tolist() == [4, 4, 4]
    assert len(set(units.tolist())) == 12
    without_c = banded.equal_units(bands[:14], 4, seed=1)
    np.testing.assert_array_equal(units[units < 14], without_c)
    assert not np.array_equal(units, banded.equal_units(bands, 4, seed=2))


def test_units_that_were_not_drawn_do_not_matter():
    x, y, bands = bands_and_targets()
    fit = run(x, y, bands, units_per_band=4, alpha_scope="global")
    rest = np.setdiff1d(np.arange(40), fit.parameters["units"])
    other = x.copy()
    other[:, rest] = 0
    close(banded.predict(fit, other, budget=ONE), banded.predict(fit, x, budget=ONE))


def test_units_that_never_vary_are_not_drawn():
    x, y, bands = bands_and_targets()
    x[:, [0, 3, 12]] = 2.0
    fit = run(x, y, bands, units_per_band=8, alpha_scope="global", max_steps=2)
    assert fit.n_constant == 3
    assert not set(fit.parameters["units"]) & {0, 3, 12}
    assert np.unique(bands[fit.parameters["units"]], return_counts=True)[1].tolist() == [8, 8, 8, 8]


X, Y, Y_ROW = make(9, 6, 4)
BANDS = np.array(["a", "a", "b", "b", "c", "c"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": BANDS[:5]}, "expected one name for each of the 6 columns"),
        ({"units_per_band": 3}, "units_per_band is 3, expected 1 to 2, the smallest band of: a 2, b 2, c 2"),
        ({"x": spoiled(spoiled(X, (slice(None), 2), 1.0), (slice(None), 3), 2.0)}, "bands b have no variance"),
        ({"folds": "none"}, "folds is 'none', which only ridge knows"),
        ({"alphas": [-1.0]}, "expected one or more positive penalties"),
        ({"y": spoiled(Y, (3, 1), np.inf)}, "y is not finite in rows 3"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_its_reason(change, message):
    arguments = {"x": X, "y": Y, "y_row": Y_ROW, "group_size": [4], "bands": BANDS} | change
    with pytest.raises(ValueError, match=message):
        run(**arguments)
