"""Targets in blocks of bounded size, spread over the devices, and tiles of them that stay in a processor's cache."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from spikevaediff.records import few
from spikevaediff.regression import designs

TILE = 1024  # columns; see targets.py


@dataclass(frozen=True)
class Budget:
    """What work on targets may take of the machine. Changes no result.

    block_mb : float, positive, bound on the memory of the blocks of targets in flight, megabytes.
    devices : targets are spread over them; None is all devices of all processes.

    With several processes (jax.distributed.initialize before the first use of JAX, in each of them) all call `fit` and
    `predict` with the same arguments; small matrices are computed by each, columns of targets are shared out, and every
    process gets the whole result.

    Raises
    ------
    ValueError
        block_mb is not positive.
    """

    block_mb: float = 256.0
    devices: Sequence[jax.Device] | None = None

    def __post_init__(self) -> None:
        if not self.block_mb > 0:
            raise ValueError(f"block_mb is {self.block_mb}, expected a positive number of megabytes")

    @property
    def n_bytes(self) -> float:
        """Bytes of the blocks in flight."""
        return self.block_mb * 2**20

    @property
    def mesh(self) -> Mesh:
        """A mesh with one axis "t", along which targets are spread."""
        return Mesh(np.array(jax.devices() if self.devices is None else self.devices), ("t",))


DEFAULT = Budget()


def working_dtype(y: np.ndarray) -> np.dtype:
    """float64 for float64 targets, float32 for float32 and float16 ones (stored small, computed in float32)."""
    return np.dtype(np.float64 if y.dtype == np.float64 else np.float32)


def check_file(y: np.ndarray) -> None:
    """Refuse a memory map whose file has become too short: reading it would end the process without a word.

    Raises
    ------
    ValueError
        Names the file, the size it has and the size it needs.
    """
    if not isinstance(y, np.memmap):
        return
    whole = y
    while isinstance(whole.base, np.memmap):
        whole = whole.base
    if whole.filename is None:
        return
    needed, there = whole.offset + whole.nbytes, os.stat(whole.filename).st_size
    if there < needed:
        raise ValueError(
            f"{whole.filename} shrank to {there} bytes while in use; its targets {whole.shape} need {needed}. "
            "Write it again, and under another name while a fit reads it."
        )


def check_finite(y: np.ndarray, images: np.ndarray, budget: Budget) -> None:
    """Refuse targets that are not finite.

    Raises
    ------
    ValueError
        Names the rows of y that hold NaN or infinity; or see `check_file`.
    """
    step = max(1, int(budget.n_bytes / (2 * working_dtype(y).itemsize * y.shape[1])))
    bad: list[int] = []
    for start in range(0, len(images), step):
        check_file(y)
        rows = images[start : start + step]
        together = rows[-1] - rows[0] == len(rows) - 1
        z = (y[rows[0] : rows[-1] + 1] if together else y[rows]).astype(working_dtype(y), copy=False)
        bad += rows[designs.not_finite(z)].tolist()
    if bad:
        names = few(bad)
        raise ValueError(
            f"y is not finite in rows {names} ({len(bad)} of {len(images)}). Extract these features again."
        )


def width_of(y: np.ndarray, n_rows: int, budget: Budget) -> int:
    """Columns per block, so that two blocks in flight with n_rows rows of input and output stay within the budget."""
    n_devices = budget.mesh.size
    step = TILE * n_devices
    width = max(1, int(budget.n_bytes / (2 * working_dtype(y).itemsize * (n_rows + 16))) // step) * step
    return min(width, -(-y.shape[1] // n_devices) * n_devices)


def blocks_of(y: np.ndarray, images: np.ndarray, mesh: Mesh, width: int) -> Iterator[tuple[int, jax.Array]]:
    """Yield (first column, block on the devices).

    All blocks have one shape, so that one program serves them: the last one may begin inside its neighbour, and columns
    beyond the targets are zero. A process reads the columns of its own devices only.
    """
    n_targets = y.shape[1]
    every_row = np.array_equal(images, np.arange(len(y)))

    def read(start: int, stop: int) -> np.ndarray:
        columns = y[:, start:stop] if every_row else y[images, start:stop]
        missing = stop - start - columns.shape[1]
        return np.pad(columns, ((0, 0), (0, missing))) if missing else columns

    def read_shard(first: int, index: tuple[slice, ...]) -> np.ndarray:
        return read(first + (index[1].start or 0), first + (index[1].stop or width))

    for first in range(0, n_targets, width):
        first = max(0, min(first, n_targets - width))
        check_file(y)
        if mesh.size == 1:
            # May alias: a memory map or an aligned array is used where it lies.
            yield first, jax.device_put(read(first, first + width), mesh.devices.flat[0], may_alias=True)
        else:
            spread, shape = NamedSharding(mesh, P(None, "t")), (len(images), width)
            yield first, jax.make_array_from_callback(shape, spread, partial(read_shard, first))


def along(values: np.ndarray, first: int, width: int) -> np.ndarray:
    """values[first : first + width], zeros beyond the end."""
    part = values[first : first + width]
    return np.pad(part, (0, width - len(part)))


def _fetch(block: jax.Array) -> np.ndarray:
    """A result as an array on this host, whole also when other processes computed parts of it."""
    return np.asarray(block if block.is_fully_addressable else multihost_utils.process_allgather(block, tiled=True))


def one_behind(
    dispatched: Iterator[tuple[int, tuple[jax.Array, ...]]],
) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
    """Fetch results after the next block was dispatched, so that it is read while this one is worked on."""
    waiting = None
    for item in dispatched:
        if waiting is not None:
            yield waiting[0], tuple(map(_fetch, waiting[1]))
        waiting = item
    if waiting is not None:
        yield waiting[0], tuple(map(_fetch, waiting[1]))


def over_tiles(
    tile_fn: Callable[..., tuple[jax.Array, ...]],
    z: jax.Array,
    candidate: jax.Array,
    out: tuple[tuple[int, ...], ...],
    dtypes: tuple[np.dtype, ...],
    width: int,
) -> tuple[jax.Array, ...]:
    """Arrays of the leading shapes `out`, whose columns are tile_fn(columns of z, columns of candidate)."""
    n_columns = z.shape[1]
    width = min(width, n_columns)

    def step(i: jax.Array, out: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        first = jnp.minimum(i * width, n_columns - width)
        parts = tile_fn(
            jax.lax.dynamic_slice_in_dim(z, first, width, 1), jax.lax.dynamic_slice_in_dim(candidate, first, width, 0)
        )
        return tuple(
            jax.lax.dynamic_update_slice_in_dim(whole, part, first, whole.ndim - 1)
            for whole, part in zip(out, parts, strict=True)
        )

    empty = tuple(jnp.zeros((*shape, n_columns), dtype) for shape, dtype in zip(out, dtypes, strict=True))
    empty = tuple(jax.lax.pcast(a, "t", to="varying") for a in empty)
    return jax.lax.fori_loop(0, -(-n_columns // width), step, empty)
