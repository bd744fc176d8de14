"""Penalties of each target chosen through the units, where they are fewer than the images.

A fit of a few hundred units knows targets z only through their coupling S z, with S = U'G (solver). For images that are
shown once and left out one by one, the error of image i at penalty a is therefore

    e_ai = (root_i z_i - sum_j w_aj V_ij (S z)_j) / (1 - h_aii),

V the directions, the intercept among them, and w their weights in the smoother (held_out.directions). S z is one
product per target; the map from all images to all errors would be one for each penalty. With a library of 3,894
photographs beside 106 images, 333 units and 10 penalties this takes two fifths of the operations.
"""

from dataclasses import dataclass

import jax
import numpy as np

from spikevaediff.records import group_edges
from spikevaediff.regression import blocks, factors, held_out
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.designs import Design
from spikevaediff.regression.factors import Factor
from spikevaediff.regression.targets import LARGEST, Scores, power_below
from spikevaediff.side_by_side import side_by_side, workers

TILE = 512  # targets at a time


def pays(factor: Factor, alphas: np.ndarray, design: Design) -> bool:
    """Whether `score` goes with this design, and takes fewer operations than the maps of held_out."""
    n, m, r = design.n_scored, len(design.images), len(factor.eigenvalue) + 1
    alone = len(design.image) == m and np.unique(design.fold[design.fold >= 0]).size == n
    few = r * (m + len(alphas) * n) < 0.8 * len(alphas) * n * m
    return bool(alone and few and not factor.complete and factors.on_processor() and jax.device_count() == 1)


@dataclass(frozen=True)
class _Errors:
    """Errors of left-out images, root z own - left (S z): see the module.

    coupling : (r, n_images); left : (n_alphas, n_scored, r); own : (n_alphas, n_scored); root : (n_scored,).
    """

    coupling: np.ndarray
    left: np.ndarray
    own: np.ndarray
    root: np.ndarray


def _errors(factor: Factor, alphas: np.ndarray, design: Design, dtype: np.dtype) -> _Errors:
    """What stands before z and S z in the errors, for every penalty: (root_i z_i - ...) / (1 - h_aii), term by term."""
    columns, weights, _ = held_out.directions(factor, alphas, design)
    coupling = design.summed_by_image(columns).T
    rows = np.flatnonzero(design.fold >= 0)
    rows = rows[np.argsort(design.image[rows])]
    own_columns, root = columns[rows], design.root[rows]
    kept = 1.0 - weights @ (own_columns**2).T
    left = own_columns * weights[:, None, :] / kept[:, :, None]
    return _Errors(*(array.astype(dtype) for array in (coupling, left, root / kept, root)))


def score(
    y: np.ndarray,
    factor: Factor,
    alphas: np.ndarray,
    design: Design,
    *,
    group_size: np.ndarray,
    budget: Budget,
) -> Scores:
    """As targets.score with the maps of held_out and scope "target", to rounding.

    Parameters
    ----------
    y : float16, float32 or float64, (n_rows_y, n_targets); may be a memory map.
    factor : Factor
    alphas : float64, (n_alphas,)
    design : Design
        One for which this `pays`.
    group_size : int64, (n_groups,), consecutive targets.
    budget : Budget
        Its devices are ignored: one processor.

    Raises
    ------
    ValueError
        As targets.score.
    """
    dtype, n_targets, n = blocks.working_dtype(y), y.shape[1], design.n_scored
    errors = _errors(factor, alphas, design, dtype)
    share = errors.root**2 / np.sum(errors.root**2)
    total = float(np.sum(errors.root.astype(np.float64) ** 2))
    every_row = np.array_equal(design.images, np.arange(len(y)))
    height = len(design.images) + 2 * errors.left.shape[0] * n
    fits = int(budget.n_bytes / (dtype.itemsize * height * workers()))
    width = max(1, min(TILE, fits))

    def of_tile(first: int) -> tuple[np.ndarray, ...]:
        blocks.check_file(y)
        some = slice(first, min(first + width, n_targets))
        z = (y[:, some] if every_row else y[design.images, some]).astype(dtype, copy=False)
        largest = np.abs(z[:n]).max(0)
        z = z - share @ z[:n]
        coupled, z = errors.coupling @ z, z[:n]
        scale = power_below(np.maximum(np.abs(z).max(0), np.abs(coupled).max(0)), np)
        # A constant column keeps the rounding of its mean; below that scores have no meaning.
        rounding = total * (4.0 * np.finfo(dtype).eps * largest / scale) ** 2
        z, coupled = z / scale, coupled / scale
        fitted = (errors.left.reshape(-1, len(coupled)) @ coupled).reshape(*errors.own.shape, -1)
        error = np.subtract(errors.own[:, :, None] * z, fitted, out=fitted)
        losses = np.einsum("ant,ant->at", error, error)
        chosen = losses.argmin(0)
        error = np.take_along_axis(error, chosen[None, None, :], 0)[0]
        shown = errors.root[:, None] * z
        predicted = shown - error
        squares = np.sum(shown**2, axis=0)
        squares = np.where(squares > rounding, squares, 0.0)
        mean = errors.root @ predicted
        spread = np.sum(predicted**2, axis=0) - mean**2 / total
        with np.errstate(divide="ignore", invalid="ignore"):
            correlation = np.sum(shown * predicted, axis=0) / np.sqrt(squares * np.maximum(spread, 0.0))
        loss = np.take_along_axis(losses, chosen[None], 0)[0]
        return chosen, correlation.astype(dtype), scale.astype(np.float64), loss, squares, losses

    tiles = list(side_by_side(of_tile, range(0, n_targets, width), at_once=workers()))
    chosen, correlation, scale, *in_units = (np.concatenate(parts, -1) for parts in zip(*tiles, strict=True))
    if np.any((scale > LARGEST) | (scale < 1 / LARGEST)):
        raise ValueError(
            f"targets reach {scale.min():.0e} to {scale.max():.0e}, whose squares are beyond float64. "
            f"Give them in other units."
        )
    loss, squares, losses = (values * scale**2 for values in in_units)
    group_loss = np.add.reduceat(losses, group_edges(group_size)[:-1], axis=1).T
    return Scores(chosen.astype(np.int32), loss, squares, correlation, group_loss)
