"""Tables between stages and in plots/: CSV with numbers rounded to digits on which machines agree."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spikevaediff.files.atomic import replacing


def text(rows: Sequence[Mapping[str, Any]], *, digits: int) -> str:
    """Rows as CSV, with the same line ends everywhere.

    Parameters
    ----------
    rows : sequence of mapping
        All with the keys of the first, which become the header; None is an empty cell. No rows: an empty line.
    digits : int
        Of floating-point numbers, after the point.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            # + 0.0, since -0.0 and 0.0 are the same number on two lines.
            {name: round(value, digits) + 0.0 if isinstance(value, float) else value for name, value in row.items()}
        )
    return buffer.getvalue()


def write(path: str | Path, rows: Sequence[Mapping[str, Any]], *, digits: int = 5) -> None:
    """Write rows as CSV; the file is there whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text(rows, digits=digits), encoding="utf-8")


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
