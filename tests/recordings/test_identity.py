"""Decoders of image identity against scikit-learn and on data whose answer is known."""

import numpy as np
import pytest

from spikevaediff.recordings import identity

RNG = np.random.default_rng(0)
shown = RNG.permutation(np.repeat(np.arange(-1, 6), 12))
X = RNG.standard_normal((len(shown), 5)) + RNG.standard_normal((7, 5))[shown]
folds = identity.folds(shown, 4)


def test_folds_are_contiguous_and_of_equal_size() -> None:
    order = np.array([1, 2, 1, 3, 2, 3, 1])
    assert identity.folds(order, 3).tolist() == [0, 0, 0, 1, 1, 2, 2]
    for n_folds in (1, 8):
        with pytest.raises(ValueError, match=f"n_folds is {n_folds}, expected 2 to 7"):
            identity.folds(order, n_folds)


@pytest.mark.parametrize("turn", [1, -1])
def test_presentations_grouped_by_image_are_tested_repetition_by_repetition(turn: int) -> None:
    order = np.argsort(shown, kind="stable")[::turn]
    assert identity.grouped_by_image(shown[order])
    assert not identity.grouped_by_image(shown)
    assert not identity.grouped_by_image(np.arange(5))
    fold = identity.folds(shown[order], 4)
    for image_id in np.unique(shown):
        assert fold[shown[order] == image_id].tolist() == np.repeat(np.arange(4), 3).tolist()
    assert identity.grouped_by_image(np.insert(np.repeat([5, 2, 9], 4), [0, 5, 12], -1))  # blanks do not matter
    clear = 20 * np.eye(7)[shown[order]] + RNG.standard_normal((len(shown), 7))
    assert identity.discriminant(clear, shown[order], fold, shrinkage=0.1).all()


@pytest.mark.parametrize("shrinkage", [0.05, 1.0])
def test_the_discriminant_is_scikit_learns_with_the_same_covariance(shrinkage: float) -> None:
    analysis = pytest.importorskip("sklearn.discriminant_analysis")

    class Shrunk:
        def fit(self, x: np.ndarray) -> "Shrunk":
            s = np.cov(x.T, bias=True)
            self.covariance_ = (1 - shrinkage) * s + shrinkage * np.diag(np.diag(s))
            return self

    correct = np.zeros(len(X), bool)
    for k in range(4):
        train = folds != k
        prior = np.full(7, 1 / 7)
        # scikit-learn weighs the covariance of each class by its prior; equal numbers in training make that the same.
        machine = analysis.LinearDiscriminantAnalysis("lsqr", priors=prior, covariance_estimator=Shrunk())
        machine.fit(X[train], shown[train])
        correct[~train] = machine.predict(X[~train]) == shown[~train]
    ours = identity.discriminant(X, shown, folds, shrinkage=shrinkage)
    assert np.mean(ours != correct) < 0.05
    assert ours.mean() > 0.4


def test_noise_is_at_chance_and_clear_signals_are_always_recognised() -> None:
    noise = RNG.standard_normal((len(shown), 5))
    assert identity.discriminant(noise, shown, folds, shrinkage=0.1).mean() < 1 / 7 + 4 * (1 / 7 / len(shown)) ** 0.5
    clear = 20 * np.eye(7)[shown] + RNG.standard_normal((len(shown), 7))
    assert identity.discriminant(clear, shown, folds, shrinkage=0.1).all()
    assert identity.support_vectors(clear, shown, folds).all()


def test_scale_and_silent_columns_change_nothing() -> None:
    expected = identity.discriminant(X, shown, folds, shrinkage=0.3)
    scaled = np.column_stack([X * [1, 10, 0.1, 5, 2] + 3, np.full(len(X), 0.1)])
    np.testing.assert_array_equal(identity.discriminant(scaled, shown, folds, shrinkage=0.3), expected)
    assert not identity.discriminant(np.zeros((len(X), 2)), shown, folds, shrinkage=0.3).any()


def test_an_image_that_was_not_trained_on_is_not_recognised() -> None:
    label = np.where(np.arange(len(shown)) < 5, 99, shown)
    assert not identity.discriminant(X, label, folds, shrinkage=0.3)[:5].any()


@pytest.mark.parametrize("shrinkage", [0.0, 1.5, -1])
def test_a_shrinkage_without_meaning_is_refused(shrinkage: float) -> None:
    with pytest.raises(ValueError, match=r"expected above 0 and at most 1"):
        identity.discriminant(X, shown, folds, shrinkage=shrinkage)
