"""Pearson correlation of rows, which pixels, features and responses are compared by."""

import numpy as np

_BLOCK = 1 << 18  # numbers taken to float64 at a time, of all images; they stay in the processor's cache


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson correlation of every row of `a` with every row of `b`.

    r[i, j] = <a_i - mean(a_i), b_j - mean(b_j)> / (||a_i - mean(a_i)|| ||b_j - mean(b_j)||), in float64.

    Parameters
    ----------
    a, b : real, (n, n_dims) and (m, n_dims)

    Returns
    -------
    float64, (n, m), in [-1, 1]. A row whose values are all equal has no correlation with anything; it gets 0, the
    value of a guess that is unrelated to the other row, so that a flat reconstruction is scored instead of dropped.

    Raises
    ------
    ValueError
        The rows differ in length or are empty.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or a.shape[1] == 0:
        raise ValueError(f"correlation needs (n, n_dims) and (m, n_dims), got {a.shape} and {b.shape}")
    mean_a, mean_b = (x.mean(axis=1, dtype=np.float64, keepdims=True) for x in (a, b))
    product = np.zeros((len(a), len(b)))
    square_a, square_b = np.zeros((len(a), 1)), np.zeros((len(b), 1))
    step = max(1, _BLOCK // max(len(a), len(b), 1))
    for start in range(0, a.shape[1], step):
        u, v = a[:, start : start + step] - mean_a, b[:, start : start + step] - mean_b
        product += u @ v.T
        square_a += (u * u).sum(axis=1, keepdims=True)
        square_b += (v * v).sum(axis=1, keepdims=True)
    # By their extremes, since the mean of equal numbers may differ from them in the last digit.
    varies = (np.ptp(a, axis=1) > 0)[:, None] & (np.ptp(b, axis=1) > 0)[None, :]
    r = np.divide(product, np.sqrt(square_a) * np.sqrt(square_b).T, out=np.zeros_like(product), where=varies)
    return np.clip(r, -1, 1)  # rounding leaves 1 + 2e-16 for a row with itself
