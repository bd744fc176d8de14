"""The limit that noise sets to predictions, on data whose limit is known."""

import numpy as np
import pytest

from spikevaediff.evaluation import noise_ceiling
from spikevaediff.records import Features

IDS = np.arange(4000)


def features(values: np.ndarray) -> Features:
    return Features("made", IDS, values.astype(np.float32), np.array(["a", "b"]), np.array([1, 2]))


def test_a_perfect_decoder_of_noisy_responses_reaches_the_ceiling_and_no_more() -> None:
    rng = np.random.default_rng(0)
    true = rng.standard_normal((len(IDS), 3))
    noise = rng.standard_normal((2, len(IDS), 3)) * np.array([0.5, 1.0, 1.0])
    a, b = (features(true + n) for n in noise)
    whole = features(true + noise.mean(0))
    quiet, loud = noise_ceiling.by_group([(a, b)], whole, features(true))
    assert (quiet["group"], loud["group"]) == ("a", "b")
    # Halves: variance 1 of the signal, s^2 of the noise; wholes: s^2 / 2.
    for row, variance in ((quiet, 0.25), (loud, 1.0)):
        assert row["half_correlation"] == pytest.approx(1 / (1 + variance), abs=0.03)
        assert row["reliability"] == pytest.approx(1 / (1 + variance / 2), abs=0.03)
        assert row["ceiling"] == pytest.approx(row["reliability"] ** 0.5)
        assert row["correlation"] == pytest.approx(row["ceiling"], abs=0.02)
        assert row["share_of_ceiling"] == pytest.approx(1, abs=0.02)


def test_noise_alone_has_a_ceiling_near_zero_and_a_constant_dim_counts_as_zero() -> None:
    rng = np.random.default_rng(1)
    a, b, true = (rng.standard_normal((len(IDS), 3)) for _ in range(3))
    a[:, 0] = 2.0
    flat, noise = noise_ceiling.by_group([(features(a), features(b))], features(a), features(true))
    assert flat["half_correlation"] == flat["ceiling"] == 0
    assert flat["share_of_ceiling"] is None
    assert noise["ceiling"] < 0.25


def test_draws_are_averaged_and_rows_joined_by_id() -> None:
    rng = np.random.default_rng(2)
    a, b, true = (rng.standard_normal((len(IDS), 3)) for _ in range(3))
    pair, other = (features(true + a), features(true + b)), (features(true + b), features(a))
    both = noise_ceiling.by_group([pair, other], pair[0], features(true))
    one, two = (noise_ceiling.by_group([p], p[0], features(true)) for p in (pair, other))
    for k in (0, 1):
        assert both[k]["half_correlation"] == pytest.approx(
            (one[k]["half_correlation"] + two[k]["half_correlation"]) / 2
        )
    order = rng.permutation(len(IDS))
    first = pair[0]
    shuffled = Features("made", IDS[order], first.values[order], first.group_name, first.group_size)
    again = noise_ceiling.by_group([(shuffled, pair[1])], shuffled, features(true))
    assert again[1]["half_correlation"] == pytest.approx(one[1]["half_correlation"])
