"""Https addresses into files: resumed where they broke off, checked before they get their names.

Recordings are gigabytes and connections break, so what has arrived stays beside the destination in a .part file and
the next request asks for the rest only (HTTP Range, RFC 9110 section 14), on the condition that the server still has
the same file (If-Range, with what the server said of it kept in .part.json). The file appears under its own name when
its size and sha256 are right, or where nobody publishes a sha256, what servers state of it (see `one_request`).
"""

import http.client
import json
import os
import queue
import shutil
import sys
import threading
import urllib.error
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from spikevaediff.files.checksums import agrees_with_etag, digest, git_sha1_of, sha256_of, size_text
from spikevaediff.files.one_request import (
    ATTEMPTS,
    BusyError,
    Stated,
    UnreachableError,
    answers_to,
    check_kind,
    pause_s,
    refusal,
    request_for,
    stated_by,
)

N_AT_ONCE = 4  # connections; servers give one no more than a share of a fast line
_CHUNK = 1 << 20
_PAGES = (b"<!doctype html", b"<html", b"<?xml")  # no file that is fetched here begins so


@dataclass(frozen=True)
class File:
    """One file to fetch; most fields are the parameters of `download`.

    git_sha1 : str or None; what Git calls the file in the commit that the address names, see `git_sha1_of`.
    others : tuple of str; further addresses of the same bytes, tried in turn where `url` fails. Only with a sha256 or
    git_sha1, which alone tell that they are the same.
    """

    url: str
    path: Path
    n_bytes: int | None = None
    sha256: str | None = None
    about: int | None = None
    others: tuple[str, ...] = ()
    git_sha1: str | None = None

    def __post_init__(self) -> None:
        if self.others and self.sha256 is None and self.git_sha1 is None:
            raise ValueError(f"{self.url} has a second address and no hash, which would tell that both are one file")


def download(url: str, path: Path, *, n_bytes: int | None, sha256: str | None, about: int | None = None) -> Stated:
    """Fetch a file, continuing where an earlier call stopped.

    Parameters
    ----------
    url : str
    path : Path
        The destination; `path.part` beside it holds what has arrived so far.
    n_bytes : int or None
        Size of the file; None where only the server knows it.
    sha256 : str or None
        Hexadecimal digest, or its first digits; None where none is known: then what servers state of the file is
        checked.
    about : int or None
        Where n_bytes is None: its size to a factor of two. A page that says "blocked" is smaller.

    Returns
    -------
    Stated
        What the servers said of it.

    Raises
    ------
    OSError
        The file cannot be fetched now: no network, a broken or silent connection (what arrived is kept), a refusal, a
        web page in place of the file, too little space. The message says which.
    ValueError
        The server offers a file of another size or sent other bytes; nothing is kept of these.
    """
    return download_all([File(url, path, n_bytes, sha256, about)], n_at_once=1)[0]


def download_all(files: Sequence[File], *, n_at_once: int = N_AT_ONCE) -> list[Stated]:
    """Fetch several files side by side; each is resumed and checked as by `download`.

    When one of them cannot be fetched, the others stop as well and keep what has arrived: the next call continues from
    there. An interruption (Ctrl-C) ends the call at once.

    Parameters
    ----------
    files : sequence of File
        Those that exist already are fetched again.
    n_at_once : int
        Connections at a time.

    Returns
    -------
    list of Stated, as the files

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
        missing = sum(max(0, (file.n_bytes or file.about or 0) - _size(_part(file.path))) for file in group)
        folder = group[0].path.parent
        free = shutil.disk_usage(folder).free
        if missing > free:
            raise OSError(f"{size_text(missing)} to go, but {folder} has only {size_text(free)} free")
    gate = _Gate()
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for i in range(len(files)):
        waiting.put(i)
    ended: queue.SimpleQueue[tuple[int, Stated | BaseException]] = queue.SimpleQueue()
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=Console(stderr=True), transient=True) as progress:
        each = [progress.add_task(file.path.name, total=file.n_bytes, visible=False) for file in files]

        def work() -> None:
            while not gate.shut.is_set():
                try:
                    i = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    stated = _fetch(files[i], lambda done, total, i=i: update(i, done, total), gate)  # type: ignore[misc]
                    progress.update(each[i], visible=len(files) == 1)
                    ended.put((i, stated))
                except BaseException as error:
                    ended.put((i, error))

        def update(i: int, done: int, total: int | None) -> None:
            progress.update(each[i], completed=done, total=total, visible=True)

        # Daemons: a thread that waits for a silent server would otherwise keep the process after an interruption.
        n_threads = min(n_at_once, len(files))
        threads = [threading.Thread(target=work, name=f"fetching {i}", daemon=True) for i in range(n_threads)]
        for thread in threads:
            thread.start()
        found: dict[int, Stated] = {}
        try:
            while len(found) < len(files):
                i, outcome = ended.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                found[i] = outcome
        finally:  # an error or an interruption by the user ends here, without waiting for a silent server
            gate.close()
    return [found[i] for i in range(len(files))]


class _StoppedError(OSError):
    """Another file failed first."""


class _Gate:
    """Threads touch files only through it. Once it is closed none does, though some may still wait for a server: the
    next call has the files to itself.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.shut = threading.Event()

    @contextmanager
    def passing(self, file: File) -> Iterator[None]:
        """The files do not change hands while the block runs; _StoppedError where they have."""
        with self._lock:
            if self.shut.is_set():
                raise _StoppedError(f"{file.url} was not fetched to its end")
            yield

    def close(self) -> None:
        with self._lock:
            self.shut.set()


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _fetch(file: File, report: Callable[[int, int | None], None], gate: _Gate) -> Stated:
    """The file from the first of its addresses that has it; what one of them sent is continued from the next."""
    failed: list[OSError | ValueError] = []
    for url in (file.url, *file.others):
        try:
            return _fetch_one(replace(file, url=url, others=()), report, gate)
        except _StoppedError:
            raise
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # of the disk
            failed.append(error)
            if url != (file.url, *file.others)[-1]:
                print(f"{url} fails ({error}); its copy is tried", file=sys.stderr, flush=True)
    if len(failed) == 1:
        raise failed[0]
    says = str(failed[0]) + "".join(
        f"; nor from {url}: {error}" for url, error in zip(file.others, failed[1:], strict=True)
    )
    raise (OSError if any(isinstance(error, OSError) for error in failed) else ValueError)(says) from failed[-1]


