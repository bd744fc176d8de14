"""manifest.json of a data set whose recordings are fetched: which files there are, and what is known of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def _read(path: Path) -> dict[str, Any]:
    """What a manifest holds.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Bring the data back with: dvc repro data.dvc")
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    return content


def manifest_of(path: Path, keys: Mapping[str, set[str]], *, lists: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A manifest with all keys that a data set reads.

    Parameters
    ----------
    path : Path
    keys : mapping of str to set of str
        What each table must hold: "" is the file itself, other names are those of tables in it, or of lists of
        tables.
    lists : mapping of str to str
        Which of these are lists, with the key that tells their tables apart: {"sessions": "session_id"}.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        It is not JSON, lacks a key, or lists a table twice; the message names the keys or what is listed twice.
    """
    manifest, lists = _read(path), lists or {}
    tables = [("", manifest), *((name, manifest.get(name, {})) for name in keys if name and name not in lists)]
    for where, table in tables + [(name, row) for name in lists for row in manifest.get(name, [])]:
        if lacking := sorted(keys[where] - set(table)):
            raise ValueError(f"{path} lacks {', '.join(lacking)}" + (f" in {where}" if where else ""))
    for name, key in lists.items():
        numbers = [row[key] for row in manifest[name]]
        if twice := sorted({number for number in numbers if numbers.count(number) > 1}):
            raise ValueError(f"{path} lists {name} more than once: {twice}")
    return manifest
