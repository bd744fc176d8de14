import numpy as np
import pytest
from conftest import close
from scipy.spatial.distance import cdist

from spikevaediff.evaluation.metrics import feature_distance
from spikevaediff.evaluation.protocols import PROTOCOLS

STRICT = PROTOCOLS["strict"]


def test_pairwise_is_the_correlation_distance_of_scipy():
    rng = np.random.default_rng(0)
    shown, reconstructed = rng.gamma(2, size=(5, 40)), rng.gamma(2, size=(3, 40))
    close(feature_distance.pairwise(shown, reconstructed, STRICT), cdist(shown, reconstructed, "correlation"))


def test_the_distance_is_0_to_itself_and_2_to_its_negative_and_ignores_scale():
    features = np.random.default_rng(1).normal(size=(4, 30))
    close(feature_distance.pairwise(features, 3 * features + 5, STRICT).diagonal() + 1, np.ones(4))
    close(feature_distance.pairwise(features, -features, STRICT).diagonal(), np.full(4, 2.0))


def test_a_constant_vector_is_at_distance_1():
    features = np.random.default_rng(2).normal(size=(3, 30))
    assert feature_distance.pairwise(features, np.ones((2, 30)), STRICT).tolist() == [[1.0, 1.0]] * 3


def test_vectors_of_two_lengths_are_refused():
    with pytest.raises(ValueError, match=r"correlation needs .* got \(2, 3\) and \(2, 4\)"):
        feature_distance.pairwise(np.ones((2, 3)), np.ones((2, 4)), STRICT)
