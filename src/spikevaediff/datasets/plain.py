"""Anybody's recordings, as a folder of plain files: `module: plain` in its section of `datasets`, and no code.

    data/<name>/
      images.csv            image_id,file,caption
      images/               the pictures: PNG, JPEG, TIFF or BMP of any size; colour becomes grey
      units.csv             session_id,unit_id,area   (and quality metrics, where they are known)
      sessions/
        1.npz               responses (presentation, unit[, window]), image_id, unit_id[, window_s]
        2.csv               image_id,<unit_id>,<unit_id>,...   one line a presentation
        3.nwb               a recording in the layout of Allen Visual Coding; its units need no units.csv

Rows of a session are presentations in the order of the session. image_id -1 is a blank screen. Responses that are all
whole numbers from 0 on are spike counts; others (two-photon activity, means over presentations) are taken as they are.

`examine` reads everything, and says everything that is wrong at once; `acquire` refuses what it refuses.
"""

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from spikevaediff import nwb, nwb_extract
from spikevaediff.atomic import replacing
from spikevaediff.captions import Captions
from spikevaediff.images import resize
from spikevaediff.records import BLANK, Responses, Stimuli, UnitTable

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
METRICS = ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio", "firing_rate")
FORMAT = """\
images.csv            image_id,file,caption       0,beach.png,A beach under a cloudy sky.
images/beach.png      one picture a line of images.csv
units.csv             session_id,unit_id,area     1,17,VISp
sessions/1.npz        np.savez("1.npz", responses=counts,   # (presentation, unit) or (presentation, unit, window)
                               image_id=shown,              # (presentation,), -1 for a blank screen
                               unit_id=ids)                 # (unit,), as in units.csv
or sessions/1.csv     image_id,17,18,23           0,3,0,1   (a line a presentation, a column a unit)
or sessions/1.nwb     layout of Allen Visual Coding Neuropixels"""
_FEWEST_IMAGES = 4


@dataclass
class Table:
    """Responses of one session that were counted elsewhere.

    responses : (n_presentations, n_units, n_windows), uint16 or float32.
    image_id : int64, (n_presentations,).
    unit_id : int64, (n_units,).
    window_s : float64, (n_windows, 2), or None where the file does not say.
    """

    responses: np.ndarray
    image_id: np.ndarray
    unit_id: np.ndarray
    window_s: np.ndarray | None


@dataclass
class Examination:
    """A folder as it was found.

    problems, notes : list of str; what must be mended, and what may be as it is.
    files, captions : dict of image_id to path and to sentence (None: no column of captions).
    units : dict of (session_id, unit_id) to a row of units.csv.
    tables, recordings : dict of session_id to Table and to the path of an NWB file.
    shared : int64, sorted; images that every session shows.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: dict[int, Path] = field(default_factory=dict)
    captions: dict[int, str] | None = None
    units: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    tables: dict[int, Table] = field(default_factory=dict)
    recordings: dict[int, Path] = field(default_factory=dict)
    shared: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))


def acquire(
    data_dir: Path, out_dir: Path, *, source: str, size_px: int, window_s: list[float], margin_s: float
) -> None:
    """Check a folder of the plain format and write what the pipeline needs of it.

    Parameters
    ----------
    data_dir : Path
        The folder, see the module.
    out_dir : Path
        Gets sessions/<session_id>.npz (a records.Responses of all units) or .nwb (an extract), images.npz and
        captions_given.csv. Images that not every session shows are left out.
    source : str
        What this is, for the titles of all pictures: "macaque V4, photographs".
    size_px : int
        Side of the images, squashed to squares by the one resize rule.
    window_s : two of float
        Start and stop, seconds after onset, in which the responses of tables were counted; tables that hold window_s
        know better.
    margin_s : float
        As datasets.allen: spikes of recordings are kept from this long before each presentation to as long after it.

    Raises
    ------
    ValueError
        The folder is not of the format; the message counts the problems and begins with the first.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    window = np.asarray(window_s, np.float64)
    if window.shape != (2,) or not window[0] < window[1]:
        raise ValueError(f"window_s is {window_s}, expected a start and a later stop in seconds after onset")
    found = examine(data_dir)
    if found.problems:
        n = len(found.problems)
        raise ValueError(
            f"{data_dir} has {n} problem{'s' * (n > 1)}; see all with: spikevaediff check-data {data_dir}. "
            f"The first: {found.problems[0]}"
        )
    pixels = []
    for image_id in found.shared.tolist():
        with Image.open(found.files[image_id]) as image:
            pixels.append(resize(np.asarray(_grey(image))[None], size_px)[0])
    with replacing(out_dir / "sessions", folder=True) as folder:
        for session_id, table in found.tables.items():
            _responses(session_id, table, found, window).save(folder / f"{session_id}.npz")
        for session_id, path in found.recordings.items():
            nwb_extract.extract(path, folder / f"{session_id}.nwb", margin_s=margin_s)
    Stimuli(source, found.shared, np.stack(pixels)).save(out_dir / "images.npz")
    given = {} if found.captions is None else {i: found.captions[i] for i in found.shared.tolist()}
    sentences = tuple((sentence,) * bool(sentence) for sentence in given.values())
    Captions(np.array(list(given), np.int64), sentences).save(out_dir / "captions_given.csv")


