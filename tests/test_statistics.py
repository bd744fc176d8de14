"""Chance, p-values and intervals: against direct loops, and by simulating regressions with and without signal."""

import itertools
import time

import numpy as np
import pytest
from conftest import close
from scipy import stats

from spikevaediff import statistics
from spikevaediff.metrics.pixcorr import correlation
from spikevaediff.metrics.two_way import shares, wins

FOLD = np.array([0, 1, 0, 1, 1, 0])


def test_pairings_exchange_images_within_folds_and_are_all_equally_likely() -> None:
    drawn = statistics.pairings(FOLD, n_draws=6000, seed=3)
    assert (FOLD[drawn] == FOLD).all()
    assert (np.sort(drawn, axis=1) == np.arange(6)).all()
    orders, n = np.unique(drawn[:, FOLD == 0], axis=0, return_counts=True)
    assert len(orders) == 6
    assert stats.chisquare(n).pvalue > 0.001
    assert np.array_equal(drawn, statistics.pairings(FOLD, n_draws=6000, seed=3))
    assert not np.array_equal(drawn, statistics.pairings(FOLD, n_draws=6000, seed=4))


def test_chance_is_the_mean_over_wrong_images_of_the_fold() -> None:
    matrix = np.random.default_rng([0]).normal(size=(6, 6))
    expected = np.mean([np.mean([matrix[i, j] for i in range(6) if FOLD[i] == FOLD[j] and i != j]) for j in range(6)])
    close(np.float64(statistics.chance(matrix, FOLD)), expected)


def test_folds_of_one_image_have_no_chance_and_no_p_value() -> None:
    matrix, fold = np.eye(4), np.arange(4)
    assert statistics.chance(matrix, fold) is None
    drawn = statistics.pairings(fold, n_draws=10, seed=0)
    assert statistics.p_value(matrix, fold, drawn, larger_is_better=True) is None


@pytest.mark.parametrize("larger_is_better", [True, False])
def test_the_p_value_of_one_fold_is_that_of_all_permutations(larger_is_better: bool) -> None:
    matrix = np.random.default_rng([1]).normal(size=(6, 6)) + (1.0 if larger_is_better else -1.0) * np.eye(6)
    fold, sign = np.zeros(6, int), 1 if larger_is_better else -1
    every = [sum(matrix[i, j] for j, i in enumerate(order)) for order in itertools.permutations(range(6))]
    exact = np.mean([sign * each >= sign * np.trace(matrix) - 1e-9 for each in every])
    drawn = statistics.pairings(fold, n_draws=20_000, seed=0)
    found = statistics.p_value(matrix, fold, drawn, larger_is_better=larger_is_better)
    assert abs(found - exact) < 4 * (exact * (1 - exact) / 20_000) ** 0.5 + 1e-4


def test_a_perfect_run_has_the_smallest_p_value_and_a_constant_one_has_1() -> None:
    fold = np.arange(20) % 4
    drawn = statistics.pairings(fold, n_draws=999, seed=0)
    assert statistics.p_value(np.eye(20), fold, drawn, larger_is_better=True) == 0.001
    assert statistics.p_value(np.eye(20), fold, drawn, larger_is_better=False) == 1
    assert statistics.p_value(np.full((20, 20), 0.3), fold, drawn, larger_is_better=True) == 1


def test_the_interval_of_a_mean_is_that_of_scipy() -> None:
    scores = np.random.default_rng([2]).exponential(size=80)
    counts = statistics.resampled(80, n_draws=20_000, seed=0)
    assert (counts.sum(1) == 80).all()
    found = statistics.interval_of_mean(scores, counts, 1.0)
    expected = stats.bootstrap((scores,), np.mean, n_resamples=20_000, method="BCa", rng=5).confidence_interval
    width = expected.high - expected.low
    assert abs(found[0] - expected.low) < 0.05 * width
    assert abs(found[1] - expected.high) < 0.05 * width
    wide = statistics.interval_of_mean(scores, counts, 2.0)
    close(np.array(wide) - scores.mean(), 2 * (np.array(found) - scores.mean()))


