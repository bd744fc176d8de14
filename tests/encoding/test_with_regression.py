"""The mean of samples combined with the picture by regression: known answers, and what is refused."""

import numpy as np
import pytest
from conftest import close
from scipy.ndimage import gaussian_filter
from test_encoding import photographs

from spikevaediff.encoding.with_regression import combined, pictures
from spikevaediff.images import resize, rgb
from spikevaediff.records import Reconstructions, Samples


def test_what_is_coarse_moves_by_the_share_and_what_is_fine_stays() -> None:
    mean, other = photographs(4).astype(np.float32) / 255, photographs(4, seed=3)
    close(combined(mean, rgb(other), share=0.0), mean, 1e-6)
    found = combined(mean, rgb(other), share=0.5)
    assert (found.dtype, found.shape) == (np.float32, mean.shape)
    close(found, np.clip(mean + 0.5 * gaussian_filter(other / 255 - mean, (0, 2, 2), mode="nearest"), 0, 1), 1e-6)
    # Uniform grey has nothing that is fine: the share of each is exact.
    grey = np.full((1, 64, 64), 0.4, np.float32)
    close(combined(grey, np.full((1, 64, 64, 3), 204, np.uint8), share=0.25), grey + 0.1, 1e-6)
    fine = grey + 0.05 * (-1.0) ** np.add.outer(np.arange(64), np.arange(64)).astype(np.float32)[None]
    flat = np.full((1, 64, 64, 3), 102, np.uint8)
    assert np.abs(combined(fine, flat, share=1.0) - fine)[:, 4:-4, 4:-4].max() < 1e-3


def test_a_picture_of_another_size_is_resized_and_an_image_does_not_depend_on_the_others() -> None:
    mean, other = photographs(3).astype(np.float32) / 255, rgb(photographs(3, seed=3))
    whole = combined(mean, other, share=0.5)
    np.testing.assert_array_equal(combined(mean[1:2], other[1:2], share=0.5), whole[1:2])
    large = rgb(photographs(3, seed=3, size=128))
    np.testing.assert_array_equal(combined(mean, large, share=0.5), combined(mean, resize(large, 64), share=0.5))


def test_pictures_are_joined_by_image_and_rounded_once() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 64, 64)).astype(np.uint8)
    samples = Samples(np.array([7, 2, 5]), pixels)
    regressed = Reconstructions(np.array([2, 3, 5, 7]), rgb(photographs(4)))
    plain, sample = pictures(samples, None, regression_share=0.0)
    np.testing.assert_array_equal(sample.pixels, rgb(pixels[:, 0]))
    np.testing.assert_array_equal(plain.pixels[..., 0], np.round(pixels.mean(1)).astype(np.uint8))
    mixed, again = pictures(samples, regressed, regression_share=0.5)
    np.testing.assert_array_equal(again.pixels, sample.pixels)
    assert mixed.image_id.tolist() == plain.image_id.tolist() == [7, 2, 5]
    mean = pixels.mean(1, dtype=np.float32) / 255
    expected = combined(mean, regressed.pixels[[3, 0, 2]], share=0.5)
    np.testing.assert_array_equal(mixed.pixels[..., 1], np.round(255 * expected).astype(np.uint8))
    with pytest.raises(ValueError, match=r"regression_share is 0.5, which needs pictures by regression"):
        pictures(samples, None, regression_share=0.5)
    with pytest.raises(KeyError, match="2"):
        pictures(samples, Reconstructions(np.array([5, 7]), rgb(photographs(2))), regression_share=0.5)


def test_what_cannot_be_is_refused() -> None:
    mean = np.full((2, 64, 64), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"posterior_images.regression_share is 1.5, expected a number from 0 to 1"):
        combined(mean, rgb(photographs(2)), share=1.5)
    with pytest.raises(ValueError, match="3 pictures by regression for 2 means of samples"):
        combined(mean, rgb(photographs(3)), share=0.5)
