"""Table and picture of what the layers of the VDVAE carry (`records.LayerStudy`), beside what responses tell."""

import textwrap
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from spikevaediff import images
from spikevaediff.evaluation.metrics import pixcorr
from spikevaediff.records import LayerStudy, Stimuli
from spikevaediff.report.figures.picture import Picture, new_figure

N_SHOWN, MOST_COLUMNS = 3, 14  # images of the grid, evenly spread over those of the study, and its columns


def psnr(shown: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image, 10 log10(255^2 / mean squared error), in dB.

    uint8, (n_images, row, column, 3) twice -> float64, (n_images,); 99 for images without error.
    """
    error = ((shown.astype(np.float64) - made) ** 2).mean((1, 2, 3))
    return 10 * np.log10(255**2 / np.maximum(error, 255**2 / 10**9.9))


def _shown(study: LayerStudy, stimuli: Stimuli) -> np.ndarray:
    return images.rgb(images.resize(stimuli.rows(study.image_id), study.true.shape[2]))


def _resolutions(study: LayerStudy) -> list[str]:
    """ "8x8" of a layer called "05 (8x8)"."""
    return [name.split("(")[-1].rstrip(")") for name in study.layer_name.tolist()]


def curves(study: LayerStudy, stimuli: Stimuli) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Likeness to the images shown of what the first 0, 1, 2, ... layers give, mean over images.

    Parameters
    ----------
    study : LayerStudy
    stimuli : Stimuli
        Joined by id, resized to the size of the study.

    Returns
    -------
    dict of "true" and "from_spikes" to (PSNR in dB, pixel correlation), each float64 (k,)
    """
    shown = _shown(study, stimuli)
    result = {}
    for name, stacks in (("true", study.true), ("from_spikes", study.from_spikes)):
        means = [(psnr(shown, made).mean(), np.diag(pixcorr.of_images(shown, made)).mean()) for made in stacks]
        result[name] = (np.array([m[0] for m in means]), np.array([m[1] for m in means]))
    return result


def table(study: LayerStudy, stimuli: Stimuli) -> list[dict[str, Any]]:
    """A row for every number k of layers, from none: what the k-th one holds and what the first k give.

    Columns: n_layers, layer (the k-th), numbers (of the first k), bits (of the k-th, mean over images), psnr and
    correlation with the true latents, the same from spikes, empty where none were predicted.
    """
    found = curves(study, stimuli)
    bits, numbers = study.bits.mean(0), np.cumsum(study.layer_size)
    rows = []
    for k in range(len(study.layer_name) + 1):
        row: dict[str, Any] = {"n_layers": k, "layer": str(study.layer_name[k - 1]) if k else "none"}
        row |= {"numbers": int(numbers[k - 1]) if k else 0, "bits": float(bits[k - 1]) if k else 0.0}
        for name, ending in (("true", ""), ("from_spikes", "_from_spikes")):
            for what, values in zip(("psnr", "correlation"), found[name], strict=True):
                row[what + ending] = float(values[k]) if k < len(values) else ""
        rows.append(row)
    return rows


@Picture
def draw(
    study: LayerStudy,
    stimuli: Stimuli,
    predicted: dict[str, np.ndarray],
    title: str,
    *,
    predictors: str = "spikes",
) -> Figure:
    """A grid of images, a column for every number of layers, above the curves of `table` and of the prediction.

    Parameters
    ----------
    study, stimuli
        As in `curves`.
    predicted : dict of run to float64, (n_predicted,)
        Correlation of predicted with true latents, layer by layer.
    title : str
    predictors : str
        What latents are predicted from.

    Returns
    -------
    Figure
    """
    found, n_layers = curves(study, stimuli), len(study.layer_name)
    figure = new_figure(figsize=(13.5, 10.5), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.05))
    rows = figure.add_gridspec(2, 1, height_ratios=(1.6, 1))
    above, below = figure.add_subfigure(rows[0]), figure.add_subfigure(rows[1])
    _draw_grid(above.subplots(), study, _shown(study, stimuli), predictors)
    resolutions = _resolutions(study)
    axes = below.subplots(1, 4)
    for axis, index, label in ((axes[0], 0, "PSNR, dB"), (axes[1], 1, "pixel correlation with the image shown")):
        axis.plot(found["true"][index], ".-", label="latents of the image")
        axis.plot(found["from_spikes"][index], ".-", label=f"predicted from {predictors}")
        axis.set(xlabel="number of first layers k", title=label)
        axis.legend(fontsize=8)
    axes[2].bar(range(1, n_layers + 1), study.bits.mean(0), color="grey")
    axes[2].set(xlabel="k-th layer", title="bits per layer, mean over images", yscale="log")
    for run, values in predicted.items():
        axes[3].plot(range(1, len(values) + 1), values, ".-", label=run)
    axes[3].axhline(0, color="grey", lw=1)
    axes[3].set(xlabel="k-th layer", title="correlation of predicted latents")
    axes[3].legend(fontsize=8)
    for axis in axes:
        axis.title.set_size(10)
        axis.set_xlim(-0.5, n_layers + 0.7)
        axis.set_xticks(range(0, n_layers + 1, -(-n_layers // 15)))
        axis.tick_params(labelsize=8)
        for first in [k for k in range(1, n_layers) if resolutions[k] != resolutions[k - 1]]:
            axis.axvline(first + 0.5, color="grey", lw=0.5, ls=":")
    figure.suptitle(textwrap.fill(f"What the first layers show: {title}", 110), size=12, weight="bold")
    figure.supxlabel(
        "dotted: the resolution doubles or more. Layers that are not given are the means of their priors.", size=9
    )
    return figure


def _draw_grid(axis: Any, study: LayerStudy, shown: np.ndarray, predictors: str) -> None:
    """Two rows per image: from its own latents and from predicted ones; the first column is what was shown."""
    n_layers, side, gap = len(study.layer_name), shown.shape[1], max(1, shown.shape[1] // 16)
    given = np.unique(np.linspace(0, n_layers, min(n_layers + 1, MOST_COLUMNS)).round().astype(int))
    chosen = np.unique(np.linspace(0, len(shown) - 1, min(N_SHOWN, len(shown))).round().astype(int))
    step = side + gap
    canvas = np.full((2 * step * len(chosen) - gap, step * (len(given) + 1) - gap, 3), 255, np.uint8)
    for row, image in enumerate(chosen.tolist()):
        for below, stacks in enumerate((study.true, study.from_spikes)):
            y = (2 * row + below) * step
            cells = [shown[image]] * (below == 0) + [None] * (below == 1)
            cells += [stacks[k, image] if k < len(stacks) else None for k in given.tolist()]
            for column, cell in enumerate(cells):
                if cell is not None:
                    canvas[y : y + side, column * step : column * step + side] = cell
    axis.imshow(canvas, interpolation="nearest")
    resolutions = ["none", *_resolutions(study)]
    labels = ["shown", *(f"{k}\n{resolutions[k]}" for k in given.tolist())]
    axis.set_xticks([column * step + side / 2 for column in range(len(labels))], labels, size=8)
    rows = [f"image {i}\n{what}" for i in study.image_id[chosen] for what in ("its latents", f"from {predictors}")]
    axis.set_yticks([row * step + side / 2 for row in range(len(rows))], rows, size=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
