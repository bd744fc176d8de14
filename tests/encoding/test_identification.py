"""Identification from encoding models, against sums written out and known distributions."""

import numpy as np
import pytest
import scipy.stats
from conftest import close

from spikevaediff.encoding import identification


def test_likelihoods_are_those_of_a_normal_distribution() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 4))
    covariance = root @ root.T + np.eye(4)
    response, predicted = rng.standard_normal((3, 4)), rng.standard_normal((5, 4))
    found = identification.log_likelihood(response, predicted, covariance)
    expected = np.array(
        [[scipy.stats.multivariate_normal.logpdf(r, mean, covariance) for mean in predicted] for r in response]
    )
    close(found - found[:, :1], expected - expected[:, :1], 1e-9)


def test_large_responses_do_not_cancel() -> None:
    response = np.array([[1e9, 1e9]])
    predicted = response + np.array([[0.0, 0.5], [0.0, 1.0]])
    close(identification.log_likelihood(response, predicted, np.eye(2)), np.array([[-0.125, -0.5]]), 1e-6)


def test_ranks_count_likelier_candidates_and_ties_half() -> None:
    likelihood = np.array([[3.0, 1.0, 2.0], [1.0, 1.0, 0.0], [0.0, 5.0, 9.0]])
    np.testing.assert_array_equal(identification.rank(likelihood, np.array([0, 1, 0])), [0.0, 0.5, 2.0])


def test_a_summary_of_known_ranks() -> None:
    fold = np.repeat(np.arange(5), 4)
    ranks = np.array([0.0] * 5 + [0.5] * 2 + [3.0] * 13)
    found = identification.summary(ranks, np.full(20, 10), fold)
    assert found["top1"] == pytest.approx((5 + 2 * 0.5) / 20)
    assert found["chance"] == pytest.approx(0.1)
    assert found["two_way"] == pytest.approx(1 - ranks.mean() / 9)
    low, high = found["top1_interval"]
    assert 0 < low < found["top1"] < high < 1
    one_fold = identification.summary(ranks, np.full(20, 10), np.zeros(20, int))
    assert one_fold["p_value"] == pytest.approx(scipy.stats.binom.sf(5, 20, 0.1))
    assert found["p_value"] > one_fold["p_value"], "folds share their training images"


@pytest.mark.parametrize(("n_images", "n_candidates"), [(60, 1201), (24, 1201), (118, 3001)])
def test_without_a_success_the_p_value_is_1(n_images: int, n_candidates: int) -> None:
    """An excess is divided by the spread of folds; a deficit is not, or it would count as a success."""
    fold = np.arange(n_images) % 10
    none = identification.summary(np.full(n_images, 600.0), np.full(n_images, n_candidates), fold)
    assert none["top1"] == 0
    assert none["p_value"] == pytest.approx(1)


def test_an_image_without_another_candidate_does_not_count() -> None:
    rng = np.random.default_rng(4)
    predicted, library = 5 * rng.standard_normal((4, 4, 6)), 5 * rng.standard_normal((4, 30, 6))
    noise, own = rng.standard_normal((4, 6)), np.arange(4)
    alone = identification.of_sets([np.eye(6)] * 4, noise, own, own, own, predicted, library)
    assert list(alone) == ["all", "library"], "each fold tests one image"
    fold = np.array([0, 0, 0, 1])  # the last one is the only image of its fold
    some = identification.of_sets([np.eye(6)] * 2, noise, fold, own, fold, predicted[:2], library[:2])
    assert some["fold"]["chance"] == pytest.approx(1 / 3)
    assert some["fold"]["n_candidates"] == 3


def test_images_are_found_among_those_of_their_fold_all_and_a_library() -> None:
    rng = np.random.default_rng(1)
    fold = np.repeat([0, 1, 2], 4)
    predicted = 5 * rng.standard_normal((3, 12, 6))
    library = 5 * rng.standard_normal((3, 30, 6))
    response = predicted[fold, np.arange(12)] + 0.01 * rng.standard_normal((12, 6))
    covariances = [np.eye(6)] * 3
    found = identification.of_sets(covariances, response, fold, np.arange(12), fold, predicted, library)
    assert {name: one["top1"] for name, one in found.items()} == {"fold": 1.0, "all": 1.0, "library": 1.0}
    assert {name: one["chance"] for name, one in found.items()} == pytest.approx(
        {"fold": 1 / 4, "all": 1 / 12, "library": 1 / 31}
    )
    shuffled = identification.of_sets(covariances, response[::-1], fold, np.arange(12), fold, predicted, library)
    assert shuffled["all"]["top1"] < 0.2


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        identification.log_likelihood(np.zeros((1, 3)), np.zeros((1, 2)), np.eye(2))
    with pytest.raises(ValueError, match="not positive definite"):
        identification.log_likelihood(np.zeros((1, 2)), np.zeros((1, 2)), np.ones((2, 2)) - 2 * np.eye(2))
