"""Finished images of the second stage, each under a hash of all that decides it: a killed run continues from there."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from spikevaediff.files.atomic import replacing


@dataclass(frozen=True)
class Finished:
    """Where images are kept, by their numbers in a run.

    folder : Path or None; nothing is kept without one.
    keys : sequence of str, of each image.
    size_px : int, the side of an image.
    """

    folder: Path | None
    keys: Sequence[str]
    size_px: int

    def read(self) -> tuple[np.ndarray, set[int]]:
        """Images, uint8 (n_images, size, size, 3), and the numbers of those that are still to be made."""
        pixels = np.empty((len(self.keys), self.size_px, self.size_px, 3), np.uint8)
        todo = set()
        for number, key in enumerate(self.keys):
            found = None if self.folder is None else self._whole(self.folder / f"{key}.png")
            if found is None:
                todo.add(number)
            else:
                pixels[number] = found
        if self.folder is not None and len(todo) < len(pixels):
            print(f"{len(pixels) - len(todo)} of {len(pixels)} images were finished before (in {self.folder})")
        return pixels, todo

    def keep(self, numbers: Sequence[int], images: np.ndarray) -> None:
        """Write these images, uint8 (n, size, size, 3)."""
        if self.folder is not None:
            for number, image in zip(numbers, images, strict=True):
                with replacing(self.folder / f"{self.keys[number]}.png") as temporary:
                    Image.fromarray(image).save(temporary)

    def _whole(self, path: Path) -> np.ndarray | None:
        """A finished image, or None where there is none that is whole."""
        try:
            with Image.open(path) as image:
                pixels = np.asarray(image.convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            return None
        return pixels if pixels.shape == (self.size_px, self.size_px, 3) else None


def key(*decisive: Any) -> str:
    """SHA-256 of what decides an image, numbers and text in lists and dicts."""
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def of_file(path: str | Path) -> str:
    """SHA-256 of a file, or of all files of a folder; of what is not there, that of nothing."""
    path = Path(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
