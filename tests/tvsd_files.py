"""Files in the layout of the THINGS Ventral Stream Spiking Dataset, small, and photographs in the place of THINGS."""

import json
from pathlib import Path

import h5py
import numpy as np
from conftest import ROOT
from PIL import Image

N_TRAIN, N_TEST, N_REPEATS, N_ELECTRODES = 24, 5, 4, 16
AREAS = {"F": {"V1": [1, 8], "IT": [9, 12], "V4": [13, 16]}, "N": {"V1": [1, 8], "V4": [9, 12], "IT": [13, 16]}}
SILENT = (4, 5)  # electrodes, from 0, of an array of monkey N that did not record: NaN, and 0 throughout


def names() -> tuple[list[str], list[str]]:
    """Paths below THINGS: of training photographs, and of tested ones."""
    train = [f"{concept}/{concept}_{i:02d}b.jpg" for concept in ("bat1", "ice_cream", "tree") for i in range(8)]
    return train, [f"zebra/zebra_{i:02d}s.jpg" for i in range(N_TEST)]


def responses(monkey: str) -> dict[str, np.ndarray]:
    """Arrays as h5py shows them."""
    rng = np.random.default_rng(ord(monkey))
    train, test = rng.normal(size=(N_TRAIN, N_ELECTRODES)), rng.normal(size=(N_TEST, N_ELECTRODES))
    repeats = test + 0.5 * rng.normal(size=(N_REPEATS, N_TEST, N_ELECTRODES))
    if monkey == "N":
        for electrode, value in zip(SILENT, (np.nan, 0.0), strict=True):
            train[:, electrode] = repeats[:, :, electrode] = value
    return {
        "train_MUA": train,
        "test_MUA": repeats.mean(0),
        "test_MUA_reps": repeats,
        "SNR_max": rng.uniform(1, 9, (N_ELECTRODES, 1)),
        "tb": np.arange(-100.0, 200.0)[:, None],
    }


def write(folder: Path, things: Path, *, alike: bool = False) -> None:
    """What the publisher has of both monkeys, and a folder of THINGS.

    alike : whether the first training photograph is the mirror image of the first tested one.
    """
    for monkey in AREAS:
        logs = folder / f"monkey{monkey}/_logs"
        logs.mkdir(parents=True)
        with h5py.File(folder / f"monkey{monkey}/THINGS_normMUA.mat", "w", userblock_size=512) as file:
            for name, values in responses(monkey).items():
                file[name] = values
        with h5py.File(logs / "things_imgs.mat", "w", userblock_size=512) as file:
            for kind, listed in zip(("train", "test"), names(), strict=True):
                cells = [file.create_dataset(f"#refs#/{kind}{i}", data=text(name)) for i, name in enumerate(listed)]
                references = np.array([cell.ref for cell in cells], h5py.ref_dtype)[:, None]
                file.create_dataset(f"{kind}_imgs/things_path", data=references, dtype=h5py.ref_dtype)
    rng = np.random.default_rng(3)
    for name in [name for kind in names() for name in kind]:
        path = things / "object_images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (7, 7, 3), np.uint8))
        coarse.resize((80, 80), Image.Resampling.BICUBIC).save(path, quality=95)
    if alike:
        (first, *_), (tested, *_) = names()
        with Image.open(things / "object_images" / tested) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(things / "object_images" / first, quality=95)


def text(name: str) -> np.ndarray:
    """Text of Matlab, uint16 (n, 1), with the path as Windows writes it."""
    return np.array([ord(letter) for letter in name.replace("/", "\\")], np.uint16)[:, None]


def write_manifest(folder: Path, url: str) -> Path:
    manifest = json.loads((ROOT / "vendor/data/tvsd/manifest.json").read_text())
    sizes = {"n_train": N_TRAIN, "n_test": N_TEST, "n_repeats": N_REPEATS, "n_electrodes": N_ELECTRODES}
    folder.mkdir(parents=True, exist_ok=True)
    changed = manifest | sizes | {"base_url": url.rstrip("/"), "areas": AREAS, "about": {}}
    (folder / "manifest.json").write_text(json.dumps(changed))
    return folder
