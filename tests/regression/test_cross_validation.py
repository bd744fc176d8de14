"""Out-of-fold predictions are those of ridge regressions in float64, and no test image has a part in its own."""

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from spikevaediff.records import ImageSplit
from spikevaediff.regression import cross_validation, folds
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.renormalise import renormalise

RNG = np.random.default_rng([21])
N, N_LIBRARY, N_COLUMNS, N_TARGETS, ALPHA = 24, 40, 7, 9, 3.0
# Image 5 and those like it are only ever trained on.
SPLIT = ImageSplit(np.arange(100, 100 + N), np.where(np.arange(N) % 8 == 5, -1, np.arange(N) % 3))
X = RNG.standard_normal((N, N_COLUMNS)) * np.arange(1, N_COLUMNS + 1) + 20
Y = (X @ RNG.standard_normal((N_COLUMNS, N_TARGETS)) + 4 * RNG.standard_normal((N, N_TARGETS)) + 30).astype(np.float32)
LIBRARY = (RNG.standard_normal((4, N_LIBRARY, N_COLUMNS)) + 20).astype(np.float32)
LIBRARY_Y = RNG.standard_normal((N_LIBRARY, N_TARGETS)).astype(np.float32)
OPTIONS: dict[str, Any] = {
    "group_size": np.array([4, 5]),
    "alphas": [ALPHA],
    "alpha_scope": "global",
    "folds": "image",
    "seed": 0,
}


def predict(x: np.ndarray = X, y: np.ndarray = Y, **changed: Any) -> cross_validation.Prediction:
    return cross_validation.predict(x, y, SPLIT, ridge, OPTIONS, **changed)


def reference(tested: np.ndarray = X, *, library: bool = False) -> np.ndarray:
    found = np.empty((N, N_TARGETS))
    for fold in range(SPLIT.n_folds):
        train, test = SPLIT.fold != fold, SPLIT.fold == fold
        mean, deviation = X[train].mean(0), X[train].std(0)
        x, y = (X[train] - mean) / deviation, Y[train].astype(np.float64)
        if library:
            x = np.concatenate([x, (LIBRARY[fold].astype(np.float64) - mean) / deviation])
            y = np.concatenate([y, LIBRARY_Y])
        found[test] = Ridge(alpha=ALPHA, solver="svd").fit(x, y).predict((tested[test] - mean) / deviation)
    return found[SPLIT.fold >= 0]


