"""Each check finds what it is for, in results that were spoilt on purpose, and passes honest ones."""

from typing import Any

import numpy as np
import pytest

from spikevaediff import checks, images
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli

IDS = np.arange(24) + 3
SPLIT = ImageSplit(IDS, np.arange(24) % 4)
GROUPS = (np.array(["0", "1"]), np.array([4, 8]))


@pytest.fixture
def shown() -> Stimuli:
    small = np.random.default_rng([0]).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    return Stimuli("invented", IDS, images.resize(small, 64))


def noisy(shown: Stimuli, strength: float = 60.0) -> Reconstructions:
    rng = np.random.default_rng([1])
    pixels = np.clip(images.rgb(shown.pixels) + rng.normal(0, strength, (24, 64, 64, 3)), 0, 255)
    return Reconstructions(IDS, pixels.astype(np.uint8))


def test_honest_results_pass(shown: Stimuli) -> None:
    for finding in (
        checks.overlap(SPLIT, shown, IDS),
        checks.near_duplicates(SPLIT, shown),
        checks.memorised(noisy(shown), shown, SPLIT),
        checks.collapsed(noisy(shown), shown),
    ):
        assert finding.status == "passed", finding.says


def test_equal_pixels_under_two_ids_are_an_overlap(shown: Stimuli) -> None:
    pixels = shown.pixels.copy()
    pixels[5] = pixels[0]
    found = checks.overlap(SPLIT, Stimuli("invented", IDS, pixels), IDS)
    assert found.status == "failed"
    assert "image_id 3, 8 are trained on under another id" in found.says
    together = ImageSplit(IDS, np.where(np.isin(np.arange(24), [0, 5]), 0, SPLIT.fold))
    assert checks.overlap(together, Stimuli("invented", IDS, pixels), IDS).status == "passed"


def test_a_run_of_other_images_than_those_tested_is_named(shown: Stimuli) -> None:
    found = checks.overlap(SPLIT, shown, IDS[1:])
    assert found.status == "failed"
    assert "reconstructed and tested images differ in image_id 3" in found.says


def test_a_near_duplicate_across_folds_fails() -> None:
    from skimage import data

    scene = images.resize(data.camera()[None], 128)[0]
    others = np.random.default_rng([2]).integers(0, 256, (22, 128, 128), dtype=np.uint8)
    brighter = np.clip(scene * 1.1, 0, 255).astype(np.uint8)
    found = checks.near_duplicates(SPLIT, Stimuli("invented", IDS, np.stack([scene, brighter, *others])))
    assert found.status == "failed"
    assert "3 and 4" in found.says


def features(values: np.ndarray, ids: np.ndarray = IDS) -> Features:
    return Features("vdvae", ids, values.astype(np.float32), *GROUPS)


def predictions() -> tuple[Features, np.ndarray]:
    rng = np.random.default_rng([3])
    y = rng.normal(2, 3, (24, 12))
    return features(y), 2 + 0.2 * (y - 2) + rng.normal(0, 0.3, (24, 12))


def training_mean(true: Features) -> np.ndarray:
    means = np.empty((24, 12))
    for k in range(4):
        train, _ = SPLIT.ids(k)
        means[SPLIT.fold == k] = true.rows(train).mean(0)
    return means


@pytest.mark.parametrize("declared", ["none", "train"])
def test_one_factor_a_group_and_fold_is_no_trace_of_test_statistics(declared: str) -> None:
    true, raw = predictions()
    mean = training_mean(true)
    factor = np.repeat(np.random.default_rng([4]).uniform(2, 6, (4, 2)), GROUPS[1], axis=1)[SPLIT.fold]
    scaled = raw if declared == "none" else mean + factor * (raw - mean)
    found = checks.test_statistics(features(scaled), features(raw), true, SPLIT, declared)
    assert found.status == "passed", found.says


def test_statistics_of_test_images_are_found_whatever_the_run_says() -> None:
    true, raw = predictions()
    legacy = np.empty_like(raw)
    for k in range(4):
        test, y = SPLIT.fold == k, true.rows(SPLIT.ids(k)[0])
        legacy[test] = y.mean(0) + y.std(0) * (raw[test] - raw[test].mean(0)) / raw[test].std(0)
    for declared, status in (("none", "failed"), ("train", "failed"), ("test_legacy", "legacy")):
        found = checks.test_statistics(features(legacy), features(raw), true, SPLIT, declared)
        assert found.status == status
        assert found.value is not None
        assert found.value > 0.9
    assert "say test_legacy" in checks.test_statistics(features(legacy), features(raw), true, SPLIT, "train").says


def test_a_factor_a_target_is_not_what_the_run_says() -> None:
    true, raw = predictions()
    mean = training_mean(true)
    each = mean + np.random.default_rng([5]).uniform(1, 9, 12) * (raw - mean)
    assert checks.test_statistics(features(each), features(raw), true, SPLIT, "train").status == "failed"


def test_training_images_shown_again_are_memorised(shown: Stimuli) -> None:
    rng, recalled = np.random.default_rng([6]), noisy(shown).pixels.copy()
    for row in range(6):
        other = rng.choice(np.flatnonzero(SPLIT.fold != SPLIT.fold[row]))
        recalled[row] = images.rgb(shown.pixels[other : other + 1])[0]
    found = checks.memorised(Reconstructions(IDS, recalled), shown, SPLIT)
    assert found.status == "failed"
    assert found.value == 6 / 24
    assert "image_id 3, 4, 5, 6, 7, 8" in found.says


def test_a_perfect_reconstruction_is_not_taken_for_a_copy_of_an_image_like_it(shown: Stimuli) -> None:
    assert checks.memorised(Reconstructions(IDS, images.rgb(shown.pixels)), shown, SPLIT).value == 0


def test_one_picture_for_all_is_collapsed(shown: Stimuli) -> None:
    picture = noisy(shown).pixels[:1].astype(float)
    rng = np.random.default_rng([7])
    for change in (0.0, 0.1):
        pixels = picture * (1 + change * rng.normal(size=(24, 1, 1, 1)))
        found = checks.collapsed(Reconstructions(IDS, np.clip(pixels, 0, 255).astype(np.uint8)), shown)
        assert found.status == "failed", change
    assert "nearly one picture" in found.says


def test_the_effective_rank_of_equal_directions_is_their_number() -> None:
    basis = np.eye(6)[:, :5]
    cloud = np.concatenate([basis, -basis])
    rank = checks.effective_rank(np.concatenate([np.eye(5), -np.eye(5)]))
    assert rank == pytest.approx(5)
    assert checks.effective_rank(np.ones((4, 9))) == 0
    assert checks.effective_rank(cloud) <= 6


def score(mean: float, half: float) -> dict[str, Any]:
    return {"absent": None, "mean": mean, "interval": [mean - half, mean + half]}


@pytest.mark.parametrize(
    ("mean", "lpips", "status"),
    [(0.5, 0.5, "passed"), (0.93, 0.5, "passed"), (0.97, 0.5, "failed"), (0.5, 0.05, "failed")],
)
def test_scores_above_a_ceiling_by_more_than_their_interval_fail(mean: float, lpips: float, status: str) -> None:
    scores = {"pixcorr": score(mean, 0.05), "lpips": score(lpips, 0.05), "clip": {"absent": "no network"}}
    ceilings = [("its noise ceiling", {"pixcorr": 0.9, "lpips": 0.2, "clip": 0.1})]
    found = checks.above_ceiling(scores, ceilings, {"pixcorr": True, "lpips": False, "clip": True})
    assert found.status == status, found.says
    assert ("its noise ceiling" in found.says) == (status == "failed")
