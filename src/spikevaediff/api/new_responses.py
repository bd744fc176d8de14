"""Responses of your own as the record that saved models take."""

from typing import Any

import numpy as np

from spikevaediff.api.named import Named
from spikevaediff.api.run import unit_ids
from spikevaediff.records import BLANK, Responses, UnitTable, few


def make_responses(
    counts: np.ndarray | Named,
    image_id: np.ndarray,
    *,
    like: Responses | None = None,
    unit_id: np.ndarray | None = None,
    area: np.ndarray | str | None = None,
    session_id: int | None = None,
    window_s: np.ndarray | None = None,
    presentation_id: np.ndarray | None = None,
    **metrics: np.ndarray,
) -> Responses:
    """A record of responses from arrays.

    Parameters
    ----------
    counts : (n_presentations, n_units) or (n_presentations, n_units, n_windows)
        Whole numbers are spike counts, 0 to 65535; float32 and float64 are taken as they are. A table that names its
        columns (Named, pandas, xarray) must name these units in this order, and where its rows are named image_id,
        these images: both are compared and not put in order.
    image_id : int, (n_presentations,)
        The image of each presentation, from 0 on; -1 is a blank screen.
    like : Responses, optional
        With the same units in the same order and the same windows, such as run.presentations["visual"]; instead of
        unit_id, area, session_id, window_s and metrics.
    unit_id : int, (n_units,)
        Needed without `like`.
    area : str, or str (n_units,)
        "unknown" where it is not given.
    session_id : int
        0 where it is not given.
    window_s : float, (n_windows, 2)
        Start and stop of each window, seconds after onset. Needed without `like`.
    presentation_id : int, (n_presentations,), optional
        Rows of the table of the session; 0, 1, ... where they are not given.
    **metrics : float, (n_units,)
        snr, isi_violations, amplitude_cutoff, presence_ratio, firing_rate (Hz); NaN where they are not given.

    Raises
    ------
    ValueError
        Shapes or types do not fit, an argument is missing, unknown or given twice, counts do not fit into uint16, or
        name other units, images or another order.
    """
    if like is not None and not isinstance(like, Responses):
        raise ValueError(f'like is {type(like).__name__}, expected a record: run.presentations["visual"]')
    if np.ma.is_masked(counts):
        raise ValueError("counts is an array with masked values: leave out presentations, or units, that lack some")
    named, counts, image_id = counts, _numbers(counts), _whole(image_id)
    counts = counts[:, :, None] if counts.ndim == 2 else counts
    if counts.ndim != 3:
        raise ValueError(f"counts has the shape {counts.shape}, expected (presentation, unit) or (.., window)")
    if image_id.ndim == 1 and len(image_id) != len(counts):
        turned = ". Is it (unit, presentation)? Then give counts.T" if len(image_id) == counts.shape[1] else ""
        raise ValueError(
            f"counts has {len(counts)} rows, image_id {len(image_id)}: expected one per presentation{turned}"
        )
    for name, ids in (("image_id", image_id), ("unit_id", unit_id), ("presentation_id", presentation_id)):
        if ids is not None and (np.ndim(ids) != 1 or not np.issubdtype(np.asarray(ids).dtype, np.integer)):
            raise ValueError(f"{name} is {np.asarray(ids).dtype} {np.shape(ids)}, expected a row of whole numbers")
    if image_id.size and (image_id.min() < BLANK or image_id.max() > np.iinfo(np.int64).max):
        raise ValueError(
            f"image_id is from {image_id.min()} to {image_id.max()}, expected numbers from 0 on, -1 for a blank screen"
        )
    if np.issubdtype(counts.dtype, np.integer):
        if counts.size and (counts.min() < 0 or counts.max() > np.iinfo(np.uint16).max):
            raise ValueError(f"counts are from {counts.min()} to {counts.max()}, expected spike counts, 0 to 65535")
        counts = counts.astype(np.uint16)
    if unknown := set(metrics) - set(UnitTable.METRICS):
        raise ValueError(f"there is no metric {sorted(unknown)[0]}; there are {', '.join(UnitTable.METRICS)}")
    if like is not None:
        if metrics or any(given is not None for given in (unit_id, window_s, area, session_id)):
            raise ValueError(
                "units and windows are those of `like`: leave out unit_id, window_s and metrics, area, session_id"
            )
        if counts.size and counts.min() < 0 and np.issubdtype(like.counts.dtype, np.integer):
            raise ValueError(
                f"counts fall to {counts.min():g}, and `like` is of spike counts, which are never below 0: are these "
                "z-scores, or was a baseline taken off? Give counts, or means of counts"
            )
        units, windows, sessions = like.units, like.window_s, like.session_id
    else:
        if unit_id is None or window_s is None:
            raise ValueError("give unit_id and window_s, or `like`: a record with the same units and windows")
        session_id = 0 if session_id is None else session_id
        if isinstance(session_id, bool) or not isinstance(session_id, int | np.integer):
            raise ValueError(f"session_id is {session_id!r}, expected a whole number")
        units = _units(np.asarray(unit_id), "unknown" if area is None else area, session_id, metrics)
        windows, sessions = np.atleast_2d(np.asarray(window_s, np.float64)), np.array([session_id])
        if windows.shape[1:] == (2,) and np.any(windows[:, 0] >= windows[:, 1]):
            raise ValueError(f"window_s is {windows.tolist()}, expected a start and a later stop")
    _check_names(named, units, image_id)
    rows = np.arange(len(counts)) if presentation_id is None else np.asarray(presentation_id)
    return Responses.make(
        counts=counts,
        image_id=image_id.astype(np.int64),
        presentation_id=np.repeat(rows.astype(np.int64)[:, None], len(sessions), axis=1),
        session_id=sessions,
        window_s=windows,
        units=units,
    )


