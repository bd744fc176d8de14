"""The Dockerfile copies what is there and what the package needs, from a base with an exact version."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.files import project

TEXT = (ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n\s*", " ", TEXT).splitlines()


def copied() -> list[str]:
    return [name for line in LINES if line.startswith("COPY ") for name in line.split()[1:-1]]


def test_every_path_that_is_copied_is_kept_by_git_and_not_ignored_by_docker() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    kept = listed.split("\0")
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied():
        assert any(one == name or one.startswith(f"{name}/") for one in kept) or (ROOT / name).is_file(), name
        assert f"!{name}" in ignored, f"{name} is not in .dockerignore"


def test_a_project_can_be_built_from_what_is_copied() -> None:
    there = copied()
    for name in project.files_of(ROOT):
        assert any(name == one or name.startswith(f"{one}/") for one in there), f"COPY {name}"
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "src", "vendor"):
        assert name in there


def test_the_base_is_exact_and_a_python_that_runs_this() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", TEXT, re.MULTILINE)
    major, minor, patch = re.fullmatch(r"python:(\d+)\.(\d+)\.(\d+)-slim-\w+(?:@sha256:[0-9a-f]{64})?", base).groups()
    assert (3, 11) <= (int(major), int(minor)) < (3, 15)
    assert (major, minor, patch) != ("3", "14", "1")


def test_it_does_not_run_as_root_and_leaves_no_package_lists() -> None:
    assert [line for line in LINES if line.startswith("USER ")] == ["USER 1000"]
    assert all("rm -rf /var/lib/apt/lists/*" in line for line in LINES if "apt-get install" in line)
    assert all("--no-cache-dir" in line for line in LINES if "pip install" in line and line.startswith("RUN"))
    assert all(
        "--constraint constraints.txt" in line for line in LINES if "pip install" in line and line.startswith("RUN")
    )
    assert "ADD " not in TEXT


def test_the_linter_of_dockerfiles_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    if not linter.is_file():
        pytest.skip("hadolint is not installed: pip install '.[lint]'")
    done = subprocess.run([linter, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yaml")), ids=lambda path: path.stem)
def test_forms_for_issues_have_what_they_need(path) -> None:
    form = YAML(typ="safe").load(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["type"] in ("textarea", "input", "markdown") for field in form["body"])
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_links_of_the_guide_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (ROOT / "CONTRIBUTING.md").read_text()):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"^make ([\w-]+)", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), target
