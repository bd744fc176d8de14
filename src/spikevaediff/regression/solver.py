r"""The small matrices behind every regression here: how held-out errors and predictions depend on the targets.

All methods minimise, with row weights w (one, but for the rows of a library) and an intercept b that is not penalised,

    sum_i w_i ||y_i - b - f(x_i)||^2 + alpha ||f||^2.

So the fitted values are a linear function of the targets, H y, and everything about a target follows from small
matrices that no target enters. Symbols, all for rows multiplied by the root of their weight and centred on the weighted
mean:

    n rows, m images, r coordinates (the smaller of rows - 1 and features)
    V (n, r)       orthonormal directions of rows, orthogonal to the roots of the weights, with eigenvalues l
    U = V sqrt(l)  coordinates of the rows
    gain           1 / (l + alpha), one row per penalty
    G (n, m)       root of the weight where row i shows image g, else 0: rows have targets G z for z (m, n_targets)
    S = U'G        coupling
    H = root root'/sum(w) + U gain U'

Repeated presentations. Rows that show one image share their target, so X'Y = (X'G) z holds one column per image: the
summed weight W_g times the mean response of the image. And X'X = sum_g W_g xbar_g xbar_g' + the scatter within images.
The fit to all presentations is therefore the fit to m weighted image means whose penalty alpha I is raised by that
scatter, exactly; copies of targets are never made.

The penalty and repeats. alpha is weighed against the sum over rows as given. With k presentations per image instead of
their mean the between-image part of X'X grows by k, so an alpha of the mean fit corresponds to about k alpha (exactly,
without scatter).

Leaving a fold f out needs no refit (the block form of the leave-one-out identity, e.g. Liland, Skogholt and Indahl
2024, IEEE Access 12, arXiv 2211.15128): errors_f = (I - H_ff)^-1 (y - H y)_f.

Rounding. I - H is what H leaves of one: where a fit passes through its rows (small penalties, as many units as images)
that difference is rounding, and the errors of left-out rows would come out as anything, zero included. With V spanning
all that is orthogonal to the roots, I - H = V alpha/(l + alpha) V', a sum of positive terms without a difference
(`Factor.complete`). A Gram matrix or kernel tells its eigenvalues from zero only to about 10^-16 of its trace. What
that leaves open of l + alpha, or of the difference where one is formed, is the doubt of a fit: `linear` then factorises
by singular values, whose squares reach down to 10^-32, and what cannot be told even so is refused.

Two routes. On an accelerator everything is a jitted JAX program. On a processor the large factorisations go straight to
the BLAS and LAPACK that JAX calls there, too (`on_processor`): XLA has no product that computes one triangle of a
symmetric matrix, pads folds to one length and copies around every factorisation, 1.5 to 2 times the time altogether.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import get_blas_funcs, lapack

from spikevaediff.regression import factors
from spikevaediff.regression.designs import Design
from spikevaediff.regression.factors import Factor
from spikevaediff.regression.held_out import held_out

# The most that rounding may change left-out errors by; fits that come near it mostly err by a twentieth of it or less.
DOUBT = {np.dtype(np.float64): 1e-5, np.dtype(np.float32): 1e-3}


def weighted_mean(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean of the rows, float64 (n_columns,), without a float64 copy of x where weights are equal."""
    if np.all(weight == weight[0]):
        return x.mean(0, dtype=np.float64)
    return np.average(x.astype(np.float64), axis=0, weights=weight)


def takes_long(x: np.ndarray) -> bool:
    """Whether the factorisation is large: rows x units x smaller side above 10^9, a fraction of a second in float64."""
    return x.size * min(x.shape) >= 1e9


