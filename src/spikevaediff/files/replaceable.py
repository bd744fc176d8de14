"""What a command would write over: a folder that holds the work of others, or a folder in place of a file."""

import re
from pathlib import Path


def check_ours(folder: str | Path, names: str) -> None:
    """Refuse a folder that a command would replace whole, where it holds what the command did not write.

    Parameters
    ----------
    folder : str or Path
        Need not exist.
    names : str
        Regular expression for what the command writes into it.

    Raises
    ------
    ValueError
        It holds something else, or is a file. The message names it.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file, expected a folder to write. Name a new one")
    there = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if others := [name for name in there if not re.fullmatch(names, name)]:
        raise ValueError(
            f"{folder} would be replaced whole, and holds {others[0]}, which this command did not write "
            f"({len(others)} such). Name a new folder"
        )


def check_file(path: str | Path, such_as: str, *, suffix: str = "") -> None:
    """Refuse a folder, or a file of another kind, where a command writes a file, before anything is computed.

    Parameters
    ----------
    path : str or Path
        Need not exist.
    such_as : str
        The name of such a file, for the message.
    suffix : str
        What its name must end with; by default anything.

    Raises
    ------
    ValueError
        It is a folder, or ends with something else.
    """
    if Path(path).is_dir():
        raise ValueError(f"{path} is a folder, expected the name of a file to write: {Path(path) / such_as}, say")
    if suffix and Path(path).suffix != suffix:
        raise ValueError(f"{path} does not end in {suffix}, expected a file to write such as {such_as}")
