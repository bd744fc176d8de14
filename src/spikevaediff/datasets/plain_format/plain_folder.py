"""A folder of the plain format (datasets.plain), read and judged: pictures, units, sessions, and whether they belong
together.

`examine` reads everything, tries what acquisition does with it, and says everything that is wrong at once.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from spikevaediff.datasets.plain_format import response_tables
from spikevaediff.datasets.plain_format.counted import rates_hz, responses_of
from spikevaediff.datasets.plain_format.examination import Examination
from spikevaediff.datasets.plain_format.findings import first_five
from spikevaediff.datasets.plain_format.pictures import read_pictures
from spikevaediff.datasets.plain_format.units import areas_of_tables, read_units
from spikevaediff.recordings import nwb, nwb_extract
from spikevaediff.recordings.session_file import ELECTRODES, LARGEST, opened
from spikevaediff.records import BLANK, LONGEST_WINDOW_S

FORMAT = """\
images.csv            image_id,file,caption       0,beach.png,A beach under a cloudy sky.
images/beach.png      one picture per line of images.csv
units.csv             session_id,unit_id,area     1,17,VISp
sessions/1.npz        np.savez("1.npz", responses=counts,   # (presentation, unit) or (presentation, unit, window)
                               image_id=shown,              # (presentation,), -1 for a blank screen
                               unit_id=ids)                 # (unit,), as in units.csv
or sessions/1.csv     image_id,17,18,23           0,3,0,1   (one line per presentation, one column per unit)
or sessions/1.nwb     layout of Allen Visual Coding Neuropixels"""
_FEWEST_IMAGES = 4
_FEWEST_TESTED = 2  # with one, there is no wrong image to compare with


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
    _try(found, "images.csv", read_pictures, folder, found)
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


def summary(folder: Path, found: Examination, window_s: tuple[float, float] | None = None) -> str:
    """One line about a folder without problems; window_s as in `examine`."""
    areas = Counter(areas_of_tables(found))
    n_presentations = [int(np.sum(table.image_id != BLANK)) for table in found.tables.values()]
    parts = [f"{len(found.tables)} table{'s' * (len(found.tables) > 1)} of responses"] * bool(found.tables)
    parts += [f"{len(found.recordings)} recording{'s' * (len(found.recordings) > 1)}"] * bool(found.recordings)
    tested = found.tested or {}
    n_tested = sum(tested[image_id] for image_id in found.shared.tolist() if image_id in tested)
    parts += [f"{len(found.shared)} images" + f" ({n_tested} of them tested)" * bool(tested)]
    parts += [f"units {', '.join(f'{area} {n}' for area, n in sorted(areas.items()))}"] * bool(areas)
    parts += [f"{sum(n_presentations)} presentations"] * bool(n_presentations)
    if found.tables:
        mean = np.mean([table.responses.mean(dtype=np.float64) for table in found.tables.values()])
        parts.append(f"mean response {mean:.3g} per unit and presentation")
        window = None if window_s is None else np.array(window_s, np.float64)
        rates = [rates for table in found.tables.values() if (rates := rates_hz(table, window)) is not None]
        if len(rates) == len(found.tables):
            parts.append(f"{np.mean([rate.mean() for rate in rates]):.3g} Hz")
    if found.rates_hz:
        parts.append(f"mean rate {np.mean(list(found.rates_hz.values())):.3g} Hz per unit")
    return f"{folder} is ready: {', '.join(parts)}"


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
                table = response_tables.read(path, found)
                if table is not None:
                    found.tables[int(path.stem)] = table


def _recording(session_id: int, path: Path, found: Examination, rehearse: bool) -> np.ndarray | None:
    """The images that a recording shows; problems of its tables and spikes are added."""
    name = f"sessions/{path.name}"
    shown = _try(found, name, nwb.read_presentations, path)
    _try(found, name, _check_units, path, found)
    if rehearse:
        with tempfile.TemporaryDirectory() as folder:
            rate_hz = _try(found, name, partial(nwb_extract.extract, margin_s=0.0), path, Path(folder) / path.name)
        if rate_hz is not None:
            found.rates_hz[session_id] = rate_hz
    return None if shown is None else np.unique(shown.image_id)


def _check_units(path: Path, found: Examination) -> None:
    session_id = nwb.read_units(path)[0].session_id
    if len(session_id) and session_id[0] != int(path.stem):
        raise ValueError(f"{path}: /identifier says session {session_id[0]}. Name the file {session_id[0]}.nwb")
    with opened(path) as file:
        _, _, listed = nwb.peak_channels(file)
    if n := int(np.sum(~listed)):
        found.notes.append(
            f"sessions/{path.name}: {n} of {len(listed)} units are left out, since their peak_channel_id is no id in "
            f"/{ELECTRODES}. Is it the number of a row there? Then other units have the wrong area"
        )


def _join(found: Examination, shown: dict[int, np.ndarray]) -> None:
    """What only several files together tell."""
    known = np.array(sorted(found.files), np.int64)
    for session_id, ids in shown.items():
        if len(known) and (unknown := np.setdiff1d(ids, [BLANK, *known]).tolist()):
            found.problems.append(
                f"session {session_id} shows image_id {first_five(unknown)}, which images.csv does not list (it has "
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
        found.notes.append(f"image_id {first_five(left)} is not shown in every session and left out")
        for session_id in sorted(set(found.recordings) & set(shown)):
            if more := sorted(set(shown[session_id].tolist()) & set(left)):
                found.problems.append(
                    f"session {session_id} shows image_id {first_five(more)}, which not every session shows. Tables "
                    f"are cut to the images that all share, recordings are not: leave this session out, or the others"
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
