"""A large file on a server, read in parts by whoever takes an open file, and kept in blocks of what was read.

h5py reads a recording of gigabytes through it and takes from the server what it looks at only. Every block that arrives
is kept beside its checksum, so that a killed run continues where it was, and a later one asks for nothing twice.
All blocks are of one version of the file: its size and ETag stand in a note, and an answer that states others ends the
reading. fsspec's http files keep blocks as well, but write down which ones only when they are closed, which a killed
process never does, and remfile asks for no ETag: hence a small reader of our own, on the requests of `file_part`.
"""

import io
import json
import os
import shutil
import threading
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from spikevaediff.files.atomic import replacing
from spikevaediff.files.checksums import size_text
from spikevaediff.files.download import N_AT_ONCE
from spikevaediff.files.file_part import ReplacedError, read_part
from spikevaediff.files.one_request import Stated

_BLOCK = 1 << 16
_MOST = 64  # blocks in one request: what a killed process loses at most, for each connection
_FILES, _NOTE = ("blocks", "sums"), "note.json"
_THERE = 1 << 32  # in the table of checksums: this block is kept; its CRC-32 is below it


class RemoteError(OSError):
    """The file cannot be read from its server now; the message begins with the address and says why."""


class RemoteFile(io.RawIOBase):
    """A file on a server, open for reading; what h5py.File takes in place of a path.

    Parameters
    ----------
    url : str
    folder : Path
        Gets `blocks` (as large as the file, with holes), `sums` (uint64, (n_blocks,): 2^32 + CRC-32 of a block that is
        kept, 0 of others) and note.json. It may be deleted. Not for two processes at once.
    n_bytes : int
        Size of the file.

    Attributes
    ----------
    n_received : int
        Bytes that came from the server since this file was opened.
    etag : str
        By which its server tells this version of it from others; a date where it states none; "" before it was asked.

    Raises
    ------
    RemoteError
        On reading: the server cannot be reached, refuses, knows no ranges, sends other bytes than asked for, or has a
        file of another size or, since parts were kept, another version. Once it was raised, every later read raises it.
    OSError
        The folder cannot be written, or the disk is too small for what is asked for.
    """

    def __init__(self, url: str, folder: Path, *, n_bytes: int) -> None:
        super().__init__()
        self.url, self.n_bytes, self.n_received = url, n_bytes, 0
        self._folder, self._position, self._lock = folder, 0, threading.Lock()
        self._failure: str | None = None  # not the error, which would hold what was open when it was raised
        folder.mkdir(parents=True, exist_ok=True)
        self._blocks, self._table = (os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o644) for name in _FILES)
        self._good = np.zeros(-(-n_bytes // _BLOCK), bool)  # blocks that were compared with their checksum
        self._sums = np.zeros(len(self._good), np.uint64)
        self._stated = self._noted()
        if self._stated is None:
            self._forget()
        kept = np.frombuffer(os.pread(self._table, self._sums.nbytes, 0), np.uint64)
        self._sums[: len(kept)] = kept

    def _noted(self) -> Stated | None:
        """What an earlier run was told of the file, if what it kept is of this one."""
        try:
            said = json.loads((self._folder / _NOTE).read_text(encoding="utf-8"))
            if said == self._note(stated := Stated(said["url"], said["bytes"], said["etag"], said["modified"])):
                return stated
        except (OSError, ValueError, LookupError, TypeError):
            pass
        return None

    def _note(self, stated: Stated) -> dict[str, str | int]:
        ours: dict[str, str | int] = {"url": self.url, "bytes": self.n_bytes, "block": _BLOCK}
        return ours | {"etag": stated.etag, "modified": stated.modified}

    def _forget(self) -> None:
        (self._folder / _NOTE).unlink(missing_ok=True)
        for descriptor in (self._table, self._blocks):
            os.ftruncate(descriptor, 0)
        self._sums[:], self._good[:], self._stated = 0, False, None

    # ---- what a file is asked for

    def __repr__(self) -> str:
        return self.url

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """The position, bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.n_bytes}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the position on, and return how many bytes there were."""
        view = memoryview(buffer).cast("B")
        start, stop = self._position, min(self._position + len(view), self.n_bytes)
        # In this thread: h5py holds its lock while it reads, and a thread that collects its garbage waits for the lock.
        self._have([(start, stop)], side_by_side=False)
        n = 0
        while n < stop - start:
            n += os.preadv(self._blocks, [view[n : stop - start]], start + n)
        self._position = max(start, stop)
        return n

    def close(self) -> None:
        """Nothing is lost by leaving it out."""
        if not self.closed:
            os.close(self._blocks)
            os.close(self._table)
        super().close()

    @property
    def etag(self) -> str:
        """See the class."""
        return self._stated.etag or self._stated.modified if self._stated else ""

    # ---- what comes from the server

    def fetch(self, spans: Sequence[tuple[int, int]]) -> None:
        """Have the bytes of these spans (start, stop) here, those that lack, several requests at a time.

        Whoever knows what will be read asks for it at once: reading asks for one part after the other.
        """
        self._have(spans, side_by_side=True)

    def _have(self, spans: Sequence[tuple[int, int]], *, side_by_side: bool) -> None:
        if self._failure is not None:
            raise RemoteError(self._failure)
        lacking = self._lacking(spans)
        if not lacking:
            return
        try:
            self._fetch(lacking, side_by_side)
        except ReplacedError as error:
            self._forget()
            self._failure = f"{error}. What was kept of it is deleted: run the same command again"
            raise RemoteError(self._failure) from error
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            self._failure = str(error) if self.url in str(error) else f"{self.url}: {error}"
            raise RemoteError(self._failure) from error

    def _lacking(self, spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Runs of blocks (first, end) within the spans that are not here, or are here and damaged."""
        needed = np.zeros(len(self._good), bool)
        for start, stop in spans:
            needed[start // _BLOCK : -(-stop // _BLOCK)] |= stop > start
        for block in np.flatnonzero(needed & ~self._good & (self._sums > 0)).tolist():
            content = os.pread(self._blocks, self._end(block + 1) - block * _BLOCK, block * _BLOCK)
            self._good[block] = int(self._sums[block]) == _THERE + zlib.crc32(content)
        lacks = np.concatenate([[False], needed & ~self._good, [False]])
        edges = np.flatnonzero(lacks[1:] != lacks[:-1]).reshape(-1, 2).tolist()
        return [(at, min(at + _MOST, end)) for first, end in edges for at in range(first, end, _MOST)]

    def _end(self, block: int) -> int:
        return min(block * _BLOCK, self.n_bytes)

    def _fetch(self, lacking: list[tuple[int, int]], side_by_side: bool) -> None:
        total = sum(self._end(end) - first * _BLOCK for first, end in lacking)
        free = shutil.disk_usage(self._folder).free
        if total > free:
            raise OSError(f"{self.url}: {size_text(total)} to go, but {self._folder} has only {size_text(free)} free")
        while lacking and (self._stated is None or not side_by_side):  # the first says what others are compared with
            self._keep(lacking.pop(0))
        if not lacking:
            return
        columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        with (
            Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as shown,
            ThreadPoolExecutor(N_AT_ONCE) as pool,
        ):
            task = shown.add_task(self.url.rpartition("/")[2], total=total, visible=len(lacking) > N_AT_ONCE)
            try:
                for done in as_completed([pool.submit(self._keep, run) for run in lacking]):
                    shown.advance(task, done.result())
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    def _keep(self, run: tuple[int, int]) -> int:
        """Receive blocks and write them down, before the sums by which they count as there."""
        first, end = run
        content, stated = read_part(self.url, first * _BLOCK, self._end(end), self._stated)
        if stated.total != self.n_bytes:
            raise ValueError(f"{self.url} is a file of {stated.total} bytes, expected {self.n_bytes}")
        if self._stated is None:
            with replacing(self._folder / _NOTE) as temporary:
                temporary.write_text(json.dumps(self._note(stated)), encoding="utf-8")
            self._stated = stated
        _write(self._blocks, content, first * _BLOCK)
        for block in range(first, end):
            start = (block - first) * _BLOCK
            self._sums[block] = _THERE + zlib.crc32(content[start : start + _BLOCK])
        _write(self._table, self._sums[first:end].tobytes(), 8 * first)
        self._good[first:end] = True
        with self._lock:
            self.n_received += len(content)
        return len(content)


def _write(descriptor: int, content: bytes, start: int) -> None:
    view = memoryview(content)
    while view:
        n = os.pwrite(descriptor, view, start)
        view, start = view[n:], start + n
