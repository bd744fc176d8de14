"""Tables that people write as CSV, by hand or from a spreadsheet, pandas or R: the header, and rows with line numbers.

What these programs add without being asked (an index without a name, commas at the end, lines of commas alone, a byte
order mark) is removed. What would have to be guessed is refused.
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

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
