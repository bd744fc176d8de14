"""Tables between stages and in plots/: CSV with numbers rounded to digits on which machines agree."""

import csv
import io
import math
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from spikevaediff.files.atomic import replacing

_SIGNIFICANT = 6  # digits of what has a unit of measure of its own


def text(rows: Sequence[Mapping[str, Any]], *, digits: int, significant: Container[str] = ()) -> str:
    """Rows as CSV, with the same line ends everywhere.

    Parameters
    ----------
    rows : sequence of mapping
        All with the keys of the first, which become the header; None is an empty cell. No rows: an empty line.
    digits : int
        Of floating-point numbers, after the point.
    significant : container of str
        Columns in the unit of measure of the recording. It may be as small as a millionth, so that these numbers have
        six significant digits where the others would have fewer.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            # + 0.0, since -0.0 and 0.0 are the same number on two lines.
            {
                name: round(value, _places(value, digits) if name in significant else digits) + 0.0
                if isinstance(value, float)
                else value
                for name, value in row.items()
            }
        )
    return buffer.getvalue()


def _places(value: float, digits: int) -> int:
    """After the point: `digits`, or as many as make six significant ones."""
    return (
        max(digits, _SIGNIFICANT - 1 - math.floor(math.log10(abs(value)))) if math.isfinite(value) and value else digits
    )


def write(
    path: str | Path, rows: Sequence[Mapping[str, Any]], *, digits: int = 5, significant: Container[str] = ()
) -> None:
    """Write rows as CSV; the file is there whole or not at all. Parameters as of `text`."""
    with replacing(path) as temporary:
        temporary.write_text(text(rows, digits=digits, significant=significant), encoding="utf-8")


def read(path: str | Path) -> list[dict[str, str]]:
    """The rows of a table, all values as text.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
