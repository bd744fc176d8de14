import numpy as np
import pytest
from conftest import close

from spikevaediff.evaluation.metrics import top1, top5, two_way
from spikevaediff.evaluation.protocols import PROTOCOLS

STRICT = PROTOCOLS["strict"]


def test_the_shown_images_compete_for_each_reconstruction():
    # Reconstruction 0 is most like image 2, so it loses once of two; row-wise the answer would be another.
    similarity = np.array([[0.5, 0.6, 0.7], [0.1, 0.9, 0.3], [0.8, 0.2, 0.4]])
    assert two_way.identification(similarity).tolist() == [0.5, 1.0, 0.5]


def test_shares_count_losers_and_half_the_ties_over_the_other_images():
    similarity = np.random.default_rng(0).integers(0, 4, (7, 5)).astype(np.float64)
    expected = np.empty((7, 5))
    for i, j in np.ndindex(7, 5):
        others = np.delete(similarity[:, j], i)
        expected[i, j] = np.mean((others < similarity[i, j]) + 0.5 * (others == similarity[i, j]))
    close(two_way.shares(similarity), expected)


def test_a_tie_counts_one_half():
    assert two_way.identification(np.zeros((4, 4))).tolist() == [0.5] * 4


def test_every_reconstruction_scores_one_half_on_average_over_all_pairings():
    shares = two_way.shares(np.random.default_rng(1).normal(size=(9, 4)))
    close(shares.mean(axis=0), np.full(4, 0.5))
    assert shares.min() == 0
    assert shares.max() == 1


def test_only_the_order_of_similarities_matters():
    similarity = np.random.default_rng(2).normal(size=(8, 8))
    assert np.array_equal(two_way.shares(similarity), two_way.shares(np.exp(3 * similarity)))


def test_pairwise_ranks_the_correlations_of_flattened_activations():
    rng = np.random.default_rng(3)
    shown = rng.normal(size=(6, 3, 2, 5)).astype(np.float32)
    reconstructed = (shown + rng.normal(size=shown.shape)).astype(np.float32)
    r = np.corrcoef(shown.reshape(6, -1), reconstructed.reshape(6, -1))[:6, 6:]
    expected = [np.mean([r[i, j] < r[j, j] for i in range(6) if i != j]) for j in range(6)]
    close(two_way.pairwise(shown, reconstructed, STRICT).diagonal(), np.array(expected))


def test_perfect_reconstructions_are_all_identified_and_one_picture_for_all_scores_chance():
    shown = np.random.default_rng(4).normal(size=(10, 50))
    assert two_way.pairwise(shown, shown, STRICT).diagonal().tolist() == [1.0] * 10
    close(two_way.pairwise(shown, shown[[3] * 10], STRICT).diagonal().mean(), np.float64(0.5))


def test_unrelated_reconstructions_score_near_chance():
    rng = np.random.default_rng(5)
    scores = [two_way.pairwise(*rng.normal(size=(2, 118, 64)), STRICT).diagonal().mean() for _ in range(20)]
    assert abs(np.mean(scores) - 0.5) < 0.025  # the standard deviation of one is 0.022 to 0.026
    assert 0.44 < min(scores) < max(scores) < 0.56


def test_one_image_is_refused():
    with pytest.raises(ValueError, match=r"chooses among two or more shown images, got a matrix \(1, 1\)"):
        two_way.identification(np.ones((1, 1)))


def test_a_matrix_that_is_not_square_has_no_pairing():
    with pytest.raises(ValueError, match=r"needs a square matrix, got \(3, 2\)"):
        two_way.identification(np.ones((3, 2)))


def test_similarities_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="1 of 9 similarities are not numbers"):
        two_way.shares(np.where(np.eye(3, k=2) > 0, np.nan, 1.0))


def test_a_tie_fails_where_it_is_told_to():
    similarity = np.array([[0.5, 0.1], [0.5, 0.9]])
    assert two_way.shares(similarity, tie=0.0).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert two_way.wins(similarity, tie=0.0).tolist() == [[0.0, 1.0], [0.0, 0.0]]


def test_the_mean_of_wins_is_the_identification():
    similarity = np.random.default_rng(6).integers(0, 5, (9, 9)).astype(float)
    wins = two_way.wins(similarity)
    others = ~np.eye(9, dtype=bool)
    close(np.array([wins[others[:, j], j].mean() for j in range(9)]), two_way.identification(similarity))


def test_wins_of_the_shares_are_those_of_the_similarities():
    similarity = np.random.default_rng(8).integers(0, 4, (9, 9)).astype(float)
    for tie in (0.0, 0.5):
        shares = two_way.shares(similarity, tie=tie)
        assert np.array_equal(two_way.wins(shares, tie=tie), two_way.wins(similarity, tie=tie))


@pytest.mark.parametrize(("module", "k"), [(top1, 1), (top5, 5)])
def test_retrieval_modules_rank_the_correlations_of_activations(module, k):
    rng = np.random.default_rng(9)
    shown = rng.normal(size=(8, 3, 4))
    reconstructed = shown + 2 * rng.normal(size=shown.shape)
    r = np.corrcoef(shown.reshape(8, -1), reconstructed.reshape(8, -1))[:8, 8:]
    expected = [[float((r[:, j] > r[i, j]).sum() < k) for j in range(8)] for i in range(8)]
    assert module.pairwise(shown, reconstructed, STRICT).tolist() == expected
    assert k == module.AT_LEAST


@pytest.mark.parametrize("k", [1, 3, 7])
def test_retrieval_counts_the_places_among_the_first_and_shares_those_that_tie(k):
    rng = np.random.default_rng(7)
    similarity = rng.integers(0, 4, (7, 5)).astype(float)
    expected = np.zeros((7, 5))
    for _ in range(4000):  # ties broken at random
        order = np.argsort(-(similarity + 1e-6 * rng.random((7, 5))), axis=0)
        np.put_along_axis(expected, order[:k], np.take_along_axis(expected, order[:k], 0) + 1 / 4000, axis=0)
    found = two_way.within(similarity, k)
    assert np.abs(found - expected).max() < 0.05
    close(found.sum(axis=0), np.full(5, float(k)))


def test_retrieval_among_more_than_there_are_is_refused():
    with pytest.raises(ValueError, match="among the first 4 of 3 images; expected 1 to 3"):
        two_way.within(np.eye(3), 4)
    with pytest.raises(ValueError, match="1 of 9 similarities are not numbers"):
        two_way.within(np.where(np.eye(3, k=2) > 0, np.nan, 1.0), 1)
