"""Continuous hyperparameters (a kernel's width, weights of areas) by gradient of the exact leave-one-image-out loss.

The loss of a group of targets with Gram matrix sum_t z_t z_t' is the inner product of that matrix with R'R, where R
maps targets of the images to errors of left-out rows (solver). So a step costs one factorisation,
whatever the number of targets. It is written here a second time, by a Cholesky factor instead of eigenvectors: their
derivative divides by differences of eigenvalues, which vanish for units or images that are copies.

With K the kernel over alpha, rows and columns times the root of their weight, I - H is (I + K)^-1 in the directions
orthogonal to the roots of the weights, and errors_f = ((I - H)_ff)^-1 ((I - H) G)_f z.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from spikevaediff.regression import factors, solver

MEMORY = 10  # pairs of steps and gradients that L-BFGS remembers


def held_out_form(
    kernel: jax.Array, root: jax.Array, g: jax.Array, slot: jax.Array, smallest: jax.Array | float = 1.0
) -> jax.Array:
    """R'R of the left-out errors, differentiable in the kernel; infinite where rounding could change them.

    Parameters
    ----------
    kernel : float64, (n_rows, n_rows)
        Rows and columns times the root of their weight, over alpha; centred or not.
    root : float64, (n_rows,)
    g : float64, (n_rows, n_images), targets of rows, see spikevaediff.regression.solver.
    slot : int, (n_folds, longest fold), rows of each fold; n_rows fills up.
    smallest : float, (), up to 1
        Rounding must not change errors at this part of alpha, either.

    Returns
    -------
    float64, (n_images, n_images)
    """
    n = len(root)
    turned, row, u, b = factors.turn(kernel, root)
    lower = jnp.linalg.cholesky(jnp.eye(n, dtype=kernel.dtype) + turned)
    inverse = jax.scipy.linalg.cho_solve((lower, True), jnp.eye(n, dtype=kernel.dtype))
    inverse = jnp.where(row[:, None] | row[None, :], 0.0, inverse)
    w = b * (inverse @ u)
    w = w - (b / 2.0) * (u @ w) * u
    rest = inverse - u[:, None] * w[None, :] - w[:, None] * u[None, :]

    def unless_in_doubt(errors: jax.Array, kept: jax.Array) -> jax.Array:
        # As held_out.held_out has it, by norms that are at least the largest eigenvalues.
        largest = jnp.max(jnp.sum(jnp.abs(inverse), axis=1))
        least = jnp.maximum(1.0 / largest - 1.0, 0.0) + smallest
        doubt = factors.ROUNDING * jnp.finfo(kernel.dtype).eps * jnp.linalg.norm(kernel) / least
        doubt = jax.lax.stop_gradient(doubt * jnp.sqrt(largest / jnp.min(kept)))
        return jnp.where(doubt <= solver.DOUBT[np.dtype(np.float64)], errors.T @ errors, jnp.inf)

    residual = rest @ g
    if slot.shape[1] == 1:
        errors = residual / jnp.diag(rest)[:, None]
        return unless_in_doubt(errors, jnp.diag(rest))
    full = jnp.eye(n + 1, dtype=kernel.dtype).at[:n, :n].set(rest)
    kept = full[slot[:, :, None], slot[:, None, :]]
    # A filled-up fold has several copies of row n: only their diagonal may be one.
    filler = slot == n
    kept = jnp.where(filler[:, :, None] | filler[:, None, :], jnp.eye(slot.shape[1], dtype=kernel.dtype)[None], kept)
    rows = jnp.concatenate([residual, jnp.zeros((1, g.shape[1]), g.dtype)])[slot]
    factor = jnp.linalg.cholesky(kept)
    errors = jax.vmap(lambda a, b: jax.scipy.linalg.cho_solve((a, True), b))(factor, rows).reshape(-1, g.shape[1])
    pivots = jnp.where(filler, jnp.inf, jnp.diagonal(factor, axis1=1, axis2=2) ** 2)
    return unless_in_doubt(errors, pivots)


@partial(jax.jit, static_argnames=("loss",))
def _evaluate(loss: Callable[..., jax.Array], at: jax.Array, *data: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.value_and_grad(loss)(at, *data)


@jax.jit
def _direction(gradient: jax.Array, state: optax.OptState, at: jax.Array) -> tuple[jax.Array, optax.OptState]:
    # optax adds int32 to int64 and vectors to scalars, which strict JAX refuses.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        update, state = optax.scale_by_lbfgs(memory_size=MEMORY).update(gradient, state, at)
    return -update, state


def minimise(
    loss: Callable[..., jax.Array], start: np.ndarray, *data: np.ndarray, max_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise loss(parameters, *data) by L-BFGS (optax) with a bisection to the weak Wolfe conditions.

    The line search is that of Lewis and Overton 2013 (Mathematical Programming 141), on the host: the one of optax is
    part of the compiled step, with eight copies of the gradient, and takes six seconds to compile for steps of a
    millisecond. Stops where the largest absolute derivative is below 1e-6 (the loss is of order one), where no step
    along the direction lowers the loss, at the edge of where the loss is finite, or after max_steps.

    Returns
    -------
    best : float64, as `start`.
    record : float64, (max_steps + 1, 2), loss and largest absolute derivative at the start and after each step; NaN
        after the last one.
    """
    record = np.full((max_steps + 1, 2), np.nan)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        arrays = [jnp.asarray(d) for d in data]

        def evaluate(at: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = _evaluate(loss, jnp.asarray(at), *arrays)
            return float(value), np.asarray(gradient)

        at = np.asarray(start, np.float64)
        state = optax.scale_by_lbfgs(memory_size=MEMORY).init(jnp.asarray(at))
        value, gradient = evaluate(at)
        if not np.isfinite(value):
            raise ValueError(
                "the alphas are too small for the responses to search from: rounding decides the errors of left-out "
                "images. Offer larger alphas."
            )
        record[0] = value, np.abs(gradient).max()
        for step in range(1, max_steps + 1):
            if record[step - 1, 1] < 1e-6:
                break
            towards, state = _direction(jnp.asarray(gradient), state, jnp.asarray(at))
            direction = np.asarray(towards)
            slope = gradient @ direction
            length, low, high = 1.0, 0.0, np.inf
            best, at_edge = (value, gradient, 0.0), False
            for _ in range(30):
                trial, following = evaluate(at + length * direction)
                # Armijo's condition fails also for a loss that is infinite or not a number.
                if not trial <= value + 1e-4 * length * slope:
                    high, at_edge = length, at_edge or not np.isfinite(trial)
                    length = (low + high) / 2
                    continue
                best = trial, following, length
                if following @ direction >= 0.9 * slope:
                    at_edge = False
                    break
                low = length
                length = (low + high) / 2 if np.isfinite(high) else 2 * low
            if not best[0] < value:
                break
            value, gradient, length = best
            at = at + length * direction
            record[step] = value, np.abs(gradient).max()
            if at_edge:
                break
    return at, record
