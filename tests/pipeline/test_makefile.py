"""The Makefile sets up and runs with the programs of .venv alone, whatever stands in PATH."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

TARGETS = ("setup", "repro", "test", "test-slow", "lint", "audit", "bench", "clean", ".venv/installed")
# What a recipe may call by name: what every POSIX system has, and the Python that makes the environment.
BY_NAME = {"touch", "rm", "echo", "exit", "true", "python3"}


def make(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    found = shutil.which("make")
    if found is None:
        pytest.skip("make is not on this machine")
    return subprocess.run(
        [found, *words],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout as far as make sees it, in a path with a space."""
    folder = tmp_path / "a checkout"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def programs(line: str) -> list[str]:
    """The first word of each command of a line of a recipe, after assignments."""
    found = []
    for part in re.split(r"\|\||&&|[;{}]", re.sub(r"'[^']*'|\"[^\"]*\"", "quoted", line)):
        words = [word for word in part.split() if not re.match(r"\w+=", word)]
        found += words[:1]
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("torch", ["", "cpu"])
def test_no_line_looks_for_a_program_of_ours_in_path(checkout: Path, target: str, torch: str) -> None:
    said = make(checkout, "-n", "-B", target, f"TORCH={torch}", PYTHONDONTWRITEBYTECODE="1")
    assert said.returncode == 0, said.stderr
    lines = said.stdout.replace("\\\n", " ").splitlines()
    assert lines
    for line in lines:
        for program in programs(line):
            assert program == ".venv/bin/python" or program in BY_NAME, line


@pytest.mark.parametrize(("environment", "compiled"), [({}, False), ({"PYTHONDONTWRITEBYTECODE": "1"}, True)])
def test_packages_are_compiled_where_python_would_not_keep_what_it_compiles(
    checkout: Path, environment: dict[str, str], compiled: bool
) -> None:
    assert ("-m compileall" in make(checkout, "-n", "-B", "setup", **environment).stdout) == compiled


def with_python(checkout: Path, script: str) -> None:
    """A finished environment whose python is a shell script."""
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").write_text(f"#!/bin/sh\n{script}\n")
    (checkout / ".venv/bin/python").chmod(0o755)
    (checkout / ".venv/installed").touch()


def test_every_target_runs_the_python_of_the_environment_and_no_other_of_its_name(checkout: Path) -> None:
    with_python(checkout, 'echo "ours $*"')
    other = checkout / "others"
    other.mkdir()
    for name in ("python", "pip", "dvc", "pytest", "ruff", "mypy", "pip-audit"):
        (other / name).write_text('#!/bin/sh\necho "another one" && exit 3\n')
        (other / name).chmod(0o755)
    for target in ("repro", "test", "test-slow", "lint", "audit", "bench"):
        said = make(checkout, "-s", target, PATH=f"{other}{os.pathsep}{os.environ['PATH']}")
        assert said.returncode == 0, said.stdout + said.stderr
        assert all(line.startswith("ours -m") or "bench" in line for line in said.stdout.splitlines()), said.stdout


def test_the_stages_find_the_python_of_the_environment_first(checkout: Path) -> None:
    with_python(checkout, 'command -v python; [ "$*" = "-m spikevaediff dvc repro" ]')
    said = make(checkout, "-s", "repro")
    assert said.returncode == 0, said.stderr
    assert said.stdout.strip() == str(checkout / ".venv/bin/python")


def test_another_data_set_is_an_experiment_with_the_parameters_that_go_with_it(checkout: Path) -> None:
    with_python(checkout, 'for word in "$@"; do echo "$word"; done')
    asked = {
        ("DATASET=cowley_v4", "SET=-S split.n_folds=5"): [
            *("dataset=cowley_v4", "areas.visual=[V4]", "areas.control=shuffled"),
            *("responses.start_s=0.05", "responses.duration_s=0.1"),
            *("decode.posterior.prior=photographs", "decode.posterior.prior_weight=0.03", "decode.posterior.steps=12"),
            *(
                "decode.posterior.luminance_weight=0.1",
                "decode.posterior_images.regression_share=0.5",
                "models.mini.diffusion.start_share=0.5",
                "regress.common.library_weights=[0.0,0.03,0.1,0.3,1.0]",
                "split.n_folds=5",
            ),
        ],
        ("DATASET=allen",): ["dataset=allen"],
        ("SET=-S seed=1",): ["seed=1"],
    }
    for words, settings in asked.items():
        said = make(checkout, "-s", "repro", *words)
        assert said.returncode == 0, said.stderr
        options = [word for setting in settings for word in ("-S", setting)]
        assert said.stdout.split() == ["-m", "spikevaediff", "dvc", "exp", "run", *options]


@pytest.mark.parametrize(
    ("version", "right"), [("3.9.6", 0), ("3.14.1", 0), ("3.15.0", 0), ("3.11.0", 1), ("3.14.2", 1)]
)
def test_a_python_that_cannot_run_this_is_refused_before_anything_is_made(
    checkout: Path, version: str, right: int
) -> None:
    fake = checkout / "python"
    numbers = tuple(map(int, version.split(".")))
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = -c ] || exit 4\n'
        f'exec {sys.executable} -c "import sys; sys.version_info = {numbers}; exec(sys.argv[1])" "$2"\n'
    )
    fake.chmod(0o755)
    said = make(checkout, ".venv/installed", "PYTHON=./python")
    assert said.returncode != 0
    refused = (
        f"Python {version} cannot run this: expected 3.11 to 3.14, except 3.14.1. Choose one: make PYTHON=python3.12"
    )
    assert (refused in said.stderr) == (not right)
    assert not (checkout / ".venv").exists()


def test_a_cpu_build_that_no_index_has_is_said_before_anything_is_installed(checkout: Path) -> None:
    with_python(checkout, 'echo "$*" >> calls; case "$*" in *torch==*) exit 1;; esac')
    (checkout / ".venv/installed").unlink()
    said = make(checkout, ".venv/installed", "TORCH=cpu", "PYTHON=true")
    assert said.returncode != 0
    assert "no index that pip knows has it. Set PIP_EXTRA_INDEX_URL to the address that PyTorch names" in said.stderr
    (call,) = (checkout / "calls").read_text().splitlines()
    pinned = re.search(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert call.endswith(f"torch=={pinned[1]}" + ("+cpu" if sys.platform == "linux" else ""))
    assert not (checkout / ".venv/installed").exists()


def test_another_build_than_cpu_is_refused(checkout: Path) -> None:
    said = make(checkout, "repro", "TORCH=gpu")
    assert said.returncode != 0
    assert "TORCH is gpu, expected cpu or nothing" in said.stderr


def test_the_readme_and_the_metadata_name_the_same_pythons() -> None:
    assert 'requires-python = ">=3.11,!=3.14.1,<3.15"' in (ROOT / "pyproject.toml").read_text()
    assert "Python 3.11 to 3.14 (not 3.14.1)" in " ".join((ROOT / "README.md").read_text().split())
