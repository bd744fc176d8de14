"""Results of a part that params.yaml leaves out (`parts`): a mark stands in their place, since DVC knows every result.

A mark is a file of one line; in the place of a folder, a folder with that file alone.
"""

from collections.abc import Iterable
from pathlib import Path

from spikevaediff.files.atomic import replacing

_NAME = "left_out.txt"
_BEGIN = "left out: "


def mark(path: Path | str, part: str) -> None:
    """Put a mark in the place of a result; a name without a suffix is a folder's.

    Parameters
    ----------
    path : Path or str
    part : str
        What is left out, as params.yaml calls it, for whoever opens the file.
    """
    path = Path(path)
    with replacing(path, folder=not path.suffix) as temporary:
        written = temporary if path.suffix else temporary / _NAME
        written.write_text(f"{_BEGIN}params.yaml does not want {part}\n", encoding="utf-8")


def there(place: str, names: Iterable[str]) -> list[str]:
    """Those of some names whose result is not left out.

    Parameters
    ----------
    place : str
        Path of a result, with {} for the name.
    names : iterable of str
    """
    return [name for name in names if not is_left_out(place.format(name))]


def is_left_out(path: Path | str) -> bool:
    """Whether a mark is in the place of a result. What does not exist is not left out but missing."""
    path = Path(path)
    found = path / _NAME if path.is_dir() else path
    if not found.is_file():
        return False
    with found.open("rb") as file:
        return file.read(len(_BEGIN)) == _BEGIN.encode()
