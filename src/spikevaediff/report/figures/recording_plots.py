"""Tables and pictures of the recordings themselves: quality, time courses, numbers of units, noise ceilings."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from spikevaediff.recordings import quality
from spikevaediff.report.figures.picture import Picture, subplots

_GREY = "0.6"
_NO_REPEATS = "all or some images\nhave one response"


def quality_rows(judged: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per session and area: units by filter, and medians or means of what spikevaediff.recordings.quality says.

    Parameters
    ----------
    judged : dict
        artifacts/quality/quality.json
    """
    rows = []
    for name, session in judged["sessions"].items():
        for area, of in session["areas"].items():
            left = session["filters"][area]
            row = {"session": name, "area": area, "recorded": left["recorded"], "n_units": of["n_units"]}
            for value in ("rate_hz", "fano", "reliability", "drift", "running_ratio"):
                row[f"{value}_median"] = "" if of[value] is None else of[value]["p50"]
            for value in ("reliable_share", "area_reliability", "identity", "identity_running", "identity_still"):
                row[value] = "" if of[value] is None else of[value]
            for value in ("signal", "noise", "signal_noise"):
                row[f"{value}_correlation"] = "" if of["correlations"][value] is None else of["correlations"][value]
            row["chance"] = session["identity"]["chance"]
            if "ceiling" in of:  # of responses that are not counts
                row["noise_ceiling_median"] = "" if of["ceiling"] is None else of["ceiling"]["p50"]
            median, share = quality.PUBLISHED_RELIABILITY.get(area, ("", ""))
            rows.append(row | {"published_reliability_median": median, "published_reliable_share": share})
    return rows


