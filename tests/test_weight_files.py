"""Weight files with changed bytes: every reader refuses them in words, whatever the bytes lead the unpickler to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from spikevaediff import clip, networks
from vdvae import weights as of_vdvae
from versatile_diffusion import weights as of_diffusion

READERS: dict[str, Callable[[Path], Any]] = {
    "networks": networks.read_tensors,
    "clip": clip._tensors,
    "vdvae": of_vdvae.read,
    "versatile_diffusion": of_diffusion.read,
}


def written(kind: str, folder: Path) -> Path:
    state = {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.arange(5.0)}
    path = folder / f"w.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    return path


@pytest.mark.parametrize(
    ("reader", "kind"),
    # networks reads files of torch only.
    [(r, k) for r in READERS for k in ("zip", "legacy", "safetensors") if (r, k) != ("networks", "safetensors")],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about versions that the changed bytes claim
def test_a_changed_file_is_refused_or_read(reader: str, kind: str, tmp_path: Path) -> None:
    path, rng = written(kind, tmp_path), np.random.default_rng([7])
    whole, refused = path.read_bytes(), 0
    for _ in range(150):
        content = bytearray(whole)
        for place in rng.integers(min(len(whole), 600), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        path.unlink()  # a new file: the old one may still be mapped into memory
        path.write_bytes(content)
        try:
            found = READERS[reader](path)
        except ValueError as error:
            assert len(str(error)) > 20  # noqa: PT017
            refused += 1
        else:
            assert all(isinstance(tensor, torch.Tensor) for tensor in dict(found).values())
    assert refused > 30


# CLIP's reader knows archives by a member that only the published ones have; see test_clip.py.
@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"clip"}))
def test_a_whole_file_is_read(reader: str, tmp_path: Path) -> None:
    for kind in ("zip", "legacy"):
        found = READERS[reader](written(kind, tmp_path))
        assert found["a.weight"].tolist() == torch.arange(12.0).reshape(3, 4).tolist()
