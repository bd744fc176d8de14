import numpy as np
import pytest
from conftest import close
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from spikevaediff.evaluation.metrics import ssim
from spikevaediff.images import grey


def images(n: int, height: int, width: int, *, seed: int = 0, smooth_px: float = 0.0) -> np.ndarray:
    pixels = np.random.default_rng(seed).normal(128, 60, (n, height, width, 3))
    pixels = gaussian_filter(pixels, (0, smooth_px, smooth_px, 0)) * (1 + smooth_px)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (11, 11), (12, 40), (128, 33)])
@pytest.mark.parametrize("smooth_px", [0.0, 3.0])
def test_every_pair_equals_scikit_image(height, width, smooth_px):
    shown = images(3, height, width, smooth_px=smooth_px)
    reconstructed = np.concatenate([images(2, height, width, seed=1), shown[:1] // 2 + 60])
    luma = np.array([0.299, 0.587, 0.114])
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = [[structural_similarity(x @ luma, y @ luma, **options) for y in reconstructed] for x in shown]
    close(ssim.of_grey(grey(shown), grey(reconstructed)), np.array(expected), 1e-10)


def test_an_image_scores_1_with_itself_and_the_order_of_a_pair_does_not_matter():
    pixels = grey(images(4, 20, 24))
    similarity = ssim.of_grey(pixels, pixels)
    close(similarity.diagonal(), np.ones(4))
    close(similarity, similarity.T)
    assert similarity.max() <= 1 + 1e-12


@pytest.mark.parametrize(("a", "b"), [(0, 255), (128, 128), (10, 20)])
def test_constant_images_differ_in_luminance_only(a, b):
    flat = [np.full((1, 16, 16), float(level)) for level in (a, b)]
    c1 = 2.55**2
    close(ssim.of_grey(*flat), np.array([[(2 * a * b + c1) / (a * a + b * b + c1)]]))


def test_images_smaller_than_the_window_are_refused():
    with pytest.raises(ValueError, match="at least 11 px wide and high, got 10 x 64; choose a larger size_px"):
        ssim.of_grey(np.zeros((2, 10, 64)), np.zeros((2, 10, 64)))


def test_the_mean_over_columns_is_what_scikit_image_gives_columns_for_channels():
    x, y = images(2, 40, 24, smooth_px=2.0), images(2, 40, 24, seed=1, smooth_px=2.0)
    luma = np.array([0.299, 0.587, 0.114])
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = [[structural_similarity(a @ luma, b @ luma, channel_axis=-1, **options) for b in y] for a in x]
    close(ssim.of_grey(x @ luma, y @ luma, columns=True), np.array(expected), 1e-10)
