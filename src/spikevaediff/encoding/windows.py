"""Gaussian windows over the map of a layer: where in the image a unit looks."""

import numpy as np

# Weights below are zeros: they are far below rounding, and where a product with them cannot be normalised in float32,
# processors take twenty times as long for it.
NEGLIGIBLE = 1e-20


def grid(windows: tuple[tuple[float, int], ...]) -> np.ndarray:
    """Windows of some sizes at evenly spaced places.

    Parameters
    ----------
    windows : tuple of (size, n_side)
        Standard deviation in image widths, and the number of places along each side.

    Returns
    -------
    float64, (n_windows, 3)
        Size, row and column of the centre; image widths from the upper left corner.
    """
    found = []
    for size, n_side in windows:
        centre = (np.arange(n_side) + 0.5) / n_side
        row, column = np.meshgrid(centre, centre, indexing="ij")
        found.append(np.column_stack([np.full(n_side**2, size), row.ravel(), column.ravel()]))
    return np.concatenate(found)


def weights(windows: np.ndarray, n_rows: int, n_columns: int) -> np.ndarray:
    """How much each place of a map counts, w = exp(-d^2 / (2 size^2)) / sum, d from the centre of the window.

    Parameters
    ----------
    windows : float64, (n_windows, 3)
        As from `grid`.
    n_rows, n_columns : int
        Of the map, whose places are the middles of equal parts of the image.

    Returns
    -------
    float64, (n_windows, n_rows * n_columns); rows sum to 1, weights below `NEGLIGIBLE` are 0
    """
    size, row, column = windows.T[:, :, None]
    y, x = (np.arange(n_rows) + 0.5) / n_rows, (np.arange(n_columns) + 0.5) / n_columns
    # Relative to the nearest place, so that a window much smaller than the spacing still has a weight.
    along_y, along_x = (y - row) ** 2, (x - column) ** 2
    along_y, along_x = along_y - along_y.min(1, keepdims=True), along_x - along_x.min(1, keepdims=True)
    product = np.exp(-along_y / (2 * size**2))[:, :, None] * np.exp(-along_x / (2 * size**2))[:, None, :]
    flat = product.reshape(len(windows), -1)
    flat = flat / flat.sum(1, keepdims=True)
    return np.where(flat < NEGLIGIBLE, 0.0, flat)
