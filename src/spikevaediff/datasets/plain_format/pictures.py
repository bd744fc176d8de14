"""images.csv and the pictures that it names: files, captions and split of a folder of the plain format."""

import stat
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from spikevaediff.datasets.plain_format import csv_file
from spikevaediff.datasets.plain_format.csv_file import whole_number
from spikevaediff.datasets.plain_format.examination import Examination
from spikevaediff.datasets.plain_format.findings import brief, first_five
from spikevaediff.images import LEAST_PX, Picture, read_picture

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SPLIT = ("train", "test")
_NO_CAPTION = ("nan", "na", "n/a", "none", "null")  # that programs write where nothing is known
_COARSE = 20  # largest number of an aspect ratio: 500 x 333 and 500 x 334 pixels are both 3:2
# What is wrong with lines and pictures, by its kind, and what is said of all that are wrong in this way.
_FAULTS = {
    "line": "images.csv: expected a whole number from 0 on and a file name in {}",
    "twice": "images.csv: image_id {} occurs more than once; give each its own",
    "outside": "images.csv: file {} is outside images/; copy it there",
    "absent": "images/: {} is named in images.csv and not there; images/ {holds}",
    "closed": "images/: {} may not be read by this user. Give the right to: chmod -R u+r images",
    "unfit": "images/: {} cannot be a picture there; copy the picture itself into images/ under a short name, and "
    "write that into images.csv",
    "broken": "images/: {} cannot be used as a picture; save it again as PNG of 8 bit, as it was shown",
}


def read_pictures(folder: Path, found: Examination) -> None:
    """Add the pictures, captions and split of images.csv, and what is wrong with them.

    Parameters
    ----------
    folder : Path
        Of the plain format.
    found : Examination
        Gets files, captions, tested, problems and notes.
    """
    rows = csv_file.table(folder / "images.csv", ("image_id", "file"), ("caption", "split"), found) or []
    is_there = (folder / "images").is_dir()
    if not is_there:
        found.problems.append("images/ is missing: the folder of the pictures that images.csv names")
    _look(folder / "images", rows if is_there else [row | {"file": ""} for row in rows], found)
    if rows:
        _captions(rows, found)
        _split(rows, found)
    if rows and is_there:
        used = {_without_links(path) for path in found.files.values()}
        pictures = [p for p in sorted((folder / "images").rglob("*")) if p.suffix.lower() in PICTURES]
        if extra := [p.name for p in pictures if _without_links(p) not in used]:
            found.notes.append(f"images/: {first_five(extra)} is not in images.csv and not used")


