"""Halves of presentations, and what their agreement says."""

import numpy as np
import pytest
from conftest import close

from spikevaediff.recordings import reliability
from spikevaediff.records import BLANK

shown = np.random.default_rng(0).permutation(np.repeat([BLANK, 0, 3, 8], [5, 4, 7, 1]))


def test_halves_are_of_equal_size_and_hold_each_presentation_once() -> None:
    half = reliability.halves(shown, seed=0, draw=0)
    for image, n in ((BLANK, 5), (0, 4), (3, 7), (8, 1)):
        assert [np.sum(half[shown == image] == h) for h in (0, 1, -1)] == [n // 2, n // 2, n % 2]


def test_halves_of_an_image_do_not_depend_on_the_other_images() -> None:
    kept = shown != 3
    np.testing.assert_array_equal(
        reliability.halves(shown[kept], seed=1, draw=2), reliability.halves(shown, seed=1, draw=2)[kept]
    )
    assert (reliability.halves(shown, seed=1, draw=2) != reliability.halves(shown, seed=1, draw=3)).any()
    assert (reliability.halves(shown, seed=1, draw=2) != reliability.halves(shown, seed=2, draw=2)).any()


def test_means_of_halves_are_means() -> None:
    x = np.random.default_rng(1).standard_normal((len(shown), 2))
    half = reliability.halves(shown, seed=0, draw=0)
    means = reliability.half_means(x, shown, half, np.array([3, 0]))
    for h, mean in enumerate(means):
        close(mean, np.stack([x[(shown == i) & (half == h)].mean(0) for i in (3, 0)]))


def test_an_image_shown_once_has_no_halves() -> None:
    half = reliability.halves(shown, seed=0, draw=0)
    with pytest.raises(KeyError, match="lacks image_id 8"):
        reliability.half_means(np.zeros((len(shown), 1)), shown, half, np.array([8]))


def test_correlation_of_columns_is_pearsons_and_nan_where_nothing_varies() -> None:
    a, b = np.random.default_rng(2).standard_normal((2, 30, 4))
    b[:, 3] = 0.1
    r = reliability.correlation_of_columns(a, b)
    close(r[:3], np.array([np.corrcoef(a[:, j], b[:, j])[0, 1] for j in range(3)]))
    assert np.isnan(r[3])


def test_spearman_and_browns_formula_predicts_the_reliability_of_wholes() -> None:
    """Independent route: signal and noise of known variance, k presentations a half."""
    rng = np.random.default_rng(3)
    signal, noise = rng.standard_normal((20_000, 1)), rng.standard_normal((20_000, 4, 10)) * 2
    wholes = signal + noise[:, :2].reshape(len(signal), -1).mean(1, keepdims=True)
    again = signal + noise[:, 2:].reshape(len(signal), -1).mean(1, keepdims=True)
    halves = [signal + noise[:, h].mean(1, keepdims=True) for h in (0, 1)]
    from_halves = reliability.spearman_brown(reliability.correlation_of_columns(*halves))
    assert from_halves == pytest.approx(reliability.correlation_of_columns(wholes, again), abs=0.01)
    assert from_halves == pytest.approx(1 / (1 + 4 / 20), abs=0.01)
    assert reliability.spearman_brown(-0.3) == 0
    assert np.isnan(reliability.spearman_brown(np.nan))


@pytest.mark.parametrize("n", [3, 4, 5, 7])
def test_of_an_odd_number_the_reliability_is_that_of_all_presentations(n: int) -> None:
    rng = np.random.default_rng(4)
    ids = np.arange(20_000)
    image_id, signal = np.repeat(ids, n), rng.standard_normal(len(ids))
    x = (np.repeat(signal, n) + 2 * rng.standard_normal(len(image_id)))[:, None]
    longer = reliability.lengthening(image_id)
    assert longer == (2 if n % 2 == 0 else pytest.approx(n / (n // 2)))
    half = np.tile(np.r_[np.zeros(n // 2), np.ones(n // 2), -np.ones(n % 2)], len(ids))  # noise has no order
    r = reliability.correlation_of_columns(*reliability.half_means(x, image_id, half, ids))
    assert reliability.spearman_brown(r, longer) == pytest.approx(1 / (1 + 4 / n), abs=0.02)


def test_lengthening_of_unequal_numbers_is_the_ratio_of_noise_variances() -> None:
    image_id = np.repeat([BLANK, 0, 1, 2, 3], [9, 2, 3, 5, 1])  # the last one has no halves
    expected = np.mean([1, 1, 1 / 2]) / np.mean([1 / 2, 1 / 3, 1 / 5])
    assert reliability.lengthening(image_id) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(reliability.lengthening(np.arange(5)))
