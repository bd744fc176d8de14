"""Session files and their columns, read with care: a column that is not numbers, texts or flags is refused by name.

NWB files come from many programs. Columns may be links to other places, have a second axis of length one, hold numbers
as text, or be packed by a filter that is not installed; a time series may have a rate in place of times.
"""

import errno
import importlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

ELECTRODES = "general/extracellular_ephys/electrodes"
SCENES = "natural_scenes"


def presentations_table(stimulus: str) -> str:
    """The table of the presentations of a stimulus: natural_scenes, natural_movie_one, ..."""
    return f"intervals/{stimulus}_presentations"


PRESENTATIONS = presentations_table(SCENES)
_LAYOUT = (
    f"Expected the layout of an Allen Visual Coding Neuropixels session (NWB 2 with /units, /{ELECTRODES} and "
    f"/{PRESENTATIONS}); files of another layout must be converted"
)
Source = str | Path | io.RawIOBase  # a path; or a file on a server, open, which prints as its address
LARGEST = 2**53  # whole numbers below it are exact in every type that they may come in
_STEP_S = 1e-3  # no type that is coarser may hold times
# What is wrong with the machine, or with another file that is written meanwhile.
NOT_OF_THE_FILE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


@contextmanager
def opened(path: Source) -> Iterator[h5py.File]:
    """A session file, open for reading.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PermissionError, BlockingIOError
        It may not be read, or another program has it open for writing.
    ValueError
        It is damaged, or was left open by a program that crashed: found out here, or when a column is read while it is
        open.
    OSError
        Of a file on a server: it cannot be read now.
    """
    if isinstance(path, io.RawIOBase):
        try:
            with h5py.File(path, "r") as file:
                yield file
        except OSError as error:
            if error.errno is not None or str(path) in str(error):
                raise
            raise ValueError(f"{path} is not a whole HDF5 file ({' '.join(str(error).split())})") from error
        return
    path = Path(path)
    try:
        if not path.is_file():
            raise FileNotFoundError(f"session file {path} does not exist. Make it with: dvc repro acquire")
        with h5py.File(path, "r") as file:
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:  # raised on opening (truncated, not HDF5) and on reading a damaged chunk
        if error.errno in NOT_OF_THE_FILE:
            raise
        raise _explained(path, error) from error


def _explained(path: Path, error: OSError) -> OSError | ValueError:
    """The cause of a failure and its cure: a file that somebody else uses is not damaged."""
    says = " ".join(str(error).split())
    if isinstance(error, PermissionError):
        return PermissionError(f"{path} may not be read by this user. Give the right to: chmod u+r {path}")
    if "unable to lock file" in says and error.errno in (errno.EAGAIN, errno.EACCES):
        return BlockingIOError(f"{path} is locked: another program has it open for writing. Close it there, or wait")
    if "unable to lock file" in says:
        return OSError(
            f"{path} cannot be locked on this file system ({says}). Read it without locks: export "
            f"HDF5_USE_FILE_LOCKING=FALSE"
        )
    if "already open for write" in says:
        return ValueError(
            f"{path} is marked as open for writing: a program still writes it, or crashed while it did. Close it "
            f"there; after a crash: h5clear -s {path}"
        )
    if error.errno is not None and error.errno != errno.EIO:
        return type(error)(f"{path} cannot be read ({says})")
    return ValueError(
        f"{path} is not a whole HDF5 file ({says}). Copy a recording anew from where it came; what the pipeline made, "
        f"get it again: dvc repro acquire"
    )


def has(file: h5py.File, name: str) -> bool:
    """Whether there is something by that name; a link that leads nowhere is nothing."""
    try:
        return file[name] is not None
    except KeyError:
        return False


