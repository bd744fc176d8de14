"""How responses scatter around what an encoding model predicts: trial noise and the error of the model together.

The covariance of the left-out residuals e of n training images has n_units^2 entries from n rows, so its correlations
are shrunk to 0 by the share lambda that minimises the expected squared error (Schaefer & Strimmer 2005):

    C = D ((1 - lambda) R + lambda I) D,    lambda = sum_{u != v} var(r_uv) / sum_{u != v} r_uv^2, in [0, 1],

D the deviations and R the correlations of e.
"""

import numpy as np

FEWEST = 4  # images that a covariance is estimated from


def covariance(residual: np.ndarray) -> tuple[np.ndarray, float]:
    """Shrunk covariance of residuals.

    Parameters
    ----------
    residual : float64, (n_images, n_units)
        Response minus prediction, each image left out of its own prediction.

    Returns
    -------
    covariance : float64, (n_units, n_units), positive definite
        A unit without any residual (it never varied) gets the smallest variance of the others.
    shrinkage : float
        lambda above.

    Raises
    ------
    ValueError
        Fewer than FEWEST images, values that are not finite, or no unit that varies.

    Source: Schaefer & Strimmer 2005, Statistical Applications in Genetics and Molecular Biology 4, 32.
    """
    residual = np.asarray(residual, np.float64)
    if residual.ndim != 2 or len(residual) < FEWEST or not np.isfinite(residual).all():
        raise ValueError(f"residuals are {residual.shape}, expected finite ones of at least {FEWEST} images")
    n = len(residual)
    deviation = np.sqrt((residual**2).mean(0))  # around 0: a bias is an error, too
    if not (deviation > 0).any():
        raise ValueError("no unit has any residual: responses that never vary cannot be decoded")
    deviation = np.where(deviation > 0, deviation, deviation[deviation > 0].min())
    z = residual / deviation
    correlation = z.T @ z / n
    np.fill_diagonal(correlation, 1)
    # var(r) = sum_k (z_ku z_kv - r_uv)^2 / (n (n - 1)) = (mean(z_u^2 z_v^2) - r^2) / (n - 1)
    variance = ((z**2).T @ (z**2) / n - correlation**2) / (n - 1)
    off = ~np.eye(len(correlation), dtype=bool)
    squares = (correlation[off] ** 2).sum()
    shrinkage = float(np.clip(variance[off].sum() / squares, 0, 1)) if squares > 0 else 1.0
    shrunk = (1 - shrinkage) * correlation
    np.fill_diagonal(shrunk, 1)
    if shrinkage < 1e-3:  # keep it invertible where units are copies of one another
        shrunk += 1e-3 * np.eye(len(shrunk))
    return deviation[:, None] * shrunk * deviation, shrinkage
