"""What tells one file from another: its size, and checksums as publishers and servers state them."""

import hashlib
import re
from functools import cache
from pathlib import Path

# Sizes of parts in which files are sent to Amazon S3, MiB: defaults of the usual programs.
_PARTS_MIB = (8, 16, 5, 64, 100)
_CHUNK = 1 << 20


def size_text(n_bytes: int) -> str:
    """A size for people: 9315422 is "9.3 MB" (MB = 10^6 bytes)."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.3g} {name}"
    return f"{n_bytes} bytes"


def sha256_of(path: Path) -> str:
    """sha256 of a file in hexadecimal; computed once per process, anew when size or time of the file change."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(path: Path, kind: str) -> str:
    """Digest of a file in hexadecimal, by the name that hashlib has for it: "md5"."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def git_sha1_of(path: Path) -> str:
    """What Git calls a file: the SHA-1 of "blob", its size and its bytes."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def agrees_with_etag(path: Path, etag: str) -> bool | None:
    """Whether a file has the MD5 that Amazon S3 states in an ETag; None where the ETag states none that can be checked.

    An object that was sent whole has its MD5 as its ETag, one that was sent in n parts the MD5 of the MD5s of the parts
    and "-n". The size of the parts is not stated: the usual ones are tried, and only an agreement says anything.
    """
    match = re.fullmatch(r'"?([0-9a-f]{32})(?:-(\d+))?"?', etag)
    if match is None:
        return None
    if match[2] is None:
        return digest(path, "md5") == match[1]
    size, n_parts = path.stat().st_size, int(match[2])
    for part in (mib << 20 for mib in _PARTS_MIB if -(-size // (mib << 20)) == n_parts):
        with path.open("rb") as file:
            digests = b"".join(hashlib.md5(file.read(part)).digest() for _ in range(n_parts))
        if hashlib.md5(digests).hexdigest() == match[1]:
            return True
    return None
