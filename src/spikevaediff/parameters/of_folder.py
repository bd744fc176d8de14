"""What params.yaml asks of a folder of the plain format that the folder does not hold, before anything is computed.

Areas, windows and numbers of images are compared by the later checks themselves (recordings.sessions,
recordings.unit_filter, regression.split), without the responses: an area that is not there is known in a second, and
not after `acquire`. What is wrong with the folder itself is left to that stage.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.datasets.plain_format import csv_file
from spikevaediff.datasets.plain_format.examination import Examination
from spikevaediff.datasets.plain_format.response_tables import Table
from spikevaediff.datasets.plain_format.units import read_units, units_of
from spikevaediff.recordings import sessions, unit_filter
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import DAMAGED
from spikevaediff.regression import split


def problems(params: Mapping[str, Any], data: Path) -> Iterator[str]:
    """Areas, windows and numbers of images that the folder of the data set lacks.

    Nothing of a data set of another format, nor of a folder that cannot be read.

    Parameters
    ----------
    params : mapping
        params.yaml, in which `check` found nothing wrong.
    data : Path
        vendor/data, where the folder lies.
    """
    section = params["datasets"][params["dataset"]]
    if section.get("module") != "plain":
        return
    folder = data / params["dataset"]
    try:
        found = _look(folder)
        tables = {path: found.tables[int(path.stem)] for path in _tables(folder)}
        units = {path: units_of(int(path.stem), table, found) for path, table in tables.items()}
    except (LookupError, OverflowError, *DAMAGED):
        return
    yield from _of_windows(params["responses"], tables, section["window_s"], is_all=not found.recordings)
    if not found.recordings:  # whose units have their areas in the files
        yield from _of_areas(params, units)
    yield from _of_split(params["split"], section["source"], found)


def windows_s(folder: Path, window_s: list[float]) -> dict[Path, np.ndarray]:
    """The windows in which the tables of a folder were counted, float64 (n_windows, 2) each.

    Parameters
    ----------
    folder : Path
        Of the plain format.
    window_s : two of float
        Of tables that do not say so themselves.

    Raises
    ------
    ValueError
        A table cannot be read.
    """
    try:
        return {path: _windows_s(_read(path), window_s) for path in _tables(folder)}
    except (LookupError, OverflowError, *DAMAGED) as error:
        raise ValueError(f"{folder}: {error}. See what is wrong: spikevaediff check-data {folder}") from error


def _windows_s(table: Table, window_s: list[float]) -> np.ndarray:
    return np.array([window_s], np.float64) if table.window_s is None else table.window_s


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "sessions").iterdir() if path.suffix in (".npz", ".csv"))


def _look(folder: Path) -> Examination:
    """Images, units and tables of a folder; pictures and responses are not read."""
    found = Examination()
    sheet = csv_file.read(folder / "images.csv", "images.csv")
    column = sheet.header.index("image_id")
    shared = {int(values[column]) for _, values in sheet.rows}
    if "split" in sheet.header:
        found.tested = dict.fromkeys(shared, False)  # which are tested does not matter here
    found.tables = {int(path.stem): _read(path) for path in _tables(folder)}
    for table in found.tables.values():
        shared &= set(table.image_id.tolist())
    found.shared = np.array(sorted(shared), np.int64)
    found.recordings = {int(path.stem): path for path in (folder / "sessions").glob("*.nwb")}
    if found.tables:
        read_units(folder, found)
    if found.problems:
        raise ValueError(found.problems[0])
    return found


def _read(path: Path) -> Table:
    """A table without its responses."""
    if path.suffix == ".csv":
        sheet = csv_file.read(path, path.name)
        shown, units = [float(values[0]) for _, values in sheet.rows], list(map(int, sheet.header[1:]))
        return Table(np.empty(0), np.array(shown, np.int64), np.array(units, np.int64), None)
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        windows = np.reshape(file["window_s"], (-1, 2)).astype(np.float64) if "window_s" in file.files else None
        image_id, unit_id = (np.ravel(file[name]).astype(np.int64) for name in ("image_id", "unit_id"))
    return Table(np.empty(0), image_id, unit_id, windows)


def _of_windows(
    responses: Mapping[str, Any], tables: Mapping[Path, Table], window_s: list[float], *, is_all: bool
) -> Iterator[str]:
    asked = {name: responses[name] for name in ("start_s", "duration_s", "n_bins")}
    if is_all and all(value is None for value in asked.values()):
        return
    try:
        windows = sessions.equal_windows(**asked)
        for path, table in tables.items():
            sessions.check_table(path, _windows_s(table, window_s), windows)
    except ValueError as error:  # one is enough: the others are counted in the same ones
        yield str(error).removeprefix("params.yaml: ")


def _of_areas(params: Mapping[str, Any], units: Mapping[Path, Any]) -> Iterator[str]:
    limits, min_units = Limits.of(params["responses"]), params["responses"]["min_units"]
    criteria = {path: sessions.criteria_of_table(of, limits) for path, of in units.items()}
    for population, areas in params["areas"].items():
        if areas == sessions.SHUFFLED or (population == "control" and not params["parts"]["controls"]):
            continue
        of_session = [areas] * len(units)
        try:
            if len(units) > 1:
                left = {path: unit_filter.left_after(of, criteria[path]) for path, of in units.items()}
                of_session = sessions.areas_of_sessions(left, areas)
            for (path, of), present in zip(units.items(), of_session, strict=True):
                unit_filter.choose(path, of, criteria[path], areas=present, min_units=min_units)
        except ValueError as error:
            yield f"areas.{population}: {error}"


def _of_split(options: Mapping[str, Any], source: str, found: Examination) -> Iterator[str]:
    try:
        split.check_method(options["method"], source, brings_split=found.tested is not None)
    except ValueError as error:
        yield str(error)
        return
    if found.tested is None and len(found.shared):
        try:
            split.split_by_image(found.shared, **options)
        except ValueError as error:
            yield f"split.{error}"
