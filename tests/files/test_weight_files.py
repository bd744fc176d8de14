"""Weight files that no network should be filled with: every loader refuses them in one line that names file and cure.

Changed bytes, code, other types than floating point, NaN, lists, archives of another kind, files that are cut off.
"""

import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_vdvae import config as vdvae_config

import spikevaediff.networks.torchvision_ops  # noqa: F401, before torchvision
from loading import weights as of_all
from spikevaediff.networks import clip, published, small
from vdvae import weights as of_vdvae
from vdvae.model import VDVAE
from versatile_diffusion import weights as of_diffusion
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AutoencoderConfig

READERS: dict[str, Callable[[Path], Any]] = {
    "all": of_all.read,
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
    [(r, k) for r in READERS for k in ("zip", "legacy", "safetensors")],
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


@pytest.mark.parametrize("reader", sorted(READERS))
def test_a_whole_file_is_read(reader: str, tmp_path: Path) -> None:
    for kind in ("zip", "legacy", "safetensors"):
        found = READERS[reader](written(kind, tmp_path))
        assert found["a.weight"].tolist() == torch.arange(12.0).reshape(3, 4).tolist()


# ---- Values that no network computes with, and files that are none of it, at every loader

VAE = AutoencoderConfig(width=8, multipliers=(1, 2), n_blocks=1, image_size=16, scale=0.5, groups=4)
CLIP_SIZES: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 28, "layers": 1, "width": 32, "head_width": 16, "patch_size": 14},
    "text_cfg": {"context_length": 77, "vocab_size": 100, "width": 16, "heads": 1, "layers": 1},
}


def clip_state() -> dict[str, torch.Tensor]:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    parts = CLIPVisionCfg(**CLIP_SIZES["vision_cfg"]), CLIPTextCfg(**CLIP_SIZES["text_cfg"])
    return CLIP(CLIP_SIZES["embed_dim"], *parts, quick_gelu=True).state_dict()


def heads() -> dict[str, torch.Tensor]:
    sizes = (64, 192, 384, 256, 256)
    return {f"lin{i}.model.1.weight": torch.rand(1, n, 1, 1) for i, n in enumerate(sizes)}


# What a whole file holds, and the loader of it.
LOADERS: dict[str, tuple[Callable[[], dict[str, torch.Tensor]], Callable[[Path], Any]]] = {
    "clip": (clip_state, lambda path: clip.load(path, "small")),
    "vdvae": (lambda: VDVAE(vdvae_config(1)).state_dict(), lambda path: of_vdvae.load(path, vdvae_config(1))),
    "autoencoder": (lambda: Autoencoder(VAE).state_dict(), lambda path: of_diffusion.load_autoencoder(path, VAE)),
    "efficientnet_lite0": (
        lambda: {f"_{name}": value for name, value in small.EfficientNetLite0().state_dict().items()},
        small.efficientnet_lite0,
    ),
    "lpips_heads": (heads, small.lpips_heads),
    "efficientnet_b1": (
        lambda: published.architecture("efficientnet_b1").state_dict(),
        lambda path: published.load("efficientnet_b1", path),
    ),
}


@pytest.fixture(autouse=True)
def small_clip() -> Iterator[None]:
    clip.CONFIGS["small"] = CLIP_SIZES
    yield
    del clip.CONFIGS["small"]


