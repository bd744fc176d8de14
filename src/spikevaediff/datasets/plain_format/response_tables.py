"""Responses that were counted elsewhere, as a file of the plain format (datasets.plain): npz or CSV, one session each.

What is wrong with a file is collected and not raised, so that one look at a folder is enough to mend all of it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spikevaediff.datasets.plain_format import csv_file
from spikevaediff.datasets.plain_format.csv_file import whole_number
from spikevaediff.datasets.plain_format.findings import Findings, first_five
from spikevaediff.recordings import identity, precision
from spikevaediff.recordings.session_file import LARGEST
from spikevaediff.records import BLANK, DAMAGED, LONGEST_WINDOW_S

_MARKS = (-1.0, -9.0, -99.0, -999.0, -9999.0)  # that people and programs put where a value is missing

_LARGEST = (255.0, 65535.0)  # numbers of uint8 and uint16, put there for the same
_FEW_UNITS = 10  # of which one that is driven moves the mean of all
_FAR = 20.0  # robust deviations: an artefact, and no response
_TOUCH_S = 1e-6  # windows may overlap by what rounding leaves


@dataclass(frozen=True)
class Table:
    """Responses of one session that were counted elsewhere.

    responses : (n_presentations, n_units, n_windows), uint16, float32 or float64.
    image_id : int64, (n_presentations,).
    unit_id : int64, (n_units,).
    window_s : float64, (n_windows, 2), or None where the file does not say.
    """

    responses: np.ndarray
    image_id: np.ndarray
    unit_id: np.ndarray
    window_s: np.ndarray | None


def read(path: Path, found: Findings) -> Table | None:
    """The table in a file .npz or .csv; None where it is not a table. Problems and notes are added to `found`."""
    return _npz(path, found) if path.suffix == ".npz" else _csv(path, found)


def _npz(path: Path, found: Findings) -> Table | None:
    name = f"sessions/{path.name}"
    try:
        # np.load leaves a damaged file open that it opened itself.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if "spike_times" in file.files:
                found.problems.append(
                    f"{name} holds spike_times, expected counts: responses (presentation, unit). Count them in a "
                    f"window after each onset, as the section Spike times of docs/recordings.md shows, and leave them "
                    f"out"
                )
                return None
            arrays = {key: file[key] for key in file.files}
    except PermissionError:
        found.problems.append(f"{name} may not be read by this user. Give the right to: chmod u+r {path}")
        return None
    # As in records.read_npz; AttributeError: a single array, as np.save writes it.
    except (*DAMAGED, AttributeError) as error:
        found.problems.append(f"{name} is not an npz of plain arrays, or damaged ({error}). Write it by np.savez")
        return None
    needed = ("responses", "image_id", "unit_id")
    if missing := [key for key in needed if key not in arrays]:
        found.problems.append(
            f"{name} lacks the array {first_five(missing)}; it holds {first_five(arrays) or 'nothing'}"
        )
        return None
    if unknown := [key for key in arrays if key not in (*needed, "window_s")]:
        found.notes.append(f"{name}: array {first_five(unknown)} is not used")
    window_s = arrays.get("window_s")
    if window_s is not None and window_s.shape == (2,):
        window_s = window_s[None]
    for key in ("image_id", "unit_id"):
        if arrays[key].ndim == 2 and 1 in arrays[key].shape:  # rows and columns, as Matlab has them
            arrays[key] = arrays[key].ravel()
    before = len(found.problems)
    responses = arrays["responses"]
    if responses.ndim not in (2, 3) or responses.dtype.kind not in "uifb" or 0 in responses.shape:
        found.problems.append(
            f"{name}: responses is {responses.dtype} {responses.shape}, expected numbers (presentation, unit) or "
            f"(presentation, unit, window)"
        )
    elif window_s is not None:
        n = 1 if responses.ndim == 2 else responses.shape[2]
        if (
            window_s.shape != (n, 2)
            or window_s.dtype.kind not in "uif"
            or not np.all(window_s[:, 0] < window_s[:, 1])
            or not np.all(np.abs(window_s) <= LONGEST_WINDOW_S)
        ):
            found.problems.append(
                f"{name}: window_s is {window_s.tolist()}, expected {n} row(s) [start, stop] in seconds after onset, "
                f"up to {LONGEST_WINDOW_S:g} s from it"
            )
        elif len(np.unique(window_s, axis=0)) < n:
            found.problems.append(
                f"{name}: window_s is {window_s.tolist()}, where two rows are the same: each window of responses needs "
                f"its own [start, stop]. Leave one of the two out of responses and window_s"
            )
        elif np.any(np.sort(window_s[:, 0])[1:] < np.sort(window_s[:, 1])[:-1] - _TOUCH_S):
            found.problems.append(
                f"{name}: window_s is {window_s.tolist()}, where windows overlap: responses in the overlap would count "
                f"twice. Expected windows that follow one another, such as [[0, 0.1], [0.1, 0.2]]"
            )
    elif responses.ndim == 3 and responses.shape[2] > 1:
        found.problems.append(f"{name}: responses has {responses.shape[2]} windows; add window_s, one row per window")
    for key in ("image_id", "unit_id"):
        ids = arrays[key]
        if ids.ndim != 1 or ids.dtype.kind not in "uif" or not _whole(ids).all():
            found.problems.append(f"{name}: {key} is {ids.dtype} {ids.shape}, expected a row of whole numbers")
    if len(found.problems) > before:
        return None
    for key, axis, what in (("image_id", 0, "presentations"), ("unit_id", 1, "units")):
        if len(arrays[key]) != responses.shape[axis]:
            found.problems.append(
                f"{name}: {len(arrays[key])} {key}, but responses has {responses.shape[axis]} {what} "
                f"(its shape is {responses.shape})"
            )
    if len(found.problems) > before:
        return None
    return _checked(
        name, responses.reshape(*responses.shape[:2], -1), arrays["image_id"], arrays["unit_id"], window_s, found
    )


def _csv(path: Path, found: Findings) -> Table | None:
    name = f"sessions/{path.name}"
    try:
        sheet = csv_file.read(path, name)
    except (ValueError, PermissionError) as error:
        found.problems.append(str(error))
        return None
    if sheet.has_index:
        found.notes.append(f"{name}: the first column has no name and is not used (an index, as pandas and R write it)")
    header = sheet.header
    if len(header) < 2 or header[0] != "image_id" or any(whole_number(value) is None for value in header[1:]):
        wrong = next((value for value in header[1:] if whole_number(value) is None), ",".join(header[:5]))
        found.problems.append(
            f"{name} begins with {wrong!r}, expected image_id and the numbers of the units: image_id,17,18"
        )
        return None
    if ragged := [number for number, line in sheet.rows if len(line) != len(header)]:
        found.problems.append(f"{name}: line {first_five(ragged)} does not have {len(header)} values as the header has")
        return None
    if not sheet.rows:
        found.problems.append(f"{name} has no presentation below its header")
        return None
    read = [[csv_file.number(text) for text in line] for _, line in sheet.rows]
    wrong_cells = [
        f"line {number}, column {column}: {text!r}"
        for (number, line), row in zip(sheet.rows, read, strict=True)
        for column, text, value in zip(header, line, row, strict=True)
        if value is None
    ]
    if wrong_cells:
        found.problems.append(f"{name}: expected numbers in {first_five(wrong_cells)}")
        return None
    values = np.array(read, np.float64)
    unit_id = np.array([int(value) for value in header[1:]])
    return _checked(name, values[:, 1:, None], values[:, 0], unit_id, None, found)


def _whole(ids: np.ndarray) -> np.ndarray:
    return np.isfinite(ids) & (ids == np.round(ids)) & (ids > -LARGEST) & (ids < LARGEST)


def _checked(
    name: str,
    responses: np.ndarray,
    image_id: np.ndarray,
    unit_id: np.ndarray,
    window_s: np.ndarray | None,
    found: Findings,
) -> Table:
    """A table whose values were looked at; problems are added."""
    right = _whole(image_id) & (image_id >= BLANK)
    if not right.all():
        wrong = first_five(image_id[~right].tolist())
        found.problems.append(f"{name}: image_id {wrong}: expected whole numbers, -1 for a blank screen")
        image_id = np.where(right, image_id, BLANK)
    image_id, unit_id = image_id.astype(np.int64), unit_id.astype(np.int64)
    values, n = np.unique(unit_id, return_counts=True)
    if np.any(n > 1):
        found.problems.append(f"{name}: unit_id {first_five(values[n > 1].tolist())} occurs more than once")
    finite = np.isfinite(responses)
    if not finite.all():
        of_units, of_rows = ~finite.all((0, 2)), ~finite.all((1, 2))
        found.problems.append(
            f"{name}: responses are not finite in {int((~finite).sum())} places, in {int(of_rows.sum())} of "
            f"{len(responses)} presentations and of unit {first_five(unit_id[of_units].tolist())}. Leave out "
            f"presentations that are missing: images may have different numbers of presentations"
        )
        return Table(responses, image_id, unit_id, window_s)
    marks = _fill_values(responses)
    if not marks and (wrapped := precision.wrapped(responses)).any():
        low, high = responses[:, wrapped].min(), responses[:, wrapped].max()
        found.problems.append(
            f"{name}: responses of unit {first_five(unit_id[wrapped].tolist())} are from {low:g} to {high:g}, as if "
            f"negative numbers had been written into an unsigned type, or large ones into a small type. Write them as "
            f"float64; if they are right, divide them by 100"
        )
    if coarse := unit_id[precision.too_coarse(responses)].tolist():
        found.problems.append(
            f"{name}: responses of unit {first_five(coarse)} change by less than a step of {responses.dtype}. Subtract "
            f"their mean before writing them, or write them as float64"
        )
    elif vast := unit_id[precision.lost(responses)].tolist():
        found.problems.append(
            f"{name}: responses of unit {first_five(vast)} vary so little around their mean, or are so small or large, "
            f"that encoding models, which compute in float32, would lose them. Subtract the mean of each unit before "
            f"writing them, or use another unit of measure"
        )
    _check_sense(name, responses, image_id, unit_id, found)
    if marks:
        n_places = int(np.isin(responses, marks).sum())
        found.problems.append(
            f"{name}: responses are {first_five(f'{mark:g}' for mark in marks)} in {n_places} places and nothing like "
            f"it elsewhere: a mark of missing values{', or -1 in a type without a sign' * (marks[0] > 0)}? Leave these "
            f"presentations out"
        )
    if len(outlying := _outlying(responses)):
        shown_there = first_five(image_id[outlying].tolist())
        found.notes.append(
            f"{name}: in row {first_five(outlying.tolist())} (counted from 0; image_id {shown_there}) the "
            f"mean over units is far outside that of all other rows. Are these artefacts? Leave those out"
        )
    silent = unit_id[(responses == responses[:1, :, :1]).all((0, 2))].tolist()
    if silent:
        found.notes.append(f"{name}: unit {first_five(silent)} never changes and tells nothing")
    if len(silent) == len(unit_id):
        found.problems.append(f"{name}: all responses of every unit are the same; is this the right array?")
    if identity.grouped_by_image(image_id):
        found.notes.append(
            f"{name}: rows are grouped by image. Drift, the course over the session and noise that neighbours share "
            f"are known only if rows are in the order of the session"
        )
    kept = precision.kept(responses)
    if kept.dtype.kind == "f":
        found.notes.append(
            f"{name}: responses are not all whole numbers from 0 to 32767, so they are taken as activity and not as "
            f"spike counts: no Fano factor, and transform square_root only where none is below 0"
        )
    elif (divisor := int(np.gcd.reduce(kept, axis=None))) > 1:
        found.notes.append(f"{name}: every count is a multiple of {divisor}: rates instead of counts?")
    return Table(kept, image_id, unit_id, window_s)


def _check_sense(name: str, responses: np.ndarray, image_id: np.ndarray, unit_id: np.ndarray, found: Findings) -> None:
    """Refuse columns that are not units, and presentations that are none: each would decode too well."""
    values = responses.astype(np.float64)
    if len(np.unique(image_id)) > 2:
        ids = unit_id[(values == image_id[:, None, None]).all((0, 2))]
        rows = unit_id[(np.diff(values, axis=0) == 1).all((0, 2))]
        scaled = unit_id[_in_proportion(values, image_id) | _in_proportion(values, np.arange(len(values)))]
        if no_units := [*ids.tolist(), *np.setdiff1d([*rows, *scaled], ids).tolist()]:
            found.problems.append(
                f"{name}: the responses of unit {first_five(no_units)} are the image_id or the number of the row, or "
                f"in proportion to it. Remove these columns: they are not units"
            )
    _, first, image = np.unique(image_id, return_index=True, return_inverse=True)
    repeats = np.setdiff1d(np.arange(len(image_id)), first)
    same = len(repeats) > 2 and bool(np.all(values[repeats] == values[first[image[repeats]]]))
    if same and (values != values[:1]).any():
        found.problems.append(
            f"{name}: all presentations of an image have the same responses, as if a mean were repeated. Write one row "
            f"for each image, or the responses to each presentation"
        )
    columns: dict[bytes, list[int]] = {}
    for unit, column in zip(unit_id.tolist(), np.moveaxis(values, 1, 0), strict=True):
        if np.ptp(column) > 0:
            columns.setdefault(column.tobytes(), []).append(unit)
    if twins := [" and ".join(map(str, units)) for units in columns.values() if len(units) > 1]:
        found.notes.append(f"{name}: unit {first_five(twins)} have the same responses; is one a copy?")
    if len(image_id) == len(unit_id) > 1:
        found.notes.append(f"{name}: as many presentations as units; rows must be presentations, and columns units")


def _in_proportion(values: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Which columns of (row, column, window) rise or fall with a number of each row and nothing else, bool (column,).

    Of five numbers or fewer, responses may do so by chance.
    """
    away = number - number[0]
    far = int(np.argmax(np.abs(away)))
    if len(np.unique(number)) <= 5:
        return np.zeros(values.shape[1], bool)
    slope = (values[far] - values[0]) / away[far]
    off = np.abs(values - values[0] - away[:, None, None] * slope)
    return ((off <= 1e-9 * np.ptp(values, axis=0)).all(0) & (slope != 0)).all(1)


