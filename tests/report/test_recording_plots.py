"""Tables and pictures of recordings, with everything known and with little."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spikevaediff.report.figures import recording_plots

PERCENTILES = {"p5": 0.1, "p25": 0.2, "p50": 0.3, "p75": 0.4, "p95": 0.5, "mean": 0.3}
CORRELATIONS = ("signal", "noise", "noise_median", "noise_first_share", "signal_noise")


def session(known: bool) -> dict[str, Any]:
    value = PERCENTILES if known else None
    area = {
        "n_units": 3,
        **dict.fromkeys(("mean_response", "drift"), PERCENTILES),
        **dict.fromkeys(("rate_hz", "fano", "reliability", "running_ratio"), value),
        **dict.fromkeys(
            ("reliable_share", "area_reliability", "identity", "identity_running", "identity_still"),
            0.5 if known else None,
        ),
        "correlations": dict.fromkeys(CORRELATIONS, 0.1 if known else None),
        "course": [0.9, 1.0, 1.1],
    }
    anchor = {"decoder": "RBF SVC", "area": "VISp", "mean": 0.5, "published_mean": 0.48}
    return {
        "filters": {
            "": {"recorded": 2, "good": 0},
            "VISp": {"recorded": 5, "good": 3},
            "V4": {"recorded": 3, "good": 3},
        },
        "areas": {"VISp": area, "V4": area},
        "identity": {"n_classes": 119, "chance": 1 / 119, "anchor": anchor if known else None},
    }


def units(known: bool) -> list[dict[str, str]]:
    number = "0.7" if known else ""
    return [{"area": area, "reliability": number, "fano": number} for area in ("VISp", "V4") for _ in range(3)]


def group(name: str) -> dict[str, Any]:
    return {"group": name, "correlation": 0.2, "ceiling": 0.9, "share_of_ceiling": 0.22}


LATENCY = [
    {"area": a, "n_units": "3", "start_s": s, "stop_s": s + 0.05, "accuracy": v, "low": v - 0.1, "high": v + 0.1}
    for a in ("VISp", "CA1")
    for s, v in zip((0.0, 0.05, 0.1), (0.05, 0.4, 0.3) if a == "VISp" else (0.1, 0.1, 0.1), strict=True)
]
LATENCY = [{name: str(value) for name, value in (row | {"chance": 0.1, "n_sessions": 2}).items()} for row in LATENCY]
COUNTS = [
    {"population": "visual", "of": of, "n": str(n), "two_way": "0.6", "two_way_low": "0.5", "two_way_high": "0.7"}
    for of in ("units", "presentations")
    for n in (1, 10, 11)
]
JUDGED = {known: {"sessions": {"1": session(known), "2": session(known)}} for known in (True, False)}
CEILING = {"absent": None, "groups": [group("a"), group("b")]}
NO_CEILING = {"absent": "images were shown once", "groups": []}
AVERAGED = {
    "sessions": {
        "1": session(False)
        | {
            "spikes": False,
            "presentations_of_an_image": [1, 1, 1],
            "identity": {"n_classes": 5, "chance": 0.2, "anchor": None},
        }
    }
}
ONCE = [row for row in COUNTS if row["of"] == "units"] + [row | {"n": "1"} for row in COUNTS[-3:-2]]
PICTURES = {
    "quality": lambda: recording_plots.draw_quality(JUDGED[True], units(True), "a simulated test"),
    "quality without repeats": lambda: recording_plots.draw_quality(JUDGED[False], units(False), "a simulated test"),
    "quality of means": lambda: recording_plots.draw_quality(AVERAGED, units(False), "a simulated test"),
    "curves of means": lambda: recording_plots.draw_curves([], ONCE, "a simulated test"),
    "curves": lambda: recording_plots.draw_curves(LATENCY, COUNTS, "a simulated test"),
    "curves without repeats": lambda: recording_plots.draw_curves([], COUNTS, "a simulated test"),
    "a ceiling": lambda: recording_plots.draw_ceiling(CEILING, "a simulated test"),
    "no ceiling": lambda: recording_plots.draw_ceiling(NO_CEILING, "a simulated test"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_has_the_same_bytes_every_time_and_no_text_at_its_edge(name: str) -> None:
    png = PICTURES[name]()
    assert png == PICTURES[name]()
    picture = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    edge = np.concatenate([picture[:2].reshape(-1), picture[-2:].reshape(-1), picture[:, :2].reshape(-1)])
    assert (edge == 255).all()


def test_tables_leave_empty_what_is_not_known() -> None:
    known, unknown = (recording_plots.quality_rows(JUDGED[k])[0] for k in (True, False))
    assert known.keys() == unknown.keys()
    assert (known["session"], known["area"], known["recorded"], known["n_units"]) == ("1", "VISp", 5, 3)
    assert (known["reliability_median"], unknown["reliability_median"]) == (0.3, "")
    assert known["published_reliability_median"] == 0.928
    assert recording_plots.quality_rows(JUDGED[True])[1]["published_reliable_share"] == ""
    assert {"session": "2", "area": "outside", "criterion": "good", "n_units": 0} in recording_plots.filter_rows(
        JUDGED[True]
    )
    assert recording_plots.ceiling_rows(CEILING)[1] == group("b")
    assert recording_plots.ceiling_rows(NO_CEILING) == [dict.fromkeys(group("a"), "")]


def test_responses_that_are_no_counts_have_a_noise_ceiling_in_place_of_the_fano_factor() -> None:
    found = json.loads(json.dumps(JUDGED[True]))
    for one in found["sessions"].values():
        one["spikes"] = False
        for area in one["areas"].values():
            area["ceiling"] = {"p50": 0.4}
    rows = [row | {"ceiling": "0.4"} for row in units(True)]
    assert recording_plots.quality_rows(found)[0]["noise_ceiling_median"] == 0.4
    assert "noise_ceiling_median" not in recording_plots.quality_rows(JUDGED[True])[0]
    figure = recording_plots.draw_quality.figure(found, rows, "a test")
    titles = [axes.get_title() for axes in figure.axes]
    assert any("Noise ceiling" in title for title in titles)
    assert not any("Fano" in title or "Hz" in title for title in titles)


def test_the_onset_is_the_first_of_two_windows_above_chance() -> None:
    low = np.array([0.0, 0.2, 0.0, 0.2, 0.3, 0.0])
    assert recording_plots.onset(low, 0.1) == 3
    assert recording_plots.onset(low, 0.25) is None
    assert recording_plots.onset(low[1:2], 0.1) == 0
    assert recording_plots.onset(low[:1], 0.1) is None


def test_presentations_in_no_known_order_have_no_course() -> None:
    def said(**options: bool) -> str:
        figure = recording_plots.draw_quality.figure(JUDGED[True], units(True), "a test", **options)
        return " ".join(text.get_text() for axes in figure.axes for text in axes.texts)

    assert "not known: when presentations\nwere shown is not published" in said(ordered=False)
    assert "not published" not in said()


def test_means_over_presentations_have_no_course_over_the_session() -> None:
    other = json.loads(json.dumps(AVERAGED))
    for area in other["sessions"]["1"]["areas"].values():
        area["course"] = [3.0, 2.0, 1.0]
    assert recording_plots.draw_quality(other, units(False), "a test") == recording_plots.draw_quality(
        AVERAGED, units(False), "a test"
    )
    ordered = json.loads(json.dumps(other))
    ordered["sessions"]["1"]["presentations_of_an_image"] = [2, 2, 2]
    assert recording_plots.draw_quality(ordered, units(False), "a test") != recording_plots.draw_quality(
        other, units(False), "a test"
    )
