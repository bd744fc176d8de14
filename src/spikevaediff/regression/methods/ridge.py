"""Ridge regression of any number of targets with one factorisation.

The small matrices (units x units, or rows x rows where there are fewer) are float64, except where that would be slow
and float32 is known to be right (solver.centred; a fit says which in `precision`). Everything as wide
as the targets is float32: a prediction is a sum over images, well conditioned whatever the penalty, and errs by about
1e-6 of the largest target.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikevaediff.regression import blocks, components, designs, fits, solver, through_units
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.designs import Design
from spikevaediff.regression.fits import Fit


def fit(
    x: np.ndarray,
    y: np.ndarray,
    *,
    y_row: np.ndarray,
    group_size: np.ndarray,
    alphas: Sequence[float] | np.ndarray,
    alpha_scope: str,
    folds: str | int,
    seed: int,
    n_scored: int | None = None,
    library_weight: float | None = None,
    budget: Budget = blocks.DEFAULT,
) -> Fit:
    """Fit ridge regressions and choose their penalties by left-out images.

    Minimises, for every target t, sum_i w_i (y[y_row[i], t] - b_t - x_i'beta_t)^2 + alpha_t ||beta_t||^2 over rows i of
    x; w_i is `library_weight` in the rows of a library, and one in all others.

    Parameters
    ----------
    x : float, (n_rows, n_units)
        Responses: presentations, or means over the presentations of an image (z-scored per unit, as a rule). How alpha
        depends on that choice: spikevaediff.regression.solver.
    y : float16, float32 or float64, (n_images, n_targets)
        Distinct targets, one row per image, array or memory map.
    y_row : int64, (n_rows,)
        The row of y that a row of x shows.
    group_size : int64, (n_groups,)
        Consecutive targets that belong together.
    alphas : float, (n_alphas,)
        Penalties to choose from, positive.
    alpha_scope : "target", "group", "global" or "component"
        Which targets share a penalty: each has its own, a group has one, all have one; or each principal component of
        the targets of training images has its own, see spikevaediff.regression.components.
    folds : "image", int or "none"
        Leave out every image once, or k folds of images. "none" takes the one alpha given, unseen: no scores (NaN), and
        a Cholesky factor instead of eigenvectors, for thousands of rows and units.
    seed : int
        Deals images into the k folds; "image" draws nothing.
    n_scored : int
        Rows of y from this one on only take part in the fit: they are never left out, and neither the penalty nor a
        score depends on how well they are predicted. None: there are no such rows.
    library_weight : float, positive
        w of each of those rows in the sum above, in place of one. They then have an intercept and a mean response of
        their own, which predictions do not take: a library may differ in all that its photographs have in common. None:
        all rows share an intercept.
    budget : Budget
        Memory and devices for what is as wide as the targets. Changes no result.

    Returns
    -------
    Fit

    Raises
    ------
    ValueError
        See designs.check, solver.linear, components.score and blocks.check_finite.
    """
    alphas = np.sort(np.asarray(alphas, np.float64))
    x = np.asarray(x, np.result_type(x, np.float32))
    y_row, group_size = np.asarray(y_row, np.int64), np.asarray(group_size, np.int64)
    design = designs.check(
        x,
        y,
        y_row=y_row,
        group_size=group_size,
        alphas=alphas,
        alpha_scope=alpha_scope,
        folds=folds,
        seed=seed,
        n_scored=n_scored,
    )
    if library_weight is not None:
        design = design.with_library(library_weight)
    # One given penalty needs nothing of the targets: `predict` is the first to read them, and the one to refuse them,
    # unless that would be after long work.
    if folds != "none" or solver.takes_long(x):
        blocks.check_finite(y, design.images, budget)

    weight = {} if library_weight is None else {"library_weight": np.array(library_weight)}
    x, mean = _levelled(x, design) if design.own_mean else (x, solver.weighted_mean(x, design.root**2))
    centred = solver.centred(x, mean, design.root, alphas[0])
    centred[:, design.constant] = 0.0
    if folds == "none":
        primal = x.shape[1] <= len(x)
        parameters = {
            "mean": mean,
            "constant": design.constant,
            **weight,
            "cholesky": solver.cholesky(centred.T, alphas[0])
            if primal
            else solver.cholesky(centred, alphas[0], design.root),
        }
        if primal:
            coupling = design.summed_by_image(centred).T
        else:
            coupling = np.zeros((0, 0), centred.dtype)  # coordinates are maps from images already
            parameters |= {"rows": centred, "image": design.image, "root": design.root.astype(centred.dtype)}
        return fits.without_scores(
            "ridge",
            design=design,
            y=y,
            group_size=group_size,
            alphas=alphas,
            coupling=coupling,
            parameters=parameters,
        )
    factor, maps = solver.linear(centred, alphas, design)
    given: dict[str, Any] = {"group_size": group_size, "budget": budget}
    of_components: dict[str, np.ndarray] = {}
    if alpha_scope == "target" and through_units.pays(factor, alphas, design):
        scores = through_units.score(y, factor, alphas, design, **given)
    else:
        scores, of_components = components.score(y, design, maps, scope=alpha_scope, **given)
    return fits.from_scores(
        "ridge",
        scores,
        design=design,
        y=y,
        group_size=group_size,
        alphas=alphas,
        eigenvalue=factor.eigenvalue[None],
        coupling=factor.coupling(design)[None],
        parameters={"mean": mean, "constant": design.constant, "basis": factor.basis} | weight | of_components,
    )


def _levelled(x: np.ndarray, design: Design) -> tuple[np.ndarray, np.ndarray]:
    """Rows with the library's mean on that of the others, and that mean: two intercepts, without a column for them."""
    real = design.fold >= 0
    mean = solver.weighted_mean(x[real], design.root[real] ** 2)
    return np.where(real[:, None], x, x - x[~real].mean(0, dtype=np.float64) + mean), mean


def predict(
    fit: Fit,
    x: np.ndarray,
    *,
    budget: Budget = blocks.DEFAULT,
) -> np.ndarray:
    """Predict all targets from new responses.

    Parameters
    ----------
    fit : Fit
    x : float, (n_new, n_units), in the units of the fitted responses.
    budget : Budget
        As in `fit`.

    Returns
    -------
    (n_new, n_targets), float32, or float64 where the targets were.

    Raises
    ------
    ValueError
        x has another number of units than the fit, or is not finite; or see blocks.check_finite.
    """
    x = fits.check_new(fit, x, n_units=len(fit.parameters["mean"]))
    p = fit.parameters
    x = x - p["mean"]
    if "cholesky" in p:
        x = x.astype(p["cholesky"].dtype)
        coordinates = solver.cholesky_solve(p["cholesky"], p["rows"] @ x.T if "rows" in p else x.T).T
        if "rows" in p:
            coordinates = solver.sum_over_rows(coordinates * p["root"], p["image"], len(fit.images))
    else:
        coordinates = x.astype(p["basis"].dtype) @ p["basis"]
    return fits.predict_from_coordinates(fit, coordinates[None], budget=budget)
