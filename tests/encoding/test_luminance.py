"""Coarse luminance expected from responses: beside an independent regression, known answers, where nothing is known."""

import numpy as np
import pytest
import torch
from conftest import close
from test_encoding import photographs

from spikevaediff.encoding import encoder, luminance, noise


def squares(pixels: np.ndarray) -> np.ndarray:
    """Means of 8 x 8 blocks of images of 64 px."""
    return pixels.reshape(len(pixels), 8, 8, 8, 8).mean((2, 4)).reshape(len(pixels), 64) / 255


def told(pixels: np.ndarray, n_units: int, deviation: float) -> np.ndarray:
    """Responses of units that each see one square, and one that never varies."""
    rng = np.random.default_rng(0)
    seen = squares(pixels)[:, rng.choice(64, n_units)]
    return np.column_stack([100 * seen + deviation * rng.standard_normal(seen.shape), np.full(len(seen), 3.0)])


def test_pictures_are_averaged_in_squares() -> None:
    pixels = photographs(3)
    close(luminance.of_pictures(encoder.seen(pixels)).numpy(), squares(pixels), 1e-6)
    white = torch.zeros(1, 64, 64)
    white[0, 8:16, 24:32] = 1
    expected = np.zeros((1, 64))
    expected[0, 8 + 3] = 1
    close(luminance.of_pictures(white).numpy(), expected, 1e-6)


@pytest.mark.parametrize("n", [20, 60])
def test_it_is_a_ridge_regression_whose_penalty_and_error_come_from_left_out_images(n: int) -> None:
    pixels = photographs(n + 10)
    x, target = told(pixels, 30, 5.0), squares(pixels)
    found = luminance.expected(x[:n], pixels[:n], x[n:])
    spread = x[:n].std(0)
    z = (x - x[:n].mean(0)) / np.where(spread > 0, spread, 1.0)

    def predicted(rows: np.ndarray, to: np.ndarray, penalty: float) -> np.ndarray:
        zc, mean = z[rows] - z[rows].mean(0), target[rows].mean(0)
        weight = np.linalg.solve(zc.T @ zc + penalty * np.eye(31), zc.T @ (target[rows] - mean))
        return (to - z[rows].mean(0)) @ weight + mean

    every = np.arange(n)
    left_out = {
        penalty: np.concatenate([predicted(np.delete(every, i), z[i : i + 1], penalty) for i in every])
        for penalty in luminance.PENALTIES
    }
    error = {penalty: ((target[:n] - values) ** 2).sum() for penalty, values in left_out.items()}
    best = min(error, key=error.__getitem__)
    close(found.mean, predicted(every, z[n:], best), 1e-6)
    close(found.covariance, noise.covariance(target[:n] - left_out[best])[0], 1e-6)


def test_responses_that_say_nothing_leave_the_mean_image() -> None:
    pixels = photographs(60)
    x = np.random.default_rng(1).standard_normal((60, 20))
    found = luminance.expected(x[:50], pixels[:50], x[50:])
    mean, spread = squares(pixels[:50]).mean(0), squares(pixels[:50]).std()
    assert np.sqrt(((found.mean - mean) ** 2).mean()) < 0.1 * spread
    constant = luminance.expected(np.ones((50, 2)), pixels[:50], np.ones((3, 2)))
    close(constant.mean, np.tile(mean, (3, 1)), 1e-6)


def test_images_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(ValueError, match="the training images are all the same"):
        luminance.expected(
            np.random.default_rng(0).standard_normal((9, 2)), np.full((9, 64, 64), 7, np.uint8), np.ones((1, 2))
        )
    with pytest.raises(ValueError, match="3 training images, expected 4 or more"):
        luminance.expected(np.ones((3, 2)), photographs(3), np.ones((1, 2)))
