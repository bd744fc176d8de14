"""The objects of DVC's cache: which are damaged, and where in the workspace they stand."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.progress import Progress
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from spikevaediff.tools.shell import dvc


def cache_folder(root: Path) -> Path:
    """Where DVC keeps objects, as configured for this checkout."""
    return root / (dvc(root, "cache", "dir", check=False).strip() or ".dvc/cache")


def objects(cache: Path) -> list[Path]:
    """Every object of a cache folder: files/md5/ab/cdef... (.dir: the list of a folder's files)."""
    return sorted(path for path in (cache / "files/md5").glob("[0-9a-f][0-9a-f]/*") if not path.name.startswith("."))


def damage(cache: Path) -> tuple[list[Path], int]:
    """The objects whose content does not hash to their name, and the bytes read."""
    found, size = [], 0
    every = objects(cache)
    with Progress(transient=True) as progress:
        task = progress.add_task("hashing the cache", total=len(every))
        for path in every:
            progress.advance(task)
            try:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "md5").hexdigest()
            except FileNotFoundError:  # removed by a running dvc
                continue
            size += path.stat().st_size
            if digest != path.parent.name + path.name.removesuffix(".dir"):
                found.append(path)
    return found, size


def recorded_stages(root: Path) -> dict[str, Any] | None:
    """What dvc.lock says of every finished stage; None: it is not YAML, or no table of stages."""
    path = root / "dvc.lock"
    try:
        found = (YAML(typ="safe").load(path) or {}) if path.is_file() else {}
    except YAMLError:
        return None
    return found.get("stages", {}) if isinstance(found, dict) else None


def workspace_paths(root: Path) -> dict[str, list[Path]]:
    """Where in the workspace every object of dvc.lock and of the .dvc files stands, by MD5."""
    reader, cache = YAML(typ="safe"), cache_folder(root)
    outs: list[dict[str, Any]] = []
    for stage in (recorded_stages(root) or {}).values():
        outs += stage.get("outs", [])
    for path in root.glob("*.dvc"):
        if path.is_file():
            with suppress(YAMLError):  # of which `dvc status` has said why
                outs += (reader.load(path) or {}).get("outs", [])
    where: dict[str, list[Path]] = {}
    for out in outs:
        digest = str(out.get("md5", ""))
        where.setdefault(digest.removesuffix(".dir"), []).append(Path(out["path"]))
        listing = cache / "files/md5" / digest[:2] / digest[2:]
        if digest.endswith(".dir") and listing.is_file():
            try:
                members = json.loads(listing.read_text(encoding="utf-8"))
            except ValueError:
                continue
            for member in members:
                where.setdefault(member["md5"], []).append(Path(out["path"]) / member["relpath"])
    return where


def remove_damaged(root: Path) -> list[Path]:
    """Remove damaged objects and the workspace files that hold the same bytes, so that DVC makes or fetches them anew.

    Only what is damaged goes: a workspace file that is whole stays.

    Returns
    -------
    list of Path
        What was removed.
    """
    cache, where = cache_folder(root), workspace_paths(root)
    removed: list[Path] = []
    for path in damage(cache)[0]:
        digest = path.parent.name + path.name.removesuffix(".dir")
        for place in where.get(digest, []):
            file = root / place
            if file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != digest:
                file.unlink()
                removed.append(place)
        path.chmod(0o644)
        path.unlink()
        removed.append(path)
    return removed
