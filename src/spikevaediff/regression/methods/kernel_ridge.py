"""Kernel ridge regression: bandwidth and penalty chosen together by left-out images, or the bandwidth by gradient.

A kernel can follow a curved relation, at the price of one n_rows x n_rows factorisation per bandwidth: fit it to image
means (a hundred rows take milliseconds; 5,900 presentations take minutes). The small matrices are always float64:
kernels that are nearly constant leave few digits to float32 (2e-4 of the largest prediction, against 1e-6).
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from spikevaediff.regression import blocks, components, designs, fits, optimise, solver, targets
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.fits import Fit

KERNELS = ("linear", "rbf", "polynomial", "laplacian")
SEARCHES = ("grid", "gradient")
REACH = 20.0  # the gradient search stays between a twentieth and twenty times the width it is given


@jax.jit
def _distances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Squared Euclidean distances, (rows of a, rows of b)."""
    squared = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None, :] - 2.0 * (a @ b.T)
    return jnp.maximum(squared, 0.0)


@jax.jit
def _city_block(a: jax.Array, b: jax.Array) -> jax.Array:
    """Sums of absolute differences, one row at a time: all of them at once would be rows x rows x units."""
    return jax.lax.map(lambda row: jnp.sum(jnp.abs(row[None, :] - b), axis=1), a)