def test_the_interval_of_pairs_leaves_out_pairs_of_one_image() -> None:
    """Against a loop over drawn images, for the same draws."""
    rng = np.random.default_rng([3])
    won = rng.integers(0, 3, (12, 12)) / 2
    counts = statistics.resampled(12, n_draws=400, seed=1)
    drawn = []
    for row in counts.astype(int):
        images = np.repeat(np.arange(12), row)
        drawn.append(np.mean([won[i, j] for i, j in itertools.product(images, images) if i != j]))
    estimate = np.mean([won[i, j] for i in range(12) for j in range(12) if i != j])
    left_out = [np.mean([won[i, j] for i in range(12) for j in range(12) if len({i, j, k}) == 3]) for k in range(12)]
    close(
        np.array(statistics.interval_of_pairs(won, counts, 1.0)),
        np.array(statistics._interval(np.array(drawn), estimate, np.array(left_out), 1.0)),
        1e-9,
    )


def test_the_interval_of_a_ratio_follows_from_its_sums() -> None:
    rng = np.random.default_rng([4])
    below, counts = rng.gamma(3, size=40), statistics.resampled(40, n_draws=4000, seed=1)
    above = below * rng.uniform(0.2, 0.6, 40)
    low, high = statistics.interval_of_ratio(above, below, counts, 1.0)
    expected = stats.bootstrap(
        (above, below), lambda a, b, axis: 1 - a.sum(axis) / b.sum(axis), paired=True, n_resamples=4000, rng=1
    ).confidence_interval
    close(np.array([low, high]), np.array([expected.low, expected.high]), 0.02)


def test_scores_that_are_all_equal_have_an_interval_of_no_width() -> None:
    counts = statistics.resampled(30, n_draws=100, seed=0)
    assert statistics.interval_of_mean(np.full(30, 0.3), counts, 1.0) == pytest.approx((0.3, 0.3))
    assert statistics.interval_of_pairs(np.full((30, 30), 0.5), counts, 1.0) == pytest.approx((0.5, 0.5))


