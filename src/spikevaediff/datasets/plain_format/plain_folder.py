"""A folder of the plain format (datasets.plain), read and judged: pictures, units, sessions, and whether they belong
together.

`examine` reads everything, tries what acquisition does with it, and says everything that is wrong at once.
"""

import stat
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from spikevaediff.datasets.plain_format import csv_file, response_tables
from spikevaediff.datasets.plain_format.csv_file import whole_number
from spikevaediff.datasets.plain_format.response_tables import Findings, Table, few
from spikevaediff.images import LEAST_PX, read_picture
from spikevaediff.recordings import nwb, nwb_extract, unit_filter
from spikevaediff.recordings.session_file import LARGEST
from spikevaediff.recordings.spike_trains import FASTEST_HZ, SLOWEST_HZ
from spikevaediff.records import BLANK, LONGEST_WINDOW_S, Responses, UnitTable

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMAT = """\
images.csv            image_id,file,caption       0,beach.png,A beach under a cloudy sky.
images/beach.png      one picture per line of images.csv
units.csv             session_id,unit_id,area     1,17,VISp
sessions/1.npz        np.savez("1.npz", responses=counts,   # (presentation, unit) or (presentation, unit, window)
                               image_id=shown,              # (presentation,), -1 for a blank screen
                               unit_id=ids)                 # (unit,), as in units.csv
or sessions/1.csv     image_id,17,18,23           0,3,0,1   (one line per presentation, one column per unit)
or sessions/1.nwb     layout of Allen Visual Coding Neuropixels"""
SPLIT = ("train", "test")
_FEWEST_IMAGES = 4
_FEWEST_TESTED = 2  # with one, there is no wrong image to compare with
_NO_CAPTION = ("nan", "na", "n/a", "none", "null")  # that programs write where nothing is known
_LONGEST = 60  # letters of a name in a message
_COARSE = 20  # largest number of an aspect ratio: 500 x 333 and 500 x 334 pixels are both 3:2
_OF_OWN_RATE = 10.0  # by how much counts may differ from the rates that units.csv states


