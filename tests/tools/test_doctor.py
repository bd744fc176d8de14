"""The doctor finds what is broken, names it, and says what to type."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from small_profile import commit, copied, environment, results, succeeded

from spikevaediff.__main__ import main
from spikevaediff.files import assets
from spikevaediff.tools import doctor, dvc_cache


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A DVC cache of two whole objects: a file and the list of a folder."""
    for content in (b"counts", b'[{"md5": "5eb63bbbe01eeed093cb22bb8f5acdc3", "relpath": "0042.png"}]'):
        put(tmp_path, content)
    return tmp_path


def put(cache: Path, content: bytes, suffix: str = "") -> Path:
    import hashlib

    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / "files/md5" / digest[:2] / (digest[2:] + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_whole_cache_is_fine(cache: Path) -> None:
    finding = doctor.damaged_objects(cache, {})
    assert finding.state == "fine"
    assert finding.text.startswith("2 objects")


def test_a_flipped_bit_is_found_and_its_place_named(cache: Path) -> None:
    path = dvc_cache.objects(cache)[0]
    digest = path.parent.name + path.name
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))
    finding = doctor.damaged_objects(cache, {digest: [Path("artifacts/responses/visual.npz")]})
    assert finding.state == "broken"
    assert finding.text == f"1 damaged objects: {path} (= artifacts/responses/visual.npz)"
    assert "--remove-damaged" in finding.cure


@pytest.mark.parametrize(
    ("remote", "state", "says"),
    [
        ("", "broken", "dataset is nsd, its terms forbid passing it on; `dvc push` sends all of it"),
        ("not_shared", "note", "recordings, images, captions and responses stay here; features"),
        ("lab", "note", "`dvc push` sends recordings, images, captions and responses to lab"),
    ],
)
def test_what_may_not_be_passed_on_is_said(tmp_path: Path, remote: str, state: str, says: str) -> None:
    text = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(text)
    assert list(doctor.private_data(tmp_path)) == []
    text = text.replace("dataset: simulated", "dataset: nsd").replace(
        'recordings_remote: ""', f'recordings_remote: "{remote}"'
    )
    (tmp_path / "params.yaml").write_text(text)
    (finding,) = doctor.private_data(tmp_path)
    assert finding.state == state
    assert says in finding.text


def test_the_list_of_a_folder_is_hashed_too(tmp_path: Path) -> None:
    path = put(tmp_path, b"[]", suffix=".dir")
    assert dvc_cache.damage(tmp_path) == ([], 2)
    path.write_bytes(b"[ ]")
    assert dvc_cache.damage(tmp_path)[0] == [path]


def test_an_object_that_cannot_be_read_is_named(cache: Path) -> None:
    (cache / "files/md5/ab").mkdir()
    (cache / "files/md5/ab/cd").mkdir()
    finding = doctor.damaged_objects(cache, {})
    assert finding.state == "broken"
    assert finding.text == f"{cache / 'files/md5/ab/cd'} cannot be read (Is a directory)"


def test_a_damaged_dvc_file_does_not_end_the_examination(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text("outs: [\n")
    (tmp_path / "more.dvc").write_text("outs:\n- md5: a123\n  path: more\n")
    assert dvc_cache.workspace_paths(tmp_path) == {"a123": [Path("more")]}


def test_half_written_files_are_counted(cache: Path) -> None:
    (dvc_cache.objects(cache)[0].parent / ".x.tmp").write_bytes(b"half")
    assert doctor.damaged_objects(cache, {}).text.endswith("1 half-written files of killed runs")


def test_another_version_is_named(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("numpy==0.0.1\nno-such-package==1.0\n# a comment\n")
    finding = doctor.versions(tmp_path)
    assert finding.state == "note"
    assert "instead of 0.0.1" in finding.text
    assert "no-such-package" not in finding.text


def test_the_environment_of_these_tests_is_the_pinned_one() -> None:
    assert doctor.versions(ROOT).state == "fine", doctor.versions(ROOT).text


def test_missing_assets_are_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "empty"))
    finding = doctor.missing_assets()
    embedded = [name for name, asset in assets.ASSETS.items() if asset.embedded]
    assert finding.state == "note"
    assert finding.cure == f"spikevaediff assets fetch {' '.join(embedded)}"


def test_damaged_assets_are_named_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path))
    path = assets.location("lpips_heads")
    path.parent.mkdir()
    path.write_bytes(bytes(assets.ASSETS["lpips_heads"].bytes))
    finding = doctor.missing_assets()
    assert finding.state == "note"
    assert finding.text.startswith(f"lpips_heads damaged in {tmp_path}; ")
    assert finding.cure.startswith("spikevaediff assets fetch lpips_heads ")


