"""The disk of a folder that may not be there yet."""

import shutil
from pathlib import Path


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    while not folder.exists():
        folder = folder.parent
    return folder


def free_bytes(folder: Path) -> int:
    """What is free where the folder is, or would be made."""
    return shutil.disk_usage(existing(folder)).free
