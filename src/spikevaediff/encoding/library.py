"""Photographs that were never shown, for rows of training that an encoding model answers.

A hundred images are too few to learn from responses what thousands of features of an image are. They are enough to
learn what each unit responds to; an encoding model then answers any other photograph. A photograph of the library must
share nothing with an image of the data set: training on a copy of a tested image would be a leak.

The library comes from a folder of pictures, taken whole, or from the training crops of the embedded data set (a folder
with scene_boxes.csv). Those are few, so views of them are drawn: squares of half to all of a crop, mirrored half of the
time, with other contrast and brightness. View i is of crop i modulo their number and depends on (seed, i) alone.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image

from spikevaediff.datasets import simulated
from spikevaediff.images import read_grey, resize
from spikevaediff.records import Stimuli
from spikevaediff.regression.split import N_BITS, near_copies

FIRST_ID = 1_000_000  # of library images; no data set counts that far
SIZE_PX = 128
LEAST_SIDE = 0.5  # of a view, in sides of its crop


def draw_view(crop: np.ndarray, rng: np.random.Generator, *, least_side: float, size_px: int) -> np.ndarray:
    """A square of `least_side` to all of the crop, mirrored half of the time, with other contrast and brightness.

    Parameters
    ----------
    crop : uint8, (side, side)
    rng : numpy Generator
    least_side : float
        In sides of the crop.
    size_px : int

    Returns
    -------
    uint8, (size_px, size_px)
    """
    side = round(len(crop) * rng.uniform(least_side, 1))
    y, x = rng.integers(0, len(crop) - side + 1, 2)
    square = Image.fromarray(crop[y : y + side, x : x + side])
    pixels = np.asarray(square.resize((size_px, size_px), Image.Resampling.BICUBIC)).astype(np.float64)
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    gain, offset = math.exp(rng.normal(0, 0.15)), rng.normal(0, 12)
    return np.clip(np.round((pixels - 127.5) * gain + 127.5 + offset), 0, 255).astype(np.uint8)


def make(folder: str | Path, shown: Stimuli, *, n_images: int, seed: int) -> Stimuli:
    """A library that shows nothing of what the data set shows.

    Parameters
    ----------
    folder : str or Path
        Pictures, of which the first n_images by name are taken; or the folder of the embedded data set, of whose
        training crops views are drawn.
    shown : Stimuli
        The images of the data set.
    n_images : int
    seed : int
        Of the views.

    Returns
    -------
    Stimuli
        image_id FIRST_ID, FIRST_ID + 1, ...; pixels (n, SIZE_PX, SIZE_PX), n below n_images where a folder has fewer.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such folder; files that are not pictures, or that show what an image of the data set shows; the
        message names them. No training crop is left.
    """
    folder = Path(folder)
    if n_images < 0:
        raise ValueError(f"library.n_images is {n_images}, expected 0 or more")
    if not folder.is_dir():
        raise FileNotFoundError(f"library.folder is {folder}, which is not a folder. Expected one with pictures in it")
    if (folder / "scene_boxes.csv").is_file():
        source, pixels = "views of training crops", views(simulated.crops(folder, "train")[1], shown, n_images, seed)
    else:
        source = f"pictures in {folder}"
        names, pixels = _pictures(folder, n_images)
        refuse_shown(names, pixels, shown)
    return Stimuli(source, FIRST_ID + np.arange(len(pixels)), pixels)


def refuse_shown(names: list[str], pixels: np.ndarray, shown: Stimuli) -> None:
    """Refuse pictures that show what an image of the data set shows.

    Parameters
    ----------
    names : list of str
        What the pictures are called.
    pixels : uint8, (n, height, width)
    shown : Stimuli

    Raises
    ------
    ValueError
        Pictures that are the same, or near-duplicates as `split.near_duplicates` finds them, mirror images included;
        the message names them.
    """
    pairs = near_copies(pixels, shown.pixels)
    if len(pairs):
        told = [
            f"{names[row]} shows what image_id {shown.image_id[other]} shows ({bits} of {N_BITS} hash bits differ)"
            for row, other, bits in pairs[:8].tolist()
        ]
        more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
        raise ValueError(
            f"the library leaks what is tested: {'; '.join(told)}{more}. Take these pictures out of library.folder"
        )


def views(crops: list[np.ndarray], shown: Stimuli, n: int, seed: int) -> np.ndarray:
    """Views of crops, none of which shows what an image of the data set shows.

    A crop that shows it is left out. A view that shows it all the same is drawn again, from the next crop.

    Parameters
    ----------
    crops : list of uint8, (side, side)
    shown : Stimuli
    n, seed : int

    Returns
    -------
    uint8, (n, SIZE_PX, SIZE_PX)

    Raises
    ------
    ValueError
        No crop is left.
    """
    whole = np.concatenate([resize(crop[None], 256) for crop in crops])
    alike = set(near_copies(whole, shown.pixels)[:, 0].tolist())
    kept = [crop for number, crop in enumerate(crops) if number not in alike]
    found = np.empty((n, SIZE_PX, SIZE_PX), np.uint8)
    rows, attempt = np.arange(n), 0
    while len(rows):
        if attempt >= len(kept):
            raise ValueError(f"each of {len(crops)} training crops shows what an image of the data set shows")
        for i in rows.tolist():
            rng = np.random.default_rng([seed, i, attempt][: 3 if attempt else 2])
            crop = kept[(i + attempt) % len(kept)]
            found[i] = draw_view(crop, rng, least_side=LEAST_SIDE, size_px=SIZE_PX)
        rows = rows[np.unique(near_copies(found[rows], shown.pixels)[:, 0])]
        attempt += 1
    return found


def _pictures(folder: Path, n_images: int) -> tuple[list[str], np.ndarray]:
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))[:n_images]
    pictures, bad = [], []
    for path in paths:
        try:
            pictures.append(resize(read_grey(path)[None], SIZE_PX)[0])
        except ValueError as error:
            bad.append(f"{path.name} ({error})")
    if bad:
        more = f" and {len(bad) - 8} more" if len(bad) > 8 else ""
        raise ValueError(f"{folder} holds files that are not pictures that can be read: {'; '.join(bad[:8])}{more}")
    return [path.name for path in paths], np.reshape(np.array(pictures, np.uint8), (-1, SIZE_PX, SIZE_PX))
