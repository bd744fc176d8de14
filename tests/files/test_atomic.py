"""Files appear whole or not at all, whoever is killed and whatever the disk says."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT

from spikevaediff.__main__ import main
from spikevaediff.files.atomic import check_ours, replacing


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_with_its_parents_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.npz"
    with replacing(path) as temporary:
        assert temporary.suffix == ".npz"
        np.savez(temporary, allow_pickle=False, x=np.arange(3))
        assert not path.exists()
    assert left_in(path.parent) == ["c.npz"]
    with np.load(path) as file:
        assert file["x"].tolist() == [0, 1, 2]


def test_the_mode_of_a_file_is_that_of_any_new_file(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as temporary:
        temporary.write_text("x")
    with replacing(tmp_path / "folder", folder=True) as temporary:
        (temporary / "a").write_text("x")
    (tmp_path / "b").write_text("x")
    (tmp_path / "other").mkdir()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
    assert (tmp_path / "folder").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_failing_block_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        fail()
    assert path.read_text() == "old"
    assert left_in(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for names in (["a", "b"], ["b", "c"], []):
        with replacing(tmp_path / "folder", folder=True) as temporary:
            for name in names:
                (temporary / name).write_text(name)
        assert left_in(tmp_path / "folder") == names
    assert left_in(tmp_path) == ["folder"]


def test_a_file_where_a_folder_should_be_is_kept_and_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    with pytest.raises(NotADirectoryError, match="a"), replacing(tmp_path / "a", folder=True):
        pass
    with pytest.raises(OSError, match="a"), replacing(tmp_path / "a" / "b"):
        pass
    assert (tmp_path / "a").read_text() == "a file"
    assert left_in(tmp_path) == ["a"]


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    def fill() -> None:
        with replacing(tmp_path / "numbers.npz") as temporary:
            temporary.write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match=r"No space left on device: '.*numbers.npz'"):
        fill()
    assert left_in(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder in which not even root can write")
def test_a_folder_that_cannot_be_written_is_reported_with_the_name_of_the_file() -> None:
    with pytest.raises(OSError, match=r": '/proc/cards.md'$"), replacing("/proc/cards.md"):
        pass


def test_an_error_without_a_number_keeps_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^the library's own words$"), replacing(tmp_path / "a"):
        raise OSError("the library's own words")


WRITER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from spikevaediff.__main__ import main
from spikevaediff.files.atomic import check_ours, replacing
with replacing(sys.argv[2]) as temporary:
    temporary.write_text("of a killed writer")
    print("writing", flush=True)
    time.sleep(60)
"""


def started(path: Path) -> subprocess.Popen[str]:
    """A writer that is in the middle of writing `path`."""
    command = [sys.executable, "-c", WRITER, str(ROOT / "src"), str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def stopped(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def test_what_a_killed_writer_left_is_removed_by_the_next_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    dead, alive = started(path), started(path)
    stopped(dead)
    assert not path.exists()
    assert len(left_in(tmp_path)) == 2
    with replacing(path) as temporary:
        temporary.write_text("whole")
    (scratch,) = [name for name in left_in(tmp_path) if name != "a.txt"]
    assert (tmp_path / scratch / "a.txt").read_text() == "of a killed writer"
    stopped(alive)
    # A name that begins alike is another file's.
    (tmp_path / ".a.txt2.x.tmp").mkdir()
    with replacing(path) as temporary:
        temporary.write_text("again")
    assert left_in(tmp_path) == [".a.txt2.x.tmp", "a.txt"]
    assert path.read_text() == "again"


def write_often(path: Path, text: str) -> None:
    for _ in range(100):
        with replacing(path) as temporary:
            temporary.write_text(text)


def test_writers_at_the_same_time_all_finish_and_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, texts = tmp_path / "a.txt", [letter * 50_000 for letter in "abc"]
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_often, args=(path, text)) for text in texts]
    for writer in writers:
        writer.start()
    n_read = 0
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_text() in texts
            n_read += 1
        time.sleep(0.001)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert n_read > 0
    assert left_in(tmp_path) == ["a.txt"]


def test_a_folder_with_files_of_others_is_not_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    check_ours(folder, r"\d+\.png")
    folder.mkdir()
    (folder / "0001.png").touch()
    check_ours(folder, r"\d+\.png")
    (folder / "chapter_1.txt").touch()
    with pytest.raises(ValueError, match=r"pictures would be replaced whole, and holds chapter_1.txt, which this comm"):
        check_ours(folder, r"\d+\.png")
    with pytest.raises(ValueError, match=r"chapter_1.txt is a file, expected a folder to write"):
        check_ours(folder / "chapter_1.txt", r"\d+\.png")
    with pytest.raises(ValueError, match=r"holds 0001.png, which this command did not write \(2 such\)"):
        check_ours(folder, "(?!)")


@pytest.mark.parametrize(
    "words", [["generate", "mine"], ["crate", "mine"], ["predict", "fit.npz", "r.npz", "l.npz", "--decode", "mine"]]
)
def test_commands_leave_folders_of_others_alone(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/chapter_1.txt").write_text("precious")
    assert main(words) == 1
    assert "mine would be replaced whole, and holds chapter_1.txt" in capsys.readouterr().err
    assert (tmp_path / "mine/chapter_1.txt").read_text() == "precious"
