"""Banded ridge regression: every band of units (a brain area, a time bin) has a weight of its own, learned from data.

Minimises sum_i ||y_i - b - sum_k x_ik B_k||^2 + alpha sum_k ||B_k||^2 / v_k (Nunez-Elizalde, Huth and Gallant 2019,
NeuroImage 197). The weights v of a group of targets say how much of each band serves to predict left-out images: which
area carries which features. Bands are brought to equal power first, so that weights compare; areas with more units
still have more to offer, which `units_per_band` takes away.

Weights are found by gradient of the exact left-out loss (optimise) from the means over the presentations of
each image, since that costs a factorisation of n_images per step; the fit with these weights uses all rows, and alphas
are chosen as in ridge.
"""

from collections.abc import Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from spikevaediff.records import group_edges
from spikevaediff.regression import blocks, designs, fits, optimise, solver, targets
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.fits import Fit

NO_WEIGHT = 1e-12  # of the largest: a smaller weight is set to this, far below any effect; its logarithm stays finite


def equal_units(bands: np.ndarray, units_per_band: int, *, seed: int) -> np.ndarray:
    """As many units of every band, drawn without replacement.

    Parameters
    ----------
    bands : str, (n_units,)
    units_per_band : int, at least 1
    seed : int

    Returns
    -------
    int64, sorted positions of the units drawn.

    Raises
    ------
    ValueError
        A band has fewer units; names and counts are given.
    """
    names, counts = np.unique(bands, return_counts=True)
    if units_per_band < 1 or counts.min() < units_per_band:
        listed = ", ".join(f"{name} {count}" for name, count in zip(names.tolist(), counts.tolist(), strict=True))
        raise ValueError(
            f"units_per_band is {units_per_band}, expected 1 to {counts.min()}, the smallest band of: {listed}"
        )
    # One generator per band: the draw of an area does not depend on which other areas are there.
    drawn = [
        np.random.default_rng([seed, *name.encode()]).choice(
            np.flatnonzero(bands == name), units_per_band, replace=False
        )
        for name in names.tolist()
    ]
    return np.sort(np.concatenate(drawn))


def _loss(
    at: jax.Array, kernels: jax.Array, root: jax.Array, g: jax.Array, slot: jax.Array, gram: jax.Array
) -> jax.Array:
    """1 - R2 of left-out images at the logarithms of weights over alpha."""
    kernel = jnp.einsum("k,kij->ij", jnp.exp(at), kernels)
    return jnp.sum(optimise.held_out_form(kernel, root, g, slot) * gram)