def test_a_disk_that_is_nearly_full_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.free_disk(ROOT).state == "fine"
    monkeypatch.setattr(doctor, "FREE_BYTES", 10**18)
    assert doctor.free_disk(ROOT).state == "note"


def test_a_lock_of_a_process_that_is_gone_is_told_from_a_living_one(tmp_path: Path) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for pid, state in ((gone.pid, "note"), (os.getpid(), "fine")):
        (tmp_path / ".dvc/tmp/rwlock").write_text(json.dumps({"x": {"write": {"pid": pid, "cmd": "dvc repro"}}}))
        finding = doctor.locks(tmp_path)
        assert (finding.state, str(pid) in finding.text) == (state, True)


def test_a_damaged_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    for cut_off in ("{", ""):
        (tmp_path / ".dvc/tmp/rwlock").write_text(cut_off)
        assert doctor.locks(tmp_path).state == "broken"


def test_outside_a_checkout_the_doctor_says_where_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 1
    assert "has no dvc.yaml. Run this at the top of a checkout" in capsys.readouterr().err


def run_doctor(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spikevaediff", "doctor", *words],
        cwd=clone,
        env=environment(clone.parent) | {"PYTHONPATH": str(clone / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_byte_that_flips_in_the_cache_is_found_removed_and_made_again(pristine: Path, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    before = results(clone)
    assert "dvc.lock agrees with code, parameters and files" in run_doctor(clone).stdout
    # The same file under both names, as on a disk where DVC links instead of copying.
    visual = clone / "artifacts/responses/visual.npz"
    (object_path,) = (
        path for path in dvc_cache.objects(clone / ".dvc/cache") if path.read_bytes() == visual.read_bytes()
    )
    content = bytearray(visual.read_bytes())
    content[len(content) // 2] ^= 1
    object_path.unlink()
    object_path.write_bytes(bytes(content))
    object_path.chmod(0o444)  # as DVC protects it; an object that may be written is one that DVC hashes again itself
    visual.unlink()
    os.link(object_path, visual)

    found = run_doctor(clone)
    assert found.returncode == 1
    assert "1 damaged objects" in found.stdout
    assert "responses/visual.npz" in found.stdout.replace("\n", "").replace(" ", "")
    removed = run_doctor(clone, "--remove-damaged")
    assert removed.returncode == 0, removed.stdout
    assert "removed artifacts/responses/visual.npz" in removed.stdout
    run = succeeded(clone, "repro")
    assert run.ran == {"responses@visual"}
    assert run.files == before


@pytest.mark.slow
def test_a_changed_parameter_is_noted(pristine: Path, tmp_path: Path) -> None:
    from small_profile import edit

    clone = copied(pristine, tmp_path / "clone")
    edit(clone / "params.yaml", {"split.seed": 3})
    finding = doctor.stale_results(clone)
    assert (finding.state, finding.cure) == ("note", "dvc repro")
    assert "split" in finding.text


def repository(folder: Path, *commits: str) -> Path:
    folder.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    for message in commits:
        (folder / message).touch()
        commit(folder, message)
    return folder


def test_a_copy_of_the_data_that_is_older_than_the_data_is_noted(tmp_path: Path) -> None:
    for folder in ("vendor/data", "data"):
        (tmp_path / folder / "mine").mkdir(parents=True)
        (tmp_path / folder / "mine/images.csv").write_text("1")
    assert doctor.imported_data(tmp_path).state == "fine"
    (tmp_path / "vendor/data/mine/images.csv").write_text("2")  # as long as before
    (tmp_path / "vendor/data/mine/units.csv").touch()
    found = doctor.imported_data(tmp_path)
    assert (found.state, found.cure) == ("note", "dvc repro -f data.dvc")
    assert found.text.endswith("2 files differ: mine/images.csv, mine/units.csv")


def test_data_that_git_does_not_know_is_noted(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "one")
    (root / "vendor/data/mine/sessions").mkdir(parents=True)
    assert [found.state for found in doctor.untracked_data(root)] == ["fine"]
    (root / "vendor/data/mine/sessions/1.csv").touch()
    (root / "vendor/data/mine/units.csv").touch()
    (found,) = doctor.untracked_data(root)
    assert found.text.startswith("vendor/data/mine/sessions/1.csv and 1 more not in Git")
    assert found.cure.startswith("git add vendor/data/mine ")


def test_of_data_in_a_folder_that_is_no_clone_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "vendor/data/mine").mkdir(parents=True)
    assert list(doctor.untracked_data(tmp_path)) == []


def test_experiments_that_show_numbers_of_another_run_are_noted(tmp_path: Path) -> None:
    root = repository(tmp_path / "root", "one")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True).stdout
    entry = "    {}:\n    - path: artifacts/scores/vdvae.json\n      hash: md5\n      md5: {}\n      size: 1\n"

    def experiment(name: str, written: str, read: str, shown: bool = True) -> None:
        lock = "  evaluate@vdvae:\n    cmd: a\n" + entry.format("outs", written)
        lock += "  report:\n    cmd: b\n" + entry.format("deps", read)
        (root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n{lock}")
        (root / "metrics").mkdir(exist_ok=True)
        (root / "metrics/metrics.json").write_text("{}") if shown else (root / "metrics/metrics.json").unlink()
        commit(root, name)
        ref = f"refs/exps/{head[:2]}/{head.strip()[2:]}/{name}"
        subprocess.run(["git", "update-ref", ref, "HEAD"], cwd=root, check=True)

    experiment("whole", "a" * 32, "a" * 32)
    experiment("partial", "b" * 32, "a" * 32)
    experiment("withdrawn", "b" * 32, "a" * 32, shown=False)
    subprocess.run(["git", "reset", "--quiet", "--hard", head.strip()], cwd=root, check=True)
    found = doctor.stale_experiments(root)
    assert (found.state, found.text) == ("note", "metrics were not computed in, but left over in: partial")
    assert found.cure == "dvc exp remove partial, and run them without a target"


def test_a_shallow_clone_is_noted_with_the_cure(tmp_path: Path) -> None:
    full = repository(tmp_path / "full", "one", "two")
    assert doctor.git(full).state == "fine"
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", full.as_uri(), shallow], check=True)
    finding = doctor.git(shallow)
    assert (finding.state, finding.cure) == ("note", "git fetch --unshallow")
    assert "`dvc exp run --temp` and `--queue` would keep nothing" in finding.text
    subprocess.run([*finding.cure.split(), "--quiet"], cwd=shallow, check=True)
    assert doctor.git(shallow).state == "fine"


def test_a_folder_that_is_no_clone_is_noted(tmp_path: Path) -> None:
    finding = doctor.git(tmp_path)
    assert finding.state == "note"
    assert "not a git repository" in finding.text
    assert finding.cure.endswith("dvc config --local core.no_scm true")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_checkout_of_another_user_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = repository(tmp_path / "a checkout", "one")
    monkeypatch.setenv("HOME", str(tmp_path))  # the cure writes Git's settings of the user
    for path in (folder, folder / ".git"):
        os.chown(path, 65534, 65534)
    finding = doctor.git(folder)
    assert finding.state == "broken"
    assert "belongs to another user" in finding.text
    subprocess.run(finding.cure, shell=True, check=True)
    assert doctor.git(folder).state == "fine"


def test_the_python_of_stages_is_compared_with_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(sys.executable).parent
    monkeypatch.setenv("PATH", str(here))
    assert doctor.python_of_stages().state == "fine"
    (tmp_path / "python").symlink_to(sys.executable)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{here}")
    finding = doctor.python_of_stages()
    assert (finding.state, finding.cure) == ("broken", f". {here}/activate")
    assert finding.text == f"stages would run with {tmp_path / 'python'}, not with {sys.executable}"
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert "PATH has none" in doctor.python_of_stages().text


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    assert doctor.folders(tmp_path).state == "fine"
    (tmp_path / "cache").write_text("a file")  # below which not even root can write
    finding = doctor.folders(tmp_path)
    assert (finding.state, finding.cure) == ("note", "export SPIKEVAEDIFF_CACHE=FOLDER")
    (tmp_path / "state").write_text("a file")
    finding = doctor.folders(tmp_path)
    assert finding.state == "broken"
    assert finding.text == f"this user may not write DVC's state ({tmp_path / 'state'})"
    assert "export DVC_SITE_CACHE_DIR=FOLDER" in finding.cure


@pytest.mark.parametrize("content", ["[1, 2]\n", "stages: [\n"])
def test_a_lock_file_without_stages_is_broken(content: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.lock").write_text(content)
    assert dvc_cache.recorded_stages(tmp_path) is None
    assert doctor.stale_results(tmp_path).state == "broken"
