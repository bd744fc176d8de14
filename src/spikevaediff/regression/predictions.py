"""Predictions of all targets, each by the operator of its candidate, in bounded memory as in targets.py."""

import itertools
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from spikevaediff.regression import blocks
from spikevaediff.regression.blocks import Budget

# Up to this many rows, predicting with every candidate and picking is cheaper than sorting targets by candidate.
FEW_ROWS = 64
SORTED_TILE, RUN = 2048, 64  # columns sorted together, and the piece that a run of one candidate is padded to
GATHERED = 512  # columns sorted together on a processor, in whose cache they stay
# Products of up to this many multiplications OpenBLAS does without copying its operands into an order of its own. For
# few rows the copy costs as much as the product: 24 rows of 94 images are a quarter faster in pieces of that size.
SMALL_PRODUCT, LEAST_COLUMNS = 1_000_000, 256


def _pick(operators: jax.Array, z: jax.Array, candidate: jax.Array) -> jax.Array:
    """operators[candidate[t]] @ z[:, t] by predicting with every candidate, for few rows."""
    if len(operators) == 1:
        return operators[0] @ z
    every = jnp.einsum("crm,mt->crt", operators, z)
    return jnp.take_along_axis(every, candidate[None, None, :], axis=0, mode="promise_in_bounds")[0]


def _pick_sorted(transposed: jax.Array, z: jax.Array, candidate: jax.Array) -> jax.Array:
    """The same by one product per run of targets that share a candidate: targets are sorted and runs padded to RUN."""
    n_candidates, n_images, n_rows = transposed.shape
    n = len(candidate)
    n_runs = n // RUN + n_candidates + 1
    order = jnp.argsort(candidate).astype(jnp.int32)
    count = jnp.bincount(candidate, length=n_candidates).astype(jnp.int32)
    runs = (count + (RUN - 1)) // RUN
    ends = jnp.cumsum(runs)
    of_sorted = candidate[order]
    rank = jnp.arange(n, dtype=jnp.int32) - (jnp.cumsum(count) - count)[of_sorted].astype(jnp.int32)
    place = ((ends - runs)[of_sorted] * RUN).astype(jnp.int32) + rank
    source = jnp.zeros(n_runs * RUN, jnp.int32).at[place].set(order)
    back = jnp.zeros(n, jnp.int32).at[order].set(place)
    candidate_of_run = jnp.minimum(
        jnp.searchsorted(ends, jnp.arange(n_runs, dtype=ends.dtype), side="right"), n_candidates - 1
    )
    rows = z.T[source].reshape(n_runs, RUN, n_images)
    predicted = jax.lax.map(lambda run: run[0] @ transposed[run[1]], (rows, candidate_of_run))
    return predicted.reshape(n_runs * RUN, n_rows)[back].T


@partial(jax.jit, static_argnames=("mesh", "dtype"))
def _apply_block(
    z: jax.Array, operators: jax.Array, candidate: jax.Array, *, mesh: Mesh, dtype: np.dtype
) -> tuple[jax.Array]:
    """operators[candidate of the column] @ z for the columns of z."""
    n_candidates, n_rows, _ = operators.shape
    few = n_rows <= FEW_ROWS or n_candidates == 1
    pick, operators = (_pick, operators) if few else (_pick_sorted, jnp.swapaxes(operators, 1, 2))

    def apply_tile(operators: jax.Array, z: jax.Array, candidate: jax.Array) -> tuple[jax.Array]:
        return (pick(operators, z.astype(dtype), candidate),)

    def apply_shard(z: jax.Array, operators: jax.Array, candidate: jax.Array) -> tuple[jax.Array]:
        width = blocks.TILE // 2 if few else SORTED_TILE
        (out,) = blocks.over_tiles(partial(apply_tile, operators), z, candidate, ((n_rows,),), (dtype,), width)
        return (out,)

    shards = jax.shard_map(apply_shard, mesh=mesh, in_specs=(P(None, "t"), P(), P("t")), out_specs=(P(None, "t"),))
    return shards(z, operators, candidate)


def _product(operator: np.ndarray, z: np.ndarray, out: np.ndarray) -> None:
    """operator @ z into out; for few rows in pieces, see SMALL_PRODUCT."""
    width = SMALL_PRODUCT // max(operator.size, 1) // 64 * 64
    whole = z.shape[1] // width * width if width >= LEAST_COLUMNS else 0
    if whole:
        pieces = (array[:, :whole].reshape(len(array), -1, width).swapaxes(0, 1) for array in (z, out))
        np.matmul(operator, next(pieces), out=next(pieces))
    np.matmul(operator, z[:, whole:], out=out[:, whole:])


def _apply_on_processor(
    y: np.ndarray, images: np.ndarray, operators: np.ndarray, candidate: np.ndarray, out: np.ndarray, width: int
) -> None:
    """As _apply_block for all targets, by BLAS straight into `out`: XLA would allocate, fill and copy a block of it."""
    n_targets, dtype = y.shape[1], operators.dtype
    every_row = np.array_equal(images, np.arange(len(y)))
    if len(operators) > 1:
        width = min(width, GATHERED)
    elif every_row and y.dtype == dtype and not isinstance(y, np.memmap):
        width = n_targets  # nothing is copied, so that one product needs no memory
    for first in range(0, n_targets, width):
        blocks.check_file(y)
        columns = slice(first, min(first + width, n_targets))
        z = (y[:, columns] if every_row else y[images, columns]).astype(dtype, copy=False)
        if len(operators) > 1:
            # Columns of one candidate side by side, copied once for all of them.
            order = np.argsort(candidate[columns], kind="stable")
            z, edges = np.take(z, order, axis=1, mode="clip"), np.bincount(candidate[columns], minlength=1).cumsum()
            for c, (start, stop) in enumerate(itertools.pairwise([0, *edges.tolist()])):
                if start < stop:
                    out[:, first + order[start:stop]] = operators[c] @ z[:, start:stop]
        else:
            _product(operators[0], z, out[:, columns])


def apply(
    y: np.ndarray,
    images: np.ndarray,
    operators: np.ndarray,
    candidate: np.ndarray,
    *,
    budget: Budget,
) -> np.ndarray:
    """Predict every target z as operators[candidate] z.

    Parameters
    ----------
    y, images, budget
        As in targets.score.
    operators : float32 or float64, (n_candidates, n_new, n_images)
    candidate : integer, (n_targets,), which operator a target uses.

    Returns
    -------
    (n_new, n_targets), float32, or float64 where y is float64.
    """
    dtype, mesh = blocks.working_dtype(y), budget.mesh
    n_new, n_targets = operators.shape[1], y.shape[1]
    out = np.empty((n_new, n_targets), dtype)
    width = blocks.width_of(y, len(images) + n_new, budget)
    operators, candidate = operators.astype(dtype, copy=False), candidate.astype(np.int32, copy=False)
    if mesh.size == 1 and mesh.devices.flat[0].platform == "cpu":
        _apply_on_processor(y, images, operators, candidate, out, width)
        return out
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):

        def dispatch() -> Iterator[tuple[int, tuple[jax.Array, ...]]]:
            for first, block in blocks.blocks_of(y, images, mesh, width):
                chosen = blocks.along(candidate, first, width)
                yield first, _apply_block(block, operators, chosen, mesh=mesh, dtype=dtype)

        for first, (part,) in blocks.one_behind(dispatch()):
            stop = min(first + width, n_targets)
            out[:, first:stop] = part[:, : stop - first]
    return out
