"""Marks in place of results that params.yaml leaves out."""

from pathlib import Path

import numpy as np

from spikevaediff.files.left_out import is_left_out, mark, there


def test_a_mark_takes_the_place_of_a_file_or_a_folder(tmp_path: Path) -> None:
    file, folder = tmp_path / "predicted/control.npz", tmp_path / "decoded/control"
    folder.mkdir(parents=True)
    (folder / "0001.png").write_bytes(b"a picture of an earlier run")
    for path in (file, folder):
        mark(path, "parts.controls")
        assert is_left_out(path)
    assert file.read_text() == "left out: params.yaml does not want parts.controls\n"
    assert [path.name for path in folder.iterdir()] == ["left_out.txt"]
    assert (folder / "left_out.txt").read_text() == file.read_text()


def test_the_same_mark_is_the_same_bytes_and_another_part_another(tmp_path: Path) -> None:
    for name, part in (("a", "parts.controls"), ("b", "parts.controls"), ("c", "parts.second_stage")):
        mark(tmp_path / f"{name}.csv", part)
    one, same, other = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert one == same != other


def test_results_and_what_is_missing_are_not_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "folder").mkdir()
    for name in ("a.npz", "empty.csv", "folder", "missing.npz", "missing"):
        assert not is_left_out(tmp_path / name)


def test_names_that_are_left_out_are_skipped_in_order(tmp_path: Path) -> None:
    mark(tmp_path / "control.npz", "parts.controls")
    assert there(f"{tmp_path}/{{}}.npz", ("visual", "control", "another")) == ["visual", "another"]
