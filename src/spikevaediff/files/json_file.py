"""Numbers between stages that are not tables: JSON with digits on which machines agree, there whole or not at all."""

import json
from pathlib import Path
from typing import Any

from spikevaediff.files.atomic import replacing


def rounded(value: Any, digits: int) -> Any:
    """Dicts, lists and numbers with every float rounded to so many digits after the point; all else as it is."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return round(value, digits) if isinstance(value, float) else value


def write(path: str | Path, value: Any, *, digits: int | None = 5, indent: int = 1) -> None:
    """Write dicts, lists, numbers and text as JSON.

    Parameters
    ----------
    path : str or Path
        There whole or not at all.
    value : dict or list
    digits : int or None
        Of floats, after the point; None: all of them.
    indent : int
        Spaces per level.

    Raises
    ------
    ValueError
        A number is NaN or infinite, which JSON does not know.
    """
    content = value if digits is None else rounded(value, digits)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=indent, allow_nan=False) + "\n", encoding="utf-8")
