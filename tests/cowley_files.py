"""Files in the layout in which macaque V4 sessions are published, small, and the manifest that goes with them."""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spikevaediff.recordings import facts

SIZE_PX = 112
PATHS = {
    "images": "images/images_{session_id}.zip",
    "means": "means/{session_id}.npy",
    "single": "raw/{session_id}.npy",
}


def photographs(seeds: list[int]) -> list[bytes]:
    """JPEG files, each of its own seed: smooth noise in colour."""
    found = []
    for seed in seeds:
        coarse = np.random.default_rng(seed).integers(0, 256, (14, 14, 3), np.uint8)
        content = io.BytesIO()
        Image.fromarray(coarse).resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC).save(content, "JPEG", quality=90)
        found.append(content.getvalue())
    return found


def session(folder: Path, number: int, seeds: list[int], *, n_units: int = 6, n_repeats: int = 4) -> dict[str, Any]:
    """Write a session and give its row of the manifest; an image of an even number lacks the last repeat."""
    paths = {kind: folder / path.format(session_id=number) for kind, path in PATHS.items()}
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    pictures = photographs(seeds)
    with zipfile.ZipFile(paths["images"], "w") as archive:
        for i, content in enumerate(pictures):
            archive.writestr(zipfile.ZipInfo(f"image{i + 1:04d}.jpg"), content)
    rng = np.random.default_rng(number)
    counts = rng.poisson(rng.gamma(2, 2, (n_units, len(seeds), 1)), (n_units, len(seeds), n_repeats)).astype(np.float64)
    counts[:, 1::2, -1] = np.nan
    np.save(paths["single"], counts)
    np.save(paths["means"], np.nanmean(counts, axis=2))
    return {
        "session_id": number,
        "kinds": {"natural": len(seeds)},
        "facts": {
            "units": n_units,
            "images": len(seeds),
            "repeats": f"{n_repeats - 1} to {n_repeats}",
            "image_order": facts.order_of(pictures),
        },
        "files": {kind: pinned(path) for kind, path in paths.items()},
    }


def pinned(path: Path) -> dict[str, Any]:
    """Size and Git's name of a file."""
    content = path.read_bytes()
    return {"bytes": len(content), "git_sha1": hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()}


def write_manifest(folder: Path, addresses: list[str], sessions: list[dict[str, Any]]) -> Path:
    """The folder of a data set, with manifest.json in it."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "repository": "someone/V4",
        "commit": "0" * 40,
        "addresses": addresses,
        "paths": PATHS,
        "area": "V4",
        "size_px": SIZE_PX,
        "licence": "for tests",
        "citation": ["nobody"],
        "sessions": sessions,
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder
