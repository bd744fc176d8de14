"""All files of a run in one archive, for a machine without a network: `spikevaediff assets bundle` and `unbundle`.

A bundle is a tar file without compression, since weights do not shrink: manifest.json with the path, size and sha256 of
each file, then the files. An archive comes from elsewhere, so nothing in it is trusted. Its headers are read first and
it is refused as a whole for a link, a device, a path that leads out of the cache or to what is not an asset, a file
that the manifest does not list. Then files are unpacked one by one under temporary names, and get their own when size
and sha256 are right. What is there already is left as it is, so that an interrupted unbundling continues when it is
repeated. The table of assets decides: a bundle cannot say that other bytes are right.
"""

import hashlib
import importlib
import io
import json
import re
import shutil
import stat
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from spikevaediff.files import assets
from spikevaediff.files.atomic import alone, replacing
from spikevaediff.files.checksums import sha256_of, size_text
from spikevaediff.parameters.options import modules
from spikevaediff.tools.needs import Need

MANIFEST, FILES = "manifest.json", "files/"
VERSION = 1
_LARGEST_MANIFEST = 10**7  # bytes; one of ten thousand files has two million
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """One file of a bundle: path below the cache, with slashes; bytes; sha256 in hexadecimal."""

    path: str
    bytes: int
    sha256: str


