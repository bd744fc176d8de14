"""Each check finds what it is for, in results that were spoilt on purpose, and passes honest ones."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import real_data
from PIL import Image
from scipy import stats

from spikevaediff import images
from spikevaediff.evaluation import checks
from spikevaediff.evaluation.correlation import correlation
from spikevaediff.images import grey
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
    published = checks.near_duplicates(
        SPLIT, Stimuli("invented", IDS, np.stack([scene, brighter, *others])), as_published=True
    )
    assert (published.status, published.says) == ("legacy", found.says)


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


def test_folds_that_are_left_at_their_mean_differ_from_it_by_rounding_alone() -> None:
    true, _ = predictions()
    mean = training_mean(true)
    rounded = [mean.astype(np.float32), np.nextafter(mean.astype(np.float32), np.float32(9))]
    found = checks.test_statistics(features(rounded[0]), features(rounded[1]), true, SPLIT, "train")
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


def test_the_chance_of_standing_out_is_uniform_where_the_tail_is_exponential() -> None:
    """Of Fisher's z; at the top of a normal distribution, where the tail falls off faster, it is never too small."""
    rng = np.random.default_rng([10])
    drawn = np.sort(rng.exponential(0.2, (4000, 60)))
    p = np.array([checks.standing_out(np.tanh(z)) for z in drawn])
    assert stats.kstest(p, "uniform").pvalue > 0.01
    normal = np.array([checks.standing_out(np.tanh(z)) for z in rng.normal(0, 0.3, (4000, 400))])
    assert all(np.mean(normal < level) <= level for level in (0.1, 0.01, 0.001))


@pytest.mark.parametrize(
    ("likeness", "p"),
    [
        # z = 0.5, 0.4, 0.3, 0.2, 0.1: spacings 0.1, 0.2, 0.3, 0.4, so that G = 1 / 3 and m = 4.
        (np.tanh([0.2, 0.5, 0.1, 0.4, 0.3]), (1 + 1 / 9) ** -3),
        (np.array([0.1, 0.9, 0.2]), 1.0),
        (np.zeros(50), 1.0),
        (np.array([1.0, 0.1, 0.05, 0.02, 0.01, 0.0]), 0.0),
    ],
)
def test_the_chance_of_standing_out_by_hand(likeness: np.ndarray, p: float) -> None:
    assert checks.standing_out(likeness) == pytest.approx(p, abs=1e-3 if p == 0 else 1e-12)


def by_ridge(pixels: np.ndarray, x: np.ndarray, n_folds: int, side: int = 16) -> tuple[Reconstructions, ImageSplit]:
    """Out-of-fold images of `side` px by ridge regression, enlarged to 64 px: honest, blurred and near to the mean."""
    n = len(pixels)
    y, fold = images.resize(pixels, side).reshape(n, -1).astype(float), np.arange(n) % n_folds
    predicted = np.empty_like(y)
    for k in range(n_folds):
        train, test = fold != k, fold == k
        z = (x - x[train].mean(0)) / x[train].std(0)
        gram = z[train].T @ z[train] + 100 * np.eye(x.shape[1])
        predicted[test] = y[train].mean(0) + z[test] @ np.linalg.solve(gram, z[train].T @ (y[train] - y[train].mean(0)))
    small = np.clip(np.rint(predicted), 0, 255).astype(np.uint8).reshape(n, side, side)
    return Reconstructions(np.arange(n), images.rgb(images.resize(small, 64))), ImageSplit(np.arange(n), fold)


def with_copies(
    honest: Reconstructions, shown: Stimuli, split: ImageSplit, n_copies: int, *, blur: float = 0.0, noise: float = 0.0
) -> Reconstructions:
    """Some of the reconstructions replaced by different training images of their fold, or what is left of them."""
    from scipy.ndimage import gaussian_filter

    rng, pixels = np.random.default_rng([11]), honest.pixels.copy()
    partner = np.roll(np.arange(len(split.fold)), 1)  # of the next fold, as folds alternate
    assert (split.fold[partner] != split.fold).all()
    for row in rng.choice(len(pixels), n_copies, replace=False):
        left = gaussian_filter(shown.pixels[partner[row]].astype(float), blur) + rng.normal(0, noise, (64, 64))
        pixels[row] = images.rgb(np.clip(left, 0, 255).astype(np.uint8)[None])[0]
    return Reconstructions(honest.image_id, pixels)


