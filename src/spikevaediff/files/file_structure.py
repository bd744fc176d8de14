"""Whether a file is whole, by what it says of itself: for files whose publisher states no checksum.

A zip archive, which files of torch are, holds a CRC of each member; safetensors say where the last tensor ends; JSON
ends with its bracket. None of it says that the file is the one that was meant, only that it was not cut off or damaged
since it was written.
"""

import json
import struct
import zipfile
import zlib
from pathlib import Path

# How files of torch begin that are not archives (before version 1.6): pickles of protocol 2.
_OLD_TORCH = b"\x80\x02"


def fault(path: Path) -> str | None:
    """What is wrong with the structure of a file, None where nothing is.

    Parameters
    ----------
    path : Path
        Its suffix says what it should be: .json, .safetensors, .pth, .pt, .th, .tar (of torch); others are not looked
        into.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    try:
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            return _of_safetensors(path)
        elif path.suffix in (".pth", ".pt", ".th", ".tar"):
            if not zipfile.is_zipfile(path):
                with path.open("rb") as file:
                    return None if file.read(2) == _OLD_TORCH else "it is not a file of torch, or was cut off"
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    return f"its member {damaged} does not have the checksum that the archive states"
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        return f"it is damaged ({' '.join(str(error).split())[:200]})"
    return None


def _of_safetensors(path: Path) -> str | None:
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= path.stat().st_size - 8:
            return "it is not a file of safetensors, or was cut off"
        header = json.loads(file.read(length))
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    size = path.stat().st_size
    return None if size == expected else f"it has {size} bytes, and its header states {expected}"
