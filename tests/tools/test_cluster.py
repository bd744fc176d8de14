"""A sweep on a cluster of local workers, of which one is killed, and what is refused before anything runs."""

import csv
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT
from remote_servers import free_port, running
from small_profile import commit, copied, environment, succeeded

from spikevaediff.tools import cluster

pytestmark = pytest.mark.slow

DASK = (sys.executable, "-m", "dask")


@pytest.fixture
def lab(pristine: Path, tmp_path: Path) -> Path:
    """A finished clone whose Git remote and DVC remote are folders that workers share."""
    clone = copied(pristine, tmp_path / "clone")
    (clone / "sweeps.yaml").write_text("galleries:\n  report.n_each:\n  - 1\n  - 2\n")
    commit(clone, "A sweep")
    subprocess.run(["git", "clone", "--quiet", "--bare", clone, tmp_path / "hub.git"], check=True)
    subprocess.run(["git", "remote", "set-url", "origin", tmp_path / "hub.git"], cwd=clone, check=True)
    (tmp_path / "store").mkdir()
    succeeded(clone, "remote", "add", "--local", "--default", "lab", str(tmp_path / "store"))
    return clone


def start_worker(scheduler: str, folder: Path) -> subprocess.Popen[bytes]:
    """One that runs one experiment at a time, in a process group of its own."""
    folder.mkdir()
    options = f"--host 127.0.0.1 --nworkers 1 --nthreads 1 --no-dashboard --no-nanny --local-directory {folder}"
    with (folder / "worker.log").open("w") as log:
        return subprocess.Popen(
            [*DASK, "worker", scheduler, *options.split()],
            env=environment(folder) | {"PYTHONPATH": str(ROOT / "src")},
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def kill_at_work(worker: subprocess.Popen[bytes]) -> None:
    """When a worker runs something, it dies with all that it started."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(one.read_text() for one in Path(f"/proc/{worker.pid}/task").glob("*/children")):
            time.sleep(3)
            os.killpg(worker.pid, signal.SIGKILL)
            return
        time.sleep(0.05)


def sweep(lab: Path, scheduler: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spikevaediff", "sweep", "galleries", "--cluster", scheduler],
        cwd=lab,
        env=environment(lab.parent) | {"PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def test_a_sweep_finishes_though_a_worker_is_killed(lab: Path, tmp_path: Path) -> None:
    succeeded(lab, "push", "--run-cache")
    port = free_port()
    scheduler = f"tcp://127.0.0.1:{port}"
    serve = [*DASK, "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]
    with running(serve, port, tmp_path / "scheduler.log"):
        workers = [start_worker(scheduler, tmp_path / f"worker{i}") for i in range(2)]
        killer = threading.Thread(target=kill_at_work, args=(workers[0],))
        killer.start()
        try:
            done = sweep(lab, scheduler)
            killer.join()
            assert workers[0].poll() == -signal.SIGKILL
            assert workers[1].poll() is None
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "worker1/worker.log").read_text()
    first, *ended, last = done.stdout.splitlines()
    assert first == f"2 experiments for the workers of {scheduler}, one at a time each"
    assert {line.split(" ", 1)[1] for line in ended} == {
        f"galleries-{i}: done, report.n_each={i + 1}" for i in range(2)
    }
    assert last == "Fetch them: dvc exp pull origin. Compare them: dvc exp show --only-changed."

    succeeded(lab, "exp", "pull", "origin")
    shown = csv.DictReader(io.StringIO(succeeded(lab, "exp", "show", "--csv", "--hide-workspace").output))
    assert {row["Experiment"]: row["report.n_each"] for row in shown if row["Experiment"]} == {
        f"galleries-{i}": str(i + 1) for i in range(2)
    }
    succeeded(lab, "exp", "apply", "galleries-0")
    assert succeeded(lab, "repro").ran == set()  # the results came with it

    # The same again has nothing left to do, and needs no cluster to see that.
    again = sweep(lab, scheduler)
    assert again.returncode == 1
    assert "there are uncommitted changes" in again.stderr
    subprocess.run(["git", "checkout", "--quiet", "."], cwd=lab, check=True)
    again = sweep(lab, scheduler)
    assert (again.returncode, again.stdout.count("done")) == (0, 2), again.stderr


def behind_the_branch_without_a_remote(lab: Path) -> None:
    commands = ("commit --allow-empty -qm later", "push -q origin HEAD", "checkout -q --detach HEAD~1")
    for command in commands:
        subprocess.run(["git", *command.split()], cwd=lab, env=environment(lab.parent), check=True)
    (lab / ".dvc/config.local").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lab: (lab / "params.yaml").write_text("a: 1\n"), r"there are uncommitted changes. Commit or stash"),
        (
            lambda lab: subprocess.run(
                ["git", "commit", "--allow-empty", "-qm", "x"], cwd=lab, env=environment(lab.parent), check=True
            ),
            r"commit \w{7} is not on origin. Push it first: git push origin",
        ),
        (lambda lab: (lab / ".dvc/config.local").unlink(), r"no default DVC remote is set"),
        (behind_the_branch_without_a_remote, r"no default DVC remote is set"),  # an older commit will do
    ],
)
def test_what_workers_could_not_run_is_refused_first(lab: Path, spoil: Callable[[Path], object], message: str) -> None:
    spoil(lab)
    with pytest.raises(ValueError, match=message):
        list(cluster.run(lab, {"x": []}, scheduler="tcp://127.0.0.1:1", git_remote="origin", tries=0))
