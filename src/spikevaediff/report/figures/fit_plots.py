"""What the regressions chose and how well they predict left-out training images: tables and pictures.

The arrays are those of `fits.Fit.summary`, one fit per fold, as stages/regress.py stacks them: loo_r2, loo_correlation,
target_dof and alpha (n_folds, n_targets), group_size (n_folds, n_groups), alphas (n_folds, n_alphas), group_r2
(n_folds, n_groups, n_candidates), convergence (n_folds, n_searches, n_steps, 2), and band_name, band_weight where there
are bands.
"""

import itertools
import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from spikevaediff.records import group_edges
from spikevaediff.report.figures.picture import Picture, subplots

Fits = dict[str, np.ndarray]


def left_out_rows(run: str, groups: list[str], fits: Fits) -> list[dict[str, Any]]:
    """One row per group of targets (VDVAE layer, token): left-out R2 and correlation, degrees of freedom, penalty.

    r2, correlation, dof, log10_alpha are means over folds and the targets of the group; r2_p10 and r2_p90, and those of
    the correlation, the percentiles between which eight tenths of the targets lie. Constant targets have no score and
    are left out; a group of nothing else (the padding after the longest caption) has no row.
    """
    edges = group_edges(fits["group_size"][0]).tolist()
    rows = []
    for place, (name, (start, stop)) in enumerate(zip(groups, itertools.pairwise(edges), strict=True)):
        varies = np.isfinite(fits["loo_r2"][:, start:stop])
        if not varies.any():
            continue
        row: dict[str, Any] = {"run": run, "place": place, "group": name}
        for short, array in (("r2", "loo_r2"), ("correlation", "loo_correlation")):
            values = fits[array][:, start:stop].astype(np.float64)[varies]
            low, high = np.nanpercentile(values, [10, 90])
            row |= {short: float(np.nanmean(values)), f"{short}_p10": float(low), f"{short}_p90": float(high)}
        row["dof"] = float(fits["target_dof"][:, start:stop][varies].mean())
        row["log10_alpha"] = float(np.log10(fits["alpha"][:, start:stop][varies]).mean())
        rows.append(row)
    return rows


