r"""The small matrices behind every regression here: how held-out errors and predictions depend on the targets.

All methods minimise, with row weights w and an intercept b that is not penalised,

    sum_i w_i ||y_i - b - f(x_i)||^2 + alpha ||f||^2.

So the fitted values are a linear function of the targets, H y, and everything about a target follows from small
matrices that no target enters. Symbols, all for rows multiplied by the root of their weight and centred on the weighted
mean:

    n rows, m images, r coordinates (the smaller of rows and features)
    U (n, r)       coordinates of the rows, orthogonal columns: U = X V with X'X = V L V'
    gain           1 / (l + alpha), one row a penalty
    G (n, m)       root of the weight where row i shows image g, else 0: rows have targets G z for z (m, n_targets)
    S = U'G        coupling
    H = root root'/sum(w) + U gain U'

Repeated presentations. Rows that show one image share their target, so X'Y = (X'G) z holds one column an image: the
summed weight W_g times the mean response of the image. And X'X = sum_g W_g xbar_g xbar_g' + the scatter within images.
The fit to all presentations is therefore the fit to m weighted image means whose penalty alpha I is raised by that
scatter, exactly; copies of targets are never made.

The penalty and repeats. alpha is weighed against the sum over rows as given. With k presentations an image instead of
their mean the between-image part of X'X grows by k, so an alpha of the mean fit corresponds to about k alpha (exactly,
without scatter).

Leaving a fold f out needs no refit (the block form of the leave-one-out identity, e.g. Liland, Skogholt and Indahl
2024, IEEE Access 12, arXiv 2211.15128): errors_f = (I - H_ff)^-1 (y - H y)_f.

Two routes. On an accelerator everything is a jitted JAX program. On a processor the large factorisations go straight to
the BLAS and LAPACK that JAX calls there, too (`on_processor`): XLA has no product that computes one triangle of a
symmetric matrix, pads folds to one length and copies around every factorisation, 1.5 to 2 times the time altogether.
"""

import itertools
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import blas, eigh, lapack

SCOPES = ("target", "group", "global")
LONG_FOLD = 64  # rows; shorter folds are quicker in one program than one by one
WIDE = 1024  # columns that a product needs to be quick


@dataclass(frozen=True)
class Design:
    """Which rows of x belong together.

    images : int64, (n_images,), the rows of y that are shown, sorted.
    image : int64, (n_rows,), position in `images` of what a row shows.
    fold : int64, (n_rows,), rows of one fold are left out together.
    root : float64, (n_rows,), square root of the weight of a row.
    constant : int64, columns of x that never vary: these units are dropped.
    """

    images: np.ndarray
    image: np.ndarray
    fold: np.ndarray
    root: np.ndarray
    constant: np.ndarray

    @property
    def image_weight(self) -> np.ndarray:
        """Summed weight of the rows of each image, float64 (n_images,)."""
        return np.bincount(self.image, self.root**2, len(self.images))

    @property
    def targets_of_rows(self) -> np.ndarray:
        """G of the module docstring, float64 (n_rows, n_images)."""
        g = np.zeros((len(self.image), len(self.images)))
        g[np.arange(len(self.image)), self.image] = self.root
        return g

    @property
    def rows_of_folds(self) -> np.ndarray:
        """Rows of each fold, int64 (n_folds, longest fold); the number of rows fills up shorter folds."""
        order = np.argsort(self.fold, kind="stable")
        _, start, length = np.unique(self.fold[order], return_index=True, return_counts=True)
        rows = np.full((len(length), length.max()), len(self.fold))
        for f, (first, n) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
            rows[f, :n] = order[first : first + n]
        return rows


def on_processor() -> bool:
    """Whether small matrices are computed by LAPACK on this host; see the module docstring."""
    return jax.default_backend() == "cpu"


def not_finite(values: np.ndarray) -> np.ndarray:
    """Positions of the rows that hold NaN or infinity, int64."""
    # A sum of squares is finite only if all values are; it reads memory once where isfinite makes an array.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(np.vecdot(values, values)))
    return np.array([row for row in suspects.tolist() if not np.isfinite(values[row]).all()], np.int64)


def _few(values: np.ndarray) -> str:
    return ", ".join(map(str, values[:8].tolist())) + (", ..." if len(values) > 8 else "")


def check(
    x: np.ndarray,
    y: np.ndarray,
    *,
    y_row: np.ndarray,
    group_size: np.ndarray,
    alphas: np.ndarray,
    alpha_scope: str,
    folds: str | int,
    seed: int,
    sample_weight: np.ndarray | None,
) -> Design:
    """Refuse what cannot be fitted and say which rows are left out together.

    Raises
    ------
    ValueError
        Shapes or lengths disagree; x is not finite or constant; a penalty is not positive or given twice; fewer than
        two images (or than folds); y_row points outside y; groups do not add up; a weight is negative; a name is not
        known.
    """
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(f"x has shape {x.shape} and y {y.shape}, expected (rows, units) and (images, targets)")
    n_rows = len(x)
    if y_row.shape != (n_rows,):
        raise ValueError(f"y_row has shape {y_row.shape}, expected one entry for each of the {n_rows} rows of x")
    outside = np.flatnonzero((y_row < 0) | (y_row >= len(y)))
    if len(outside):
        raise ValueError(f"y_row points outside the {len(y)} rows of y in rows {_few(outside)} of x")
    bad = not_finite(x)
    if len(bad):
        units = np.flatnonzero(~np.isfinite(x[bad]).all(0))
        raise ValueError(
            f"x is not finite in rows {_few(bad)} ({len(bad)} of {n_rows}): units (columns) {_few(units)}, images "
            f"(rows of y) {_few(np.unique(y_row[bad]))}. Drop these rows or units."
        )
    perhaps = np.flatnonzero(np.all(x[:1] == x[-1:], axis=0))  # most columns need no further look
    constant = perhaps[np.all(x[:, perhaps] == x[:1, perhaps], axis=0)]
    if n_rows and len(constant) == x.shape[1]:
        raise ValueError(
            "x is constant in every column: nothing can be predicted from it. Check the units and the z-scoring."
        )
    if len(alphas) == 0 or not np.all(np.isfinite(alphas)) or np.any(np.asarray(alphas) <= 0):
        raise ValueError(f"alphas are {np.asarray(alphas).tolist()}, expected one or more positive penalties")
    if len(np.unique(alphas)) < len(alphas):
        raise ValueError(f"alphas are {np.asarray(alphas).tolist()}, expected each penalty once")
    if alpha_scope not in SCOPES:
        raise ValueError(f"alpha_scope is {alpha_scope!r}, expected one of {', '.join(SCOPES)}")
    if np.any(np.asarray(group_size) <= 0) or int(np.sum(group_size)) != y.shape[1]:
        raise ValueError(
            f"group_size adds up to {np.sum(group_size)}, expected positive sizes for the {y.shape[1]} targets of y"
        )
    weight = np.ones(n_rows) if sample_weight is None else np.asarray(sample_weight, np.float64)
    if weight.shape != (n_rows,):
        raise ValueError(
            f"sample_weight has shape {weight.shape}, expected one weight for each of the {n_rows} rows of x"
        )
    if not np.all(np.isfinite(weight) & (weight > 0)):
        raise ValueError(
            f"sample_weight is not positive in rows {_few(np.flatnonzero(~(weight > 0)))}. Leave these rows out of x."
        )
    images, image = np.unique(y_row, return_inverse=True)
    if len(images) < 2:
        raise ValueError(f"x shows {len(images)} image, expected at least two: one is left out to choose alpha")
    if folds == "image":
        fold_of_image = np.arange(len(images))
    elif isinstance(folds, int) and not isinstance(folds, bool):
        if not 2 <= folds <= len(images):
            raise ValueError(f"folds is {folds}, expected 2 to {len(images)} (the number of images)")
        fold_of_image = np.random.default_rng([seed, folds]).permutation(np.arange(len(images)) % folds)
    elif folds == "none":
        if len(alphas) > 1:
            raise ValueError(f"folds is 'none', which chooses nothing, but {len(alphas)} alphas are offered. Give one.")
        fold_of_image = np.zeros(len(images), np.int64)
    else:
        raise ValueError(f"folds is {folds!r}, expected 'image' (leave one image out), a number of folds or 'none'")
    return Design(images, image, fold=fold_of_image[image], root=np.sqrt(weight), constant=constant)


