"""The small results: rounded means, correlations by layer, shares of penalties, tables and pictures without a date."""

import io
import json
from typing import Any

import numpy as np
import pytest
from conftest import close
from PIL import Image
from scipy import stats

from spikevaediff.records import Features, ImageSplit
from spikevaediff.report import numbers

SETTINGS = {"seed": 0, "n_draws": 2000}
METRICS = ("pixcorr", "lpips", "alexnet2")


def scores_of(run: int, absent: tuple[str, ...] = ()) -> dict[str, Any]:
    rng = np.random.default_rng([run])
    metrics: dict[str, Any] = {}
    for name in METRICS:
        values = rng.random(9)
        present = name not in absent
        metrics[name] = {
            "larger_is_better": name != "lpips",
            "absent": None if present else "no network",
            "scores": dict(zip(map(str, range(9)), values.tolist(), strict=True)) if present else None,
            "mean": float(values.mean()) if present else None,
            "interval": [float(values.mean()) - 0.1, float(values.mean()) + 0.1] if present else None,
            "chance": float(values.mean()) / 3 if present else None,
            "p": 0.001 * (run + 1) if present else None,
            "network": None if name == "pixcorr" else "a network",
            "resize": "none",
            "input_px": 9,
            "weights_sha256": {},
        }
    about = {"n_images": 9, "n_folds": 3, "source": "a simulated test", "protocol": "strict", "settings": SETTINGS}
    return about | {"metrics": metrics}


HALVES = {"metrics": {name: {"absent": None, "agreement": 0.8, "ceiling": 0.9} for name in METRICS}}


def features(values: np.ndarray, image_id: np.ndarray, group_size: list[int]) -> Features:
    names = np.array([f"{i:02d}" for i in range(len(group_size))])
    return Features("vdvae", image_id, values.astype(np.float32), names, np.array(group_size))


def test_means_are_rounded_and_wrong_pairings_are_those_of_the_first_run() -> None:
    scores = {"vdvae": scores_of(0), "grey": scores_of(1)}
    table = numbers.table(scores, HALVES)
    assert list(table) == ["vdvae", "grey", "shuffled", "noise_ceiling"]
    for run in scores:
        for name in METRICS:
            values = list(scores[run]["metrics"][name]["scores"].values())
            assert table[run][name] == round(sum(values) / 9, 3 if name == "pixcorr" else 2)
    assert table["shuffled"]["lpips"] == round(scores["vdvae"]["metrics"]["lpips"]["chance"], 2)
    assert table["shuffled"]["pixcorr"] == round(scores["vdvae"]["metrics"]["pixcorr"]["chance"], 3)
    assert table["noise_ceiling"] == dict.fromkeys(METRICS, 0.9)


def test_a_mean_next_to_zero_is_written_alike_on_both_sides_of_it() -> None:
    table = []
    for mean in (-1e-7, 1e-7):
        scores = scores_of(0)
        scores["metrics"]["pixcorr"] |= {"mean": mean, "chance": -mean}
        table.append(json.dumps(numbers.table({"vdvae": scores}, HALVES)))
        found = numbers.evidence({"vdvae": scores}, HALVES, {}, {}, hypotheses=(), compared=())
        assert str(found["runs"]["vdvae"]["pixcorr"]["mean"]) == "0.0"
    assert table[0] == table[1]
    assert "-0.0" not in table[0]


def test_an_absent_metric_is_left_out_of_the_table() -> None:
    table = numbers.table({"vdvae": scores_of(0, absent=("lpips",)), "grey": scores_of(1)}, HALVES)
    assert list(table["vdvae"]) == ["pixcorr", "alexnet2"]
    assert list(table["shuffled"]) == ["pixcorr", "alexnet2"]
    assert list(table["grey"]) == list(METRICS)


def test_correlation_by_group_is_the_mean_of_numpys_correlation_coefficients() -> None:
    rng = np.random.default_rng([4])
    group_size, n = [1, 5, 2], 30
    true = features(rng.normal(3, 2, (n, 8)), rng.permutation(n), group_size)
    predicted = features(rng.normal(size=(20, 8)) + 0.3 * true.values[5:25], true.image_id[5:25], group_size)
    expected, start = [], 0
    for size in group_size:
        dims = range(start, start + size)
        pairs = [(true.values[5:25, d].astype(float), predicted.values[:, d].astype(float)) for d in dims]
        expected.append(np.mean([np.corrcoef(a, b)[0, 1] for a, b in pairs]))
        start += size
    close(numbers.correlation_by_group(true, predicted), np.array(expected))


