"""Which rows of responses belong together, and what a regression can be fitted to at all."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from spikevaediff.records import few

SCOPES = ("target", "group", "global", "component")


@dataclass(frozen=True)
class Design:
    """Which rows of x belong together.

    images : int64, (n_images,), the rows of y that are shown, sorted.
    image : int64, (n_rows,), position in `images` of what a row shows.
    fold : int64, (n_rows,), rows of one fold are left out together.
    root : float64, (n_rows,), square root of the weight of a row.
    constant : int64, columns of x that never vary: these units are dropped.
    n_scored : the first of `images`, which are left out in turn; rows of the others have fold -1.
    own_mean : whether rows of the others, a library, have a mean of their own.
    """

    images: np.ndarray
    image: np.ndarray
    fold: np.ndarray
    root: np.ndarray
    constant: np.ndarray
    n_scored: int
    own_mean: bool = False

    @property
    def intercept(self) -> np.ndarray:
        """Rows that share the mean which predictions have, times the root of their weight, float64 (n_rows,)."""
        return np.where(self.fold >= 0, self.root, 0.0) if self.own_mean else self.root

    @property
    def share(self) -> np.ndarray:
        """Weight of each image in that mean, float64 (n_images,)."""
        weight = np.bincount(self.image, self.intercept**2, len(self.images))
        return weight / weight.sum()

    def with_library(self, weight: float) -> Self:
        """The design with another weight of the rows that are never left out, and a mean of their own.

        Raises
        ------
        ValueError
            The weight is not positive, or there are no such rows.
        """
        library = self.fold < 0
        if not (np.isfinite(weight) and weight > 0):
            raise ValueError(f"library_weight is {weight}, expected a positive number")
        if not library.any():
            raise ValueError("library_weight is for rows from n_scored on beside others of weight one")
        return replace(self, root=np.where(library, np.sqrt(weight), 1.0), own_mean=True)

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
        """G of spikevaediff.regression.solver, float64 (n_rows, n_images)."""
        g = np.zeros((len(self.image), len(self.images)))
        g[np.arange(len(self.image)), self.image] = self.root
        return g

    def summed_by_image(self, rows: np.ndarray) -> np.ndarray:
        """G' rows: sums over the rows of each image, times the root of their weight; (n_rows, k) -> (n_images, k)."""
        weighted = rows * self.root.astype(rows.dtype)[:, None]
        order = np.argsort(self.image, kind="stable")
        if len(order) == len(self.images):
            return weighted[order]
        starts = np.searchsorted(self.image[order], np.arange(len(self.images)))
        return np.add.reduceat(weighted[order], starts, axis=0)

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
    n_scored: int | None = None,
) -> Design:
    """Refuse what cannot be fitted and say which rows are left out together.

    Parameters
    ----------
    x : float, (n_rows, n_units)
    y : float, (n_images, n_targets)
        Not read here: its numbers are checked by blocks.check_finite.
    y_row : int64, (n_rows,)
        The row of y that a row of x shows.
    group_size : int64, (n_groups,), consecutive targets that belong together.
    alphas : float64, (n_alphas,), penalties to choose from.
    alpha_scope : str, one of SCOPES.
    folds : "image", the number of folds, or "none".
    seed : int, deals images into a number of folds.
    n_scored : int or None
        Images from this row of y on are never left out; None: there are no such images.

    Returns
    -------
    Design
        Every row has weight one.

    Raises
    ------
    ValueError
        Shapes or lengths disagree; x is not finite or constant; a penalty is not positive or given twice; fewer than
        two images (or than folds); y_row points outside y; groups do not add up; a name is not known.
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
    images, image = np.unique(y_row, return_inverse=True)
    if alpha_scope == "component" and len(images) < n_rows:
        raise ValueError(
            f"alpha_scope is 'component', which needs one row of x for each image, and there are {n_rows} rows of "
            f"{len(images)} images. Fit to means over presentations, or choose another scope"
        )
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
    return Design(images, image, fold=fold, root=np.ones(n_rows), constant=constant, n_scored=scored)
