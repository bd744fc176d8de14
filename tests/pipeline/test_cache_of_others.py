"""A user's cache that is read-only, whose lock is another user's, or that lies where there are no locks.

What is there is used; what is not is refused in one sentence, before anything is fetched.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.__main__ import main
from spikevaediff.files import assets, atomic

# Runs as a user who owns nothing. Modules are imported before: root's Python may lie where nobody may read.
AS_NOBODY = """
import encodings.idna, os, sys
from dataclasses import replace
sys.path.insert(0, sys.argv[1])
import filelock
from spikevaediff.files import assets
from spikevaediff.__main__ import main
old = assets.ASSETS["lpips_heads"]
for name in ("here", "gone"):
    assets.ASSETS[name] = replace(old, name=name, file="weights.bin", bytes=7, sha256=sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
sys.exit(main(["assets", "fetch", *sys.argv[3:]]))
"""


@pytest.fixture
def foreign() -> Iterator[Path]:
    """A cache with one asset, of which nobody but its owner may write anything; the folders above may be entered."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "here").mkdir()
    (folder / "here/weights.bin").write_bytes(b"weights")
    (folder / "here/.lock").touch(0o600)
    for path in (folder / "here", folder):
        path.chmod(0o555)
    yield folder
    for path in (folder, folder / "here"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def as_nobody(cache: Path, *names: str) -> subprocess.CompletedProcess[str]:
    digest = hashlib.sha256(b"weights").hexdigest()
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(ROOT / "src"), digest, *names],
        env=os.environ | {"SPIKEVAEDIFF_CACHE": str(cache)},
        cwd="/",
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_an_asset_of_a_cache_that_may_only_be_read_is_used_and_another_is_refused_in_a_sentence(foreign: Path) -> None:
    done = as_nobody(foreign, "here")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{foreign / 'here/weights.bin'}\n"
    done = as_nobody(foreign, "gone")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        f"{foreign / 'gone'} is not a place where this user can put files ([Errno 13] Permission denied"
    )
    assert line.endswith("choose a folder of your own: export SPIKEVAEDIFF_CACHE=FOLDER")


def test_the_lock_of_another_user_is_named(foreign: Path) -> None:
    (foreign / "here").chmod(0o755)
    (foreign / "here/weights.bin").write_bytes(b"damaged")
    done = as_nobody(foreign, "here")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{foreign / 'here'} is not a place where this user can put files (")
    assert str(foreign / "here/.lock") in line


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An asset of seven bytes that lies in the cache."""
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path))
    digest = hashlib.sha256(b"weights").hexdigest()
    table = replace(assets.ASSETS["lpips_heads"], name="small", file="weights.bin", bytes=7, sha256=digest)
    monkeypatch.setitem(assets.ASSETS, "small", table)
    path = assets.location("small")
    path.parent.mkdir()
    path.write_bytes(b"weights")
    return path


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_without_locks_what_is_there_is_used_and_nothing_is_fetched(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert assets.fetch("small") == small
    small.write_bytes(b"damaged")
    with pytest.raises(OSError, match=rf"^{small.parent} is not a place where this user can put files \(.*No locks"):
        assets.fetch("small")
    assert small.read_bytes() == b"damaged"


def test_a_relative_cache_is_refused_with_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An experiment of `--temp` runs in a folder of its own, where another cache would be meant."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", "a cache")
    says = rf"SPIKEVAEDIFF_CACHE is 'a cache', a relative path, .* export SPIKEVAEDIFF_CACHE='{tmp_path}/a cache'$"
    with pytest.raises(ValueError, match=says):
        assets.cache_dir()
    assert main(["assets"]) == 1
    assert re.search(says, capsys.readouterr().err.strip())
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", "~/cache")
    assert assets.cache_dir() == Path.home() / "cache"


def test_two_processes_do_not_hold_the_same_lock(tmp_path: Path) -> None:
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from pathlib import Path\n"
        "from spikevaediff.files.atomic import alone\n"
        "with alone(Path(sys.argv[2])):\n"
        "    print('held', flush=True)\n    time.sleep(0.5)\n    print('let go', flush=True)\n"
    )
    lock = tmp_path / "new/.lock"
    command = [sys.executable, "-c", script, str(ROOT / "src"), str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with atomic.alone(lock):
            assert other.stdout.readline() == "let go\n"


def test_an_environment_without_pip_is_told_so(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # -S: the same Python without what is installed, as in an environment made by uv.
    python = small.parent / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    small.unlink()
    with pytest.raises(ValueError, match=rf"^asset small comes by pip, which {python} lacks .*{python} -m ensurepip"):
        assets.fetch("small")