def _fetch_one(file: File, report: Callable[[int, int | None], None], gate: _Gate) -> Stated:
    """Requests to one address until the file is whole, and its check."""
    part, note = _part(file.path), _note(file.path)
    with gate.passing(file):
        stated = _earlier(file, part, note)
    barren, stuck = 0, 0  # requests in a row that brought little; that began anew and came no further than before
    began = furthest = _size(part)
    while True:
        before, came = _size(part), 0

        def count(n: int, done: int, total: int | None) -> None:
            nonlocal came
            came += n
            report(done, total)

        try:
            _receive(file, part, note, stated, count, gate)
            break
        except (http.client.HTTPException, ConnectionError, TimeoutError, BusyError) as error:
            barren = 0 if came >= _CHUNK else barren + 1
            stuck = stuck + 1 if came and _size(part) <= furthest else 0
            furthest = max(furthest, _size(part))
            busy = isinstance(error, BusyError)
            if isinstance(error, UnreachableError) and _size(part) <= began:
                raise OSError(str(error)) from error  # there is no network; one that was there may come back
            no_gain = barren > 1 and (came == 0 or _size(part) == before)
            if max(barren, stuck) == ATTEMPTS or (no_gain and not busy):
                if busy:
                    raise OSError(str(error)) from error
                what = "went silent" if isinstance(error, TimeoutError) else "broke"
                kept = "they are kept, and the next try continues from there"
                if stuck:
                    kept = "this server cannot resume, so that every try starts over"
                raise OSError(
                    f"the connection {what} ({type(error).__name__}) after {_size(part)} bytes; {kept}"
                ) from error
            if gate.shut.wait(pause_s(barren, error)):
                raise _StoppedError(f"{file.url} was not fetched to its end") from error
    wrong = _disagreement(file, part, stated)
    with gate.passing(file):
        note.unlink(missing_ok=True)
        if wrong:
            part.unlink()  # resuming would keep the wrong bytes forever
        else:
            os.replace(part, file.path)
    if wrong:
        raise ValueError(f"{file.url} sent a file {wrong}. It was not kept; look for a proxy or a mirror in between")
    return stated


def _note(path: Path) -> Path:
    return path.with_name(path.name + ".part.json")


def _read_note(note: Path) -> Stated | None:
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
        return Stated(**{field.name: said[field.name] for field in fields(Stated)})
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _earlier(file: File, part: Path, note: Path) -> Stated:
    """What is known of the part that an earlier call left. One that nothing ties to this file is discarded."""
    stated = _read_note(note)
    if stated is None or stated.url != file.url or not stated.ties:
        if file.sha256 is None and file.git_sha1 is None:
            part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        return Stated(file.url)
    return stated