def _look(folder: Path, rows: Sequence[Mapping[str, str]], found: Examination) -> None:
    """Read every picture of the folder that a line names."""
    faults: dict[str, list[object]] = {kind: [] for kind in _FAULTS}
    n_lines: Counter[int] = Counter()
    ratios: Counter[Fraction] = Counter()
    done: dict[str, list[str]] = {}
    # macOS takes letters and their accents apart in the names of files, and tables have them in one.
    composed = {unicodedata.normalize("NFC", p.relative_to(folder).as_posix()): p for p in folder.rglob("*")}
    for row in rows:
        name, image_id = row["file"], _image_id(row)
        if image_id is None:
            faults["line"].append(f"line {row['line']}: {row['image_id']!r}")
            continue
        n_lines[image_id] += 1
        found.files[image_id] = folder / name
        try:
            if name and not _is_file(folder / name):
                found.files[image_id] = composed.get(unicodedata.normalize("NFC", name), folder / name)
            is_file = _is_file(found.files[image_id])
        except PermissionError:
            faults["closed"].append(name)
            continue
        except (OSError, RuntimeError, ValueError) as error:  # too long, a link to itself, a zero byte
            faults["unfit"].append(f"{brief(name)} ({getattr(error, 'strerror', None) or error})")
            continue
        if not name:
            if folder.is_dir():  # its absence is said once
                faults["line"].append(f"line {row['line']}: no file")
        elif Path(name).is_absolute() or ".." in Path(name).parts:
            faults["outside"].append(name)
        elif not is_file:
            faults["absent"].append(name)
        elif (picture := _picture(found.files[image_id], name, faults)) is not None:
            for note in picture.notes:
                done.setdefault(note, []).append(name)
            height, width = picture.grey.shape
            ratios[Fraction(width, height).limit_denominator(_COARSE)] += 1
    faults["twice"] += [image_id for image_id, n in n_lines.items() if n > 1]
    listed = sorted(path.name for path in folder.iterdir()) if faults["absent"] and folder.is_dir() else []
    holds = f"holds {first_five(listed)}" if listed else "is empty"
    found.problems += [
        says.format(first_five(faults[kind]), holds=holds) for kind, says in _FAULTS.items() if faults[kind]
    ]
    found.notes += [f"images/: {first_five(names)}: {note}" for note, names in done.items()]
    if len(ratios) > 1:
        told = first_five(f"{ratio.numerator}:{ratio.denominator} {n}" for ratio, n in ratios.most_common())
        found.notes.append(
            f"images/: pictures have {len(ratios)} aspect ratios ({told}); each is resized to a square by itself: "
            f"pad or crop them to what the screen showed"
        )


def _image_id(row: Mapping[str, str]) -> int | None:
    image_id = whole_number(row["image_id"])
    return None if image_id is None or image_id < 0 else image_id


def _picture(path: Path, name: str, faults: Mapping[str, list[object]]) -> Picture | None:
    """A picture, and what is wrong with it; None where it cannot be read."""
    try:
        picture = read_picture(path)
    except ValueError as error:
        if isinstance(error.__cause__, PermissionError):
            faults["closed"].append(name)
        else:
            faults["broken"].append(f"{name} ({error})")
        return None
    grey = picture.grey
    if min(grey.shape) < LEAST_PX:
        faults["broken"].append(f"{name} (only {grey.shape[1]} x {grey.shape[0]} pixels)")
    elif np.ptp(grey) == 0:
        faults["broken"].append(f"{name} (all of it is grey level {grey[0, 0]}; a blank screen is image_id -1)")
    return picture


def _captions(rows: Sequence[Mapping[str, str]], found: Examination) -> None:
    if "caption" not in rows[0]:
        found.notes.append("images.csv has no column caption: the stage `captions` would describe the images by BLIP-2")
        return
    found.captions = {image_id: row["caption"] for row in rows if (image_id := _image_id(row)) is not None}
    if marks := [i for i, caption in found.captions.items() if caption.casefold() in _NO_CAPTION]:
        says = found.captions[marks[0]]
        found.problems.append(f"images.csv: the caption of image_id {first_five(marks)} is {says!r}; leave it empty")
    empty = [i for i, caption in found.captions.items() if not caption]
    if len(empty) == len(found.captions):
        found.notes.append(
            "images.csv: no image has a caption; the second stage leaves the text context out (mixing 1)"
        )
    elif empty:
        found.notes.append(f"images.csv: no caption for {first_five(empty)}; a text feature space then knows nothing")


def _split(rows: Sequence[Mapping[str, str]], found: Examination) -> None:
    if "split" not in rows[0]:
        return
    if wrong := [f"line {row['line']}: {brief(row['split'])!r}" for row in rows if row["split"] not in SPLIT]:
        found.problems.append(f"images.csv: expected train or test as the split of an image; see {first_five(wrong)}")
    found.tested = {i: row["split"] == "test" for row in rows if (i := whole_number(row["image_id"])) is not None}


def _is_file(path: Path) -> bool:
    """Whether a file is there; OSError or ValueError where there can be none: Path.is_file hides a link to itself."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _without_links(path: Path) -> Path:
    """Where links lead; the path itself where they lead nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path
