"""Every command of docs/ is run, page by page, in a finished checkout of the small profile.

A page shows commands (`$ ...`) and what they print, and files, which are written before the next command. Output must
have the lines of the page in that order; "..." stands for anything, and numbers, names of commits, dates and the widths
of tables may be others.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from small_profile import copied, environment

CONSOLE = r"^```console\n(.*?)^```"
FILE = r"^[^\n]*`([\w/]+\.py)`[^\n]*:\n\n```python\n(.*?)^```"
PAGES = sorted((ROOT / "docs").glob("*.md"))


def commands(page: Path) -> list[tuple[str, list[str]]]:
    """Every command of a page's console blocks, with the lines that the page says it prints."""
    found: list[tuple[str, list[str]]] = []
    for block in re.findall(CONSOLE, page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                assert found, f"{page.name}: output before a command: {line}"
                found[-1][1].append(line)
    return found


def files(page: Path) -> dict[str, str]:
    """Every Python file that a page with commands shows, by the path that it names in the line above."""
    return dict(re.findall(FILE, page.read_text(), re.MULTILINE | re.DOTALL))


def files_before(page: Path, command: str) -> list[str]:
    """The paths of the files that a page shows above the first line of this command."""
    above = page.read_text().partition(f"\n$ {command}\n")[0]
    return [name for name, _ in re.findall(FILE, above, re.MULTILINE | re.DOTALL)]


def masked(line: str) -> str:
    """A line without what may differ between two machines and days."""
    line = re.sub(r"\x1b\[[0-9;]*m", "", line)
    line = re.sub(r"\b[0-9a-f]{7,40}\b", "<commit>", line)
    line = re.sub(r"\b\d\d:\d\d [AP]M\b", "<time>", line)
    line = re.sub(r"-?\b\d+(\.\d+)?(e-?\d+)?\b", "#", line)
    return " ".join(line.split())


def pattern(expected: list[str]) -> str:
    """A regular expression of the lines that a page shows."""
    parts = []
    for line in expected:
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(re.escape(masked(line)).replace(r"\.\.\.", ".*") + r"\n")
    return "".join(parts)


def assert_prints(said: str, expected: list[str], command: str) -> None:
    text = "".join(f"{line}\n" for line in map(masked, said.splitlines()) if line)
    assert re.fullmatch(r"(?:.*\n)*?" + pattern(expected) + r"(?:.*\n)*", text), (
        f"`{command}` printed\n{said}\nwhile the page says\n" + "\n".join(expected)
    )


def test_masks_keep_words_and_drop_numbers() -> None:
    assert masked("metrics.json  a.b   0.3189  -5e-05  1a2b3c4") == "metrics.json a.b # # <commit>"
    assert masked("1a2b3c4  rows-1  03:52 AM") == masked("5d6e7f8  rows-2  12:24 PM") == "<commit> rows# <time>"
    assert_prints("x\nStage 12 ran\ny\n", ["Stage 3 ran"], "c")
    assert_prints("a\nb\nc\n", ["a", "...", "c"], "c")
    with pytest.raises(AssertionError, match="while the page says"):
        assert_prints("Stage 12 failed\n", ["Stage 3 ran"], "c")


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [*PAGES, ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", files(ROOT / "docs/examples.md"))
def test_examples_are_formatted_as_the_code_of_the_project(name: str) -> None:
    source = files(ROOT / "docs/examples.md")[name]
    for words in (["check"], ["format", "--check", "--diff"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--stdin-filename", "src/spikevaediff/example.py", "-"]
        done = subprocess.run(ruff, cwd=ROOT, input=source, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_every_command_of_a_page_does_what_the_page_says(page: Path, pristine: Path, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    subprocess.run(["git", "branch", "--force", "--move", "main"], cwd=clone, check=True)
    # The Git and the DVC remote of a lab, as the pages take them for given.
    subprocess.run(["git", "clone", "--quiet", "--bare", clone, tmp_path / "hub.git"], check=True)
    subprocess.run(["git", "remote", "set-url", "origin", tmp_path / "hub.git"], cwd=clone, check=True)
    subprocess.run(["git", "fetch", "--quiet"], cwd=clone, check=True)
    (tmp_path / "store").mkdir()
    (tmp_path / "bin").mkdir()
    ours = f"{shlex.quote(sys.executable)} -m spikevaediff"
    for name, run in {"spikevaediff": ours, "dvc": f"{ours} dvc"}.items():  # the same DVC, sooner
        (tmp_path / "bin" / name).write_text(f'#!/bin/sh\nexec {run} "$@"\n')
        (tmp_path / "bin" / name).chmod(0o755)
    env = environment(tmp_path)
    env |= {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{env['PATH']}", "PYTHONPATH": str(clone / "src")}
    env |= {"STORE": str(tmp_path / "store"), "PAGER": "cat", "DVC_PAGER": "cat"}
    unwritten = files(page)
    try:
        for line, expected in commands(page):
            for name in files_before(page, line):
                if name in unwritten:
                    (clone / name).write_text(unwritten.pop(name), encoding="utf-8")
            done = subprocess.run(
                ["bash", "-c", line],
                cwd=clone,
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"`{line}` ends with {done.returncode}:\n{done.stdout}"
            assert_prints(done.stdout, expected, line)
            if line.startswith("dvc queue start"):
                wait_for_queue(clone, env)
    finally:
        subprocess.run(["dvc", "queue", "stop", "--kill"], cwd=clone, env=env, capture_output=True, check=False)


def wait_for_queue(clone: Path, env: dict[str, str]) -> None:
    """Until no experiment is queued or running; none may have failed."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        said = subprocess.run(["dvc", "queue", "status"], cwd=clone, env=env, capture_output=True, text=True).stdout
        assert "Failed" not in said, said
        if "Queued" not in said and "Running" not in said:
            return
        time.sleep(5)  # asking takes two seconds of the processors that experiments need
    raise AssertionError(f"the queue does not end:\n{said}")
