"""Terms of a data set, to which its user agrees once: they are shown, and the answer is kept in the user's cache."""

import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from spikevaediff.files.assets import cache_dir
from spikevaediff.files.atomic import replacing

ACCEPT = "SPIKEVAEDIFF_ACCEPT_TERMS"  # names of data sets, with commas


def marker(name: str) -> Path:
    """Where it is kept that this user has agreed to the terms of a data set."""
    return cache_dir() / "terms" / name


def require(name: str, address: str, points: Sequence[str]) -> None:
    """Show the terms of a data set, unless this user has agreed to these very ones, and have them accepted.

    They are accepted by the environment variable SPIKEVAEDIFF_ACCEPT_TERMS=<name>, or by an answer where somebody
    sits at a terminal.

    Parameters
    ----------
    name : str
        Of the data set.
    address : str
        Where the terms stand in full.
    points : sequence of str
        What they say.

    Raises
    ------
    PermissionError
        They were not accepted; the message says how to.
    """
    text = f"{address}\n" + "".join(f"- {point}\n" for point in points)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if marker(name).is_file() and marker(name).read_text(encoding="utf-8").startswith(digest):
        return
    print(f"Terms of {name}, in full at {text}", file=sys.stderr, end="", flush=True)
    if name not in os.environ.get(ACCEPT, "").split(",") and not _agrees():
        raise PermissionError(
            f"the terms of {name} were not accepted. Read {address}, and if you agree run the same command with "
            f"{ACCEPT}={name}, once on this machine"
        )
    with replacing(marker(name)) as temporary:
        temporary.write_text(f"{digest}\n{text}", encoding="utf-8")


def _agrees() -> bool:
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    print("I have read the terms and agree to them [yes/no]: ", file=sys.stderr, end="", flush=True)
    return sys.stdin.readline().strip().lower() == "yes"
