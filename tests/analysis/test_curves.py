"""Curves over time, units and presentations, on responses whose curves are known."""

import numpy as np
import pytest

from spikevaediff.analysis import curves
from spikevaediff.records import BLANK, ImageSplit, Responses, Stimuli, UnitTable

RNG = np.random.default_rng(0)


def test_a_band_holds_the_mean_and_narrows_with_the_number_of_images() -> None:
    widths = []
    for n in (20, 500):
        mean, low, high = curves.band(RNG.standard_normal((3, n)) + 5, n_resamples=500, seed=0)
        assert low < mean < high
        widths.append(high - low)
        # The band of a mean is about 4 standard errors wide.
        assert widths[-1] == pytest.approx(4 / n**0.5, rel=0.5)
    scores = RNG.standard_normal((3, 50))
    mean, low, high = curves.band(scores, n_resamples=500, seed=0)
    wide = curves.band(scores, n_resamples=500, seed=0, spread=1.5)
    assert wide == pytest.approx((mean, mean + 1.5 * (low - mean), mean + 1.5 * (high - mean)))
    again = [curves.band(np.arange(12.0).reshape(2, 6), n_resamples=50, seed=seed) for seed in (1, 1, 2)]
    assert again[0] == again[1] != again[2]


IDS = np.arange(60)
SPLIT = ImageSplit(IDS, IDS % 5)
PIXELS = RNG.standard_normal((60, 16)) + 3


def score(x: np.ndarray) -> np.ndarray:
    return curves.pixel_scores(x, PIXELS, SPLIT, alphas=[0.1, 1.0, 10.0], n_columns=20)[0]


def test_linear_responses_give_the_pixels_back_and_silent_ones_nothing() -> None:
    x = PIXELS @ RNG.standard_normal((16, 18))
    correlation, two_way = curves.pixel_scores(x, PIXELS, SPLIT, alphas=[0.01, 0.1], n_columns=18)
    assert correlation.min() > 0.99
    assert (two_way == 1).all()
    correlation, two_way = curves.pixel_scores(np.zeros((60, 3)), PIXELS, SPLIT, alphas=[0.1], n_columns=18)
    assert (correlation == 0).all()
    assert (two_way == 0.5).all()


def test_filling_up_with_columns_of_zeros_changes_nothing() -> None:
    x = PIXELS @ RNG.standard_normal((16, 7)) + RNG.standard_normal((60, 7))
    some, more = (curves.pixel_scores(x, PIXELS, SPLIT, alphas=[1.0], n_columns=n) for n in (7, 30))
    np.testing.assert_allclose(some, more, atol=1e-5)


def test_random_responses_are_at_chance() -> None:
    found = [score(np.random.default_rng(seed).standard_normal((60, 10))).mean() for seed in range(8)]
    assert abs(np.mean(found)) < 0.05


def test_more_units_predict_better_and_all_of_them_are_one_draw() -> None:
    x = PIXELS @ RNG.standard_normal((16, 20)) + 4 * RNG.standard_normal((60, 20))
    found = curves.over_units(x, score, [2, 8, 20, 500], n_draws=3, seed=0)
    assert {n: len(s) for n, s in found.items()} == {2: 3, 8: 3, 20: 1}
    means = [found[n].mean() for n in (2, 8, 20)]
    assert means == sorted(means)


def test_more_presentations_predict_better() -> None:
    shown = RNG.permutation(np.repeat(np.append(IDS, BLANK), 8))
    clean = np.vstack([np.zeros(20), PIXELS @ RNG.standard_normal((16, 20))])
    x = clean[shown + 1] + 12 * RNG.standard_normal((len(shown), 20))
    x, shown = x[1:], shown[1:]  # one image has one presentation less
    found = curves.over_presentations(x, shown, IDS, score, [1, 4, 30], n_draws=2, seed=0)
    most = 8 if shown.tolist().count(BLANK) == 7 else 7
    assert list(found) == [1, 4, most]
    means = [scores.mean() for scores in found.values()]
    assert means == sorted(means)
    fewer = curves.over_presentations(x, shown, IDS, lambda m: m[:, 0], [1], n_draws=2, seed=0)[1]
    for row, image in enumerate(IDS.tolist()):
        assert np.isin(fewer[:, row], x[shown == image, 0]).all()


def test_curves_count_units_and_not_their_time_bins() -> None:
    rng, shown = np.random.default_rng([11]), np.repeat(np.arange(12), 4)
    counts = rng.poisson(6.0, (48, 5, 2)).astype(np.uint16)
    stimuli = Stimuli("a test", np.arange(12), rng.integers(0, 256, (12, 8, 8), np.uint8))
    split = ImageSplit(np.arange(12), np.arange(12) % 3)
    found = {}
    for name, of_bins in (("bins", counts), ("whole", counts.sum(2, keepdims=True, dtype=np.uint16))):
        n_windows = of_bins.shape[2]
        responses = Responses.make(
            counts=of_bins,
            image_id=shown,
            presentation_id=np.arange(48)[:, None],
            session_id=np.array([1]),
            window_s=np.column_stack([np.arange(n_windows), np.arange(n_windows) + 1.0]),
            units=UnitTable(np.arange(5), np.ones(5, np.int64), np.array(["VISp"] * 5), *([np.zeros(5)] * 5)),
        )
        options = {"units": [2], "presentations": [1], "n_draws": 2, "size_px": 4, "alphas": [10.0]}
        rows = curves.rows(name, responses, stimuli, split, **options, n_resamples=20, seed=0)
        points = [("units", 2), ("units", 5), ("presentations", 1), ("presentations", 4)]
        assert [(row["of"], row["n"]) for row in rows] == points
        found[name] = [row["correlation"] for row in rows]
    assert found["bins"] == found["whole"]