def _disagreement(file: File, path: Path, stated: Stated) -> str | None:
    """How a file differs from what is known of it; None: it does not."""
    if file.sha256 is not None and not (found := sha256_of(path)).startswith(file.sha256):
        return f"with sha256 {found}, expected {file.sha256}"
    if file.git_sha1 is not None and (found := git_sha1_of(path)) != file.git_sha1:
        return f"with the Git hash {found}, expected {file.git_sha1}"
    if stated.sha256 and (found := sha256_of(path)) != stated.sha256:
        return f"with sha256 {found}, and the server states {stated.sha256}"
    if stated.git_sha1 and (found := git_sha1_of(path)) != stated.git_sha1:
        return f"with the Git hash {found}, and the server states {stated.git_sha1}"
    if stated.md5 and (found := digest(path, "md5")) != stated.md5:
        return f"with MD5 {found}, and the server states {stated.md5}"
    if stated.s3_etag and file.sha256 is None and agrees_with_etag(path, stated.s3_etag) is False:
        return f"that does not have the checksum which Amazon S3 states, {stated.s3_etag}"
    return None


def _receive(
    file: File,
    part: Path,
    note: Path,
    stated: Stated,
    count: Callable[[int, int, int | None], None],
    gate: _Gate,
) -> None:
    """One request: append to `part` what it lacks, or write it anew if the server has another file or no ranges.

    `stated` is what is known of the part, and becomes what this answer says.
    """
    have = _size(part)
    if not (stated.ties or stated.total or file.n_bytes or file.sha256 or file.git_sha1):
        have = 0  # nothing would tell that the rest is of another version of the file
    request = request_for(file.url, stated)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if condition := stated.etag or stated.modified:
            request.add_header("If-Range", condition)
    try:
        response, answers = answers_to(request)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it had arrived
        if error.code == 416:
            with gate.passing(file):
                part.unlink()  # longer than the file: left by another version of it
            vars(stated).update(asdict(Stated(file.url)))
            return _receive(file, part, note, stated, count, gate)
        raise refusal(error) from error
    with response:
        check_kind(response)
        resumed = response.status == 206
        sent = response.headers.get("Content-Range", "no range")
        if resumed and not sent.startswith(f"bytes {have}-"):
            raise OSError(f"asked for the bytes from {have} on, the server sent {sent}")
        start = have if resumed else 0
        said = stated_by(file.url, answers, response.status)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else said.total or file.n_bytes
        if resumed and (whole := sent.rpartition("/")[2]).isdecimal():
            total = int(whole)  # a server may send less than the rest, and is then asked again
        _check_size(file, total, said.total, stated.total if resumed else None)
        if resumed:  # the condition held, so that what was said of it before holds as well
            for name in ("sha256", "git_sha1", "md5", "s3_etag", "commit"):
                setattr(said, name, getattr(said, name) or getattr(stated, name))
        said.total = total
        vars(stated).update(asdict(said))
        if total is None and not response.chunked and not (stated.is_checkable or file.sha256 or file.git_sha1):
            raise OSError(
                "the server does not say how long the file is, and no checksum of it is known: a cut connection could "
                "not be told from its end"
            )
        if file.sha256 and stated.sha256 and not stated.sha256.startswith(file.sha256):
            raise ValueError(
                f"{file.url} is now a file with sha256 {stated.sha256}, expected {file.sha256}: it was replaced"
            )
        with gate.passing(file):
            if stated.ties:
                note.write_text(json.dumps(asdict(stated)), encoding="utf-8")
            else:
                note.unlink(missing_ok=True)
            out = part.open("ab" if resumed else "wb")
        # What has come is written as it comes, so that a process that is killed loses nothing of it.
        with out:
            while chunk := response.read1(_CHUNK):
                if start == 0 and out.tell() == 0 and chunk[:256].lstrip().lower().startswith(_PAGES):
                    raise OSError("the server sent a web page in place of the file (from a login or a proxy, perhaps)")
                with gate.passing(file):
                    out.write(chunk)
                    out.flush()
                count(len(chunk), out.tell(), total)
            arrived = out.tell()
    if total is not None and arrived < total:
        raise http.client.IncompleteRead(b"", total - arrived)
    _check_size(file, arrived, total)


def _check_size(file: File, total: int | None, *stated: int | None) -> None:
    """Refuse a file of another size than expected, or of two sizes."""
    if total is None:
        return
    meant = "it is not the file that was meant"
    if file.n_bytes is not None and total != file.n_bytes:
        raise ValueError(f"{file.url} is a file of {total} bytes, expected {file.n_bytes}: {meant}")
    if file.about is not None and not file.about / 2 <= total <= 2 * file.about:
        raise ValueError(f"{file.url} is a file of {total} bytes, expected about {size_text(file.about)}: {meant}")
    for other in stated:
        if other is not None and total != other:
            raise ValueError(f"{file.url} is a file of {total} bytes, and the server stated {other}")
