"""THINGS Ventral Stream Spiking Dataset (Papale et al. 2025): two macaques, 1,024 electrodes in V1, V4 and IT.

22,248 photographs were shown once, to train on, and 100 others 30 times, to test. Responses are multi-unit activity, no
counts: the mean over 100 ms of the envelope of high frequencies, z-scored by its publishers for each day and electrode,
with mean and deviation of the presentations of **tested** photographs. That cannot be undone with what they publish.

The repository tracks what there is and where (manifest.json). Responses lie in the user's cache,
`$SPIKEVAEDIFF_CACHE/tvsd`, under the publisher's paths, or in a folder of the user's (files.source). The photographs
are those of THINGS, which are had with a password: SPIKEVAEDIFF_THINGS names the folder in which
`aardvark/aardvark_01b.jpg` lies. Nobody has published when photographs were shown, so that rows stand photograph by
photograph.
"""

import os
import re
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from spikevaediff.files import json_file
from spikevaediff.files.atomic import replacing
from spikevaediff.files.download import File
from spikevaediff.files.manifest import manifest_of
from spikevaediff.files.source import Source
from spikevaediff.files.tables import write as write_table
from spikevaediff.images import check_size, read_grey, resize
from spikevaediff.records import Captions, Responses, Stimuli, UnitTable, few

PRIVATE = "the photographs of THINGS may not be passed on"
COUNTED = True  # by its publishers, in fixed windows
THINGS = "SPIKEVAEDIFF_THINGS"


def acquire(
    data_dir: Path,
    out_dir: Path,
    *,
    monkey: Literal["F", "N"],
    n_train: int,
    seed: int,
    size_px: int,
    captions: Literal["concepts", "none", "automatic"],
) -> None:
    """Fetch what the user's cache lacks, check it, and write responses, photographs, captions and the split.

    Parameters
    ----------
    data_dir : Path
        Holds manifest.json.
    out_dir : Path
        Gets sessions/1.npz of monkey F or sessions/2.npz of monkey N (a records.Responses, float32) and
        sessions/sources.json, images.npz (grey), captions_given.csv and split_given.csv.
    monkey : str
    n_train : int
        Training photographs, drawn by `seed`; a larger number holds those of a smaller one. 0: all 22,248.
    seed : int
    size_px : int
        Side of the images, by the one resize rule.
    captions : str
        concepts: the name of the concept, "aardvark"; none: the second stage works without; automatic: the stage
        `captions` describes the photographs.

    Raises
    ------
    FileNotFoundError
        A file, or photographs of THINGS, are not there and cannot be fetched; the message says what to do.
    ValueError
        The manifest or an option is wrong; a file is damaged, was altered, or is of another layout.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    manifest = read_manifest(data_dir / "manifest.json")
    if monkey not in manifest["areas"]:
        raise ValueError(f"datasets.tvsd.monkey is {monkey!r}, expected {' or '.join(manifest['areas'])}")
    if not 0 <= n_train <= manifest["n_train"] or n_train == 1:
        raise ValueError(f"datasets.tvsd.n_train is {n_train}, expected 2 to {manifest['n_train']}, or 0 for all")
    check_size(size_px)
    folder = _things()
    source = Source.of("tvsd", manifest["base_url"])
    responses, listed = _files(manifest, source, monkey)
    sums = source.have([responses, listed], f"{manifest['licence']}.")
    names = {kind: _names(listed.path, kind, manifest[f"n_{kind}"]) for kind in ("train", "test")}
    n = n_train or manifest["n_train"]
    train = np.sort(np.random.default_rng([seed]).permutation(manifest["n_train"])[:n])
    shown = [names["train"][i] for i in train.tolist()] + names["test"]
    if twice := [name for name, n in Counter(shown).items() if n > 1]:
        raise ValueError(f"{listed.path} names photographs twice: {few(twice)}")
    # Training photographs keep the numbers of the publisher, from 0; tested ones follow.
    image_id = np.concatenate([train, manifest["n_train"] + np.arange(manifest["n_test"])])
    record = _read(responses.path, manifest, monkey, train, image_id)
    pixels = _photographs(folder, shown, size_px)
    with replacing(out_dir / "sessions", folder=True) as temporary:
        record.save(temporary / f"{record.session_id[0]}.npz")
        content = {"address": source.url or "a folder"} | {key: manifest[key] for key in ("licence", "citation")}
        json_file.write(temporary / "sources.json", content | {"sha256": sums}, digits=None, indent=2)
    Stimuli(f"macaque {monkey}, multi-unit activity, THINGS", image_id, pixels).save(out_dir / "images.npz")
    sentences = tuple((_concept(name),) if captions == "concepts" else () for name in shown)
    described = image_id[:0] if captions == "automatic" else image_id
    Captions(described, sentences[: len(described)]).save(out_dir / "captions_given.csv")
    write_table(
        out_dir / "split_given.csv",
        [{"image_id": i, "fold": 0 if i >= manifest["n_train"] else -1} for i in image_id.tolist()],
    )


def cached(data_dir: Path, *, monkey: str, **others: Any) -> list[File]:
    """The files of the user's cache that `acquire` reads with these options, there or not."""
    manifest = read_manifest(data_dir / "manifest.json")
    source = Source.of("tvsd", manifest["base_url"])
    return [] if source.url is None else _files(manifest, source, monkey)


def n_images(data_dir: Path, *, n_train: int, **others: Any) -> int:
    """How many images there will be."""
    manifest = read_manifest(data_dir / "manifest.json")
    return int((n_train or manifest["n_train"]) + manifest["n_test"])


