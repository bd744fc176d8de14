"""What a command would write over: pictures or a file of somebody's own, or a place where nothing can be written."""

import os
import re
from pathlib import Path

MARK = ".spikevaediff"  # in a folder that a command wrote, and replaces whole: names the command


def check_ours(folder: str | Path, command: str, names: str) -> None:
    """Refuse a folder that a command would replace whole, unless the command wrote all that is in it.

    Parameters
    ----------
    folder : str or Path
        Need not exist.
    command : str
        Which put its mark there (`mark`).
    names : str
        Regular expression for what the command writes into it.

    Raises
    ------
    ValueError
        It holds something else, is a file, or cannot be written. The message names it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write. Name a new one")
    check_place(folder)
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    mark = folder / MARK
    ours = mark.is_file() and mark.read_text(encoding="utf-8").split("\n")[0] == command
    if others := [name for name in there if not (ours and (name == MARK or re.fullmatch(names, name)))]:
        raise ValueError(
            f"{folder} would be replaced whole, and holds {others[0]}, which this command did not write "
            f"({len(others)} such). Name a new folder"
        )


def mark(folder: Path, command: str) -> None:
    """Say in a new folder which command wrote it."""
    text = f"{command}\nThe next `spikevaediff {command}` into this folder replaces all of it.\n"
    (folder / MARK).write_text(text, encoding="utf-8")


def check_file(path: str | Path, such_as: str, *, suffix: str = "", first: str = "") -> None:
    """Refuse what a command cannot or should not write as a file, before anything is computed.

    Parameters
    ----------
    path : str or Path
        Need not exist.
    such_as : str
        The name of such a file, for the message.
    suffix : str
        What its name must end with; by default anything.
    first : str
        What a file that is there, and is replaced, must begin with; by default anything.

    Raises
    ------
    ValueError
        It is a folder, ends or begins with something else, or cannot be written.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder, expected the name of a file to write: {path / such_as}, say")
    if suffix and path.suffix != suffix:
        raise ValueError(f"{path} does not end in {suffix}, expected a file to write such as {such_as}")
    check_place(path)
    if first and path.is_file() and not path.read_bytes().startswith(first.encode()):
        raise ValueError(f"{path} is there and was not written by this command. Name a new file, such as {such_as}")


def check_place(path: Path) -> None:
    """Refuse a place where this user can put nothing.

    Raises
    ------
    ValueError
        The nearest folder above that is there may not be written, or is a file.
    """
    above = path.absolute().parent
    while not os.path.lexists(above):
        above = above.parent
    if not above.is_dir():
        raise ValueError(f"{path} cannot be written: {above} is a file")
    if not os.access(above, os.W_OK | os.X_OK):
        raise ValueError(f"{path} cannot be written: this user may put nothing into {above}. Name another place")
