"""Downloads from servers that behave as the hub, Azure, Amazon, proxies and others do, on this machine."""

import base64
import gzip
import hashlib
import os
import random
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from loading.weights import read
from spikevaediff.__main__ import main as command
from spikevaediff.files import assets, one_request
from spikevaediff.files import download as module
from spikevaediff.files.download import download
from spikevaediff.files.one_request import Stated

CONTENT = os.urandom(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[:350_000] + b"x" + CONTENT[350_001:]


class Request(BaseHTTPRequestHandler):
    """One request, answered by the function of its server."""

    timeout = 10

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.asked.append({name.lower(): value for name, value in self.headers.items()})
        with suppress(ConnectionError):
            server.answer(self)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def start(self) -> int:
        """The first byte that is asked for."""
        wanted = self.headers.get("Range")
        return int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0

    def say(self, status: int, headers: dict[str, str], body: bytes = b"", *, length: int | None = -1) -> None:
        """Answer; length: of the header, -1 that of the body, None without one."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        self.wfile.write(body)

    def send(self, content: bytes, headers: dict[str, str] | None = None, cut: int | None = None) -> None:
        """A file from the byte on that is asked for, cut off after some bytes."""
        start = self.start()
        if start:
            headers = {**(headers or {}), "Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        rest = content[start:]
        self.say(206 if start else 200, headers or {}, rest[:cut], length=len(rest))


class Server(ThreadingHTTPServer):
    def __init__(self, answer: Callable[[Request], None]) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer, self.asked = answer, list[dict[str, str]]()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def serving(answer: Callable[[Request], None], certificate: Path | None = None) -> Iterator[Server]:
    with Server(answer) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.url = server.url.replace("http://127.0.0.1", "https://localhost")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(timeout=10)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)


def get(url: str, path: Path, **changes: object) -> Stated:
    options: dict = {"n_bytes": None, "sha256": None}
    return download(url, path, **options | changes)


# ---- The hub of Hugging Face


@contextmanager
def hub(content: bytes, stated: bytes, cut: int | None = None, **headers: str) -> Iterator[tuple[Server, Server]]:
    """A hub that redirects to a store: only the hub states what the file is, and a signed address works for once."""
    said = {
        "X-Linked-ETag": f'"{hashlib.sha256(stated).hexdigest()}"',
        "X-Linked-Size": str(len(stated)),
        "X-Repo-Commit": "5" * 40,
        "ETag": '"a hash of the store"',
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    with (
        serving(lambda request: request.send(content, {"ETag": '"of the store"'}, cut)) as store,
        serving(lambda request: request.say(302, said | {"Location": f"{store.url}/signed"})) as front,
    ):
        yield front, store


def test_what_the_hub_states_in_its_redirect_is_checked_and_kept(tmp_path: Path) -> None:
    with hub(CONTENT, CONTENT, cut=400_000) as (front, store):
        stated = get(f"{front.url}/lab/model/resolve/main/w.bin", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert (stated.sha256, stated.total, stated.commit) == (SHA256, len(CONTENT), "5" * 40)
    assert [request.get("range") for request in store.asked] == [None, "bytes=400000-"]
    assert len(front.asked) == 2, "signed addresses expire, so every request begins at the hub"
    assert [p.name for p in tmp_path.iterdir()] == ["w"]


def test_bytes_that_are_not_those_of_the_hub_are_refused(tmp_path: Path) -> None:
    with (
        hub(OTHER, CONTENT) as (front, _),
        pytest.raises(ValueError, match=f"sent a file with sha256 .*, and the server states {SHA256}. It was not kept"),
    ):
        get(f"{front.url}/w", tmp_path / "w")
    page = b"This address is blocked by the policy of your company."
    with (
        hub(page, CONTENT) as (front, _),
        pytest.raises(ValueError, match=r"is a file of 54 bytes, and the server stated 700000"),
    ):
        get(f"{front.url}/w", tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_replaced_on_the_hub_is_refused_before_it_is_received(tmp_path: Path) -> None:
    with (
        hub(CONTENT, CONTENT) as (front, _),
        pytest.raises(ValueError, match=rf"is now a file with sha256 {SHA256}, expected {'0' * 64}: it was replaced"),
    ):
        get(f"{front.url}/w", tmp_path / "w", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("weak", ["", "W/"])
def test_small_files_of_the_hub_have_the_hash_of_git(weak: str, tmp_path: Path) -> None:
    hello = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of "hello\n"
    said = {"X-Repo-Commit": "5" * 40, "ETag": f'{weak}"{hello}"'}
    with serving(lambda request: request.send(b"hello\n", said)) as server:
        assert get(f"{server.url}/config.json", tmp_path / "w").git_sha1 == hello
    with (
        serving(lambda request: request.send(b"hullo\n", said)) as server,
        pytest.raises(ValueError, match=f"with the Git hash .*, and the server states {hello}"),
    ):
        get(f"{server.url}/config.json", tmp_path / "w2")


# ---- Azure


def azure(request: Request) -> None:
    """As Azure answers: to a request without a version as in 2009, the whole file and a tag without quotes."""
    version = request.headers.get("x-ms-version")
    headers = {"x-ms-version": version or "2009-09-19", "ETag": '"0x8D4"' if version else "0x8D4"}
    if version is None:
        del request.headers["Range"]
    request.send(CONTENT, headers, cut=300_000)


def test_azure_continues_a_file_once_it_is_told_the_version(tmp_path: Path) -> None:
    with serving(azure) as server:
        get(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    asked = [(request.get("range"), request.get("x-ms-version")) for request in server.asked]
    assert asked == [(None, None), ("bytes=300000-", "2020-04-08"), ("bytes=600000-", "2020-04-08")]


@pytest.mark.parametrize("host", ["openaipublic.blob.core.windows.net", "openaipublic.azureedge.net"])
def test_the_addresses_of_azure_are_told_the_version_at_once(host: str) -> None:
    assert one_request._AZURE.search(host)
    assert not one_request._AZURE.search(f"{host}.example.org")


def test_the_md5_that_a_server_states_is_compared(tmp_path: Path) -> None:
    said = {"Content-MD5": base64.b64encode(hashlib.md5(CONTENT).digest()).decode()}
    with serving(lambda request: request.send(CONTENT, said)) as server:
        assert get(f"{server.url}/w", tmp_path / "w").is_checkable
    with (
        serving(lambda request: request.send(OTHER, said)) as server,
        pytest.raises(ValueError, match=f"with MD5 .*, and the server states {hashlib.md5(CONTENT).hexdigest()}"),
    ):
        get(f"{server.url}/w", tmp_path / "w2")
    said = {"Content-MD5": "not base64"}
    with serving(lambda request: request.send(CONTENT, said)) as server:
        assert not get(f"{server.url}/w", tmp_path / "w").is_checkable


# ---- Others


def test_the_first_digits_of_a_sha256_are_compared(tmp_path: Path) -> None:
    with serving(lambda request: request.send(CONTENT)) as server:
        get(f"{server.url}/w", tmp_path / "w", sha256=SHA256[:8])
        with pytest.raises(ValueError, match=f"with sha256 {SHA256}, expected 00000000"):
            get(f"{server.url}/w", tmp_path / "w", sha256="00000000")


@pytest.mark.parametrize("n", [54, 349_999, 1_400_001])
def test_a_file_of_quite_another_size_is_refused(n: int, tmp_path: Path) -> None:
    with (
        serving(lambda request: request.send(bytes(n))) as server,
        pytest.raises(ValueError, match=f"is a file of {n} bytes, expected about 700 kB: it is not the file"),
    ):
        get(f"{server.url}/w", tmp_path / "w", about=700_000)
    assert list(tmp_path.iterdir()) == []


def without_length(request: Request) -> None:
    start = request.start()
    headers = {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"} if start else {}
    request.say(206 if start else 200, headers, CONTENT[start:][:300_000], length=None)


def test_a_cut_that_looks_like_the_end_is_none(tmp_path: Path) -> None:
    with serving(without_length) as server:
        with pytest.raises(OSError, match="does not say how long the file is, and no checksum of it is known"):
            get(f"{server.url}/w", tmp_path / "w")
        assert not (tmp_path / "w").exists()
        get(f"{server.url}/w", tmp_path / "w", n_bytes=len(CONTENT))
        assert (tmp_path / "w").read_bytes() == CONTENT
        with pytest.raises(ValueError, match=f"expected {SHA256}. It was not kept"):
            get(f"{server.url}/w", tmp_path / "w2", sha256=SHA256)
    with (
        serving(lambda request: request.say(200, {}, CONTENT + b"x", length=None)) as server,
        pytest.raises(ValueError, match="is a file of 700001 bytes, expected 700000"),
    ):
        get(f"{server.url}/w", tmp_path / "w3", n_bytes=len(CONTENT))


@pytest.mark.parametrize("tag", ['"v1"', ""])
def test_chunks_that_break_off_are_continued_where_something_ties_them_together(tag: str, tmp_path: Path) -> None:
    """Chunks state no size: without a tag nothing would tell the rest of another version, so that all is asked for."""
    headers = {"ETag": tag} if tag else {}

    def chunked(request: Request) -> None:
        request.protocol_version = "HTTP/1.1"
        if len(server.asked) > 1:
            return request.send(CONTENT, headers)
        request.say(200, headers | {"Transfer-Encoding": "chunked"}, length=None)
        request.wfile.write(b"%x\r\n%s\r\n%x\r\n%s" % (250_000, CONTENT[:250_000], 50_000, CONTENT[250_000:260_000]))

    with serving(chunked) as server:
        get(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert [request.get("range") for request in server.asked] == [None, "bytes=260000-" if tag else None]


def test_a_file_that_a_proxy_compresses_is_not_taken_as_it_comes(tmp_path: Path) -> None:
    packed = gzip.compress(CONTENT)
    with (
        serving(lambda request: request.say(200, {"Content-Encoding": "gzip"}, packed)) as server,
        pytest.raises(OSError, match="sent the file as gzip, though it was asked not to"),
    ):
        get(f"{server.url}/w", tmp_path / "w")
    assert list(tmp_path.iterdir()) == []


def test_a_server_without_ranges_may_break_off_earlier_than_before(tmp_path: Path) -> None:
    cuts = iter([600_000, 300_000, 500_000, None])

    def from_the_start(request: Request) -> None:
        request.say(200, {}, CONTENT[: next(cuts)], length=len(CONTENT))

    with serving(from_the_start) as server:
        get(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    assert len(server.asked) == 4


def test_progress_counts_from_the_first_byte_when_a_server_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    update = module.Progress.update

    def watched(self: object, task: object, **changes: object) -> None:
        seen.extend([changes["completed"]] if "completed" in changes else [])  # type: ignore[list-item]
        update(self, task, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(module.Progress, "update", watched)
    (tmp_path / "w.part").write_bytes(CONTENT[:600_000])
    with serving(lambda request: request.say(200, {}, CONTENT)) as server:
        get(f"{server.url}/w", tmp_path / "w", sha256=SHA256)
    assert seen == sorted(seen)
    assert seen[0] < 600_000
    assert seen[-1] == len(CONTENT)


def test_a_weak_tag_ties_no_bytes_together(tmp_path: Path) -> None:
    """W/"..." promises the same meaning, not the same bytes: what an earlier call left is discarded."""
    with serving(lambda request: request.send(CONTENT, {"ETag": 'W/"v1"'}, cut=100_000)) as server:
        with pytest.raises(OSError, match="they are kept"):
            get(f"{server.url}/w", tmp_path / "w")
        server.answer = lambda request: request.send(OTHER[::-1], {"ETag": 'W/"v1"'})
        get(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == OTHER[::-1]
    assert not [request for request in server.asked if "if-range" in request]


def test_a_date_ties_them_where_there_is_no_tag(tmp_path: Path) -> None:
    def dated(request: Request) -> None:
        if request.headers.get("If-Range") != server.date:
            del request.headers["Range"]
        request.send(server.content, {"Last-Modified": server.date}, cut=server.cut)

    with serving(dated) as server:
        server.content, server.date, server.cut = CONTENT, "Sat, 28 Nov 2026 10:00:00 GMT", 100_000
        with pytest.raises(OSError, match="they are kept"):
            get(f"{server.url}/w", tmp_path / "w")
        server.content, server.date, server.cut = OTHER, "Sat, 28 Nov 2026 11:00:00 GMT", None
        get(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == OTHER


def test_a_file_whose_size_changes_between_two_requests_is_refused(tmp_path: Path) -> None:
    def growing(request: Request) -> None:
        request.send(CONTENT + bytes(len(server.asked)), cut=300_000)

    with serving(growing) as server, pytest.raises(ValueError, match="of 700002 bytes, and the server stated 700001"):
        get(f"{server.url}/w", tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_a_server_that_sends_less_than_the_rest_is_asked_again(tmp_path: Path) -> None:
    """RFC 9110 allows it; some caches send no more than a block for a range."""

    def in_blocks(request: Request) -> None:
        if not (start := request.start()):
            return request.say(200, {"ETag": '"v1"'}, CONTENT[:300_000], length=len(CONTENT))
        end = min(start + 150_000, len(CONTENT))
        request.say(
            206, {"ETag": '"v1"', "Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}"}, CONTENT[start:end]
        )

    with serving(in_blocks) as server:
        get(f"{server.url}/w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    starts = [request.get("range") for request in server.asked]
    assert starts == [None, "bytes=300000-", "bytes=450000-", "bytes=600000-"]


def test_a_circle_of_redirects_is_one_line(tmp_path: Path) -> None:
    with (
        serving(lambda request: request.say(302, {"Location": f"{server.url}/again"})) as server,
        pytest.raises(OSError, match=r"the server answered 302 .*redirect error that would lead to") as caught,
    ):
        get(f"{server.url}/w", tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_parts_of_two_addresses_are_not_mixed(tmp_path: Path) -> None:
    with serving(lambda request: request.send(CONTENT, {"ETag": '"v1"'}, cut=100_000)) as server:
        with pytest.raises(OSError, match="they are kept"):
            get(f"{server.url}/a", tmp_path / "w")
        server.answer = lambda request: request.send(OTHER[::-1], {"ETag": '"v1"'})
        get(f"{server.url}/b", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == OTHER[::-1]


@pytest.mark.parametrize("seed", [*range(60), 1048])
def test_no_behaviour_of_a_server_makes_a_file_that_it_never_had(seed: int, tmp_path: Path) -> None:
    """Cuts, lengths that are not stated, ranges ignored or shortened, versions that change between requests."""
    rng = random.Random(seed)
    versions = [rng.randbytes(rng.randrange(2_000, 9_000)) for _ in range(2)]
    tags = rng.choice([["", ""], ['"a"', '"b"'], ['W/"a"', 'W/"b"'], ["a", "b"]])
    states_md5, ranges, length = rng.random() < 0.3, rng.random() < 0.7, rng.choice(["stated", "chunks", "none"])
    changes_at = rng.choice([1, 2, 3, 99])

    def answer(request: Request) -> None:
        version = int(len(server.asked) > changes_at)
        content, tag = versions[version], tags[version]
        condition = request.headers.get("If-Range")
        start = request.start() if ranges and condition in (None, tag) else 0
        if start >= len(content):
            return request.say(416, {"Content-Range": f"bytes */{len(content)}"})
        end = len(content) if rng.random() < 0.7 else rng.randrange(start + 1, len(content) + 1)
        headers = {"ETag": tag} if tag else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        elif states_md5:
            headers["Content-MD5"] = base64.b64encode(hashlib.md5(content).digest()).decode()
        body = content[start : end if start else None]
        cut = body[: rng.choice([len(body), rng.randrange(len(body) + 1)])]
        if length == "chunks":
            request.protocol_version = "HTTP/1.1"
            request.say(206 if start else 200, headers | {"Transfer-Encoding": "chunked"}, length=None)
            if cut:
                request.wfile.write(b"%x\r\n%s\r\n" % (len(cut), cut))
            if len(cut) == len(body):
                request.wfile.write(b"0\r\n\r\n")
        else:
            request.say(206 if start else 200, headers, cut, length=len(body) if length == "stated" else None)

    path, known = tmp_path / "w", rng.random() < 0.3
    with serving(answer) as server:
        for _ in range(3):
            with suppress(OSError, ValueError):
                get(f"{server.url}/w", path, sha256=hashlib.sha256(versions[0]).hexdigest() if known else None)
                break
    if path.exists():
        assert path.read_bytes() in (versions[:1] if known else versions)


# ---- Proxies and certificates


def test_a_socks_proxy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5h://127.0.0.1:1080")
    with pytest.raises(OSError, match=r"https_proxy is socks5h://127.0.0.1:1080: SOCKS is not supported"):
        get("https://example.org/w", tmp_path / "w")


def test_a_proxy_that_lets_nobody_through_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(Request):
        def do_CONNECT(self) -> None:
            self.send_error(403)

    with serving(lambda request: None) as server:
        server.RequestHandlerClass = Refusing
        monkeypatch.setenv("https_proxy", server.url)
        with pytest.raises(OSError, match=r"the proxy does not let cdn-lfs.hf.co through \(Tunnel connection failed"):
            get("https://cdn-lfs.hf.co/w", tmp_path / "w")


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Key and certificate of localhost, signed by nobody."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    key, both = tmp_path / "key.pem", tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(both)]
    subprocess.run(command, check=True, capture_output=True)
    both.write_text(both.read_text() + key.read_text())
    return both


def test_a_certificate_that_is_not_trusted_is_named_with_the_cure_and_the_cure_works(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(request: Request) -> None:
        if request.path == "/down":
            return request.say(302, {"Location": "http://127.0.0.1:9/w"})
        request.send(CONTENT)

    with serving(answer, certificate) as server:
        with pytest.raises(OSError, match=r"not trusted here .*SSL_CERT_FILE=/path/to/certificate.pem"):
            get(f"{server.url}/w", tmp_path / "w")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        get(f"{server.url}/w", tmp_path / "w")
        with pytest.raises(OSError, match=r"sends on to http://127.0.0.1:9/w, over a connection that anybody can"):
            get(f"{server.url}/down", tmp_path / "w2")
    assert (tmp_path / "w").read_bytes() == CONTENT


# ---- Assets


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    for name in ("HF_ENDPOINT", "SPIKEVAEDIFF_SOURCE_SMALL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache"


def torch_file(path: Path, value: float) -> bytes:
    torch.save({"weight": torch.full((64, 64), value)}, path)
    return path.read_bytes()


def small(monkeypatch: pytest.MonkeyPatch, source: str, **changes: object) -> None:
    """An asset of which nobody publishes a sha256, in the table as "small"."""
    options = {"name": "small", "source": source, "file": "w.pth", "bytes": 17_000, "sha256": None, "exact": False}
    monkeypatch.setitem(assets.ASSETS, "small", replace(assets.ASSETS["kl_f8"], **options | changes))


def test_the_first_use_of_what_nobody_pins_holds_for_all_later_ones(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = torch_file(tmp_path / "1.pth", 1.0), torch_file(tmp_path / "2.pth", 2.0)
    with serving(lambda request: request.send(server.content)) as server:
        server.content = first
        small(monkeypatch, f"{server.url}/w.pth")
        assert assets.state("small") == "no"
        path = assets.fetch("small")
        assert hashlib.sha256(first).hexdigest() in capsys.readouterr().err
        assert assets.state("small") == "yes"
        assert assets.fetch("small") == path
        assert len(server.asked) == 1
        # Damaged on the disk, in size and in content: said, and fetched again.
        for damaged in (first[:-1], first[:5000] + b"x" + first[5001:]):
            path.write_bytes(damaged)
            assert assets.state("small") == "damaged"
            assert assets.fetch("small").read_bytes() == first
        # Replaced by its publisher: refused, until the user takes the new one.
        path.unlink()
        server.content = second
        with pytest.raises(ValueError, match=r"replaced since its first use here; if .* assets fetch small --again"):
            assets.fetch("small")
        assert not path.exists()
        assert command(["assets", "fetch", "small", "--again"]) == 0
        assert path.read_bytes() == second
        assert assets.fetch("small").read_bytes() == second


def test_with_no_network_a_damaged_file_is_said_to_be_damaged(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(monkeypatch, "http://127.0.0.1:9/w.pth", sha256="0" * 8)
    path = assets.location("small")
    path.parent.mkdir(parents=True)
    path.write_bytes(torch_file(tmp_path / "1.pth", 1.0))
    monkeypatch.setenv("COLUMNS", "200")
    assert command(["assets"]) == 0
    assert "damaged" in next(line for line in capsys.readouterr().out.splitlines() if " small " in line)
    says = (
        rf"in .* is damaged \(sha256 .*, expected 00000000\) and cannot be fetched .* by hand, as {path}.*no connection"
    )
    with pytest.raises(FileNotFoundError, match=f"(?s){says}"):
        assets.fetch("small")
    assert path.exists()


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_archive_whose_checksums_do_not_agree_is_refused(
    by_hand: bool, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = torch_file(tmp_path / "1.pth", 1.0)
    place = whole.index(torch.full((4,), 1.0).numpy().tobytes()) + 9
    flipped = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    with serving(lambda request: request.send(flipped)) as server:
        small(monkeypatch, f"{server.url}/w.pth")
        path = assets.location("small")
        if by_hand:
            path.parent.mkdir(parents=True)
            path.write_bytes(flipped)
            assert assets.state("small") == "damaged"
        with pytest.raises(ValueError, match=r"sent a w.pth that is not whole: its member .*data/0 does not have"):
            assets.fetch("small")


def test_the_hub_and_single_assets_may_lie_elsewhere(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = torch_file(tmp_path / "1.pth", 1.0)
    small(monkeypatch, "https://huggingface.co/lab/model/resolve/main/w.pth")

    def answer(request: Request) -> None:
        paths.append(request.path)
        request.send(content, {"X-Repo-Commit": "5" * 40, "ETag": '"opaque"'})

    paths: list[str] = []
    with serving(answer) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"{server.url}/hub/")
        assets.fetch("small")
        assets.location("small").unlink()
        assets.fetch("small")
        monkeypatch.setenv("SPIKEVAEDIFF_SOURCE_SMALL", f"{server.url}/own.pth")
        assets.fetch("small", again=True)
    path = "/hub/lab/model/resolve/{}/w.pth"
    assert paths == [path.format("main"), path.format("5" * 40), "/own.pth"], "a file that is noted keeps its commit"


def test_mirrors_are_tried_in_turn_and_an_open_one_must_be_safe(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = torch_file(tmp_path / "1.pth", 1.0)
    pinned = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content), "exact": True}
    with serving(
        lambda request: request.send(content) if "good" in request.path else request.send_error(404)
    ) as server:
        small(monkeypatch, f"{server.url}/gone", mirrors=(f"{server.url}/good",), **pinned)
        assert assets.fetch("small").read_bytes() == content
        small(monkeypatch, f"{server.url}/gone", mirrors=(f"{server.url}/also",), **pinned)
        with pytest.raises(
            FileNotFoundError, match=r"fetched from http.*/gone or http.*/also now(?s:.*)no such file \(404\)"
        ):
            assets.fetch("small", again=True)
        with pytest.raises(FileNotFoundError, match=rf"stays in {cache} as it is, and cannot be fetched from"):
            assets.fetch("small", again=True)
        assert assets.fetch("small").read_bytes() == content
    small(monkeypatch, "https://example.org/w.pth")
    for address, says in (
        ("http://example.org/w.pth", "has no known sha256, so its address must be https"),
        ("ftp://example.org/w.pth", "is not an address of small, expected https"),
    ):
        monkeypatch.setenv("SPIKEVAEDIFF_SOURCE_SMALL", address)
        with pytest.raises(ValueError, match=says):
            assets.fetch("small", again=True)


def test_clip_has_other_addresses_of_the_same_bytes() -> None:
    clip = assets.ASSETS["clip_vit_l14"]
    found = assets._addresses(clip)
    assert [address.split("/")[2] for address in found] == [
        "openaipublic.azureedge.net",
        "openaipublic.blob.core.windows.net",
        "huggingface.co",
    ]
    assert all(address.endswith("/ViT-L-14.pt") for address in found)


def test_every_asset_is_tied_to_its_bytes_by_something() -> None:
    """A sha256, its first digits, a commit of the hub, or at least a size that a page cannot have."""
    loose = {name for name, asset in assets.ASSETS.items() if asset.sha256 is None}
    assert loose == {"swav_resnet50", "kl_f8", "vdvae_imagenet64_ema", "blip2_config", "blip2_tokenizer", "blip2_index"}
    for name in loose:
        asset = assets.ASSETS[name]
        assert asset.bytes > 5000
        assert not name.startswith("blip2") or "/resolve/59a1ef6c1e5117b3f65523d1c6066825bcf315e3/" in asset.source


def test_weights_are_named_by_any_path(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "checkout/data/weights").mkdir(parents=True)
    for name in ("home/w.pth", "checkout/data/weights/w.pth"):
        (tmp_path / name).write_bytes(b"w")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    root = tmp_path / "checkout"
    assert assets.weights("data/weights/w.pth", root) == root / "data/weights/w.pth"
    assert assets.weights(str(tmp_path / "home/w.pth"), root) == tmp_path / "home/w.pth"
    assert assets.weights("~/w.pth", root) == tmp_path / "home/w.pth"
    with pytest.raises(FileNotFoundError, match=rf"weight file {tmp_path}/home/none.pth does not exist"):
        read(assets.weights("~/none.pth", root))
    with pytest.raises(KeyError, match=r"there is no asset 'w.pth'; there are"):
        assets.weights("w.pth", root)


def test_an_interruption_ends_a_download_at_once_and_keeps_what_arrived(tmp_path: Path) -> None:
    silent = threading.Event()

    def falls_silent(request: Request) -> None:
        request.say(200, {"ETag": '"v1"'}, CONTENT, length=113_000_000)
        request.wfile.flush()
        silent.wait(30)

    with serving(falls_silent) as server:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SPIKEVAEDIFF_CACHE": str(tmp_path),
            "SPIKEVAEDIFF_SOURCE_SWAV_RESNET50": f"{server.url}/w",
        }
        asked = [sys.executable, "-m", "spikevaediff", "assets", "fetch", "swav_resnet50"]
        process = subprocess.Popen(asked, env=environment, stderr=subprocess.PIPE, text=True)
        part = tmp_path / "swav_resnet50/swav_800ep_pretrain.pth.tar.part"
        deadline = time.monotonic() + 60
        while not (part.exists() and part.stat().st_size == len(CONTENT)) and time.monotonic() < deadline:
            time.sleep(0.02)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=30)[1]
        took = time.monotonic() - began
        silent.set()
    assert process.returncode == 130
    assert took < 5, "a thread that waits for a silent server does not hold the process"
    assert said.strip().splitlines()[-1] == "interrupted; what has been downloaded so far is kept"
    assert "Traceback" not in said
    assert part.read_bytes() == CONTENT
