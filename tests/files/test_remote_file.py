"""Parts of a file on a server of this machine, which counts what it sends: well behaved, and not."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from bucket import Bucket, serving
from conftest import ROOT

from spikevaediff.files import one_request, remote_file
from spikevaediff.files.remote_file import RemoteError, RemoteFile
from spikevaediff.recordings.session_file import opened

BLOCK = 65536
CONTENT = np.random.default_rng(0).bytes(100 * BLOCK + 1234)
NAME = "session.nwb"


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)
    monkeypatch.setattr(one_request, "_TIMEOUT_S", 5)
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / NAME).write_bytes(CONTENT)
    with serving(tmp_path / "published") as running:
        yield running


def remote(bucket: Bucket, tmp_path: Path, n_bytes: int = len(CONTENT)) -> RemoteFile:
    return RemoteFile(bucket.url + NAME, tmp_path / "kept", n_bytes=n_bytes)


def part(file: RemoteFile, start: int, n: int) -> bytes:
    file.seek(start)
    return file.read(n)


def test_any_reads_give_the_bytes_of_the_file(bucket: Bucket, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    with remote(bucket, tmp_path) as file:
        for start in rng.integers(0, len(CONTENT), 60).tolist():
            n = int(rng.integers(0, 300_000))
            assert part(file, start, n) == CONTENT[start : start + n]
        assert part(file, len(CONTENT) - 10, 100) == CONTENT[-10:]
        assert part(file, len(CONTENT) + 10, 100) == b""
        assert file.seek(-7, os.SEEK_END) == len(CONTENT) - 7
        assert file.readall() == CONTENT[-7:]
        assert bucket.n_sent[NAME] == file.n_received <= len(CONTENT)


def test_what_is_read_is_fetched_and_nothing_else_and_nothing_twice(bucket: Bucket, tmp_path: Path) -> None:
    with remote(bucket, tmp_path) as file:
        part(file, 10, 20)
        assert bucket.n_sent[NAME] == BLOCK
        part(file, 3 * BLOCK - 1, 2)
        assert bucket.n_sent[NAME] == 3 * BLOCK
        file.fetch([(50 * BLOCK, 60 * BLOCK), (99 * BLOCK, len(CONTENT))])
        assert bucket.n_sent[NAME] == 3 * BLOCK + 10 * BLOCK + BLOCK + 1234
        assert sorted(bucket.asked[2:]) == [
            (NAME, f"bytes={50 * BLOCK}-{60 * BLOCK - 1}"),
            (NAME, f"bytes={99 * BLOCK}-{len(CONTENT) - 1}"),
        ]
        asked = len(bucket.asked)
        assert part(file, 55 * BLOCK, 10) == CONTENT[55 * BLOCK : 55 * BLOCK + 10]
    with remote(bucket, tmp_path) as file:  # a later run
        assert part(file, 50 * BLOCK, 10 * BLOCK) == CONTENT[50 * BLOCK : 60 * BLOCK]
        assert file.n_received == 0
    assert len(bucket.asked) == asked


def test_a_block_that_was_damaged_on_the_disk_is_fetched_again(bucket: Bucket, tmp_path: Path) -> None:
    with remote(bucket, tmp_path) as file:
        part(file, 0, 5 * BLOCK)
    with (tmp_path / "kept/blocks").open("r+b") as blocks:
        blocks.seek(2 * BLOCK + 7)
        blocks.write(b"damage")
    with remote(bucket, tmp_path) as file:
        assert part(file, 0, 5 * BLOCK) == CONTENT[: 5 * BLOCK]
        assert file.n_received == BLOCK
    (tmp_path / "kept/blocks").write_bytes(b"")
    with remote(bucket, tmp_path) as file:
        assert part(file, 0, 5 * BLOCK) == CONTENT[: 5 * BLOCK]
        assert file.n_received == 5 * BLOCK


READ = """
import sys
from pathlib import Path
from spikevaediff.files.remote_file import RemoteFile
file = RemoteFile(sys.argv[1], Path(sys.argv[2]), n_bytes=int(sys.argv[3]))
for start in range(0, file.n_bytes, 65536):
    file.seek(start)
    file.read(65536)