class Command:
    """A pickle that runs a command when an ordinary unpickler reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


VALUES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "nan": (lambda x: x.clone().fill_(torch.nan), r"1 tensors hold NaN or infinity, first \S+\. Fetch or restore it"),
    "infinity": (lambda x: x.clone().fill_(-torch.inf), r"1 tensors hold NaN or infinity, first \S+\. Fetch or"),
    "int64": (lambda x: x.long(), r"1 tensors are not floating point \(.*float32.*\), \S+ is torch.int64"),
    "complex64": (lambda x: x.to(torch.complex64), r"not floating point \(.*\), \S+ is torch.complex64"),
    "float8": (lambda x: x.to(torch.float8_e4m3fn), r"not floating point \(.*\), \S+ is torch.float8_e4m3fn"),
    "beyond float32": (
        lambda x: x.double().fill_(1e300),
        r"1 tensors hold NaN or infinity, first|not floating point \(.*\), \S+ is torch.float64",
    ),
}


@pytest.mark.parametrize("damage", list(VALUES))
@pytest.mark.parametrize("loader", list(LOADERS))
def test_values_that_no_network_computes_with_are_refused(loader: str, damage: str, tmp_path: Path) -> None:
    state, load = LOADERS[loader]
    change, message = VALUES[damage]
    tensors = dict(state())
    name = next(name for name, value in reversed(tensors.items()) if value.is_floating_point() and value.numel() > 1)
    torch.save(tensors | {name: change(tensors[name])}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth.*{message}"):
        load(tmp_path / "w.pth")
    torch.save(tensors, tmp_path / "w.pth")
    load(tmp_path / "w.pth")


@pytest.mark.parametrize("kind", ["sparse", "meta"])
def test_tensors_without_values_of_their_own_are_refused(kind: str, tmp_path: Path) -> None:
    """A checkpoint of a model that was never filled loads, and would be computed with."""
    state = dict(VDVAE(vdvae_config(1)).state_dict())
    name = next(name for name, value in state.items() if value.ndim == 4)
    state[name] = state[name].to_sparse() if kind == "sparse" else state[name].to("meta")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"w\.pth.*(1 tensors are sparse or without values, first {name})"):
        of_vdvae.load(tmp_path / "w.pth", vdvae_config(1))


@pytest.mark.parametrize("kind", ["code", "old code", "list", "checkpoint", "archive", "page", "pointer", "program"])
@pytest.mark.parametrize("loader", list(LOADERS))
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_files_that_are_no_weights_are_refused_and_not_run(loader: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    state, load = LOADERS[loader]
    if kind == "program":
        torch.jit.script(torch.nn.Linear(2, 2)).save(path)
    elif kind == "archive":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("arrays.npy", b"0")
    elif kind in ("page", "pointer"):
        text = "<!DOCTYPE html>" if kind == "page" else "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"
        path.write_text(text)
    else:
        content: Any = {"w": Command(tmp_path / "ran")}
        content = {"list": [torch.zeros(2)], "checkpoint": {"epoch": 3, "model": dict(state())}}.get(kind, content)
        torch.save(content, path, _use_new_zipfile_serialization=kind != "old code")
    message = {
        "code": r"holds more than tensors \(\w+\.mkdir\). It was not run; do not use it",
        "old code": r"holds more than tensors \(\w+\.mkdir\). It was not run; do not use it",
        "list": "holds list, expected a bare state dict of tensors",
        "checkpoint": "holds dict of epoch, model, expected a bare state dict of tensors",
        "archive": r"damaged or of another format \(.*(Get|Fetch)",
        "page": "a web page",
        "pointer": "a pointer of Git LFS and not the weights: git lfs pull",
        "program": "holds no CLIP" if loader == "clip" else r"holds more than tensors \(TorchScript\)",
    }[kind]
    with pytest.raises(ValueError, match=rf"w\.pth.*({message})") as caught:
        load(path)
    assert "weights_only" not in str(caught.value), "the advice to switch the safety off is not passed on"
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_every_cut_of_alexnet_is_refused_with_the_cure(tmp_path: Path) -> None:
    shapes = [(11, 11, 3, 64), (5, 5, 64, 192), (3, 3, 192, 384), (3, 3, 384, 256), (3, 3, 256, 256)]
    layers = {
        f"Conv_{i}": {"kernel": np.zeros(shape, np.float32), "bias": np.zeros(shape[3], np.float32)}
        for i, shape in enumerate(shapes)
    }
    path = tmp_path / "alexnet.ckpt"

    def dumped(content: object) -> bytes:
        """As an older NumPy, which the published file is of, would have written it."""
        return pickle.dumps(content, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")

    def loads(content: bytes) -> small.AlexNet:
        path.write_bytes(content)
        return small.alexnet(path)

    whole = dumped({"AlexNet_0": layers})
    assert not loads(whole).training
    cure = r"alexnet\.ckpt is damaged or holds no convolutions of AlexNet .* assets fetch alexnet_convolutions --again"
    for kept in (0, 1, 40, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match=cure):
            loads(whole[:kept])
    for other in ({}, {"AlexNet_0": {}}, {"AlexNet_0": layers | {"Conv_3": {"bias": layers["Conv_3"]["bias"]}}}, [1]):
        with pytest.raises(ValueError, match=cure):
            loads(dumped(other))
    with pytest.raises(FileNotFoundError, match=r"weight file .*none\.ckpt does not exist"):
        small.alexnet(tmp_path / "none.ckpt")


LITERATURE = """
import sys
from spikevaediff.networks import published
import torch
for name in sys.argv[1:]:
    extract = published.cut(name, published.architecture(name))
    with torch.inference_mode():
        print(tuple(extract(torch.zeros(1, 3, 96, 96)).shape))
"""


def test_a_fresh_process_builds_the_networks_of_the_literature() -> None:
    """Beside a CPU build of torch, torchvision can be imported only after its operators have been described."""
    command = [sys.executable, "-W", "error", "-c", LITERATURE, "inception", "efficientnet_b1", "swav"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:3] == ["(1, 2048)", "(1, 1280)", "(1, 2048)"]


def test_whoever_imports_torchvision_describes_its_operators_before() -> None:
    """Also by way of open_clip and transformers, and also inside of functions; a test hides it by what it imported."""
    root = Path(small.__file__).resolve().parents[3]
    users = {}
    for path in [*(root / "src").rglob("*.py"), *(root / "stages").rglob("*.py")]:
        text = path.read_text(encoding="utf-8")
        if re.search(r"^ *(from|import) (torchvision|open_clip|transformers)\b", text, re.MULTILINE):
            users[path.relative_to(root).as_posix()] = re.search(
                r"^(import spikevaediff\.networks\.torchvision_ops|from spikevaediff.networks import .*\bclip\b)",
                text,
                re.MULTILINE,
            )
    assert len(users) >= 5
    assert [name for name, found in users.items() if not found] == []