def lacks_captions(data_dir: Path, *, captions: str, **others: Any) -> bool:
    """Whether acquisition leaves images for the stage `captions` to describe."""
    return captions == "automatic"


def read_manifest(path: Path) -> dict[str, Any]:
    """manifest.json, checked.

    Raises
    ------
    FileNotFoundError, ValueError
        It is absent or no JSON, or lacks a key.
    """
    keys = {"base_url", "licence", "citation", "files", "about", "n_train", "n_test", "n_repeats", "n_electrodes"}
    return manifest_of(path, {"": keys | {"windows_s", "areas"}})


def _files(manifest: dict[str, Any], source: Source, monkey: str) -> list[File]:
    about = manifest["about"]
    return [
        source.file(manifest["files"][name].format(monkey=monkey), about=about.get(name))
        for name in ("responses", "images")
    ]


def _things() -> Path:
    """The user's folder of THINGS, in which concepts are folders."""
    named = os.environ.get(THINGS)
    if not named:
        raise FileNotFoundError(
            f"the photographs of THINGS are not part of the data set: ask for them at https://things-initiative.org, "
            f"unpack them, and name the folder that holds object_images: {THINGS}=..."
        )
    folder = Path(named).expanduser()
    inside = next((path for path in (folder / "object_images", folder) if path.is_dir()), None)
    if inside is None:
        raise FileNotFoundError(f"{THINGS} is {named}, which is not a folder")
    return inside


def _photographs(folder: Path, names: list[str], size_px: int) -> np.ndarray:
    """Photographs by name, grey, uint8 (n_images, size_px, size_px); all must be there before any is read."""
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise FileNotFoundError(
            f"{folder} lacks {few(absent)} ({len(absent)} of {len(names)} photographs that were shown). {THINGS} must "
            f"name all of THINGS, unpacked"
        )
    found = np.empty((len(names), size_px, size_px), np.uint8)
    for row, name in enumerate(names):
        try:
            found[row] = resize(read_grey(folder / name)[None], size_px)[0]
        except ValueError as error:
            raise ValueError(f"{folder / name}: {error}") from error
    return found


def _concept(name: str) -> str:
    """What a photograph shows: "bat1/bat1_01b.jpg" is "bat"."""
    return re.sub(r"\d+$", "", name.partition("/")[0]).replace("_", " ")


def _names(path: Path, kind: str, n: int) -> list[str]:
    """Paths of the photographs below THINGS, in the order of the responses.

    Raises
    ------
    ValueError
        The file is damaged or of another layout, or lists another number of photographs.
    """
    try:
        with h5py.File(path, "r") as file:
            references = file[f"{kind}_imgs/things_path"][()].ravel()
            # Text of Matlab: numbers of 16 bit, each a character. Its paths are those of Windows.
            found = ["".join(map(chr, file[one][()].ravel())).replace("\\", "/") for one in references]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not things_imgs.mat, or damaged ({error}). Delete it") from error
    if len(found) != n:
        raise ValueError(f"{path} lists {len(found)} photographs of {kind}_imgs, expected {n}")
    return found


def _read(path: Path, manifest: dict[str, Any], monkey: str, train: np.ndarray, image_id: np.ndarray) -> Responses:
    """Training responses, then those to the tested photographs, one after the other with all their repeats.

    Raises
    ------
    ValueError
        The file is damaged, or an array has other axes; too few electrodes are left.
    """
    n_electrodes, n_test, n_repeats = manifest["n_electrodes"], manifest["n_test"], manifest["n_repeats"]
    axes = {
        "train_MUA": (manifest["n_train"], n_electrodes),
        "test_MUA_reps": (n_repeats, n_test, n_electrodes),
        "SNR_max": (n_electrodes, 1),
    }
    arrays = {}
    try:
        with h5py.File(path, "r") as file:
            for name, shape in axes.items():
                if file[name].shape != shape:  # Matlab has them the other way round, as some readers show them
                    raise ValueError(f"{name} is {file[name].shape}, expected {shape} as h5py shows it")
                arrays[name] = file[name][()].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not THINGS_normMUA.mat, or damaged ({error}). Delete it") from error
    repeats = arrays["test_MUA_reps"].transpose(1, 0, 2).reshape(n_test * n_repeats, n_electrodes)
    values = np.concatenate([arrays["train_MUA"][train], repeats])
    area = np.full(n_electrodes, "", "<U2")
    for name, (first, last) in manifest["areas"][monkey].items():
        area[first - 1 : last] = name
    # An array that did not record is NaN or 0 throughout.
    chosen = np.flatnonzero(np.isfinite(values).all(0) & (np.ptp(np.nan_to_num(values), axis=0) > 0) & (area != ""))
    if n := n_electrodes - len(chosen):
        print(f"{n} of {n_electrodes} electrodes have no response to some photograph, and are left out")
    windows = np.array(list(manifest["windows_s"].values()))
    session = 1 + list(manifest["areas"]).index(monkey)
    return Responses.make(
        counts=values[:, chosen, None],
        image_id=np.concatenate([image_id[: len(train)], np.repeat(image_id[len(train) :], n_repeats)]),
        presentation_id=np.arange(len(values))[:, None],
        session_id=np.array([session]),
        window_s=np.array([[windows.min(), windows.max()]]),  # of any area; each has its own 100 ms
        units=UnitTable.make(chosen + 1, session, area[chosen], snr=arrays["SNR_max"][chosen, 0].astype(np.float64)),
    )
