"""Targets that cannot be extracted again are refused."""

from typing import Any

import numpy as np
import pytest

from spikevaediff.records import Captions, Features, Stimuli
from spikevaediff.regression.repeatable import check_repeatable, extract_twice, reads_captions


def features(values, space="vdvae", image_id=None):
    values = np.asarray(values, np.float32)
    ids = np.arange(len(values)) if image_id is None else image_id
    return Features(space, ids, values, np.array(["all"]), np.array([values.shape[1]]))


def test_an_extraction_that_is_repeated_passes_with_its_numbers():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20, 50)).astype(np.float32)
    a[:, 3] = 2.0
    b = a + rng.normal(scale=1e-6, size=a.shape).astype(np.float32)
    found = check_repeatable(features(a), features(b), tolerance=1e-4)
    assert found.n_constant == 1
    assert found.difference == pytest.approx(np.abs(a - b).max() / np.abs(a).max(), rel=1e-6)
    centred = [(v - v.mean(0)).astype(np.float64).ravel() for v in (a, b)]
    assert found.correlation == pytest.approx(np.corrcoef(*centred)[0, 1], abs=1e-6)


def test_latents_that_are_drawn_anew_are_refused_with_their_correlation():
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(40, 500)) + 10 * rng.normal(size=(1, 500))  # what dims have in common does not count
    draws = [features(mean + rng.normal(size=mean.shape)) for _ in range(2)]
    with pytest.raises(ValueError, match=r"is not repeatable: .* correlate at 0\.(4[6-9]|5[0-4])\d"):
        check_repeatable(*draws, tolerance=1e-4)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (features(np.eye(3)), features(np.eye(3), "text"), "cannot compare vdvae of 3 images with text of 3"),
        (features(np.eye(3)), features(np.eye(3), image_id=np.array([0, 2, 1])), "same images in the same order"),
        (features(np.eye(3)), features(np.eye(3)[:, :2]), "has 3 dims, then 2"),
        (features(np.ones((3, 4))), features(np.ones((3, 4))), "is the same for all 3 images"),
        (features(np.eye(3)), features(np.zeros((3, 3))), "correlate at 0.000"),
    ],
)
def test_features_that_cannot_be_targets_are_refused(first, second, message):
    with pytest.raises(ValueError, match=message):
        check_repeatable(first, second, tolerance=1e-4)


STIMULI = Stimuli("a test", np.arange(20)[::-1].copy(), np.random.default_rng(1).integers(0, 256, (20, 4, 4), np.uint8))


def means(stimuli: Stimuli, *, weights: str, batch_size: int) -> Features:
    return features(stimuli.pixels.reshape(len(stimuli.pixels), -1), image_id=stimuli.image_id)


def lengths(captions: Captions, *, weights: str, batch_size: int) -> Features:
    return features([[len("".join(s)), 1] for s in captions.sentences], "text", captions.image_id)


def test_what_is_extracted_twice_is_returned_once_and_in_the_order_of_the_images() -> None:
    options: dict[str, Any] = {"weights": "none", "batch_size": 8}
    found, says = extract_twice(means, STIMULI, None, options)
    np.testing.assert_array_equal(found.image_id, STIMULI.image_id)
    assert says == "extracted again, largest difference 0.0e+00, 0 constant dims"
    sizes = []

    def of_the_batch(stimuli: Stimuli, *, weights: str, batch_size: int) -> Features:
        sizes.append((len(stimuli.image_id), batch_size))
        values = means(stimuli, weights=weights, batch_size=batch_size).values
        return features(values + batch_size, image_id=stimuli.image_id)

    with pytest.raises(ValueError, match="feature space vdvae is not repeatable"):
        extract_twice(of_the_batch, Stimuli("a test", np.arange(20), STIMULI.pixels), None, options)
    assert sizes == [(20, 8), (10, 3)]


def test_images_without_a_caption_are_extracted_again_as_one() -> None:
    options: dict[str, Any] = {"weights": "none", "batch_size": 8}
    assert reads_captions(lengths)
    assert not reads_captions(means)
    sentences = tuple((("A dog.",) if i < 2 else ("A cat sleeps.",) if i < 4 else ()) for i in range(20))
    found, says = extract_twice(lengths, STIMULI, Captions(STIMULI.image_id, sentences), options)
    assert found.values[:5, 0].tolist() == [6, 6, 13, 13, 0]
    assert says == "extracted again, largest difference 0.0e+00, 1 constant dims"
    bare = Captions(STIMULI.image_id, ((),) * 20)
    _, says = extract_twice(lengths, STIMULI, bare, options)
    assert says.startswith("no image has a caption")
