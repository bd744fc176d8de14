"""The wheel, built from the sdist and installed where no checkout is: library, commands, weights, and a new project."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path

import pytest
from small_profile import environment

pytestmark = pytest.mark.slow


def said(*words: object, cwd: Path, env: dict[str, str]) -> str:
    done = subprocess.run(
        list(map(str, words)),
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}:\n{done.stdout}"
    return done.stdout


def test_an_installed_package_works_outside_the_checkout(source: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"}
    # The sdist of a tree without Git, so that it holds what MANIFEST.in says and not what Git knows.
    tree = Path(shutil.copytree(source, tmp_path / "tree", ignore=shutil.ignore_patterns(".git", "tests")))
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    said(sys.executable, "-c", build, tmp_path, cwd=tree, env=env)
    shutil.rmtree(tree)
    (sdist,) = tmp_path.glob("spikevaediff-*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    unpacked = tmp_path / sdist.name.removesuffix(".tar.gz")
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "--quiet")
    said(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        *offline,
        "--no-build-isolation",
        "-w",
        tmp_path,
        unpacked,
        cwd=tmp_path,
        env=env,
    )
    shutil.rmtree(unpacked)
    (wheel,) = tmp_path.glob("spikevaediff-*.whl")

    # An environment of its own, in which the packages of this one are found but not this checkout.
    venv = tmp_path / "venv"
    said(sys.executable, "-m", "venv", "--without-pip", venv, cwd=tmp_path, env=env)
    python = venv / "bin/python"
    site = Path(
        said(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path, env=env).strip()
    )
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    said(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel, cwd=tmp_path, env=env)
    env["PATH"] = f"{venv / 'bin'}{os.pathsep}{env['PATH']}"

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = "import spikevaediff, vdvae, versatile_diffusion, loading; print(spikevaediff.__file__, vdvae.__file__)"
    assert said(python, "-c", where, cwd=elsewhere, env=env).count(str(site)) == 2
    said("spikevaediff", "generate", "out", "--samples", "1", "--steps", "2", cwd=elsewhere, env=env)
    assert {path.name for path in (elsewhere / "out").iterdir()} == {
        "0.png",
        "sheet.png",
        "spread.png",
        ".spikevaediff",
    }

    told = said("spikevaediff", "init", "my_project", cwd=elsewhere, env=env)
    assert "cd my_project" in told
    project = elsewhere / "my_project"
    # DVC as a module: the script of the environment beside would run another Python.
    assert "Running stage 'start'" in said(python, "-m", "dvc", "repro", "start", cwd=project, env=env)
    assert (project / "artifacts/parts/core").is_file()
    again = subprocess.run(
        ["spikevaediff", "init", "my_project"], cwd=elsewhere, env=env, capture_output=True, text=True, check=False
    )
    assert again.returncode == 1
    assert again.stderr == "my_project is there and not empty. Name a new folder: nothing is overwritten\n"
