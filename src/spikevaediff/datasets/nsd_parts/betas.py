"""Responses of voxels to single trials: betas_session01.nii.gz or .hdf5, one file per session.

A beta is a percent signal change, kept as int16 after multiplication by 300; outside the brain it is 0. NIfTI has the
axes (X, Y, Z, trial), HDF5 the dataset `betas` of Matlab, which h5py shows the other way round, (trial, Z, Y, X).
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import h5py
import nibabel
import numpy as np

from spikevaediff.datasets.nsd_parts.voxels import UNREADABLE, Voxels


def read(path: Path, voxels: Voxels, n_trials: int) -> np.ndarray:
    """The raw numbers of one session, (n_trials, n_voxels), in the type of the file.

    Raises
    ------
    ValueError
        The file is damaged, of another grid or number of trials, or states a scale of its own.
    """
    values = _hdf5(path, voxels, n_trials) if path.suffix == ".hdf5" else _nifti(path, voxels, n_trials)
    if values.dtype.kind not in "if":
        raise ValueError(f"{path} holds {values.dtype}, expected int16: percent signal change times 300")
    return values


def _nifti(path: Path, voxels: Voxels, n_trials: int) -> np.ndarray:
    expected = (*voxels.grid, n_trials)
    try:
        image = nibabel.load(path)
        shape = image.shape  # type: ignore[attr-defined]
        _check_shape(path, shape, expected, "X, Y, Z, trial")
        stored = image.dataobj  # type: ignore[attr-defined]
        if (stored.slope, stored.inter) != (1.0, 0.0):
            raise ValueError(
                f"{path} states a scale factor of {stored.slope:g}, which files of the data set do not have: it is not "
                f"known whether to divide by 300 as well. Delete it, and it is fetched again"
            )
        whole = stored.get_unscaled()
    except UNREADABLE as error:
        if str(path) in str(error) and isinstance(error, ValueError):
            raise
        raise ValueError(
            f"{path} is not a NIfTI volume or damaged ({error}). Delete it, and it is fetched again"
        ) from error
    return np.asarray(whole)[np.unravel_index(voxels.index, voxels.grid)].T


def _hdf5(path: Path, voxels: Voxels, n_trials: int) -> np.ndarray:
    x, y, z = np.unravel_index(voxels.index, voxels.grid)
    try:
        with h5py.File(path, "r") as file:
            if "betas" not in file:
                raise ValueError(f"{path} has no dataset betas; it has {', '.join(file)}")
            whole = file["betas"]
            _check_shape(path, whole.shape, (n_trials, *voxels.grid[::-1]), "trial, Z, Y, X")
            found = np.empty((n_trials, len(x)), whole.dtype)
            for plane in np.unique(z).tolist():  # chunks hold one voxel each, so that others need not be read
                here = np.flatnonzero(z == plane)
                low = y[here].min(), x[here].min()
                part = whole[:, plane, low[0] : y[here].max() + 1, low[1] : x[here].max() + 1]
                found[:, here] = part[:, y[here] - low[0], x[here] - low[1]]
            return found
    except OSError as error:
        raise ValueError(
            f"{path} is not an HDF5 file or damaged ({error}). Delete it, and it is fetched again"
        ) from error


def _check_shape(path: Path, found: tuple[int, ...], expected: tuple[int, ...], axes: str) -> None:
    if tuple(found) != expected:
        raise ValueError(f"{path} is {tuple(found)}, expected {expected} ({axes})")


def extract(
    paths: Iterable[Path],
    voxels: Voxels,
    trained: np.ndarray,
    *,
    scale: float,
    z_score: bool,
    empty: Callable[[tuple[int, int]], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Responses to all trials of some sessions, one session in memory at a time.

    y[t, v] = betas[t, v] / scale; with z_score, z[t, v] = (y[t, v] - mean_v) / deviation_v with mean and standard
    deviation (over n, not n - 1) of the training trials of the same session.

    Parameters
    ----------
    paths : iterable of Path, (n_sessions,)
    voxels : Voxels
    trained : bool, (n_sessions, n_trials)
        Trials of images that are trained on: those that are tested have no say in the statistics.
    scale : float
    z_score : bool
    empty : function of a shape
        Gives the float16 array to fill, a file that is mapped into memory.

    Returns
    -------
    float16, (n_sessions * n_trials, n_voxels)
        As `empty` made it.
    bool, (n_voxels,)
        Voxels that are valid in every session: not 0 throughout, never NaN, and varying over training trials. Columns
        of others mean nothing.

    Raises
    ------
    ValueError
        As `read`; a session has fewer than two training trials; values beyond what float16 holds.
    """
    n_sessions, n_trials = trained.shape
    responses = empty((n_sessions * n_trials, len(voxels.index)))
    valid = np.ones(len(voxels.index), bool)
    for number, (path, train) in enumerate(zip(paths, trained, strict=True)):
        if train.sum() < 2:
            raise ValueError(f"{path}: {train.sum()} trials are of training images, too few to z-score by")
        values = read(path, voxels, n_trials).astype(np.float64) / scale
        valid &= np.isfinite(values).all(0)
        values[~np.isfinite(values)] = 0.0
        varies = np.ptp(values[train], axis=0) > 0  # the deviation of a constant is not 0 but for rounding
        deviation = np.where(varies, values[train].std(0), 0.0)
        valid &= (deviation > 0) & np.any(values != 0, axis=0)
        if z_score:
            values = (values - values[train].mean(0)) / np.where(deviation > 0, deviation, 1.0)
        if (largest := np.abs(values[:, valid]).max(initial=0.0)) > np.finfo(np.float16).max:
            raise ValueError(f"{path} holds a response of {largest:g}, more than percent signal change can be")
        values[:, ~valid] = 0.0
        responses[number * n_trials : (number + 1) * n_trials] = values.astype(np.float16)
    return responses, valid
