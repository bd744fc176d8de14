"""Continuous hyperparameters (a kernel's width, weights of areas) by gradient of the exact leave-one-image-out loss.

The loss of a group of targets with Gram matrix sum_t z_t z_t' is the inner product of that matrix with R'R, where R
maps targets of the images to errors of left-out rows (spikevaediff.smoother). So a step costs one factorisation,
whatever the number of targets. It is written here a second time, by a Cholesky factor instead of eigenvectors: their
derivative divides by differences of eigenvalues, which vanish for units or images that are copies.

With I - H = C^-1 - root root' / sum(w) for C = I + K, K the centred kernel over alpha, rows times the root of their
weight: errors_f = ((I - H)_ff)^-1 ((I - H) G)_f z.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

MEMORY = 10  # pairs of steps and gradients that L-BFGS remembers


def held_out_form(kernel: jax.Array, root: jax.Array, g: jax.Array, slot: jax.Array) -> jax.Array:
    """R'R of the left-out errors, differentiable in the kernel.

    Parameters
    ----------
    kernel : float64, (n_rows, n_rows)
        Centred on the weighted mean, rows and columns times the root of their weight, over alpha.
    root : float64, (n_rows,)
    g : float64, (n_rows, n_images), targets of rows, see spikevaediff.smoother.
    slot : int, (n_folds, longest fold), rows of each fold; n_rows fills up.

    Returns
    -------
    float64, (n_images, n_images)
    """
    n = len(root)
    lower = jnp.linalg.cholesky(jnp.eye(n, dtype=kernel.dtype) + kernel)
    inverse = jax.scipy.linalg.cho_solve((lower, True), jnp.eye(n, dtype=kernel.dtype))
    rest = inverse - root[:, None] * root[None, :] / jnp.sum(root**2)
    residual = rest @ g
    if slot.shape[1] == 1:
        errors = residual / jnp.diag(rest)[:, None]
        return errors.T @ errors
    full = jnp.eye(n + 1, dtype=kernel.dtype).at[:n, :n].set(rest)
    kept = full[slot[:, :, None], slot[:, None, :]]
    # A filled-up fold has several copies of row n: only their diagonal may be one.
    filler = slot == n
    kept = jnp.where(filler[:, :, None] | filler[:, None, :], jnp.eye(slot.shape[1], dtype=kernel.dtype)[None], kept)
    rows = jnp.concatenate([residual, jnp.zeros((1, g.shape[1]), g.dtype)])[slot]
    errors = jax.vmap(lambda a, b: jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), b))(kept, rows)
    errors = errors.reshape(-1, g.shape[1])
    return errors.T @ errors


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
    along the direction lowers the loss, or after max_steps.

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
        record[0] = value, np.abs(gradient).max()
        for step in range(1, max_steps + 1):
            if record[step - 1, 1] < 1e-6:
                break
            towards, state = _direction(jnp.asarray(gradient), state, jnp.asarray(at))
            direction = np.asarray(towards)
            slope = gradient @ direction
            length, low, high = 1.0, 0.0, np.inf
            for _ in range(30):
                trial, following = evaluate(at + length * direction)
                # Armijo's condition fails also for a loss that overflowed.
                if not trial <= value + 1e-4 * length * slope:
                    high = length
                elif following @ direction < 0.9 * slope:
                    low = length
                else:
                    break
                length = (low + high) / 2 if np.isfinite(high) else 2 * low
            if not trial < value:
                break
            at, value, gradient = at + length * direction, trial, following
            record[step] = value, np.abs(gradient).max()
    return at, record
