"""Files appear whole or not at all.

A reader never meets half a file: everything is written beside its destination under a name of its own (two
writers of one file must not share a temporary name, since a killed pipeline leaves its stage running) and then renamed.
What a killed writer left is removed by the next one: a lock, which ends with its process, tells dead from living. A
lock also keeps two processes from fetching the same file.
"""

import fcntl
import glob
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock


@contextmanager
def replacing(path: str | Path, *, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary path that becomes `path` when the block ends well and vanishes when it does not.

    Parameters
    ----------
    path : str or Path
        The destination. Its parent is created.
    folder : bool
        The temporary path is an empty folder instead of a file name.

    Raises
    ------
    PermissionError, OSError
        From the file system (no right to write, disk full), before or while the block runs; it names `path`, which is
        then as it was.
    """
    path = Path(path)
    scratch, lock = None, None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays: np.savez and Pillow look at it. The leading dot and ".tmp" are in .dvcignore.
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
            _remove_if_dead(left)
        while lock is None:
            scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
            lock = _locked(scratch)
        assert scratch is not None
        target = scratch / path.name
        if folder:
            target.mkdir()
        yield target
        if folder and path.is_dir():
            # rename() cannot replace a folder that holds files, so the old one steps aside first.
            os.replace(path, scratch / "old")
        os.replace(target, path)
    except OSError as error:
        # numpy says "No space left on device" and not where; a temporary name says nothing to anybody else.
        if error.errno is not None and (error.filename is None or f".{path.name}." in str(error.filename)):
            error.filename = str(path)
        raise
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def check_ours(folder: str | Path, names: str) -> None:
    """Refuse a folder that a command would replace whole, where it holds what the command did not write.

    Parameters
    ----------
    folder : str or Path
        Need not exist.
    names : str
        Regular expression for what the command writes into it.

    Raises
    ------
    ValueError
        It holds something else, or is a file. The message names it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write. Name a new one")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if others := [name for name in there if not re.fullmatch(names, name)]:
        raise ValueError(
            f"{folder} would be replaced whole, and holds {others[0]}, which this command did not write "
            f"({len(others)} such). Name a new folder"
        )


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold the lock file of a user's cache while the block runs; of two processes, the second waits.

    Raises
    ------
    OSError
        The folder cannot be written, the lock is another user's, or the file system has no locks.
    """
    held = FileLock(lock)
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held.acquire()
    except (OSError, NotImplementedError) as error:
        raise OSError(
            f"{lock.parent} is not a place where this user can put files ({error}). Files that are there are used as "
            "they are; for others choose a folder of your own: export SPIKEVAEDIFF_CACHE=FOLDER"
        ) from error
    try:
        yield
    finally:
        held.release()


def _locked(scratch: Path) -> int | None:
    """A descriptor whose lock says that this process lives; None when another writer removed the folder just now."""
    try:
        descriptor = os.open(scratch, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        taken = not scratch.exists()
    except BlockingIOError:
        taken = True
    except OSError:
        taken = False  # a file system without locks, where nothing is ever removed
    if taken:
        os.close(descriptor)
        return None
    return descriptor


def _remove_if_dead(left: Path) -> None:
    with suppress(OSError):  # not ours, alive, gone, or without locks
        descriptor = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
        finally:
            os.close(descriptor)
