"""Sets of experiments: what they expand to, and a run on a cluster of local workers of which one is killed."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import ROOT
from remote_servers import free_port, running
from ruamel.yaml import YAML
from small_profile import commit, environment, succeeded

from spikevaediff import sweep
from spikevaediff.__main__ import main

PARAMS = {"a": {"b": 1, "names": ["x"]}, "c": True}


def test_every_combination_becomes_an_experiment() -> None:
    made = sweep.experiments("s", {"a.b": [1, 2.5], "c": [True, None]}, PARAMS)
    assert made == {
        "s-0": ["a.b=1", "c=true"],
        "s-1": ["a.b=1", "c=null"],
        "s-2": ["a.b=2.5", "c=true"],
        "s-3": ["a.b=2.5", "c=null"],
    }


def test_lists_are_written_as_dvc_reads_them() -> None:
    assert sweep.experiments("s", {"a.names": [["VISp", "LP"]]}, PARAMS) == {"s-0": ["a.names=[VISp,LP]"]}


def test_a_path_that_params_yaml_lacks_is_refused() -> None:
    with pytest.raises(KeyError, match=r"sweep s: params.yaml has no a.bb"):
        sweep.experiments("s", {"a.bb": [1]}, PARAMS)


def test_the_ready_made_sweeps_fit_params_yaml() -> None:
    grids, params = sweep.load(ROOT / "sweeps.yaml"), YAML(typ="safe").load(ROOT / "params.yaml")
    for name, grid in grids.items():
        assert len(sweep.experiments(name, grid, params)) > 1


def test_a_sweep_without_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps.yaml").write_text("s:\n  a.b: 1\n")
    with pytest.raises(ValueError, match=r"s must be paths of params.yaml, each with a list of values; got"):
        sweep.load(tmp_path / "sweeps.yaml")


def test_a_folder_without_sweeps_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sweeps.yaml does not exist. Run this at the top of a checkout"):
        sweep.load(tmp_path / "sweeps.yaml")


def test_the_command_lists_and_prints_and_names_what_exists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["sweep"]) == 0
    assert "methods: 3 experiments over regress.vdvae.method" in capsys.readouterr().out
    assert main(["sweep", "methods", "--dry-run"]) == 0
    assert "dvc exp run --name methods-1 -S regress.vdvae.method=kernel_ridge" in capsys.readouterr().out
    assert main(["sweep", "methodz"]) == 1
    assert "sweeps.yaml has no 'methodz'; there are regions, alphas, methods" in capsys.readouterr().err


@pytest.fixture
def lab(pristine: Path, tmp_path: Path) -> Path:
    """A finished clone whose Git remote and DVC remote are folders that workers share."""
    clone = Path(shutil.copytree(pristine, tmp_path / "clone"))
    (clone / "sweeps.yaml").write_text("galleries:\n  report.n_each:\n  - 1\n  - 2\n  - 3\n")
    commit(clone, "A sweep")
    subprocess.run(["git", "clone", "--quiet", "--bare", clone, tmp_path / "hub.git"], check=True)
    subprocess.run(["git", "remote", "set-url", "origin", tmp_path / "hub.git"], cwd=clone, check=True)
    (tmp_path / "store").mkdir()
    succeeded(clone, "remote", "add", "--local", "--default", "lab", str(tmp_path / "store"))
    succeeded(clone, "push", "--run-cache")
    return clone


@pytest.mark.slow
def test_a_cluster_finishes_a_sweep_though_a_worker_is_killed(lab: Path, tmp_path: Path) -> None:
    env = environment(tmp_path)
    port = free_port()
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
    scheduler = f"tcp://127.0.0.1:{port}"
    with running([*dask, "--no-dashboard"], port, tmp_path / "scheduler.log"):
        workers = [
            subprocess.Popen(
                [
                    *(sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--host", "127.0.0.1"),
                    *("--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--no-nanny"),
                ],
                env=env | {"DVC_SITE_CACHE_DIR": str(tmp_path / f"site{i}"), "PYTHONPATH": str(ROOT / "src")},
                cwd=tmp_path,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for i in range(2)
        ]

        def kill_one_at_work() -> None:
            """As soon as the first worker has a clone of its own, it dies with all that it started."""
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                for child in Path(f"/proc/{workers[0].pid}/task").glob("*/children"):
                    if child.read_text().split():
                        time.sleep(2)
                        os.killpg(workers[0].pid, signal.SIGKILL)
                        return
                time.sleep(0.05)

        killer = threading.Thread(target=kill_one_at_work)
        killer.start()
        try:
            done = subprocess.run(
                [sys.executable, "-m", "spikevaediff", "sweep", "galleries", "--cluster", scheduler],
                cwd=lab,
                env=env | {"PYTHONPATH": str(ROOT / "src")},
                capture_output=True,
                text=True,
                timeout=500,
                check=False,
            )
        finally:
            killer.join()
            for worker in workers:
                worker.kill()
                worker.wait()
    assert done.returncode == 0, done.stdout + done.stderr
    assert workers[0].returncode == -signal.SIGKILL
    assert {line for line in done.stdout.splitlines() if line.endswith(": done")} == {
        f"galleries-{i}: done" for i in range(3)
    }
    pulled = succeeded(lab, "exp", "pull", "origin", "galleries-0", "galleries-1", "galleries-2")
    assert pulled.code == 0
    shown = succeeded(lab, "exp", "show", "--csv").output
    assert all(f"galleries-{i}" in shown for i in range(3))


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
    ],
)
@pytest.mark.slow
def test_what_workers_could_not_run_is_refused_first(lab: Path, spoil, message: str) -> None:
    spoil(lab)
    with pytest.raises(ValueError, match=message):
        list(sweep.run_on_cluster(lab, {"x": []}, scheduler="tcp://127.0.0.1:1", git_remote="origin", tries=0))
