"""Folders that a command would replace whole."""

import os
import re
from pathlib import Path

import pytest

from spikevaediff.__main__ import main
from spikevaediff.files.replaceable import check_file, check_ours, mark


def test_a_folder_with_files_of_others_is_not_replaced(tmp_path: Path) -> None:
    folder, pictures = tmp_path / "pictures", r"\d+\.png"
    check_ours(folder, "generate", pictures)
    folder.mkdir()
    check_ours(folder, "generate", pictures)
    (folder / "0001.png").touch()
    # Its name says nothing of who made it.
    with pytest.raises(ValueError, match=r"pictures would be replaced whole, and holds 0001.png, which this command"):
        check_ours(folder, "generate", pictures)
    mark(folder, "generate")
    check_ours(folder, "generate", pictures)
    with pytest.raises(ValueError, match=r"holds .spikevaediff, which this command did not write \(2 such\)"):
        check_ours(folder, "predict --decode", pictures)
    (folder / "chapter_1.txt").touch()
    with pytest.raises(ValueError, match=r"holds chapter_1.txt, which this command did not write \(1 such\)"):
        check_ours(folder, "generate", pictures)
    with pytest.raises(ValueError, match=r"chapter_1.txt is a file, expected a folder to write"):
        check_ours(folder / "chapter_1.txt", "generate", pictures)


def test_a_file_of_others_and_a_place_that_is_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Mine")
    (tmp_path / "cards.md").write_text("# Data card: mine")
    first = {"suffix": ".md", "first": "# Data card: "}
    check_file(tmp_path / "cards.md", "cards.md", **first)
    check_file(tmp_path / "new/cards.md", "cards.md", **first)
    with pytest.raises(ValueError, match=r"README.md is there and was not written by this command. Name a new file"):
        check_file(tmp_path / "README.md", "cards.md", **first)
    with pytest.raises(ValueError, match=r"cards.md cannot be written: .*README.md is a file"):
        check_file(tmp_path / "README.md/cards.md", "cards.md")
    with pytest.raises(ValueError, match=r"is a folder, expected the name of a file to write: .*cards.md, say"):
        check_file(tmp_path, "cards.md")


def test_a_folder_without_the_right_to_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with pytest.raises(ValueError, match=r"this user may put nothing into .*mine. Name another place"):
        check_file(tmp_path / "mine/cards.md", "cards.md")


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


@pytest.mark.parametrize(
    ("words", "such_as"),
    [
        (["predict", "fit.npz", "responses.npz", "mine"], "latents.npz"),
        (["encode", "model.npz", "a.png", "--out", "mine"], "responses.csv"),
        (["preferred", "model.npz", "--out", "mine"], "preferred.csv"),
        (["figure", "gallery", "--out", "mine"], "gallery.pdf"),
        (["compare", "main", "--out", "mine"], "compare.md"),
        (["cards", "--out", "mine"], "cards.md"),
        (["assets", "bundle", "mine"], "bundle.tar"),
    ],
)
def test_a_folder_for_a_file_is_refused_before_anything_is_read(
    words: list[str], such_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    assert main(words) == 1
    expected = f"mine is a folder, expected the name of a file to write: mine/{such_as}, say\n"
    assert capsys.readouterr().err == expected
    assert list((tmp_path / "mine").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["predict", "fit.npz", "responses.npz", "out.csv"], "out.csv does not end in .npz, expected .* latents.npz"),
        (["encode", "model.npz", "a.png", "--out", "c.npz"], "c.npz does not end in .csv, expected .* responses.csv"),
        (["encode", "models", "--images", "3", "--out", "c"], "c does not end in .csv, expected .* responses.csv"),
    ],
)
def test_a_file_of_another_kind_is_refused_before_anything_is_read(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    assert re.fullmatch(f"{said}\n", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["fit.npz", "r.npz", "../here/r.npz"])
def test_what_is_read_is_not_written_over(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("fit.npz", "r.npz"):
        Path(name).write_text("precious")
    assert main(["predict", "fit.npz", "r.npz", out]) == 1
    assert f"{out} is read as well, and would be replaced. Name a new file" in capsys.readouterr().err
    assert Path(out).read_text() == "precious"


def test_the_picture_beside_a_table_is_no_folder_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "table.png").mkdir()
    assert main(["preferred", "model.npz", "--out", str(tmp_path / "table.csv")]) == 1
    assert "table.png is a folder, expected the name of a file to write" in capsys.readouterr().err
