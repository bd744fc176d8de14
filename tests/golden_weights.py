"""Recorded arrays of the published Versatile Diffusion, and weights that follow from parameter names alone."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch


def arrays(shared: Path, name: str) -> tuple[dict[str, torch.Tensor], dict]:
    """The recorded arrays of one file, as tensors, and the description beside them."""
    folder = shared / "golden" / "arrays"
    with np.load(folder / f"{name}.npz") as file:
        values = {key: torch.from_numpy(file[key]) for key in file.files}
    note = folder / f"{name}.json"
    return values, json.loads(note.read_text()) if note.exists() else {}


def fill_in(model: torch.nn.Module, shared: Path, *, family: str, published: Callable[[str], str]) -> torch.nn.Module:
    """Give a model on the meta device the weights of the recordings; `published` says a parameter's published name."""
    fill = _fill(shared)
    filled = {
        name: torch.from_numpy(fill(published(name), tuple(value.shape), 0, family))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(filled, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def checkpoint(shared: Path, manifest: str, *, prefix: str) -> dict[str, torch.Tensor]:
    """The weights of the recordings under the names of a published file; whole numbers count from 0."""
    fill = _fill(shared)
    listed = json.loads((shared / "golden" / "manifests" / f"{manifest}.json").read_text())
    return {
        name: torch.arange(shape[-1]).expand(shape)
        if dtype == "int64"
        else torch.from_numpy(np.asarray(fill(prefix + name, tuple(shape), 0, "vd")))
        for name, (shape, dtype) in listed.items()
    }


def _fill(shared: Path) -> Callable[..., np.ndarray]:
    spec = importlib.util.spec_from_file_location("golden_fill", shared / "golden" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fill


def largest(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest absolute difference."""
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max())
