"""Commands of Git and DVC run in a folder, and what they say."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and keep what it prints; `python` is the one that runs this, as stages need it."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return subprocess.run(
        words,
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def command(folder: Path, *words: str, check: bool = True) -> str:
    """What a command prints to standard output.

    Raises
    ------
    ValueError
        It fails and `check` is set; the message ends with what it said.
    """
    done = run(folder, *words)
    if check and done.returncode:
        said = (done.stdout + done.stderr).strip()
        shown = " ".join(word for word in words if word not in (sys.executable, "-m"))
        raise ValueError(f"`{shown}` ends with {done.returncode}: {said[-2000:]}")
    return done.stdout


def dvc(folder: Path, *words: str, check: bool = True) -> str:
    """What a dvc command prints; see `command`."""
    return command(folder, sys.executable, "-m", "dvc", *words, check=check)


def flags(settings: Sequence[str]) -> list[str]:
    """Settings as options of `dvc exp run`."""
    return [word for setting in settings for word in ("-S", setting)]


def cause(said: str) -> str:
    """Of what a dvc command said, the line with the reason; an invitation to DVC's support may come behind it."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["no message"])[-1]


def is_shallow(root: Path) -> bool:
    """Whether the clone holds only the last commits of its history (`git clone --depth`)."""
    return command(root, "git", "rev-parse", "--is-shallow-repository").strip() == "true"


def folder_of(root: Path) -> str:
    """Where DVC keeps the experiments of the present commit, below refs/exps/."""
    commit = command(root, "git", "rev-parse", "HEAD").strip()
    return f"{commit[:2]}/{commit[2:]}"
