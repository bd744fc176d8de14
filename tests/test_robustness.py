"""What happens to a run in a rough world: killed at any moment, a full disk, two at once, no Git, odd paths.

In all of these nothing may be lost and a later `dvc repro` gives the bytes of an undisturbed run.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from small_profile import Run, checkout, cloned, dvc, edit, environment, stage, succeeded

pytestmark = pytest.mark.slow

KILLS = 20


def start(clone: Path, *words: str, said: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", *words],
        cwd=clone,
        env=environment(clone.parent),
        stdout=said,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def test_kill_9_at_twenty_random_moments_changes_no_byte(source: Path, first: Run, tmp_path: Path) -> None:
    """Half of the kills take dvc and its stage, the others dvc alone: its stage goes on as an orphan meanwhile."""
    clone = cloned(source, tmp_path)
    rng = np.random.default_rng([8])
    landed = 0
    for i in range(KILLS):
        process = start(clone, "repro", said=subprocess.DEVNULL)
        time.sleep(rng.uniform(1.0, 5.0))
        if process.poll() is None:
            landed += 1
            # An orphan ends by itself: it writes to a name of its own and disturbs nobody. The next run may begin now.
            os.killpg(process.pid, signal.SIGKILL) if i % 2 else process.kill()
        process.wait()
    assert landed >= KILLS - 5, f"only {landed} kills found something running"
    deadline = time.monotonic() + 120
    while (run := dvc(clone, "repro")).code and time.monotonic() < deadline:
        assert "is busy" in run.output, run.output  # an orphan's lock, which ends with it
        time.sleep(1)
    assert run.code == 0, run.output
    assert run.files == first.files  # the same bytes, and no temporary file left
    assert succeeded(clone, "repro").ran == set()


def test_a_full_disk_of_the_cache_is_named_and_nothing_is_lost(pristine: Path, first: Run, tmp_path: Path) -> None:
    clone = Path(shutil.copytree(pristine, tmp_path / "clone", ignore=shutil.ignore_patterns("tmp")))
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        succeeded(clone, "config", "--local", "cache.dir", str(small / "cache"))
        succeeded(clone, "config", "--local", "cache.type", "copy")  # a link would dangle when the disk is gone
        edit(clone / "params.yaml", {"responses.start_s": 0.05})
        run = dvc(clone, "repro", "responses@visual")
        assert run.code != 0
        assert "No space left on device" in run.output
        subprocess.run(["mount", "-o", "remount,size=2g", str(small)], check=True)
        succeeded(clone, "repro", "responses@visual")
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)
    succeeded(clone, "config", "--local", "--unset", "cache.dir")
    edit(clone / "params.yaml", {"responses.start_s": 0.04})
    assert succeeded(clone, "repro", "responses@visual").files == first.files


def test_without_git_the_pipeline_runs(pristine: Path, first: Run, tmp_path: Path) -> None:
    """As from a downloaded archive of the repository."""
    folder = Path(
        shutil.copytree(
            pristine, tmp_path / "archive", ignore=lambda _, names: [n for n in names if n in (".git", "tmp")]
        )
    )
    refused = dvc(folder, "repro")
    assert refused.code != 0
    assert "not a git repository" in refused.output.lower() or "no_scm" in refused.output
    settings = folder / ".dvc/config.local"
    settings.write_text("[core]\n    no_scm = true\n")
    run = succeeded(folder, "repro")
    assert run.files == first.files
    edit(folder / "params.yaml", {"report.n_each": 2})
    assert succeeded(folder, "repro").ran == {"report", "page"}


def test_a_checkout_that_may_only_be_read_says_so_and_can_be_looked_at(pristine: Path, tmp_path: Path) -> None:
    clone = Path(shutil.copytree(pristine, tmp_path / "clone", ignore=shutil.ignore_patterns("tmp")))
    command = ["mount", "--bind", str(clone), str(clone)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a folder read-only")
    subprocess.run(["mount", "-o", "remount,bind,ro", str(clone)], check=True)
    try:
        refused = stage(clone, "split")
        assert refused.returncode == 1
        assert "Read-only file system" in refused.stderr
        assert len(refused.stderr.splitlines()) == 1
        run = dvc(clone, "repro")
        assert run.code != 0
        assert "Read-only file system" in run.output
        # Results and comparisons need no right to write.
        compared = subprocess.run(
            [sys.executable, "-m", "spikevaediff", "predict", "--help"],
            cwd=clone,
            env=environment(tmp_path) | {"PYTHONPATH": str(clone / "src")},
            capture_output=True,
            check=False,
        )
        assert compared.returncode == 0
    finally:
        subprocess.run(["umount", str(clone)], check=True)
    assert "up to date" in succeeded(clone, "status").output


def test_paths_with_spaces_and_other_alphabets_work(first: Run, tmp_path: Path) -> None:
    folder = tmp_path / "Åsa's mouse data (β) 小鼠"
    folder.mkdir()
    clone = checkout(folder / "a clone")
    run = succeeded(clone, "repro", "split", "responses@visual")
    assert run.ran == {"acquire", "split", "responses@visual"}
    assert {path: first.files[path] for path in run.files if path.startswith("artifacts/")} == {
        path: digest for path, digest in run.files.items() if path.startswith("artifacts/")
    }
