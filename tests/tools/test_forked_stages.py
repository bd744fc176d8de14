"""A stage that is forked does what `python -m stages.NAME` does, but for loading libraries again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spikevaediff.tools import forked_stages

ABOUT = """
import json, os, sys
print(json.dumps({
    "argv": sys.argv[1:], "name": __name__, "cwd": os.getcwd(), "path": sys.path[0], "env": os.environ["OF_STAGE"],
    "loaded": [name for name in sys.modules if name.split(".")[0] in ("spikevaediff", "loading", "stages", "h5py")],
    "threads": len(os.listdir("/proc/self/task")), "interrupts": str(__import__("signal").getsignal(2)),
    "found": __import__("importlib.util").util.find_spec("of_a_folder") is not None,
}), file=open("about.json", "w"))
"""
STAGES = {
    "about": ABOUT,
    "reads": f"{ABOUT}\nimport h5py",
    "draws": """
import random, numpy, torch
print(random.random(), numpy.random.rand(), torch.rand(1).item(), file=open("drawn.txt", "a"))
""",
    "refuses": "import sys\nsys.exit('a reason')",
    "fails": "raise ValueError('a mistake')",
    "ends_with_7": "import sys\nsys.exit(7)",
    "is_killed": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "is_interrupted": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(60)",
    "kills_its_parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)",
}

# Exit statuses of a stage and of the one after it.
ASKS = """
import os, sys
from spikevaediff.tools import forked_stages
forks = forked_stages.Forks()
stages = (f"stages.{name}" for name in (sys.argv[1], "about"))
print(*(forks.run(stage, [], os.getcwd(), os.environ | {"OF_STAGE": ""}) for stage in stages))
forks.end()
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages are forked on Linux alone")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "stages").mkdir()
    for name, code in STAGES.items():
        (tmp_path / f"stages/{name}.py").write_text(code)
    return tmp_path


@pytest.fixture
def forks() -> Iterator[forked_stages.Forks]:
    found = forked_stages.Forks()
    yield found
    found.end()


def run(forks: forked_stages.Forks, checkout: Path, name: str, *words: str) -> int:
    return forks.run(f"stages.{name}", list(words), str(checkout), os.environ | {"OF_STAGE": name})


def test_a_stage_has_its_words_folder_environment_and_nothing_of_this_project(
    forks: forked_stages.Forks, checkout: Path
) -> None:
    assert run(forks, checkout, "about", "one", "two") == 0
    about = json.loads((checkout / "about.json").read_text())
    assert about == {
        "argv": ["one", "two"],
        "name": "__main__",
        "cwd": str(checkout),
        "path": str(checkout),
        "env": "about",
        "loaded": ["stages"],
        "threads": 1,
        "interrupts": "<built-in function default_int_handler>",
        "found": False,
    }


def test_folders_of_pythonpath_are_those_below_the_stages(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "code").mkdir()
    (checkout / "code/of_a_folder.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"code{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    forks = forked_stages.Forks(str(checkout))  # DVC was called elsewhere
    assert run(forks, checkout, "about") == 0
    assert json.loads((checkout / "about.json").read_text())["found"]
    forks.end()


def test_a_run_in_the_background_is_not_interrupted(checkout: Path) -> None:
    ignored = f"import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n{ASKS}"
    subprocess.run([sys.executable, "-c", ignored, "about"], cwd=checkout, check=True, capture_output=True)
    assert json.loads((checkout / "about.json").read_text())["interrupts"] == str(int(signal.SIG_IGN))


def test_a_library_is_there_after_two_stages_that_needed_it(forks: forked_stages.Forks, checkout: Path) -> None:
    found = []
    for _ in range(3):
        assert run(forks, checkout, "reads") == 0
        found.append("h5py" in json.loads((checkout / "about.json").read_text())["loaded"])
    assert found == [False, False, True]


def test_forks_draw_other_numbers_where_they_have_no_seed(forks: forked_stages.Forks, checkout: Path) -> None:
    for _ in range(4):  # the last two have libraries that were loaded before
        assert run(forks, checkout, "draws") == 0
    drawn = [line.split() for line in (checkout / "drawn.txt").read_text().splitlines()]
    assert [len(set(column)) for column in zip(*drawn, strict=True)] == [4, 4, 4]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("refuses", "a reason\n"),
        ("fails", "ValueError: a mistake\n"),
        ("ends_with_7", ""),
        ("is_killed", ""),
        ("is_interrupted", "KeyboardInterrupt\n"),
    ],
)
def test_it_ends_as_by_itself(name: str, said: str, checkout: Path) -> None:
    forked, alone = (
        subprocess.run([sys.executable, *words], cwd=checkout, check=False, capture_output=True, text=True)
        for words in (["-c", ASKS, name], ["-m", f"stages.{name}"])
    )
    assert forked.stdout == f"{alone.returncode} 0\n"  # the next stage is forked all the same
    assert alone.returncode != 0
    assert forked.stderr.endswith(said)
    assert alone.stderr.endswith(said)


def test_a_process_that_is_gone_is_a_stage_that_failed(forks: forked_stages.Forks, checkout: Path) -> None:
    assert run(forks, checkout, "kills_its_parent") == -signal.SIGKILL
    assert run(forks, checkout, "about") == -signal.SIGKILL


def test_it_ends_with_the_process_that_asks(checkout: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from spikevaediff.tools import forked_stages\n"
        "forks = forked_stages.Forks()\n"
        "print(forks._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout
        there = Path(f"/proc/{int(asking.stdout.readline())}/stat")
        asking.stdout.read()  # the other one has this pipe as well, which closes when both have ended
    assert asking.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while there.exists() and ") Z " not in there.read_text():
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("python -m stages.split", ("stages.split", [])),
        (
            "python -m stages.part core regress vdvae a/b_1.npz",
            ("stages.part", ["core", "regress", "vdvae", "a/b_1.npz"]),
        ),
        ("python -m stages.split > log", None),
        ("python -m stages.split; rm -rf x", None),
        ("python -m stages.split $HOME", None),
        ("python -m stages.split 'a b'", None),
        ("python -m json.tool x", None),
        ("python plot.py", None),
        ("python3 -m stages.split", None),
        ("X=1 python -m stages.split", None),
    ],
)
def test_plain_commands_of_stages_are_forked(command: str, found: object) -> None:
    ours = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}/usr/bin"}
    assert forked_stages.stage_of(command, ours) == found


def test_another_python_is_not_this_one(tmp_path: Path) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    assert forked_stages.stage_of("python -m stages.split", {"PATH": str(tmp_path)}) is None
    assert forked_stages.stage_of("python -m stages.split", {"PATH": ""}) is None


def test_another_version_in_the_folder_of_this_python_is_not_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    (tmp_path / "python").write_text("#!/bin/sh\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python3"))
    assert forked_stages.stage_of("python -m stages.split", {"PATH": str(tmp_path)}) is None
    (tmp_path / "python").unlink()
    (tmp_path / "python").symlink_to("python3")
    assert forked_stages.stage_of("python -m stages.split", {"PATH": str(tmp_path)}) == ("stages.split", [])