def _eigh(gram: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues (rounding below zero variance set to zero) and eigenvectors of a positive semi-definite matrix."""
    eigenvalue, vectors = jax.lax.linalg.eigh(gram, lower=True, symmetrize_input=False)[::-1]
    return jnp.where(eigenvalue > eigenvalue[-1] * len(gram) * jnp.finfo(gram.dtype).eps, eigenvalue, 0.0), vectors


def _where_positive(eigenvalue: jax.Array, values: jax.Array) -> jax.Array:
    # A direction of zero variance carries nothing. Its coordinate is zero: rounding noise would be divided by alpha.
    return jnp.where(eigenvalue > 0.0, values, 0.0)


def _lower(a: jax.Array, b: jax.Array) -> jax.Array:
    """a @ b' for a result known to be symmetric (last two axes), right in its lower triangle only.

    XLA has no product that computes one triangle; four bands of rows leave out 3/8 of the work.
    """
    n = a.shape[-2]
    if n < 4 * 64:
        return a @ jnp.swapaxes(b, -1, -2)
    edges = [n * i // 4 for i in range(5)]
    bands = [a[..., i:j, :] @ jnp.swapaxes(b[..., :j, :], -1, -2) for i, j in itertools.pairwise(edges)]
    nothing = [(0, 0)] * (a.ndim - 1)
    return jnp.concatenate([jnp.pad(band, [*nothing, (0, n - band.shape[-1])]) for band in bands], axis=-2)


def _syrk(x: np.ndarray, scale: float = 1.0, add: np.ndarray | None = None) -> np.ndarray:
    """scale x x' + add, right in the lower triangle only, by one call of BLAS, no copy of x; `add` is overwritten."""
    syrk = blas.ssyrk if x.dtype == np.float32 else blas.dsyrk
    a, transposed = (x, 0) if x.flags.f_contiguous else (x.T, 1)
    options = {} if add is None else {"beta": 1.0, "c": add, "overwrite_c": 1}
    return syrk(scale, a, trans=transposed, lower=1, **options)


def _eigh_on_processor(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As _eigh, of the lower triangle of an array that is overwritten; and which eigenvalues are above zero."""
    # "evd" (divide and conquer) takes half the time of the default.
    eigenvalue, vectors = eigh(gram, lower=True, overwrite_a=True, check_finite=False, driver="evd")
    positive = eigenvalue > eigenvalue[-1] * len(eigenvalue) * np.finfo(gram.dtype).eps
    return np.where(positive, eigenvalue, 0).astype(gram.dtype), vectors, positive


def _roots(eigenvalue: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Square roots and their reciprocals, 0 where there is no variance."""
    root = np.sqrt(eigenvalue)
    return root, np.divide(1.0, root, out=np.zeros_like(root), where=positive)


def _linear_on_processor(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    primal = x.shape[1] <= x.shape[0]
    eigenvalue, vectors, positive = _eigh_on_processor(_syrk(x.T if primal else x))
    if primal:
        vectors[:, ~positive] = 0
        return eigenvalue, vectors, x @ vectors
    root, reciprocal = _roots(eigenvalue, positive)
    return eigenvalue, (x.T @ vectors) * reciprocal, vectors * root


@jax.jit
def _linear_primal(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    eigenvalue, vectors = _eigh(_lower(x.T, x.T))
    basis = _where_positive(eigenvalue[None, :], vectors)
    return eigenvalue, basis, x @ basis


@jax.jit
def _linear_dual(x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    eigenvalue, vectors = _eigh(_lower(x, x))
    root = jnp.sqrt(eigenvalue)
    basis = (x.T @ vectors) * _where_positive(eigenvalue, 1.0 / root)[None, :]
    return eigenvalue, basis, vectors * root[None, :]


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
def _cholesky(x: jax.Array, alpha: jax.Array) -> jax.Array:
    gram = _lower(x, x)
    return jax.lax.linalg.cholesky(gram + alpha * jnp.eye(len(gram), dtype=x.dtype), symmetrize_input=False)


@jax.jit
def _cholesky_solve(lower: jax.Array, b: jax.Array) -> jax.Array:
    return jax.scipy.linalg.cho_solve((lower, True), b)


def cholesky(x: np.ndarray, alpha: float) -> np.ndarray:
    """Lower factor of x x' + alpha I; a penalty alone needs no eigenvectors, which cost twenty times more."""
    if on_processor():
        gram = _syrk(x)
        gram[np.diag_indices(len(gram))] += alpha
        # Above the diagonal `_syrk` left zeros, which need not be written again.
        potrf = lapack.spotrf if x.dtype == np.float32 else lapack.dpotrf
        lower, failed = potrf(gram, lower=1, overwrite_a=1, clean=0)
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            lower = np.asarray(_cholesky(jnp.asarray(x), jnp.asarray(alpha, x.dtype)))
        failed = not np.isfinite(lower[-1, -1])
    if failed:
        raise ValueError(
            f"alpha {alpha:g} is too small for the responses: their Gram matrix cannot be factorised. Raise it."
        )
    return lower


def cholesky_solve(lower: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(lower lower')^-1 b."""
    if on_processor():
        return (lapack.spotrs if lower.dtype == np.float32 else lapack.dpotrs)(lower, b, lower=1)[0]
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        return np.asarray(_cholesky_solve(jnp.asarray(lower), jnp.asarray(b)))


def sum_over_rows(values: np.ndarray, image: np.ndarray, n_images: int) -> np.ndarray:
    """Sums of the columns that belong to one image: (n, n_rows) -> (n, n_images)."""
    order = np.argsort(image, kind="stable")
    if len(image) == n_images:
        return values[:, order]
    return np.add.reduceat(values[:, order], np.searchsorted(image[order], np.arange(n_images)), axis=1)


def linear(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Diagonalise the penalised problem on its smaller side: units (primal) or rows (dual).

    Parameters
    ----------
    x : float32 or float64, (n_rows, n_units)
        Centred, rows times the root of their weight. Its dtype is that of the computation.

    Returns
    -------
    eigenvalue : float64, (r,), of x'x, r = min(n_rows, n_units)
    basis : (n_units, r); x @ basis are coordinates with orthogonal columns of squared length `eigenvalue`.
    coordinates : (n_rows, r)
    """
    if on_processor():
        eigenvalue, basis, coordinates = _linear_on_processor(x)
        return eigenvalue.astype(np.float64), basis, coordinates
    factor = _linear_primal if x.shape[1] <= x.shape[0] else _linear_dual
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        eigenvalue, basis, coordinates = factor(jnp.asarray(x))
        return np.asarray(eigenvalue, np.float64), np.asarray(basis), np.asarray(coordinates)


def centre(kernel: jax.Array, root: jax.Array) -> jax.Array:
    """A kernel centred in its feature space on the weighted mean of its rows, times the roots of the weights."""
    share = root**2 / jnp.sum(root**2)
    mean = share @ kernel
    return (kernel - mean[None, :] - mean[:, None] + share @ mean) * root[:, None] * root[None, :]


@jax.jit
def _centred_kernel(kernel: jax.Array, root: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    eigenvalue, vectors = _eigh(centre(kernel, root))
    square_root = jnp.sqrt(eigenvalue)
    vectors_of_rows = root[:, None] * vectors * _where_positive(eigenvalue, 1.0 / square_root)[None, :]
    return eigenvalue, vectors_of_rows, vectors * square_root[None, :], root**2 / jnp.sum(root**2) @ kernel


def _centred_kernel_on_processor(
    kernel: np.ndarray, root: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    share = root**2 / np.sum(root**2)
    mean = share @ kernel
    centred = kernel - mean
    centred -= (mean - share @ mean)[:, None]
    centred *= root
    centred *= root[:, None]
    eigenvalue, vectors, positive = _eigh_on_processor(centred.T)  # symmetric, and in the order of LAPACK
    square_root, reciprocal = _roots(eigenvalue, positive)
    coordinates = np.multiply(vectors, square_root, order="C")
    vectors *= reciprocal
    vectors *= root[:, None]
    return eigenvalue, vectors, coordinates, mean


def centred_kernel(kernel: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Diagonalise a kernel, centred in its feature space on the weighted mean of the rows (the free intercept).

    Parameters
    ----------
    kernel : float64, (n_rows, n_rows)
    root : float64, (n_rows,), root of the weights.

    Returns
    -------
    eigenvalue : float64, (n_rows,)
    vectors : (n_rows, n_rows); coordinates of new rows are (their kernel with the rows - column_mean) centred over
        columns by the weights, times this.
    coordinates : (n_rows, n_rows), of the rows themselves, times the root of their weight.
    column_mean : (n_rows,), weighted mean over rows of the kernel.
    """
    if on_processor():
        return _centred_kernel_on_processor(kernel, root)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        eigenvalue, vectors, coordinates, mean = _centred_kernel(jnp.asarray(kernel), jnp.asarray(root))
        return np.asarray(eigenvalue), np.asarray(vectors), np.asarray(coordinates), np.asarray(mean)


@partial(jax.jit, static_argnames=("one_row_an_image",))
def _held_out(
    u: jax.Array,
    root: jax.Array,
    g: jax.Array,
    gain: jax.Array,
    slot: jax.Array,
    image_of_slot: jax.Array,
    *,
    one_row_an_image: bool,
) -> jax.Array:
    n_images = g.shape[1]
    # The intercept is one more orthonormal coordinate, without penalty.
    u = jnp.concatenate([(root / jnp.linalg.norm(root))[:, None], u], axis=1)
    coupling = u.T @ g
    image_root = jnp.sqrt(jnp.sum(g**2, axis=0))
    # Row n is empty: it fills folds that are shorter than the longest.
    u_slot = jnp.concatenate([u, jnp.zeros((1, u.shape[1]), u.dtype)])[slot]
    root_slot = jnp.concatenate([root, jnp.zeros(1, u.dtype)])[slot]
    g_slot = jnp.concatenate([g, jnp.zeros((1, n_images), u.dtype)])[slot]

    def errors(gain: jax.Array) -> jax.Array:
        """The map of one penalty, (n_images or 2 n_images, n_images)."""
        gain = jnp.concatenate([jnp.ones(1, u.dtype), gain])
        weighted = u_slot * gain[None, None, :]
        residual = g_slot - weighted @ coupling
        if slot.shape[1] == 1:
            kept = 1.0 - jnp.sum(weighted * u_slot, axis=2)
            residual = residual / kept[:, :, None]
        else:
            kept = jnp.eye(slot.shape[1], dtype=u.dtype)[None] - _lower(weighted, u_slot)
            factor = jax.lax.linalg.cholesky(kept, symmetrize_input=False)
            residual = jax.vmap(lambda a, b: jax.scipy.linalg.cho_solve((a, True), b))(factor, residual)
        residual = residual.reshape(-1, n_images)
        # Mean error of each image times the root of its weight ...
        share = root_slot.reshape(-1, 1) / image_root[image_of_slot.reshape(-1)][:, None]
        mean = jax.ops.segment_sum(share * residual, image_of_slot.reshape(-1), n_images)
        if one_row_an_image:
            return mean
        # ... and a square root of what the rows scatter about it.
        q, v = jnp.linalg.eigh(residual.T @ residual - mean.T @ mean)
        return jnp.concatenate([mean, jnp.sqrt(jnp.maximum(q, 0.0))[:, None] * v.T])

    return jax.lax.map(errors, gain)


def _held_out_on_processor(u: np.ndarray, gain: np.ndarray, design: Design) -> np.ndarray:
    """As _held_out for folds of several rows, fold by fold: none is padded, and products give one triangle."""
    n, n_images = len(u), len(design.images)
    potrf, potrs = (lapack.spotrf, lapack.spotrs) if u.dtype == np.float32 else (lapack.dpotrf, lapack.dpotrs)
    order = np.argsort(design.fold, kind="stable")
    folds = [slice(*edges) for edges in itertools.pairwise(np.searchsorted(design.fold[order], np.arange(n + 1)))]
    folds = [rows for rows in folds if rows.start < rows.stop]
    root, g = design.root[order].astype(u.dtype), design.targets_of_rows[order].astype(u.dtype)
    to_mean = (g / np.sqrt(design.image_weight).astype(u.dtype)).T
    # The intercept is one more orthonormal coordinate, without penalty.
    with_intercept = np.empty((n, u.shape[1] + 1), u.dtype)
    with_intercept[:, 0] = root / np.linalg.norm(root)
    np.take(u, order, axis=0, out=with_intercept[:, 1:])
    coupling = with_intercept.T @ g
    gain = np.pad(gain, ((0, 0), (1, 0)), constant_values=1.0).astype(u.dtype)
    mean = np.zeros((len(gain), n_images, n_images))
    squares = np.zeros_like(mean)
    weighted = np.empty((max(rows.stop - rows.start for rows in folds), with_intercept.shape[1]), u.dtype)
    together = max(1, WIDE // n_images)  # penalties that make one product
    for first in range(0, len(gain), together):
        gains = gain[first : first + together]
        fitted = with_intercept @ (gains.T[:, :, None] * coupling[:, None, :]).reshape(len(coupling), -1)
        for a, one in enumerate(gains):
            error, half = g - fitted[:, a * n_images : (a + 1) * n_images], np.sqrt(one)
            for rows in folds:
                n_of_fold = rows.stop - rows.start
                of_fold = np.multiply(with_intercept[rows], half, out=weighted[:n_of_fold])
                kept = _syrk(of_fold, -1.0, np.eye(n_of_fold, dtype=u.dtype, order="F"))
                factor, failed = potrf(kept, lower=1, overwrite_a=1, clean=0)
                if failed:
                    return np.full((len(gain), n_images, n_images), np.nan)
                residual, _ = potrs(factor, error[rows], lower=1)
                mean[first + a] += to_mean[:, rows] @ residual
                squares[first + a] += residual.T @ residual
    if n == n_images:
        return mean.astype(u.dtype)
    # The mean error of an image times the root of its weight, and a square root of what its rows scatter about it.
    q, v = np.linalg.eigh(squares - np.swapaxes(mean, 1, 2) @ mean)
    scatter = np.sqrt(np.maximum(q, 0.0))[:, :, None] * np.swapaxes(v, 1, 2)
    return np.concatenate([mean, scatter], axis=1).astype(u.dtype)


def _held_out_on_device(coordinates: np.ndarray, gain: np.ndarray, design: Design, slot: np.ndarray) -> np.ndarray:
    image_of_slot = np.append(design.image, 0)[slot]
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        maps = _held_out(
            jnp.asarray(coordinates),
            jnp.asarray(design.root.astype(coordinates.dtype)),
            jnp.asarray(design.targets_of_rows.astype(coordinates.dtype)),
            jnp.asarray(gain.astype(coordinates.dtype)),
            jnp.asarray(slot),
            jnp.asarray(image_of_slot),
            one_row_an_image=len(design.image) == len(design.images),
        )
        return np.asarray(maps)


def held_out(coordinates: np.ndarray, gain: np.ndarray, design: Design) -> np.ndarray:
    """Errors of the prediction of left-out rows, as linear functions of the targets.

    For each penalty a matrix E with ||E z||^2 = sum_i w_i (error of row i while its fold is left out)^2 for targets z
    of the images. The first n_images rows of E give the mean error of each image times the root of the image's weight;
    where images have several rows, n_images more give the scatter about it.

    Parameters
    ----------
    coordinates : float32 or float64, (n_rows, r); U of the module docstring. Its dtype is that of the computation.
    gain : float64, (n_alphas, r)
    design : Design

    Returns
    -------
    (n_alphas, n_images or 2 n_images, n_images)
    """
    slot = design.rows_of_folds
    if on_processor() and slot.shape[1] >= LONG_FOLD:
        maps = _held_out_on_processor(coordinates, gain, design)
    else:
        maps = _held_out_on_device(coordinates, gain, design, slot)
    if not np.isfinite(maps).all():
        raise ValueError(
            "the smallest alpha is too small for the responses: what is left of left-out images cannot be told from "
            "rounding errors. Offer larger alphas."
        )
    return maps
