"""Files in the layout of the Natural Scenes Dataset: a small one of everything, and the design at its full size."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
from conftest import ROOT
from PIL import Image
from scipy.io import savemat

GRID, N_TRIALS, N_IMAGES, SIDE_PX = (7, 5, 4), 36, 90, 64
N_MINE, N_SHARED, N_SESSIONS = 48, 8, 3  # three repeats of 48 photographs are four sessions, of which three took place
ROIS = {0: "Unknown", 1: "V1v", 2: "V1d", 3: "V2v"}
VERSION = "betas_fithrf_GLMdenoise_RR"
SUBJECT = 2


def design(seed: int = 0) -> dict[str, np.ndarray]:
    """The three tables as Matlab has them, from 1; photographs of subjects begin with the shared ones."""
    rng = np.random.default_rng(seed)
    shared = np.sort(rng.choice(N_IMAGES, N_SHARED, replace=False)) + 1
    others = np.setdiff1d(np.arange(1, N_IMAGES + 1), shared)
    rows = [[*rng.permutation(shared), *rng.choice(others, N_MINE - N_SHARED, replace=False)] for _ in range(2)]
    order = rng.permutation(np.repeat(np.arange(1, N_MINE + 1), 3))
    # As in the data: integers of several types, kept as (1, n).
    return {
        "masterordering": order[None].astype(np.uint16),
        "subjectim": np.array(rows, np.int32),
        "sharedix": shared[None].astype(np.float64),
    }


def full_design() -> dict[str, np.ndarray]:
    """A design of the published size, 8 subjects, 30,000 trials, in which as many photographs were seen as published.

    The order is made so that after 30, 32, 37 and 40 sessions 9,209, 9,411, 9,841 and 10,000 photographs were seen.
    """
    rng = np.random.default_rng(1)
    first = np.split(np.arange(1, 1001), [907, 930, 982]), np.split(np.arange(1001, 10001), [8302, 8481, 8859])
    a, b, c, d = (np.concatenate(pair) for pair in zip(*first, strict=True))
    a = rng.permutation(a)
    three, two, one = a[:5445], a[5445 : 5445 + 2401], a[5445 + 2401 :]
    phases = [
        np.concatenate([np.repeat(three, 3), np.repeat(two, 2), one]),  # 30 sessions
        np.concatenate([two[:789], b, one[:509]]),  # 2 more
        np.concatenate([c, two[789:], one[:509], one[509:], b, c[:143]]),  # 5 more
        np.concatenate([one[509:], b, c[:143], np.repeat(c[143:], 2), np.repeat(d, 3)]),  # 3 more
    ]
    order = np.concatenate([rng.permutation(phase) for phase in phases])
    ids = rng.permutation(73000) + 1
    shared = np.sort(ids[:1000])
    others = ids[1000 : 1000 + 8 * 9000].reshape(8, 9000)
    rows = [np.concatenate([rng.permutation(shared), of_subject]) for of_subject in others]
    return {"masterordering": order[None], "subjectim": np.stack(rows), "sharedix": shared[None]}


def photographs() -> np.ndarray:
    """uint8 (n, side, side, 3): smooth noise in colour."""
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (N_IMAGES, 8, 8, 3), np.uint8)
    size = (SIDE_PX, SIDE_PX)
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC)) for one in coarse])


def masks() -> dict[str, np.ndarray]:
    """nsdgeneral and prf-visualrois; -1 outside the slices, as in the data."""
    rng = np.random.default_rng(6)
    general = rng.choice([-1, 0, 1, 1], GRID)
    visual = rng.choice([-1, 0, 1, 2, 3], GRID)
    return {"nsdgeneral": general.astype(np.int16), "prf-visualrois": visual.astype(np.float32)}


def betas(pixels: np.ndarray, tables: dict[str, np.ndarray]) -> np.ndarray:
    """int16 (session, X, Y, Z, trial).

    A voxel answers a weighted mean of 16 parts of the grey photograph, with noise, a mean and a gain of each session.
    Two voxels of nsdgeneral are invalid in one session each: 0, and constant.
    """
    rng = np.random.default_rng(7)
    grey = pixels.mean(3).reshape(N_IMAGES, 4, 16, 4, 16).mean((2, 4)).reshape(N_IMAGES, 16) / 255 - 0.5
    ids = tables["subjectim"][SUBJECT - 1][tables["masterordering"][0] - 1] - 1
    signal = 20 * grey[ids] @ rng.normal(size=(16, np.prod(GRID)))
    found = []
    for session in range(N_SESSIONS):
        part = signal[session * N_TRIALS : (session + 1) * N_TRIALS]
        gain, mean = rng.uniform(0.5, 2, part.shape[1]), rng.normal(0, 3, part.shape[1])
        percent = mean + gain * (part + rng.normal(0, 1, part.shape))
        found.append(np.round(300 * percent).clip(-32767, 32767).astype(np.int16).T.reshape(*GRID, N_TRIALS))
    whole = np.stack(found)
    first, second = np.argwhere(masks()["nsdgeneral"] > 0)[[3, 8]]
    whole[0, *first] = 0
    whole[2, *second] = 77
    return whole


def write(folder: Path) -> None:
    """All files of subject 2 below a folder, as the bucket has them."""
    manifest = json.loads((ROOT / "vendor/data/nsd/manifest.json").read_text())
    names, tables, pixels = manifest["files"], design(), photographs()

    def at(name: str, **given: Any) -> Path:
        path = folder / names[name].format(subject=SUBJECT, **given)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    savemat(at("design"), tables)
    for roi, volume in masks().items():
        nibabel.Nifti1Image(volume, np.eye(4)).to_filename(at("roi", roi=roi))
    at("labels", roi="prf-visualrois").write_text("".join(f"{value} {name}\n" for value, name in ROIS.items()))
    for number, session in enumerate(betas(pixels, tables), start=1):
        given = {"version": VERSION, "session": number}
        nibabel.Nifti1Image(session, np.eye(4)).to_filename(at("betas", ending="nii.gz", **given))
        with h5py.File(at("betas", ending="hdf5", **given), "w") as file:
            file.create_dataset("betas", data=session.transpose(3, 2, 1, 0), chunks=(N_TRIALS, 1, 1, 1))
    with h5py.File(at("stimuli"), "w") as file:
        file.create_dataset("imgBrick", data=pixels)
    with at("table").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["", "cocoId", "cocoSplit", "cropBox", "loss", "nsdId", "flagged", "BOLD5000", "shared1000"])
        for i in range(N_IMAGES):
            table.writerow([i, *coco_of(i)[::-1], "(0, 0, 0.1, 0.1)", 0.1, i, False, False, False])
    with zipfile.ZipFile(folder / "annotations_trainval2017.zip", "w") as archive:
        for split in ("train2017", "val2017"):
            listed = [
                {"id": 1000 * k + i, "image_id": coco_of(i)[1], "caption": f" photograph {i},\nsaid {k} "}
                for k in reversed(range(7 if split == "val2017" else 5))
                for i in range(N_IMAGES)
                if coco_of(i)[0] == split
            ]
            archive.writestr(f"annotations/captions_{split}.json", json.dumps({"annotations": listed}))


def coco_of(i: int) -> tuple[str, int]:
    """Split and number in COCO; numbers of the two splits overlap, which in COCO they do not."""
    return ("train2017", 5000 + i) if i % 3 else ("val2017", 5001 + i)


def write_manifest(folder: Path, url: str) -> Path:
    """The folder of the data set, with a manifest of the small files; its facts are counted here, not by our code."""
    manifest = json.loads((ROOT / "vendor/data/nsd/manifest.json").read_text())
    tables = design()
    order, shared = tables["masterordering"][0], tables["sharedix"][0]

    def seen(n_sessions: int) -> tuple[list[int], list[int]]:
        indices = order[: n_sessions * N_TRIALS].tolist()
        ids = {int(tables["subjectim"][SUBJECT - 1][i - 1]) for i in indices}
        return [i for i in ids if i in shared], [i for i in ids if i not in shared]

    of_all, of_two = seen(N_SESSIONS), seen(2)
    shown = order[: N_SESSIONS * N_TRIALS].tolist()
    facts = {
        "trials": len(shown),
        "images": len(set(shown)),
        "images_three_times": sum(shown.count(i) == 3 for i in set(shown)),
        "shared": len(of_all[0]),
        "nsdgeneral": int((masks()["nsdgeneral"] == 1).sum()),
    }
    manifest |= {
        "base_url": url.rstrip("/"),
        "captions_url": f"{url}annotations_trainval2017.zip",
        "about": {},
        "trials_per_session": N_TRIALS,
        "images": {"n": N_IMAGES, "size_px": SIDE_PX},
        "brain_diffuser_2023": {"sessions": 2, "n_test": len(of_two[0]), "n_train": len(of_two[1])},
        "subjects": [{"subject": SUBJECT, "grid": list(GRID), "sessions": N_SESSIONS, "facts": facts}],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