def centred(x: np.ndarray, mean: np.ndarray, root: np.ndarray, smallest_alpha: float) -> np.ndarray:
    """(x - mean) times the root of the weight, in float64 unless that is slow and float32 is known to be right.

    Centred before any product is formed: correcting a Gram matrix afterwards loses all digits when means are large.

    float32 is taken where the factorisation `takes_long` and the largest eigenvalue of the Gram matrix is below 10^6
    times the smallest penalty.
    Measured against float64 with z-scored spike counts: up to 10^6 losses and operators are right to 5e-6; at 4 10^6
    with dead and duplicated units to 2e-5; at 7 10^7 only to 4e-3, which is why the rule exists.
    """
    dtype: np.dtype = np.dtype(np.float64)
    if takes_long(x):
        # The sum of all eigenvalues is a bound on the largest. Where that leaves it open, power iteration; a factor of
        # two does not matter here.
        largest = float(np.sum(np.vecdot(x, x) * root**2))
        direction: np.ndarray = np.random.default_rng(0).standard_normal((x.shape[1],)).astype(x.dtype)
        for _ in range(5 if largest >= 1e6 * smallest_alpha else 0):
            there = (x @ direction - mean.astype(x.dtype) @ direction) * root**2
            back = there.astype(x.dtype) @ x - mean * np.sum(there)
            largest = float(np.linalg.norm(back))
            direction = (back / max(largest, np.finfo(np.float64).tiny)).astype(x.dtype)
        dtype = np.dtype(np.float32 if largest < 1e6 * smallest_alpha else np.float64)
    out = np.empty(x.shape, dtype)
    np.subtract(x, mean, out=out, dtype=np.float64, casting="same_kind")
    if np.any(root != 1):
        out *= root[:, None].astype(dtype)
    return out


@jax.jit
def _cholesky(x: jax.Array, alpha: jax.Array, lift: jax.Array) -> tuple[jax.Array, jax.Array]:
    gram = factors.lower_triangle(x, x)
    level = jnp.mean(jnp.diag(gram))
    gram = gram + alpha * jnp.eye(len(gram), dtype=x.dtype) + (level * lift)[:, None] * lift[None, :]
    return jax.lax.linalg.cholesky(gram, symmetrize_input=False), level


@jax.jit
def _cholesky_solve(lower: jax.Array, b: jax.Array) -> jax.Array:
    return jax.scipy.linalg.cho_solve((lower, True), b)


def cholesky(x: np.ndarray, alpha: float, root: np.ndarray | None = None) -> np.ndarray:
    """Lower factor of x x' + alpha I; a penalty alone needs no eigenvectors, which cost twenty times more.

    With the roots of the weights, where x are centred rows, what x x' lacks in their direction is filled in: nothing
    that is centred has a part in it, and alpha alone would raise the rounding that is there instead.

    Raises
    ------
    ValueError
        Rounding decides what solving with the factor gives.
    """
    lift = np.zeros(len(x), x.dtype) if root is None else (root / np.linalg.norm(root)).astype(x.dtype)
    if factors.on_processor():
        gram = factors.syrk(x)
        level = gram.diagonal().mean()
        if root is not None:
            gram = get_blas_funcs("syr", (gram,))(level, lift, a=gram, lower=1, overwrite_a=1)
        gram[np.diag_indices(len(gram))] += alpha
        # Above the diagonal `syrk` left zeros, which need not be written again.
        potrf = lapack.spotrf if x.dtype == np.float32 else lapack.dpotrf
        lower, failed = potrf(gram, lower=1, overwrite_a=1, clean=0)
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            found = _cholesky(jnp.asarray(x), jnp.asarray(alpha, x.dtype), jnp.asarray(lift))
            lower, level = map(np.asarray, found)
        failed = not np.isfinite(lower[-1, -1])
    # The least pivot is no more than a bound on the smallest eigenvalue, and the trace one on the largest.
    doubt = np.inf if failed else np.finfo(x.dtype).eps * len(x) * float(level) / float(lower.diagonal().min()) ** 2
    if doubt > DOUBT[x.dtype]:
        raise ValueError(
            f"alpha {alpha:g} is too small for the responses: their Gram matrix cannot be factorised. Raise it."
        )
    return lower


