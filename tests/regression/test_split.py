"""Splits by image, and the checks that find what leaks."""

import io

import numpy as np
import pytest
from PIL import Image
from skimage import data

from spikevaediff.records import BLANK, ImageSplit, Stimuli
from spikevaediff.regression.split import check, near_duplicates, split_by_image

OPTIONS = {"method": "k_fold", "n_folds": 10, "n_test": 24, "seed": 0}


@pytest.mark.parametrize("n_images", [10, 94, 118])
def test_every_image_is_tested_once_in_folds_of_nearly_equal_size(n_images):
    split = split_by_image(np.arange(n_images), **OPTIONS)
    assert split.n_folds == 10
    tested = np.concatenate([split.ids(fold)[1] for fold in range(10)])
    np.testing.assert_array_equal(np.sort(tested), np.arange(n_images))
    sizes = np.bincount(split.fold)
    assert sizes.max() - sizes.min() <= 1
    for fold in range(10):
        train, test = split.ids(fold)
        assert not set(train) & set(test)
        assert len(train) + len(test) == n_images


def test_hold_out_sets_24_of_118_images_aside():
    split = split_by_image(np.arange(118), **OPTIONS | {"method": "hold_out"})
    train, test = split.ids(0)
    assert (split.n_folds, len(train), len(test)) == (1, 94, 24)


def test_all_presentations_of_an_image_go_where_it_goes_and_blanks_go_nowhere():
    presented = np.random.default_rng(0).permutation(np.repeat(np.arange(-1, 118), 50))
    split = split_by_image(presented, **OPTIONS)
    assert BLANK not in split.image_id
    alone = split_by_image(np.arange(118), **OPTIONS)
    np.testing.assert_array_equal(split.fold, alone.fold)


@pytest.mark.parametrize("method", ["k_fold", "hold_out"])
def test_the_seed_alone_decides_and_neighbours_in_number_are_mixed(method):
    first, again, other = (
        split_by_image(np.arange(118), **OPTIONS | {"method": method, "seed": seed}) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.fold, again.fold)
    assert np.any(first.fold != other.fold)
    assert np.any(np.diff(first.image_id[first.fold == 0]) > 1)


@pytest.mark.parametrize("method", ["k_fold", "hold_out"])
@pytest.mark.parametrize("seed", range(20))
def test_alike_images_share_a_fold_and_the_folds_stay_a_partition(method, seed):
    rng = np.random.default_rng(seed)
    alike = rng.integers(0, 40, (rng.integers(0, 15), 2))  # chains and images paired with themselves among them
    split = split_by_image(np.arange(40), method=method, n_folds=4, n_test=10, seed=seed, alike=alike)
    np.testing.assert_array_equal(split.fold[alike[:, 0]], split.fold[alike[:, 1]])
    assert np.array_equal(np.unique(split.fold), [0, 1, 2, 3] if method == "k_fold" else [-1, 0])
    assert method == "k_fold" or np.sum(split.fold == 0) == 10


@pytest.mark.parametrize("seed", range(5))
def test_folds_stay_equal_when_one_of_them_is_a_single_group_of_alike_images(seed):
    alike = np.column_stack([np.zeros(9, int), np.arange(1, 10)])
    split = split_by_image(np.arange(40), **OPTIONS | {"n_folds": 4, "seed": seed}, alike=alike)
    assert np.bincount(split.fold).tolist() == [10, 10, 10, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "by_trial"}, "'by_trial' does not exist, choose k_fold or hold_out"),
        ({"n_folds": 1}, "n_folds is 1, expected 2 to 20"),
        ({"n_folds": 21}, "n_folds is 21, expected 2 to 20"),
        ({"method": "hold_out", "n_test": 20}, "n_test is 20, expected 1 to 19 of 20 images"),
        ({"method": "hold_out", "n_test": 0}, "n_test is 0"),
        (
            {"method": "hold_out", "n_test": 3, "alike": np.array([[i, i + 1] for i in range(0, 20, 2)])},
            "only 2 images could be set aside",
        ),
        ({"n_folds": 11, "alike": np.array([[i, i + 1] for i in range(0, 20, 2)])}, "expected 2 to 10"),
    ],
)
def test_a_split_that_cannot_be_made_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        split_by_image(np.arange(20), **OPTIONS | options)


def test_no_record_can_hold_an_image_on_both_sides_of_a_fold():
    with pytest.raises(ValueError, match=r"image_id must be unique, but \[3\] occur more than once"):
        ImageSplit(np.array([1, 3, 3]), np.array([0, 0, 1]))


