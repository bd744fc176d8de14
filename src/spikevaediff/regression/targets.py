"""Scores of all targets, up to hundreds of thousands of columns, and the choice of their penalties, in bounded memory.

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
