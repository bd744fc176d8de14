"""Https addresses into files: resumed where they broke off, checked before they get their names.

Recordings are gigabytes and connections break, so what has arrived stays beside the destination in a .part file and
the next request asks for the rest only (HTTP Range, RFC 9110 section 14), on the condition that the server still has
the same file (If-Range, with the ETag kept in .part.etag). The file appears under its own name when its size and sha256
are right; where nobody publishes a sha256, the checksum that Amazon S3 states in its ETag is compared.
"""

import hashlib
import http.client
import os
import re
import shutil
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

_CHUNK = 1 << 20
_TIMEOUT_S = 60  # of silence, after which a connection counts as broken
_ATTEMPTS = 5  # requests that brought less than a chunk, before the user is asked to try again
_PAUSE_S = 1.0  # before the second request; doubled each time
_LONGEST_PAUSE_S = 30.0
_BUSY = {429, 500, 502, 503, 504}  # worth another try
_REASONS = {
    401: "the server asks for a login (401)",
    403: "the server refuses access (403): the address has expired, or needs a login or an accepted licence",
    404: "the server has no such file (404): it was moved or taken away",
    429: "the server has had too many requests (429): try again later",
    503: "the server answered 503, it is busy or down: try again later",
}
# Sizes of parts in which files are sent to Amazon S3, MiB: defaults of the usual programs.
_PARTS_MIB = (8, 16, 5, 64, 100)


@dataclass(frozen=True)
class File:
    """One file to fetch; the fields are the parameters of `download`."""

    url: str
    path: Path
    n_bytes: int | None = None
    sha256: str | None = None


def size_text(n_bytes: int) -> str:
    """A size for people: 9315422 is "9.3 MB" (MB = 10^6 bytes)."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.3g} {name}"
    return f"{n_bytes} bytes"


def sha256_of(path: Path) -> str:
    """sha256 of a file in hexadecimal; computed once a process, anew when size or time of the file change."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, *, n_bytes: int | None, sha256: str | None) -> None:
    """Fetch a file, going on where an earlier call stopped.

    Parameters
    ----------
    url : str
    path : Path
        The destination; `path.part` beside it holds what has arrived so far.
    n_bytes : int or None
        Size of the file; None where only the server knows it.
    sha256 : str or None
        Hexadecimal digest; None where none is known: then the size that the server states is checked, and the MD5 when
        the server is Amazon S3.

    Raises
    ------
    OSError
        The file cannot be had now: no network, a broken or silent connection (what arrived is kept), a refusal, a web
        page in place of the file, too little space. The message says which.
    ValueError
        The server offers a file of another size or sent other bytes; nothing is kept of these.
    """
    download_all([File(url, path, n_bytes, sha256)], n_at_once=1)


def download_all(files: Sequence[File], *, n_at_once: int) -> None:
    """Fetch several files side by side; each is resumed and checked as by `download`.

    When one of them cannot be had, the others stop as well and keep what has arrived: whoever calls again goes on from
    there.

    Parameters
    ----------
    files : sequence of File
        Those that exist already are fetched again.
    n_at_once : int
        Connections at a time.

    Raises
    ------
    OSError, ValueError
        As `download`, for the first file that fails.
    """
    by_disk: dict[int, list[File]] = {}
    for file in files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        by_disk.setdefault(file.path.parent.stat().st_dev, []).append(file)
    for group in by_disk.values():
        missing = sum(max(0, (file.n_bytes or 0) - _size(_part(file.path))) for file in group)
        folder = group[0].path.parent
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise OSError(f"{size_text(missing)} to go, but {folder} has only {size_text(free)} free")
    stop = threading.Event()
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with (
        Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as progress,
        ThreadPoolExecutor(n_at_once) as pool,
    ):
        each = {file: progress.add_task(file.path.name, total=file.n_bytes, visible=False) for file in files}

        def fetch(file: File) -> None:
            def report(done: int, total: int | None) -> None:
                progress.update(each[file], completed=done, total=total, visible=True)

            _fetch(file, report, stop)
            progress.update(each[file], visible=len(files) == 1)

        futures = [pool.submit(fetch, file) for file in files]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            errors = [error for future in done if (error := future.exception()) is not None]
        finally:  # an interruption by the user ends here too
            stop.set()
            for future in futures:
                future.cancel()
    for error in sorted(errors, key=lambda error: isinstance(error, _StoppedError)):
        raise error


