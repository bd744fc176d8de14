"""Files of arrays, and the checks of what is read from them."""

import os
import struct
import zlib
from dataclasses import fields
from pathlib import Path
from typing import IO, Literal, Self
from zipfile import BadZipFile, ZipFile

import numpy as np

from spikevaediff.files.atomic import replacing

# What NumPy raises for a damaged npz. RuntimeError, zlib.error: a changed byte can look like encryption or compression.
# TypeError: it is not an archive.
DAMAGED = (BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, TypeError)


def require(condition: object, message: str) -> None:
    """ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def same_length(record: str, **columns: np.ndarray) -> None:
    """ValueError, with the lengths, unless all columns of a record have the same."""
    lengths = {name: len(column) for name, column in columns.items()}
    require(len(set(lengths.values())) <= 1, f"{record}: columns differ in length: {lengths}")


def unique(record: str, name: str, ids: np.ndarray) -> None:
    """ValueError, with the first that occur more than once, unless all ids, (n,), or rows of them, (n, k), differ."""
    values, counts = np.unique(ids, axis=0, return_counts=True)
    repeated = values[counts > 1]
    require(len(repeated) == 0, f"{record}: {name} must be unique, but {repeated[:5].tolist()} occur more than once")


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npz without pickle, by name.

    Numbers of 16 bit, which only recordings of gigabytes have, stay in the file and are mapped into memory.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent, a folder, or damaged (npz carries a checksum for each array).
    """
    path = Path(path)
    require(not path.is_dir(), f"{path} is a folder, expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro")
    with path.open("rb") as raw:
        try:
            with np.load(raw, allow_pickle=False) as file, ZipFile(raw) as archive:
                half = {name: _mapped(path, archive, name) for name in file.files if _is_half(archive, name)}
                return {name: half[name] if name in half else file[name] for name in file.files}
        except DAMAGED as error:
            require(path.suffix == ".npz", f"{path} is no npz file, as np.savez writes them")
            cure = "Delete it and run: dvc repro" if "artifacts" in path.absolute().parts else "Write it again"
            raise ValueError(f"{path} is damaged ({error}). {cure}") from error


def _is_half(archive: ZipFile, name: str) -> bool:
    if f"{name}.npy" not in archive.namelist():
        return False  # a damaged name, of which NumPy says more
    with archive.open(f"{name}.npy") as member:
        return _header(member)[2] == np.float16


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns lie together, and type of an npy whose numbers follow."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _mapped(path: Path, archive: ZipFile, name: str) -> np.ndarray:
    """An array that stays in its npz, in which np.savez does not compress it; writing to it changes no file."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        while member.read(1 << 24):  # compares the checksum
            pass
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)  # lengths of name and extra field, before the content: zip's local header
        raw.seek(sum(struct.unpack("<HH", raw.read(4))), os.SEEK_CUR)
        shape, by_column, kind = _header(raw)
        order: Literal["F", "C"] = "F" if by_column else "C"
        return np.memmap(path, kind, "c", raw.tell(), shape, order).view(np.ndarray)


class Npz:
    """Save and load for the records below: one array per field, names and dtypes kept."""

    def save(self, path: str | Path) -> None:
        """Write all fields to an npz that is there whole or not at all.

        Raises
        ------
        ValueError
            The name does not end in .npz, or is that of a folder.
        """
        require(Path(path).suffix == ".npz", f"{path} does not end in .npz, as the name of a record must")
        require(not Path(path).is_dir(), f"{path} is a folder, expected the name of a file to write")
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a record.

        Raises
        ------
        FileNotFoundError, ValueError
            The file is absent, damaged or holds other fields.
        """
        path = Path(path)
        arrays = read_npz(path)
        names = {f.name: f.type for f in fields(cls)}  # type: ignore[arg-type]
        require(
            set(arrays) == set(names),
            f"{path} holds {sorted(arrays)}, expected the fields of {cls.__name__}: {sorted(names)}"
            + ". Run: dvc repro" * ("artifacts" in path.absolute().parts),
        )
        return cls(**{name: array.item() if names[name] in (str, "str") else array for name, array in arrays.items()})