def examine(folder: Path) -> Examination:
    """Read everything in a folder of the plain format.

    Never raises for what is in the folder: every problem is collected, so that one look is enough to mend all.
    """
    folder, found = Path(folder), Examination()
    if not folder.is_dir():
        found.problems.append(f"{folder} is no folder")
        return found
    _images(folder, found)
    _sessions(folder, found)
    if found.tables or (folder / "units.csv").exists():
        _units(folder, found)
    shown: dict[int, np.ndarray] = {}
    for session_id, table in found.tables.items():
        shown[session_id] = np.unique(table.image_id)
    for session_id, path in found.recordings.items():
        if (ids := _recording(path, found)) is not None:
            shown[session_id] = ids
    _join(found, shown)
    return found


def summary(folder: Path, found: Examination) -> str:
    """One line about a folder without problems."""
    areas = Counter(row["area"] for key, row in found.units.items() if key[0] in found.tables)
    n_presentations = [int(np.sum(table.image_id != BLANK)) for table in found.tables.values()]
    parts = [f"{len(found.tables)} table(s) of responses"] * bool(found.tables)
    parts += [f"{len(found.recordings)} recording(s)"] * bool(found.recordings)
    parts += [f"{len(found.shared)} images"]
    parts += [f"units {', '.join(f'{area} {n}' for area, n in sorted(areas.items()))}"] * bool(areas)
    parts += [f"{sum(n_presentations)} presentations"] * bool(n_presentations)
    return f"{folder} is ready: {', '.join(parts)}"


# ---- one kind of file after the other


def _few(values: Iterable[object]) -> str:
    values = list(values)
    return ", ".join(map(str, values[:5])) + (f", ... ({len(values)})" if len(values) > 5 else "")


def _csv(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...], found: Examination
) -> list[dict[str, str]] | None:
    """Rows with their line number under "line"; None, and a problem, where the file is no such table."""
    example = ",".join(needed)
    if not path.is_file():
        found.problems.append(f"{path.name} is missing. Write a table that begins with: {example}")
        return None
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        found.problems.append(f"{path.name} is no CSV in UTF-8 ({error})")
        return None
    header = [name.strip() for name in lines[0]] if lines else []
    missing = [name for name in needed if name not in header]
    unknown = [name for name in header if name not in (*needed, *optional)]
    repeated = [name for name, n in Counter(header).items() if n > 1]
    if missing or repeated:
        what = f"lacks the column {_few(missing)}" if missing else f"has the column {_few(repeated)} twice"
        found.problems.append(f"{path.name} {what}: it begins with {','.join(header)!r}, expected {example}")
        return None
    if unknown:
        found.notes.append(f"{path.name}: column {_few(unknown)} is not used; known are {', '.join(needed + optional)}")
    rows, ragged = [], []
    for number, values in enumerate(lines[1:], start=2):
        if len(values) == len(header):
            rows.append(dict(zip(header, map(str.strip, values), strict=True)) | {"line": str(number)})
        elif any(value.strip() for value in values):
            ragged.append(number)
    if ragged:
        found.problems.append(
            f"{path.name}: line {_few(ragged)} does not have {len(header)} values ({','.join(header)}). Put a value "
            f'that holds commas in "double quotes"'
        )
    if not rows:
        found.problems.append(f"{path.name} has no line below its header")
    return rows


def _whole(value: str) -> int | None:
    return int(value) if value.removeprefix("-").isdecimal() else None


