"""A web server that serves a folder as the public bucket does, with ranges and checksums, and misbehaves when told."""

import gc
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Bucket(ThreadingHTTPServer):
    """`faults` says by path what goes wrong, in every answer: a status, or html, altered, another_size, no_ranges,
    no_version, broken (half of what was asked for), or, where a part was asked for, fewer (half, and says so) or
    shifted; or, once, truncated or silent, and `then` what goes wrong afterwards. A function is asked when, and returns
    a status. `copies` are further names of files, `etags` stand in for a file's MD5, `n_sent` counts bytes of files.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.faults: dict[str, int | str | Callable[[], int]] = {}
        self.then: dict[str, int | str] = {}
        self.copies: dict[str, str] = {}
        self.etags: dict[str, str] = {}
        self.n_sent: Counter[str] = Counter()
        self.drip_s = 0.0  # pause before each answer
        self.asked: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: Bucket
    timeout = 10

    def version_string(self) -> str:
        return "AmazonS3"

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        name = unquote(urlsplit(self.path).path).lstrip("/")
        wanted = self.headers.get("Range")
        self.server.asked.append((name, wanted))
        fault, path = self.server.faults.get(name), self.server.folder / self.server.copies.get(name, name)
        if callable(fault):
            fault = fault()
        if isinstance(fault, int) or not path.is_file():
            self.send_error(fault if isinstance(fault, int) else 404)
            return
        size = path.stat().st_size
        etag = self.server.etags.get(name, f'"{_md5(path, size, path.stat().st_mtime_ns)}"')
        if fault == "no_ranges" or self.headers.get("If-Range") not in (None, etag):
            wanted = None
        first, _, last = (wanted or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last) + 1, size) if last else size
        if fault == "fewer" and wanted:
            stop -= (stop - start) // 2
        with path.open("rb") as file:
            file.seek(start)
            body = b"<html>Please log in</html>" if fault == "html" else file.read(stop - start)
        if fault == "another_size":
            size, body = size + 1, body + b"x" * (stop == size)
        if fault in ("truncated", "silent"):
            del self.server.faults[name]
            if name in self.server.then:
                self.server.faults[name] = self.server.then[name]
        if fault == "altered":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.server.closing.wait(self.server.drip_s)
        self.send_response(206 if wanted else 200)
        if wanted:
            shift = 5 * (fault == "shifted")
            self.send_header("Content-Range", f"bytes {start + shift}-{stop - 1 + shift}/{size}")
        if fault != "no_version":
            self.send_header("ETag", etag)
        self.send_header("Content-Type", "text/html" if fault == "html" else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        try:
            half = body[: len(body) // 2] if fault in ("truncated", "silent", "broken") else body
            self.server.n_sent[name] += len(half)
            self.wfile.write(half)
            if fault == "silent":
                self.server.closing.wait(20)
        except ConnectionError:
            pass
        self.close_connection = True


@cache
def _md5(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@contextmanager
def serving(folder: Path) -> Iterator[Bucket]:
    """The folder on a free port of this machine, while the block runs.

    No garbage is collected meanwhile: where h5py reads from this server it holds its lock until the server answers, and
    a thread of the server that frees objects of h5py waits for the lock.
    """
    collects = gc.isenabled()
    gc.disable()
    with Bucket(folder) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield running
        finally:
            running.closing.set()
            running.shutdown()
            thread.join(timeout=10)
            if collects:
                gc.enable()
