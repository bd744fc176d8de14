"""units.csv of a folder of the plain format: the area of each unit, and its quality metrics."""

from pathlib import Path

import numpy as np

from spikevaediff.datasets.plain_format import csv_file
from spikevaediff.datasets.plain_format.examination import Examination
from spikevaediff.datasets.plain_format.findings import brief, first_five
from spikevaediff.datasets.plain_format.response_tables import Table
from spikevaediff.records import UnitTable


def read_units(folder: Path, found: Examination) -> None:
    """Add the rows of units.csv, and what is wrong with them, given the tables that were found."""
    rows = csv_file.table(folder / "units.csv", ("session_id", "unit_id", "area"), UnitTable.METRICS, found)
    if rows is None:
        return
    bad: list[str] = []
    no_area: list[str] = []
    twice: list[tuple[int, int]] = []
    for row in rows:
        session_id, unit_id = csv_file.whole_number(row["session_id"]), csv_file.whole_number(row["unit_id"])
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
            no_area.append(f"line {row['line']}: {brief(repr(row['area']))}")
        if (session_id, unit_id) in found.units:
            twice.append((session_id, unit_id))
        found.units[session_id, unit_id] = {"area": row["area"]} | metrics
    if bad:
        found.problems.append(
            f"units.csv: expected two whole numbers, an area and metrics that are numbers or empty, as in 1,17,VISp; "
            f"see {first_five(bad)}"
        )
    if no_area:
        found.problems.append(
            f"units.csv: expected the name of an area in letters that a terminal shows, as in VISp; see "
            f"{first_five(no_area)}. Write its name in one line, or leave the unit out where its area is not known"
        )
    if twice:
        found.problems.append(f"units.csv: (session_id, unit_id) {first_five(twice)} occurs more than once")
    for session_id, table in found.tables.items():
        listed = {unit for session, unit in found.units if session == session_id}
        if lacking := [unit for unit in table.unit_id.tolist() if unit not in listed]:
            found.problems.append(
                f"units.csv lacks unit_id {first_five(lacking)} of session {session_id}; write a line such as "
                f"{session_id},{lacking[0]},VISp for each"
            )
        if extra := sorted(listed - set(table.unit_id.tolist())):
            found.notes.append(f"units.csv: unit_id {first_five(extra)} of session {session_id} has no responses")
    spelt: dict[str, set[str]] = {}
    for row in found.units.values():
        spelt.setdefault(row["area"].casefold(), set()).add(row["area"])
    if alike := [" and ".join(sorted(names)) for names in spelt.values() if len(names) > 1]:
        found.notes.append(f"units.csv: {first_five(alike)} are areas of their own; did you mean the same?")
    known = {int(path.stem) for path in (folder / "sessions").glob("*.*") if path.stem.isdecimal()}
    if extra := sorted({session for session, _ in found.units} - known):
        found.notes.append(f"units.csv: there is no file of session {first_five(extra)}")


def units_of(session_id: int, table: Table, found: Examination) -> UnitTable:
    """The units of a table, in its order, as units.csv has them."""
    rows = [found.units[session_id, unit_id] for unit_id in table.unit_id.tolist()]
    metrics = {name: np.array([row[name] for row in rows]) for name in UnitTable.METRICS}
    return UnitTable.make(table.unit_id, session_id, np.array([row["area"] for row in rows]), **metrics)


def areas_of_tables(found: Examination) -> list[str]:
    """The area of every unit that a table has responses of; units.csv may list others."""
    keys = [(session_id, unit_id) for session_id, table in found.tables.items() for unit_id in table.unit_id.tolist()]
    return [found.units[key]["area"] for key in keys]
