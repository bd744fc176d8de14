"""`spikevaediff init`: write a new project."""

import argparse
import shlex
import subprocess
from pathlib import Path

from spikevaediff.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the arguments of `init`."""
    beginning = commands.add_parser(
        "init",
        help="write a new project: the pipeline, its parameters, data sets and mini weights",
        description="Writes a project of DVC and Git into FOLDER, with a copy of the code, on which its stages depend.",
    )
    beginning.add_argument("folder", metavar="FOLDER", type=Path, help="such as my_project; new or empty")
    beginning.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Write the project, a Git repository where it is in none, and say how to go on."""
    from spikevaediff.files import project

    n_files = project.write(chosen.folder)
    # A folder within another repository is a project of that one.
    inside = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=chosen.folder, capture_output=True, check=False)
    if inside.returncode:
        subprocess.run(["git", "init", "--quiet"], cwd=chosen.folder, check=True)
    print(f"{chosen.folder}: {n_files} files. Go on with:")
    print(f"cd {shlex.quote(str(chosen.folder))}")
    print("git add . && git commit -m 'A new project'   # experiments begin at a commit")
    print("dvc repro                                    # the embedded data set")
    return 0
