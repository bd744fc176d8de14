"""Stages that are run where they must not be: with another Python, or in a folder whose experiment DVC would drop."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from small_profile import commit, dvc, environment

import stages
from spikevaediff.tools import sweep

CURE = "is a shallow clone, in which DVC would compute"


def test_another_python_is_named_in_one_line_with_the_cure(tmp_path: Path) -> None:
    # -S: the same Python without what is installed, as a system's own would be.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "stages.split"],
        cwd=ROOT,
        env={name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{sys.executable} lacks dvc, jax, torch: it is not this project's Python")
    assert line.endswith("Activate the environment (. .venv/bin/activate) and try again, or run: make repro")


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A DVC project with a history of two commits, whose one stage runs as those of this project do."""
    folder = tmp_path / "full"
    (folder / "stages").mkdir(parents=True)
    shutil.copyfile(ROOT / "stages/__init__.py", folder / "stages/__init__.py")
    (folder / "stages/copy.py").write_text(
        "from pathlib import Path\nPath('out').write_text(Path('params.yaml').read_text())\n"
    )
    (folder / "params.yaml").write_text("p: 1\n")
    (folder / "sweeps.yaml").write_text("s:\n  p:\n  - 3\n")
    (folder / ".gitignore").write_text("/out\n__pycache__/\n")
    (folder / "dvc.yaml").write_text(
        "stages:\n  copy:\n    cmd: python -m stages.copy\n    params:\n    - p\n    outs:\n    - out\n"
    )
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    assert dvc(folder, "init").code == 0
    commit(folder, "one")
    (folder / "more").write_text("two\n")
    commit(folder, "two")
    return folder


def cloned(full: Path, *words: str) -> Path:
    clone = full.parent / "clone"
    command = ["git", "clone", "--quiet", *words, full.as_uri(), str(clone)]
    subprocess.run(command, env=environment(full.parent), check=True)
    return clone


def temporary(clone: Path) -> Path:
    (clone / ".dvc/tmp/exps/standalone/tmpabc").mkdir(parents=True)
    return clone / ".dvc/tmp/exps/standalone/tmpabc"


def test_the_folder_of_an_experiment_in_a_shallow_clone_is_refused(full: Path) -> None:
    stages.refuse_experiment_that_would_be_lost(temporary(full))
    clone = cloned(full, "--depth", "1")
    stages.refuse_experiment_that_would_be_lost(clone)  # in place, DVC keeps it
    with pytest.raises(SystemExit, match=CURE + r" this experiment and keep nothing of it. .*git fetch --unshallow"):
        stages.refuse_experiment_that_would_be_lost(temporary(clone))
    subprocess.run(["git", "fetch", "--quiet", "--unshallow"], cwd=clone, check=True)
    stages.refuse_experiment_that_would_be_lost(clone / ".dvc/tmp/exps/standalone/tmpabc")


def test_a_sweep_in_a_shallow_clone_queues_nothing(full: Path) -> None:
    clone = cloned(full, "--depth", "1")
    with pytest.raises(ValueError, match=CURE + r" queued experiments and keep nothing of them. .*--unshallow"):
        list(sweep.run_here(clone, {"s-0": ["p=3"]}, jobs=1))
    assert not (clone / ".dvc/tmp/exps").exists()


def test_a_sweep_of_code_that_git_does_not_know_queues_nothing(full: Path) -> None:
    (full / "stages/a new one.py").write_text("")
    with pytest.raises(ValueError, match=r"Git does not know stages/a new one.py, .* git add 'stages/a new one.py'$"):
        list(sweep.run_here(full, {"s-0": ["p=3"]}, jobs=1))
    assert not (full / ".dvc/tmp/exps").exists()


@pytest.mark.slow
def test_dvc_computes_nothing_in_a_shallow_clone_that_it_would_not_keep(full: Path) -> None:
    clone = cloned(full, "--depth", "1")
    run = dvc(clone, "exp", "run", "--temp", "--name", "lost", "-S", "p=2")
    assert run.code != 0
    assert f"{clone} {CURE}" in run.output
    assert "lost" not in dvc(clone, "exp", "list").output
    # In place it is kept, and after the cure in a folder of its own as well.
    assert dvc(clone, "exp", "run", "--name", "kept", "-S", "p=3").code == 0
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=clone, check=True)
    subprocess.run(["git", "fetch", "--quiet", "--unshallow"], cwd=clone, check=True)
    assert dvc(clone, "exp", "run", "--temp", "--name", "kept-too", "-S", "p=4").code == 0
    assert {"kept", "kept-too"} <= set(dvc(clone, "exp", "list", "--name-only").output.split())


@pytest.mark.slow
def test_dvc_called_by_its_path_says_which_python_is_wrong(full: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    other = tmp_path / "bin/python"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    other.chmod(0o755)
    env = environment(tmp_path)
    env["PATH"] = f"{other.parent}{os.pathsep}{env['PATH']}"
    command = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(command, cwd=full, env=env, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode != 0
    assert "lacks dvc, jax, torch: it is not this project's Python" in done.stderr
    assert "Traceback" not in done.stderr
