"""Images made without a decoder, from the training images of a fold only."""

import numpy as np
from test_stages import responses as made_responses

from spikevaediff import images
from spikevaediff.evaluation import baselines
from spikevaediff.records import ImageSplit, Responses, Stimuli, UnitTable

IDS = np.array([3, 7, 20, 21, 40, 58])
SPLIT = ImageSplit(IDS, np.array([0, 1, 2, 0, 1, 2]))


def shown() -> Stimuli:
    small = np.random.default_rng(0).integers(0, 256, (6, 6, 6), dtype=np.uint8)
    return Stimuli("invented", IDS[::-1].copy(), images.resize(small, 48))


def test_grey_is_one_picture_of_the_size_asked_for() -> None:
    baseline = baselines.grey(SPLIT, size_px=24)
    assert baseline.image_id.tolist() == IDS.tolist()
    assert baseline.pixels.shape == (6, 24, 24, 3)
    assert (baseline.pixels == 128).all()


def test_the_mean_image_is_that_of_the_images_trained_on() -> None:
    stimuli = shown()
    baseline = baselines.mean_training_image(stimuli, SPLIT, size_px=24)
    small = images.resize(stimuli.rows(IDS), 24).astype(np.float64)
    for position, fold in enumerate(SPLIT.fold):
        expected = np.rint(small[SPLIT.fold != fold].mean(axis=0))
        assert np.array_equal(baseline.pixels[position], np.repeat(expected[..., None], 3, axis=2))


def test_the_mean_image_of_a_fold_does_not_see_its_test_images() -> None:
    stimuli = shown()
    pixels = stimuli.pixels.copy()
    pixels[np.isin(stimuli.image_id, SPLIT.ids(1)[1])] ^= 255
    changed = Stimuli("invented", stimuli.image_id, pixels)
    before, after = (baselines.mean_training_image(s, SPLIT, size_px=24).pixels for s in (stimuli, changed))
    assert np.array_equal(before[SPLIT.fold == 1], after[SPLIT.fold == 1])
    assert not np.array_equal(before[SPLIT.fold == 0], after[SPLIT.fold == 0])


def recorded(counts: np.ndarray) -> Responses:
    n_units = counts.shape[1]
    units = UnitTable(np.arange(n_units), np.zeros(n_units, int), np.full(n_units, "VISp"), *[np.ones(n_units)] * 5)
    like = made_responses(IDS.tolist())
    return Responses.make(
        counts=counts[:, :, None].astype(np.uint16),
        image_id=IDS,
        presentation_id=like.presentation_id,
        session_id=like.session_id,
        window_s=like.window_s,
        units=units,
    )


def test_the_nearest_training_image_has_the_response_most_like_and_is_never_of_the_fold() -> None:
    counts = np.random.default_rng(1).poisson(20, (6, 30))
    counts[1] = counts[0] + 1  # images 7 and 3: of different folds
    counts[5] = counts[2] + 1  # images 58 and 20: of one fold
    nearest = baselines.nearest_training_image(recorded(counts), SPLIT)
    assert nearest[0] == 7
    assert nearest[1] == 3
    fold = dict(zip(IDS.tolist(), SPLIT.fold.tolist(), strict=True))
    assert all(fold[a] != fold[b] for a, b in zip(nearest.tolist(), IDS.tolist(), strict=True))


def test_of_one_or_two_units_the_nearest_training_image_has_the_nearest_response() -> None:
    # 3 is nearest to 40 and 40 to 3; 7 and 58 to each other; 20 to 7, and 21, which is of the fold of 3, to 40.
    counts = np.array([[0], [50], [90], [10], [4], [60]])
    for n_units in (1, 2):
        nearest = baselines.nearest_training_image(recorded(np.tile(counts, n_units)), SPLIT)
        assert nearest.tolist() == [40, 58, 7, 40, 3, 7]


def test_a_random_training_image_depends_on_seed_and_image_alone() -> None:
    first = baselines.random_training_image(SPLIT, seed=0)
    fold = dict(zip(IDS.tolist(), SPLIT.fold.tolist(), strict=True))
    assert all(fold[a] != fold[b] for a, b in zip(first.tolist(), IDS.tolist(), strict=True))
    assert np.array_equal(first, baselines.random_training_image(SPLIT, seed=0))
    drawn = np.stack([baselines.random_training_image(SPLIT, seed=seed) for seed in range(200)])
    assert set(drawn[:, 0].tolist()) == set(SPLIT.ids(0)[0].tolist())
