"""Files of which nobody publishes a hash: that of the first use is noted, and later uses are compared with it."""

import sys
from pathlib import Path

from spikevaediff.files.atomic import replacing
from spikevaediff.files.checksums import sha256_of


def check(path: Path, noted: Path, *, since: str = "when it was first used") -> str:
    """Compare a file with the sha256 of its first use, which is noted where there is none.

    Parameters
    ----------
    path : Path
        The file.
    noted : Path
        Holds, or gets, its sha256.
    since : str
        What the message says of the time when it was noted.

    Returns
    -------
    str
        The sha256.

    Raises
    ------
    ValueError
        The file is another one than at first.
    """
    found = sha256_of(path)
    known = noted.read_text(encoding="utf-8").strip() if noted.is_file() else None
    if known not in (None, found):
        raise ValueError(
            f"{path} has sha256 {found}, {since} it had {known}: it was altered or is damaged. "
            f"Delete it, and it is fetched again by the same command; or, if you replaced it on purpose, delete {noted}"
        )
    if known is None:
        try:
            with replacing(noted) as temporary:
                temporary.write_text(found + "\n", encoding="utf-8")
        except OSError as error:
            print(
                f"the sha256 of {path} cannot be noted ({error}), so its next use is not compared with this one",
                file=sys.stderr,
            )
    return found
