"""Tables and pictures of encoding models: what units respond to, and which image was shown."""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure

from spikevaediff.encoding import identification
from spikevaediff.report.figures.picture import Picture, new_figure, subplots

_GREY = "0.6"
SETS = dict(zip(identification.SETS, ("images of\nthe fold", "all images", "and library\nphotographs"), strict=True))


def identification_rows(found: dict[str, Any], curves: list[dict[str, str]]) -> list[dict[str, Any]]:
    """One row per set of candidates, number of units, number of presentations and window.

    Parameters
    ----------
    found : dict
        artifacts/identification.json
    curves : list of dict
        artifacts/identification.csv
    """
    rows: list[dict[str, Any]] = []
    for population, sets in found.items():
        for name, one in sets.items():
            low, high = one["top1_interval"]
            row = {"population": population, "of": f"among_{name}", "n": round(1 / one["chance"]), "top1": one["top1"]}
            rows.append(row | {"low": low, "high": high, "chance": one["chance"]})
    numbers = ("top1", "low", "high", "chance")
    return rows + [row | {"n": int(row["n"])} | {name: float(row[name]) for name in numbers} for row in curves]


@Picture
def draw_identification(rows: list[dict[str, Any]], title: str) -> Figure:
    """Share of images that are identified: by candidates, units, presentations and time. PNG.

    Parameters
    ----------
    rows : list of dict
        As from `identification_rows`.
    title : str
    """
    figure, axes = subplots(1, 4, figsize=(18, 4.6))
    populations = list(dict.fromkeys(row["population"] for row in rows))
    there = {row["of"] for row in rows}
    labels = {f"among_{name}": label for name, label in SETS.items() if f"among_{name}" in there}
    names = list(labels)
    for shift, population in enumerate(populations):
        here = {row["of"]: row for row in rows if row["population"] == population and row["of"] in names}
        place = np.arange(len(names)) + 0.35 * (shift - (len(populations) - 1) / 2)
        top, low, high = (np.array([here[name][key] for name in names]) for key in ("top1", "low", "high"))
        axes[0].bar(place, top, 0.33, color=f"C{shift}", label=f"areas.{population}")
        axes[0].errorbar(place, top, [top - low, high - top], fmt="none", ecolor="black", elinewidth=1.5)
        for x, name in zip(place, names, strict=True):
            axes[0].plot([x - 0.17, x + 0.17], [here[name]["chance"]] * 2, color="black", ls=":", lw=1.5)
            axes[0].text(x, here[name]["high"] + 0.01, f"{here[name]['top1']:.2f}", ha="center", va="bottom", size=9)
    sizes = [next(row["n"] for row in rows if row["of"] == name) for name in names]
    axes[0].set_xticks(range(len(names)), [f"{label} ({n})" for label, n in zip(labels.values(), sizes, strict=True)])
    axes[0].set_title("Candidates (dotted: chance)", size=10)
    axes[0].set_ylabel("share of unseen images identified")
    for axis in axes:
        axis.set_ylim(-0.02, 1.09)
    absent = {
        "presentations": "not known: all or some images\nhave one response",
        "time": "not known: responses are of\none window, without times within it",
    }
    for axis, of in zip(axes[1:], ("units", "presentations", "time"), strict=True):
        axis.set_title("All images, over time" if of == "time" else f"All images, over the number of {of}", size=10)
        if of in absent and {row["n"] for row in rows if row["of"] == of} <= {1}:
            axis.text(0.5, 0.5, absent[of], ha="center", va="center", transform=axis.transAxes)
            axis.set_axis_off()
            continue
        for shift, population in enumerate(populations):
            some = [row for row in rows if row["population"] == population and row["of"] == of]
            n = [row["n"] for row in some]
            axis.plot(n, [row["top1"] for row in some], "o-", ms=4, color=f"C{shift}", label=f"areas.{population}")
            axis.fill_between(
                n, [row["low"] for row in some], [row["high"] for row in some], color=f"C{shift}", alpha=0.2, lw=0
            )
            axis.axhline(some[0]["chance"], color=_GREY, ls=":", lw=1.5)
        if of == "time":
            axis.axvline(0, color=_GREY, lw=1)
            axis.set_xlabel("middle of a short window, ms after onset")
            continue
        ticks = sorted({row["n"] for row in rows if row["of"] == of})
        axis.set_xscale("log")
        axis.set_xticks([], minor=True)
        # Numbers closer than a fifth would be printed over each other.
        shown = [n for i, n in enumerate(ticks) if i + 1 == len(ticks) or ticks[i + 1] > 1.2 * n]
        axis.set_xticks(shown, map(str, shown))
        axis.set_xlabel(f"number of {of}")
    axes[1].legend(fontsize=8, loc="upper left")
    figure.suptitle(f"{title}; 95 % intervals", size=12, weight="bold")
    return figure


