"""Pictures: how a file becomes grey, and the one resize rule. Scores and features depend on it, so there is one and it
is named in the results.

A file that can be read in two ways is read by a rule, with a note, or refused: docs/pictures.md has the table.
"""

import io
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

RESIZE_RULE = "Pillow bicubic, antialiased, 8 bit"
LEAST_PX = 8  # of a side of a picture; less is something else
GREY_RULE = "ITU-R BT.601 luma 0.299 R + 0.587 G + 0.114 B, not rounded"
# What Pillow's readers raise for files that are damaged or not pictures; which one depends on the kind and damage.
_UNREADABLE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(struct.error, Image.DecompressionBombError),
)
# Kinds of pixels whose grey is known: Pillow's modes. Not among them: whole numbers of 32 bit or with a sign (I),
# floating-point numbers (F), inks (CMYK) and LAB.
_KNOWN = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr")
_BITS, _MEANING_OF_ZERO, _PLANES = 258, 262, 284  # tags of TIFF
_TURNED = "turned as its orientation tag says"
_FIRST = "of several pictures in the file the first is taken"
_INVERTED = "inverted, since 0 is white in the file"
_PROFILE = "has a colour profile other than sRGB, which is not applied"


class Picture(NamedTuple):
    """A picture as grey levels.

    grey : uint8, (height, width); ITU-R 601 luma.
    notes : tuple of str; what was done to it that its owner should know.
    """

    grey: np.ndarray
    notes: tuple[str, ...]


def read_picture(path: str | Path) -> Picture:
    """A picture file as grey levels, and what was done on the way.

    Numbers of 16 bit are divided by 257: Pillow's own conversion would cut them off at 255. They must reach the upper
    half of their range and span an eighth of it: those of a camera of 12 bit do not, and would become black.

    Raises
    ------
    ValueError
        It is not a picture, or damaged, or nobody knows which grey levels are meant; the message says why.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"it cannot be opened: {error.strerror}") from error
    try:
        # From memory: Pillow maps uncompressed TIFF files, and scrambles those whose tag swaps rows and columns.
        with Image.open(io.BytesIO(content)) as image:
            return _picture(image)
    except UnidentifiedImageError as error:
        raise ValueError("it is no picture of a kind that can be read, or damaged") from error
    except _UNREADABLE as error:
        raise ValueError(str(error)) from error


def read_grey(path: str | Path) -> np.ndarray:
    """As `read_picture`, the grey levels alone: uint8 (height, width)."""
    return read_picture(path).grey


def _picture(image: Image.Image) -> Picture:
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format != "MPO":  # a JPEG with previews behind it
        raise ValueError(f"it holds {n_frames} pictures; save the one that was shown")
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(_BITS, (8,)))
    packing = [str(tile.args) for tile in getattr(image, "tile", ())]
    deep = bits == 16 or any(";16" in how for how in packing)
    # Pillow keeps the transparent level of a PNG as it is in the file, and scales pixels of 2, 4 or 16 bits.
    scaled = image.format == "PNG" and image.mode in ("L", "RGB") and any(";" in how for how in packing)
    if scaled and "transparency" in image.info:
        raise ValueError(_TRANSPARENT)
    inverted = tags.get(_MEANING_OF_ZERO) == 0
    if deep and tags.get(_PLANES) == 2:
        raise ValueError("its colours of 16 bit lie in separate planes, which cannot be read")
    profile = image.info.get("icc_profile") or b""
    srgb = not profile or any("sRGB".encode(coding) in profile for coding in ("ascii", "utf-16-be"))
    notes = {
        _TURNED: image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9),
        _FIRST: n_frames > 1,
        _INVERTED: inverted,
        _PROFILE: not srgb,
    }
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        grey = _from_16_bit(image, white=4095 if bits == 12 else 65535, inverted=inverted)
    elif image.mode in _KNOWN:
        grey = _from_8_bit(image, deep)
    else:
        what = {
            "I": "whole numbers of 32 bit or with a sign, and which of them is white is not known",
            "F": "floating-point numbers, and which of them is white is not known",
            "CMYK": "amounts of four inks, and their grey depends on the paper",
        }
        raise ValueError(f"its pixels are {what.get(image.mode, f'of the kind {image.mode}')}")
    return Picture(grey, tuple(note for note, holds in notes.items() if holds))


def _from_16_bit(image: Image.Image, *, white: int, inverted: bool) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    transparent = image.info.get("transparency")
    if transparent is not None and np.any(values == transparent):
        raise ValueError(_TRANSPARENT)
    if white == 65535:
        _check_range(int(values.min()), int(values.max()))
    grey = values * (255 / white)
    return (255 - grey if inverted else grey).round().clip(0, 255).astype(np.uint8)


def _from_8_bit(image: Image.Image, deep: bool) -> np.ndarray:
    # Premultiplied by their opacity; convert knows no other way to grey.
    image = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        raise ValueError(_TRANSPARENT)
    if deep:  # Pillow keeps the upper byte
        colours = np.asarray(image.convert("RGB"))
        _check_range(256 * int(colours.min()), 256 * int(colours.max()) + 255)
    return np.asarray(image.convert("L"))


_TRANSPARENT = "some of it is transparent, and what was behind it is not known; put it on the background that was shown"


def _check_range(low: int, high: int) -> None:
    """Refuse numbers of 16 bit that fill so little of 0 to 65535 that they must be meant otherwise."""
    if high < 2**15 or high - low < 2**13:
        raise ValueError(
            f"its numbers of 16 bit lie between {low} and {high}, of 0 to 65535: of a camera of fewer bits? Scale them "
            f"so that white is 255, and save 8 bit"
        )


def check_size(size_px: int) -> None:
    """Refuse an impossible side of an image before any image is fetched.

    Raises
    ------
    ValueError
        It is not positive.
    """
    if size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")


def check_rgb(pixels: np.ndarray) -> None:
    """Refuse anything but images with three channels.

    Raises
    ------
    ValueError
        They are not uint8 (image, row, column, 3).
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
        raise ValueError(f"images must be uint8 (image, row, column, 3), got {pixels.dtype} {pixels.shape}")


