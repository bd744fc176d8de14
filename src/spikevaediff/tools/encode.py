"""Saved encoding models applied to pictures: `spikevaediff encode ENCODER PICTURES... --out FILE`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spikevaediff.api import apply, run
from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import of_folds
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.files import assets, tables
from spikevaediff.images import read_image
from spikevaediff.records import ImageSplit, Stimuli, few
from spikevaediff.tools import kinds


def encode(encoder: str | Path, pictures: Sequence[str | Path], out: str | Path, root: Path) -> str:
    """Write the mean response of every unit to every picture as CSV: one row per picture, one column per unit.

    Parameters
    ----------
    encoder : path
        As in artifacts/encoders/<population>.
    pictures : sequence of path
        Of any size; grey levels are read and the whole picture squashed to a square, as images of a data set are.
    out : path
        Its columns: picture, then session_id.unit_id, with .window behind it where a unit has several time windows.
        Responses are in units of those that the model was fitted to: spike counts, say.
    root : Path
        The checkout, in which weights below vendor/ are found.

    Returns
    -------
    str
        What was written, and which pictures are images that the model was trained on, as the run of the encoder has
        them.

    Raises
    ------
    FileNotFoundError, ValueError, KeyError
        A file is not there, is damaged or not pictures; the encoder is a folder or a fit; or a family of the model does
        not exist here.
    """
    if Path(encoder).is_dir():
        raise ValueError(f"{encoder} is a folder: for new pictures name {of_folds.ALL_IMAGES} in it")
    kinds.refuse_fit(encoder)
    model = Encoder.load(encoder)
    squares = [encoders.seen(read_image(Path(path))[..., 0]) for path in pictures]
    pixels = np.concatenate([np.round(square.numpy() * 255).astype(np.uint8) for square in squares])
    responses = encoders.predict(model, pixels, lambda name: assets.weights(name, root))
    names = columns(model)
    rows = [
        {"picture": str(path)} | dict(zip(names, row.tolist(), strict=True))
        for path, row in zip(pictures, responses, strict=True)
    ]
    tables.write(out, rows, significant=names)
    return f"{out}: pictures: {len(rows)}, columns: {len(names)}{_seen(pixels, model, Path(encoder))}"


def _seen(pixels: np.ndarray, model: Encoder, encoder: Path) -> str:
    """What is said of pictures that trained a model, which lies in artifacts/encoders/<population> of its run."""
    artifacts = encoder.absolute().parent.parent.parent
    images, split = artifacts / "images.npz", artifacts / "split.npz"
    known = sorted({*apply.trained_on(pixels, model, Stimuli.load(images)).values()}) if images.is_file() else []
    if not known:
        return ""
    said = f"; the model was trained on image_id {few(known)}, so that predictions for them look too good"
    tested = np.intersect1d(known, ImageSplit.load(split).test_ids).tolist() if split.is_file() else []
    if not tested:
        return said
    how = f"spikevaediff encode {encoder.parent} --images {','.join(map(str, tested[:8]))} --out unseen.csv"
    return f"{said}; by models that have not seen them: {how}"


def encode_unseen(folder: str | Path, image_id: Sequence[int], out: str | Path) -> str:
    """Write the mean response of every unit to images of the run, each by the model of the fold that has not seen it.

    Parameters
    ----------
    folder : path
        artifacts/encoders/<population> of a finished run, whose images and split they are as well.
    image_id : sequence of int
    out : path
        Columns as those of `encode`, with image_id in place of picture.

    Raises
    ------
    FileNotFoundError, ValueError, KeyError
        As `encode`; an image that no fold tests.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder: images of the run need the models of all folds, one file each")
    if not (Path(folder) / of_folds.ALL_IMAGES).is_file():
        raise FileNotFoundError(
            f"{folder} holds no encoding models ({of_folds.ALL_IMAGES}): name those of a population, such as "
            f"artifacts/encoders/visual"
        )
    project = run.load((Path(folder) / "../../..").resolve())
    model = Encoder.load(Path(folder) / of_folds.ALL_IMAGES)
    found = apply.encode(run=project, population=Path(folder).name, image_id=image_id)
    values = (
        np.asarray(found.values).swapaxes(1, 2).reshape(len(image_id), -1)
    )  # all units of the first window, then ...
    names = columns(model)
    rows = [
        {"image_id": i} | dict(zip(names, row.tolist(), strict=True)) for i, row in zip(image_id, values, strict=True)
    ]
    tables.write(out, rows, significant=names)
    return f"{out}: images: {len(rows)}, columns: {len(names)}"


def columns(model: Encoder) -> list[str]:
    """A name for every column of a model: session_id.unit_id, and .window where a unit has several."""
    pairs = list(zip(model.session_id.tolist(), model.unit_id.tolist(), strict=True))
    several = len(set(pairs)) < len(pairs)
    seen: dict[tuple[int, int], int] = {}
    names = []
    for pair in pairs:
        window = seen[pair] = seen.get(pair, -1) + 1
        names.append(f"{pair[0]}.{pair[1]}" + (f".{window}" if several else ""))
    return names
