"""The photographs that each unit would answer most: `spikevaediff preferred ENCODER --out FILE`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import receptive_fields
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.files import assets, tables
from spikevaediff.files.atomic import replacing
from spikevaediff.files.replaceable import check_file
from spikevaediff.records import Stimuli
from spikevaediff.report.figures.picture import Picture, subplots

N_DRAWN = 10  # units at most in the picture: those that are predicted best


def preferred(encoder: str | Path, images: str | Path, out: str | Path, n_each: int, root: Path) -> str:
    """Write the images of the largest predicted response as CSV, and beside it as PNG.

    Parameters
    ----------
    encoder : path
        As in artifacts/encoders/<population>.
    images : path
        Stimuli to choose from, such as artifacts/library/images.npz: photographs that were never shown.
    out : path
        One row per unit and image, the columns of `rows`. The picture has the same name and ends in .png.
    n_each : int
        Images per unit.
    root : Path
        The checkout, in which weights below vendor/ are found.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    FileNotFoundError, ValueError, KeyError
        A file is not there or damaged; `out` is not CSV, or the picture beside it a folder; as `rows`; a family of the
        model does not exist here.
    """
    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"--out is {out}, expected a name that ends in .csv; the picture beside it ends in .png")
    check_file(out.with_suffix(".png"), "preferred.png")
    model, stimuli = Encoder.load(encoder), Stimuli.load(images)
    responses = encoders.predict(model, stimuli.pixels, lambda name: assets.weights(name, root))
    found = rows(model, responses, stimuli.image_id, n_each)
    picture = draw(model, found, stimuli, f"Largest predicted responses, {stimuli.source}")
    tables.write(out, found, significant=("response", "mean", "sd"))
    with replacing(out.with_suffix(".png")) as temporary:
        temporary.write_bytes(picture)
    n_units = len(found) // n_each
    return (
        f"{out} and {out.with_suffix('.png').name}: units: {n_units}, images of each: {n_each} of {len(stimuli.pixels)}"
    )


def rows(model: Encoder, responses: np.ndarray, image_id: np.ndarray, n_each: int) -> list[dict[str, Any]]:
    """The images of the largest response of every unit, best predicted units first.

    Parameters
    ----------
    model : Encoder
    responses : float, (n_images, n_columns)
        What it predicts. Time windows of a unit are added up.
    image_id : int64, (n_images,)
    n_each : int

    Returns
    -------
    list of dict
        session_id, unit_id, area; r2, of left-out training images, mean over time windows; rank, from 1; image_id;
        response, in the units of those that the model was fitted to; mean and sd, of the responses to all images. Units
        that keep their mean prefer nothing and are left out.

    Raises
    ------
    ValueError
        n_each is not 1 to n_images, or no unit prefers anything.
    """
    if not 1 <= n_each <= len(image_id):
        raise ValueError(f"{n_each} images per unit are asked for, expected 1 to {len(image_id)}, as many as there are")
    units: dict[tuple[int, int], list[int]] = {}
    for column, key in enumerate(zip(model.session_id.tolist(), model.unit_id.tolist(), strict=True)):
        units.setdefault(key, []).append(column)
    tuned = {key: columns for key, columns in units.items() if (model.family[columns] >= 0).any()}
    if not tuned:
        raise ValueError(f"none of {len(units)} units prefers an image: the model predicts their mean response alone")
    found = []
    for (session_id, unit_id), columns in sorted(tuned.items(), key=lambda item: -model.r2[item[1]].mean()):
        total = responses[:, columns].sum(1, dtype=np.float64)
        about = {"session_id": session_id, "unit_id": unit_id, "area": str(model.area[columns[0]])}
        about["r2"] = float(model.r2[columns].mean())
        for rank, row in enumerate(np.argsort(-total, kind="stable")[:n_each].tolist(), start=1):
            response = {"rank": rank, "image_id": int(image_id[row]), "response": float(total[row])}
            found.append(about | response | {"mean": float(total.mean()), "sd": float(total.std())})
    return found


@Picture
def draw(model: Encoder, found: Sequence[dict[str, Any]], stimuli: Stimuli, title: str) -> Figure:
    """The first `N_DRAWN` units of `rows`, a row each, with the receptive field as a circle on every image."""
    units: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for one in found:
        units.setdefault((one["session_id"], one["unit_id"]), []).append(one)
    shown = list(units.items())[:N_DRAWN]
    n_columns = min(8, len(shown[0][1]))
    size = (1.9 + 1.3 * n_columns, 0.5 + 1.4 * len(shown))
    figure, axes = subplots(len(shown), n_columns, figsize=size, squeeze=False)
    side = stimuli.pixels.shape[1]
    for of_unit, ((session_id, unit_id), of) in zip(axes, shown, strict=True):
        columns = np.flatnonzero((model.session_id == session_id) & (model.unit_id == unit_id))
        row, column, radius = receptive_fields.field(model.row_window[np.isin(model.row_column, columns)])
        pixels = stimuli.rows(np.array([one["image_id"] for one in of[:n_columns]]))
        for axis, image, one in zip(of_unit, pixels, of, strict=False):
            axis.imshow(image, cmap="gray", vmin=0, vmax=255)
            if row is not None and column is not None and radius is not None:
                # Pixel 0 is drawn from -0.5 to 0.5.
                centre = column * side - 0.5, row * side - 0.5
                axis.add_patch(Circle(centre, radius * side, fill=False, lw=1.2, color="C1"))
            axis.set(xticks=[], yticks=[], xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
            axis.set_title(f"{(one['response'] - one['mean']) / (one['sd'] or 1.0):+.1f} sd", size=8)
        of_unit[0].set_ylabel(f"{of[0]['area']}\n{unit_id}\nR² {of[0]['r2']:.2f}", size=8, rotation=0, ha="right")
    figure.suptitle(title, size=11, weight="bold")
    return figure
