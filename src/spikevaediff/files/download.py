"""Https addresses into files: resumed where they broke off, checked before they get their names.

Recordings are gigabytes and connections break, so what has arrived stays beside the destination in a .part file and
the next request asks for the rest only (HTTP Range, RFC 9110 section 14), on the condition that the server still has
the same file (If-Range, with what the server said of it kept in .part.json). The file appears under its own name when
its size and sha256 are right. Where nobody publishes a sha256, what servers state of a file is compared: the hub of
Hugging Face (X-Linked-ETag and X-Linked-Size, in the answer that redirects), Azure (Content-MD5), Amazon S3 (ETag).
"""

import base64
import binascii
import hashlib
import http.client
import json
import os
import queue
import re
import shutil
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from email.message import Message
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
    407: "the proxy asks for a login (407): name it in the address, https_proxy=http://USER:PASSWORD@HOST:PORT",
    429: "the server has had too many requests (429): try again later",
    503: "the server answered 503, it is busy or down: try again later",
}
# Azure answers requests that name no version as it did in 2009, when it could not continue a file from a byte on.
_AZURE, _AZURE_VERSION = re.compile(r"\.(blob\.core\.windows|azureedge)\.net$"), "2020-04-08"
# Sizes of parts in which files are sent to Amazon S3, MiB: defaults of the usual programs.
_PARTS_MIB = (8, 16, 5, 64, 100)


@dataclass(frozen=True)
class File:
    """One file to fetch; the fields are the parameters of `download`.

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


@dataclass
class Stated:
    """What servers said of a file while it was fetched; empty where they said nothing.

    url : str; the address that was asked for.
    total : int or None; bytes.
    etag, modified : str; what tells one version of it from another: an ETag that promises equal bytes, or a date.
    sha256, git_sha1, md5 : str; hexadecimal digests; git_sha1 is that of Git's blob, the hub's for small files.
    s3_etag : str; of Amazon S3, which may be an MD5.
    commit : str; of the hub's repository.
    is_azure : bool
    """

    url: str
    total: int | None = None
    etag: str = ""
    modified: str = ""
    sha256: str = ""
    git_sha1: str = ""
    md5: str = ""
    s3_etag: str = ""
    commit: str = ""
    is_azure: bool = False

    @property
    def is_checkable(self) -> bool:
        """Whether the bytes can be compared with something."""
        return bool(self.sha256 or self.git_sha1 or self.md5 or re.fullmatch(r'"[0-9a-f]{32}"', self.s3_etag))

    @property
    def ties(self) -> bool:
        """Whether a part that was left can be told from one of another version of the file."""
        return bool(self.etag or self.modified or self.is_checkable)


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


def download(
    url: str,
    path: Path,
    *,
    n_bytes: int | None,
    sha256: str | None,
    about: int | None = None,
    git_sha1: str | None = None,
) -> Stated:
    """Fetch a file, going on where an earlier call stopped.

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
    git_sha1 : str or None
        What Git calls the file in the commit that the address names; see `git_sha1_of`.

    Returns
    -------
    Stated
        What the servers said of it.

    Raises
    ------
    OSError
        The file cannot be had now: no network, a broken or silent connection (what arrived is kept), a refusal, a web
        page in place of the file, too little space. The message says which.
    ValueError
        The server offers a file of another size or sent other bytes; nothing is kept of these.
    """
    return download_all([File(url, path, n_bytes, sha256, about, git_sha1=git_sha1)], n_at_once=1)[0]


def download_all(files: Sequence[File], *, n_at_once: int) -> list[Stated]:
    """Fetch several files side by side; each is resumed and checked as by `download`.

    When one of them cannot be had, the others stop as well and keep what has arrived: whoever calls again goes on from
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
    """The file from the first of its addresses that has it; what one of them sent is gone on with from the next."""
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
        except (http.client.HTTPException, ConnectionError, TimeoutError, _BusyError) as error:
            barren = 0 if came >= _CHUNK else barren + 1
            stuck = stuck + 1 if came and _size(part) <= furthest else 0
            furthest = max(furthest, _size(part))
            busy = isinstance(error, _BusyError)
            if isinstance(error, _UnreachableError) and _size(part) <= began:
                raise OSError(str(error)) from error  # there is no network; one that was there may come back
            no_gain = barren > 1 and (came == 0 or _size(part) == before)
            if max(barren, stuck) == _ATTEMPTS or (no_gain and not busy):
                if busy:
                    raise OSError(str(error)) from error
                what = "went silent" if isinstance(error, TimeoutError) else "broke"
                kept = "they are kept, and the next try goes on from there"
                if stuck:
                    kept = "this server cannot go on from a byte, so that every try begins anew"
                raise OSError(
                    f"the connection {what} ({type(error).__name__}) after {_size(part)} bytes; {kept}"
                ) from error
            if gate.shut.wait(_pause_s(barren, error)):
                raise _StoppedError(f"{file.url} was not fetched to its end") from error
    wrong = _disagreement(file, part, stated)
    with gate.passing(file):
        note.unlink(missing_ok=True)
        if wrong:
            part.unlink()  # resuming would keep the wrong bytes for ever
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
    """What is known of the part that an earlier call left. One that nothing ties to this file is not gone on with."""
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
    if stated.md5 and (found := _digest(path, "md5")) != stated.md5:
        return f"with MD5 {found}, and the server states {stated.md5}"
    if stated.s3_etag and file.sha256 is None and agrees_with_etag(path, stated.s3_etag) is False:
        return f"that does not have the checksum which Amazon S3 states, {stated.s3_etag}"
    return None


