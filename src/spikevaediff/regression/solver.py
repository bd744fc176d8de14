r"""The small matrices behind every regression here: how held-out errors and predictions depend on the targets.

All methods minimise, with row weights w and an intercept b that is not penalised,

    sum_i w_i ||y_i - b - f(x_i)||^2 + alpha ||f||^2.

So the fitted values are a linear function of the targets, H y, and everything about a target follows from small
matrices that no target enters. Symbols, all for rows multiplied by the root of their weight and centred on the weighted
mean:

    n rows, m images, r coordinates (the smaller of rows - 1 and features)
    V (n, r)       orthonormal directions of rows, orthogonal to the roots of the weights, with eigenvalues l
    U = V sqrt(l)  coordinates of the rows
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

import itertools
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import blas, eigh, get_blas_funcs, lapack, qr, svd

from spikevaediff.records import few

SCOPES = ("target", "group", "global")
LONG_FOLD = 64  # rows; shorter folds are quicker in one program than one by one
WIDE = 1024  # columns that a product needs to be quick
ROUNDING = 8.0  # what factorisations err by, times eps and the largest eigenvalue
# The most that rounding may change left-out errors by; fits that come near it mostly err by a twentieth of it or less.
DOUBT = {np.dtype(np.float64): 1e-5, np.dtype(np.float32): 1e-3}


@dataclass(frozen=True)
class Factor:
    """The penalised problem, diagonalised.

    eigenvalue : float64, (r,); zero where rounding cannot tell it from zero.
    vectors : float32 or float64, (n_rows, r), V of the module docstring; its dtype is that of the computation. Columns
        of zero eigenvalue are zero unless `complete`.
    basis : (n_units, r) or, of a kernel, (n_rows, r); takes new rows to coordinates.
    complete : V spans all that is orthogonal to the roots of the weights.
    rounding : (a, b), by which parts a / sqrt(v) + b / v rounding changes directions of l + alpha >= v.
    """

    eigenvalue: np.ndarray
    vectors: np.ndarray
    basis: np.ndarray
    complete: bool
    rounding: tuple[float, float]

    def coupling(self, design: "Design") -> np.ndarray:
        """S of the module docstring, (r, n_images)."""
        root = np.sqrt(self.eigenvalue).astype(self.vectors.dtype)
        return root[:, None] * (self.vectors.T @ design.targets_of_rows.astype(self.vectors.dtype))


@dataclass(frozen=True)
class Design:
    """Which rows of x belong together.

    images : int64, (n_images,), the rows of y that are shown, sorted.
    image : int64, (n_rows,), position in `images` of what a row shows.
    fold : int64, (n_rows,), rows of one fold are left out together.
    root : float64, (n_rows,), square root of the weight of a row.
    constant : int64, columns of x that never vary: these units are dropped.
    n_scored : the first of `images`, which are left out in turn; rows of the others have fold -1.
    """

    images: np.ndarray
    image: np.ndarray
    fold: np.ndarray
    root: np.ndarray
    constant: np.ndarray
    n_scored: int

    @property
    def scored(self) -> Self:
        """The design without the rows that are never left out."""
        mine = self.fold >= 0
        return replace(
            self,
            images=self.images[: self.n_scored],
            image=self.image[mine],
            fold=self.fold[mine],
            root=self.root[mine],
        )

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
        order = order[self.fold[order] >= 0]
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
    n_scored: int | None = None,
) -> Design:
    """Refuse what cannot be fitted and say which rows are left out together.

    n_scored : images from this row of y on are never left out (see spikevaediff.regression.methods.ridge.fit).

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
        raise ValueError(f"y_row points outside the {len(y)} rows of y in rows {few(outside)} of x")
    bad = not_finite(x)
    if len(bad):
        units = np.flatnonzero(~np.isfinite(x[bad]).all(0))
        raise ValueError(
            f"x is not finite in rows {few(bad)} ({len(bad)} of {n_rows}): units (columns) {few(units)}, images "
            f"(rows of y) {few(np.unique(y_row[bad]))}. Drop these rows or units."
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
            f"sample_weight is not positive in rows {few(np.flatnonzero(~(weight > 0)))}. Leave these rows out of x."
        )
    images, image = np.unique(y_row, return_inverse=True)
    scored = len(images) if n_scored is None else int(np.searchsorted(images, n_scored))
    if scored < 2:
        raise ValueError(f"x shows {scored} image, expected at least two: one is left out to choose alpha")
    if folds == "image":
        fold_of_image = np.arange(scored)
    elif isinstance(folds, int) and not isinstance(folds, bool):
        if not 2 <= folds <= scored:
            raise ValueError(f"folds is {folds}, expected 2 to {scored} (the number of images)")
        fold_of_image = np.random.default_rng([seed, folds]).permutation(np.arange(scored) % folds)
    elif folds == "none":
        if len(alphas) > 1:
            raise ValueError(f"folds is 'none', which chooses nothing, but {len(alphas)} alphas are offered. Give one.")
        fold_of_image = np.zeros(scored, np.int64)
    else:
        raise ValueError(f"folds is {folds!r}, expected 'image' (leave one image out), a number of folds or 'none'")
    fold = np.pad(fold_of_image, (0, len(images) - scored), constant_values=-1)[image]
    return Design(images, image, fold=fold, root=np.sqrt(weight), constant=constant, n_scored=scored)


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