def _grey(image: Image.Image) -> Image.Image:
    """Luma in 8 bit. Pictures of 16 bit are scaled: Pillow's own conversion would cut them off at 255.

    Raises
    ------
    ValueError
        Numbers with a point: nobody knows which of them is white.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose range is not known")
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
    return image.convert("L")


def _images(folder: Path, found: Examination) -> None:
    rows = _csv(folder / "images.csv", ("image_id", "file"), ("caption",), found)
    if not (folder / "images").is_dir():
        found.problems.append("images/ is missing: the folder of the pictures that images.csv names")
        rows = rows and [row | {"file": ""} for row in rows]
    bad, named, absent, broken, outside = [], Counter[int](), [], [], []
    captions = {}
    for row in rows or []:
        image_id = _whole(row["image_id"])
        if image_id is None or image_id < 0:
            bad.append(f"line {row['line']}: {row['image_id']!r}")
            continue
        named[image_id] += 1
        captions[image_id] = row.get("caption")
        path = folder / "images" / row["file"]
        found.files[image_id] = path
        if not row["file"]:
            if (folder / "images").is_dir():
                bad.append(f"line {row['line']}: no file")
        elif Path(row["file"]).is_absolute() or ".." in Path(row["file"]).parts:
            outside.append(row["file"])
        elif not path.is_file():
            absent.append(row["file"])
        else:
            try:
                with Image.open(path) as image:
                    size = _grey(image).size
                if min(size) < 8:
                    broken.append(f"{row['file']} (only {size[0]} x {size[1]} pixels)")
            except Exception as error:  # what Pillow raises depends on the kind of picture and of damage
                broken.append(f"{row['file']} ({error})")
    if bad:
        found.problems.append(f"images.csv: expected a whole number from 0 on and a file name in {_few(bad)}")
    if repeated := [image_id for image_id, n in named.items() if n > 1]:
        found.problems.append(f"images.csv: image_id {_few(repeated)} stands there more than once; give each its own")
    if outside:
        found.problems.append(f"images.csv: file {_few(outside)} is outside images/; copy it there")
    if absent:
        listed = [path.name for path in (folder / "images").iterdir()] if (folder / "images").is_dir() else []
        like = f"; images/ holds {_few(sorted(listed))}" if listed else "; images/ is empty"
        found.problems.append(f"images/: {_few(absent)} is named in images.csv and not there{like}")
    if broken:
        found.problems.append(f"images/: {_few(broken)} cannot be used as a picture; save it again as PNG")
    if rows and "caption" in rows[0]:
        found.captions = {image_id: caption or "" for image_id, caption in captions.items()}
        if empty := [i for i, caption in found.captions.items() if not caption]:
            found.notes.append(f"images.csv: no caption for {_few(empty)}; a text feature space then knows nothing")
    elif rows:
        found.notes.append("images.csv has no column caption: the stage `captions` would describe the images by BLIP-2")
    if rows and (folder / "images").is_dir():
        used = {path.resolve() for path in found.files.values()}
        pictures = [p for p in sorted((folder / "images").rglob("*")) if p.suffix.lower() in PICTURES]
        if extra := [p.name for p in pictures if p.resolve() not in used]:
            found.notes.append(f"images/: {_few(extra)} is not in images.csv and not used")


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
        elif not path.stem.isdecimal():
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
                table = _npz(path, found) if path.suffix == ".npz" else _responses_csv(path, found)
                if table is not None:
                    found.tables[int(path.stem)] = table


def _npz(path: Path, found: Examination) -> Table | None:
    name = f"sessions/{path.name}"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (BadZipFile, OSError, EOFError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        found.problems.append(f"{name} is no npz of plain arrays, or damaged ({error}). Write it by np.savez")
        return None
    needed = ("responses", "image_id", "unit_id")
    if missing := [key for key in needed if key not in arrays]:
        found.problems.append(f"{name} lacks the array {_few(missing)}; it holds {_few(arrays) or 'nothing'}")
        return None
    if unknown := [key for key in arrays if key not in (*needed, "window_s")]:
        found.notes.append(f"{name}: array {_few(unknown)} is not used")
    window_s = arrays.get("window_s")
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
            or not np.isfinite(window_s).all()
        ):
            found.problems.append(
                f"{name}: window_s is {window_s.tolist()}, expected {n} row(s) [start, stop] in seconds after onset"
            )
    elif responses.ndim == 3 and responses.shape[2] > 1:
        found.problems.append(f"{name}: responses has {responses.shape[2]} windows; add window_s, a row each")
    for key in ("image_id", "unit_id"):
        ids = arrays[key]
        numbers = ids.dtype.kind in "ui" or (ids.dtype.kind == "f" and bool(np.all(ids == np.round(ids))))
        if ids.ndim != 1 or not numbers:
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


def _responses_csv(path: Path, found: Examination) -> Table | None:
    name = f"sessions/{path.name}"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [line for line in csv.reader(file, strict=True) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        found.problems.append(f"{name} is no CSV in UTF-8 ({error})")
        return None
    header = [value.strip() for value in lines[0]] if lines else []
    if len(header) < 2 or header[0] != "image_id" or any(_whole(value) is None for value in header[1:]):
        wrong = next((value for value in header[1:] if _whole(value) is None), ",".join(header[:5]))
        found.problems.append(
            f"{name} begins with {wrong!r}, expected image_id and the numbers of the units: image_id,17,18"
        )
        return None
    if ragged := [number for number, line in enumerate(lines, start=1) if len(line) != len(header)]:
        found.problems.append(f"{name}: line {_few(ragged)} does not have {len(header)} values as the header has")
        return None
    if len(lines) < 2:
        found.problems.append(f"{name} has no presentation below its header")
        return None
    values = np.empty((len(lines) - 1, len(header)))
    wrong_cells = []
    for row, line in enumerate(lines[1:]):
        for column, text in enumerate(line):
            try:
                values[row, column] = float(text)
            except ValueError:
                wrong_cells.append(f"line {row + 2}, column {header[column]}: {text!r}")
    if wrong_cells:
        found.problems.append(f"{name}: expected numbers in {_few(wrong_cells)}")
        return None
    unit_id = np.array([int(value) for value in header[1:]])
    return _checked(name, values[:, 1:, None], values[:, 0], unit_id, None, found)


def _checked(
    name: str,
    responses: np.ndarray,
    image_id: np.ndarray,
    unit_id: np.ndarray,
    window_s: np.ndarray | None,
    found: Examination,
) -> Table:
    """A table whose values were looked at; problems are added."""
    if not np.all((image_id == np.round(image_id)) & (image_id >= BLANK)):
        wrong = image_id[~((image_id == np.round(image_id)) & (image_id >= BLANK))]
        found.problems.append(f"{name}: image_id {_few(wrong.tolist())}: expected whole numbers, -1 for a blank screen")
        image_id = np.where(np.isfinite(image_id), image_id, BLANK)
    image_id, unit_id = image_id.astype(np.int64), unit_id.astype(np.int64)
    values, n = np.unique(unit_id, return_counts=True)
    if np.any(n > 1):
        found.problems.append(f"{name}: unit_id {_few(values[n > 1].tolist())} stands there more than once")
    responses = responses.astype(np.float64)
    finite = np.isfinite(responses)
    if not finite.all():
        of_units, of_rows = ~finite.all((0, 2)), ~finite.all((1, 2))
        found.problems.append(
            f"{name}: responses are not finite in {int((~finite).sum())} places, in {int(of_rows.sum())} of "
            f"{len(responses)} presentations and of unit {_few(unit_id[of_units].tolist())}. Leave out presentations "
            f"that are missing: images may be shown unequally often"
        )
    else:
        if silent := unit_id[np.ptp(responses, axis=(0, 2)) == 0].tolist():
            found.notes.append(f"{name}: unit {_few(silent)} never changes and tells nothing")
        if len(silent) == len(unit_id):
            found.problems.append(f"{name}: all responses of every unit are the same; is this the right array?")
    shown = image_id[image_id != BLANK]
    if len(np.unique(shown)) < len(shown) and np.all(np.diff(shown) >= 0):
        found.notes.append(
            f"{name}: rows are sorted by image. Only in the order of the session do they tell of drift and of the "
            f"identity of images"
        )
    counts = finite.all() and bool(np.all((responses >= 0) & (responses == np.round(responses)) & (responses < 2**16)))
    if finite.all() and not counts:
        found.notes.append(
            f"{name}: responses are not all whole numbers from 0 on, so they are taken as activity and not as spike "
            f"counts: no Fano factor, and transform square_root only where none is below 0"
        )
    return Table(responses.astype(np.uint16 if counts else np.float32), image_id, unit_id, window_s)


def _units(folder: Path, found: Examination) -> None:
    rows = _csv(folder / "units.csv", ("session_id", "unit_id", "area"), METRICS, found)
    if rows is None:
        return
    bad: list[str] = []
    twice: list[tuple[int, int]] = []
    for row in rows:
        session_id, unit_id = _whole(row["session_id"]), _whole(row["unit_id"])
        metrics: dict[str, float] = {}
        for name in METRICS:
            try:
                metrics[name] = float(row.get(name) or "nan")
            except ValueError:
                bad.append(f"line {row['line']}: {name} is {row[name]!r}")
        if session_id is None or unit_id is None or not row["area"]:
            bad.append(f"line {row['line']}: {row['session_id']},{row['unit_id']},{row['area']}")
            continue
        if (session_id, unit_id) in found.units:
            twice.append((session_id, unit_id))
        found.units[session_id, unit_id] = {"area": row["area"]} | metrics
    if bad:
        found.problems.append(
            f"units.csv: expected two whole numbers, an area and metrics that are numbers or empty, as in 1,17,VISp; "
            f"see {_few(bad)}"
        )
    if twice:
        found.problems.append(f"units.csv: (session_id, unit_id) {_few(twice)} stands there more than once")
    for session_id, table in found.tables.items():
        listed = {unit for session, unit in found.units if session == session_id}
        if lacking := [unit for unit in table.unit_id.tolist() if unit not in listed]:
            found.problems.append(
                f"units.csv lacks unit_id {_few(lacking)} of session {session_id}; write a line such as "
                f"{session_id},{lacking[0]},VISp for each"
            )
        if extra := sorted(listed - set(table.unit_id.tolist())):
            found.notes.append(f"units.csv: unit_id {_few(extra)} of session {session_id} has no responses")
    known = {int(path.stem) for path in (folder / "sessions").glob("*.*") if path.stem.isdecimal()}
    if extra := sorted({session for session, _ in found.units} - known):
        found.notes.append(f"units.csv: there is no file of session {_few(extra)}")


def _recording(path: Path, found: Examination) -> np.ndarray | None:
    """The images that a recording shows; problems of its tables and spikes are added."""
    shown: list[np.ndarray] = []

    def see() -> None:
        shown.append(np.unique(nwb.read_presentations(path).image_id))

    def name() -> None:
        session_id = nwb.read_units(path)[0].session_id
        if len(session_id) and session_id[0] != int(path.stem):
            raise ValueError(f"{path}: /identifier says session {session_id[0]}. Name the file {session_id[0]}.nwb")

    for check in (see, name, lambda: nwb.check_units(path)):
        try:
            check()
        except (ValueError, OSError, KeyError) as error:
            says = f"sessions/{str(error).removeprefix(f'{path.parent}/')}"
            if says not in found.problems:
                found.problems.append(says)
    return shown[0] if shown else None


def _join(found: Examination, shown: dict[int, np.ndarray]) -> None:
    """What only several files together tell."""
    known = np.array(sorted(found.files), np.int64)
    for session_id, ids in shown.items():
        if len(known) and (unknown := np.setdiff1d(ids, [BLANK, *known]).tolist()):
            found.problems.append(
                f"session {session_id} shows image_id {_few(unknown)}, which images.csv does not list (it has "
                f"{known[0]} to {known[-1]})"
            )
    if not shown:
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
        found.notes.append(f"image_id {_few(left)} is not shown in every session and left out")
    if len({1 if t.window_s is None else len(t.window_s) for t in found.tables.values()}) > 1:
        found.problems.append("sessions have different numbers of time windows; count all in the same ones")
    elif len({None if t.window_s is None else t.window_s.tobytes() for t in found.tables.values()}) > 1:
        found.problems.append("sessions have different window_s; count all in the same ones")
    if found.tables and all(len(np.unique(t.image_id)) == len(t.image_id) for t in found.tables.values()):
        found.notes.append(
            "each image has one row: a mean over presentations, or a single one. Reliability, noise ceiling and "
            "identity decoding need repeated presentations and are not known"
        )


def _responses(session_id: int, table: Table, found: Examination, window_s: np.ndarray) -> Responses:
    rows = [found.units[session_id, unit_id] for unit_id in table.unit_id.tolist()]
    kept = np.isin(table.image_id, [BLANK, *found.shared])
    units = UnitTable(
        unit_id=table.unit_id,
        session_id=np.full(len(rows), session_id, np.int64),
        area=np.array([row["area"] for row in rows]),
        **{name: np.array([row[name] for row in rows]) for name in METRICS},
    )
    return Responses.make(
        counts=table.responses[kept],
        image_id=table.image_id[kept],
        presentation_id=np.flatnonzero(kept)[:, None],
        session_id=np.array([session_id]),
        window_s=window_s[None] if table.window_s is None else table.window_s.astype(np.float64),
        units=units,
    )
