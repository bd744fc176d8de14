"""What report and page read of earlier stages."""

import json
from pathlib import Path
from typing import Any


def read_json(path: str) -> Any:
    """What a stage wrote.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent or damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro")
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}). Delete it and run: dvc repro") from error


def order_unknown(sessions: str | Path = "artifacts/sessions") -> str:
    """Why nobody knows when single presentations were shown, as the data set says; no text where it is known."""
    path = Path(sessions) / "sources.json"
    return str(read_json(str(path)).get("order_unknown", "")) if path.is_file() else ""