@jax.jit
def _without_root(gram: jax.Array, root: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As _without_root_on_processor."""
    gram = jnp.tril(gram) + jnp.tril(gram, -1).T
    turned, row, u, b = turn(gram, root)
    apart = jnp.diag(jnp.where(row, jnp.max(jnp.diag(turned)), jnp.zeros((), gram.dtype)))
    vectors, eigenvalue = jax.lax.linalg.eigh(turned - apart, lower=True, symmetrize_input=False)
    vectors = jnp.where(row[:, None], jnp.zeros((), gram.dtype), vectors[:, 1:])
    return eigenvalue[1:], vectors - (b * u)[:, None] * (u @ vectors)[None, :]


def turn(kernel: jax.Array, root: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """A kernel in the directions orthogonal to the roots of the weights, turned into all rows but one.

    That is its centring in feature space, and leaves out the roots themselves: as one more direction without variance
    they would mix with whatever has little.

    Parameters
    ----------
    kernel : (n_rows, n_rows), rows and columns times the root of their weight; centred or not.
    root : (n_rows,)

    Returns
    -------
    turned : (n_rows, n_rows), T kernel T for T = I - b u u', zero in the row and column that T takes the roots to: that
        of the largest weight, so that rows of small weights keep their digits.
    row : bool, (n_rows,), where that is.
    u : (n_rows,)
    b : ()
    """
    row = jnp.arange(len(root)) == jnp.argmax(root)
    u = root / jnp.linalg.norm(root) + row.astype(root.dtype)
    b = 1.0 / jnp.max(u)
    w = b * (kernel @ u)
    w = w - (b / 2.0) * (u @ w) * u
    turned = kernel - u[:, None] * w[None, :] - w[:, None] * u[None, :]
    return jnp.where(row[:, None] | row[None, :], jnp.zeros((), kernel.dtype), turned), row, u, b


def _mirror(root: np.ndarray) -> tuple[int, np.ndarray, float]:
    """(row, u, b) of `turn`."""
    row = int(np.argmax(root))
    u = root / np.linalg.norm(root)
    u[row] += 1.0
    return row, u, 1.0 / u[row]


def _without_root_on_processor(gram: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and -vectors of a matrix in the directions orthogonal to the roots of the weights; see `turn`.

    Parameters
    ----------
    gram : (n_rows, n_rows), right in its lower triangle, in the order of LAPACK; overwritten.
    root : (n_rows,)

    Returns
    -------
    eigenvalue : (n_rows - 1,), ascending.
    vectors : (n_rows, n_rows - 1)
    """
    symv, syr2 = get_blas_funcs(("symv", "syr2"), (gram,))
    row, u, b = _mirror(root)
    u = u.astype(gram.dtype)
    w = symv(b, gram, u, lower=1)
    w -= (b / 2 * (u @ w)) * u
    gram = syr2(-1.0, u, w, a=gram, lower=1, overwrite_a=1)
    gram[row], gram[:, row] = 0, 0
    gram[row, row] = -gram.diagonal().max()  # apart from the others, and the first
    eigenvalue, vectors = _eigh_on_processor(gram)
    vectors = vectors[:, 1:]
    vectors[row] = 0
    vectors -= np.outer(u @ vectors, (b * u).astype(gram.dtype)).T
    return eigenvalue[1:], vectors


def _eigh_on_processor(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and -vectors of the lower triangle of an array that is overwritten."""
    # "evd" (divide and conquer) takes half the time of the default.
    return eigh(gram, lower=True, overwrite_a=True, check_finite=False, driver="evd")


def _reciprocal_roots(eigenvalue: np.ndarray) -> np.ndarray:
    """1 / sqrt(l), 0 where l is: a coordinate without variance would be noise, divided by alpha."""
    root = np.sqrt(eigenvalue)
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


def _linear_on_processor(x: np.ndarray, root: np.ndarray, zero: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if x.shape[1] < x.shape[0] - 1:
        eigenvalue, basis = _eigh_on_processor(_syrk(x.T))
        eigenvalue[eigenvalue <= zero * eigenvalue[-1]] = 0
        basis[:, eigenvalue == 0] = 0
        return eigenvalue, basis, (x @ basis) * _reciprocal_roots(eigenvalue)
    eigenvalue, vectors = _without_root_on_processor(_syrk(x), root)
    eigenvalue[eigenvalue <= zero * eigenvalue[-1]] = 0
    return eigenvalue, (x.T @ vectors) * _reciprocal_roots(eigenvalue), vectors


@jax.jit
def _linear_primal(x: jax.Array, zero: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    basis, eigenvalue = jax.lax.linalg.eigh(_lower(x.T, x.T), lower=True, symmetrize_input=False)
    positive = eigenvalue > zero * eigenvalue[-1]
    eigenvalue, basis = jnp.where(positive, eigenvalue, 0.0), jnp.where(positive[None, :], basis, 0.0)
    return eigenvalue, basis, x @ (basis * jnp.where(positive, eigenvalue**-0.5, 0.0)[None, :])


@jax.jit
def _linear_dual(x: jax.Array, root: jax.Array, zero: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    eigenvalue, vectors = _without_root(_lower(x, x), root)
    positive = eigenvalue > zero * eigenvalue[-1]
    eigenvalue = jnp.where(positive, eigenvalue, 0.0)
    return eigenvalue, (x.T @ vectors) * jnp.where(positive, eigenvalue**-0.5, 0.0)[None, :], vectors


def _by_gram(x: np.ndarray, root: np.ndarray) -> Factor:
    """By the Gram matrix of the smaller side: of units (primal) where rows are more than these, else of rows (dual)."""
    complete = x.shape[1] >= x.shape[0] - 1
    zero = ROUNDING * float(np.finfo(x.dtype).eps)
    if on_processor():
        eigenvalue, basis, vectors = _linear_on_processor(x, root, zero)
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            x_, zero_ = jnp.asarray(x), jnp.asarray(zero, x.dtype)
            found = (
                _linear_dual(x_, jnp.asarray(root.astype(x.dtype)), zero_) if complete else _linear_primal(x_, zero_)
            )
        eigenvalue, basis, vectors = map(np.asarray, found)
    eigenvalue = eigenvalue.astype(np.float64)
    return Factor(eigenvalue, vectors, basis, complete=complete, rounding=(0.0, zero * float(eigenvalue[-1])))


def _by_singular_values(x: np.ndarray, root: np.ndarray) -> Factor:
    """By singular values, whose squares keep twice the digits; V is complete whatever the number of units."""
    row, u, b = _mirror(root)
    turned = np.delete(x - np.outer(b * u, u @ x), row, axis=0)
    left, value, right = svd(turned, full_matrices=False, overwrite_a=True, check_finite=False)
    if len(value) < len(turned):
        more = len(turned) - len(value)
        left = np.hstack([left, qr(left)[0][:, len(value) :]])
        value, right = np.pad(value, (0, more)), np.pad(right, ((0, more), (0, 0)))
    vectors = np.insert(left, row, 0.0, axis=0)
    vectors -= np.outer(b * u, u @ vectors)
    zero = ROUNDING * float(np.finfo(np.float64).eps) * float(value[0])
    value[value <= zero] = 0
    return Factor(value**2, vectors, np.where(value > 0, right.T, 0.0), complete=True, rounding=(2 * zero, zero**2))


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
    gram = _lower(x, x)
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
    if on_processor():
        gram = _syrk(x)
        level = gram.diagonal().mean()
        if root is not None:
            gram = get_blas_funcs("syr", (gram,))(level, lift, a=gram, lower=1, overwrite_a=1)
        gram[np.diag_indices(len(gram))] += alpha
        # Above the diagonal `_syrk` left zeros, which need not be written again.
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
    ways = [(_by_gram, x.dtype), (_by_gram, np.dtype(np.float64)), (_by_singular_values, np.dtype(np.float64))]
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
    if on_processor():
        eigenvalue, vectors = _without_root_on_processor(gram.T, root)  # symmetric, and in the order of LAPACK
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            eigenvalue, vectors = map(np.array, _without_root(jnp.asarray(gram), jnp.asarray(root)))
    rounding = ROUNDING * float(np.finfo(np.float64).eps) * error * (level + float(eigenvalue[-1]))
    eigenvalue[eigenvalue <= rounding] = 0
    basis = vectors * _reciprocal_roots(eigenvalue)
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


@partial(jax.jit, static_argnames=("one_row_an_image", "complete", "n_scored"))
def _held_out(
    columns: jax.Array,
    weights: jax.Array,
    root: jax.Array,
    g: jax.Array,
    slot: jax.Array,
    image_of_slot: jax.Array,
    *,
    one_row_an_image: bool,
    complete: bool,
    n_scored: int,
) -> tuple[jax.Array, jax.Array]:
    n, n_images = g.shape
    coupling = columns.T @ g
    image_root = jnp.sqrt(jnp.sum(g**2, axis=0))
    # Row n is empty: it fills folds that are shorter than the longest.
    columns_slot = jnp.concatenate([columns, jnp.zeros((1, columns.shape[1]), g.dtype)])[slot]
    root_slot = jnp.concatenate([root, jnp.zeros(1, g.dtype)])[slot]
    g_slot = jnp.concatenate([g, jnp.zeros((1, n_images), g.dtype)])[slot]

    def errors(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The map of one penalty, see `held_out`, and the least that a fold keeps."""
        weighted = columns_slot * weights[None, None, :]
        residual = weighted @ coupling if complete else g_slot - weighted @ coupling
        if slot.shape[1] == 1:
            kept = jnp.sum(weighted * columns_slot, axis=2)
            kept = kept if complete else 1.0 - kept
            residual = residual / kept[:, :, None]
        else:
            kept = _lower(weighted, columns_slot)
            filler = (slot == n).astype(g.dtype)[:, :, None] * jnp.eye(slot.shape[1], dtype=g.dtype)[None]
            kept = filler + kept if complete else jnp.eye(slot.shape[1], dtype=g.dtype)[None] - kept
            factor = jax.lax.linalg.cholesky(kept, symmetrize_input=False)
            residual = jax.vmap(lambda a, b: jax.scipy.linalg.cho_solve((a, True), b))(factor, residual)
            kept = jnp.diagonal(factor, axis1=1, axis2=2) ** 2
        residual = residual.reshape(-1, n_images)
        # Mean error of each image times the root of its weight ...
        share = root_slot.reshape(-1, 1) / image_root[image_of_slot.reshape(-1)][:, None]
        mean = jax.ops.segment_sum(share * residual, image_of_slot.reshape(-1), n_scored)
        if one_row_an_image:
            return mean, jnp.min(kept)
        # ... and a square root of what the rows scatter about it.
        q, v = jnp.linalg.eigh(residual.T @ residual - mean.T @ mean)
        return jnp.concatenate([mean, jnp.sqrt(jnp.maximum(q, 0.0))[:, None] * v.T]), jnp.min(kept)

    return jax.lax.map(errors, weights)


def _held_out_on_processor(
    columns: np.ndarray, weights: np.ndarray, design: Design, *, complete: bool
) -> tuple[np.ndarray, np.ndarray]:
    """As _held_out for folds of several rows, fold by fold: none is padded, and products give one triangle."""
    n, n_images, dtype = len(columns), len(design.images), columns.dtype
    potrf, potrs = (lapack.spotrf, lapack.spotrs) if dtype == np.float32 else (lapack.dpotrf, lapack.dpotrs)
    order = np.argsort(design.fold, kind="stable")
    folds = [slice(*edges) for edges in itertools.pairwise(np.searchsorted(design.fold[order], np.arange(n + 1)))]
    folds = [rows for rows in folds if rows.start < rows.stop]
    g = design.targets_of_rows[order].astype(dtype)
    to_mean = (g / np.sqrt(design.image_weight).astype(dtype)).T[: design.n_scored]
    columns = np.take(columns, order, axis=0)
    coupling = columns.T @ g
    least = np.full(len(weights), np.inf)
    mean = np.zeros((len(weights), design.n_scored, n_images))
    squares = np.zeros((len(weights), n_images, n_images))
    weighted = np.empty((max(rows.stop - rows.start for rows in folds), columns.shape[1]), dtype)
    together = max(1, WIDE // n_images)  # penalties that make one product
    for first in range(0, len(weights), together):
        some = weights[first : first + together]
        fitted = columns @ (some.T[:, :, None] * coupling[:, None, :]).reshape(len(coupling), -1)
        for a, one in enumerate(some):
            error, half = fitted[:, a * n_images : (a + 1) * n_images], np.sqrt(one)
            error = error if complete else g - error
            for rows in folds:
                n_of_fold = rows.stop - rows.start
                of_fold = np.multiply(columns[rows], half, out=weighted[:n_of_fold])
                kept = _syrk(of_fold) if complete else _syrk(of_fold, -1.0, np.eye(n_of_fold, dtype=dtype, order="F"))
                factor, failed = potrf(kept, lower=1, overwrite_a=1, clean=0)
                if failed:
                    least[first + a] = np.nan
                    break
                least[first + a] = min(least[first + a], factor.diagonal().min() ** 2)
                residual, _ = potrs(factor, error[rows], lower=1)
                mean[first + a] += to_mean[:, rows] @ residual
                squares[first + a] += residual.T @ residual
    if n == n_images:
        return mean.astype(dtype), least
    # The mean error of an image times the root of its weight, and a square root of what its rows scatter about it.
    q, v = np.linalg.eigh(squares - np.swapaxes(mean, 1, 2) @ mean)
    scatter = np.sqrt(np.maximum(q, 0.0))[:, :, None] * np.swapaxes(v, 1, 2)
    return np.concatenate([mean, scatter], axis=1).astype(dtype), least


def held_out(factor: Factor, alphas: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the prediction of left-out rows, as linear functions of the targets.

    For each penalty a matrix E with ||E z||^2 = sum_i w_i (error of row i while its fold is left out)^2 for targets z
    of the images. The first n_scored rows of E give the mean error of each image that is left out times the root of the
    image's weight; where images have several rows, n_images more give the scatter about it.

    Parameters
    ----------
    factor : Factor
    alphas : float64, (n_alphas,)
    design : Design

    Returns
    -------
    maps : (n_alphas, n_images or 2 n_images, n_images), in the dtype of the factor.
    doubt : float64, (n_alphas,), what rounding may change errors by, in parts of the targets' spread; infinite where
        nothing is left of a fold.
    """
    dtype, eigenvalue = factor.vectors.dtype, factor.eigenvalue
    half, whole = factor.rounding
    if factor.complete:
        # (I - H) (l + alpha) / alpha for the smallest l, which changes no error.
        columns, least = factor.vectors, eigenvalue.min() + alphas
        weights = least[:, None] / (eigenvalue + alphas[:, None])
    else:
        # H, whose first orthonormal direction is the intercept.
        columns = np.empty((len(factor.vectors), len(eigenvalue) + 1), dtype)
        columns[:, 0] = design.root / np.linalg.norm(design.root)
        columns[:, 1:] = factor.vectors
        least = np.min(eigenvalue, where=eigenvalue > 0, initial=np.inf) + alphas
        weights = np.pad(eigenvalue / (eigenvalue + alphas[:, None]), ((0, 0), (1, 0)), constant_values=1.0)
    weights = weights.astype(dtype)
    slot = design.rows_of_folds
    if on_processor() and slot.shape[1] >= LONG_FOLD:
        maps, kept = _held_out_on_processor(columns, weights, design, complete=factor.complete)
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            arrays = (columns, weights, design.root.astype(dtype), design.targets_of_rows.astype(dtype), slot)
            found = _held_out(
                *map(jnp.asarray, arrays),
                jnp.asarray(np.append(design.image, 0)[slot]),
                one_row_an_image=len(design.image) == len(design.images),
                complete=factor.complete,
                n_scored=design.n_scored,
            )
        maps, kept = map(np.asarray, found)
    # A change D of the kernel K changes M = (K + alpha)^-1, in every direction, by at most |D| times its largest value,
    # and errors (M_ff)^-1 (M y)_f by the root of that value over the least of M_ff more. A difference loses its last
    # digit.
    doubt = half / np.sqrt(least) + whole / least
    if not factor.complete and np.any(eigenvalue == 0):
        doubt = np.maximum(doubt, half / np.sqrt(alphas) + whole / alphas)
    kept = np.where(kept > 0, kept, 0.0).astype(np.float64)
    with np.errstate(divide="ignore"):
        doubt = doubt / np.sqrt(kept) if factor.complete else (doubt + ROUNDING * np.finfo(dtype).eps) / kept
    # Directions are right to eps, and their entries in a row of little weight beside others as small as its root.
    doubt = doubt + ROUNDING * np.finfo(dtype).eps * (design.root.max() / design.root.min())
    return maps, np.where(np.isfinite(maps).all((1, 2)), doubt, np.inf)