print(file.n_received)
"""


def test_a_process_that_is_killed_is_gone_on_with_by_the_next(bucket: Bucket, tmp_path: Path) -> None:
    command = [sys.executable, "-c", READ, bucket.url + NAME, str(tmp_path / "kept"), str(len(CONTENT))]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    bucket.drip_s = 0.01
    for n_answers in (10, 30):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 60
        while len(bucket.asked) < n_answers and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    with remote(bucket, tmp_path) as file:
        assert part(file, 0, len(CONTENT)) == CONTENT
        assert file.n_received <= len(CONTENT) - 26 * BLOCK
    assert len(CONTENT) < bucket.n_sent[NAME] <= len(CONTENT) + 2 * BLOCK  # each kill cuts one answer off


BAD = {
    "no ranges": ("no_ranges", "sends the whole file where a part was asked for: it cannot be read in parts"),
    "another size": ("another_size", rf"is a file of {len(CONTENT) + 1} bytes, expected {len(CONTENT)}"),
    "nothing to tell versions": ("no_version", "states neither ETag nor date: parts of two versions could not be told"),
    "other bytes": ("shifted", r"asked for the bytes 0-65535, the server sent bytes 5-65540/6554834"),
    "breaks always": ("broken", r"the connection broke at byte 63488 \(IncompleteRead\)"),
    "a page": ("html", "web page in place of the file"),
    "moved": (404, r"no such file \(404\)"),
    "forbidden": (403, r"refuses access \(403\)"),
    "busy": (503, "answered 503, it is busy or down"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_server_that_does_not_do_ends_in_one_line(bucket: Bucket, tmp_path: Path, case: str) -> None:
    fault, says = BAD[case]
    bucket.faults[NAME] = fault
    with remote(bucket, tmp_path) as file:
        for _ in range(2):  # nothing is read past it
            with pytest.raises(RemoteError, match=says) as caught:
                part(file, 0, 10)
            assert str(caught.value).startswith(bucket.url + NAME)
            assert "\n" not in str(caught.value)
            bucket.faults = {}
    with remote(bucket, tmp_path) as file:
        assert part(file, 0, 10) == CONTENT[:10]


@pytest.mark.parametrize("fault", ["truncated", "silent", "fewer"])
def test_short_answers_are_completed(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr(one_request, "_TIMEOUT_S", 2)
    bucket.faults[NAME] = fault
    with remote(bucket, tmp_path) as file:
        assert part(file, BLOCK, 3 * BLOCK) == CONTENT[BLOCK : 4 * BLOCK]
        assert bucket.n_sent[NAME] == 3 * BLOCK


def test_nobody_there_is_named_at_once(tmp_path: Path) -> None:
    with RemoteFile("https://absent.invalid/x.nwb", tmp_path / "kept", n_bytes=10) as file:  # noqa: SIM117
        with pytest.raises(RemoteError, match=r"^https://absent.invalid/x.nwb: no connection"):
            part(file, 0, 10)


def test_a_file_that_is_replaced_while_it_is_read_ends_the_reading(bucket: Bucket, tmp_path: Path) -> None:
    with remote(bucket, tmp_path) as file:
        part(file, 0, 10)
        bucket.etags[NAME] = '"another"'
        with pytest.raises(RemoteError, match=r'replaced while it was read: its etag was ".*" and is "another"\. What'):
            part(file, 50 * BLOCK, 10)
        with pytest.raises(RemoteError, match="was replaced"):
            part(file, 0, 10)  # not even what is here
    with remote(bucket, tmp_path) as file:  # as the message says
        assert part(file, 0, 10) == CONTENT[:10]
        assert file.etag == '"another"'
        assert file.n_received == BLOCK


def test_a_file_that_was_replaced_since_an_earlier_run_is_not_mixed_with_it(bucket: Bucket, tmp_path: Path) -> None:
    with remote(bucket, tmp_path) as file:
        part(file, 0, 10)
    other = CONTENT[::-1]
    (bucket.folder / NAME).write_bytes(other)
    with remote(bucket, tmp_path) as file, pytest.raises(RemoteError, match=r"replaced .* run the same command again"):
        part(file, 50 * BLOCK, 10)
    with remote(bucket, tmp_path) as file:
        assert part(file, 0, 10) == other[:10]


def test_what_is_kept_of_another_address_or_size_is_not_used(bucket: Bucket, tmp_path: Path) -> None:
    bucket.copies["copy.nwb"] = NAME
    with remote(bucket, tmp_path) as file:
        part(file, 0, 10)
    with RemoteFile(bucket.url + "copy.nwb", tmp_path / "kept", n_bytes=len(CONTENT)) as file:
        assert part(file, 0, 10) == CONTENT[:10]
        assert file.n_received == BLOCK
    (tmp_path / "kept/note.json").write_text("{")
    with remote(bucket, tmp_path) as file:
        part(file, 0, 10)
        assert file.n_received == BLOCK


def test_too_little_space_is_found_before_the_first_byte(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(remote_file.shutil, "disk_usage", lambda _: usage)
    with remote(bucket, tmp_path) as file, pytest.raises(OSError, match=r"65.5 kB to go, but .* has only 1 kB free"):
        part(file, 0, 10)
    assert bucket.asked == []


def test_h5py_reads_through_it_and_passes_on_what_the_server_says(bucket: Bucket, tmp_path: Path) -> None:
    values = np.arange(200_000, dtype=np.float64)
    with h5py.File(bucket.folder / "values.nwb", "w") as made:
        made["values"] = values
        made.create_dataset("packed", data=values, chunks=(1000,), compression="gzip")
    size = (bucket.folder / "values.nwb").stat().st_size
    with RemoteFile(bucket.url + "values.nwb", tmp_path / "kept", n_bytes=size) as source:
        with opened(source) as file:
            assert file.filename == bucket.url + "values.nwb"
            np.testing.assert_array_equal(file["values"][1000:2000], values[1000:2000])
            np.testing.assert_array_equal(file["packed"][1000:2000], values[1000:2000])
            assert source.n_received <= 8 * BLOCK
        bucket.faults["values.nwb"] = 404
        with (
            pytest.raises(RemoteError, match=r"values.nwb: the server has no such file \(404\)"),
            opened(source) as file,
        ):
            file["values"][:]
    with (
        remote(bucket, tmp_path) as source,
        pytest.raises(ValueError, match=rf"^{bucket.url}{NAME} is not a whole HDF5"),
    ):
        opened(source).__enter__()
