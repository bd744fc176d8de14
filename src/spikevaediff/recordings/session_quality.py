"""What one session is worth before anything is decoded from it: the record of the quality stage.

What the single numbers are: recordings.quality and recordings.identity.
"""

from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.recordings import behaviour, identity, nwb, quality, reliability, sessions
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK, Responses


def report_line(path: Path, session: dict[str, Any], n_units: int) -> str:
    """A line about what `judged` found, for those who run it."""
    found = session["identity"]
    says = ", ".join(f"{area} {of['identity']:.2f}" for area, of in session["areas"].items() if of["identity"])
    return (
        f"{path.name}: {n_units} units, {session['n_presentations']} presentations; identity of "
        f"{found['n_classes']} conditions (chance {found['chance']:.4f}): {says}"
    )


def judged(
    path: Path,
    *,
    areas: list[str],
    window_s: tuple[float, float],
    limits: Limits,
    n_draws: int,
    seed: int,
    n_blocks: int,
    n_folds: int,
    shrinkage: float,
    running_cm_per_s: float,
    anchor_area: str,
    anchor_window_s: list[float],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What one session is worth.

    Parameters
    ----------
    path : Path
        A session, see spikevaediff.recordings.sessions.
    areas : list of str
        Those that the session lacks are left out.
    window_s : (float, float)
        Seconds after onset in which responses are counted, where they are counted here.
    limits : Limits
        Of the quality of units.
    n_draws, seed : int
        Random splits of presentations into halves.
    n_blocks : int
        Parts of the session in which drift is shown.
    n_folds, shrinkage
        See spikevaediff.recordings.identity.
    running_cm_per_s : float
        Above it the mouse runs.
    anchor_area, anchor_window_s
        Decoded as published as well.

    Returns
    -------
    dict
        spikes, whether responses are spike counts; window_s; n_presentations; presentations_of_an_image (least, median,
        most); filters, units left after each; areas, their percentiles, reliability, correlations, course and identity
        decoding; running; identity, the decoder, its chance and the published anchor.
    list of dict
        One row for each unit: session_id, unit_id, area, mean_response, rate_hz, fano, drift, reliability,
        running_ratio, and ceiling where responses are not counts; None where a number is not known.

    Raises
    ------
    ValueError
        As sessions.read_responses.
    """
    filters = sessions.summary(path, limits)
    here = [area for area in areas if area in filters and list(filters[area].values())[-1]]
    found = sessions.read_responses(path, areas=here, windows_s=np.array([window_s]), min_units=1, limits=limits)
    spikes = np.issubdtype(found.counts.dtype, np.integer)
    x = found.counts.sum(2, dtype=np.float64)
    seconds = float(np.ptp(found.window_s, axis=1).sum())
    shown = found.image_id
    classes, n_shown = np.unique(shown, return_counts=True)
    # One presentation per image leaves nothing to train on.
    repeated = n_shown[classes != BLANK].min() > 1
    fold = identity.folds(shown, n_folds) if repeated else None

    of_units: dict[str, np.ndarray] = {
        "mean_response": x.mean(0),
        "rate_hz": x.mean(0) / seconds if spikes else np.full(x.shape[1], np.nan),
        "fano": quality.fano_factor(x, shown) if spikes else np.full(x.shape[1], np.nan),
        "drift": quality.drift(x),
    }
    longer = reliability.lengthening(shown)
    of_units["reliability"], common = quality.split_half(x, shown, n_draws=n_draws, seed=seed)
    if not spikes:
        of_units["ceiling"] = quality.noise_ceiling(x, shown)
    speed = running_speed(path, found)
    runs = speed > running_cm_per_s  # NaN, unknown, is neither
    still = speed <= running_cm_per_s
    of_units["running_ratio"] = quality.running_ratio(x, runs, still)

    by_area: dict[str, Any] = {}
    for area in here:
        columns = found.units.area == area
        correct = None
        if fold is not None:
            root = np.sqrt(x[:, columns]) if spikes else x[:, columns]
            correct = identity.discriminant(root, shown, fold, shrinkage=shrinkage)
        by_area[area] = {
            "n_units": int(columns.sum()),
            **{name: quality.percentiles(values[columns]) for name, values in of_units.items()},
            "reliable_share": _share(of_units["reliability"][columns] >= 0.8, of_units["reliability"][columns]),
            "area_reliability": quality.area_reliability(common[:, :, columns], longer),
            "correlations": quality.pair_correlations(x[:, columns], shown, seed=seed),
            "course": _mean_course(quality.course(x[:, columns], n_blocks)) if len(x) >= n_blocks else None,
            "identity": None if correct is None else float(correct.mean()),
            "identity_running": float(correct[runs].mean()) if correct is not None and runs.any() else None,
            "identity_still": float(correct[still].mean()) if correct is not None and still.any() else None,
        }
    kind = "interleaved" if identity.grouped_by_image(shown) else "contiguous"
    session = {
        "spikes": bool(spikes),
        "window_s": found.window_s.tolist(),
        "n_presentations": len(x),
        "presentations_of_an_image": [int(n) for n in np.percentile(n_shown[classes != BLANK], [0, 50, 100])],
        "filters": filters,
        "areas": by_area,
        "running": {
            "limit_cm_per_s": running_cm_per_s,
            "share": float(runs.sum() / max(1, (runs | still).sum())) if (runs | still).any() else None,
        },
        "identity": {
            "decoder": f"linear discriminant, shrinkage {shrinkage:g}, {n_folds} {kind} folds",
            "n_classes": len(classes),
            "chance": 1 / len(classes),
            "anchor": None,
        },
    }
    if fold is not None and sessions.has_spike_times(path) and anchor_area in here:
        window = np.array([anchor_window_s])
        counts = sessions.read_responses(path, areas=[anchor_area], windows_s=window, min_units=1, limits=limits).counts
        correct = identity.support_vectors(counts[:, :, 0].astype(np.float64), shown, fold)
        session["identity"]["anchor"] = {
            "decoder": "RBF SVC of the AllenSDK quick start",
            "area": anchor_area,
            "n_units": counts.shape[1],
            "window_s": list(anchor_window_s),
            "folds": [float(correct[fold == k].mean()) for k in range(n_folds)],
            "mean": float(correct.mean()),
            "published_folds": list(quality.PUBLISHED_ACCURACY),
            "published_mean": float(np.mean(quality.PUBLISHED_ACCURACY)),
        }
    units = found.units
    columns_of_units = {"session_id": units.session_id, "unit_id": units.unit_id, "area": units.area} | of_units
    rows = [{name: _plain(values[row]) for name, values in columns_of_units.items()} for row in range(len(found.units))]
    return session, rows


def running_speed(path: Path, found: Responses) -> np.ndarray:
    """Mean speed in cm/s during each presentation, float64 (n_presentations,); NaN where it is not known.

    Parameters
    ----------
    path : Path
        The session.
    found : Responses
        Of it, for the number of presentations.
    """
    if not sessions.has_spike_times(path) or not behaviour.has_running_speed(path):
        return np.full(len(found.counts), np.nan)
    shown, speed = nwb.read_presentations(path), behaviour.read_running_speed(path)
    assert np.array_equal(shown.presentation_id, found.presentation_id[:, 0])
    return behaviour.mean_between(speed.start_s, speed.cm_per_s, shown.start_s, shown.stop_s)


def _mean_course(course: np.ndarray) -> list[float] | None:
    """Mean over the units that have a course, float64 (n_blocks, n_units) with NaN; None where none has."""
    known = np.isfinite(course[0])
    return course[:, known].mean(1).tolist() if known.any() else None


def _share(met: np.ndarray, of: np.ndarray) -> float | None:
    """Share of those that have a number; None where none has."""
    known = np.isfinite(of)
    return float(met[known].mean()) if known.any() else None


def _plain(value: Any) -> Any:
    """A number as JSON and CSV know it; NaN as nothing."""
    value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
