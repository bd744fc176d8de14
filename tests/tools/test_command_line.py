"""All commands fail alike: one line on standard error, and the exit status says how."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml.error import YAMLError

from spikevaediff.__main__ import main
from spikevaediff.api.figures import FIGURES
from spikevaediff.commands import check_data, paper

# Every command that reads something, with what is not there.
ABSENT = [
    ["predict", "no.npz", "no.npz", "out.npz"],
    ["encode", "no.npz", "no.png", "--out", "out.csv"],
    ["preferred", "no.npz", "--out", "out.csv"],
    ["compare", "main"],
    ["sweep"],
    ["cards"],
    ["generate", "out", "--image", "no.png"],
    ["assets", "fetch", "no_asset"],
]


@pytest.mark.parametrize("words", ABSENT, ids=lambda words: words[0])
def test_what_is_not_there_is_said_in_one_line(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("params.yaml has no x"), "params.yaml has no x"),
        (ValueError("a value"), "a value"),
        (FileNotFoundError(2, "No such file or directory", "x.npz"), "[Errno 2] No such file or directory: 'x.npz'"),
        (
            subprocess.CalledProcessError(3, ["git", "diff"]),
            "Command '['git', 'diff']' returned non-zero exit status 3.",
        ),
        (YAMLError("here\n  and there"), "not YAML: here and there"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_of_every_kind_have_one_wrapper(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(chosen: Any) -> int:
        raise error

    monkeypatch.delenv("SPIKEVAEDIFF_TRACEBACK", raising=False)
    monkeypatch.setattr(paper, "run_cards", fails)
    assert main(["cards"]) == 1
    assert capsys.readouterr().err == f"{said}\n"
    monkeypatch.setenv("SPIKEVAEDIFF_TRACEBACK", "1")
    with pytest.raises(type(error)):
        main(["cards"])


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(chosen: Any) -> int:
        raise AssertionError("ours")

    monkeypatch.setattr(paper, "run_cards", fails)
    with pytest.raises(AssertionError, match="ours"):
        main(["cards"])


@pytest.mark.parametrize("window", ["-0.05,0.15", "-.05,0.15", "0,0.15"])
def test_a_window_may_start_before_onset(
    window: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check_data, "run", lambda chosen: print(chosen.window) or 0)
    for words in (["--window", window], [f"--window={window}"]):
        assert main(["check-data", "mine", *words]) == 0
        assert capsys.readouterr().out == f"({float(window.split(',')[0])}, 0.15)\n"
    with pytest.raises(SystemExit):
        main(["check-data", "mine", "--window", "--write-params"])


def test_help_names_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["figure", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    named = said.partition("NAME: ")[2].partition(". ")[0].replace(" or ", ", ").split(", ")
    assert named == list(FIGURES)


def started(folder: Path, code: str) -> subprocess.Popen[str]:
    paths = os.pathsep.join(str(ROOT / name) for name in ("src", "vendor"))
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def waited_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_c_prints_one_line(tmp_path: Path) -> None:
    """A command that waits for good, on a named pipe that nobody writes to, is interrupted as by the key."""
    os.mkfifo(tmp_path / "params.yaml")
    for name in ("artifacts/responses", "artifacts"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    running = started(
        tmp_path,
        "import sys, pathlib; from spikevaediff.__main__ import main; pathlib.Path('there').touch();"
        " sys.exit(main(['cards']))",
    )
    waited_for((tmp_path / "there").exists)
    time.sleep(1)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert said == "interrupted; what has been downloaded so far is kept\n"


@pytest.mark.parametrize(
    ("module", "importing"),
    [("spikevaediff", "argparse"), ("spikevaediff", "rich"), ("stages.split", "pydantic"), ("stages.split", "numpy")],
)
def test_ctrl_c_while_modules_are_imported_prints_one_line(module: str, importing: str) -> None:
    code = f"""
import runpy, sys
class Key:
    def find_spec(self, name, path=None, target=None):
        if name == {importing!r}:
            raise KeyboardInterrupt
sys.modules.pop({importing!r}, None)
sys.meta_path.insert(0, Key())
sys.argv = ["command", "assets"]
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
    running = started(ROOT, code)
    _, said = running.communicate(timeout=120)
    assert running.returncode == -signal.SIGINT
    assert said == "interrupted\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    code = "import sys; from spikevaediff.__main__ import main; from spikevaediff.commands import paper;"
    code += " paper.run_cards = lambda chosen: print('x' * 10**6) or 0; sys.exit(main(['cards']))"
    running = started(tmp_path, code)
    assert running.stdout is not None
    running.stdout.close()
    assert running.wait(timeout=60) == 141
    assert running.stderr is not None
    assert running.stderr.read() == ""
    running.stderr.close()
