"""What is coarse of one picture with what is fine of another: known answers, and what is refused."""

import numpy as np
import pytest
from conftest import close
from test_encoding import photographs

from spikevaediff.coarse import WIDTH, exchanged


def spectrum_filter(x: np.ndarray) -> np.ndarray:
    """G by another route, float64: its transfer function exp(-2 (pi f sigma)^2) on the mirrored, hence periodic, x.

    Mirrored edges are those of "reflect"; the edges of "nearest" differ from them within four sigma of a side.
    """
    n = x.shape[1]
    mirrored = np.pad(x, ((0, 0), (0, n), (0, n)), mode="symmetric")
    f = np.fft.fftfreq(2 * n)
    along = np.exp(-2 * (np.pi * f * WIDTH * n) ** 2)
    return np.fft.ifft2(np.fft.fft2(mirrored) * along[:, None] * along).real[:, :n, :n]


def test_the_coarse_part_is_that_of_the_other_picture() -> None:
    fine, coarse = photographs(3).astype(np.float64), photographs(3, seed=3).astype(np.float64)
    inner = np.s_[:, 8:-8, 8:-8]
    for share in (0.25, 1.0):
        expected = fine + share * spectrum_filter(coarse - fine)
        close(exchanged(fine, coarse, share=share)[inner], expected[inner], 2e-4 * np.abs(expected).max())
    np.testing.assert_array_equal(exchanged(fine, coarse, share=0.0), fine)
    np.testing.assert_array_equal(exchanged(fine, fine, share=1.0), fine)


def test_uniform_light_is_exchanged_exactly_and_fine_detail_not_at_all() -> None:
    checks = 40.0 * (-1.0) ** np.add.outer(np.arange(64), np.arange(64))[None]
    found = exchanged(100 + checks, np.full((1, 64, 64), 180.0), share=1.0)
    assert np.abs(found - (180 + checks))[:, 8:-8, 8:-8].max() < 1e-3
    assert float(exchanged(np.full((1, 64, 64), 100.0), np.full((1, 64, 64), 180.0), share=0.25).std()) < 1e-9


def test_colours_and_images_are_each_their_own_and_the_filter_grows_with_the_picture() -> None:
    fine, coarse = photographs(6).astype(np.float32), photographs(6, seed=3).astype(np.float32)
    whole = exchanged(fine, coarse, share=0.7)
    assert whole.dtype == np.float32
    colours = [pictures.reshape(2, 3, 64, 64).transpose(0, 2, 3, 1) for pictures in (fine, coarse)]
    np.testing.assert_array_equal(exchanged(*colours, share=0.7), whole.reshape(2, 3, 64, 64).transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(exchanged(fine[2:3], coarse[2:3], share=0.7), whole[2:3])
    point = np.zeros((1, 128, 128))
    point[0, 64, 64] = 1.0
    spread = exchanged(np.zeros_like(point), point, share=1.0)[0]
    along = spread.sum(0)
    assert np.sqrt((along * (np.arange(128) - 64) ** 2).sum()) == pytest.approx(4.0, rel=1e-2)  # 128 / 32


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"coarse pictures are \(2, 32, 32\), expected \(2, 64, 64\)"):
        exchanged(np.zeros((2, 64, 64)), np.zeros((2, 32, 32)), share=0.5)
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"share is \S+, expected a number from 0 to 1"):
            exchanged(np.zeros((1, 8, 8)), np.zeros((1, 8, 8)), share=share)
