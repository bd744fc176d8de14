"""The lock file that is written faster is DVC's own, byte for byte; test_robustness compares a finished run."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from dvc import __version__, dvcfile
from dvc.fs import LocalFileSystem
from dvc.utils import strictyaml
from dvc.utils.serialize import load_yaml, modify_yaml
from small_profile import environment

from spikevaediff.tools import quick_dvc

Command = Callable[..., subprocess.CompletedProcess[str]]
ENTRY: dict[str, Any] = {
    "cmd": ["python -m stages.one " + "with many words that make a line of more than eighty letters " * 3, "two: 'x'"],
    "deps": [{"path": "a b.npz", "hash": "md5", "md5": "0123456789e01234", "size": 3}],
    "params": {
        "params.yaml": {"x": 1e-5, "none": None, "yes": True, "text": "on", "nothing": [], "more": {"a": [[1]]}}
    },
}


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "dvc.lock"
    path.write_bytes((ROOT / "dvc.lock").read_bytes())
    return path


def as_dvc_does(path: Path, stages: dict[str, Any]) -> str:
    """What dvc.dvcfile.Lockfile.dump_stages writes."""
    with modify_yaml(path) as data:
        if not data:
            data.update({"schema": "2.0"})
        data["stages"] = data.get("stages", {})
        for name, entry in stages.items():
            data["stages"].update({name: entry})
    return path.read_text(encoding="utf-8")


def test_the_version_is_the_one_that_is_installed_with_us() -> None:
    pinned = re.findall(r"(?m)^dvc==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    assert pinned == [quick_dvc.VERSION] == [__version__]


def test_all_stages_of_the_lock_file_are_written_as_they_are(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    stages = load_yaml(lock)["stages"]
    assert len(stages) > 60
    assert quick_dvc.with_stages(text, stages) == text


@pytest.mark.parametrize("name", ["evaluate@vdvae", "acquire", "movies", "one more"])
def test_a_stage_that_changed_is_written_as_by_dvc(name: str, lock: Path) -> None:
    ours = quick_dvc.with_stages(lock.read_text(encoding="utf-8"), {name: ENTRY})
    assert ours == as_dvc_does(lock, {name: ENTRY})


def test_the_first_stages_are_written_as_by_dvc(tmp_path: Path) -> None:
    ours = quick_dvc.with_stages("", {"b": ENTRY, "a": deepcopy(ENTRY)})
    (tmp_path / "dvc.lock").touch()
    assert ours == as_dvc_does(tmp_path / "dvc.lock", {"b": ENTRY, "a": deepcopy(ENTRY)})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema: '2.0'\n", ""),
        ("schema: '2.0'\n", "schema: '2.0'\ndatasets: []\n"),
        ("stages:\n", "stages:\n# by hand\n"),
        ("  acquire:\n", "<<<<<<< HEAD\n  acquire:\n"),
        ("  acquire:\n", "  acquire: # mine\n"),
        ("  acquire:\n", "  acquire: {}\n"),
        ("  acquire:\n", "\n  acquire:\n"),
        ("  acquire:\n", "   acquire:\n"),
        ("  acquire:\n", "  acquire:\n    cmd: x\n  acquire:\n"),
        ("  acquire:\n", "  'acquire':\n"),
    ],
)
def test_a_file_of_another_layout_is_left_to_dvc(old: str, new: str) -> None:
    text = "schema: '2.0'\nstages:\n  acquire:\n    cmd: y\n"
    assert text.count(old) == 1
    assert quick_dvc.with_stages(text, {"acquire": ENTRY}) is not None
    assert quick_dvc.with_stages(text.replace(old, new), {"acquire": ENTRY}) is None


def test_a_value_that_stands_twice_is_left_to_dvc() -> None:
    values = [1, 2]
    assert quick_dvc.with_stages("", {"a": {"params": [values, values]}}) is None


def test_parameters_are_read_again_when_they_changed(tmp_path: Path) -> None:
    path, fs = tmp_path / "params.yaml", LocalFileSystem()
    path.write_text("a: {b: 1}\n")
    quick_dvc.load_params(str(path), fs)["a"]["b"] = 7  # whoever reads may change it
    assert quick_dvc.load_params(str(path), fs) == {"a": {"b": 1}}
    path.write_text("a: {b: 12}\n")
    assert quick_dvc.load_params(str(path), fs) == {"a": {"b": 12}}
    path.unlink()
    with pytest.raises(FileNotFoundError):
        quick_dvc.load_params(str(path), fs)


def dvc(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spikevaediff", "dvc", *words]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)


def test_dvc_gets_all_words_and_its_exit_status_is_ours(tmp_path: Path) -> None:
    assert dvc(tmp_path, "--version").stdout == f"{__version__}\n"
    done = dvc(tmp_path, "repro", "--force", "x", "-s")
    assert (done.returncode, "not inside of a DVC repository" in done.stderr) == (253, True)


def ours_and_theirs(place: Path, stages: dict[str, Any]) -> Iterator[tuple[Path, Command]]:
    """Two projects of the same stages, and what each is run by."""
    for folder, command in ((place / "ours", dvc), (place / "theirs", plain)):
        folder.mkdir()
        for words in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
            subprocess.run(words, cwd=folder, env=environment(folder), check=True)
        with modify_yaml(folder / "dvc.yaml") as data:
            data["stages"] = stages
        yield folder, command


def test_a_run_writes_the_file_that_dvc_writes(tmp_path: Path) -> None:
    stages = {"one": {"cmd": "echo 1 > a", "outs": ["a"]}, "two": {"cmd": "cat a a > b", "deps": ["a"], "outs": ["b"]}}
    files = []
    for folder, command in ours_and_theirs(tmp_path, stages):
        said = ""
        for words in (("repro",), ("repro", "--force", "two"), ("repro",)):
            done = command(folder, *words)
            assert done.returncode == 0, done.stderr
            said += re.sub(r"git add (.*)", lambda line: " ".join(sorted(line[0].split())), done.stdout)  # a set
        files.append((said, (folder / "dvc.lock").read_bytes(), sorted(path.name for path in folder.glob("[!.s]*"))))
    assert files[0] == files[1]
    assert "Generating lock file 'dvc.lock'" in files[0][0]


def git(folder: Path, *words: str) -> str:
    about: dict[str, Any] = {"cwd": folder, "env": environment(folder), "text": True}
    return subprocess.run(["git", *words], capture_output=True, check=True, **about).stdout


@pytest.mark.parametrize("fails", [False, True])
def test_an_experiment_is_the_commit_that_dvc_makes(tmp_path: Path, *, fails: bool) -> None:
    """With code and results that Git keeps; and where a stage fails, the same is left in the index."""
    stages = {
        "one": {"cmd": "python one.py", "deps": ["one.py"], "params": ["a"], "outs": ["a.txt"]},
        "two": {"cmd": "cat a.txt > two.json", "deps": ["a.txt"], "metrics": [{"two.json": {"cache": False}}]},
        "three": {"cmd": f"test -e {'absent' if fails else 'two.json'}", "deps": ["two.json"]},
    }
    found = []
    for folder, command in ours_and_theirs(tmp_path, stages):
        (folder / "params.yaml").write_text("a: 1\n")
        (folder / "one.py").write_text("print(open('params.yaml').read(), file=open('a.txt', 'w'))\n")
        (folder / ".gitignore").write_text("/a.txt\n/site\n")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Before")
        (folder / "one.py").write_text("print('edited', file=open('a.txt', 'w'))\n")
        done = command(folder, "exp", "run", "--name", "other", "-S", "a=2")
        assert (done.returncode != 0) == fails, done.stderr + done.stdout
        experiment = git(folder, "for-each-ref", "--format=%(refname)", "refs/exps/*/*/other").strip()
        assert bool(experiment) != fails
        kept = git(folder, "ls-files", "--stage") if fails else git(folder, "ls-tree", "-r", experiment)
        found.append((kept, git(folder, "status", "--porcelain")))
    assert found[0] == found[1]
    assert fails or "two.json" in found[0][0]


def test_files_of_dvc_are_read_again_when_they_changed_and_refused_as_dvc_refuses_them(tmp_path: Path) -> None:
    path, fs = tmp_path / "dvc.yaml", LocalFileSystem()
    path.write_text("stages: {a: {cmd: x}}\n")
    given = str(path), dvcfile.ProjectFile.SCHEMA, fs
    quick_dvc.load_yaml(*given)[0]["stages"]["a"]["cmd"] = "y"  # whoever reads may change it
    quick_dvc.load_yaml(*given)[0]["stages"].clear()
    assert quick_dvc.load_yaml(*given) == ({"stages": {"a": {"cmd": "x"}}}, path.read_text())
    path.write_text("stages: {b: {cmd: x}}\n")
    assert list(quick_dvc.load_yaml(*given)[0]["stages"]) == ["b"]
    assert list(quick_dvc.load_yaml(*given, round_trip=True)[0]["stages"]) == ["b"]
    for wrong, error in (("stages: [", strictyaml.YAMLSyntaxError), ("stage: {}", strictyaml.YAMLValidationError)):
        path.write_text(wrong)
        for _ in range(2):
            with pytest.raises(error):
                quick_dvc.load_yaml(*given)
    path.write_bytes(b"\xff")
    with pytest.raises(strictyaml.EncodingError):
        quick_dvc.load_yaml(*given)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        quick_dvc.load_yaml(*given)


def test_a_limited_number_of_files_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_dvc, "_parsed", {})
    path = tmp_path / "dvc.lock"
    for number in range(40):
        path.write_text(f"a: {number}\n")
        assert quick_dvc.load_yaml(str(path))[0] == {"a": number}
    assert len(quick_dvc._parsed) == quick_dvc._KEPT


def plain(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *words]
    return subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False)