def bundle(needs: Sequence[Need], target: Path) -> list[Entry]:
    """Write an archive of files of the user's cache; equal files give an equal archive.

    Parameters
    ----------
    needs : sequence of Need
        All of them are in the cache.
    target : Path
        Replaced where it exists.

    Raises
    ------
    OSError
        Too little space, or no right to write.
    """
    cache = assets.cache_dir()
    entries = [Entry(n.path.relative_to(cache).as_posix(), n.path.stat().st_size, sha256_of(n.path)) for n in needs]
    total, folder = sum(entry.bytes for entry in entries), Path(target).absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    if total > (free := shutil.disk_usage(folder).free):
        raise OSError(f"the bundle takes {size_text(total)}, and {folder} has only {size_text(free)} free")
    manifest = json.dumps({"version": VERSION, "files": [asdict(entry) for entry in entries]}, indent=2).encode()
    with replacing(target) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_header(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for entry in entries:
            with (cache / entry.path).open("rb") as file:
                archive.addfile(_header(FILES + entry.path, entry.bytes), file)
    return entries


def _header(name: str, n_bytes: int) -> tarfile.TarInfo:
    """Without owner and time, which say nothing of the content."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = n_bytes, 0o644
    return header


def unbundle(source: Path) -> Iterator[tuple[Path, Literal["unpacked", "there already"]]]:
    """Put the files of a bundle into the user's cache.

    Yields
    ------
    path, what : Path, str
        Each file as it is done.

    Raises
    ------
    FileNotFoundError
        There is no such archive.
    ValueError
        It is not a bundle, is damaged, or holds what must not be unpacked; or a file of the cache has other bytes than
        the bundle. The message names the member. Of a bundle whose headers are wrong nothing is unpacked.
    OSError
        Too little space, or no right to write.
    """
    source = Path(source)
    if source.is_dir():
        raise ValueError(f"{source} is a folder, expected a bundle, the file that `spikevaediff assets bundle` wrote")
    if not source.is_file():
        raise FileNotFoundError(f"{source} does not exist")
    try:
        with tarfile.open(source, "r:") as archive:
            checked = _checked(archive, source)
            cache = assets.cache_dir()
            lacking = {entry for entry, _ in checked if not _there(entry, cache, source)}
            cache.mkdir(parents=True, exist_ok=True)
            total, free = sum(entry.bytes for entry in lacking), shutil.disk_usage(cache).free
            if total > free:
                raise OSError(f"{source} needs {size_text(total)}, and {cache} has only {size_text(free)} free")
            for entry, member in checked:
                path = cache / entry.path
                path.parent.mkdir(parents=True, exist_ok=True)
                with alone(path.parent / ".lock"):
                    unpack = entry in lacking and not _there(entry, cache, source)
                    if unpack:
                        _unpack(archive, member, entry, cache, source)
                    if name := _asset_at(entry.path):
                        assets.note(name)
                yield path, "unpacked" if unpack else "there already"
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{source} is not a bundle, or was cut off ({error}). Copy it again") from error


def _checked(archive: tarfile.TarFile, source: Path) -> list[tuple[Entry, tarfile.TarInfo]]:
    """The entries of the manifest with their members, when all of the archive's headers are in order."""
    members = []
    for member in archive:  # one after the other: behind one of fewer than no bytes, Python would read it anew for ever
        if member.size < 0:
            raise ValueError(f"{source}: {member.name!r} has {member.size} bytes, which none has")
        members.append(member)
    if not members or members[0].name != MANIFEST or not members[0].isreg():
        raise ValueError(
            f"{source} is not a bundle: it does not begin with {MANIFEST}. Make one: spikevaediff assets bundle"
        )
    entries, found = _entries(archive, members[0], source), dict[str, tarfile.TarInfo]()
    size = source.stat().st_size
    for member in members[1:]:
        name = member.name.removeprefix(FILES)
        if not member.isreg() or member.issparse():
            raise ValueError(f"{source}: {member.name} is {_kind(member)}, and a bundle holds only files")
        if not member.name.startswith(FILES) or name not in entries:
            raise ValueError(f"{source}: {member.name} is not listed in its {MANIFEST}")
        if name in found:
            raise ValueError(f"{source}: {member.name} is there twice")
        if member.size != entries[name].bytes:
            raise ValueError(f"{source}: {member.name} has {member.size} bytes, listed are {entries[name].bytes}")
        if member.offset_data + member.size > size:
            raise ValueError(f"{source} was cut off in {member.name}. Copy it again")
        found[name] = member
    if missing := [name for name in entries if name not in found]:
        raise ValueError(f"{source} was cut off: {missing[0]} is listed and not there. Copy it again")
    return [(entry, found[name]) for name, entry in entries.items()]


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {"a link": member.issym() or member.islnk(), "a folder": member.isdir(), "a device": member.isdev()}
    return next((kind for kind, holds in kinds.items() if holds), "of an unusual kind")


def _entries(archive: tarfile.TarFile, member: tarfile.TarInfo, source: Path) -> dict[str, Entry]:
    """The manifest, by path."""
    if member.size > _LARGEST_MANIFEST:
        raise ValueError(f"{source}: its {MANIFEST} has {member.size} bytes, which none has")
    content = archive.extractfile(member)
    assert content is not None  # of a regular file there is one
    try:
        said = json.loads(content.read())
        version, rows = said["version"], [_entry(row) for row in said["files"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{source}: its {MANIFEST} is damaged ({' '.join(str(error).split())})") from error
    if version != VERSION:
        raise ValueError(f"{source} is a bundle of version {version!r}, expected {VERSION}. Make it anew")
    places, folders = {assets.location(name): name for name in assets.ASSETS}, _of_datasets()
    for row in rows:
        _refuse_place(row, source, places.get(assets.cache_dir() / row.path), folders)
    lowered = Counter(row.path.casefold() for row in rows)  # of which some file systems make one file
    if twice := [path for path, n in lowered.items() if n > 1]:
        raise ValueError(f"{source}: its {MANIFEST} lists {twice[0]} twice")
    # Behind "a/", in order, comes what begins with it.
    for above, below in pairwise(sorted(path + "/" for path in lowered)):
        if below.startswith(above):
            raise ValueError(
                f"{source}: its {MANIFEST} lists {above[:-1]} as a file, and {below[:-1]} in it. Make it anew: "
                "spikevaediff assets bundle"
            )
    return {row.path: row for row in rows}


def _entry(row: dict[str, Any]) -> Entry:
    entry = Entry(**row)
    if type(entry.bytes) is not int or entry.bytes < 0 or not isinstance(entry.path, str):
        raise ValueError(f"{row} is not a file")
    if not isinstance(entry.sha256, str) or not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise ValueError(f"{entry.path} has no sha256")
    return entry


def _refuse_place(entry: Entry, source: Path, name: str | None, folders: Sequence[str]) -> None:
    """Refuse a file that is neither the asset `name` nor of a data set, and one whose sha256 is not the known one.

    The cache also holds compiled programs and notes of what is right, which nobody else may bring.
    """
    path = PurePosixPath(entry.path)
    plain = not path.is_absolute() and ".." not in path.parts and path.as_posix() == entry.path
    if not plain or "\\" in entry.path:
        raise ValueError(f"{source}: {entry.path!r} leads out of the cache")
    if not entry.path.isprintable():
        raise ValueError(f"{source}: {entry.path!r} holds what no terminal shows")
    if name is None and (len(path.parts) < 2 or path.parts[0] not in folders or path.name.startswith(".")):
        raise ValueError(f"{source}: {entry.path} is neither an asset nor a file of a data set")
    if name is not None and (known := assets.expected_sha256(name)) and not entry.sha256.startswith(known):
        raise ValueError(f"{source}: {entry.path} has sha256 {entry.sha256}, expected {known}, which {name} must have")


def _asset_at(path: str) -> str | None:
    """The asset whose file lies there, None where it is not an asset's."""
    cache = assets.cache_dir()
    return next((name for name in assets.ASSETS if assets.location(name) == cache / path), None)


def _of_datasets() -> list[str]:
    """Data sets that keep files in the cache, in a folder of their name."""
    return [n for n in modules("datasets") if hasattr(importlib.import_module(f"spikevaediff.datasets.{n}"), "cached")]


def _there(entry: Entry, cache: Path, source: Path) -> bool:
    """Whether the cache has the file; other bytes are never replaced."""
    path = cache / entry.path
    if not path.exists():
        return False
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{path} is not a file, and {source} holds one for it")
    if path.stat().st_size == entry.bytes and sha256_of(path) == entry.sha256:
        return True
    raise ValueError(f"{path} has other bytes than {source}. If those of the bundle are right, delete it and try again")


def _unpack(archive: tarfile.TarFile, member: tarfile.TarInfo, entry: Entry, cache: Path, source: Path) -> None:
    if not (cache / entry.path).resolve().is_relative_to(cache.resolve()):  # a folder of the cache is a link
        raise ValueError(f"{source}: {entry.path} is not unpacked, since {cache / entry.path} leads out of {cache}")
    if hasattr(tarfile, "data_filter"):  # Python from 3.11.4 on looks as well
        tarfile.data_filter(member.replace(name=entry.path), str(cache))
    content, digest = archive.extractfile(member), hashlib.sha256()
    assert content is not None
    with replacing(cache / entry.path) as temporary:
        with content, temporary.open("wb") as file:
            while chunk := content.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != entry.sha256:
            raise ValueError(
                f"{source}: {member.name} has sha256 {digest.hexdigest()}, expected {entry.sha256}: it was damaged. It "
                "was not kept; copy the bundle again"
            )
