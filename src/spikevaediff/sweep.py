"""Many experiments at once, on this machine or on a cluster: `spikevaediff sweep`.

On one machine DVC's own queue runs them side by side. On several, Dask hands one experiment to every worker: it needs
no service of its own beside a scheduler, runs by SSH, under SLURM (dask-jobqueue) and on Kubernetes alike, and gives
the experiment of a worker that died to another. Ray would bring its own object store and dashboard, and submitit
knows SLURM only. A worker shares nothing with the others but Git and the DVC remote: it clones the commit, takes what
others already computed from the remote, runs, and pushes the experiment and its results.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


def load(path: Path) -> dict[str, dict[str, list[Any]]]:
    """The sets of experiments of sweeps.yaml: name -> path in params.yaml -> values.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent or of another form.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Run this at the top of a checkout of SpikeVAEDiff")
    content = YAML(typ="safe").load(path) or {}
    for name, grid in content.items():
        if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
            raise ValueError(f"{path}: {name} must be paths of params.yaml, each with a list of values; got {grid!r}")
    return content


def experiments(name: str, grid: Mapping[str, Sequence[Any]], params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every combination of a grid, as the name of an experiment and its `-S` settings.

    Raises
    ------
    KeyError
        A path is not in params.yaml; DVC would add it as a new parameter that nothing reads.
    """
    for path in grid:
        found: Any = params
        for key in path.split("."):
            if not isinstance(found, Mapping) or key not in found:
                raise KeyError(f"sweep {name}: params.yaml has no {path}")
            found = found[key]
    combinations = list(itertools.product(*grid.values()))
    width = len(str(len(combinations) - 1))
    return {
        f"{name}-{i:0{width}d}": [f"{path}={_text(value)}" for path, value in zip(grid, values, strict=True)]
        for i, values in enumerate(combinations)
    }


def _text(value: Any) -> str:
    """A value as `dvc exp run -S` reads it."""
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return value if isinstance(value, str) else json.dumps(value)


def run_here(root: Path, wanted: Mapping[str, Sequence[str]], *, jobs: int) -> None:
    """Queue the experiments and start DVC's workers; `dvc queue status` follows them.

    Raises
    ------
    ValueError
        DVC refuses one; what was queued before it stays in the queue.
    """
    for name, settings in wanted.items():
        _dvc(root, "exp", "run", "--queue", "--name", name, *_flags(settings))
    _dvc(root, "queue", "start", "--jobs", str(jobs))


def run_on_cluster(
    root: Path, wanted: Mapping[str, Sequence[str]], *, scheduler: str, git_remote: str, tries: int
) -> Iterator[tuple[str, str | None]]:
    """Run the experiments on the workers of a Dask cluster, one at a time on each.

    The commit must be where `git_remote` points, and the DVC remote must be reachable from every worker; its settings,
    credentials included, travel with the task and are never written to Git.

    Parameters
    ----------
    root : Path
        Top of the checkout.
    wanted : mapping
        Names and settings, from `experiments`.
    scheduler : str
        Address of the Dask scheduler, such as "tcp://login-node:8786".
    git_remote : str
        Name of the Git remote that workers clone from and push experiments to.
    tries : int
        How often an experiment is given to another worker after it failed.

    Yields
    ------
    name, error : str, str or None
        Every experiment as it ends; None: it is on the Git remote, `dvc exp pull` fetches it.

    Raises
    ------
    ValueError
        There are uncommitted changes, or the commit was not pushed, or no DVC remote is set.
    """
    from distributed import Client, as_completed

    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        raise ValueError("workers run what is committed, and there are uncommitted changes. Commit or stash them first")
    commit, url = _git(root, "rev-parse", "HEAD"), _git(root, "remote", "get-url", git_remote)
    if commit not in _git(root, "ls-remote", git_remote):
        raise ValueError(f"commit {commit[:7]} is not on {git_remote}. Push it first: git push {git_remote}")
    local = root / ".dvc/config.local"
    settings = local.read_text() if local.is_file() else ""
    if not _dvc(root, "config", "core.remote", check=False).strip():
        raise ValueError("no default DVC remote is set, so workers could not share results: dvc remote add --local -d")
    with Client(scheduler, set_as_default=False) as client:
        futures = {
            client.submit(
                run_one, url, commit, name, list(options), settings, key=f"spikevaediff-{name}-{commit}", retries=tries
            ): name
            for name, options in wanted.items()
        }
        for future in as_completed(futures):
            error = future.exception() if future.status == "error" else None
            yield futures[future], str(error) if error else None


def run_one(url: str, commit: str, name: str, settings: list[str], dvc_settings: str) -> str:
    """One experiment in a clone of its own, pushed to the Git and the DVC remote it came from. Runs on a worker.

    Raises
    ------
    ValueError
        A step fails; the message ends with what it said.
    """
    with tempfile.TemporaryDirectory(prefix="spikevaediff-") as scratch:
        clone = Path(scratch) / "clone"
        _run(Path(scratch), "git", "clone", "--quiet", "--no-checkout", url, str(clone))
        _run(clone, "git", "checkout", "--quiet", "--detach", commit)
        # Written with the rights of its owner alone: it may hold credentials.
        descriptor = os.open(clone / ".dvc/config.local", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(dvc_settings)
        # What is not there yet is no error: the first worker finds an empty remote.
        _dvc(clone, "fetch", "--run-cache", check=False)
        # A worker that died after its push leaves the experiment behind; --force lets the next one take its place.
        _dvc(clone, "exp", "run", "--pull", "--force", "--name", name, *_flags(settings))
        _dvc(clone, "push", "--run-cache")
        _dvc(clone, "exp", "push", "--force", url, name)
    return name


def _flags(settings: Sequence[str]) -> list[str]:
    return [word for setting in settings for word in ("-S", setting)]


def _dvc(folder: Path, *words: str, check: bool = True) -> str:
    return _run(folder, sys.executable, "-m", "dvc", *words, check=check)


def _git(folder: Path, *words: str) -> str:
    return _run(folder, "git", *words).strip()


def _run(folder: Path, *command: str, check: bool = True) -> str:
    # The stages say `python`, which must be the one that runs this.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        said = (done.stdout + done.stderr).strip()
        words = " ".join(word for word in command if word not in (sys.executable, "-m"))
        raise ValueError(f"`{words}` ends with {done.returncode}: {said[-2000:]}")
    return done.stdout