def column(file: h5py.File, table: str, name: str) -> h5py.Dataset:
    """A column of a table, unread.

    Raises
    ------
    ValueError
        It is not there, is not a column, or is packed by a filter that is not installed.
    """
    for needed in (table, f"{table}/{name}"):
        if not has(file, needed):
            link = file.get(needed, getlink=True) if has(file, needed.rpartition("/")[0] or "/") else None
            if isinstance(link, h5py.SoftLink | h5py.ExternalLink):
                to = f"{getattr(link, 'filename', '')}{link.path}"
                raise ValueError(
                    f"{file.filename}: /{needed} is a link to {to}, which is not there. Put the column itself in the "
                    f"place of the link"
                )
            raise ValueError(f"{file.filename} has no /{needed}. {_LAYOUT}")
    found = file[f"{table}/{name}"]
    if not isinstance(found, h5py.Dataset) or found.ndim == 0:
        raise ValueError(f"{file.filename}: /{table}/{name} is not a column. Expected a value for each row of /{table}")
    _check_filters(found, file.filename)
    return found


def _check_filters(dataset: h5py.Dataset, path: str) -> None:
    packed = dataset.id.get_create_plist()
    filters = [packed.get_filter(i) for i in range(packed.get_nfilters())]
    if all(h5py.h5z.filter_avail(number) for number, *_ in filters):
        return
    with suppress(ImportError):
        importlib.import_module("hdf5plugin")  # it registers the filters that it brings
    for number, _, _, name in filters:
        if not h5py.h5z.filter_avail(number):
            called = name.decode(errors="replace").strip("\0 ")
            raise ValueError(
                f"{path}: {dataset.name} is packed by the filter {number}{f' ({called})' * bool(called)}, which this "
                f"HDF5 lacks. Install it: pip install hdf5plugin; or unpack the file: h5repack -f NONE IN OUT"
            )


def flat(values: np.ndarray) -> np.ndarray:
    """A column that was written as (n_rows, 1), as (n_rows,); anything else as it is."""
    return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values


def _one_each(found: h5py.Dataset, values: np.ndarray) -> np.ndarray:
    values = flat(values)
    if values.ndim != 1:
        raise ValueError(
            f"{found.file.filename}: {found.name} has shape {found.shape}, expected one value for each row"
        )
    return values