def filter_rows(judged: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per session, area and criterion: the units left after it and those before it."""
    return [
        {"session": name, "area": area or "outside", "criterion": criterion, "n_units": n}
        for name, session in judged["sessions"].items()
        for area, left in session["filters"].items()
        for criterion, n in left.items()
    ]


def ceiling_rows(ceiling: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per group of features: what was reached, and the noise ceiling; one empty row where there is none."""
    names = ("group", "correlation", "ceiling", "share_of_ceiling")
    groups = ceiling["groups"] or [dict.fromkeys(names, None)]
    return [{name: "" if group[name] is None else group[name] for name in names} for group in groups]


@Picture
def draw_quality(judged: dict[str, Any], units: list[dict[str, str]], title: str, *, ordered: bool = True) -> Figure:
    """Six panels, each with one column per area. PNG.

    Parameters
    ----------
    judged : dict
        artifacts/quality/quality.json; numbers of several sessions are averaged, units are put together.
    units : list of dict
        Rows of artifacts/quality/units.csv.
    title : str
    ordered : bool
        Whether presentations stand in the order in which they were shown.
    """
    sessions = list(judged["sessions"].values())
    areas = list(dict.fromkeys(area for session in sessions for area in session["areas"]))
    figure, axes = subplots(2, 3, figsize=(14, 7.5))
    place, colours = np.arange(len(areas)), [f"C{i % 10}" for i in range(len(areas))]

    def mean_of(area: str, *keys: str) -> float:
        found = []
        for session in sessions:
            value = session["areas"].get(area)
            for key in keys:
                value = None if value is None else value[key]
            found.append(np.nan if value is None else value)
        known = [value for value in found if np.isfinite(value)]
        return float(np.mean(known)) if known else np.nan

    panel = axes[0, 0]
    recorded = [sum(s["filters"].get(a, {}).get("recorded", 0) for s in sessions) for a in areas]
    passing = [sum(s["areas"][a]["n_units"] for s in sessions if a in s["areas"]) for a in areas]
    panel.bar(place, recorded, color="0.85")
    panel.bar(place, passing, color=colours)
    for x, height in enumerate(passing):
        panel.text(x, height, str(height), ha="center", va="bottom", size=8)
    panel.set_title("Units that pass the filter (grey: recorded)", size=10)

    mouse = any(area in quality.PUBLISHED_RELIABILITY for area in areas)
    published = "\n(diamond: median published for 32 mice)" if mouse else ""
    for panel, column, heading in (
        (
            axes[0, 1],
            "reliability",
            "Split-half reliability of mean responses" + published,
        ),
        (
            (axes[0, 2], "fano", "Fano factor (1: Poisson)")
            if any(s.get("spikes", True) for s in sessions)
            else (axes[0, 2], "ceiling", "Noise ceiling: share of the variance of\nsingle responses due to the image")
        ),
    ):
        for x, area in enumerate(areas):
            values = np.array([float(u[column]) for u in units if u["area"] == area and u.get(column, "") != ""])
            # A fixed spread instead of random jitter: the same numbers give the same picture.
            spread = 0.6 * (np.arange(len(values)) * 0.618 % 1 - 0.5)
            panel.plot(x + spread, values, ".", ms=3, alpha=0.5, color=colours[x])
            if len(values):
                panel.plot([x - 0.35, x + 0.35], [np.median(values)] * 2, color=colours[x], lw=2)
            if column == "reliability" and area in quality.PUBLISHED_RELIABILITY:
                panel.plot(x, quality.PUBLISHED_RELIABILITY[area][0], "D", color="black", ms=5)
        panel.set_title(heading, size=10)
        if not any(u.get(column) for u in units):
            _unknown(panel, _NO_REPEATS)
        elif column == "fano":
            panel.axhline(1, color=_GREY, lw=1)
            panel.set_yscale("log")
            panel.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
            panel.set_yticks([], minor=True)

    panel = axes[1, 0]
    for offset, name, mark in ((-0.15, "signal", "s"), (0.15, "noise", "o")):
        panel.plot(place + offset, [mean_of(a, "correlations", name) for a in areas], mark, label=f"{name} correlation")
    if np.isfinite([mean_of(a, "correlations", name) for a in areas for name in ("signal", "noise")]).any():
        panel.axhline(0, color=_GREY, lw=1)
        panel.legend(fontsize=8)
    else:
        _unknown(panel, _NO_REPEATS if max(passing, default=0) > 1 else "no area\nhas two units")
    panel.set_title("Correlations of pairs of units (mean)", size=10)

    panel = axes[1, 1]
    for area, colour in zip(areas, colours, strict=True):
        in_order = [s for s in sessions if ordered and not _averaged(s)]
        if courses := [s["areas"][area]["course"] for s in in_order if s["areas"].get(area, {}).get("course")]:
            course: np.ndarray = np.mean(courses, axis=0)
            panel.plot(np.arange(1, len(course) + 1), course, color=colour, label=area)
    panel.set_title("Response over the session, relative to its mean", size=10)
    if panel.get_legend_handles_labels()[0]:
        panel.axhline(1, color=_GREY, lw=1)
        panel.set_xlabel("part of the session", size=9)
        panel.legend(fontsize=7, ncols=3)
    else:
        averaged = all(map(_averaged, sessions))
        why = "responses fall below 0" if ordered else "when presentations\nwere shown is not published"
        _unknown(panel, "one response of each image,\nin no known order" if averaged else why)

    panel = axes[1, 2]
    decoded = [mean_of(a, "identity") for a in areas]
    panel.bar(place, decoded, color=colours)
    for name, mark, offset in (("running", "^", 0.15), ("still", "v", -0.15)):
        accuracy = [mean_of(a, f"identity_{name}") for a in areas]
        if np.isfinite(accuracy).any():
            panel.plot(place + offset, accuracy, mark, color="black", ms=4, label=name)
    anchors = [s["identity"]["anchor"] for s in sessions if s["identity"]["anchor"]]
    for anchor in anchors[:1]:
        left_of = areas.index(anchor["area"]) - 0.4
        panel.plot(left_of, np.mean([a["mean"] for a in anchors]), "<", color="C3", ms=7)
        panel.plot(left_of, anchor["published_mean"], "D", color="black", ms=5)
        panel.plot([], [], "<", color="C3", label=f"{anchor['decoder']}, {anchor['area']}")
        panel.plot([], [], "D", color="black", ms=5, label="the same, published")
    chance = sessions[0]["identity"]["chance"]
    if np.isfinite(decoded).any():
        panel.axhline(chance, color=_GREY, lw=1, ls="--", label=f"chance {chance:.3f}")
        panel.legend(fontsize=7)
    else:
        most = max(max(s.get("presentations_of_an_image", [1])) for s in sessions)
        _unknown(panel, _NO_REPEATS if most == 1 else "some images\nwere shown once")
    panel.set_title(f"Identity of {sessions[0]['identity']['n_classes']} conditions, one presentation", size=10)
    for panel in (axes[0, 0], axes[0, 1], axes[0, 2], axes[1, 0], axes[1, 2]):
        panel.set_xticks(place, areas, size=8)
        panel.set_xlim(-0.6, len(areas) - 0.4)
    figure.suptitle(title, size=12, weight="bold")
    return figure


def _averaged(session: dict[str, Any]) -> bool:
    """One response of each image that is not a count: a mean over presentations, whose order says nothing."""
    return not session.get("spikes", True) and max(session.get("presentations_of_an_image", [2])) == 1


def _unknown(panel: Any, reason: str) -> None:
    """A panel without numbers says why, and has no axes that would look like some."""
    panel.text(0.5, 0.5, f"not known: {reason}", ha="center", va="center", transform=panel.transAxes)
    panel.set_axis_off()


def onset(low: np.ndarray, chance: float) -> int | None:
    """The first window whose band lies above chance, and that of the next one too; None where there is none."""
    above = np.asarray(low) > chance
    if len(above) == 1:  # a table that was counted in one window has no next one
        return 0 if above[0] else None
    found = np.flatnonzero(above[:-1] & above[1:])
    return int(found[0]) if len(found) else None


@Picture
def draw_curves(latency: list[dict[str, str]], counts: list[dict[str, str]], title: str) -> Figure:
    """Decoding over time, units and presentations, each with its band. PNG.

    Parameters
    ----------
    latency, counts : list of dict
        Rows of artifacts/curves/latency.csv and counts.csv.
    title : str
    """
    figure, axes = subplots(1, 3, figsize=(15, 4.8))
    for area in dict.fromkeys(row["area"] for row in latency):
        rows = [row for row in latency if row["area"] == area]
        middle = [500 * (float(row["start_s"]) + float(row["stop_s"])) for row in rows]
        low, mean, high = ([float(row[name]) for row in rows] for name in ("low", "accuracy", "high"))
        first = onset(np.array(low), float(rows[0]["chance"]))
        known = "never above chance" if first is None else f"by {1000 * float(rows[first]['stop_s']):.0f} ms"
        alone = f" of {rows[0]['n_sessions']} sessions, each by itself" if int(rows[0]["n_sessions"]) > 1 else ""
        label = f"{area} ({rows[0]['n_units']} units{alone}): {known}"
        (line,) = axes[0].plot(middle, mean, ".-", ms=4, label=label)
        axes[0].fill_between(middle, low, high, alpha=0.2, color=line.get_color(), lw=0)
    if latency:
        width = 1000 * (float(latency[0]["stop_s"]) - float(latency[0]["start_s"]))
        chance = float(latency[0]["chance"])
        axes[0].axhline(chance, color=_GREY, ls="--", lw=1)
        axes[0].axvline(0, color=_GREY, lw=1)
        axes[0].set_xlabel(f"middle of a window of {width:.0f} ms, ms after onset")
        axes[0].legend(fontsize=7)
    else:
        _unknown(axes[0], _NO_REPEATS)
    axes[0].set_title("Identity of the image from one presentation\n(dashed: chance)", size=10)
    for axis, of in zip(axes[1:], ("units", "presentations"), strict=True):
        axis.set_title(f"Two-way identification of predicted images\nover the number of {of} (dashed: chance)", size=10)
        if of == "presentations" and {row["n"] for row in counts if row["of"] == of} <= {"1"}:
            _unknown(axis, _NO_REPEATS)
            continue
        for population in dict.fromkeys(row["population"] for row in counts):
            rows = [row for row in counts if row["population"] == population and row["of"] == of]
            n = [int(row["n"]) for row in rows]
            low, mean, high = ([float(row[f"two_way{end}"]) for row in rows] for end in ("_low", "", "_high"))
            (line,) = axis.plot(n, mean, "o-", ms=4, label=f"areas.{population}")
            axis.fill_between(n, low, high, alpha=0.2, color=line.get_color(), lw=0)
        ticks = sorted({int(row["n"]) for row in counts if row["of"] == of})
        axis.set_xscale("log")
        axis.set_xticks([], minor=True)
        # Numbers closer than a fifth would be printed over each other.
        shown = [n for i, n in enumerate(ticks) if i + 1 == len(ticks) or ticks[i + 1] > 1.2 * n]
        axis.set_xticks(shown, map(str, shown))
        axis.axhline(0.5, color=_GREY, ls="--", lw=1)
        axis.legend(fontsize=8)
        axis.set_xlabel(f"number of {of}")
    figure.suptitle(f"{title}; bands: 95 % over images and draws", size=12, weight="bold")
    return figure


@Picture
def draw_ceiling(ceiling: dict[str, Any], title: str) -> Figure:
    """Correlation reached and noise ceiling of each group of features. PNG."""
    figure, axis = subplots(figsize=(max(8, 0.3 * len(ceiling["groups"])), 4.5))
    if ceiling["absent"]:
        axis.text(0.5, 0.5, ceiling["absent"], ha="center", transform=axis.transAxes, size=9)
        axis.set_axis_off()
    else:
        names = [group["group"] for group in ceiling["groups"]]
        for key, label in (("ceiling", "noise ceiling"), ("correlation", "reached")):
            axis.plot(range(len(names)), [group[key] for group in ceiling["groups"]], "o-", label=label)
        axis.axhline(0, color=_GREY, lw=1)
        axis.set_xticks(range(len(names)), names, size=8, rotation=60)
        axis.set(ylim=(-0.1, 1.02), ylabel="correlation over images,\nmean over latents")
        axis.legend()
    figure.suptitle(title, size=11, weight="bold")
    return figure
