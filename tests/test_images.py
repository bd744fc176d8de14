"""The one resize rule: what it keeps, what it refuses, and that it is Pillow's bicubic filter with antialiasing."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spikevaediff.images import check_bytes, check_rgb, check_size, read_grey, read_picture, resize, rgb


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng([3]).integers(0, 256, shape, dtype=np.uint8)


def bicubic_matrix(n_in: int, n_out: int) -> np.ndarray:
    """Keys' cubic convolution with a = -1/2, widened by the scale when it shrinks: float64 (n_out, n_in)."""
    scale = n_in / n_out
    width = max(scale, 1.0)
    centre = (np.arange(n_out)[:, None] + 0.5) * scale
    t = np.abs(np.arange(n_in)[None] + 0.5 - centre) / width
    near = 1.5 * t**3 - 2.5 * t**2 + 1
    far = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weight = np.where(t < 1, near, np.where(t < 2, far, 0.0))
    return weight / weight.sum(1, keepdims=True)


@pytest.mark.parametrize(("height", "width", "size_px"), [(64, 64, 16), (50, 31, 20), (8, 8, 30), (256, 256, 64)])
def test_resizing_is_a_bicubic_filter_along_both_axes(height: int, width: int, size_px: int) -> None:
    pixels = noise(3, height, width)
    along_rows, along_columns = bicubic_matrix(height, size_px), bicubic_matrix(width, size_px)
    # Pillow rounds to grey levels between the two axes; which one comes first depends on its version and the shape.
    grey = pixels.astype(float)
    between = [np.einsum("ij,njk->nik", along_rows, grey), grey @ along_columns.T]
    first, second = (np.rint(np.clip(values, 0, 255)) for values in between)
    expected = [first @ along_columns.T, np.einsum("ij,njk->nik", along_rows, second)]
    actual = resize(pixels, size_px)
    assert actual.dtype == np.uint8
    errors = [np.abs(actual - np.rint(np.clip(values, 0, 255))).max() for values in expected]
    assert min(errors) <= 1  # Pillow's weights are whole numbers


def test_colours_are_resized_one_by_one() -> None:
    pixels = noise(2, 20, 30, 3)
    together = resize(pixels, 12)
    assert together.shape == (2, 12, 12, 3)
    for colour in range(3):
        np.testing.assert_array_equal(together[..., colour], resize(pixels[..., colour], 12))


def test_images_of_that_size_are_not_touched() -> None:
    pixels = noise(2, 16, 16)
    np.testing.assert_array_equal(resize(pixels, 16), pixels)


def test_a_constant_image_stays_constant() -> None:
    for level in (0, 1, 127, 255):
        assert np.unique(resize(np.full((1, 40, 56), level, np.uint8), 17)).tolist() == [level]


def test_an_image_does_not_depend_on_the_others() -> None:
    pixels = noise(4, 30, 30)
    np.testing.assert_array_equal(resize(pixels, 10)[2:3], resize(pixels[2:3], 10))


def test_no_image_gives_no_image() -> None:
    assert resize(noise(0, 30, 30), 10).shape == (0, 10, 10)
    assert resize(noise(0, 30, 30, 3), 10).shape == (0, 10, 10, 3)


def test_grey_becomes_three_equal_channels() -> None:
    grey = noise(2, 4, 5)
    colour = rgb(grey)
    assert colour.shape == (2, 4, 5, 3)
    assert all(np.array_equal(colour[..., channel], grey) for channel in range(3))


@pytest.mark.parametrize(
    ("pixels", "size_px", "message"),
    [
        (np.ones((1, 4, 4)) / 2, 2, r"must be uint8 in 0..255, got float64 in \[0.5, 0.5\]; scale and round first"),
        (np.ones((0, 4, 4)), 2, r"got float64 in \[0, 0\]"),
        (noise(4, 4), 2, r"must be \(image, row, column\) or .*, got \(4, 4\)"),
        (noise(1, 4, 4, 4), 2, r"got \(1, 4, 4, 4\)"),
        (noise(1, 4, 4), 0, "size_px must be at least 1, got 0"),
    ],
)
def test_other_pixels_and_sizes_are_refused(pixels: np.ndarray, size_px: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resize(pixels, size_px)


def test_a_picture_file_becomes_grey_and_sixteen_bits_keep_their_levels(tmp_path: Path) -> None:
    grey, colour = noise(12, 9), noise(12, 9, 3)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(colour).save(tmp_path / "colour.png")
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16) * 257).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(read_grey(tmp_path / "grey.png"), grey)
    luma = colour @ np.array([0.299, 0.587, 0.114])
    assert np.abs(read_grey(tmp_path / "colour.png") - luma).max() <= 1
    np.testing.assert_array_equal(read_grey(tmp_path / "deep.png").ravel(), np.arange(256))


@pytest.mark.parametrize("kind", ["png", "jpg", "tif", "bmp"])
def test_a_damaged_picture_is_refused_and_nothing_else_happens(kind: str, tmp_path: Path) -> None:
    rng, path = np.random.default_rng([4]), tmp_path / f"a.{kind}"
    Image.fromarray(noise(12, 9, 3)).save(path)
    whole, refused = path.read_bytes(), 0
    for _ in range(300):
        content = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of what it then refuses
                read_grey(path)
        except ValueError:
            refused += 1
    assert refused > 100


def test_a_size_that_is_none_is_refused() -> None:
    check_size(1)
    with pytest.raises(ValueError, match="size_px must be at least 1, got 0"):
        check_size(0)


def test_images_with_three_channels_are_told_from_others() -> None:
    check_rgb(np.zeros((2, 4, 5, 3), np.uint8))
    for wrong in (np.zeros((2, 4, 5), np.uint8), np.zeros((2, 4, 5, 1), np.uint8), np.zeros((2, 4, 5, 3), np.float32)):
        with pytest.raises(ValueError, match=r"images must be uint8 \(image, row, column, 3\), got "):
            check_rgb(wrong)
    check_bytes(np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match=r"images must be uint8 in 0..255, got float64 in \[0, 1\]; scale and round"):
        check_bytes(np.array([0.0, 1.0]))


@pytest.mark.parametrize("bits", [2, 4])
def test_a_transparent_level_of_few_bits_is_refused(bits: int, tmp_path: Path) -> None:
    """Pillow scales the pixels of such a PNG, and not the level."""
    rows = b"".join(b"\0" + bytes([0b00011011] * (8 * bits // 8)) for _ in range(8))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, bits, 0, 0, 0, 0)),
        (b"tRNS", struct.pack(">H", 1)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    with pytest.raises(ValueError, match="some of it is transparent"):
        read_picture(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks[:1] + chunks[2:]))
    assert read_picture(tmp_path / "a.png").grey.shape == (8, 8)