class _StoppedError(OSError):
    """Another file failed first."""


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(file: File, report: Callable[[int, int | None], None], stop: threading.Event) -> None:
    """Requests until the file is whole, and its check."""
    part, tag = _part(file.path), _part(file.path).with_name(_part(file.path).name + ".etag")
    barren = 0  # requests in a row that brought little
    began = _size(part)
    while True:
        before = _size(part)
        try:
            _receive(file.url, part, tag, file.n_bytes, report, stop)
            break
        except (http.client.HTTPException, ConnectionError, TimeoutError, _BusyError) as error:
            arrived = _size(part) - before
            barren = 0 if arrived >= _CHUNK else barren + 1
            busy = isinstance(error, _BusyError)
            if isinstance(error, _UnreachableError) and _size(part) <= began:
                raise OSError(str(error)) from error  # there is no network; one that was there may come back
            if barren == _ATTEMPTS or (arrived <= 0 and not busy and barren > 1):
                if busy:
                    raise OSError(str(error)) from error
                what = "went silent" if isinstance(error, TimeoutError) else "broke"
                raise OSError(
                    f"the connection {what} ({type(error).__name__}) after {_size(part)} bytes; they are kept, and "
                    "the next try goes on from there"
                ) from error
            pause = max(_PAUSE_S * 2 ** (barren - 1), error.after_s) if isinstance(error, _BusyError) else _PAUSE_S
            if stop.wait(min(pause, _LONGEST_PAUSE_S)):
                raise _StoppedError(f"{file.url} was not fetched to its end") from error
    stated = tag.read_text(encoding="utf-8") if tag.exists() else ""
    tag.unlink(missing_ok=True)
    wrong = None
    if file.sha256 is not None:
        found = sha256_of(part)
        wrong = None if found == file.sha256 else f"with sha256 {found}, expected {file.sha256}"
    elif stated.startswith("s3:") and agrees_with_etag(part, stated.removeprefix("s3:")) is False:
        wrong = f"that does not have the checksum which Amazon S3 states, {stated.removeprefix('s3:')}"
    if wrong:
        part.unlink()  # resuming would keep the wrong bytes for ever
        raise ValueError(f"{file.url} sent a file {wrong}. It was not kept; look for a proxy or a mirror in between")
    os.replace(part, file.path)


def agrees_with_etag(path: Path, etag: str) -> bool | None:
    """Whether a file has the MD5 that Amazon S3 states in an ETag; None where the ETag states none that can be checked.

    An object that was sent whole has its MD5 as its ETag, one that was sent in n parts the MD5 of the MD5s of the parts
    and "-n". The size of the parts is not stated: the usual ones are tried, and only an agreement says anything.
    """
    match = re.fullmatch(r'"?([0-9a-f]{32})(?:-(\d+))?"?', etag)
    if match is None:
        return None
    if match[2] is None:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest() == match[1]
    size, n_parts = path.stat().st_size, int(match[2])
    for part in (mib << 20 for mib in _PARTS_MIB if -(-size // (mib << 20)) == n_parts):
        with path.open("rb") as file:
            digests = b"".join(hashlib.md5(file.read(part)).digest() for _ in range(n_parts))
        if hashlib.md5(digests).hexdigest() == match[1]:
            return True
    return None


class _BusyError(Exception):
    """The server asks to come back later, after some seconds when it says so."""

    def __init__(self, text: str, after_s: float) -> None:
        super().__init__(text)
        self.after_s = after_s


class _UnreachableError(_BusyError):
    """Nobody answers."""


def _receive(
    url: str,
    part: Path,
    tag: Path,
    n_bytes: int | None,
    report: Callable[[int, int | None], None],
    stop: threading.Event,
) -> None:
    """One request: append to `part` what it lacks, or write it anew if the server has another file or no ranges."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "spikevaediff", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        if tag.exists():
            request.add_header("If-Range", tag.read_text(encoding="utf-8").removeprefix("s3:"))
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it had arrived
        if error.code == 416:
            part.unlink()  # longer than the file: left by another version of it
            tag.unlink(missing_ok=True)
            return _receive(url, part, tag, n_bytes, report, stop)
        reason = _REASONS.get(error.code, f"the server answered {error.code} {error.reason}")
        if error.code in _BUSY:
            after = error.headers.get("Retry-After", "")
            raise _BusyError(reason, float(after) if after.isdecimal() else 0.0) from error
        raise OSError(reason) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            raise OSError(f"the server's certificate is not trusted here ({error.reason})") from error
        if isinstance(error.reason, TimeoutError):
            raise error.reason from error
        raise _UnreachableError(f"no connection ({error.reason})", 0.0) from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise OSError("the server sent a web page in place of the file (from a login or a proxy, perhaps)")
        resumed = response.status == 206
        sent = response.headers.get("Content-Range", "no range")
        if resumed and not sent.startswith(f"bytes {have}-"):
            raise OSError(f"asked for the bytes from {have} on, the server sent {sent}")
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = n_bytes if length is None else start + int(length)
        if n_bytes is not None and total != n_bytes:
            raise ValueError(f"{url} is a file of {total} bytes, expected {n_bytes}: it is not the file that was meant")
        etag = response.headers.get("ETag", "")
        # A weak one, W/"...", promises no equal bytes. Encrypted with a key of Amazon's, the ETag is no MD5.
        if etag.startswith('"'):
            plain_s3 = response.headers.get("Server") == "AmazonS3" and "kms" not in response.headers.get(
                "x-amz-server-side-encryption", ""
            )
            tag.write_text(f"s3:{etag}" if plain_s3 else etag, encoding="utf-8")
        elif not resumed:
            tag.unlink(missing_ok=True)
        # What has come is written as it comes, so that a process that is killed loses nothing of it.
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read1(_CHUNK):
                if start == 0 and file.tell() == 0 and chunk[:256].lstrip().lower().startswith(_PAGES):
                    raise OSError("the server sent a web page in place of the file (from a login or a proxy, perhaps)")
                file.write(chunk)
                file.flush()
                report(file.tell(), total)
                if stop.is_set():
                    raise _StoppedError(f"{url} was not fetched to its end")
            arrived = file.tell()
    if total is not None and arrived < total:
        raise http.client.IncompleteRead(b"", total - arrived)


_PAGES = (b"<!doctype html", b"<html", b"<?xml")  # no file that is fetched here begins so