def check_bytes(pixels: np.ndarray) -> None:
    """Refuse grey levels that are not whole numbers from 0 to 255.

    Raises
    ------
    ValueError
        They are not uint8 (in [0, 1], say); the message has their range.
    """
    if pixels.dtype != np.uint8:
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        raise ValueError(
            f"images must be uint8 in 0..255, got {pixels.dtype} in [{low:g}, {high:g}]; scale and round first"
        )


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
    check_bytes(pixels)
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


def read_image(path: Path) -> np.ndarray:
    """A picture as the data sets show theirs, grey: uint8 (1, height, width, 3).

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, it is a folder, or it is not an image.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        return rgb(read_grey(path)[None])
    except ValueError as error:
        raise ValueError(f"{path} is not an image that can be read: {error}") from error


def grey(pixels: np.ndarray) -> np.ndarray:
    """The luma 0.299 R + 0.587 G + 0.114 B of colour images: Pillow's mode "L" (by which the embedded photographs
    became grey) without its rounding to 8 bits.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)

    Returns
    -------
    float64, (n_images, height, width), in [0, 255]

    Raises
    ------
    ValueError
        The pixels are not uint8 or have other axes.

    References
    ----------
    ITU-R Recommendation BT.601.
    """
    check_rgb(pixels)
    # Term by term: a matrix product may round neighbours differently and make a constant image vary.
    red, green, blue = np.moveaxis(pixels.astype(np.float64), 3, 0)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def luma(pixels: Iterable[np.ndarray]) -> np.ndarray:
    """As `grey`, rounded to 8 bits by Pillow: colour images as the embedded photographs became grey.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
        Or one image after the other.

    Returns
    -------
    uint8, (n_images, height, width)
    """
    return np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in pixels])
