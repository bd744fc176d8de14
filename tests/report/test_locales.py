"""Nothing depends on the encoding of a terminal or a locale: files are UTF-8, and what cannot be shown is replaced."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from small_profile import Run, copied, environment, results

# But for the trainings: a changed byte of theirs is hours of computing, and they write numbers.
FILES = sorted(
    path
    for folder in ("src", "vendor", "stages", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent.name != "pretrain"
)
# As a Latin-1 locale, and stricter: whatever takes its encoding from the locale gets ASCII.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"}


def binary(call: ast.Call, position: int) -> bool:
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[position : position + 1]
    return any("b'" in ast.unparse(mode) for mode in modes)


def without_encoding(path: Path) -> list[str]:
    """Calls that read or write text in the encoding of the locale."""
    found = []
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(call, ast.Call):
            continue
        name, keywords = ast.unparse(call.func), {word.arg for word in call.keywords}
        last = name.rsplit(".", 1)[-1]
        # A method of a path, not Image.open, urlopen and the like.
        of_path = (
            last == "open"
            and name[0].islower()
            and not name.startswith(("os.", "tarfile.", "urllib.", "whole.", "archive."))
        )
        text = (
            last in ("read_text", "write_text")
            or (name in ("open", "os.fdopen") and not binary(call, 1))
            or (of_path and name != "open" and not binary(call, 0))
            or (name.startswith("subprocess.") and keywords & {"text", "universal_newlines"})
        )
        if text and "encoding" not in keywords:
            found.append(f"{path.relative_to(ROOT)}:{call.lineno}: {name}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_has_an_encoding_wherever_it_is_read_or_written(path: Path) -> None:
    assert without_encoding(path) == []


def test_calls_without_an_encoding_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    wrong = [
        "p.read_text()",
        "p.write_text('')",
        "open(p)",
        "open(p, 'w')",
        "p.open()",
        "subprocess.run([], text=True)",
    ]
    right = ["p.read_text(encoding='utf-8')", "open(p, 'rb')", "p.open('wb')", "Image.open(p)", "subprocess.run([])"]
    for lines, n in ((wrong, len(wrong)), (right, 0)):
        (tmp_path / "x.py").write_text("\n".join(lines), encoding="utf-8")
        assert len(without_encoding(tmp_path / "x.py")) == n


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    paths = os.pathsep.join(str(folder / name) for name in ("src", "vendor", "."))
    env = environment(folder.parent) | ASCII | {"PYTHONPATH": paths, "COLUMNS": "60"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=env, capture_output=True, check=False)


@pytest.mark.parametrize("command", ["assets", "sweep", "doctor --no-cache", "--help", "generate --help"])
def test_a_command_ends_well_where_only_ascii_can_be_shown(command: str) -> None:
    done = run(ROOT, "-m", "spikevaediff", *command.split())
    assert done.stderr == b""
    assert done.stdout
    assert all(byte < 128 for byte in done.stdout)


def test_a_stage_prints_what_ascii_cannot_show() -> None:
    done = run(ROOT, "-c", r"import stages; stages.done('PixCorr \u2191 M\xfcller')")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"PixCorr ? M?ller [")


@pytest.mark.slow
def test_report_and_page_have_the_same_bytes_in_an_ascii_locale(pristine: Path, first: Run, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    for path in ("metrics", "plots"):
        for file in (clone / path).glob("*"):
            if file.is_file():
                file.unlink()
    for name in ("report", "page"):
        done = run(clone, "-m", f"stages.{name}")
        assert done.returncode == 0, done.stderr.decode()
    assert results(clone) == first.files