@Picture
def draw_encoding(units: list[dict[str, str]], title: str) -> Figure:
    """Prediction beside its ceiling, receptive fields on the image, families chosen. PNG.

    Parameters
    ----------
    units : list of dict
        artifacts/encoding.csv
    title : str
    """
    of_area = _by_area(units)
    areas = list(of_area)
    colour = {area: f"C{i % 10}" for i, area in enumerate(areas)}
    n_columns = max(4, -(-len(areas) // 2))
    figure = new_figure(figsize=(4.6 + 1.9 * n_columns + 3.2, 5.2), layout="constrained")
    grid = figure.add_gridspec(2, 3 * n_columns + 9)
    panel = figure.add_subplot(grid[:, :5])
    for area in areas:
        pairs = np.array([(float(r["ceiling"]), float(r["r"])) for r in of_area[area] if r["ceiling"] and r["r"]])
        if len(pairs):
            median = np.median(pairs[:, 1])
            panel.plot(*pairs.T, ".", ms=4, alpha=0.6, color=colour[area], label=f"{area}: median {median:.2f}")
    panel.axhline(0, color=_GREY, lw=1)
    panel.set(xlim=(-0.05, 1.05), ylim=(-0.5, 1.05))
    if panel.get_legend_handles_labels()[0]:
        panel.plot([0, 1], [0, 1], color=_GREY, lw=1)
        panel.set_xlabel("ceiling: sqrt of split-half reliability")
    else:  # one response of each image has no halves
        for place, area in enumerate(areas):
            r = np.array([float(row["r"]) for row in of_area[area] if row["r"]])
            if len(r):
                # A fixed spread instead of random jitter: the same numbers give the same picture.
                spread = 0.6 * (np.arange(len(r)) * 0.618 % 1) / len(areas)
                x = (place + 0.2) / len(areas) + spread
                panel.plot(x, r, ".", ms=4, alpha=0.6, color=colour[area], label=f"{area}: median {np.median(r):.2f}")
        panel.set(xticks=[], xlabel="no ceiling: one response of each image is known,\nand no repeats")
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize=7, loc="upper left")
    panel.set_ylabel("r of unseen images")
    panel.set_title("Predicted and measured responses", size=10)
    for number, area in enumerate(areas):
        row, column = divmod(number, n_columns)
        panel = figure.add_subplot(grid[row, 5 + 3 * column : 8 + 3 * column])
        placed = [unit for unit in of_area[area] if unit["row"]]
        centres = np.array([(float(unit["column"]), float(unit["row"])) for unit in placed]).reshape(-1, 2)
        width = np.array([2 * float(unit["size"]) for unit in placed])
        circles = EllipseCollection(
            *(width, width, np.zeros(len(width))),
            units="xy",
            offsets=centres,
            offset_transform=panel.transData,
            facecolors="none",
            edgecolors=colour[area],
            lw=0.6,
            alpha=0.5,
        )
        panel.add_collection(circles)
        panel.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[], aspect="equal")  # row 0 is the upper edge
        heading = f"{area}: {len(placed)} of {len(of_area[area])} units"
        panel.set_title(heading if len(heading) < 30 else heading.replace(": ", ":\n"), size=9)
    panel = figure.add_subplot(grid[:, -4:])
    families = sorted({row["family"] for row in units}, key=lambda name: (name == "none", name))
    below, palette = np.zeros(len(areas)), colormaps["Set2"]
    for number, family in enumerate(families):
        share = np.array([np.mean([row["family"] == family for row in of_area[area]]) for area in areas])
        panel.barh(areas, share, left=below, color="0.85" if family == "none" else palette(number), label=family)
        below += share
    panel.invert_yaxis()
    panel.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=2)
    panel.set_xlim(0, 1)
    panel.set_title("Family chosen (none: keeps its mean)", size=10)
    figure.suptitle(f"{title}; circles: receptive fields on the image", size=12, weight="bold")
    return figure


def _by_area(units: list[dict[str, str]]) -> dict[str, list[dict[str, str]]]:
    """Units by area, with the population where both populations have the area."""
    having: dict[str, set[str]] = {}
    for row in units:
        having.setdefault(row["area"], set()).add(row["population"])
    found: dict[str, list[dict[str, str]]] = {}
    for row in units:
        several = len(having[row["area"]]) > 1
        found.setdefault(f"{row['area']} ({row['population']})" if several else row["area"], []).append(row)
    return found
