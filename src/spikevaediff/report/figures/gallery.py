"""Shown and reconstructed images side by side."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from spikevaediff import images
from spikevaediff.records import Reconstructions, Stimuli
from spikevaediff.report.figures.picture import Picture, new_figure


@Picture
def draw(
    shown: Stimuli,
    rows: dict[str, Reconstructions],
    groups: dict[str, list[int]],
    scores: dict[int, float],
    *,
    title: str,
    score_name: str,
    cell_px: int,
) -> Figure:
    """A picture with a column for every image and a row for what was shown and for each kind of reconstruction.

    Parameters
    ----------
    shown : Stimuli
    rows : dict of label to Reconstructions
    groups : dict of label to image ids
        As from `ranks.by_rank`.
    scores : dict of image_id to score
        Written below each image.
    title, score_name : str
    cell_px : int
        Side of an image in the picture.

    Returns
    -------
    Figure
        Called as a `Picture`, the bytes of a PNG, the same for the same input.
    """
    ids = [image_id for group in groups.values() for image_id in group]
    wanted = np.array(ids)
    table = {"shown": images.rgb(shown.rows(wanted))} | {name: r.rows(wanted) for name, r in rows.items()}
    n_rows, n_columns = len(table), len(ids)
    dpi, gap, left, bottom, line = 100, 4, 130, 30, 20
    width = left + n_columns * (cell_px + gap) + 3 * gap * len(groups)
    # Wrapped to the width: 12 point bold takes up to 11 px per character.
    lines = textwrap.wrap(title, (width - 16) // 11)
    top = 44 + line * len(lines)
    height = top + n_rows * (cell_px + gap) + bottom
    figure = new_figure(figsize=(width / dpi, height / dpi), dpi=dpi, facecolor="white")
    canvas = np.full((height, width, 3), 255, np.uint8)
    x = left
    for group, members in groups.items():
        figure.text(
            (x + len(members) * (cell_px + gap) / 2) / width, 1 - (top - 14) / height, group, ha="center", size=11
        )
        for image_id in members:
            column = ids.index(image_id)
            for row, pixels in enumerate(table.values()):
                y = top + row * (cell_px + gap)
                canvas[y : y + cell_px, x : x + cell_px] = images.resize(pixels[column : column + 1], cell_px)[0]
            label = f"{image_id}: {scores[image_id]:.2f}"
            figure.text((x + cell_px / 2) / width, (bottom - 18) / height, label, ha="center", size=8)
            x += cell_px + gap
        x += 3 * gap
    for row, name in enumerate(table):
        middle = top + row * (cell_px + gap) + cell_px / 2
        figure.text((left - 8) / width, 1 - middle / height, name, ha="right", va="center", size=9)
    for number, text in enumerate(lines):
        figure.text(8 / width, 1 - (22 + line * number) / height, text, size=12, weight="bold")
    figure.text((left - 8) / width, (bottom - 18) / height, f"image: {score_name}", ha="right", size=8)
    figure.figimage(canvas, zorder=-1)
    return figure


def chosen(
    shown: Stimuli, rows: dict[str, Reconstructions], groups: dict[str, list[int]], *, cell_inches: float
) -> Figure:
    """A grid of axes for a paper: a row for what was shown and for each kind of reconstruction, pixels as they are.

    Parameters
    ----------
    shown : Stimuli
    rows : dict of label to Reconstructions
    groups : dict of label to image ids
        Columns, from the left; a label stands above the first image of its group.
    cell_inches : float
        Side of an image.

    Raises
    ------
    KeyError, ValueError
        An image is not there, or none is given.
    """
    ids = [image_id for group in groups.values() for image_id in group]
    if not ids or not rows:
        raise ValueError("a gallery needs an image and a run")
    table = {"shown": images.rgb(shown.rows(np.array(ids)))} | {name: r.rows(np.array(ids)) for name, r in rows.items()}
    size = (1.2 + cell_inches * len(ids), 0.3 + cell_inches * len(table))
    figure = new_figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(table), len(ids), squeeze=False)
    for of_row, (name, pixels) in zip(axes, table.items(), strict=True):
        of_row[0].set_ylabel(name, rotation=0, ha="right", va="center", size=8)
        for axis, picture in zip(of_row, pixels, strict=True):
            axis.imshow(picture, interpolation="none")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
    first = {group[0]: f"{name}\n" for name, group in groups.items() if name and group}
    for axis, image_id in zip(axes[0], ids, strict=True):
        axis.set_title(f"{first.get(image_id, '')}{image_id}", size=8)
    return figure