def test_predictions_are_those_of_ridge_regressions_to_the_other_folds() -> None:
    found = predict()
    assert found.raw.shape == (1, 21, N_TARGETS)
    assert found.raw.dtype == np.float32
    np.testing.assert_allclose(found.raw[0], reference(), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(found.renormalised, found.raw)  # not asked for
    assert predict(y=Y.astype(np.float64)).raw.dtype == np.float64


def test_a_library_is_trained_on_with_the_responses_of_the_fold() -> None:
    found = predict(y=np.concatenate([Y, LIBRARY_Y]), library=LIBRARY)
    np.testing.assert_allclose(found.raw[0], reference(library=True), rtol=0, atol=1e-4)


def test_the_fit_to_all_images_takes_the_last_responses_of_the_library() -> None:
    y = np.concatenate([Y, LIBRARY_Y])
    fit, scale = cross_validation.fit_to_all(X, y, SPLIT, ridge, OPTIONS, library=LIBRARY)
    rows = (np.concatenate([X, LIBRARY[-1]]) - X.mean(0)) / X.std(0)
    expected = Ridge(alpha=ALPHA, solver="svd").fit(rows, y.astype(np.float64)).predict(rows)
    np.testing.assert_allclose(ridge.predict(fit, rows), expected, rtol=0, atol=1e-4)
    np.testing.assert_allclose(scale.mean, X.mean(0))
    assert fit.n_scored == N


def test_other_responses_are_predicted_from_by_the_same_fits() -> None:
    other = X + RNG.standard_normal(X.shape)
    found = predict(also=[other, X], renormalise="train", decoded=(1, 2))
    np.testing.assert_allclose(found.raw[1], reference(other), rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.raw[2], found.raw[0], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.renormalised[1], predict(renormalise="train").renormalised[0], rtol=0, atol=1e-4)


def test_predictions_are_renormalised_fold_by_fold_and_choices_are_kept() -> None:
    found = predict(renormalise="train")
    for fold in range(SPLIT.n_folds):
        train, tested = SPLIT.fold != fold, SPLIT.fold[SPLIT.fold >= 0] == fold
        z = (X[train] - X[train].mean(0)) / X[train].std(0)
        fit = ridge.fit(z, Y[train], y_row=np.arange(len(z)), **OPTIONS)
        values, factor = renormalise(found.raw[0][tested], fit, how="train")
        np.testing.assert_allclose(found.renormalised[0][tested], values, rtol=1e-5)
        np.testing.assert_allclose(found.choices[fold]["renormalise_factor"], factor, rtol=1e-6)
        np.testing.assert_array_equal(found.choices[fold]["alpha"], ALPHA)
        assert str(found.choices[fold]["renormalise"]) == "train"


def test_choices_are_saved_with_the_folds_as_first_axis(tmp_path: Any) -> None:
    found = predict()
    found.save_choices(tmp_path / "fits.npz")
    with np.load(tmp_path / "fits.npz") as saved:
        assert set(saved.files) == set(found.choices[0])
        assert saved["alpha"].shape == (3, N_TARGETS)


@pytest.mark.parametrize("fold", range(SPLIT.n_folds))
def test_neither_responses_nor_targets_of_a_test_image_change_another_prediction_of_its_fold(fold: int) -> None:
    test = SPLIT.fold == fold
    x, y = X.copy(), Y.copy()
    x[np.flatnonzero(test)[0]] += 100
    y[test] = 7
    found = predict(x, y, renormalise="train")
    same = np.flatnonzero(SPLIT.fold[SPLIT.fold >= 0] == fold)[1:]
    np.testing.assert_array_equal(found.renormalised[0][same], predict(renormalise="train").renormalised[0][same])


def test_deviations_are_those_from_the_mean_of_the_training_images() -> None:
    found = predict(deviations=True)
    mean = folds.training_mean(Y, SPLIT, dtype=np.float64)
    np.testing.assert_allclose(found.raw[0] + mean, reference(), rtol=0, atol=1e-4)
    silent = predict(np.full(X.shape, 3.0), deviations=True)
    assert not silent.raw.any()
    assert silent.choices == ()
    with pytest.raises(ValueError, match="x is constant in every column"):
        predict(np.full(X.shape, 3.0))


def test_the_mean_of_training_images_leaves_out_those_tested() -> None:
    means = folds.training_mean(np.arange(N, dtype=np.float64)[:, None, None], SPLIT)
    assert means.shape == (21, 1, 1)
    for row, image in enumerate(SPLIT.test_ids.tolist()):
        fold = SPLIT.fold[image - 100]
        assert means[row, 0, 0] == np.mean([i for i in range(N) if SPLIT.fold[i] != fold])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": X[1:]}, r"responses have the shape \(23, 7\), expected 24 images by 7 columns"),
        ({"also": [X[:, 1:]]}, r"responses have the shape \(24, 6\), expected 24 images by 7 columns"),
        ({"y": Y[1:]}, "targets have 23 rows, expected 24"),
        ({"library": LIBRARY}, "targets have 24 rows, expected 64: the images of the split, then the library"),
        ({"library": LIBRARY[1:]}, r"shape \(3, 40, 7\), and do not fit 3 folds and 7 columns: expected 4 models"),
        ({"library": LIBRARY, "deviations": True}, "deviations go without a library"),
    ],
)
def test_what_does_not_fit_together_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(**changed)
