"""What happens to a run in a rough world: killed at any moment, a full disk, two at once, no Git, odd paths.

In all of these nothing may be lost and a later `dvc repro` gives the bytes of an undisturbed run.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from small_profile import STAGES, Run, checkout, cloned, copied, dvc, edit, environment, stage, succeeded
from zc.lockfile import LockFile

from spikevaediff.tools.doctor import locks, stale_results
from spikevaediff.tools.dvc_cache import recorded_stages, workspace_paths

pytestmark = pytest.mark.slow

KILLS = 20
KILLED = "evaluate@posterior"  # fourteen stages, and the long one goes on from the folds that are done


def start(clone: Path, *words: str, said: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["dvc", *words],
        cwd=clone,
        env=environment(clone.parent),
        stdout=said,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(clone: Path) -> set[str]:
    """The stages that dvc.lock says are finished. One that a kill cut off is removed, as `spikevaediff doctor` says."""
    if (stages := recorded_stages(clone)) is None:
        (clone / "dvc.lock").unlink()
    return set(stages or {})


def killed_at_random_moments(clone: Path, rng: np.random.Generator, most: int) -> int:
    """Kill runs until `most` were killed or one was through before; how many were.

    Half of the kills take dvc and its stage, the others dvc alone: its stage goes on as an orphan meanwhile.
    """
    landed = 0
    while landed < most:
        before = finished(clone)
        # A file of its own: orphans of earlier runs still write to theirs, and a kill may cut off half a character.
        with (clone.parent / f"{landed}-{time.monotonic_ns()}.log").open("w+", errors="replace") as log:
            process = start(clone, "repro", KILLED, said=log)
            time.sleep(rng.uniform(1.0, 10.0))  # a stage takes some five seconds, and DVC two before it
            found = process.poll() is None
            if found:
                landed += 1
                # An orphan ends by itself: it writes to a name of its own and disturbs nobody. The next run may begin.
                os.killpg(process.pid, signal.SIGKILL) if landed % 2 else process.kill()
            process.wait()
            log.seek(0)
            run = Run(process.returncode, log.read(), 0.0, {})
        assert not before & run.ran  # what was finished before a kill is not computed again
        if run.code == 0:
            break
        assert found or "is busy" in run.output or cured(clone, run), run.output  # an orphan's lock
    return landed


def cured(clone: Path, run: Run) -> bool:
    """DVC writes its lock in place: a kill at that moment leaves a part of it, or nothing, and the doctor the cure."""
    if "Unable to read RWLock-file" not in run.output:
        return False
    finding = locks(clone)
    assert (finding.state, finding.cure.split(",")[0]) == ("broken", f"rm {clone}/.dvc/tmp/rwlock")
    (clone / ".dvc/tmp/rwlock").unlink()
    return True


def same_as(first: Run, files: dict[str, str]) -> bool:
    """All results of some stages are the bytes of the undisturbed run."""
    return bool(files) and files == {path: first.files.get(path) for path in files}


def test_kill_9_at_twenty_random_moments_changes_no_byte(source: Path, first: Run, tmp_path: Path) -> None:
    """In one pipeline after the other, as a fast machine is through with one before it was killed so often."""
    rng = np.random.default_rng([8])
    landed = 0
    while landed < KILLS:
        folder = tmp_path / str(landed)
        folder.mkdir()
        clone = cloned(source, folder)
        of_clone = killed_at_random_moments(clone, rng, KILLS - landed)
        assert of_clone > 0
        landed += of_clone
        before = finished(clone)
        deadline = time.monotonic() + 120
        while (run := dvc(clone, "repro", KILLED)).code and time.monotonic() < deadline:
            assert "is busy" in run.output or cured(clone, run), run.output  # an orphan's lock, which ends with it
            time.sleep(1)
        assert run.code == 0, run.output
        assert not before & run.ran
        assert same_as(first, run.files)  # the same bytes, and no temporary file left
        assert succeeded(clone, "repro", KILLED).ran == set()


def test_a_lock_file_that_a_kill_cut_off_is_named_and_made_again(pristine: Path, first: Run, tmp_path: Path) -> None:
    """DVC writes dvc.lock in place; every kill at that moment leaves some first part of it."""
    clone = copied(pristine, tmp_path / "clone")
    whole = (clone / "dvc.lock").read_text()
    (clone / "dvc.lock").write_text(whole[: whole.rindex("md5: ") + 2])
    assert "dvc.lock' is invalid" in dvc(clone, "repro").output
    finding = stale_results(clone)
    assert finding.state == "broken"
    assert finding.cure.startswith("rm dvc.lock && dvc repro")
    assert workspace_paths(clone)  # those of data.dvc, and no traceback
    (clone / "dvc.lock").unlink()
    run = succeeded(clone, "repro", quick=False)
    # What Git alone keeps is withdrawn and written again; the rest comes out of the run-cache.
    assert run.ran == {"start", "report"}
    assert run.restored == STAGES - {"start", "report"}
    assert run.files == first.files
    assert (clone / "dvc.lock").read_text() == whole  # written by DVC itself now, and by `spikevaediff dvc` before


SHORT = ("split", "responses@visual")


@pytest.mark.parametrize("waiting", [(), ("--wait-for-lock",)], ids=["", "waiting"])
def test_two_runs_at_once_end_and_lose_nothing(
    waiting: tuple[str, ...], source: Path, first: Run, tmp_path: Path
) -> None:
    """DVC locks the repository but while a stage runs, and what a running stage reads and writes all the while.

    Who finds a file busy ends. Who finds the repository locked for three seconds ends too, the first run coming back
    from its stage included, so both can; with --wait-for-lock one of them always gets through.
    """
    clone = cloned(source, tmp_path)
    processes = [start(clone, *waiting, "repro", *SHORT) for _ in range(2)]
    said = [process.communicate()[0] for process in processes]
    codes = [process.returncode for process in processes]
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or "is busy, it is being blocked by" in text or "Unable to acquire lock" in text, text
    if waiting:
        assert 0 in codes, said
    after = succeeded(clone, "repro", *SHORT)
    assert after.ran == set() or 0 not in codes
    assert same_as(first, after.files)
    assert succeeded(clone, "repro", *SHORT).ran == set()


def test_a_run_that_finds_the_repository_locked_says_so_and_goes_on_next_time(
    source: Path, first: Run, tmp_path: Path
) -> None:
    clone = cloned(source, tmp_path)
    with (tmp_path / "log").open("w+") as log:
        process = start(clone, "repro", "split", said=log)
        while "Running stage 'acquire'" not in (tmp_path / "log").read_text():
            assert process.poll() is None
            time.sleep(0.1)
        lock = LockFile(clone / ".dvc/tmp/lock")  # as a second dvc command that takes long
        process.wait()
        lock.close()
    assert process.returncode != 0
    assert "Unable to acquire lock" in (tmp_path / "log").read_text()
    after = succeeded(clone, "repro", "split")
    assert after.ran == {"acquire", "split"}
    assert same_as(first, after.files)


def test_a_full_disk_of_the_cache_is_named_and_nothing_is_lost(pristine: Path, first: Run, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
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
    after = succeeded(clone, "repro", "responses@visual").files
    assert after == {path: digest for path, digest in first.files.items() if path.startswith("artifacts/")}


def test_without_git_the_pipeline_runs(pristine: Path, first: Run, tmp_path: Path) -> None:
    """As from a downloaded archive of the repository."""
    folder = copied(pristine, tmp_path / "archive", ignore=("tmp", ".git"))
    refused = dvc(folder, "repro")
    assert refused.code != 0
    assert "not a git repository" in refused.output.lower() or "no_scm" in refused.output
    settings = folder / ".dvc/config.local"
    settings.write_text("[core]\n    no_scm = true\n")
    run = succeeded(folder, "repro")
    assert run.files == first.files
    edit(folder / "params.yaml", {"report.n_each": 2})
    assert succeeded(folder, "repro").ran == {"start", "report"}


def test_a_checkout_that_may_only_be_read_says_so_and_can_be_looked_at(pristine: Path, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
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
    assert run.ran == {"start", "acquire", "split", "responses@visual"}
    assert {path: first.files[path] for path in run.files if path.startswith("artifacts/")} == {
        path: digest for path, digest in run.files.items() if path.startswith("artifacts/")
    }