def _fill_values(responses: np.ndarray) -> list[float]:
    """The numbers that mark missing values, none where none do.

    These are numbers below 0 that are all of _MARKS: among counts, or in two places, since activity may be -1 once; and
    a single one of _MARKS or _LARGEST that is far from all other numbers.
    """
    values, n = np.unique(responses.astype(np.float64), return_counts=True)
    below = values[values < 0]
    if 0 < len(below) < len(values) and np.isin(below, _MARKS).all():
        counts = bool(np.all(values == np.round(values)))
        if counts or n[values < 0].sum() > 1:
            return below[::-1].tolist()
    if len(values) > 2 and values[0] in _MARKS and 10 * np.abs(values[1:]).max() < -values[0]:
        return [float(values[0])]
    if len(values) > 2 and values[-1] in _LARGEST and n[-1] > 1 and 2 * np.abs(values[:-1]).max() < values[-1]:
        return [float(values[-1])]
    return []


def _outlying(responses: np.ndarray) -> np.ndarray:
    """Rows whose mean over units and windows is more than `_FAR` robust deviations from the median, int64 (n,).

    A robust deviation is 1.4826 times the median distance from the median: the standard deviation of a normal
    distribution. Where it is 0, as with few spikes, or where a few units make the mean, nothing is known.
    """
    if responses.shape[1] < _FEW_UNITS:
        return np.empty(0, np.int64)
    mean = responses.mean((1, 2), dtype=np.float64)
    distance = np.abs(mean - np.median(mean))
    deviation = 1.4826 * np.median(distance)
    return np.flatnonzero(distance > _FAR * deviation) if deviation else np.empty(0, np.int64)
