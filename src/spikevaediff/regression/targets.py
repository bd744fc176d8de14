"""Everything that is as wide as the targets (up to hundreds of thousands of columns), in bounded memory.

Targets enter as their distinct rows z (n_images, n_targets) and are only ever multiplied from the left by small
matrices made in solver.py: no residual, prediction or weight of all targets is kept. Columns are read in blocks of
bounded size, from an array or a memory map, spread over the devices, and worked on in tiles that stay in a processor's
cache: for 94 images and 10 penalties, tiles of 1,024 columns take a quarter of the time of whole blocks.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from spikevaediff.records import group_edges
from spikevaediff.regression import blocks
from spikevaediff.regression.blocks import Budget

LARGEST = 1e140  # of targets: sums of their squares are float64
# Up to this many rows, predicting with every candidate and picking is cheaper than sorting targets by candidate.
FEW_ROWS = 64
SORTED_TILE, RUN = 2048, 64  # columns sorted together, and the piece that a run of one candidate is padded to
GATHERED = 512  # columns sorted together on a processor, in whose cache they stay
# Products of up to this many multiplications OpenBLAS does without copying its operands into an order of its own. For
# few rows the copy costs as much as the product: 24 rows of 94 images are a quarter faster in pieces of that size.
SMALL_PRODUCT, LEAST_COLUMNS = 1_000_000, 256


@dataclass(frozen=True)
class Scores:
    """How well each target was predicted while its image was left out.

    candidate : int32, (n_targets,), the one chosen.
    loss : float64, (n_targets,), sum over rows of weight x squared error, for the chosen candidate.
    squares : float64, (n_targets,), sum over rows of weight x squared deviation from the mean; 0 for a constant target.
    correlation : (n_targets,), of held-out prediction and target over rows; NaN where one of them is constant.
    group_loss : float64, (n_groups, n_candidates), losses of all candidates, summed over the targets of a group.
    """

    candidate: np.ndarray
    loss: np.ndarray
    squares: np.ndarray
    correlation: np.ndarray
    group_loss: np.ndarray


def power_below(largest: Any, of: ModuleType = jnp) -> Any:
    """The power of two below a largest value: squares of values over it neither vanish nor overflow in their dtype, and
    what is divided by it keeps its digits.

    Parameters
    ----------
    largest : float32 or float64, any shape; an array of the library `of`.
    of : jax.numpy or numpy
    """
    bound = of.finfo(largest.dtype).maxexp - 3  # of the exponent, so that its reciprocal is a number, too
    exponent = of.clip(of.frexp(largest)[1] - 1, -bound, bound)
    return of.ldexp(of.ones_like(largest), exponent)


@partial(jax.jit, static_argnames=("mesh", "dtype", "choose"))
def _score_block(
    z: jax.Array, maps: jax.Array, root: jax.Array, candidate: jax.Array, *, mesh: Mesh, dtype: np.dtype, choose: bool
) -> tuple[jax.Array, ...]:
    """Candidate (chosen, or as given), its loss, squares, correlation, losses of all candidates, and the scale whose
    square they are in units of, for columns of z."""
    n_candidates, n_scored = len(maps), len(root)
    total = jnp.sum(root**2)
    share = (root**2 / total)[None, :]
    column = root[:, None]

    def score_tile(maps: jax.Array, z: jax.Array, candidate: jax.Array) -> tuple[jax.Array, ...]:
        z = z.astype(dtype)
        scale = power_below(jnp.max(jnp.abs(z), axis=0))
        z = z * (1.0 / scale)[None, :]
        # A constant column keeps the rounding of its mean; below that scores have no meaning.
        rounding = total * (4.0 * jnp.finfo(dtype).eps * jnp.max(jnp.abs(z), axis=0)) ** 2
        z = z - share @ z[:n_scored]
        error = jnp.einsum("crm,mt->crt", maps, z)
        losses = jnp.sum(error**2, axis=1)
        if choose:
            candidate = jnp.argmin(losses, axis=0).astype(jnp.int32)
        error = jnp.take_along_axis(error, candidate[None, None, :], axis=0, mode="promise_in_bounds")[0]
        shown = column * z[:n_scored]
        predicted = shown - error[:n_scored]
        squares = jnp.sum(shown**2, axis=0)
        squares = jnp.where(squares > rounding, squares, 0.0)
        mean = jnp.sum(column * predicted, axis=0)
        spread = jnp.sum(predicted**2, axis=0) + jnp.sum(error[n_scored:] ** 2, axis=0) - mean**2 / total
        correlation = jnp.sum(shown * predicted, axis=0) / jnp.sqrt(squares * jnp.maximum(spread, 0.0))
        return candidate, jnp.sum(error**2, axis=0), squares, correlation, losses, scale

    def score_shard(z: jax.Array, maps: jax.Array, candidate: jax.Array) -> tuple[jax.Array, ...]:
        dtypes = (np.dtype(np.int32), dtype, dtype, dtype, dtype, dtype)
        shapes = ((), (), (), (), (n_candidates,), ())
        return blocks.over_tiles(partial(score_tile, maps), z, candidate, shapes, dtypes, blocks.TILE)

    columns = P("t")
    return jax.shard_map(
        score_shard,
        mesh=mesh,
        in_specs=(P(None, "t"), P(), columns),
        out_specs=(columns, columns, columns, columns, P(None, "t"), columns),
    )(z, maps, candidate)


@partial(jax.jit, static_argnames=("mesh", "dtype", "n_groups", "width"))
def _gram_block(
    z: jax.Array, share: jax.Array, pieces: jax.Array, *, mesh: Mesh, dtype: np.dtype, n_groups: int, width: int
) -> jax.Array:
    """Sum over the columns of each group of (z - mean)(z - mean)', (n_groups, n_images, n_images).

    pieces : int, (n_devices, n_pieces, 3): first column in the shard, length, group.
    """

    def gram_shard(z: jax.Array, pieces: jax.Array) -> jax.Array:
        n_images, n_columns = z.shape

        def step(gram: jax.Array, piece: jax.Array) -> tuple[jax.Array, None]:
            # The last columns are read by a slice that begins earlier; those before the piece are then masked.
            first = jnp.minimum(piece[0], n_columns - width)
            tile = jax.lax.dynamic_slice_in_dim(z, first, width, 1).astype(dtype)
            column = first + jnp.arange(width, dtype=piece.dtype)
            inside = (column >= piece[0]) & (column < piece[0] + piece[1])
            tile = jnp.where(inside[None, :], tile, jnp.zeros((), dtype))
            # One scale for all columns: they count by their variance.
            scale = power_below(jnp.max(jnp.abs(tile)))
            tile = tile * (1.0 / scale)
            tile = tile - share[None, :] @ tile
            return gram.at[piece[2]].add((tile @ tile.T).astype(np.float64) * scale.astype(np.float64) ** 2), None

        empty = jax.lax.pcast(jnp.zeros((n_groups, n_images, n_images), np.float64), "t", to="varying")
        return jax.lax.psum(jax.lax.scan(step, empty, pieces[0])[0], "t")

    return jax.shard_map(gram_shard, mesh=mesh, in_specs=(P(None, "t"), P("t")), out_specs=P())(z, pieces)


def _pieces(first: int, new: int, width: int, n_devices: int, edges: np.ndarray, tile: int) -> np.ndarray:
    """Cut the columns [new, first + width) of a block at shards, groups and tiles; see _gram_block."""
    shard = width // n_devices
    stop = min(first + width, int(edges[-1]))
    cuts = np.union1d(edges, first + shard * np.arange(n_devices + 1))
    cuts = cuts[(cuts > new) & (cuts < stop)]
    cuts = np.concatenate([[new], cuts, [stop]])
    starts = [np.arange(a, b, tile) for a, b in itertools.pairwise(cuts)]
    ends = [np.minimum(s + tile, b) for s, b in zip(starts, cuts[1:], strict=True)]
    start, end = np.concatenate(starts), np.concatenate(ends)
    device = (start - first) // shard
    group = np.searchsorted(edges, start, side="right") - 1
    out = np.zeros((n_devices, np.bincount(device, minlength=n_devices).max(), 3), np.int32)
    for d in range(n_devices):
        mine = device == d
        out[d, : mine.sum()] = np.column_stack([start - first - d * shard, end - start, group])[mine]
    return out


def group_grams(
    y: np.ndarray,
    images: np.ndarray,
    share: np.ndarray,
    *,
    group_size: np.ndarray,
    budget: Budget,
) -> np.ndarray:
    """Sum over the targets of each group of (z - share'z)(z - share'z)', in one pass over the targets.

    The summed loss of a group under a map E is the inner product of E'E with this: a penalty for a group, or the
    gradient of its loss, needs nothing else of the targets.

    Returns
    -------
    float64, (n_groups, n_images, n_images)
    """
    dtype, mesh = blocks.working_dtype(y), budget.mesh
    width = blocks.width_of(y, len(images), budget)
    edges = group_edges(group_size)
    grams = np.zeros((len(group_size), len(images), len(images)))
    tile = min(blocks.TILE, width // mesh.size)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        share_ = share.astype(dtype)

        def dispatch() -> Iterator[tuple[int, tuple[jax.Array, ...]]]:
            done = 0
            for first, block in blocks.blocks_of(y, images, mesh, width):
                pieces = _pieces(first, done, width, mesh.size, edges, tile)
                done = first + width
                # Padded to a power of two, so that few programs are compiled.
                pieces = np.pad(
                    pieces, ((0, 0), (0, (1 << (pieces.shape[1] - 1).bit_length()) - pieces.shape[1]), (0, 0))
                )
                options = {"mesh": mesh, "dtype": dtype, "n_groups": len(group_size), "width": tile}
                yield first, (_gram_block(block, share_, pieces, **options),)

        for _, (gram,) in blocks.one_behind(dispatch()):
            grams += gram
    return grams


def score(
    y: np.ndarray,
    images: np.ndarray,
    maps: np.ndarray,
    root: np.ndarray,
    *,
    scope: str,
    group_size: np.ndarray,
    budget: Budget,
) -> Scores:
    """Choose a candidate (a penalty, or a kernel and a penalty) for every target by its held-out loss.

    With z the targets of one column, candidate c predicts left-out rows with the loss ||maps[c] z||^2.

    Parameters
    ----------
    y : float16, float32 or float64, (n_rows_y, n_targets); may be a memory map.
    images : int64, (n_images,)
        The rows of y that are used.
    maps : float32 or float64, (n_candidates, n_scored or more, n_images)
        Held-out errors as linear functions of the targets, from held_out.held_out. The first n_scored rows are errors
        of the mean prediction of each image times `root`, further rows the scatter of predictions within images.
    root : float64, (n_scored,)
        Square root of the summed weights of the rows of each image that is left out: the first n_scored of `images`.
    scope : "target", "group" or "global"
        Which targets share a candidate: then the losses of its targets are added, so a target counts by its variance.
    group_size : int64, (n_groups,), consecutive targets.
    budget : Budget
    """
    dtype, mesh = blocks.working_dtype(y), budget.mesh
    n_targets, n_images = y.shape[1], len(images)
    edges = group_edges(group_size)
    group_loss = np.zeros((len(group_size), len(maps)))
    candidate = np.zeros(n_targets, np.int32)
    loss, squares = (np.empty(n_targets) for _ in range(2))
    correlation = np.empty(n_targets, dtype)

    used = np.arange(len(maps))
    if scope != "target":
        if len(root) == n_images or 8 * len(group_size) * n_images**2 <= budget.n_bytes:
            share = np.pad(root**2 / np.sum(root**2), (0, n_images - len(root)))
            grams = group_grams(y, images, share, group_size=group_size, budget=budget)
            forms = np.stack([e.T @ e for e in maps.astype(np.float64)])
            group_loss = grams.reshape(len(grams), -1) @ forms.reshape(len(forms), -1).T
        else:
            # Thousands of images that are never left out make large Gram matrices: losses of each target are added.
            each = score(y, images, maps, root, scope="target", group_size=group_size, budget=budget)
            group_loss = each.group_loss
        shared = group_loss if scope == "group" else np.broadcast_to(group_loss.sum(0), group_loss.shape)
        used, candidate_of_group = np.unique(shared.argmin(1), return_inverse=True)
        candidate = np.repeat(candidate_of_group, group_size).astype(np.int32)

    width = blocks.width_of(y, n_images + len(used), budget)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        maps_, root_ = maps[used].astype(dtype), root.astype(dtype)
        options = {"mesh": mesh, "dtype": dtype, "choose": scope == "target"}

        def dispatch() -> Iterator[tuple[int, tuple[jax.Array, ...]]]:
            for first, block in blocks.blocks_of(y, images, mesh, width):
                yield first, _score_block(block, maps_, root_, blocks.along(candidate, first, width), **options)

        done = 0
        for first, (chosen, *values, correlations, losses, scale) in blocks.one_behind(dispatch()):
            stop = min(first + width, n_targets)
            candidate[first:stop], correlation[first:stop] = chosen[: stop - first], correlations[: stop - first]
            scale = scale.astype(np.float64)
            if np.any((scale > LARGEST) | (scale < 1 / LARGEST)):
                raise ValueError(
                    f"targets reach {scale.min():.0e} to {scale.max():.0e}, whose squares are beyond float64. "
                    f"Give them in other units."
                )
            unit = scale**2
            for whole, part in zip((loss, squares), values, strict=True):
                whole[first:stop] = (part * unit)[: stop - first]
            if scope == "target":
                new = (losses * unit)[:, done - first : stop - first]
                touched = slice(np.searchsorted(edges, done, "right") - 1, np.searchsorted(edges, stop, "left"))
                group_loss[touched] += np.add.reduceat(new, np.maximum(edges[touched], done) - done, axis=1).T
            done = stop
    return Scores(used[candidate].astype(np.int32), loss, squares, correlation, group_loss)


def side_by_side(parts: Sequence[Scores]) -> Scores:
    """Scores of consecutive groups of targets, each with candidates of its own, as one.

    Candidates of part k are counted from k x (candidates per part) on; group_loss keeps one column per candidate of the
    part.
    """
    n_candidates = parts[0].group_loss.shape[1]
    return Scores(
        candidate=np.concatenate([p.candidate + k * n_candidates for k, p in enumerate(parts)]).astype(np.int32),
        loss=np.concatenate([p.loss for p in parts]),
        squares=np.concatenate([p.squares for p in parts]),
        correlation=np.concatenate([p.correlation for p in parts]),
        group_loss=np.concatenate([p.group_loss for p in parts]),
    )


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
    elif every_row and y.dtype == out.dtype == dtype and not isinstance(y, np.memmap):
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
        elif out.dtype == dtype:
            _product(operators[0], z, out[:, columns])
        else:
            out[:, columns] = operators[0] @ z


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
        As in `score`.
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