def copies_are_found_and_accidents_are_not(pixels: np.ndarray, x: np.ndarray) -> None:
    n = len(pixels)
    shown = Stimuli("photographs", np.arange(n), pixels)
    honest, split = by_ridge(pixels, x, 10)
    found = checks.memorised(honest, shown, split, honest)
    assert found.status == "passed", found.says
    assert found.value is not None
    assert found.value <= 0.01
    assert f" different ones ({n / 100:.1f} would by accident, chance" in found.says
    assert f" of {n} to one that their fit had not seen" in found.says
    assert f"{found.value * n:.0f} of the control to a training image" in found.says
    for spoilt in (
        with_copies(honest, shown, split, n),
        with_copies(honest, shown, split, n, blur=1.5),
        with_copies(honest, shown, split, n, noise=40.0),
        with_copies(honest, shown, split, n // 20),
        with_copies(honest, shown, split, n // 20, blur=1.0),
    ):
        recalled = checks.memorised(spoilt, shown, split)
        assert recalled.status == "failed", recalled.says
        assert "The decoder recalls what it was trained on" in recalled.says
        assert recalled.value is not None
        assert recalled.limit is not None
    # One copy may be an accident, and is told.
    one = checks.memorised(with_copies(honest, shown, split, 1), shown, split)
    assert one.status in ("passed", "noted")
    assert one.value == pytest.approx(found.value + 1 / n, abs=1.01 / n)


def test_blurred_reconstructions_of_photographs_are_near_to_training_images_by_accident(
    shared: Path, tmp_path: Path
) -> None:
    """400 photographs from 33 units of macaque V4: dozens correlate above 0.9 with some training image."""
    folder = real_data.macaque_v4(shared, tmp_path / "v4", n_images=400)
    with np.load(next((folder / "sessions").glob("*.npz"))) as file:
        responses, image_id = file["responses"][:, :33].astype(float), file["image_id"]
    x = np.stack([responses[image_id == i].mean(0) for i in range(400)])
    pixels = np.stack(
        [np.asarray(Image.open(path).convert("L").resize((64, 64))) for path in sorted((folder / "images").iterdir())]
    )
    honest, split = by_ridge(pixels, x, 10)
    likeness = correlation(pixels.reshape(400, -1), grey(honest.pixels).reshape(400, -1))
    nearest = np.where(split.fold[:, None] != split.fold, likeness, -1).max(0)
    assert np.sum(nearest > np.maximum(0.9, likeness.diagonal())) > 30
    copies_are_found_and_accidents_are_not(pixels, x)


def clouds(n: int) -> np.ndarray:
    """Pictures with the spectrum of photographs, amplitudes 1 / f, uint8 (n, 64, 64)."""
    rng = np.random.default_rng([12])
    f = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(64)[None, :]).clip(1 / 64)
    drawn = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(n, 64, 64))) / f**1.5, (64, 64))
    return np.clip(128 + 45 * (drawn - drawn.mean()) / drawn.std(), 0, 255).astype(np.uint8)


def test_copies_are_found_among_blurred_reconstructions() -> None:
    pixels = clouds(200)
    rng = np.random.default_rng([13])
    x = images.resize(pixels, 4).reshape(200, -1) @ rng.normal(size=(16, 30)) + rng.normal(0, 150, (200, 30))
    copies_are_found_and_accidents_are_not(pixels, x)


def test_one_picture_near_to_one_training_image_is_one_accident() -> None:
    """A decoder that shows nearly the same for all images is near to the same training image with all of them."""
    pixels = clouds(60)
    shown, split = Stimuli("clouds", np.arange(60), pixels), ImageSplit(np.arange(60), np.arange(60) % 6)
    one = np.repeat(images.rgb(pixels[:1]), 60, axis=0)
    found = checks.memorised(Reconstructions(np.arange(60), one), shown, split)
    assert found.status == "noted", found.says
    assert checks.collapsed(Reconstructions(np.arange(60), one), shown).status == "failed"


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


