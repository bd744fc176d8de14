"""Which voxels are used and what they are called: masks of regions (NIfTI), and the names of their labels."""

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

GENERAL = "nsdgeneral"  # the one region that has no labels inside: its voxels are 1
# What nibabel raises for files that are damaged or no NIfTI.
UNREADABLE = (ImageFileError, OSError, EOFError, ValueError, zlib.error)


@dataclass(frozen=True)
class Voxels:
    """The voxels that are read from every file of betas.

    index : int64, (n_voxels,), ascending; position in a grid (X, Y, Z) counted with Z fastest: the id of a voxel.
    area : str, (n_voxels,).
    grid : (X, Y, Z).
    inside : dict; by region how many voxels its volume has, also those that another region took.
    """

    index: np.ndarray
    area: np.ndarray
    grid: tuple[int, int, int]
    inside: dict[str, int]


def chosen(
    masks: Mapping[str, Path], labels: Mapping[str, Path], grid: Sequence[int], *, rois: Sequence[str]
) -> Voxels:
    """The voxels of some regions. One that lies in several belongs to the first in the list.

    Parameters
    ----------
    masks, labels : mapping of str to Path
        By region: its volume, in which 0 and less is outside, and the table of its labels (nsdgeneral has none).
    grid : sequence of int
        X, Y, Z that the volumes must have.
    rois : sequence of str

    Raises
    ------
    ValueError
        A volume is damaged or of another grid, holds labels without a name, or has no voxel.
    """
    area, n_inside = np.full(tuple(grid), "", "<U64"), {}
    for roi in rois:
        volume = _volume(masks[roi], grid)
        names = {1: GENERAL} if roi == GENERAL else read_labels(labels[roi])
        # Values below 0 occur (outside the slices that were taken), and are no label.
        inside = (volume > 0) & (area == "")
        if unknown := sorted(set(np.unique(volume[volume > 0]).tolist()) - set(names)):
            raise ValueError(f"{masks[roi]} holds the labels {unknown[:5]}, expected those of {roi}: {sorted(names)}")
        for value, name in names.items():
            area[inside & (volume == value)] = name
        n_inside[roi] = int(np.sum(volume > 0))
        if not n_inside[roi]:
            raise ValueError(f"{masks[roi]} has no voxel above 0")
    index = np.flatnonzero(area)
    return Voxels(index, area.ravel()[index], (int(grid[0]), int(grid[1]), int(grid[2])), n_inside)


def read_labels(path: Path) -> dict[int, str]:
    """Names by label, from a table of FreeSurfer: "1 V1v" on each line; 0 is outside.

    Raises
    ------
    ValueError
        A line is none, or a label stands twice.
    """
    names: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = re.match(r"\s*(-?\d+)\s+(\S+)", line)
        if match is None or int(match[1]) in names:
            raise ValueError(f"{path}, line {number} is {line!r}, expected a label of its own and a name: 1 V1v")
        names[int(match[1])] = match[2]
    return {label: name for label, name in names.items() if label > 0}


def _volume(path: Path, grid: Sequence[int]) -> np.ndarray:
    try:
        volume = np.asarray(nibabel.load(path).dataobj)  # type: ignore[attr-defined]
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is not a NIfTI volume or damaged ({error}). Delete it, and it is fetched again"
        ) from error
    if volume.shape != tuple(grid):
        raise ValueError(f"{path} is {volume.shape}, expected the grid {tuple(grid)} of this subject")
    return volume
