"""What SECURITY.md promises about the code: nothing that is downloaded or shared can run code here."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

FILES = sorted(path for folder in ("src", "vendor", "stages") for path in (ROOT / folder).rglob("*.py"))
# Calls that execute what they read. torch.load and np.load are safe with the right arguments, which are checked below.
FORBIDDEN = {
    "pickle.load",
    "pickle.loads",
    "joblib.load",
    "dill.load",
    "dill.loads",
    "marshal.loads",
    "shelve.open",
    "yaml.load",
    "yaml.unsafe_load",
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "torch.hub.load",
    "pandas.read_pickle",
    "tarfile.extractall",
    "shutil.unpack_archive",
}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    return next((ast.literal_eval(word.value) for word in call.keywords if word.arg == name), None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(path: Path) -> None:
    for name, call in calls(path):
        where = f"{path.relative_to(ROOT)}:{call.lineno}: {name}"
        assert name not in FORBIDDEN, where
        if name == "torch.load":
            assert keyword(call, "weights_only") is True, where
        if name == "torch.jit.load":  # in C++, for tensors alone, of one published file whose hash is checked
            assert path.name == "clip.py", where
        if name in ("np.load", "numpy.load"):
            assert keyword(call, "allow_pickle") in (None, False), where
        if name.startswith("subprocess."):
            assert keyword(call, "shell") in (None, False), where
        if name.endswith(".extractall"):
            assert keyword(call, "filter") == "data", where


def test_the_one_unpickler_knows_three_names_only() -> None:
    """AlexNet's convolutions are published as a pickle of NumPy arrays; networks/small.py reads them."""
    using = [path for path in FILES if re.search(r"pickle\.Unpickler\b|import .*\bUnpickler\b", path.read_text())]
    assert [path.name for path in using] == ["small.py"]


def test_every_package_is_pinned() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert lines
    assert [line for line in lines if "==" not in line] == []
