"""Pictures: how a file becomes grey, and the one resize rule. Scores and features depend on it, so there is one and it
is named in the results."""

import struct
from pathlib import Path

import numpy as np
from PIL import Image

RESIZE_RULE = "Pillow bicubic, antialiased, 8 bit"
# What Pillow's readers raise for files that are damaged or no picture; which it is depends on the kind and the damage.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(struct.error, Image.DecompressionBombError),
)


def read_grey(path: str | Path) -> np.ndarray:
    """A picture file as grey levels: ITU-R 601 luma in 8 bit.

    Pictures of 16 bit are scaled: Pillow's own conversion would cut them off at 255.

    Returns
    -------
    uint8, (height, width)

    Raises
    ------
    ValueError
        It is no picture, or damaged; or its numbers have a point, and nobody knows which of them is white.
    """
    try:
        with Image.open(path) as image:
            if image.mode == "F":
                raise ValueError("its pixels are floating-point numbers, whose range is not known")
            if image.mode.startswith("I"):
                return (np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)
            return np.asarray(image.convert("L"))
    except _UNREADABLE as error:
        raise ValueError(str(error)) from error


def check_size(size_px: int) -> None:
    """Refuse what is no side of an image: before images are fetched, for who acquires them.

    Raises
    ------
    ValueError
        It is not positive.
    """
    if size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")


def resize(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Squash images to a square.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width) or (n_images, height, width, 3)
        Grey or colour.
    size_px : int
        Side of the result. The aspect ratio is not kept: every part of the picture was shown.

    Returns
    -------
    uint8, (n_images, size_px, size_px) or (n_images, size_px, size_px, 3)

    Raises
    ------
    ValueError
        The pixels are not uint8 (in [0, 1], say) or have other axes, or the size is not positive.
    """
    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8:
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        raise ValueError(
            f"images must be uint8 in 0..255, got {pixels.dtype} in [{low:g}, {high:g}]; scale and round first"
        )
    if pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] != 3):
        raise ValueError(f"images must be (image, row, column) or (image, row, column, 3), got {pixels.shape}")
    check_size(size_px)
    if pixels.shape[1:3] == (size_px, size_px):
        return pixels
    bicubic = Image.Resampling.BICUBIC
    shape = (0, size_px, size_px, *pixels.shape[3:])
    resized = [np.asarray(Image.fromarray(image).resize((size_px, size_px), bicubic)) for image in pixels]
    return np.stack(resized) if resized else np.empty(shape, np.uint8)


def rgb(grey: np.ndarray) -> np.ndarray:
    """Grey images repeated to three equal channels: (n, height, width) -> (n, height, width, 3)."""
    return np.repeat(grey[..., None], 3, axis=3)
