"""A sweep on many machines: `spikevaediff sweep NAME --cluster ADDRESS`.

Dask hands one experiment to every worker: it needs no service of its own beside a scheduler, runs by SSH, under SLURM
(dask-jobqueue) and on Kubernetes alike, and gives the experiment of a worker that died to another. Ray would bring its
own object store and dashboard, and submitit knows SLURM only. A worker shares nothing with the others but Git and the
DVC remote: it clones the commit, takes what others already computed from the remote, runs, and pushes the experiment
and its results.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from distributed import Client, as_completed, get_worker

from spikevaediff.tools.shell import command, dvc, flags, folder_of


def run(
    root: Path, wanted: Mapping[str, Sequence[str]], *, scheduler: str, git_remote: str, tries: int
) -> Iterator[tuple[str, str | None]]:
    """Run the experiments on the workers of a Dask cluster, one at a time on each thread of a worker.

    The commit must be on a branch of `git_remote`, and the DVC remote must be reachable from every worker; its
    settings, credentials included, travel with the task and are never written to Git.

    Parameters
    ----------
    root : Path
        Top of the checkout.
    wanted : mapping
        Names and settings, from `sweep.experiments`.
    scheduler : str
        Address of the Dask scheduler, such as "tcp://login-node:8786".
    git_remote : str
        Name of the Git remote that workers clone from and push experiments to.
    tries : int
        How often an experiment is given to another worker after it failed. One whose worker died does not count: Dask
        gives it to four workers at most.

    Yields
    ------
    name, error : str, str or None
        Every experiment as it ends, first those that an earlier call finished; None: it is on the Git remote, and
        `dvc exp pull` fetches it.

    Raises
    ------
    ValueError
        There are uncommitted changes, the commit was not pushed, no DVC remote is set, or no scheduler answers.
    """
    if command(root, "git", "status", "--porcelain", "--untracked-files=no"):
        raise ValueError("workers run what is committed, and there are uncommitted changes. Commit or stash them first")
    commit = command(root, "git", "rev-parse", "HEAD").strip()
    url = command(root, "git", "remote", "get-url", git_remote).strip()
    command(root, "git", "fetch", "--quiet", git_remote)
    if not command(root, "git", "branch", "--remotes", "--contains", commit, "--list", f"{git_remote}/*"):
        raise ValueError(f"commit {commit[:7]} is not on {git_remote}. Push it first: git push {git_remote}")
    # An interrupted sweep continues: names at a commit mean what its sweeps.yaml says.
    refs = command(root, "git", "ls-remote", git_remote)
    made = {line.split("/")[-1] for line in refs.splitlines() if f"refs/exps/{folder_of(root)}/" in line}
    local = root / ".dvc/config.local"
    settings = local.read_text(encoding="utf-8") if local.is_file() else ""
    if not dvc(root, "config", "core.remote", check=False).strip():
        raise ValueError("no default DVC remote is set, so workers could not share results: dvc remote add --local -d")
    yield from ((name, None) for name in wanted if name in made)
    if made.issuperset(wanted):
        return
    try:
        client = Client(scheduler)
    except OSError as error:
        raise ValueError(f"no Dask scheduler answers at {scheduler}. Start one: dask scheduler") from error
    with client:
        futures = {
            client.submit(
                run_one, url, commit, name, list(options), settings, key=f"spikevaediff-{name}-{commit}", retries=tries
            ): name
            for name, options in wanted.items()
            if name not in made
        }
        for future in as_completed(list(futures)):
            # Without an exception it is "cancelled" or "lost": the scheduler is gone.
            reason = future.exception() if future.status == "error" else future.status
            yield futures[future], None if future.status == "finished" else str(reason)


def run_one(url: str, commit: str, name: str, settings: list[str], dvc_settings: str) -> str:
    """One experiment in a clone of its own, pushed to the Git and the DVC remote it came from. Runs on a worker.

    Raises
    ------
    ValueError
        A step fails; the message ends with what it said.
    """
    place = Path(get_worker().local_directory)
    with tempfile.TemporaryDirectory(prefix="spikevaediff-", dir=place) as scratch:
        clone = Path(scratch) / "clone"
        command(Path(scratch), "git", "clone", "--quiet", "--no-checkout", url, str(clone))
        command(clone, "git", "checkout", "--quiet", "--detach", commit)
        # Written with the rights of its owner alone: it may hold credentials.
        descriptor = os.open(clone / ".dvc/config.local", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(dvc_settings)
        if not dvc(clone, "config", "cache.dir", check=False).strip():
            # Kept as long as the worker lives, so that its next experiment fetches only what is new.
            dvc(clone, "config", "--local", "cache.dir", str(place / "dvc-cache"))
        # All of the commit at once: --pull alone would ask the remote stage by stage. What nobody pushed is no error.
        dvc(clone, "fetch", check=False)
        dvc(clone, "exp", "run", "--pull", "--name", name, *flags(settings))
        # Results first: an experiment that can be seen can be had. A worker that died in between leaves its own behind,
        # and --force lets the next one take its place.
        dvc(clone, "push", "--run-cache")
        dvc(clone, "exp", "push", "--force", "--no-cache", url, name)
    return name
