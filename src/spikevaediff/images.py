"""The one resize rule. Scores and features depend on it, so there is one and it is named in the results."""

import numpy as np
from PIL import Image

RESIZE_RULE = "Pillow bicubic, antialiased, 8 bit"


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
    if size_px < 1:
        raise ValueError(f"size_px must be at least 1, got {size_px}")
    if pixels.shape[1:3] == (size_px, size_px):
        return pixels
    bicubic = Image.Resampling.BICUBIC
    shape = (0, size_px, size_px, *pixels.shape[3:])
    resized = [np.asarray(Image.fromarray(image).resize((size_px, size_px), bicubic)) for image in pixels]
    return np.stack(resized) if resized else np.empty(shape, np.uint8)


def rgb(grey: np.ndarray) -> np.ndarray:
    """Grey images repeated to three equal channels: (n, height, width) -> (n, height, width, 3)."""
    return np.repeat(grey[..., None], 3, axis=3)
