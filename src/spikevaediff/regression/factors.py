"""The penalised problem, diagonalised: factorisations on a processor and on an accelerator.

Symbols and routes: spikevaediff.regression.solver.
"""

import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import blas, eigh, get_blas_funcs, qr, svd

from spikevaediff.regression.designs import Design

ROUNDING = 8.0  # what factorisations err by, times eps and the largest eigenvalue


@dataclass(frozen=True)
class Factor:
    """The penalised problem, diagonalised.

    eigenvalue : float64, (r,); zero where rounding cannot tell it from zero.
    vectors : float32 or float64, (n_rows, r), V of solver's docstring; its dtype is that of the computation. Columns
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

    def coupling(self, design: Design) -> np.ndarray:
        """S of spikevaediff.regression.solver, (r, n_images)."""
        root = np.sqrt(self.eigenvalue).astype(self.vectors.dtype)
        return root[:, None] * design.summed_by_image(self.vectors).T


def on_processor() -> bool:
    """Whether small matrices are computed by LAPACK on this host; see spikevaediff.regression.solver."""
    return jax.default_backend() == "cpu"


def lower_triangle(a: jax.Array, b: jax.Array) -> jax.Array:
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


def syrk(x: np.ndarray, scale: float = 1.0, add: np.ndarray | None = None) -> np.ndarray:
    """scale x x' + add, right in the lower triangle only, by one call of BLAS, no copy of x; `add` is overwritten."""
    syrk = blas.ssyrk if x.dtype == np.float32 else blas.dsyrk
    a, transposed = (x, 0) if x.flags.f_contiguous else (x.T, 1)
    options = {} if add is None else {"beta": 1.0, "c": add, "overwrite_c": 1}
    return syrk(scale, a, trans=transposed, lower=1, **options)


@jax.jit
def without_root(gram: jax.Array, root: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues and -vectors of a matrix in the directions orthogonal to the roots of the weights; see `turn`.

    With turned = T gram T, T = I - b u u', and its eigenvectors v, those of gram among these directions are T v.

    Parameters
    ----------
    gram : float32 or float64, (n_rows, n_rows), right in its lower triangle.
    root : (n_rows,), of the same dtype.

    Returns
    -------
    eigenvalue : (n_rows - 1,), ascending.
    vectors : (n_rows, n_rows - 1), orthonormal columns.
    """
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


def without_root_on_processor(gram: np.ndarray, root: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as `without_root`, by LAPACK.

    Parameters
    ----------
    gram : float32 or float64, (n_rows, n_rows), right in its lower triangle, in the order of LAPACK; overwritten.
    root : (n_rows,)

    Returns
    -------
    eigenvalue : (n_rows - 1,), ascending.
    vectors : (n_rows, n_rows - 1), orthonormal columns.
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


def reciprocal_roots(eigenvalue: np.ndarray) -> np.ndarray:
    """1 / sqrt(l), 0 where l is: a coordinate without variance would be noise, divided by alpha."""
    root = np.sqrt(eigenvalue)
    return np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)


def _linear_on_processor(x: np.ndarray, root: np.ndarray, zero: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if x.shape[1] < x.shape[0] - 1:
        eigenvalue, basis = _eigh_on_processor(syrk(x.T))
        eigenvalue[eigenvalue <= zero * eigenvalue[-1]] = 0
        basis[:, eigenvalue == 0] = 0
        return eigenvalue, basis, (x @ basis) * reciprocal_roots(eigenvalue)
    eigenvalue, vectors = without_root_on_processor(syrk(x), root)
    eigenvalue[eigenvalue <= zero * eigenvalue[-1]] = 0
    return eigenvalue, (x.T @ vectors) * reciprocal_roots(eigenvalue), vectors


@jax.jit
def _linear_primal(x: jax.Array, zero: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    basis, eigenvalue = jax.lax.linalg.eigh(lower_triangle(x.T, x.T), lower=True, symmetrize_input=False)
    positive = eigenvalue > zero * eigenvalue[-1]
    eigenvalue, basis = jnp.where(positive, eigenvalue, 0.0), jnp.where(positive[None, :], basis, 0.0)
    return eigenvalue, basis, x @ (basis * jnp.where(positive, eigenvalue**-0.5, 0.0)[None, :])


@jax.jit
def _linear_dual(x: jax.Array, root: jax.Array, zero: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    eigenvalue, vectors = without_root(lower_triangle(x, x), root)
    positive = eigenvalue > zero * eigenvalue[-1]
    eigenvalue = jnp.where(positive, eigenvalue, 0.0)
    return eigenvalue, (x.T @ vectors) * jnp.where(positive, eigenvalue**-0.5, 0.0)[None, :], vectors


def by_gram(x: np.ndarray, root: np.ndarray) -> Factor:
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


def by_singular_values(x: np.ndarray, root: np.ndarray) -> Factor:
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