def cholesky_solve(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(lower lower')^-1 b."""
    if factors.on_processor():
        return (lapack.spotrs if lower.dtype == np.float32 else lapack.dpotrs)(lower, b, lower=1)[0]
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        return np.asarray(_cholesky_solve(jnp.asarray(lower), jnp.asarray(b)))


def sum_over_rows(values: np.ndarray, image: np.ndarray, n_images: int) -> np.ndarray:
    """Sums of the columns that belong to one image: (n, n_rows) -> (n, n_images)."""
    order = np.argsort(image, kind="stable")
    if len(image) == n_images:
        return values[:, order]
    return np.add.reduceat(values[:, order], np.searchsorted(image[order], np.arange(n_images)), axis=1)


def linear(x: np.ndarray, alphas: np.ndarray, design: Design) -> tuple[Factor, np.ndarray]:
    """Diagonalise the penalised problem, as precisely as its penalties ask for, and predict left-out rows.

    Parameters
    ----------
    x : float32 or float64, (n_rows, n_units)
        Centred, rows times the root of their weight. Its dtype is that of the computation, unless that is in doubt.
    alphas : float64, (n_alphas,)
    design : Design

    Returns
    -------
    factor : Factor
        Rows of x @ basis are their coordinates.
    maps : as `held_out`.

    Raises
    ------
    ValueError
        Rounding decides left-out errors, see the module docstring.
    """
    ways = [
        (factors.by_gram, x.dtype),
        (factors.by_gram, np.dtype(np.float64)),
        (factors.by_singular_values, np.dtype(np.float64)),
    ]
    for factorise, dtype in dict.fromkeys(ways):
        factor = factorise(x.astype(dtype, copy=False), design.root)
        maps, doubt = held_out(factor, alphas, design)
        if doubt.max() <= DOUBT[dtype]:
            return factor, maps
    raise _lost(doubt, alphas, design)


def kernel(
    values: np.ndarray, alphas: np.ndarray, design: Design, *, error: float = 1.0
) -> tuple[Factor, np.ndarray, np.ndarray]:
    """Diagonalise a kernel, centred in its feature space on the weighted mean of the rows (the free intercept).

    Parameters
    ----------
    values : float64, (n_rows, n_rows)
    alphas : float64, (n_alphas,)
    design : Design
    error : float
        What the values err by, in units of rounding.

    Returns
    -------
    factor : Factor
        Coordinates of new rows are (their kernel with the rows - column_mean), centred over columns by the weights,
        @ basis.
    maps : as `held_out`.
    column_mean : (n_rows,), weighted mean over rows of the kernel.

    Raises
    ------
    ValueError
        As `linear`.
    """
    root = design.root
    gram = values * root
    gram *= root[:, None]
    # What the common level of a kernel loses is lost to its differences, so that is what rounding is relative to.
    others = np.where(np.arange(len(root)) == np.argmax(root), 0.0, root)
    level = float(others @ gram @ others / (others @ others))
    if factors.on_processor():
        eigenvalue, vectors = factors.without_root_on_processor(gram.T, root)  # symmetric, and in the order of LAPACK
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            eigenvalue, vectors = map(np.array, factors.without_root(jnp.asarray(gram), jnp.asarray(root)))
    rounding = factors.ROUNDING * float(np.finfo(np.float64).eps) * error * (level + float(eigenvalue[-1]))
    eigenvalue[eigenvalue <= rounding] = 0
    basis = vectors * factors.reciprocal_roots(eigenvalue)
    basis *= root[:, None]
    factor = Factor(eigenvalue, vectors, basis, complete=True, rounding=(0.0, rounding))
    maps, doubt = held_out(factor, alphas, design)
    if doubt.max() > DOUBT[np.dtype(np.float64)]:
        raise _lost(doubt, alphas, design)
    return factor, maps, root**2 / np.sum(root**2) @ values


def _lost(doubt: np.ndarray, alphas: np.ndarray, design: Design) -> ValueError:
    weights = design.root**2
    uneven = (
        f", or weights that differ less than {weights.min():g} and {weights.max():g}"
        if weights.max() > 1e3 * weights.min()
        else ""
    )
    worst = int(np.argmax(doubt))
    return ValueError(
        f"the smallest alpha is too small for the responses: at {alphas[worst]:g} rounding may change the errors of "
        f"left-out images by {doubt[worst]:.1g} of their size. Offer larger alphas{uneven}."
    )