@dataclass
class Examination:
    """A folder as it was found.

    problems, notes : list of str; what must be mended, and what may be as it is.
    files, captions : dict of image_id to path and to sentence (None: no column of captions).
    tested : dict of image_id to whether it is tested, and not trained on (None: no column split).
    units : dict of (session_id, unit_id) to a row of units.csv.
    tables, recordings : dict of session_id to Table and to the path of an NWB file.
    rates_hz : dict of session_id to the mean rate of the units of a recording.
    shared : int64, sorted; images that every session shows.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: dict[int, Path] = field(default_factory=dict)
    captions: dict[int, str] | None = None
    tested: dict[int, bool] | None = None
    units: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    tables: dict[int, Table] = field(default_factory=dict)
    recordings: dict[int, Path] = field(default_factory=dict)
    rates_hz: dict[int, float] = field(default_factory=dict)
    shared: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def examine(folder: Path, *, rehearse: bool = True, window_s: tuple[float, float] | None = None) -> Examination:
    """Read everything in a folder of the plain format.

    Never raises for what is in the folder: every problem is collected, so that one look is enough to mend all.

    Parameters
    ----------
    folder : Path
    rehearse : bool
        Take the sessions over as acquisition does, into a temporary folder: minutes for a recording of gigabytes.
        Without it, the spikes of recordings are not read.
    window_s : start and stop, optional
        Seconds after onset in which tables were counted that do not say so themselves.

    Raises
    ------
    ValueError
        The window reaches further from the onset than any of responses may.
    """
    if window_s is not None and max(map(abs, window_s)) > LONGEST_WINDOW_S:
        raise ValueError(
            f"the window is {window_s[0]:g} to {window_s[1]:g} s, expected seconds after onset, up to "
            f"{LONGEST_WINDOW_S:g} s from it: milliseconds?"
        )
    folder, found = Path(folder), Examination()
    if not folder.is_dir():
        found.problems.append(f"{folder} is not a folder")
        return found
    _try(found, "images.csv", _images, folder, found)
    _try(found, "sessions/", _sessions, folder, found)
    if found.tables or (folder / "units.csv").exists():
        _try(found, "units.csv", read_units, folder, found)
    shown: dict[int, np.ndarray] = {}
    for session_id, table in found.tables.items():
        shown[session_id] = np.unique(table.image_id)
    for session_id, path in found.recordings.items():
        if (ids := _recording(session_id, path, found, rehearse)) is not None:
            shown[session_id] = ids
    _join(found, shown)
    if not found.problems:
        for session_id, table in found.tables.items():
            window = None if window_s is None else np.array(window_s, np.float64)
            _try(found, f"session {session_id}", responses_of, session_id, table, found, window)
    return found


_Result = TypeVar("_Result")


def _try(found: Examination, name: str, function: Callable[..., _Result], *arguments: Any) -> _Result | None:
    """What a function gives; None, and one problem, where it raises: nothing in a folder ends the look at the rest."""
    try:
        return function(*arguments)
    except Exception as error:
        expected = isinstance(error, ValueError | OSError)  # these say themselves what is wrong
        text = " ".join(str(error).split()) if expected else f"{type(error).__name__}: {error}. Write it as below"
        before, there, behind = text.partition(name)
        says = f"{name}{behind}" if there and before in ("", f"{before.rstrip('/')}/") else f"{name}: {text}"
        if says not in found.problems:
            found.problems.append(says)
        return None


def responses_of(session_id: int, table: Table, found: Examination, window_s: np.ndarray | None) -> Responses:
    """The responses of a table to the images that all sessions show, and to blanks.

    Parameters
    ----------
    session_id : int
    table : Table
    found : Examination, without problems.
    window_s : float64, (2,), or None where it is not known
        In which a table was counted that does not say so itself.

    Raises
    ------
    ValueError
        A metric of units.csv is out of range; or its units have a firing_rate, and counts are more than ten times as
        many, or as few; or units fire less than 0.2 or more than 1,000 times a second on average, as in recordings.
    """
    rates_hz = _rates_hz(table, window_s)
    if table.window_s is not None:
        window_s = table.window_s.astype(np.float64)
    elif window_s is not None:
        window_s = window_s[None]
    kept = np.isin(table.image_id, [BLANK, *found.shared])
    units = units_of(session_id, table, found)
    if (wrong := unit_filter.impossible(units)) is not None:
        raise ValueError(f"session {session_id}: units.csv: {wrong}")
    known = np.isfinite(units.firing_rate) & (units.firing_rate > 0)
    if window_s is not None and rates_hz is not None:
        ratio = float(np.median(rates_hz[known] / units.firing_rate[known])) if known.any() else 1.0
        if not 1 / _OF_OWN_RATE <= ratio <= _OF_OWN_RATE:
            raise ValueError(
                f"session {session_id}: spikes counted in {window_s.tolist()} s are {ratio:.3g} times as many as "
                f"firing_rate of units.csv says (median of {known.sum()} units). Write counts, seconds and Hz"
            )
        if not SLOWEST_HZ <= (mean := rates_hz.mean()) <= FASTEST_HZ:
            cure = (
                "Leave out silent units"
                if mean < SLOWEST_HZ
                else "If these are not counts but activity, divide them by 100"
            )
            raise ValueError(
                f"session {session_id}: with spikes counted in {window_s.tolist()} s, {len(rates_hz)} units fire "
                f"{mean:.3g} times a second on average, expected {SLOWEST_HZ:g} to {FASTEST_HZ:g}. Write the window in "
                f"seconds after onset, and spike counts, not rates. {cure}"
            )
    return Responses.make(
        counts=table.responses[kept],
        image_id=table.image_id[kept],
        presentation_id=np.flatnonzero(kept)[:, None],
        session_id=np.array([session_id]),
        window_s=np.array([[0.0, 1.0]] * table.responses.shape[2]) if window_s is None else window_s,
        units=units,
    )


def units_of(session_id: int, table: Table, found: Examination) -> UnitTable:
    """The units of a table, in its order, as units.csv has them."""
    rows = [found.units[session_id, unit_id] for unit_id in table.unit_id.tolist()]
    metrics = {name: np.array([row[name] for row in rows]) for name in UnitTable.METRICS}
    return UnitTable.make(table.unit_id, session_id, np.array([row["area"] for row in rows]), **metrics)


def _rates_hz(table: Table, window_s: np.ndarray | None) -> np.ndarray | None:
    """Mean rate of each unit of a table of spike counts, float64 (n_units,); None: no counts, or no known window."""
    windows_s = table.window_s if table.window_s is not None else window_s
    if windows_s is None or table.responses.dtype != np.uint16:
        return None
    return table.responses.mean((0, 2), dtype=np.float64) / np.ptp(windows_s, axis=-1).mean()


def areas_of_tables(found: Examination) -> list[str]:
    """The area of every unit that a table has responses of; units.csv may list others."""
    keys = [(session_id, unit_id) for session_id, table in found.tables.items() for unit_id in table.unit_id.tolist()]
    return [found.units[key]["area"] for key in keys]


def summary(folder: Path, found: Examination, window_s: tuple[float, float] | None = None) -> str:
    """One line about a folder without problems; window_s as in `examine`."""
    areas = Counter(areas_of_tables(found))
    n_presentations = [int(np.sum(table.image_id != BLANK)) for table in found.tables.values()]
    parts = [f"{len(found.tables)} table(s) of responses"] * bool(found.tables)
    parts += [f"{len(found.recordings)} recording(s)"] * bool(found.recordings)
    tested = found.tested or {}
    n_tested = sum(tested[image_id] for image_id in found.shared.tolist() if image_id in tested)
    parts += [f"{len(found.shared)} images" + f" ({n_tested} of them tested)" * bool(tested)]
    parts += [f"units {', '.join(f'{area} {n}' for area, n in sorted(areas.items()))}"] * bool(areas)
    parts += [f"{sum(n_presentations)} presentations"] * bool(n_presentations)
    if found.tables:
        mean = np.mean([table.responses.mean(dtype=np.float64) for table in found.tables.values()])
        parts.append(f"mean response {mean:.3g} per unit and presentation")
        window = None if window_s is None else np.array(window_s, np.float64)
        rates = [rates for table in found.tables.values() if (rates := _rates_hz(table, window)) is not None]
        if len(rates) == len(found.tables):
            parts.append(f"{np.mean([rate.mean() for rate in rates]):.3g} Hz")
    if found.rates_hz:
        parts.append(f"mean rate {np.mean(list(found.rates_hz.values())):.3g} Hz per unit")
    return f"{folder} is ready: {', '.join(parts)}"


# ---- one kind of file after the other


def _csv(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...], found: Examination
) -> list[dict[str, str]] | None:
    """Rows with their line number under "line"; None, and a problem, where the file is not such a table."""
    example = ",".join(needed)
    if not path.is_file():
        found.problems.append(f"{path.name} is missing. Write a table that begins with: {example}")
        return None
    try:
        header, lines, has_index = csv_file.read(path, path.name)
    except (ValueError, PermissionError) as error:
        found.problems.append(str(error))
        return None
    if has_index:
        found.notes.append(
            f"{path.name}: the first column has no name and is not used (an index, as pandas and R write)"
        )
    missing = [name for name in needed if name not in header]
    unknown = [name for name in header if name not in (*needed, *optional)]
    repeated = [name for name, n in Counter(header).items() if n > 1]
    if missing or repeated:
        what = f"lacks the column {few(missing)}" if missing else f"has the column {few(repeated)} twice"
        found.problems.append(f"{path.name} {what}: it begins with {','.join(header)!r}, expected {example}")
        return None
    if unknown:
        unused = few(name or "(no name)" for name in unknown)
        found.notes.append(f"{path.name}: column {unused} is not used; known are {', '.join(needed + optional)}")
    rows = [
        dict(zip(header, values, strict=True)) | {"line": str(number)}
        for number, values in lines
        if len(values) == len(header)
    ]
    if ragged := [number for number, values in lines if len(values) != len(header)]:
        found.problems.append(
            f"{path.name}: line {few(ragged)} does not have {len(header)} values ({','.join(header)}). Put a value "
            f'that holds commas in "double quotes"'
        )
    if not rows:
        found.problems.append(f"{path.name} has no line below its header")
    return rows


def _images(folder: Path, found: Examination) -> None:
    rows = _csv(folder / "images.csv", ("image_id", "file"), ("caption", "split"), found)
    if not (folder / "images").is_dir():
        found.problems.append("images/ is missing: the folder of the pictures that images.csv names")
        rows = rows and [row | {"file": ""} for row in rows]
    bad, named, absent, broken, outside, closed, unfit = [], Counter[int](), [], [], [], [], []
    captions = {}
    ratios: Counter[Fraction] = Counter()
    done: dict[str, list[str]] = {}
    # macOS takes letters and their accents apart in the names of files, and tables have them in one.
    paths = (folder / "images").rglob("*")
    composed = {unicodedata.normalize("NFC", p.relative_to(folder / "images").as_posix()): p for p in paths}
    for row in rows or []:
        image_id = whole_number(row["image_id"])
        if image_id is None or image_id < 0:
            bad.append(f"line {row['line']}: {row['image_id']!r}")
            continue
        named[image_id] += 1
        captions[image_id] = row.get("caption")
        found.files[image_id] = path = folder / "images" / row["file"]
        try:
            if row["file"] and not _is_file(path):
                found.files[image_id] = path = composed.get(unicodedata.normalize("NFC", row["file"]), path)
            there = _is_file(path)
        except PermissionError:
            closed.append(row["file"])
            continue
        except (OSError, RuntimeError, ValueError) as error:  # too long, a link to itself, a zero byte
            unfit.append(f"{_brief(row['file'])} ({getattr(error, 'strerror', None) or error})")
            continue
        if not row["file"]:
            if (folder / "images").is_dir():
                bad.append(f"line {row['line']}: no file")
        elif Path(row["file"]).is_absolute() or ".." in Path(row["file"]).parts:
            outside.append(row["file"])
        elif not there:
            absent.append(row["file"])
        else:
            try:
                grey, notes = read_picture(path)
            except ValueError as error:
                if isinstance(error.__cause__, PermissionError):
                    closed.append(row["file"])
                else:
                    broken.append(f"{row['file']} ({error})")
                continue
            if min(grey.shape) < LEAST_PX:
                broken.append(f"{row['file']} (only {grey.shape[1]} x {grey.shape[0]} pixels)")
            elif np.ptp(grey) == 0:
                broken.append(f"{row['file']} (all of it is grey level {grey[0, 0]}; a blank screen is image_id -1)")
            for note in notes:
                done.setdefault(note, []).append(row["file"])
            height, width = grey.shape
            ratios[Fraction(width, height).limit_denominator(_COARSE)] += 1
    if bad:
        found.problems.append(f"images.csv: expected a whole number from 0 on and a file name in {few(bad)}")
    if repeated := [image_id for image_id, n in named.items() if n > 1]:
        found.problems.append(f"images.csv: image_id {few(repeated)} occurs more than once; give each its own")
    if outside:
        found.problems.append(f"images.csv: file {few(outside)} is outside images/; copy it there")
    if absent:
        listed = [path.name for path in (folder / "images").iterdir()] if (folder / "images").is_dir() else []
        like = f"; images/ holds {few(sorted(listed))}" if listed else "; images/ is empty"
        found.problems.append(f"images/: {few(absent)} is named in images.csv and not there{like}")
    if closed:
        found.problems.append(
            f"images/: {few(closed)} may not be read by this user. Give the right to: chmod -R u+r images"
        )
    if unfit:
        found.problems.append(
            f"images/: {few(unfit)} cannot be a picture there; copy the picture itself into images/ under a short "
            f"name, and write that into images.csv"
        )
    if broken:
        found.problems.append(
            f"images/: {few(broken)} cannot be used as a picture; save it again as PNG of 8 bit, as it was shown"
        )
    found.notes += [f"images/: {few(names)}: {note}" for note, names in done.items()]
    if len(ratios) > 1:
        told = few(f"{ratio.numerator}:{ratio.denominator} {n}" for ratio, n in ratios.most_common())
        found.notes.append(
            f"images/: pictures have {len(ratios)} aspect ratios ({told}); each is resized to a square by itself: "
            f"pad or crop them to what the screen showed"
        )
    if rows and "caption" in rows[0]:
        found.captions = {image_id: caption or "" for image_id, caption in captions.items()}
        if marks := [i for i, caption in found.captions.items() if caption.casefold() in _NO_CAPTION]:
            says = found.captions[marks[0]]
            found.problems.append(f"images.csv: the caption of image_id {few(marks)} is {says!r}; leave it empty")
        empty = [i for i, caption in found.captions.items() if not caption]
        if len(empty) == len(found.captions):
            found.notes.append(
                "images.csv: no image has a caption; the second stage leaves the text context out (mixing 1)"
            )
        elif empty:
            found.notes.append(f"images.csv: no caption for {few(empty)}; a text feature space then knows nothing")
    elif rows:
        found.notes.append("images.csv has no column caption: the stage `captions` would describe the images by BLIP-2")
    if rows and "split" in rows[0]:
        if wrong := [f"line {row['line']}: {_brief(row['split'])!r}" for row in rows if row["split"] not in SPLIT]:
            found.problems.append(f"images.csv: expected train or test as the split of an image; see {few(wrong)}")
        found.tested = {i: row["split"] == "test" for row in rows if (i := whole_number(row["image_id"])) is not None}
    if rows and (folder / "images").is_dir():
        used = {_without_links(path) for path in found.files.values()}
        pictures = [p for p in sorted((folder / "images").rglob("*")) if p.suffix.lower() in PICTURES]
        if extra := [p.name for p in pictures if _without_links(p) not in used]:
            found.notes.append(f"images/: {few(extra)} is not in images.csv and not used")


def _is_file(path: Path) -> bool:
    """Whether a file is there; OSError or ValueError where there can be none: Path.is_file hides a link to itself."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _without_links(path: Path) -> Path:
    """Where links lead; the path itself where they lead nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        return path


def _brief(text: str) -> str:
    """A text for a line of a message: the beginning of a long one, and escaped what no terminal shows."""
    shown = text if text.isprintable() else ascii(text)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}... ({len(text)} letters)"


def _sessions(folder: Path, found: Examination) -> None:
    where = folder / "sessions"
    paths = sorted(p for p in where.iterdir() if not p.name.startswith(".")) if where.is_dir() else []
    if not paths:
        found.problems.append(
            "sessions/ holds nothing: put a file there for each session, named by its number: 1.npz, 2.csv, 3.nwb"
        )
    numbers: dict[int, str] = {}
    for path in paths:
        if path.suffix not in (".npz", ".csv", ".nwb") or not path.is_file():
            found.problems.append(f"sessions/{path.name}: expected a file .npz, .csv or .nwb")
        elif not path.stem.isdecimal() or int(path.stem[:20]) >= LARGEST:
            found.problems.append(f"sessions/{path.name}: name it by the number of the session, as in 1{path.suffix}")
        elif int(path.stem) in numbers:
            found.problems.append(
                f"sessions/{path.name} and {numbers[int(path.stem)]} are the same session; keep one of them"
            )
        else:
            numbers[int(path.stem)] = path.name
            if path.suffix == ".nwb":
                found.recordings[int(path.stem)] = path
            else:
                table = response_tables.read(path, Findings(found.problems, found.notes))
                if table is not None:
                    found.tables[int(path.stem)] = table


def read_units(folder: Path, found: Examination) -> None:
    """Add the rows of units.csv, and what is wrong with them, given the tables that were found."""
    rows = _csv(folder / "units.csv", ("session_id", "unit_id", "area"), UnitTable.METRICS, found)
    if rows is None:
        return
    bad: list[str] = []
    no_area: list[str] = []
    twice: list[tuple[int, int]] = []
    for row in rows:
        session_id, unit_id = whole_number(row["session_id"]), whole_number(row["unit_id"])
        metrics: dict[str, float] = {}
        for name in UnitTable.METRICS:
            value = csv_file.number(row.get(name) or "nan")
            metrics[name] = np.nan if value is None else value
            if value is None:
                bad.append(f"line {row['line']}: {name} is {row[name]!r}")
        if session_id is None or unit_id is None or not row["area"]:
            bad.append(f"line {row['line']}: {row['session_id']},{row['unit_id']},{row['area']}")
            continue
        if not row["area"].isprintable() or row["area"].casefold() == "nan":
            no_area.append(f"line {row['line']}: {_brief(repr(row['area']))}")
        if (session_id, unit_id) in found.units:
            twice.append((session_id, unit_id))
        found.units[session_id, unit_id] = {"area": row["area"]} | metrics
    if bad:
        found.problems.append(
            f"units.csv: expected two whole numbers, an area and metrics that are numbers or empty, as in 1,17,VISp; "
            f"see {few(bad)}"
        )
    if no_area:
        found.problems.append(
            f"units.csv: expected the name of an area in letters that a terminal shows, as in VISp; see "
            f"{few(no_area)}. Write its name in one line, or leave the unit out where its area is not known"
        )
    if twice:
        found.problems.append(f"units.csv: (session_id, unit_id) {few(twice)} occurs more than once")
    for session_id, table in found.tables.items():
        listed = {unit for session, unit in found.units if session == session_id}
        if lacking := [unit for unit in table.unit_id.tolist() if unit not in listed]:
            found.problems.append(
                f"units.csv lacks unit_id {few(lacking)} of session {session_id}; write a line such as "
                f"{session_id},{lacking[0]},VISp for each"
            )
        if extra := sorted(listed - set(table.unit_id.tolist())):
            found.notes.append(f"units.csv: unit_id {few(extra)} of session {session_id} has no responses")
    spelt: dict[str, set[str]] = {}
    for row in found.units.values():
        spelt.setdefault(row["area"].casefold(), set()).add(row["area"])
    if alike := [" and ".join(sorted(names)) for names in spelt.values() if len(names) > 1]:
        found.notes.append(f"units.csv: {few(alike)} are areas of their own; did you mean the same?")
    known = {int(path.stem) for path in (folder / "sessions").glob("*.*") if path.stem.isdecimal()}
    if extra := sorted({session for session, _ in found.units} - known):
        found.notes.append(f"units.csv: there is no file of session {few(extra)}")


def _recording(session_id: int, path: Path, found: Examination, rehearse: bool) -> np.ndarray | None:
    """The images that a recording shows; problems of its tables and spikes are added."""
    name = f"sessions/{path.name}"
    shown = _try(found, name, nwb.read_presentations, path)
    _try(found, name, _check_number, path)
    if rehearse:
        with tempfile.TemporaryDirectory() as folder:
            rate_hz = _try(found, name, partial(nwb_extract.extract, margin_s=0.0), path, Path(folder) / path.name)
        if rate_hz is not None:
            found.rates_hz[session_id] = rate_hz
    return None if shown is None else np.unique(shown.image_id)


def _check_number(path: Path) -> None:
    session_id = nwb.read_units(path)[0].session_id
    if len(session_id) and session_id[0] != int(path.stem):
        raise ValueError(f"{path}: /identifier says session {session_id[0]}. Name the file {session_id[0]}.nwb")


def _join(found: Examination, shown: dict[int, np.ndarray]) -> None:
    """What only several files together tell."""
    known = np.array(sorted(found.files), np.int64)
    for session_id, ids in shown.items():
        if len(known) and (unknown := np.setdiff1d(ids, [BLANK, *known]).tolist()):
            found.problems.append(
                f"session {session_id} shows image_id {few(unknown)}, which images.csv does not list (it has "
                f"{known[0]} to {known[-1]})"
            )
    if not shown or not found.files:
        return
    shared = set(known.tolist())
    for ids in shown.values():
        shared &= set(ids.tolist())
    found.shared = np.array(sorted(shared), np.int64)
    if len(shared) < _FEWEST_IMAGES:
        found.problems.append(
            f"every session must show the same images, at least {_FEWEST_IMAGES}, to train on some and test others; "
            f"found {len(shared)} that are in images.csv and in all of {len(shown)} session(s)"
        )
    elif left := sorted(set(known.tolist()) - shared):
        found.notes.append(f"image_id {few(left)} is not shown in every session and left out")
        for session_id in sorted(set(found.recordings) & set(shown)):
            if more := sorted(set(shown[session_id].tolist()) & set(left)):
                found.problems.append(
                    f"session {session_id} shows image_id {few(more)}, which not every session shows. Tables are cut "
                    f"to the images that all share, recordings are not: leave this session out, or the others"
                )
    if found.tested is not None and len(shared) >= _FEWEST_IMAGES:
        n_tested = sum(found.tested[image_id] for image_id in shared)
        if n_tested < _FEWEST_TESTED or len(shared) - n_tested < _FEWEST_IMAGES:
            found.problems.append(
                f"images.csv: its split leaves {n_tested} tested and {len(shared) - n_tested} training images that "
                f"every session shows, expected at least {_FEWEST_TESTED} and {_FEWEST_IMAGES}"
            )
    tables = list(found.tables.items())
    for i, (session_id, table) in enumerate(tables):
        for other_id, other in tables[:i]:
            if np.array_equal(table.responses, other.responses) and np.array_equal(table.image_id, other.image_id):
                found.problems.append(f"sessions {other_id} and {session_id} hold the same responses; keep one of them")
    if len({1 if t.window_s is None else len(t.window_s) for t in found.tables.values()}) > 1:
        found.problems.append("sessions have different numbers of time windows; count all in the same ones")
    elif len({None if t.window_s is None else t.window_s.tobytes() for t in found.tables.values()}) > 1:
        found.problems.append("sessions have different window_s; count all in the same ones")
    if found.tables and all(len(np.unique(t.image_id)) == len(t.image_id) for t in found.tables.values()):
        found.notes.append(
            "each image has one row: a mean over presentations, or a single one. Reliability, noise ceiling and "
            "identity decoding need repeated presentations and are not known"
        )
