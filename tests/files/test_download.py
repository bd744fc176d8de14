"""Downloads against a real server on this machine, well behaved and not."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.files import download as module
from spikevaediff.files import one_request
from spikevaediff.files.checksums import agrees_with_etag, sha256_of, size_text
from spikevaediff.files.download import File, download, download_all

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    """What it does wrong is set by the test; what it was asked is kept."""

    content = CONTENT
    ranges = True
    stops_after: int | None = None  # bytes of each answer, then the connection is cut
    silent_after: int | None = None  # bytes of each answer, then nothing more comes
    drip_s = 0.0  # pause after each 10 kB
    status = 200
    busy = 0  # answers of 503 before the first good one
    page = False
    page_as_file = False
    shift = 0
    etag: str | None = None
    server_name: str | None = None
    before: Callable[["_Handler"], None] = staticmethod(lambda handler: None)

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.asked: list[str | None] = []
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.bin"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        with suppress(ConnectionError):  # the client was killed
            self.answer()
        self.close_connection = True

    def version_string(self) -> str:
        return self.server.server_name or super().version_string()

    def answer(self) -> None:
        server, content = self.server, self.server.content
        server.before(self)
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if self.headers.get("If-Range") not in (None, server.etag):
            wanted = None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and server.ranges else 0
        if server.busy:
            server.busy -= 1
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if server.status != 200 or "absent" in self.path:
            self.send_error(404 if "absent" in self.path else server.status)
            return
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = b"  <!DOCTYPE html><title>Log in</title>" if server.page_as_file else content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start + server.shift}-{len(content) - 1}/{len(content)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Type", "text/html" if server.page else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        limit = server.stops_after if server.silent_after is None else server.silent_after
        body = body[:limit]
        for first in range(0, len(body), 10_000):
            self.wfile.write(body[first : first + 10_000])
            server.closing.wait(server.drip_s)
        if server.silent_after is not None:
            server.closing.wait(20)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_Server]:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join(timeout=10)


def test_a_file_arrives_whole_and_nothing_lies_beside_it(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "weights.bin"
    download(server.url, path, n_bytes=len(CONTENT), sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["weights.bin"]
    assert server.asked == [None]


def test_a_cut_connection_is_taken_up_where_it_broke(server: _Server, tmp_path: Path) -> None:
    server.stops_after = 400_000
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.asked == [None, "bytes=400000-", "bytes=800000-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_kept(server: _Server, tmp_path: Path) -> None:
    server.stops_after = 100_000
    with pytest.raises(OSError, match=r"connection broke .* after 500000 bytes; they are kept"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert not (tmp_path / "w").exists()
    server.stops_after, server.asked = None, []
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert server.asked == ["bytes=500000-"]


def test_a_server_without_ranges_is_read_from_the_start_again(server: _Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "w.part").write_bytes(CONTENT[:1234])
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_a_server_that_cuts_and_knows_no_ranges_is_given_up(server: _Server, tmp_path: Path) -> None:
    server.ranges, server.stops_after = False, 1000
    with pytest.raises(OSError, match="connection broke"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert len(server.asked) == 2


def test_wrong_bytes_are_refused_and_not_kept(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"sha256 {SHA256}, expected 0000"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256="0000")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_start_of_a_kept_part_is_found_by_the_hash(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "w.part").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="It was not kept"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_refused_before_it_is_read(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a file of 1024000 bytes, expected 7"):
        download(server.url, tmp_path / "w", n_bytes=7, sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_without_a_known_size_or_hash_the_servers_size_is_checked(server: _Server, tmp_path: Path) -> None:
    server.stops_after = 600_000
    download(server.url, tmp_path / "w", n_bytes=None, sha256=None)
    assert (tmp_path / "w").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, "login"),
        (403, "refuses"),
        (404, "no such file"),
        (429, "too many"),
        (503, "answered 503, it is busy or down: try again later"),
    ],
)
def test_a_refusal_is_named(server: _Server, tmp_path: Path, status: int, says: str) -> None:
    server.status = status
    with pytest.raises(OSError, match=says):
        download(server.url, tmp_path / "w", n_bytes=None, sha256=None)


def test_a_web_page_is_not_taken_for_the_file(server: _Server, tmp_path: Path) -> None:
    server.page = True
    with pytest.raises(OSError, match="web page in place of the file"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)


def test_another_range_than_asked_for_is_refused(server: _Server, tmp_path: Path) -> None:
    server.shift = 5
    (tmp_path / "w.part").write_bytes(CONTENT[:1000])
    with pytest.raises(OSError, match="from 1000 on, the server sent bytes 1005-"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)


def test_no_server_is_reported_as_no_connection(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match="no connection"):
        download(f"http://127.0.0.1:{port}/w", tmp_path / "w", n_bytes=None, sha256=None)


def test_too_little_space_is_reported_before_the_first_byte(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"1e\+09 GB to go|GB to go, but .* has only"):
        download(server.url, tmp_path / "w", n_bytes=10**15, sha256=None)
    assert server.asked == []


def test_the_hash_of_a_file_is_computed_anew_when_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"one")
    assert sha256_of(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"three")
    assert sha256_of(path) == hashlib.sha256(b"three").hexdigest()


def test_sizes_read_well() -> None:
    sizes = [9, 6_009, 9_315_422, 130_050_552, 2_210_000_000]
    assert [size_text(n) for n in sizes] == ["9 bytes", "6.01 kB", "9.32 MB", "130 MB", "2.21 GB"]


# ---- Servers that misbehave for a while


def test_a_busy_server_is_asked_again(server: _Server, tmp_path: Path) -> None:
    server.busy = 3
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert len(server.asked) == 4


def test_a_silent_connection_is_taken_up_where_it_fell_silent(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_request, "_TIMEOUT_S", 1.0)
    server.silent_after = 600_000
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_server_that_never_speaks_is_given_up_with_the_reason(
    server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_request, "_TIMEOUT_S", 0.5)
    server.silent_after = 0
    with pytest.raises(OSError, match=r"connection went silent \(TimeoutError\) after 0 bytes"):
        download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)


def test_a_network_that_goes_away_for_a_while_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.3)
    first = _Server()
    first.stops_after = 300_000
    port = first.server_address[1]
    second: list[_Server] = []

    def goes_and_comes_back() -> None:
        first.handle_request()
        first.server_close()
        time.sleep(0.6)
        second.append(_Server(port))
        second[0].handle_request()

    thread = threading.Thread(target=goes_and_comes_back)
    thread.start()
    download(f"http://127.0.0.1:{port}/w", tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    thread.join(timeout=10)
    second[0].server_close()
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert second[0].asked == ["bytes=300000-"]


def test_a_page_that_calls_itself_a_file_is_not_taken_for_it(server: _Server, tmp_path: Path) -> None:
    server.page_as_file = True
    with pytest.raises(OSError, match="web page in place of the file"):
        download(server.url, tmp_path / "w", n_bytes=None, sha256=None)
    assert not (tmp_path / "w").exists()


FETCH = """
import sys
from pathlib import Path
from spikevaediff.files.download import download
download(sys.argv[1], Path(sys.argv[2]), n_bytes=int(sys.argv[3]), sha256=sys.argv[4])
"""


def test_a_process_killed_at_any_byte_is_taken_up_by_the_next(server: _Server, tmp_path: Path) -> None:
    path = tmp_path / "w"
    part = tmp_path / "w.part"
    command = [sys.executable, "-c", FETCH, server.url, str(path), str(len(CONTENT)), SHA256]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    server.drip_s = 0.02
    kept = []
    for share in (0.01, 0.35, 0.7):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            if part.exists() and part.stat().st_size > share * len(CONTENT):
                break
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not path.exists()
        kept.append(part.stat().st_size)
        assert part.read_bytes() == CONTENT[: kept[-1]]
    assert kept == sorted(kept)
    server.drip_s, server.asked = 0.0, []
    download(server.url, path, n_bytes=len(CONTENT), sha256=SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={kept[-1]}-"]


@pytest.mark.parametrize("kept", [1, 4095, 4096, 500_001, *(len(CONTENT) + more for more in (-1, 0, 10))])
def test_any_number_of_kept_bytes_ends_in_the_whole_file(server: _Server, tmp_path: Path, kept: int) -> None:
    (tmp_path / "w.part").write_bytes((CONTENT + b"x" * 10)[:kept])
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT


# ---- Files whose sha256 nobody publishes


def test_a_file_that_changed_on_the_server_is_not_mixed_with_what_was_kept(server: _Server, tmp_path: Path) -> None:
    server.etag, server.stops_after = '"one"', 100_000
    with pytest.raises(OSError, match="they are kept"):
        download(server.url, tmp_path / "w", n_bytes=None, sha256=None)
    server.etag, server.content, server.stops_after = '"two"', CONTENT[::-1], None
    download(server.url, tmp_path / "w", n_bytes=None, sha256=None)
    assert (tmp_path / "w").read_bytes() == CONTENT[::-1]
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_bytes_that_are_not_those_of_amazons_checksum_are_refused(server: _Server, tmp_path: Path) -> None:
    server.server_name, server.etag = "AmazonS3", f'"{hashlib.md5(CONTENT).hexdigest()}"'
    download(server.url, tmp_path / "w", n_bytes=None, sha256=None)
    (tmp_path / "w").unlink()
    server.content = b"x" + CONTENT[1:]
    with pytest.raises(ValueError, match="does not have the checksum which Amazon S3 states"):
        download(server.url, tmp_path / "w", n_bytes=None, sha256=None)
    assert list(tmp_path.iterdir()) == []
    server.server_name = None  # elsewhere an ETag of 32 digits need not be an MD5
    download(server.url, tmp_path / "w", n_bytes=None, sha256=None)


def test_checksums_of_files_sent_in_parts_are_recomputed(tmp_path: Path) -> None:
    content = os.urandom(11 << 20)
    path = tmp_path / "w"
    path.write_bytes(content)
    parts = [hashlib.md5(content[i : i + (5 << 20)]).digest() for i in range(0, len(content), 5 << 20)]
    etag = f"{hashlib.md5(b''.join(parts)).hexdigest()}-{len(parts)}"
    assert agrees_with_etag(path, f'"{etag}"') is True
    assert agrees_with_etag(path, f'"{"0" * 32}-3"') is None  # parts of another size, perhaps
    assert agrees_with_etag(path, f'"{"0" * 32}"') is False
    assert agrees_with_etag(path, '"an opaque tag"') is None


# ---- Several files


def test_several_files_arrive_side_by_side(server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.drip_s = 0.002
    at_once, most, lock, fetch = [0], [0], threading.Lock(), module._fetch

    def counted(*arguments: object) -> None:
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        fetch(*arguments)  # type: ignore[arg-type]
        with lock:
            at_once[0] -= 1

    monkeypatch.setattr(module, "_fetch", counted)
    files = [File(server.url, tmp_path / f"{i}" / "w", len(CONTENT), SHA256) for i in range(6)]
    download_all(files, n_at_once=3)
    assert all(file.path.read_bytes() == CONTENT for file in files)
    assert most == [3]


def test_when_one_file_cannot_be_had_the_others_stop_and_keep_what_arrived(server: _Server, tmp_path: Path) -> None:
    server.drip_s = 0.05
    files = [File(server.url, tmp_path / str(i), len(CONTENT), SHA256) for i in range(3)]
    absent = File(server.url.replace("weights.bin", "absent"), tmp_path / "absent", None, None)
    with pytest.raises(OSError, match="no such file"):
        download_all([*files[:1], absent, *files[1:]], n_at_once=2)
    assert {path.suffix for path in tmp_path.iterdir()} <= {".part"}
    server.drip_s = 0.0
    download_all(files, n_at_once=2)
    assert all(file.path.read_bytes() == CONTENT for file in files)


def test_once_a_call_has_failed_nothing_of_it_touches_files(server: _Server, tmp_path: Path) -> None:
    """Its threads may still wait for a server that answers later, and the next call works on the same parts."""
    answer, begun = threading.Event(), threading.Event()
    server.ranges = False  # so that an answer would be written from the start, over what is there

    def late(handler: _Handler) -> None:
        if "absent" in handler.path:
            begun.wait(20)
        else:
            begun.set()
            answer.wait(20)

    server.before = late
    (tmp_path / "w.part").write_bytes(CONTENT[:1000])
    absent = File(server.url.replace("weights.bin", "absent"), tmp_path / "absent", None, None)
    others = set(threading.enumerate())
    with pytest.raises(OSError, match="no such file"):
        download_all([File(server.url, tmp_path / "w", len(CONTENT), SHA256), absent], n_at_once=2)
    left = [thread for thread in set(threading.enumerate()) - others if thread.name.startswith("fetching")]
    assert len(left) == 1
    answer.set()
    left[0].join(timeout=20)
    assert not left[0].is_alive()
    assert [path.name for path in tmp_path.iterdir()] == ["w.part"]
    assert (tmp_path / "w.part").read_bytes() == CONTENT[:1000]


def test_a_second_address_is_only_for_files_whose_sha256_is_known(server: _Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a second address and no hash, which would tell that both are one file"):
        File(server.url, tmp_path / "w", len(CONTENT), None, others=(server.url,))
    absent = server.url.replace("weights.bin", "absent")
    download_all([File(absent, tmp_path / "w", len(CONTENT), SHA256, others=(absent, server.url))], n_at_once=1)
    assert (tmp_path / "w").read_bytes() == CONTENT
    with pytest.raises(OSError, match=rf"no such file .*; nor from {absent}: .* no such file"):
        download_all([File(absent, tmp_path / "v", len(CONTENT), SHA256, others=(absent,))], n_at_once=1)


def test_a_disk_that_refuses_is_not_the_fault_of_an_address(server: _Server, tmp_path: Path) -> None:
    (tmp_path / "w.part").mkdir()
    with pytest.raises(IsADirectoryError):
        download_all([File(server.url, tmp_path / "w", len(CONTENT), SHA256, others=(server.url,))], n_at_once=1)


def test_no_files_are_no_work(tmp_path: Path) -> None:
    download_all([], n_at_once=2)
