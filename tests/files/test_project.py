"""The files of a project: what Git keeps of them, and nothing that a run leaves."""

import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.files import project


def test_a_project_has_every_file_of_the_checkout_that_stages_read(tmp_path: Path) -> None:
    n_files = project.write(tmp_path / "new")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kept = {name for name in listed.split("\0") if name}
    written = {
        path.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("*") if path.is_file()
    }
    assert len(written) == n_files
    needed = {name for name in kept if name.startswith(("src/", "stages/", "vendor/")) and (ROOT / name).is_file()}
    assert not needed - written
    assert {"dvc.yaml", "params.yaml", "runs.yaml", "sweeps.yaml", "data.dvc", ".dvc/config", ".dvcignore"} <= written
    assert not [name for name in written if name.startswith(("tests/", "docs/", "plots/")) or name == "dvc.lock"]
    for name in needed:
        assert (tmp_path / "new" / name).read_bytes() == (ROOT / name).read_bytes()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is there and not empty. Name a new folder: nothing is overwritten"):
        project.write(tmp_path)
    with pytest.raises(FileExistsError, match="not empty"):
        project.write(tmp_path / "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_commands_without_a_project_use_the_files_of_the_package(tmp_path: Path) -> None:
    assert project.here(tmp_path) == project.home() == ROOT
    (tmp_path / "params.yaml").touch()
    assert project.here(tmp_path) == tmp_path