def _likeness(kernel: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What a kernel is a function of: inner products, squared or city-block distances, float64 (rows of a, rows of
    b)."""
    function = {"rbf": _distances, "laplacian": _city_block}.get(kernel, lambda a, b: a @ b.T)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        return np.asarray(function(jnp.asarray(a), jnp.asarray(b)))


def _scale(kernel: str, likeness: np.ndarray, image: np.ndarray) -> float:
    """The unit of a bandwidth: median distance of rows of different images, or root mean square length of a row."""
    if kernel == "linear":
        return 1.0
    if kernel == "polynomial":
        return float(np.sqrt(np.mean(np.diag(likeness))))
    distances = likeness[image[:, None] != image[None, :]]
    return float(np.median(np.sqrt(distances) if kernel == "rbf" else distances))


def _evaluate(kernel: str, degree: int, likeness: jax.Array, width: jax.Array) -> jax.Array:
    if kernel == "linear":
        return likeness
    if kernel == "polynomial":
        return (likeness / width**2 + 1.0) ** degree
    return jnp.exp(-likeness / (2.0 * width**2) if kernel == "rbf" else -likeness / width)


def _kernel(kernel: str, degree: int, likeness: np.ndarray, width: float) -> np.ndarray:
    with jax.enable_x64(True):
        value = jax.jit(_evaluate, static_argnums=(0, 1))(kernel, degree, jnp.asarray(likeness), jnp.asarray(width))
        return np.asarray(value)


def _error(kernel: str, rows: np.ndarray, width: float) -> float:
    """What a kernel errs by, in units of rounding: squared distances are differences of squared lengths."""
    return 1.0 + (float(np.vecdot(rows, rows).max()) / width**2 if kernel == "rbf" else 0.0)


def _place(at: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(bandwidth, alpha): the width within a factor REACH of the start, since a very wide kernel is linear and any
    wider one with a smaller alpha the same; alpha free."""
    return start[0] * jnp.exp(np.log(REACH) * jnp.tanh(at[0])), start[1] * jnp.exp(at[1])


@cache
def _loss_of(kernel: str, degree: int) -> Callable[..., jax.Array]:
    """1 - R2 of left-out rows as a function of where the search is, infinite where rounding would decide it at the
    smallest of the alphas; one function for each kernel, so that it is compiled once."""

    def loss(
        at: jax.Array,
        start: jax.Array,
        likeness: jax.Array,
        root: jax.Array,
        g: jax.Array,
        slot: jax.Array,
        gram: jax.Array,
        smallest: jax.Array | float = 1.0,
    ) -> jax.Array:
        width, alpha = _place(at, start)
        values = _evaluate(kernel, degree, likeness, width) * root[:, None] * root[None, :]
        return jnp.sum(optimise.held_out_form(values / alpha, root, g, slot, smallest) * gram)

    return loss


def fit(
    x: np.ndarray,
    y: np.ndarray,
    *,
    y_row: np.ndarray,
    group_size: np.ndarray,
    kernel: str,
    degree: int,
    widths: Sequence[float] | np.ndarray,
    width_search: str,
    max_steps: int,
    alphas: Sequence[float] | np.ndarray,
    alpha_scope: str,
    folds: str | int,
    seed: int,
    n_scored: int | None = None,
    budget: Budget = blocks.DEFAULT,
) -> Fit:
    r"""Fit kernel ridge regressions and choose bandwidths and penalties by left-out images.

    Minimises sum_i (y_i - b - f(x_i))^2 + alpha ||f||^2 over functions f of the kernel's space, with
    "linear": a'b; "rbf": exp(-||a - b||^2 / (2 s^2)); "polynomial": (a'b / s^2 + 1)^degree; "laplacian":
    exp(-||a - b||_1 / s), where a, b are centred responses and the bandwidth s is a width times the median distance of
    rows of different images (for "polynomial" the root mean square length of a row).

    Parameters
    ----------
    x, y, y_row, group_size, alphas, alpha_scope, folds, seed, n_scored, budget
        As in spikevaediff.regression.methods.ridge.fit. Targets that share an alpha share a width.
    kernel : "linear", "rbf", "polynomial" or "laplacian"
    degree : int, at least 1
        Of the polynomial; others ignore it.
    widths : float, (n_widths,), positive
        Bandwidths to choose from, in the unit above; one for "linear", which has none.
    width_search : "grid" or "gradient"
        Offer all widths beside all alphas, or descend from the one given (and the middle of the alphas) to the width
        and the alpha that minimise the left-out loss of all targets together. The alphas offered are then multiplied by
        one factor that puts their middle on the alpha found: it depends on the width by orders of magnitude.
    max_steps : int
        Bound on the steps of the gradient search.

    Returns
    -------
    Fit
        Its `convergence` tells the gradient search.

    Raises
    ------
    ValueError
        As ridge.fit; or an unknown kernel or search, a degree below 1, a width that is not positive, several widths
        where one is needed.
    """
    penalties, widths = np.sort(np.asarray(alphas, np.float64)), np.asarray(widths, np.float64)
    x = np.asarray(x)
    y_row, group_size = np.asarray(y_row, np.int64), np.asarray(group_size, np.int64)
    if folds == "none":
        raise ValueError("folds is 'none', which only ridge knows: expected 'image' or a number of folds")
    design = designs.check(
        x,
        y,
        y_row=y_row,
        group_size=group_size,
        alphas=penalties,
        alpha_scope=alpha_scope,
        folds=folds,
        seed=seed,
        n_scored=n_scored,
    )
    if kernel not in KERNELS:
        raise ValueError(f"kernel is {kernel!r}, expected one of {', '.join(KERNELS)}")
    if width_search not in SEARCHES:
        raise ValueError(f"width_search is {width_search!r}, expected one of {', '.join(SEARCHES)}")
    if len(widths) == 0 or not np.all(np.isfinite(widths) & (widths > 0)):
        raise ValueError(
            f"widths are {widths.tolist()}, expected one or more positive multiples of the median distance"
        )
    if width_search == "gradient" and design.n_scored < len(design.images):
        raise ValueError("width_search: gradient takes no rows that are never left out (a library). Choose grid")
    if degree < 1:
        raise ValueError(f"degree is {degree}, expected at least 1")
    if (kernel == "linear" or width_search == "gradient") and len(widths) > 1:
        reason = "the linear kernel has no width" if kernel == "linear" else "the gradient search starts from one"
        raise ValueError(f"widths are {widths.tolist()}, expected a single one: {reason}")
    blocks.check_finite(y, design.images, budget)

    root, g = design.root, design.targets_of_rows
    mean = np.average(x.astype(np.float64), axis=0, weights=root**2)
    rows = x - mean
    rows[:, design.constant] = 0.0
    likeness = _likeness(kernel, rows, rows)
    scale = _scale(kernel, likeness, design.image)
    if not scale > 0:
        raise ValueError("rows of different images have equal responses, so that the median distance is zero")
    parameters = {}
    if width_search == "gradient" and kernel != "linear":
        share = design.image_weight / design.image_weight.sum()
        grams = targets.group_grams(y, design.images, share, group_size=group_size, budget=budget)
        gram = grams.sum(0)
        gram = gram / np.sum(design.image_weight * np.diag(gram))
        start = np.array([widths[0] * scale, np.sqrt(penalties[0] * penalties[-1])])
        data = start, likeness, root, g, design.rows_of_folds, gram, np.array(penalties[0] / start[1])
        best, record = optimise.minimise(_loss_of(kernel, degree), np.zeros(2), *data, max_steps=max_steps)
        with jax.enable_x64(True):
            width, alpha = map(float, _place(jnp.asarray(best), jnp.asarray(start)))
        widths = np.array([width / scale])
        penalties = penalties * (alpha / start[1])
        parameters["convergence"] = record[None]

    # One kernel after the other: what is as large as a kernel and not needed for predictions is not kept.
    n_rows, n_widths = len(rows), len(widths)
    eigenvalue, column_mean = np.empty((n_widths, n_rows - 1)), np.empty((n_widths, n_rows))
    vectors, coupling = np.empty((n_widths, n_rows, n_rows - 1)), np.empty((n_widths, n_rows - 1, g.shape[1]))
    maps = []
    for b, width in enumerate(widths.tolist()):
        factor, of_width, column_mean[b] = solver.kernel(
            _kernel(kernel, degree, likeness, width * scale),
            penalties,
            design,
            error=_error(kernel, rows, width * scale),
        )
        eigenvalue[b], vectors[b], coupling[b] = factor.eigenvalue, factor.basis, factor.coupling(design)
        maps.append(of_width)
    given: dict[str, Any] = {"group_size": group_size, "budget": budget}
    scores, of_components = components.score(y, design, np.concatenate(maps), scope=alpha_scope, **given)
    return fits.from_scores(
        "kernel_ridge",
        scores,
        design=design,
        y=y,
        group_size=group_size,
        alphas=penalties,
        eigenvalue=eigenvalue,
        coupling=coupling,
        parameters=parameters
        | of_components
        | {
            "kernel": np.array(kernel),
            "degree": np.array(degree),
            "mean": mean,
            "constant": design.constant,
            "rows": rows,
            "row_share": root**2 / np.sum(root**2),
            "widths": widths,
            "scale": np.array(scale),
            "vectors": vectors,
            "column_mean": column_mean,
        },
    )


def predict(
    fit: Fit,
    x: np.ndarray,
    *,
    budget: Budget = blocks.DEFAULT,
) -> np.ndarray:
    """Predict all targets from new responses.

    The prediction of a target is share'z + c'(z - share'z), with z its values in the images that were fitted, share
    their weight in the mean, and c the weights that the kernels of the new responses with the fitted rows give to
    images, at the width and the alpha of the target.

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
    p = fit.parameters
    x = fits.check_new(fit, x, n_units=len(p["mean"]))
    likeness = _likeness(str(p["kernel"]), x - p["mean"], p["rows"])
    coordinates = np.zeros((len(p["widths"]), len(x), p["vectors"].shape[2]))
    used = components.candidates(p) if "component_candidate" in p else fit.candidate
    for b in np.unique(used // len(fit.alphas)).tolist():
        k = _kernel(str(p["kernel"]), int(p["degree"]), likeness, float(p["widths"][b] * p["scale"]))
        k = k - p["column_mean"][b]
        coordinates[b] = (k - (k @ p["row_share"])[:, None]) @ p["vectors"][b]
    return fits.predict_from_coordinates(fit, coordinates, budget=budget)
