"""Downloads against a real server on this machine, well behaved and not."""

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from spikevaediff.download import download, sha256_of, size_text

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Server(ThreadingHTTPServer):
    """What it does wrong is set by the test; what it was asked is kept."""

    ranges = True
    stops_after: int | None = None  # bytes of each answer, then the connection is cut
    status = 200
    page = False
    shift = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/weights.bin"


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if self.server.status != 200:
            self.send_error(self.server.status)
            return
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = CONTENT[start:]
        self.send_response(206 if start else 200)
        if start:
            first = start + self.server.shift
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Type", "text/html" if self.server.page else "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.stops_after])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
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


@pytest.mark.parametrize("extra", [0, 10])
def test_a_part_that_is_complete_or_too_long_ends_in_the_right_file(
    server: _Server, tmp_path: Path, extra: int
) -> None:
    (tmp_path / "w.part").write_bytes(CONTENT + b"x" * extra)
    download(server.url, tmp_path / "w", n_bytes=len(CONTENT), sha256=SHA256)
    assert (tmp_path / "w").read_bytes() == CONTENT


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
    [(401, "login"), (403, "refuses"), (404, "no such file"), (429, "too many"), (503, "answered 503")],
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
