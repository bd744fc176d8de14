"""Means over presentations and z-scores against loops and SciPy."""

import numpy as np
import pytest
from conftest import close
from scipy.stats import zscore

from spikevaediff.recordings.preprocessing import mean_over_presentations, response_matrix, scale_of, standardise
from spikevaediff.records import Responses, UnitTable


def responses(counts, image_id):
    n_presentations, n_units, n_windows = counts.shape
    zeros = np.zeros(n_units)
    return Responses.make(
        counts=counts,
        image_id=np.asarray(image_id),
        presentation_id=np.arange(n_presentations)[:, None],
        session_id=np.array([1]),
        window_s=np.arange(2.0 * n_windows).reshape(n_windows, 2),
        units=UnitTable(
            np.arange(n_units), np.ones(n_units, int), np.full(n_units, "VISp"), zeros, zeros, zeros, zeros, zeros
        ),
    )


def drawn(n_presentations=60, n_units=7, n_windows=2):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (n_presentations, n_units, n_windows)).astype(np.uint16)
    return responses(counts, rng.permutation(np.arange(n_presentations) % 12 - 1))


@pytest.mark.parametrize(("transform", "function"), [("none", lambda x: x), ("square_root", np.sqrt)])
def test_the_mean_response_equals_that_of_a_loop_over_presentations(transform, function):
    r = drawn()
    wanted = np.array([8, 3, 0])
    x = mean_over_presentations(response_matrix(r, transform=transform), r.image_id, wanted)
    expected = [
        [
            np.mean([function(float(r.counts[p, unit, window])) for p in np.flatnonzero(r.image_id == image)])
            for window in range(2)
            for unit in range(7)
        ]
        for image in wanted
    ]
    close(x, np.array(expected))


def test_the_order_of_presentations_changes_nothing():
    r = drawn()
    order = np.random.default_rng(1).permutation(60)
    x = response_matrix(r, transform="none")
    wanted = np.arange(11)
    close(mean_over_presentations(x[order], r.image_id[order], wanted), mean_over_presentations(x, r.image_id, wanted))


def test_the_square_root_makes_poisson_variance_a_quarter_whatever_the_rate():
    rng = np.random.default_rng(0)
    counts = rng.poisson([10.0, 20.0, 80.0], (20_000, 3)).astype(np.uint16)[..., None]
    x = response_matrix(responses(counts, np.zeros(20_000, int)), transform="square_root")
    np.testing.assert_allclose(x.var(0), 0.25, atol=0.03)


def test_z_scores_of_training_rows_equal_those_of_scipy():
    x = np.random.default_rng(0).gamma(2.0, size=(30, 9))
    close(standardise(x, scale_of(x)), zscore(x))


def test_test_rows_do_not_touch_the_statistics():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 2, (20, 5)), rng.normal(size=(4, 5))
    scale = scale_of(train)
    close(standardise(test, scale), (test - train.mean(0)) / train.std(0))
    close(standardise(test[:1], scale), standardise(test, scale)[:1])


def test_a_unit_that_is_constant_in_training_becomes_zero_and_is_counted():
    train = np.random.default_rng(0).normal(size=(7, 4))
    train[:, 1] = 0.1  # its computed deviation is 1.4e-17, not 0
    test = np.ones((2, 4))
    scale = scale_of(train)
    assert scale.n_constant == 1
    assert not standardise(train, scale)[:, 1].any()
    assert not standardise(test, scale)[:, 1].any()
    assert np.isfinite(standardise(test, scale)).all()


def test_one_response_averaged_over_unequally_many_presentations_is_constant():
    """Means of 0.1 over 3 and over 4 presentations differ by rounding: z-scored, they would be a signal of size one."""
    n_shown = np.arange(1, 30)
    image_id = np.repeat(np.arange(len(n_shown)), n_shown)
    x = np.column_stack([np.full(len(image_id), 0.1), np.random.default_rng(0).normal(size=len(image_id))])
    means = mean_over_presentations(x, image_id, np.arange(len(n_shown)))
    assert len(np.unique(means[:, 0])) > 1
    scale = scale_of(means)
    assert scale.n_constant == 1
    np.testing.assert_array_equal(standardise(means, scale)[:, 0], 0)


@pytest.mark.parametrize("size", [1e-200, 1e-6, 1.0, 1e200])
@pytest.mark.parametrize("pedestal", [0.0, 1e8])
def test_z_scores_do_not_depend_on_the_unit_of_the_responses(size, pedestal):
    """At 1e-200 and 1e200 squares are 0 and infinite; at a pedestal of 1e8 float32 would hold nothing."""
    z = np.random.default_rng(1).normal(size=(40, 3))
    z = (z - z.mean(0)) / z.std(0)
    x = (z + pedestal) * size
    np.testing.assert_allclose(standardise(x, scale_of(x)), z, atol=1e-12 + pedestal * 1e-15)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda r, x: response_matrix(r, transform="log"),
            ValueError,
            "'log' does not exist, choose none or square_root",
        ),
        (lambda r, x: mean_over_presentations(x, r.image_id, np.array([0, 11, 40])), KeyError, "lacks image_id 11, 40"),
        (
            lambda r, x: mean_over_presentations(x[1:], r.image_id, np.array([0])),
            ValueError,
            "59 presentations, image_id 60",
        ),
        (lambda r, x: scale_of(x[:1]), ValueError, "at least 2 training images, got 1"),
        (lambda r, x: scale_of(x * np.nan), ValueError, "not finite in 840 of 840 places"),
    ],
)
def test_input_that_cannot_be_used_is_refused(call, error, message):
    r = drawn()
    with pytest.raises(error, match=message):
        call(r, response_matrix(r, transform="none"))
