"""One https address into one file: resumed where it broke off, checked before it gets its name.

Recordings are gigabytes and connections break, so what has arrived stays beside the destination in a .part file and
the next request asks for the rest only (HTTP Range, RFC 9110 section 14). The file appears under its own name when
its size and sha256 are right.
"""

import hashlib
import http.client
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

_CHUNK = 1 << 20
_TIMEOUT_S = 60
_ATTEMPTS = 5  # requests that each brought something, before the user is asked to try again
_REASONS = {
    401: "the server asks for a login (401)",
    403: "the server refuses access (403): the address has expired, or needs a login or an accepted licence",
    404: "the server has no such file (404): it was moved or taken away",
    429: "the server has had too many requests (429): try again later",
}


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
        Hexadecimal digest; None where none is known: then the size that the server states is all that is checked.

    Raises
    ------
    OSError
        The file cannot be had now: no network, a broken connection (what arrived is kept), a refusal, a web page in
        place of the file, too little space. The message says which.
    ValueError
        The server offers a file of another size or sent other bytes; nothing is kept of these.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    missing, free = (n_bytes or 0) - _size(part), shutil.disk_usage(path.parent).free
    if missing > free:
        raise OSError(f"{size_text(missing)} to go, but {path.parent} has only {size_text(free)} free")
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn(path.name), *columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(path.name, total=n_bytes)

        def report(done: int, total: int | None) -> None:
            progress.update(task, completed=done, total=total)

        for attempt in range(1, _ATTEMPTS + 1):
            before = _size(part)
            try:
                _receive(url, part, n_bytes, report)
                break
            except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
                if attempt == _ATTEMPTS or _size(part) <= before:
                    raise OSError(
                        f"the connection broke ({type(error).__name__}) after {_size(part)} bytes; they are kept, and "
                        "the next try goes on from there"
                    ) from error
    if sha256 is not None and sha256_of(part) != sha256:
        found = sha256_of(part)
        part.unlink()  # resuming would keep the wrong bytes for ever
        raise ValueError(
            f"{url} sent a file with sha256 {found}, expected {sha256}. "
            "It was not kept; look for a proxy or a mirror in between"
        )
    os.replace(part, path)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(url: str, part: Path, n_bytes: int | None, report: Callable[[int, int | None], None]) -> None:
    """One request: append to `part` what it lacks, or write it anew if the server knows no ranges."""
    have = _size(part)
    request = urllib.request.Request(url, headers={"User-Agent": "spikevaediff", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it had arrived
        if error.code == 416:
            part.unlink()  # longer than the file: left by another version of it
            return _receive(url, part, n_bytes, report)
        raise OSError(_REASONS.get(error.code, f"the server answered {error.code} {error.reason}")) from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLError):
            raise OSError(f"the server's certificate is not trusted here ({error.reason})") from error
        raise OSError(f"no connection ({error.reason})") from error
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
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                report(file.tell(), total)
            arrived = file.tell()
    if total is not None and arrived < total:
        raise http.client.IncompleteRead(b"", total - arrived)