def alpha_shares(alpha: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """Share of (fold, target) pairs that chose each penalty, by its rank among those offered to the fold.

    Parameters
    ----------
    alpha : float64, (n_folds, n_targets)
    alphas : float64, (n_folds, n_alphas)

    Returns
    -------
    float64, (n_alphas,), adding up to 1
    """
    nearest = np.abs(np.log(alpha)[..., None] - np.log(alphas)[:, None]).argmin(-1)
    return np.bincount(nearest.ravel(), minlength=alphas.shape[1]) / nearest.size


def search_rows(convergence: np.ndarray, group_r2: np.ndarray) -> list[dict[str, Any]]:
    """The search of a regression for its continuous settings: left-out loss 1 - R2 by step, mean over folds and
    searches.

    Parameters
    ----------
    convergence : float64, (n_folds, n_searches, n_steps, 2)
        As Fit.convergence, NaN after the last step of a search; its last loss is carried on.
    group_r2 : float64, (n_folds, n_groups, n_candidates), NaN for candidates that were not fitted
        A method without such settings gets one row: the best of its grid, mean over groups and folds.
    """
    if convergence.shape[1] == 0:
        return [{"step": 0, "loss": float(1 - np.fmax.reduce(group_r2, axis=-1).mean())}]
    loss = _carried_on(convergence[..., 0].reshape(-1, convergence.shape[2]))
    return [{"step": step, "loss": value} for step, value in enumerate(loss.mean(0).tolist())]


def band_rows(layers: list[str], fits: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Weight of each band (area, time bin) for each layer, mean over folds; a method without bands has one, of weight
    1.

    Parameters
    ----------
    layers : list of str, (n_groups,)
    fits : dict
        band_name (n_folds, n_bands) and band_weight (n_folds, n_groups or 1, n_bands), where there are bands.
    """
    if "band_name" not in fits:
        return [{"layer": layer, "band": "all units", "weight": 1.0} for layer in layers]
    weight = np.broadcast_to(fits["band_weight"].mean(0), (len(layers), fits["band_weight"].shape[-1]))
    names = fits["band_name"][0].tolist()
    return [
        {"layer": layer, "band": name, "weight": float(w)}
        for layer, row in zip(layers, weight, strict=True)
        for name, w in zip(names, row, strict=True)
    ]


def _carried_on(loss: np.ndarray) -> np.ndarray:
    """Losses by step, (n_searches, n_steps), the last one of each search in place of the NaN that follow it."""
    last = np.maximum.accumulate(np.where(np.isnan(loss), 0, np.arange(loss.shape[1])), axis=1)
    return np.take_along_axis(loss, last, axis=1)


@Picture
def draw_left_out(spaces: dict[str, dict[str, list[dict[str, Any]]]], title: str) -> Figure:
    """Left-out R2, correlation and degrees of freedom of every group: PNG, one column per space, one colour per run.

    spaces : feature space to run to rows of `left_out_rows`.
    """
    names = {"r2": "left-out R²", "correlation": "left-out correlation", "dof": "degrees of freedom"}
    width = 1 + 4.2 * len(spaces)  # inches, of about 10 letters of the title and 12 of the note
    figure, axes = subplots(3, len(spaces), figsize=(width, 7.5), squeeze=False, sharex="col")
    for axis, label in zip(axes[:, 0], names.values(), strict=True):
        axis.set_ylabel(label)
    for column, (space, runs) in zip(axes.T, spaces.items(), strict=True):
        column[0].set_title(space, size=11)
        for axis, key in zip(column, names, strict=True):
            for colour, (run, rows) in enumerate(runs.items()):
                place = [row["place"] for row in rows]
                axis.plot(place, [row[key] for row in rows], ".-", color=f"C{colour}", label=run)
                if key != "dof":
                    low, high = ([row[f"{key}_{p}"] for row in rows] for p in ("p10", "p90"))
                    axis.fill_between(place, low, high, color=f"C{colour}", alpha=0.15, lw=0)
            if key != "dof":
                axis.axhline(0, color="grey", lw=1)
        column[0].legend(fontsize=8)
        column[-1].set_xlabel("group of targets (layer, token)", size=9)
        column[-1].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(textwrap.fill(title, min(90, int(10 * width))), size=11, weight="bold")
    note = (
        "line: mean over targets; band: 10th to 90th percentile. Without information both scores are below 0. With "
        "rows of a library they are a little above: the encoding models behind these have seen the left-out image"
    )
    figure.supxlabel(textwrap.fill(note, min(126, int(12 * width))), size=9)
    return figure


@Picture
def draw_search(groups: list[str], fits: Fits, title: str) -> Figure:
    """Left-out loss while continuous settings are searched, one line per search; without one, along the grid. PNG."""
    figure, axis = subplots(figsize=(8, 4.5))
    axis.set_ylabel("left-out loss, 1 - R²,\nmean over folds")
    record = fits["convergence"]
    if record.shape[1]:
        shown = groups if record.shape[1] == len(groups) else ["all targets"]
        for k in range(record.shape[1]):
            loss = _carried_on(record[:, k, :, 0])
            last = int(np.isfinite(record[:, k, :, 0]).sum(1).max())
            axis.plot(loss.mean(0)[:last], label=shown[k], color=colormaps["viridis"](k / max(1, len(shown) - 1)))
        axis.set_xlabel("step of the gradient search")
    else:
        alphas = fits["alphas"].mean(0)
        # NaN in folds that did not fit one, where the library's weight was chosen together with one penalty.
        curves = 1 - np.ma.masked_invalid(fits["group_r2"]).mean(0).filled(np.nan)
        curves = curves.reshape(len(curves), -1, len(alphas))  # groups, kernels, penalties
        kernels = curves.shape[1] > 1
        lines = curves.mean(0) if kernels else curves[:, 0]
        labels = [f"width {w:g}" for w in fits["widths"][0].tolist()] if kernels else groups
        for k, line in enumerate(lines):
            colour = colormaps["viridis"](k / max(1, len(lines) - 1))
            axis.plot(alphas, line, ".-", label=labels[k] if len(lines) <= 31 else None, color=colour)
        axis.set(xscale="log", xlabel="penalty alpha")
        axis.set_title("no gradient search: the method chooses from this grid", size=10)
    axis.axhline(1, color="grey", lw=1)
    axis.legend(fontsize=7, ncols=2, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle(textwrap.fill(title, 80), size=11, weight="bold")
    return figure


@Picture
def draw_bands(groups: list[str], fits: Fits, title: str) -> Figure:
    """Learned weight of every band (area, time bin) for every group of targets, mean over folds. PNG.

    A method without bands has nothing to show, and the picture says so.
    """
    there = "band_name" in fits
    height = max(3.0, 1.5 + 0.25 * len(groups)) if there else 2.0
    figure, axis = subplots(figsize=(8, height))
    figure.suptitle(textwrap.fill(title, 80), size=11, weight="bold")
    if not there:
        axis.set_axis_off()
        text = "All units have one weight: no bands were learned.\n"
        text += "regress.vdvae.method=banded learns one weight per area."
        axis.text(0.5, 0.5, text, ha="center", va="center", size=11)
        return figure
    weight, names = fits["band_weight"].mean(0), fits["band_name"][0].tolist()
    labels = groups if len(weight) == len(groups) else ["all targets"]
    image = axis.imshow(weight, vmin=0, vmax=max(weight.max(), 1 / len(names)), cmap="viridis", aspect="auto")
    for i, j in np.ndindex(weight.shape):
        dark = weight[i, j] < 0.6 * weight.max()
        axis.text(j, i, f"{weight[i, j]:.2f}", ha="center", va="center", size=7, color="white" if dark else "black")
    axis.set_xticks(range(len(names)), names, rotation=30 if len(names) > 4 else 0)
    axis.set_yticks(range(len(labels)), labels, size=8)
    figure.colorbar(image, label="share of the weight")
    return figure
