"""The limit that noise sets to predictions, on data whose limit is known."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from spikevaediff.evaluation import ceilings, noise_ceiling
from spikevaediff.recordings import reliability
from spikevaediff.records import Features, ImageSplit, Responses, UnitTable
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.task import Task

IDS = np.arange(4000)


def features_of(ids: np.ndarray, values: np.ndarray) -> Features:
    return Features("made", ids, values.astype(np.float32), np.array(["a", "b"]), np.array([1, 2]))


def features(values: np.ndarray) -> Features:
    return features_of(IDS, values)


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


def task_of(shown: np.ndarray, split: ImageSplit, rng: np.random.Generator) -> Task:
    """Ridge from Poisson counts of eight units to three features of which they depend."""
    true = features_of(split.image_id, rng.standard_normal((len(split.image_id), 3)).astype(np.float32))
    counts = rng.poisson(np.exp(true.values @ rng.standard_normal((3, 8)) / 2 + 2)[shown]).astype(np.uint16)
    nothing = [np.full(8, np.nan)] * 5
    responses = Responses.make(
        counts=counts[:, :, None],
        image_id=shown,
        presentation_id=np.arange(len(shown))[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=UnitTable(np.arange(8), np.ones(8, np.int64), np.full(8, "VISp"), *nothing),
    )
    options = {
        "group_size": true.group_size,
        "alphas": [5.0],
        "alpha_scope": "global",
        "folds": "image",
        "seed": 0,
    }
    return Task("made", "visual", responses, split, true, None, [], None, ridge, "none", "none", options)


def test_the_lengthening_is_that_of_tested_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training images were shown three times, tested ones ten times, whose halves are whole."""
    seen: list[np.ndarray] = []
    lengthening = reliability.lengthening
    monkeypatch.setattr(reliability, "lengthening", lambda ids: (seen.append(ids), lengthening(ids))[1])
    ids = np.arange(24)
    n = np.where(ids < 20, 3, 10)
    rng = np.random.default_rng(8)
    task = task_of(np.repeat(ids, n), ImageSplit(ids, np.where(ids < 20, -1, 0)), rng)
    result, _ = noise_ceiling.of_task(task, "made", "folds", n_draws=2, seed=0)
    assert result["lengthening"] == 2
    assert np.unique(seen[0]).tolist() == [20, 21, 22, 23]


def test_halves_predict_by_the_fit_to_all_and_are_renormalised_for_a_decoder() -> None:
    rng, ids = np.random.default_rng(3), np.arange(20)
    shown = np.repeat(ids, 6)
    task = task_of(shown, ImageSplit(ids, ids % 4), rng)
    counts, true = task.responses.counts[:, :, 0], task.features
    result, halves = noise_ceiling.of_task(task, "a test", "", n_draws=2, seed=7)
    assert result["presentations"] == [6, 6]
    assert [group["group"] for group in result["groups"]] == ["a", "b"]
    assert result["mean"]["half_correlation"] == pytest.approx(
        np.mean([group["half_correlation"] for group in result["groups"]])
    )
    # By hand: ridge in float64 to the means over all presentations, applied to those of one half.
    x = counts.reshape(20, 6, 8).mean(1)
    half = reliability.halves(shown, seed=7, draw=0)
    for which, found in enumerate(halves):
        of_half = np.stack([counts[(shown == image) & (half == which)].mean(0) for image in ids])
        for fold in range(4):
            train, test = ids % 4 != fold, ids % 4 == fold
            mean, deviation = x[train].mean(0), x[train].std(0)
            fit = Ridge(alpha=5.0, solver="svd").fit((x[train] - mean) / deviation, true.values[train].astype(float))
            expected = fit.predict((of_half[test] - mean) / deviation)
            np.testing.assert_allclose(found.values[test], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("shown", "says"), [([0, 1, 2, 3], "images were"), ([0, 1, 2, 3, 3], "some images were")])
def test_images_shown_once_have_no_ceiling_and_no_half(shown: list[int], says: str) -> None:
    ids = np.arange(4)
    responses = Responses.make(
        counts=np.ones((len(shown), 1, 1), np.uint16),
        image_id=np.array(shown),
        presentation_id=np.arange(len(shown))[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=UnitTable(ids[:1], ids[:1], np.array(["VISp"]), *[np.full(1, np.nan)] * 5),
    )
    true = features_of(ids, np.zeros((4, 3), np.float32))
    task = Task("made", "visual", responses, ImageSplit(ids, ids % 2), true, None, [], None, ridge, "none", "train", {})
    result, halves = noise_ceiling.of_task(task, "a test", "", n_draws=2, seed=0)
    assert result["absent"].startswith(f"{says} shown once")
    assert result["mean"] is None
    assert [len(half.image_id) for half in halves] == [0, 0]
    assert noise_ceiling.report_line(result).startswith(f"absent: {says} shown once")


def test_with_three_presentations_the_ceiling_is_that_of_all_three() -> None:
    rng = np.random.default_rng(7)
    true = rng.standard_normal((len(IDS), 3))
    noise = rng.standard_normal((3, len(IDS), 3))
    a, b = (features(true + n) for n in noise[:2])  # the third is in neither half
    rows = noise_ceiling.by_group([(a, b)], features(true + noise.mean(0)), features(true), 3.0)
    for row in rows:
        assert row["reliability"] == pytest.approx(1 / (1 + 1 / 3), abs=0.03)
        assert row["correlation"] == pytest.approx(row["ceiling"], abs=0.02)
    agreement = rows[1]["half_correlation"]
    assert ceilings.ceiling_of("pixcorr", agreement, 3.0) == pytest.approx(rows[1]["ceiling"])
    assert ceilings.ceiling_of("pixcorr", agreement) < rows[1]["ceiling"]
    assert ceilings.ceiling_of("ssim", agreement, 3.0) == agreement
