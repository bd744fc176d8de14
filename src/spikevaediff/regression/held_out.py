"""Errors of left-out rows as linear functions of the targets, without a refit.

Symbols: spikevaediff.regression.solver.
"""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import lapack

from spikevaediff.regression import factors
from spikevaediff.regression.designs import Design
from spikevaediff.regression.factors import Factor

WIDE = 1024  # columns that a product needs to be quick
LONG_FOLD = 64  # rows; shorter folds are quicker in one program than one by one


@partial(jax.jit, static_argnames=("one_row_an_image", "complete", "n_scored"))
def _held_out(
    columns: jax.Array,
    weights: jax.Array,
    root: jax.Array,
    coupling: jax.Array,
    image_root: jax.Array,
    slot: jax.Array,
    image_of_slot: jax.Array,
    *,
    one_row_an_image: bool,
    complete: bool,
    n_scored: int,
) -> tuple[jax.Array, jax.Array]:
    n, n_images, dtype = len(root), len(image_root), columns.dtype
    # Row n is empty: it fills folds that are shorter than the longest.
    columns_slot = jnp.concatenate([columns, jnp.zeros((1, columns.shape[1]), dtype)])[slot]
    root_slot = jnp.concatenate([root, jnp.zeros(1, dtype)])[slot]
    g_slot = root_slot[:, :, None] * jax.nn.one_hot(image_of_slot, n_images, dtype=dtype)

    def errors(weights: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The map of one penalty, see `held_out`, and the least that a fold keeps."""
        weighted = columns_slot * weights[None, None, :]
        residual = weighted @ coupling if complete else g_slot - weighted @ coupling
        if slot.shape[1] == 1:
            kept = jnp.sum(weighted * columns_slot, axis=2)
            kept = kept if complete else 1.0 - kept
            residual = residual / kept[:, :, None]
        else:
            kept = factors.lower_triangle(weighted, columns_slot)
            filler = (slot == n).astype(dtype)[:, :, None] * jnp.eye(slot.shape[1], dtype=dtype)[None]
            kept = filler + kept if complete else jnp.eye(slot.shape[1], dtype=dtype)[None] - kept
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
                kept = (
                    factors.syrk(of_fold)
                    if complete
                    else factors.syrk(of_fold, -1.0, np.eye(n_of_fold, dtype=dtype, order="F"))
                )
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


def _complete(factor: Factor, design: Design) -> bool:
    # Of two means, one is no direction that V spans.
    return factor.complete and not design.own_mean


def directions(factor: Factor, alphas: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The smoother H, or what it leaves, as orthonormal directions of rows and their weights.

    Returns
    -------
    columns : (n_rows, r), in the dtype of the factor.
    weights : float64, (n_alphas, r). H = columns weights columns', the intercept first; or, where the directions span
        everything else (`Factor.complete`), (I - H) times (least / alpha).
    least : float64, (n_alphas,), the smallest l + alpha.
    """
    eigenvalue = factor.eigenvalue
    if _complete(factor, design):
        # (I - H) (l + alpha) / alpha for the smallest l, which changes no error.
        least = eigenvalue.min() + alphas
        return factor.vectors, least[:, None] / (eigenvalue + alphas[:, None]), least
    # H, whose first orthonormal direction is the intercept.
    columns = np.empty((len(factor.vectors), len(eigenvalue) + 1), factor.vectors.dtype)
    columns[:, 0] = design.intercept / np.linalg.norm(design.intercept)
    columns[:, 1:] = factor.vectors
    least = np.min(eigenvalue, where=eigenvalue > 0, initial=np.inf) + alphas
    weights = np.pad(eigenvalue / (eigenvalue + alphas[:, None]), ((0, 0), (1, 0)), constant_values=1.0)
    return columns, weights, least


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
    complete = _complete(factor, design)
    columns, weights, least = directions(factor, alphas, design)
    weights = weights.astype(dtype)
    slot = design.rows_of_folds
    if factors.on_processor() and slot.shape[1] >= LONG_FOLD:
        maps, kept = _held_out_on_processor(columns, weights, design, complete=complete)
    else:
        with jax.enable_x64(True), jax.default_matmul_precision("highest"):
            coupling, image_root = design.summed_by_image(columns).T, np.sqrt(design.image_weight).astype(dtype)
            found = _held_out(
                *map(jnp.asarray, (columns, weights, design.root.astype(dtype), coupling, image_root, slot)),
                jnp.asarray(np.append(design.image, 0)[slot]),
                one_row_an_image=len(design.image) == len(design.images),
                complete=complete,
                n_scored=design.n_scored,
            )
        maps, kept = map(np.asarray, found)
    # A change D of the kernel K changes M = (K + alpha)^-1, in every direction, by at most |D| times its largest value,
    # and errors (M_ff)^-1 (M y)_f by the root of that value over the least of M_ff more. A difference loses its last
    # digit.
    doubt = half / np.sqrt(least) + whole / least
    if not complete and np.any(eigenvalue == 0):
        doubt = np.maximum(doubt, half / np.sqrt(alphas) + whole / alphas)
    kept = np.where(kept > 0, kept, 0.0).astype(np.float64)
    with np.errstate(divide="ignore"):
        doubt = doubt / np.sqrt(kept) if complete else (doubt + factors.ROUNDING * np.finfo(dtype).eps) / kept
    # Directions are right to eps, and their entries in a row of little weight beside others as small as its root.
    doubt = doubt + factors.ROUNDING * np.finfo(dtype).eps * (design.root.max() / design.root.min())
    return maps, np.where(np.isfinite(maps).all((1, 2)), doubt, np.inf)
