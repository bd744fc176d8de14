"""torchvision can be imported, and with it open_clip and transformers, beside any build of torch."""

import importlib.util
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

from spikevaediff.networks import torchvision_ops

SCRIPT = """
import spikevaediff.networks.torchvision_ops
import spikevaediff.networks.torchvision_ops
import torch, torchvision
from torchvision.transforms import InterpolationMode
import open_clip.model
boxes, scores = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]]), torch.tensor([0.5, 0.9])
try:
    kept = torchvision.ops.nms(boxes, scores, 0.5).tolist()
except RuntimeError as error:
    kept = str(error).splitlines()[0]
print(torchvision.extension._has_ops(), kept, sep="|")
"""


def test_a_fresh_interpreter_imports_them_and_operators_that_are_not_there_are_said_to_be() -> None:
    command = [sys.executable, "-W", "error", "-c", SCRIPT]
    run = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    loads, kept = run.stdout.strip().split("|")
    assert loads in ("True", "False")
    assert kept == "[1]" if loads == "True" else kept.startswith("Couldn't load custom C++ ops")


def test_nothing_is_defined_where_the_library_loads_or_torchvision_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(torch.ops, "load_library", lambda path: loaded.append(str(path)))
    assert not torchvision_ops._lacks_operators()
    assert [path for path in loaded if "torchvision" in path]

    def fail(path: object) -> None:
        raise OSError("libcudart.so.13: cannot open shared object file")

    monkeypatch.setattr(torch.ops, "load_library", fail)
    assert torchvision_ops._lacks_operators()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not torchvision_ops._lacks_operators()