def texts(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of text, object (n_rows,) of str; ValueError where it holds something else."""
    found = column(file, table, name)
    if h5py.check_string_dtype(found.dtype) is None:
        raise ValueError(f"{file.filename}: /{table}/{name} holds {found.dtype}, expected text")
    try:
        return _one_each(found, found.asstr()[:])
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{file.filename}: /{table}/{name} is not text in UTF-8 ({error}). Write it in UTF-8"
        ) from error


def numbers(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of numbers, float64 (n_rows,); ValueError where it holds something else."""
    found = column(file, table, name)
    if found.dtype.kind not in "uifb":
        raise ValueError(f"{file.filename}: /{table}/{name} holds {found.dtype}, expected numbers")
    return _one_each(found, found[:].astype(np.float64))


def finite(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of numbers, float64 (n_rows,); ValueError names the first row that is not finite."""
    values = numbers(file, table, name)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(
            f"{file.filename}: /{table}/{name} is not finite in {len(bad)} of {len(values)} rows (first: row {bad[0]})"
        )
    return values


def check_step(file: h5py.File, name: str, dtype: np.dtype, values: np.ndarray) -> None:
    """Refuse times of a type that does not hold them to the millisecond: float32 far from zero.

    Parameters
    ----------
    file : h5py.File
    name : str
        Of the column, for the error.
    dtype : numpy.dtype
        In which the file holds it.
    values : float, (n,)
        Seconds.

    Raises
    ------
    ValueError
        The largest of them and the next number of that type are more than a millisecond apart.
    """
    if dtype.kind != "f" or dtype.itemsize >= 8 or not len(values):
        return
    largest = np.abs(values).max()
    step_s = np.spacing(np.asarray(largest, dtype.newbyteorder("=")))
    if step_s > _STEP_S:
        raise ValueError(
            f"{file.filename}: /{name} is {dtype}, in which {largest:g} s are exact to {step_s:g} s only. Write it as "
            f"float64, or from a later zero"
        )


def whole(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of whole numbers, int64 (n_rows,); ValueError names the first row that holds another, or a larger one
    than is exact in float64."""
    values = finite(file, table, name)
    bad = np.flatnonzero((values != np.round(values)) | (np.abs(values) >= LARGEST))
    if len(bad):
        raise ValueError(
            f"{file.filename}: /{table}/{name} is {values[bad[0]]:.17g} in row {bad[0]} ({len(bad)} such rows), "
            f"expected whole numbers below 2**53"
        )
    return values.astype(np.int64)


def ids(file: h5py.File, table: str) -> np.ndarray:
    """The column `id` of a table, int64 (n_rows,); ValueError where one comes twice."""
    found = whole(file, table, "id")
    values, counts = np.unique(found, return_counts=True)
    if np.any(counts > 1):
        raise ValueError(f"{file.filename}: /{table}/id must be unique, but {values[counts > 1][:5].tolist()} repeat")
    return found


def flags(file: h5py.File, table: str, name: str) -> np.ndarray:
    """A column of yes and no, bool (n_rows,): booleans, 0 and 1, or the words True and False.

    Raises
    ------
    ValueError
        It holds anything else: the text "False" is not empty, and must not pass as true.
    """
    found = column(file, table, name)
    is_text = h5py.check_string_dtype(found.dtype) is not None
    values = texts(file, table, name) if is_text else numbers(file, table, name)
    judged = [_FLAGS.get(str(value).strip().casefold()) for value in values.tolist()]
    bad = [row for row, flag in enumerate(judged) if flag is None]
    if bad:
        raise ValueError(
            f"{file.filename}: /{table}/{name} is {values[bad[0]]!r} in row {bad[0]} ({len(bad)} such rows), expected "
            f"true or false"
        )
    return np.array(judged, bool)


def ends(file: h5py.File, table: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """First and last-plus-one position of every row in the flat column `name`, int64 (n_rows,) each.

    Raises
    ------
    ValueError
        The positions fall, or do not end where the column does.
    """
    last = whole(file, table, f"{name}_index")
    length = len(column(file, table, name))
    first = np.concatenate([[0], last])[:-1]
    if np.any(last < first) or (len(last) and last[-1] != length):
        raise ValueError(
            f"{file.filename}: /{table}/{name}_index must rise to the length of /{table}/{name}, {length}, "
            f"but ends at {last[-1]} and falls in {np.sum(last < first)} places"
        )
    return first, last


def same_length(file: h5py.File, table: str, **columns: np.ndarray) -> None:
    """Refuse columns of a table that differ in length."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"{file.filename}: columns of /{table} differ in length: {lengths}")


def times(file: h5py.File, series: str) -> np.ndarray:
    """When the samples of a time series were taken, float64 (n_samples,): its timestamps, or its start and rate.

    Raises
    ------
    ValueError
        There are neither, or they are not finite or fall.
    """
    if has(file, f"{series}/timestamps") or not has(file, f"{series}/starting_time"):
        time = numbers(file, series, "timestamps")
    else:
        start, n = file[f"{series}/starting_time"], len(column(file, series, "data"))
        rate_hz = start.attrs.get("rate")
        usable = start.ndim == 0 and start.dtype.kind in "uif" and isinstance(rate_hz, int | float | np.number)
        if not usable or not np.isfinite(start[()]) or not 0 < rate_hz < np.inf:
            raise ValueError(f"{file.filename}: /{series}/starting_time expected a number of seconds, and a rate in Hz")
        time = float(start[()]) + np.arange(n) / float(rate_hz)
    if not np.isfinite(time).all() or np.any(time[1:] < time[:-1]):
        raise ValueError(f"{file.filename}: /{series}/timestamps must be finite and rise, but does not")
    return time
