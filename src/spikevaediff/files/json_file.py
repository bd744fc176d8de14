"""Numbers between stages that are no table: JSON with digits on which machines agree, there whole or not at all."""

import json
from pathlib import Path
from typing import Any

from spikevaediff.files.atomic import replacing

DIGITS = 5  # behind the point


def rounded(value: Any) -> Any:
    """Dicts, lists and numbers with every float rounded to DIGITS; all else as it is."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return round(value, DIGITS) if isinstance(value, float) else value


def write(path: str | Path, value: Any) -> None:
    """Write dicts, lists, numbers and text as JSON, floats rounded."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rounded(value), indent=1) + "\n", encoding="utf-8")