def scenes(size_px=128):
    """Twenty squares cut from five photographs, no two of which overlap."""
    squares = []
    for name in ("astronaut", "camera", "coffee", "chelsea", "rocket"):
        grey = np.asarray(Image.fromarray(getattr(data, name)()).convert("L"))
        side = min(grey.shape) // 2
        squares += [grey[y : y + side, x : x + side] for y in (0, side) for x in (0, side)]
    resized = [np.asarray(Image.fromarray(s).resize((size_px, size_px), Image.Resampling.BICUBIC)) for s in squares]
    return Stimuli("photographs of scikit-image", np.arange(100, 120), np.stack(resized))


def jpeg(image, quality):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def clipped(values):
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def moved(image):
    """What the frame shows when it moves by 3 of 128 px to the right: the edge column stands for what comes in."""
    return np.pad(image[:, 3:], ((0, 0), (0, 3)), mode="edge")


CHANGES = {
    "moved": moved,
    "cropped": lambda image: np.asarray(Image.fromarray(image[2:, 2:]).resize(image.shape)),
    "brighter": lambda image: clipped(image * 1.2),
    "darker": lambda image: clipped(image * 0.6),
    "less contrast": lambda image: clipped((image - 128.0) * 0.6 + 128),
    "gamma": lambda image: clipped(255 * (image / 255) ** 2),
    "jpeg": lambda image: jpeg(image, 10),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored jpeg": lambda image: jpeg(np.ascontiguousarray(image[:, ::-1]), 30),
    "noise": lambda image: clipped(image + np.random.default_rng(0).normal(0, 10, image.shape)),
    "small": lambda image: np.asarray(Image.fromarray(image).resize((32, 32)).resize(image.shape)),
    "identical": lambda image: image,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_changed_copy_is_found_with_its_original_and_nothing_else(change):
    originals = scenes()
    copies = np.stack([change(image) for image in originals.pixels])
    ids = np.arange(200, 220)
    both = Stimuli(
        originals.source, np.concatenate([originals.image_id, ids]), np.concatenate([originals.pixels, copies])
    )
    assert near_duplicates(both)[:, :2].tolist() == [[i, i + 100] for i in originals.image_id.tolist()]


def test_scenes_cut_from_the_same_photograph_without_overlap_are_distinct():
    assert len(near_duplicates(scenes())) == 0


def test_no_two_of_the_allen_scenes_are_alike_and_another_print_of_one_is_found(shared):
    folder = shared / "data/allen_natural_scenes"
    small, large = np.load(folder / "scenes118_31px.npz"), np.load(folder / "scenes35_216px.npz")
    assert len(near_duplicates(Stimuli("Allen", small["frame"].astype(np.int64), small["images"]))) == 0
    for frame, image in zip(large["frame"].tolist(), large["images"], strict=True):
        again = np.asarray(Image.fromarray(image).resize((31, 31), Image.Resampling.BICUBIC))
        pair = Stimuli("Allen", np.array([frame, frame + 1000]), np.stack([small["images"][frame], again]))
        assert len(near_duplicates(pair)) == 1


def test_grey_screens_are_all_alike():
    grey = Stimuli("grey", np.arange(3), np.full((3, 32, 32), 128, np.uint8))
    assert near_duplicates(grey)[:, :2].tolist() == [[0, 1], [0, 2], [1, 2]]


def with_copies():
    original = scenes()
    pixels = original.pixels.copy()
    pixels[7] = pixels[2]
    pixels[11] = jpeg(np.ascontiguousarray(pixels[3][:, ::-1]), 50)
    return Stimuli(original.source, original.image_id, pixels)


def test_a_split_between_near_duplicates_is_refused_with_the_pairs_named():
    stimuli = with_copies()
    fold = np.arange(20) % 2  # 102 and 107 apart, 103 and 111 together
    with pytest.raises(ValueError, match=r"trains on what it tests: image_id 102 and 107 \(same pixels\) are"):
        check(ImageSplit(stimuli.image_id, fold), stimuli)
    fold[11] = 0
    with pytest.raises(ValueError, match=r"107 \(same pixels\); 103 and 111 \(\d+ of 256 hash bits differ\)"):
        check(ImageSplit(stimuli.image_id, fold), stimuli)


@pytest.mark.parametrize("method", ["k_fold", "hold_out"])
@pytest.mark.parametrize("seed", range(5))
def test_a_split_that_was_given_the_near_duplicates_passes_the_check(method, seed):
    stimuli = with_copies()
    options = {"method": method, "n_folds": 4, "n_test": 5, "seed": seed}
    check(split_by_image(stimuli.image_id, **options, alike=near_duplicates(stimuli)), stimuli)


def test_a_held_out_copy_of_a_training_image_is_refused():
    stimuli = with_copies()
    fold = np.full(20, -1)
    fold[7] = 0
    with pytest.raises(ValueError, match="102 and 107"):
        check(ImageSplit(stimuli.image_id, fold), stimuli)


def test_a_split_of_images_that_are_not_there_is_refused():
    with pytest.raises(KeyError, match="lacks image_id 120, 121"):
        check(split_by_image(np.arange(100, 122), **OPTIONS), scenes())
