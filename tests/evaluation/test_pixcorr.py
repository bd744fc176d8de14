import numpy as np
import pytest
from conftest import close
from PIL import Image

from spikevaediff.evaluation.metrics import pixcorr
from spikevaediff.evaluation.protocols import PROTOCOLS
from spikevaediff.images import grey


def images(n: int, *, seed: int = 0, height: int = 9, width: int = 13) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def test_grey_is_the_luma_of_pillow_before_rounding():
    pixels = images(3)
    pillow = np.stack([np.asarray(Image.fromarray(p).convert("L")) for p in pixels])
    assert np.abs(grey(pixels) - pillow).max() <= 0.501


def test_grey_of_equal_channels_is_that_channel():
    level = images(1)[..., :1]
    close(grey(np.repeat(level, 3, axis=3)), level[..., 0].astype(np.float64))


def test_of_images_is_the_correlation_of_the_two_grey_images():
    shown, reconstructed = images(3), images(4, seed=1)
    weights = np.array([0.299, 0.587, 0.114])
    expected = [[np.corrcoef((x @ weights).ravel(), (y @ weights).ravel())[0, 1] for y in reconstructed] for x in shown]
    close(pixcorr.of_images(shown, reconstructed), np.array(expected))


def test_an_image_scores_1_with_itself_and_with_less_contrast_and_minus_1_with_its_negative():
    shown = np.repeat(images(5)[..., :1], 3, axis=3)
    close(pixcorr.of_images(shown, shown).diagonal(), np.ones(5))
    close(pixcorr.of_images(shown, 255 - shown).diagonal(), -np.ones(5))
    shown = shown // 4 * 4
    close(pixcorr.of_images(shown, shown // 4 + 20).diagonal(), np.ones(5))


@pytest.mark.parametrize("colour", [(0, 0, 0), (128, 128, 128), (255, 255, 255), (17, 93, 201)])
def test_a_constant_image_scores_exactly_0(colour):
    flat = np.broadcast_to(np.array(colour, np.uint8), (2, 9, 13, 3))
    assert np.array_equal(pixcorr.of_images(images(3), flat), np.zeros((3, 2)))
    assert np.array_equal(pixcorr.of_images(flat, flat), np.zeros((2, 2)))


def test_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match=r"images must have one size, got \(9, 13, 3\) and \(9, 14, 3\); resize them"):
        pixcorr.of_images(images(2), images(2, width=14))


@pytest.mark.parametrize("wrong", [images(2) / 255, images(2)[..., 0], images(2)[..., :2]])
def test_pixels_that_are_not_colour_bytes_are_refused(wrong):
    with pytest.raises(ValueError, match=r"images must be uint8 \(image, row, column, 3\), got"):
        pixcorr.of_images(wrong, wrong)


def test_pairwise_takes_pixels_as_a_protocol_compares_them():
    x, y = images(3) / 255, images(4, seed=1) / 255
    expected = [[np.corrcoef(a.ravel(), b.ravel())[0, 1] for b in y] for a in x]
    close(pixcorr.pairwise(x, y, PROTOCOLS["mindeye"]), np.array(expected))
    with pytest.raises(ValueError, match="images must have one size"):
        pixcorr.pairwise(x, y[:, :4], PROTOCOLS["mindeye"])


def test_the_noise_ceiling_is_the_root_of_the_reliability_of_both_halves():
    assert pixcorr.ceiling(0.6) == pytest.approx((1.2 / 1.6) ** 0.5)
    assert [pixcorr.ceiling(r) for r in (-1.0, -0.3, 0.0, 1.0)] == [0.0, 0.0, 0.0, 1.0]