def test_holm_multiplies_the_smallest_by_their_number_and_never_goes_down() -> None:
    close(np.array(statistics.holm([0.01, 0.04, 0.03, 0.005])), np.array([0.03, 0.06, 0.06, 0.02]))
    assert statistics.holm([0.6, 0.7]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def regression(
    rng: np.random.Generator, n: int, n_folds: int, strength: float, *, hold_out: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, their predictions by a ridge of every fold, with penalties chosen by leaving out training images and
    with the spread given back; the responses hold `strength` of the image and noise."""
    mixing = np.random.default_rng([77]).normal(size=(30, 30)) / np.arange(1, 31)[:, None]
    y = rng.normal(size=(n, 30)) @ mixing + np.random.default_rng([78]).normal(size=30)
    x = rng.normal(size=(n, 40)) + strength * (y - y.mean(0)) @ np.random.default_rng([79]).normal(size=(30, 40))
    fold = np.where(np.arange(n) < n // 3, 0, -1) if hold_out else np.arange(n) % n_folds
    predicted = np.zeros_like(y)
    for k in range(fold.max() + 1):
        train, test = fold != k, fold == k
        a, z = x[train] - x[train].mean(0), y[train] - y[train].mean(0)
        value, basis = np.linalg.eigh(a @ a.T)
        best, weights = np.full(30, np.inf), np.zeros((40, 30))
        for alpha in (30.0, 300.0, 3000.0):
            smoother = 1 / len(a) + (basis * (value / (value + alpha))) @ basis.T
            loss = (((z - smoother @ z) / (1 - smoother.diagonal())[:, None]) ** 2).sum(0)
            candidate = a.T @ ((basis / (value + alpha)) @ (basis.T @ z))
            weights = np.where(loss < best, candidate, weights)
            best = np.minimum(best, loss)
        deviation = (x[test] - x[train].mean(0)) @ weights
        predicted[test] = y[train].mean(0) + deviation * z.std() / deviation.std()
    tested = fold >= 0
    return y[tested], predicted[tested], fold[tested]


@pytest.mark.slow
@pytest.mark.parametrize(("hold_out", "n"), [(False, 60), (True, 120)])
def test_without_signal_5_percent_of_runs_give_p_below_5_percent(hold_out: bool, n: int) -> None:
    """Of 1,000 runs 50 are expected, and with five folds 30 to 50, as the correction is a bound."""
    rng = np.random.default_rng([0])
    below = {"pixcorr": 0, "two_way": 0, "squared error": 0}
    for _ in range(1000):
        y, predicted, fold = regression(rng, n, 5, 0.0, hold_out=hold_out)
        drawn = statistics.pairings(fold, n_draws=499, seed=1)
        likeness = correlation(y, predicted)
        error = ((y[:, None] - predicted[None]) ** 2).sum(2)
        for name, matrix in (("pixcorr", likeness), ("two_way", shares(likeness)), ("squared error", error)):
            p = statistics.p_value(matrix, fold, drawn, larger_is_better=name != "squared error")
            assert p is not None
            below[name] += p < 0.05
    assert all(30 <= n_below <= 70 for n_below in below.values()), below


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.0, 0.05, 0.15])
def test_intervals_hold_the_mean_that_other_images_would_give(strength: float) -> None:
    """Of cross-validated runs; without the correction for folds they hold 78 to 90 % of the time."""
    rng = np.random.default_rng([1])
    matrices = [regression(rng, 60, 5, strength) for _ in range(250)]
    assert all(0.90 <= held <= 0.995 for held in coverage(matrices).values()), coverage(matrices)


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_intervals_of_a_hold_out_hold_the_mean_of_the_fit_that_was_tested(strength: float) -> None:
    """One fit, a linear map, and other test images each time."""
    rng = np.random.default_rng([2])
    mixing, offset = rng.normal(size=(30, 30)) / np.arange(1, 31)[:, None], rng.normal(size=30)
    runs = []
    for _ in range(400):
        y = rng.normal(size=(40, 30)) @ mixing + offset
        predicted = offset + strength * (y - offset) + rng.normal(size=y.shape) * 0.5
        runs.append((y, predicted, np.zeros(40, int)))
    assert all(0.92 <= held <= 0.98 for held in coverage(runs).values()), coverage(runs)


def coverage(runs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
    """Share of runs whose interval holds the mean over all of them."""
    means: dict[str, list[float]] = {"pixcorr": [], "two_way": []}
    intervals: dict[str, list[tuple[float, float]]] = {"pixcorr": [], "two_way": []}
    for y, predicted, fold in runs:
        counts = statistics.resampled(len(y), n_draws=400, seed=1)
        spread, likeness = statistics.spread_of_folds(fold), correlation(y, predicted)
        means["pixcorr"].append(float(likeness.diagonal().mean()))
        intervals["pixcorr"].append(statistics.interval_of_mean(likeness.diagonal(), counts, spread))
        means["two_way"].append(float(shares(likeness).diagonal().mean()))
        intervals["two_way"].append(statistics.interval_of_pairs(wins(likeness), counts, spread))
    return {
        name: float(np.mean([low <= np.mean(means[name]) <= high for low, high in drawn]))
        for name, drawn in intervals.items()
    }


def test_ten_thousand_draws_of_118_images_take_less_than_a_second_a_metric() -> None:
    rng, fold = np.random.default_rng([5]), np.arange(118) % 10
    matrix = rng.normal(size=(118, 118))
    started = time.process_time()
    drawn, counts = statistics.pairings(fold, n_draws=10_000, seed=0), statistics.resampled(118, n_draws=10_000, seed=0)
    for _ in range(10):  # metrics
        statistics.p_value(matrix, fold, drawn, larger_is_better=True)
        statistics.interval_of_pairs(matrix, counts, 1.0)
    assert time.process_time() - started < 10
