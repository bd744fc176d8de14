"""Responses of your own as the record that saved models take."""

import numpy as np

from spikevaediff.records import Responses, UnitTable

_METRICS = ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio", "firing_rate")


def make_responses(
    counts: np.ndarray,
    image_id: np.ndarray,
    *,
    like: Responses | None = None,
    unit_id: np.ndarray | None = None,
    area: np.ndarray | str = "unknown",
    session_id: int = 0,
    window_s: np.ndarray | None = None,
    presentation_id: np.ndarray | None = None,
    **metrics: np.ndarray,
) -> Responses:
    """A record of responses from arrays.

    Parameters
    ----------
    counts : (n_presentations, n_units) or (n_presentations, n_units, n_windows)
        Whole numbers are spike counts, 0 to 65535; float32 and float64 are taken as they are.
    image_id : int, (n_presentations,)
        The image of each presentation; -1 is a blank screen.
    like : Responses, optional
        With the same units in the same order and the same windows, such as run.presentations["visual"]; instead of
        unit_id, area, session_id, window_s and metrics.
    unit_id : int, (n_units,)
        Needed without `like`.
    area : str, or str (n_units,)
    session_id : int
    window_s : float, (n_windows, 2)
        Start and stop of each window, seconds after onset. Needed without `like`.
    presentation_id : int, (n_presentations,), optional
        Rows of the table of the session; 0, 1, ... where they are not given.
    **metrics : float, (n_units,)
        snr, isi_violations, amplitude_cutoff, presence_ratio, firing_rate (Hz); NaN where they are not given.

    Raises
    ------
    ValueError
        Shapes or types do not fit, an argument is missing, unknown or given twice, or counts do not fit into uint16.
    """
    counts, image_id = np.asarray(counts), np.asarray(image_id)
    counts = counts[:, :, None] if counts.ndim == 2 else counts
    if counts.ndim != 3:
        raise ValueError(f"counts has the shape {counts.shape}, expected (presentation, unit) or (.., window)")
    for name, ids in (("image_id", image_id), ("unit_id", unit_id), ("presentation_id", presentation_id)):
        if ids is not None and not np.issubdtype(np.asarray(ids).dtype, np.integer):
            raise ValueError(f"{name} is {np.asarray(ids).dtype}, expected whole numbers")
    if np.issubdtype(counts.dtype, np.integer):
        if counts.size and (counts.min() < 0 or counts.max() > np.iinfo(np.uint16).max):
            raise ValueError(f"counts are from {counts.min()} to {counts.max()}, expected spike counts, 0 to 65535")
        counts = counts.astype(np.uint16)
    if unknown := set(metrics) - set(_METRICS):
        raise ValueError(f"there is no metric {sorted(unknown)[0]}; there are {', '.join(_METRICS)}")
    if like is not None:
        if unit_id is not None or window_s is not None or metrics:
            raise ValueError("units and windows are those of `like`: leave out unit_id, window_s and metrics")
        units, windows, sessions = like.units, like.window_s, like.session_id
    else:
        if unit_id is None or window_s is None:
            raise ValueError("give unit_id and window_s, or `like`: a record with the same units and windows")
        units = _units(np.asarray(unit_id), area, session_id, metrics)
        windows, sessions = np.atleast_2d(np.asarray(window_s, np.float64)), np.array([session_id])
    rows = np.arange(len(counts)) if presentation_id is None else np.asarray(presentation_id)
    return Responses.make(
        counts=counts,
        image_id=image_id.astype(np.int64),
        presentation_id=np.repeat(rows.astype(np.int64)[:, None], len(sessions), axis=1),
        session_id=sessions,
        window_s=windows,
        units=units,
    )


def _units(unit_id: np.ndarray, area: np.ndarray | str, session_id: int, metrics: dict[str, np.ndarray]) -> UnitTable:
    n = len(unit_id)
    columns = {name: np.asarray(metrics.get(name, np.full(n, np.nan)), np.float64) for name in _METRICS}
    areas = np.full(n, area) if isinstance(area, str) else np.asarray(area).astype(str)
    return UnitTable(
        unit_id=unit_id.astype(np.int64), session_id=np.full(n, session_id, np.int64), area=areas, **columns
    )
