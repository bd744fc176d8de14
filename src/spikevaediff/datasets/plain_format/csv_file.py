"""Tables that people write as CSV, by hand or from a spreadsheet, pandas or R: the header, and rows with line numbers.

What these programs add without being asked (an index without a name, commas at the end, lines of commas alone, a byte
order mark) is removed. What would have to be guessed is refused.
"""

import csv
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from spikevaediff.datasets.plain_format.findings import Findings, first_five
from spikevaediff.recordings.session_file import LARGEST

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)", re.ASCII | re.IGNORECASE)


class Sheet(NamedTuple):
    """A table of texts.

    header : list of str; without white space at the ends.
    rows : list of (line number, values); values without white space at the ends, as many as the line has.
    has_index : bool; a first column without a name was left out.
    """

    header: list[str]
    rows: list[tuple[int, list[str]]]
    has_index: bool


def read(path: Path, name: str) -> Sheet:
    """The table in a file; empty lines are left out, and a file without any line has an empty header.

    Parameters
    ----------
    path : Path
    name : str
        Of the file, for messages.

    Raises
    ------
    ValueError
        It is not CSV in UTF-8, or its values are separated by something other than commas.
    PermissionError
        It may not be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, list(map(str.strip, values))) for values in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{name} is not CSV in UTF-8 ({error}). Save it as CSV UTF-8") from error
    except PermissionError as error:
        raise PermissionError(f"{name} may not be read by this user. Give the right to: chmod u+r {path}") from error
    lines = [(number, values) for number, values in lines if any(values)]
    if not lines:
        return Sheet([], [], has_index=False)
    header = lines[0][1]
    for separator in ";\t|":
        if separator in header[0] and len(header[0].split(separator)) > len(header):
            raise ValueError(
                f"{name} is separated by {separator!r}, expected commas (and points in numbers): it begins with "
                f"{','.join(header)!r}. Save it again with commas"
            )
    width = max(column for _, values in lines for column, value in enumerate(values, start=1) if value)
    header = header[:width]
    rows = [(number, _fitted(values, len(header))) for number, values in lines[1:]]
    has_index = header[0] in ("", "Unnamed: 0") and len(header) > 1
    if has_index:
        header, rows = header[1:], [(number, values[1:]) for number, values in rows]
    return Sheet(header, rows, has_index)


def table(
    path: Path, needed: tuple[str, ...], optional: tuple[str, ...], found: Findings
) -> list[dict[str, str]] | None:
    """Rows by the names of columns.

    Parameters
    ----------
    path : Path
    needed, optional : tuple of str
        Columns.
    found : Findings
        Gets what is wrong with the file, and what is not used.

    Returns
    -------
    list of dict, or None
        With the number of the line under "line"; None, and a problem, where the file is not such a table.
    """
    example = ",".join(needed)
    if not path.is_file():
        found.problems.append(f"{path.name} is missing. Write a table that begins with: {example}")
        return None
    try:
        header, lines, has_index = read(path, path.name)
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
        what = f"lacks the column {first_five(missing)}" if missing else f"has the column {first_five(repeated)} twice"
        found.problems.append(f"{path.name} {what}: it begins with {','.join(header)!r}, expected {example}")
        return None
    if unknown:
        unused = first_five(name or "(no name)" for name in unknown)
        found.notes.append(f"{path.name}: column {unused} is not used; known are {', '.join(needed + optional)}")
    rows = [
        dict(zip(header, values, strict=True)) | {"line": str(number)}
        for number, values in lines
        if len(values) == len(header)
    ]
    if ragged := [number for number, values in lines if len(values) != len(header)]:
        found.problems.append(
            f"{path.name}: line {first_five(ragged)} does not have {len(header)} values ({','.join(header)}). Put a "
            f'value that holds commas in "double quotes"'
        )
    if not rows:
        found.problems.append(f"{path.name} has no line below its header")
    return rows


def _fitted(values: list[str], n: int) -> list[str]:
    """Values without those behind the n-th that are empty."""
    return values[:n] if not any(values[n:]) else values


def number(text: str) -> float | None:
    """The number that a text is, None where it is none: 5_0, which Python reads as 50, is a typing error."""
    return float(text) if _NUMBER.fullmatch(text) else None


def whole_number(text: str) -> int | None:
    """The whole number that a text is, None where it is none or too large for an id."""
    is_one = text.removeprefix("-").isdecimal() and text.isascii() and len(text) <= len(str(-LARGEST))
    found = int(text) if is_one else LARGEST
    return found if abs(found) < LARGEST else None