def _digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def git_sha1_of(path: Path) -> str:
    """What Git calls a file: the SHA-1 of "blob", its size and its bytes."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def agrees_with_etag(path: Path, etag: str) -> bool | None:
    """Whether a file has the MD5 that Amazon S3 states in an ETag; None where the ETag states none that can be checked.

    An object that was sent whole has its MD5 as its ETag, one that was sent in n parts the MD5 of the MD5s of the parts
    and "-n". The size of the parts is not stated: the usual ones are tried, and only an agreement says anything.
    """
    match = re.fullmatch(r'"?([0-9a-f]{32})(?:-(\d+))?"?', etag)
    if match is None:
        return None
    if match[2] is None:
        return _digest(path, "md5") == match[1]
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


class ReplacedError(ValueError):
    """A server has another version of a file than the one of which it has sent parts."""


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects and keeps what each answer said: the hub states its checksums in the one that redirects."""

    def __init__(self) -> None:
        self.said: list[Message] = []

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.said.append(headers)
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            fp.close()
            raise OSError(f"the server sends on to {newurl}, over a connection that anybody can alter")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(request: urllib.request.Request) -> tuple[http.client.HTTPResponse, list[Message]]:
    """The answer to a request, and the headers of all answers on the way to it; errors as one readable line."""
    address = urlsplit(request.full_url)
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme, "")
    if proxy.startswith("socks") and not urllib.request.proxy_bypass(address.hostname or ""):
        raise OSError(
            f"{address.scheme}_proxy is {proxy}: SOCKS is not spoken here. Name an http proxy, or fetch the file by "
            "other means"
        )
    redirects = _Redirects()
    try:
        response = urllib.request.build_opener(redirects).open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        cause = error.reason
        if isinstance(cause, ssl.SSLError):
            raise OSError(
                f"the server's certificate is not trusted here ({cause}). Where a proxy opens connections, name the "
                "file of its certificate: SSL_CERT_FILE=/path/to/certificate.pem"
            ) from error
        if isinstance(cause, TimeoutError):
            raise cause from error
        if "Tunnel connection failed" in str(cause):
            raise OSError(f"the proxy does not let {address.hostname} through ({cause})") from error
        unused = proxies.get("all", "")
        hint = f"; all_proxy is {unused}, and SOCKS is not spoken here" if unused.startswith("socks") else ""
        raise _UnreachableError(f"no connection ({cause}{hint})", 0.0) from error
    return response, [*redirects.said, response.headers]


def _said(url: str, answers: Sequence[Message], status: int) -> Stated:
    """What the answers to one request say of the file."""
    last = answers[-1]
    stated = Stated(url, modified=last.get("Last-Modified", ""), is_azure="x-ms-version" in last)
    etag = last.get("ETag", "")
    # A weak one, W/"...", promises no equal bytes.
    stated.etag = etag if etag.startswith('"') else ""
    # Encrypted with a key of Amazon's, the ETag is no MD5.
    if last.get("Server") == "AmazonS3" and "kms" not in last.get("x-amz-server-side-encryption", ""):
        stated.s3_etag = stated.etag
    for headers in answers:
        if "X-Repo-Commit" in headers:  # the hub
            stated.commit = headers["X-Repo-Commit"]
            tag = str(headers.get("X-Linked-ETag") or headers.get("ETag", "")).removeprefix("W/").strip('"')
            stated.sha256 = tag if re.fullmatch("[0-9a-f]{64}", tag) else ""
            stated.git_sha1 = tag if re.fullmatch("[0-9a-f]{40}", tag) else ""
        if (size := headers.get("X-Linked-Size", "")).isdecimal():
            stated.total = int(size)
    # Of a part of a file, Content-MD5 is the sum of the part.
    sums = last.get("Content-MD5", "") if status == 200 else last.get("x-ms-blob-content-md5", "")
    try:
        stated.md5 = base64.b64decode(sums, validate=True).hex()
    except binascii.Error:
        stated.md5 = ""
    if len(stated.md5) != 32:
        stated.md5 = ""
    return stated


def _request(url: str, stated: Stated) -> urllib.request.Request:
    request = urllib.request.Request(url, headers={"User-Agent": "spikevaediff", "Accept-Encoding": "identity"})
    if stated.is_azure or _AZURE.search(urlsplit(url).hostname or ""):
        request.add_header("x-ms-version", _AZURE_VERSION)
    return request