def test_correlation_is_one_with_itself_and_joined_by_id() -> None:
    values, ids = np.random.default_rng([5]).normal(size=(10, 6)), np.arange(10)
    true = features(values, ids, [2, 4])
    order = np.random.default_rng([6]).permutation(10)
    shuffled = features(values[order], ids[order], [2, 4])
    close(numbers.correlation_by_group(true, shuffled), np.ones(2))
    opposite = features(7 - 2 * values, ids, [2, 4])
    close(numbers.correlation_by_group(true, opposite), -np.ones(2), tolerance=1e-6)  # values are float32


def test_a_constant_dim_counts_as_no_correlation() -> None:
    values = np.random.default_rng([7]).normal(size=(10, 2))
    predicted = values.copy()
    predicted[:, 1] = 3.0
    ids = np.arange(10)
    close(numbers.correlation_by_group(features(values, ids, [2]), features(predicted, ids, [2])), np.array([0.5]))


def test_an_image_without_true_features_is_named() -> None:
    values = np.random.default_rng([8]).normal(size=(4, 2))
    with pytest.raises(KeyError, match="feature space vdvae lacks image_id 9"):
        numbers.correlation_by_group(features(values, np.arange(4), [2]), features(values, np.array([0, 1, 9, 2]), [2]))


def in_folds(n: int, n_folds: int) -> ImageSplit:
    return ImageSplit(np.arange(n), np.arange(n) % n_folds)


def test_identification_is_one_for_true_contexts_and_chance_for_training_means_and_noise() -> None:
    rng, n = np.random.default_rng([9]), 60
    true = features(rng.normal(5, 1, (n, 40)), np.arange(n), [40])
    split = in_folds(n, 6)
    shuffled = rng.permutation(n)
    assert numbers.identification_in_folds(true, features(true.values[shuffled], shuffled, [40]), split) == 1
    # What a regression without information predicts: each fold about its training mean.
    means = np.stack([true.values[split.fold != k].mean(0) for k in split.fold])
    little = means + 1e-3 * rng.normal(size=means.shape)
    assert numbers.identification_in_folds(true, features(little, np.arange(n), [40]), split) == pytest.approx(
        0.5, abs=0.1
    )
    weak = little + 1e-3 * (true.values - means)
    assert 0.7 < numbers.identification_in_folds(true, features(weak, np.arange(n), [40]), split) <= 1


def test_identification_needs_two_images_in_a_fold() -> None:
    true = features(np.random.default_rng([10]).normal(size=(4, 8)), np.arange(4), [8])
    assert np.isnan(numbers.identification_in_folds(true, true, in_folds(4, 4)))


def test_a_space_that_tells_nothing_is_in_the_evidence_as_such_and_in_no_family() -> None:
    known = {"mean": 0.1, "interval": [0.05, 0.15], "chance": -0.02, "p": 0.004, "groups": [{"group": "a", "r2": 0.1}]}
    empty = {"mean": None, "interval": [None, None], "chance": None, "p": None, "groups": [{"group": "00", "r2": None}]}
    spaces = {"vdvae": known, "text": empty}
    found = numbers.evidence({"vdvae": scores_of(0)}, HALVES, spaces, {}, hypotheses=(), compared=())["features"]
    unknown = dict.fromkeys(("mean", "low", "high", "chance", "p", "p_holm", "n"))
    assert found["text"] | {"n": None} == unknown | {"groups": empty["groups"]}
    assert found["vdvae"]["p_holm"] == 0.004  # one test, nothing to correct
    json.dumps(found, allow_nan=False)


def test_evidence_corrects_the_p_values_of_what_is_asked_together() -> None:
    scores = {"vdvae": scores_of(0, absent=("lpips",)), "control": scores_of(1), "grey": scores_of(2)}
    space = {"mean": 0.1, "interval": [0.05, 0.15], "chance": -0.02, "p": 0.004, "groups": [{"group": "a", "r2": 0.1}]}
    found = numbers.evidence(
        scores, HALVES, {"vdvae": space}, {"vdvae": []}, hypotheses=("vdvae", "control"), compared=()
    )
    assert set(found["runs"]["vdvae"]) == {"pixcorr", "alexnet2"}
    # A family of six: 0.001 twice, 0.002 three times, 0.004.
    assert [m["p_holm"] for m in found["runs"]["vdvae"].values()] == [0.006, 0.006]
    assert [m["p_holm"] for m in found["runs"]["control"].values()] == [0.008] * 3
    assert found["features"]["vdvae"]["p_holm"] == 0.008
    assert [m["p_holm"] for m in found["runs"]["grey"].values()] == [None] * 3
    entry = found["runs"]["vdvae"]["pixcorr"]
    assert entry["low"] < entry["mean"] < entry["high"]
    assert entry["n"] == 9
    assert found["metrics"]["lpips"]["absent"] == "no network"
    assert found["ceilings"] == {name: {"noise": 0.9, "agreement": 0.8} for name in ("pixcorr", "alexnet2")}


