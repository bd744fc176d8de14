"""R2 of features against scikit-learn's, its matrix of pairs, and constant groups."""

import numpy as np
import pytest
from conftest import close
from sklearn.metrics import r2_score

from spikevaediff.evaluation import feature_r2
from spikevaediff.records import Features, ImageSplit

IDS = np.arange(30)
SPLIT = ImageSplit(IDS, np.arange(30) % 3)
SIZE = np.array([3, 5])


def features(values: np.ndarray, size: np.ndarray = SIZE) -> Features:
    return Features("vdvae", IDS, values.astype(np.float32), np.arange(len(size)).astype(str), size)


def data(strength: float = 0.5) -> tuple[Features, Features]:
    rng = np.random.default_rng([0])
    y = rng.normal(100, 2, (30, 8))
    return features(y), features(100 + strength * (y - 100) + rng.normal(0, 0.3, (30, 8)))


def test_pairs_are_squared_distances() -> None:
    true, predicted = data()
    error, deviation = feature_r2.squares(true, predicted, SPLIT)
    y, p = true.values.astype(float), predicted.values.astype(float)
    for g, part in enumerate((slice(0, 3), slice(3, 8))):
        close(error[g], ((y[:, None, part] - p[None, :, part]) ** 2).sum(2), 1e-6)
        for j in IDS:
            mean = true.rows(SPLIT.ids(SPLIT.fold[j])[0])[:, part].astype(float).mean(0)
            close(deviation[g, j], ((y[j, part] - mean) ** 2).sum(), 1e-6)


def test_with_the_mean_of_the_test_images_it_would_be_that_of_scikit_learn() -> None:
    true, predicted = data()
    found = feature_r2.summary(true, predicted, SPLIT, n_draws=200, seed=0)
    for group, part in zip(found["groups"], (slice(0, 3), slice(3, 8)), strict=True):
        expected = r2_score(true.values[:, part], predicted.values[:, part], multioutput="variance_weighted")
        assert group["r2"] == pytest.approx(expected, abs=0.05)
    assert found["mean"] == pytest.approx(np.mean([g["r2"] for g in found["groups"]]), abs=1e-9)
    low, high = found["interval"]
    assert low < found["mean"] < high
    assert found["chance"] < 0
    assert found["p"] == pytest.approx(1 / 201)


def test_the_training_mean_has_an_r2_of_0_and_says_nothing() -> None:
    true, _ = data()
    mean = np.stack([true.rows(SPLIT.ids(k)[0]).mean(0) for k in SPLIT.fold])
    found = feature_r2.summary(true, features(mean), SPLIT, n_draws=100, seed=0)
    assert found["mean"] == pytest.approx(0, abs=1e-5)
    assert found["p"] > 0.05


def test_a_constant_group_has_no_r2_and_does_not_count() -> None:
    true, predicted = data()
    values = [np.concatenate([f.values, np.full((30, 2), 7.0, np.float32)], axis=1) for f in (true, predicted)]
    size = np.array([3, 5, 2])
    with_constant = feature_r2.summary(*(features(v, size) for v in values), SPLIT, n_draws=50, seed=0)
    assert with_constant["groups"][2] == {"group": "2", "r2": None}
    alone = feature_r2.summary(true, predicted, SPLIT, n_draws=50, seed=0)
    assert with_constant["mean"] == pytest.approx(alone["mean"], abs=1e-9)


def test_training_means_are_those_of_each_folds_training_images() -> None:
    values = np.random.default_rng([11]).normal(100, 1, (30, 8)).astype(np.float32)
    values[:, 2] = 0.1  # what never varies stays as it is
    true, split = features(values), ImageSplit(IDS, IDS % 4 - 1)
    found = feature_r2.training_means(true, split)
    expected = [values[split.fold != k].astype(np.float64).mean(0) for k in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert (found[:, 2] == np.float32(0.1)).all()