def _refusal(error: urllib.error.HTTPError) -> OSError | _BusyError:
    """What a server says by a status, and whether it is worth another try."""
    reason = _REASONS.get(error.code, f"the server answered {error.code} {' '.join(str(error.reason).split())}")
    if error.code not in _BUSY:
        return OSError(reason)
    after = error.headers.get("Retry-After", "")
    return _BusyError(reason, float(after) if after.isdecimal() else 0.0)


def _check_kind(response: http.client.HTTPResponse) -> None:
    """Refuse what is not the file as it is."""
    if response.headers.get_content_type() == "text/html":
        raise OSError("the server sent a web page in place of the file (from a login or a proxy, perhaps)")
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise OSError(f"the server sent the file as {coding}, though it was asked not to: a proxy in between, perhaps")


def _pause_s(barren: int, error: Exception) -> float:
    """How long to wait before the next request, after so many in a row that brought little."""
    asked = max(_PAUSE_S * 2 ** (barren - 1), error.after_s) if isinstance(error, _BusyError) else _PAUSE_S
    return min(asked, _LONGEST_PAUSE_S)


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
    request = _request(file.url, stated)
    if have:
        request.add_header("Range", f"bytes={have}-")
        if condition := stated.etag or stated.modified:
            request.add_header("If-Range", condition)
    try:
        response, answers = _open(request)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it had arrived
        if error.code == 416:
            with gate.passing(file):
                part.unlink()  # longer than the file: left by another version of it
            vars(stated).update(asdict(Stated(file.url)))
            return _receive(file, part, note, stated, count, gate)
        raise _refusal(error) from error
    with response:
        _check_kind(response)
        resumed = response.status == 206
        sent = response.headers.get("Content-Range", "no range")
        if resumed and not sent.startswith(f"bytes {have}-"):
            raise OSError(f"asked for the bytes from {have} on, the server sent {sent}")
        start = have if resumed else 0
        said = _said(file.url, answers, response.status)
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


_PAGES = (b"<!doctype html", b"<html", b"<?xml")  # no file that is fetched here begins so


# ---- parts of files


def read_part(url: str, start: int, stop: int, known: Stated | None) -> tuple[bytes, Stated]:
    """The bytes from `start` to `stop`, exclusive, of a file that is not fetched as a whole.

    A connection that breaks is taken up where it broke, and a busy server is asked again, as by `download`.

    Parameters
    ----------
    url : str
    start, stop : int
        Within the file, stop after start.
    known : Stated or None
        What an earlier part came with; None: this is the first one.

    Returns
    -------
    bytes, (stop - start,)
    Stated
        What the server said of the file: its size and its ETag or date.

    Raises
    ------
    OSError
        As `download`; or the server sends the whole file, other bytes than asked for, or says nothing by which one
        version of the file could be told from another.
    ReplacedError
        The file is not the one that `known` is of.
    """
    content, failures = bytearray(), 0
    while True:
        try:
            known = _receive_part(url, start, stop, known, content)
            return bytes(content), known
        except (http.client.HTTPException, ConnectionError, TimeoutError, _BusyError) as error:
            failures += 1
            unreachable = isinstance(error, _UnreachableError) and known is None
            if failures == _ATTEMPTS or unreachable:
                if isinstance(error, _BusyError):
                    raise OSError(str(error)) from error
                what = "went silent" if isinstance(error, TimeoutError) else "broke"
                at = start + len(content)
                raise OSError(f"the connection {what} at byte {at} ({type(error).__name__})") from error
            time.sleep(_pause_s(failures, error))


def _receive_part(url: str, start: int, stop: int, known: Stated | None, content: bytearray) -> Stated:
    """Requests that append to `content` what it lacks of the part."""
    while len(content) < stop - start:
        at = start + len(content)
        request = _request(url, known or Stated(url))
        request.add_header("Range", f"bytes={at}-{stop - 1}")
        try:
            response, answers = _open(request)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:
                raise OSError(f"the file ends before byte {at} ({error.headers.get('Content-Range')})") from error
            raise _refusal(error) from error
        with response:
            _check_kind(response)
            said = _said(url, answers, response.status)
            sent = response.headers.get("Content-Range", "no range")
            match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", sent)
            if response.status != 206:
                raise OSError("the server sends the whole file where a part was asked for: it cannot be read in parts")
            if match is None or int(match[1]) != at or not at <= int(match[2]) < stop:
                raise OSError(f"asked for the bytes {at}-{stop - 1}, the server sent {sent}")
            said.total = int(match[3])
            if not (said.etag or said.modified):
                raise OSError("the server states neither ETag nor date: parts of two versions could not be told apart")
            for name in ("total", "etag", "modified"):
                if known is not None and getattr(known, name) != getattr(said, name):
                    was, now = getattr(known, name), getattr(said, name)
                    raise ReplacedError(f"{url} was replaced while it was read: its {name} was {was} and is {now}")
            known, end = said, int(match[2]) + 1
            while start + len(content) < end:
                chunk = response.read1(end - start - len(content))
                if not chunk:
                    raise http.client.IncompleteRead(b"", end - start - len(content))
                content += chunk
    assert known is not None
    return known
