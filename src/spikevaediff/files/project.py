"""The files of a project: those of this checkout, or those that an installed package brings.

A project is a checkout without tests and documentation: dvc.yaml and its parameters, stages, data sets, mini weights,
and a copy of the code, on which its stages depend. setup.py reads `files_of` while it builds a wheel.
"""

import shutil
from pathlib import Path

_PLAIN = (
    "dvc.yaml",
    "params.yaml",
    "runs.yaml",
    "sweeps.yaml",
    "data.dvc",
    "constraints.txt",
    "CITATION.cff",
    "LICENSE",
)
_HIDDEN = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitattributes", ".gitignore")
_FOLDERS = ("stages", "vendor/data")
_CODE = ("loading", "vdvae", "versatile_diffusion")  # beside the package, where it is installed
_LEFT = ("__pycache__", "artifacts", "cache", "tmp", "config.local")


def files_of(root: Path) -> list[str]:
    """Paths of the files of a project below `root`, but for the code that is installed as packages."""
    found = [*_PLAIN, *_HIDDEN]
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not set(name.parts) & set(_LEFT) and not name.name.endswith((".pyc", ".tmp")):
                found.append(name.as_posix())
    return found


def home() -> Path:
    """Where the files of a project are: in the package where it was installed, else the checkout."""
    package = Path(__file__).resolve().parents[1]
    brought = package / "project"
    return brought if brought.is_dir() else package.parents[1]


def here(folder: Path) -> Path:
    """`folder` where it is a project, else `home`: commands that need no run work anywhere."""
    return folder if (folder / "params.yaml").is_file() else home()


def write(target: Path) -> int:
    """Write a project into a folder that is not there or empty.

    Returns
    -------
    int
        Number of files.

    Raises
    ------
    FileExistsError
        Something is in the folder; nothing is overwritten.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"{target} is there and not empty. Name a new folder: nothing is overwritten")
    source, package = home(), Path(__file__).resolve().parents[1]
    beside = package.parent if source == package / "project" else source / "vendor"
    pairs = [(source / name, target / name) for name in files_of(source)]
    for folder, place in ((package, "src"), *((beside / name, "vendor") for name in _CODE)):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder.parent)
            if path.is_file() and not {"__pycache__", "project"} & set(name.parts[:-1]):
                pairs.append((path, target / place / name))
    for path, written in pairs:
        written.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, written)
    return len(pairs)
