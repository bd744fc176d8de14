"""The photographs: rows of `imgBrick` in nsd_stimuli.hdf5, 40 GB of which a subject saw a seventh.

The file stays where it is, in a folder or on its server, and only the rows that are needed are read (remote_file).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.progress import track

from spikevaediff.images import luma, resize

_ROWS = 64  # photographs asked for at once, 35 MB


def read(
    source: Any, image_id: np.ndarray, *, n: int, side_px: int, size_px: int, ahead: Callable[[list[Any]], None] | None
) -> np.ndarray:
    """Photographs as grey levels (ITU-R 601 luma) of one size.

    Parameters
    ----------
    source : Path or file
        What h5py opens.
    image_id : int64, (n_images,), ascending
        Rows, from 0.
    n, side_px : int
        Photographs of the file and their side, which is compared.
    size_px : int
        Side of the result, by the one resize rule.
    ahead : function of a list of (start, stop), or None
        Fetches these bytes of the file at once.

    Returns
    -------
    uint8, (n_images, size_px, size_px)

    Raises
    ------
    ValueError
        The file is damaged or holds another array.
    """
    found = np.empty((len(image_id), size_px, size_px), np.uint8)
    try:
        with h5py.File(source, "r") as file:
            if "imgBrick" not in file:
                raise ValueError(f"{source} has no dataset imgBrick; it has {', '.join(file)}")
            brick = file["imgBrick"]
            if brick.shape != (n, side_px, side_px, 3) or brick.dtype != np.uint8:
                raise ValueError(
                    f"{source}: imgBrick is {brick.dtype} {brick.shape}, expected uint8 {(n, side_px, side_px, 3)}"
                )
            for start in track(range(0, len(image_id), _ROWS), "reading photographs"):
                some = image_id[start : start + _ROWS]
                if ahead is not None:
                    ahead(_spans(brick, some.tolist()))
                found[start : start + _ROWS] = resize(luma(brick[row] for row in some.tolist()), size_px)
    except OSError as error:
        if isinstance(source, Path):
            raise ValueError(f"{source} is not an HDF5 file or damaged ({error})") from error
        raise
    return found


def _spans(brick: h5py.Dataset, rows: Sequence[int]) -> list[tuple[int, int]]:
    """Where in the file the bytes of these rows lie; nothing where HDF5 does not say."""
    if brick.chunks is None:
        offset, size = brick.id.get_offset(), int(np.prod(brick.shape[1:]))
        return [] if offset is None else [(offset + row * size, offset + (row + 1) * size) for row in rows]
    corners = {
        (row // brick.chunks[0] * brick.chunks[0], *(place * step for place, step in zip(inner, steps, strict=True)))
        for row in rows
        for steps in [brick.chunks[1:]]
        for inner in np.ndindex(*(-(-side // step) for side, step in zip(brick.shape[1:], steps, strict=True)))
    }
    chunks = [brick.id.get_chunk_info_by_coord(corner) for corner in sorted(corners)]
    return [(chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks if chunk.byte_offset is not None]
