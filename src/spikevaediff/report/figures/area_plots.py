"""The one figure about areas: curves over units, the comparison at equal numbers, weights of banded ridge."""

import numpy as np
from matplotlib.figure import Figure

from spikevaediff.report.figures.picture import Picture, subplots

_GREY = "0.5"
_COLOURS = [f"C{i}" for i in (0, 1, 2, 3, 4, 5, 6, 8, 9)]  # the seventh is the grey of controls


@Picture
def draw(
    curves: list[dict[str, str]],
    pairs: list[dict[str, str]],
    bands: list[dict[str, str]],
    *,
    title: str,
) -> Figure:
    """PNG of what stages/regions.py wrote.

    Parameters
    ----------
    curves, pairs, bands : list of dict
        Rows of artifacts/regions/curves.csv, tests.csv and bands.csv.
        An area without a weight is a control, which must be at chance; it is drawn grey.
    title : str
    """
    common = int(bands[0]["n_units"])
    areas = list(dict.fromkeys(row["area"] for row in curves))
    control = set(areas) - {row["area"] for row in bands}
    visual = [area for area in areas if area not in control]
    colours = {area: _COLOURS[i % len(_COLOURS)] for i, area in enumerate(visual)}
    figure, axes = subplots(1, 3, figsize=(15, 4.8))
    at_common = {}
    for area in areas:
        rows = [row for row in curves if row["area"] == area]
        n = [int(row["n_units"]) for row in rows]
        score, low, high = ([float(row[name]) for row in rows] for name in ("score", "low", "high"))
        colour = colours.get(area, _GREY)
        axes[0].plot(n, score, "o-", ms=4, color=colour, label=area)
        axes[0].fill_between(n, low, high, color=colour, alpha=0.12, lw=0)
        i = n.index(common)
        at_common[area] = (score[i], low[i], high[i])
    ticks = sorted({int(row["n_units"]) for row in curves})
    shown = [n for i, n in enumerate(ticks) if i + 1 == len(ticks) or ticks[i + 1] > 1.25 * n]
    axes[0].set_xscale("log")
    axes[0].set_xticks([], minor=True)
    axes[0].set_xticks(shown, map(str, shown))
    axes[0].axvline(common, color=_GREY, lw=1, ls=":")
    axes[0].set_xlabel("number of units")
    axes[0].set_title("Two-way identification of predicted images\n(shaded: 95 % interval over images)", size=10)
    axes[0].legend(fontsize=7, ncols=2)

    def name_of(area: str) -> str:
        return f"{area} (control)" if area in control and "control" not in area else area

    order = sorted(areas, key=lambda area: at_common[area][0])
    for y, area in enumerate(order):
        mean, lowest, highest = at_common[area]
        axes[1].plot([lowest, highest], [y, y], color=colours.get(area, _GREY), lw=2)
        axes[1].plot(mean, y, "o", color=colours.get(area, _GREY))
    axes[1].set_yticks(range(len(order)), [name_of(area) for area in order])
    differ = [row for row in pairs if float(row["p_holm"]) < 0.05]
    axes[1].set_title(
        f"At {common} units each: {len(differ)} of {len(pairs)} pairs differ\n(p < 0.05 after Holm's correction)",
        size=10,
    )
    for axis in axes[:2]:
        (axis.axhline if axis is axes[0] else axis.axvline)(0.5, color=_GREY, ls="--", lw=1)

    names = list(dict.fromkeys(row["area"] for row in bands))
    weights = {name: np.array([float(row["weight"]) for row in bands if row["area"] == name]) for name in names}
    for x, name in enumerate(sorted(names, key=lambda name: -weights[name].mean())):
        jitter = x + 0.12 * np.linspace(-1, 1, len(weights[name]))
        axes[2].plot(jitter, weights[name], ".", color=colours[name], alpha=0.6)
        axes[2].plot([x - 0.25, x + 0.25], [weights[name].mean()] * 2, color=colours[name], lw=2)
    axes[2].set_xticks(range(len(names)), sorted(names, key=lambda name: -weights[name].mean()), rotation=45)
    axes[2].axhline(1 / len(names), color=_GREY, ls="--", lw=1)
    if len(names) == 1:
        axes[2].clear()
        axes[2].text(0.5, 0.5, f"one area, {names[0]},\nhas all the weight", ha="center", transform=axes[2].transAxes)
        axes[2].set_axis_off()
    of = "one point per draw of units; dashed: equal"
    axes[2].set_title(f"Weight in banded ridge, {common} units each\n({of})", size=10)
    figure.suptitle(title, size=12, weight="bold")
    return figure
