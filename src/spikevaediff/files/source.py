"""Where the files of a data set lie: in a folder of the user's, or in the user's cache, filled from an address.

SPIKEVAEDIFF_SOURCE_<NAME> names either: a folder, which is read in place, or another address of the same files. Nobody
publishes hashes of them: they must come over https, the size that the server states is compared, and the sha256 of the
first use holds from then on (first_use).
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from spikevaediff.files import first_use
from spikevaediff.files.assets import cache_dir
from spikevaediff.files.atomic import alone
from spikevaediff.files.checksums import size_text
from spikevaediff.files.download import File, download_all

_LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Source:
    """Files of one data set, by their path below the address.

    name : str; of the data set.
    folder : Path; where files lie, or would lie.
    url : str or None; None: the folder is the user's own, and nothing is fetched.
    """

    name: str
    folder: Path
    url: str | None

    @classmethod
    def of(cls, name: str, url: str) -> "Source":
        """The source that the environment names, or the publisher's.

        Raises
        ------
        FileNotFoundError, ValueError
            What the environment names is neither a folder nor an https address.
        """
        variable = f"SPIKEVAEDIFF_SOURCE_{name.upper()}"
        own = os.environ.get(variable)
        if own and "://" not in own:
            folder = Path(own).expanduser()
            if not folder.is_dir():
                raise FileNotFoundError(f"{variable} is {own}, which is neither a folder nor an address")
            return cls(name, folder, None)
        check_address(own or url)
        return cls(name, cache_dir() / name, (own or url).rstrip("/"))

    def file(self, key: str, *, about: int | None = None, url: str | None = None) -> File:
        """One file by its key; `url` where it is not below the address of the others."""
        if url is not None:
            check_address(url)
        return File(url or f"{self.url}/{key}", self.folder / key, about=about)

    def have(self, files: Sequence[File], says: str) -> dict[str, str]:
        """Fetch what is not there, and compare all of it with its first use.

        Parameters
        ----------
        files : sequence of File
        says : str
            Printed where something is fetched: licence or terms.

        Returns
        -------
        dict
            sha256 by key.

        Raises
        ------
        FileNotFoundError
            A file is not there and cannot be fetched now; what has arrived is kept.
        ValueError
            A file is another one than at its first use, or was damaged on its way.
        OSError
            Too little space, or no right to write.
        """
        lacking = [file for file in files if not file.path.is_file()]
        if lacking and self.url is None:
            raise FileNotFoundError(
                f"{lacking[0].path} does not exist ({len(lacking)} of {len(files)} files are not in {self.folder}, "
                f"which SPIKEVAEDIFF_SOURCE_{self.name.upper()} names)"
            )
        if lacking:
            with alone(cache_dir() / f"{self.name}.lock"):  # of two runs, the second waits and then finds the files
                self._fetch([file for file in lacking if not file.path.is_file()], says)
        keys = [file.path.relative_to(self.folder).as_posix() for file in files]
        noted = cache_dir() / "noted" / self.name
        return {
            key: first_use.check(file.path, noted / f"{key.replace('/', '_')}.sha256")
            for key, file in zip(keys, files, strict=True)
        }

    def _fetch(self, lacking: Sequence[File], says: str) -> None:
        if not lacking:
            return
        for file in lacking:  # of a file that was deleted since
            key = file.path.relative_to(self.folder).as_posix().replace("/", "_")
            (cache_dir() / "noted" / self.name / f"{key}.sha256").unlink(missing_ok=True)
        what = f"{len(lacking)} files, {lacking[0].path.name}{', ...' * (len(lacking) > 1)}"
        about = f" (about {size_text(sum(file.about or 0 for file in lacking))})"
        print(f"fetching {what}{about} into {self.folder}. {says}", file=sys.stderr, flush=True)
        try:
            download_all(lacking)
        except OSError as error:
            if error.errno is not None:
                raise  # of the disk
            left = next(file for file in lacking if not file.path.is_file())
            raise FileNotFoundError(
                f"{left.path.name} and others of {self.name} cannot be fetched now: {error}. With a network, run the "
                f"same command again: it continues with what has arrived; or put the files there yourself, as "
                f"{left.path}; or name a folder or an address that has them: "
                f"SPIKEVAEDIFF_SOURCE_{self.name.upper()}=..."
            ) from error


def check_address(url: str) -> None:
    """Refuse a connection that anybody can alter: no hash would tell.

    Raises
    ------
    ValueError
        The address is not https, and not of this machine.
    """
    address = urlsplit(url)
    if address.scheme != "https" and not (address.scheme == "http" and address.hostname in _LOCAL):
        raise ValueError(f"{url} is not an https address, and its files have no known hash")