def _learn(
    kernels: np.ndarray, design: designs.Design, gram: np.ndarray, alphas: np.ndarray, max_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """(weights with mean one, record of the search) of one group, from kernels of mean diagonal one."""
    root = np.sqrt(design.image_weight)
    g, slot = np.diag(root), np.arange(len(root))[:, None]
    if len(np.unique(design.fold)) < len(root):
        fold_of_image = np.zeros(len(root), np.int64)
        fold_of_image[design.image] = design.fold
        of_means = replace(design, image=np.arange(len(root)), fold=fold_of_image, root=root)
        slot = of_means.rows_of_folds
    data = kernels, root, g, slot, gram / np.sum(design.image_weight * np.diag(gram))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        loss, arrays = jax.jit(_loss), [jnp.asarray(d) for d in data]
        # Equal weights with the best of the alphas to start from: the loss is not convex.
        starts = [np.full(len(kernels), -np.log(alpha)) for alpha in alphas.tolist()]
        start = min(
            starts, key=lambda at: np.nan_to_num(float(loss(jnp.asarray(at), *arrays)), nan=np.inf, posinf=np.inf)
        )
    best, record = optimise.minimise(_loss, start, *data, max_steps=max_steps)
    weights = np.exp(best - best.max())
    return np.maximum(weights / weights.mean(), NO_WEIGHT), record


def fit(
    x: np.ndarray,
    y: np.ndarray,
    *,
    y_row: np.ndarray,
    group_size: np.ndarray,
    bands: np.ndarray,
    units_per_band: int,
    max_steps: int,
    alphas: Sequence[float] | np.ndarray,
    alpha_scope: str,
    folds: str | int,
    seed: int,
    n_scored: int | None = None,
    budget: Budget = blocks.DEFAULT,
) -> Fit:
    """Fit banded ridge regressions: learn the weight of every band, then choose alphas by left-out images.

    Parameters
    ----------
    x, y, y_row, group_size, alphas, folds, seed, n_scored, budget
        As in ridge.fit; seed also draws the units. The alpha of ridge has the same meaning here
        when all bands have equal power and weight.
    bands : str, (n_units,)
        The band of each column of x.
    units_per_band : int
        Draw that many units of every band, of those that vary; 0 takes all.
    max_steps : int
        Bound on the steps of the search for weights.
    alpha_scope : "target", "group" or "global"
        "global": all targets share weights and alpha. "group": each group has its own weights and alpha. "target": each
        group has its weights, each target its alpha.

    Returns
    -------
    Fit
        parameters["band_name"], str (n_bands,), and parameters["band_weight"], float64 (n_groups or 1, n_bands), shares
        that add up to one. Its `convergence` tells the search.

    Raises
    ------
    ValueError
        As ridge.fit; or bands of another length than x has columns, a band without variance, fewer than units_per_band
        units.
    """
    alphas = np.sort(np.asarray(alphas, np.float64))
    x, bands = np.asarray(x), np.asarray(bands)
    y_row, group_size = np.asarray(y_row, np.int64), np.asarray(group_size, np.int64)
    if alpha_scope == "component":
        raise ValueError(
            "alpha_scope is 'component', which ridge and kernel_ridge know; weights of bands are learnt by group: "
            "expected target, group or global"
        )
    if folds == "none":
        raise ValueError("folds is 'none', which only ridge knows: expected 'image' or a number of folds")
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
    if bands.shape != (x.shape[1],):
        raise ValueError(f"bands has shape {bands.shape}, expected one name for each of the {x.shape[1]} columns of x")
    n_units = x.shape[1]
    units = np.setdiff1d(np.arange(n_units), design.constant)
    without = np.setdiff1d(bands, bands[units]).tolist()
    if without:
        raise ValueError(f"bands {', '.join(without)} have no variance. Leave these units out.")
    if units_per_band:
        units = units[equal_units(bands[units], units_per_band, seed=seed)]
    x, bands = x[:, units].astype(np.float64), bands[units]
    weight = design.root**2
    mean = solver.weighted_mean(x, weight)
    centred = (x - mean) * design.root[:, None]
    names, band = np.unique(bands, return_inverse=True)
    power = np.bincount(band, np.sum(centred**2, axis=0))
    blocks.check_finite(y, design.images, budget)

    # Weights of bands are learned from images that can be left out.
    scored = design.scored
    image_weight = scored.image_weight
    share = image_weight / image_weight.sum()
    grams = targets.group_grams(y, scored.images, share, group_size=group_size, budget=budget)
    if alpha_scope == "global":
        grams = grams.sum(0, keepdims=True)
    # Equal power for every band, with the average as it was: the scale of alpha stays that of ridge.
    level = np.sqrt(power.mean() / power)[band]
    root = np.sqrt(image_weight)
    image_means = (scored.targets_of_rows.T @ centred[design.fold >= 0]) / root[:, None] * level
    kernels = np.stack([image_means[:, band == k] @ image_means[:, band == k].T for k in range(len(names))])
    learned = [_learn(kernels, scored, gram, alphas, max_steps) for gram in grams]

    scales = np.stack([level * np.sqrt(weights)[band] for weights, _ in learned])
    edges = group_edges(group_size)
    pieces = (
        [(0, y.shape[1])]
        if alpha_scope == "global"
        else list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))
    )
    factors, scores = [], []
    for scale, (start, stop) in zip(scales, pieces, strict=True):
        factor, maps = solver.linear(centred * scale, alphas, design)
        scores.append(
            targets.score(
                y[:, start:stop],
                design.images,
                maps,
                root,
                scope="target" if alpha_scope == "target" else "global",
                group_size=group_size if alpha_scope == "global" else np.array([stop - start]),
                budget=budget,
            )
        )
        factors.append(factor)
    merged = targets.side_by_side(scores)
    weights = np.stack([w for w, _ in learned])
    return fits.from_scores(
        "banded",
        merged,
        design=design,
        y=y,
        group_size=group_size,
        alphas=alphas,
        eigenvalue=np.stack([f.eigenvalue for f in factors]),
        coupling=np.stack([f.coupling(design) for f in factors]),
        parameters={
            "n_units": np.array(n_units),
            "constant": design.constant,
            "units": units,
            "mean": mean,
            "scale": scales,
            "basis": np.stack([f.basis for f in factors]),
            "band_name": names,
            "band_weight": weights / weights.sum(1, keepdims=True),
            "convergence": np.stack([record for _, record in learned]),
        },
    )


def predict(
    fit: Fit,
    x: np.ndarray,
    *,
    budget: Budget = blocks.DEFAULT,
) -> np.ndarray:
    """Predict all targets from new responses: b + sum_k x_k B_k over bands k, with the weights of each target's group.

    Parameters
    ----------
    fit : Fit
    x : float, (n_new, n_units)
        In the units of the fitted responses, all of them, also those that were not drawn.
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
    p = fit.parameters
    x = fits.check_new(fit, x, n_units=int(p["n_units"]))[:, p["units"]] - p["mean"]
    coordinates = np.stack([(x * scale) @ basis for scale, basis in zip(p["scale"], p["basis"], strict=True)])
    return fits.predict_from_coordinates(fit, coordinates, budget=budget)