def test_differences_are_joined_by_id_and_their_intervals_are_those_of_paired_scores() -> None:
    scores = {"vdvae": scores_of(0), "diffusion": scores_of(1)}
    first, second = (scores[run]["metrics"]["pixcorr"]["scores"] for run in scores)
    paired = np.array([second[i] - first[i] for i in first])
    scores["diffusion"]["metrics"]["pixcorr"]["scores"] = dict(reversed(second.items()))
    found = numbers.differences(scores, (("diffusion", "vdvae"),))["diffusion - vdvae"]
    assert set(found) == set(METRICS)
    assert found["pixcorr"]["mean"] == pytest.approx(paired.mean(), abs=1e-4)
    expected = stats.bootstrap((paired,), np.mean, n_resamples=20_000, method="BCa", rng=0).confidence_interval
    # Three folds, each trained on twice as many images as it tests: stretched by the root of 1 + 3 / 2 about the mean.
    for name, bound in (("low", expected.low), ("high", expected.high)):
        assert found["pixcorr"][name] == pytest.approx(paired.mean() + 2.5**0.5 * (bound - paired.mean()), abs=0.034)


def test_a_metric_that_one_run_lacks_has_no_difference() -> None:
    scores = {"vdvae": scores_of(0), "diffusion": scores_of(1, absent=("lpips",))}
    assert set(numbers.differences(scores, (("diffusion", "vdvae"),))["diffusion - vdvae"]) == {"pixcorr", "alexnet2"}


def test_identification_is_rows_of_the_table_and_evidence_with_few_digits() -> None:
    sets = {
        name: {"top1": top, "top1_interval": [top / 3, 1.0], "chance": chance, "p_value": 1.2345678e-3}
        for name, top, chance in (("fold", 2 / 3, 1 / 12), ("all", 1 / 3, 1 / 118), ("library", 0.0, 1 / 22348))
    }
    rows = numbers.identification({"visual": sets, "control": sets})
    expected = {"top1_fold": 0.6667, "top1_all": 0.3333, "top1_library": 0.0, "top1_chance": 0.0085}
    assert rows == {"identification": expected, "identification_control": expected}
    assert numbers.rounded(sets)["library"]["chance"] == 4.47e-5
    assert numbers.rounded(sets)["all"] == {
        "top1": 0.3333,
        "top1_interval": [0.1111, 1.0],
        "chance": 0.0085,
        "p_value": 0.001235,
    }


def test_scores_of_every_image_name_their_run() -> None:
    rows = numbers.per_image("posterior", scores_of(0, absent=("lpips",)))
    assert [row["image_id"] for row in rows] == list(range(9))
    assert list(rows[0]) == ["run", "image_id", "pixcorr", "alexnet2"]
    assert rows[4]["alexnet2"] == scores_of(0)["metrics"]["alexnet2"]["scores"]["4"]


PICTURES = [
    lambda: numbers.draw_scores({"vdvae": scores_of(0), "grey": scores_of(1)}, "a simulated test"),
    lambda: numbers.draw_scores({"vdvae": scores_of(0, absent=("lpips",)), "grey": scores_of(1)}, "a simulated test"),
    lambda: numbers.draw_scores({"vdvae": scores_of(0), "grey": scores_of(1, absent=("lpips",))}, "a simulated test"),
    lambda: numbers.draw_latents(["00", "01"], {"vdvae": np.array([0.4, 0.1])}, "a long title " * 9),
]


@pytest.mark.parametrize("draw", PICTURES)
def test_a_picture_has_the_same_bytes_every_time_and_no_text_at_its_edge(draw: Any) -> None:
    png = draw()
    assert png == draw()
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    edge = np.concatenate([picture[:2].reshape(-1), picture[-2:].reshape(-1), picture[:, :2].reshape(-1)])
    assert (edge == 255).all()
    assert picture.min() < 100
    assert not Image.open(io.BytesIO(png)).info.get("Software")


def test_pictures_of_one_metric_and_of_many_are_drawn() -> None:
    one = scores_of(0)
    one["metrics"] = {"pixcorr": one["metrics"]["pixcorr"]}
    heights = []
    for scores in (one, scores_of(0)):
        heights.append(Image.open(io.BytesIO(numbers.draw_scores({"vdvae": scores}, "a simulated test"))).height)
    assert heights[0] < heights[1]
