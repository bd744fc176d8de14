"""The page that a reviewer reads: two real commits compared, from Git alone."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import cloned, commit, edit

from spikevaediff.__main__ import main
from spikevaediff.tools import compare

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two commits between which a metric, a parameter and a picture change."""
    folder = tmp_path_factory.mktemp("two") / "repository"
    for name in ("metrics", "plots", ".dvc"):
        (folder / name).mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (folder / "dvc.yaml").write_text("metrics:\n- metrics/metrics.json\nparams:\n- params.yaml\n")
    (folder / "metrics/metrics.json").write_text('{"simulated": {"vdvae": {"pixcorr": 0.25, "ssim": 0.5}}}\n')
    (folder / "params.yaml").write_text("regress:\n  alpha_scope: target\nseed: 0\n")
    (folder / "plots/gallery.png").write_bytes(b"old")
    (folder / "plots/same.png").write_bytes(b"same")
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    commit(folder, "base")
    (folder / "metrics/metrics.json").write_text('{"simulated": {"vdvae": {"pixcorr": 0.375, "ssim": 0.5}}}\n')
    edit(folder / "params.yaml", {"regress.alpha_scope": "group"})
    (folder / "plots/gallery.png").write_bytes(b"new")
    (folder / "plots/more.png").write_bytes(b"more")
    commit(folder, "head")
    return folder


def revision(folder: Path, name: str) -> str:
    return subprocess.run(["git", "rev-parse", name], cwd=folder, capture_output=True, text=True).stdout.strip()


def test_the_page_shows_metrics_parameters_and_pictures_that_differ(two: Path) -> None:
    text = compare.page("HEAD~1", "HEAD", two, url="https://github.com/o/n/raw")
    assert text.startswith(compare.MARK)
    row = next(line for line in text.splitlines() if "pixcorr" in line)
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [
        "metrics/metrics.json",
        "simulated.vdvae.pixcorr",
        "0.25",
        "0.375",
        "0.125",
    ]
    assert "ssim" not in text
    row = next(line for line in text.splitlines() if "alpha_scope" in line)
    assert [cell.strip() for cell in row.split("|")[-3:-1]] == ["target", "group"]
    for name in ("HEAD~1", "HEAD"):
        assert f"![plots/gallery.png](https://github.com/o/n/raw/{revision(two, name)}/plots/gallery.png)" in text
    assert "| not there | ![plots/more.png]" in text
    assert "same.png" not in text


def test_without_an_address_pictures_are_named(two: Path) -> None:
    assert "- `plots/gallery.png` differs\n- `plots/more.png` differs" in compare.page("HEAD~1", "HEAD", two)


def test_equal_commits_are_said_to_be_equal(two: Path) -> None:
    text = compare.page("HEAD", "HEAD", two)
    for what in ("No metric differs.", "No parameter differs.", "No picture differs."):
        assert what in text


def test_a_revision_that_a_shallow_clone_lacks_is_named_with_the_cure(two: Path) -> None:
    with pytest.raises(ValueError, match=r"does not know the revision 'origin/no'. .* git fetch --unshallow"):
        compare.page("origin/no", "HEAD", two)


def test_a_revision_cannot_be_an_option(two: Path) -> None:
    with pytest.raises(ValueError, match=r"does not know the revision '--output=x'"):
        compare.page("--output=x", "HEAD", two)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_checkout_of_another_user_is_not_taken_for_a_shallow_clone(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkout"
    shutil.copytree(two, folder)
    for path in (folder, folder / ".git"):
        os.chown(path, 65534, 65534)
    says = rf"^Git cannot read {folder}: fatal: detected dubious ownership .* --add safe.directory {folder}$"
    with pytest.raises(ValueError, match=says):
        compare.page("HEAD~1", "HEAD", folder)


def test_where_there_is_no_repository_git_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"^Git cannot read {tmp_path}: fatal: not a git repository"):
        compare.page("HEAD~1", "HEAD", tmp_path)


def test_the_command_writes_a_file_or_prints(
    two: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(two)
    assert main(["compare", "HEAD~1", "--out", str(tmp_path / "page.md")]) == 0
    assert main(["compare", "HEAD~1"]) == 0
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text()
    assert main(["compare"]) == 2
    assert "name the revision to compare with" in capsys.readouterr().err
    assert main(["compare", "nowhere"]) == 1


@pytest.mark.slow
def test_a_lock_older_than_code_or_parameters_is_stale_even_in_a_clone_without_data(
    pristine: Path, tmp_path: Path
) -> None:
    clone = cloned(pristine, tmp_path)
    assert compare.stale(clone) == []
    with (clone / "src/spikevaediff/report/numbers.py").open("a") as file:
        file.write("# another line\n")
    assert "report" in compare.stale(clone)
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=clone, check=True)
    edit(clone / "params.yaml", {"split.seed": 7})
    assert "split" in compare.stale(clone)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_asks_for_least_rights(path: Path) -> None:
    text, workflow = path.read_text(), YAML(typ="safe").load(path)
    used = re.findall(r"uses: (\S+)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), f"{action} is not pinned to a commit"
    assert "pull_request_target" not in text  # which would run a fork's code with the rights of this repository
    assert "persist-credentials: false" in text
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert set(job.get("permissions", {}).items()) <= {("contents", "read"), ("pull-requests", "write")}
        for step in job["steps"]:
            # Values from outside reach the shell as variables, never as text of the script.
            assert "${{" not in step.get("run", ""), step["run"]