def test_differences_that_nobody_sees_are_one_picture(shown: Stimuli) -> None:
    """Noise of a grey level differs in 23 directions."""
    pixels = noisy(shown).pixels[:1].astype(float) + np.random.default_rng([8]).normal(0, 1, (24, 64, 64, 3))
    found = checks.collapsed(Reconstructions(IDS, np.clip(np.rint(pixels), 0, 255).astype(np.uint8)), shown)
    assert found.value is not None
    assert found.value > 5
    assert found.status == "failed"


@pytest.mark.parametrize("n", [2, 3, 4])
def test_few_images_differ_in_few_directions(shown: Stimuli, n: int) -> None:
    """Two different pictures differ in one direction, whatever they show; two equal ones in none."""
    some = Reconstructions(IDS[:n], noisy(shown).pixels[:n])
    assert checks.collapsed(some, shown).status != "failed"
    same = Reconstructions(IDS[:n], np.repeat(noisy(shown).pixels[:1], n, axis=0))
    assert checks.collapsed(same, shown).status == "failed"


def test_few_directions_are_noted_and_do_not_stop(shown: Stimuli) -> None:
    """Two patterns, as strong penalties leave them: 2 of 20 directions, which is no fault of the decoder."""
    rng = np.random.default_rng([9])
    patterns = images.resize(rng.integers(0, 256, (2, 4, 4), dtype=np.uint8), 64).astype(float) - 128
    pixels = 128 + np.tensordot(rng.normal(0, 0.3, (24, 2)), patterns, 1)
    some = Reconstructions(IDS, images.rgb(np.clip(pixels, 0, 255).astype(np.uint8)))
    found = checks.collapsed(some, shown, noisy(shown))
    assert found.status == "noted"
    assert found.value is not None
    assert found.value == pytest.approx(checks.effective_rank(grey(some.pixels).reshape(24, -1)))
    assert found.value > 1.5
    assert f"differ in {found.value:.1f} directions (effective rank), shown images in" in found.says
    assert "reconstructions from true features in" in found.says


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


def test_many_comparisons_with_a_ceiling_are_allowed_for() -> None:
    """A score above its ceiling by a little more than its interval: once in 40 by accident, but not once of twenty."""
    scores = {f"metric {i}": score(0.5 + 0.055 * (i == 0), 0.05) for i in range(20)}
    ceilings = [("with true features", dict.fromkeys(scores, 0.5))]
    better = dict.fromkeys(scores, True)
    assert checks.above_ceiling(scores, ceilings, better).status == "passed"
    alone = {"metric 0": scores["metric 0"]}
    assert checks.above_ceiling(alone, [("with true features", {"metric 0": 0.5})], better).status == "failed"
    scores["metric 0"] = score(0.6, 0.05)
    assert checks.above_ceiling(scores, ceilings, better).status == "failed"


def test_what_true_features_allow_is_counted_from_wrong_pairings() -> None:
    """A blurred run has an SSIM of 0.29 without knowing anything, where a sharp decoder has 0.22 for wrong images."""

    def of(mean: float, chance: float | None, *, larger: bool = True) -> dict[str, Any]:
        return {"absent": None, "mean": mean, "chance": chance, "larger_is_better": larger}

    ceiling = {
        "ssim": of(0.31, 0.22),
        "pixcorr": of(0.8, 0.02),
        "lpips": of(0.5, 0.7, larger=False),
        "one": of(0.9, None),
    }
    run = {"ssim": of(0.33, 0.29), "pixcorr": of(0.3, 0.01), "lpips": of(0.6, 0.65, larger=False), "one": of(0.8, None)}
    found = checks.beyond_chance(ceiling | {"clip": {"absent": "no network"}}, run | {"clip": {"absent": "no network"}})
    assert found == pytest.approx({"ssim": 0.38, "pixcorr": 0.8, "lpips": 0.45, "one": 0.9})