def _numbers(counts: Any) -> np.ndarray:
    """Counts as numbers; tables of pandas with missing values, or with text, are no numbers."""
    values = np.asarray(counts)
    if values.dtype == object:  # nullable columns of pandas
        if any(value is None for value in values.flat):
            raise ValueError("counts has missing values (None): leave out presentations, or units, that lack some")
        try:
            floats = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"counts holds values that are no numbers, or are missing: {error}") from error
        whole = np.isfinite(floats).all() and (floats == np.round(floats)).all()
        return floats.astype(np.int64) if whole and not any(isinstance(v, float) for v in values.flat) else floats
    if values.dtype.kind not in "biuf":
        raise ValueError(f"counts is of {values.dtype}, expected numbers")
    return values


def _whole(image_id: Any) -> np.ndarray:
    """Ids as whole numbers, which tables often hold as floating-point ones."""
    ids = np.asarray(image_id)
    if ids.dtype.kind == "f" and ids.size and np.isfinite(ids).all() and (ids == np.round(ids)).all():
        return ids.astype(np.int64)
    return ids


def _units(unit_id: np.ndarray, area: np.ndarray | str, session_id: int, metrics: dict[str, np.ndarray]) -> UnitTable:
    n = len(unit_id)
    for name, values in metrics.items():
        if (shape := np.shape(values)) != (n,):
            raise ValueError(f"{name} has the shape {shape}, expected a number for each of {n} units, ({n},)")
    areas = area if isinstance(area, str) else np.asarray(area).astype(str)
    columns = {name: np.asarray(values, np.float64) for name, values in metrics.items()}
    return UnitTable.make(unit_id.astype(np.int64), session_id, areas, **columns)


def _check_names(counts: Any, units: UnitTable, image_id: np.ndarray) -> None:
    """Refuse a table that names its columns, or rows, otherwise: they would go to other units, or images."""
    if isinstance(counts, Named):
        names = dict(counts.axes)
        if list(names)[:2] != ["image_id", "unit"]:
            raise ValueError(f"counts has the axes {', '.join(names)}, expected image_id, unit and perhaps window")
        _check_rows(names["image_id"], image_id)
        columns = list(map(str, names["unit"].tolist()))
    wanted = list(map(str, units.unit_id.tolist()))
    if not isinstance(counts, Named):
        rows, called = _names(counts)
        if rows is not None:
            _check_rows(rows, image_id)
        if called is None:
            return
        columns = list(map(str, called))
        # pandas counts columns that have no names; these may be the ids of units as well, in another order.
        if columns == list(map(str, range(len(columns)))) and set(columns) != set(wanted):
            return
    by_session = unit_ids(units).tolist()
    if columns not in (wanted, by_session):
        expected = by_session if any("." in name for name in columns) else wanted
        raise ValueError(
            f"counts does not name the units {few(expected)} in this order: {_difference(columns, expected, 'unit')}. "
            "Put its columns in this order by name, or give the array alone: np.asarray(counts)"
        )


def _check_rows(named: np.ndarray, image_id: np.ndarray) -> None:
    if not np.array_equal(named, image_id):
        difference = _difference(named.tolist(), image_id.tolist(), "row")
        raise ValueError(f"counts names its rows by other images than image_id: {difference}")


def _difference(found: list[Any], expected: list[Any], what: str) -> str:
    """Where two lists of names differ, for a message: names in one of them alone, or else the first place."""
    there, wanted = set(found), set(expected)
    more = [name for name in found if name not in wanted]
    missing = [name for name in expected if name not in there]
    if more or missing:
        return ", ".join([f"{few(more)} not expected"] * bool(more) + [f"{few(missing)} missing"] * bool(missing))
    for number, (one, other) in enumerate(zip(found, expected, strict=False), start=1):
        if one != other:
            return f"{what} {number} is {one}, expected {other}"
    return f"there are {len(found)}, expected {len(expected)}"


def _names(counts: Any) -> tuple[np.ndarray | None, list[Any] | None]:
    """What a table of pandas or xarray calls its rows, where these are image_id, and its columns; None: nothing."""
    if hasattr(counts, "columns"):  # pandas, pynapple
        index = getattr(counts, "index", None)
        rows = np.asarray(index) if getattr(index, "name", None) == "image_id" else None
        return rows, list(counts.columns)
    if hasattr(counts, "dims") and hasattr(counts, "coords"):  # xarray
        first, second = list(counts.dims)[:2]
        rows = np.asarray(counts.coords[first]) if first == "image_id" and first in counts.coords else None
        return rows, np.asarray(counts.coords[second]).tolist() if second in counts.coords else None
    return None, None
