"""Which bytes the weights are that params.yaml names, as stages depend on them: a small file for each use.

`start` writes them to artifacts/weights. Other bytes under the same path rerun the stages that read them, and no other.
An edit below vendor/ runs `start`; after one elsewhere, `dvc repro -f -s start` comes first. Assets stand there by
name: their bytes never change.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikevaediff.files.atomic import replacing
from spikevaediff.files.checksums import sha256_of
from spikevaediff.parameters.options import is_weights

FOLDER = "artifacts/weights"
FIRST_STAGE = "vdvae"  # the space that every run needs; the others belong to the second stage


def write_weights(root: Path, params: Mapping[str, Any]) -> None:
    """A file for every space of the chosen model, and one for captions, of one line per weight file.

    Parameters
    ----------
    root : Path
        The checkout. artifacts/weights is replaced.
    params : mapping
        params.yaml, in which `check` found nothing wrong.

    Raises
    ------
    FileNotFoundError
        A file or folder that the run would read is not there; the message names the parameter.
    """
    model = params["model"]
    named = {
        space: {key: value for key, value in options.items() if is_weights(key, value)}
        for space, options in params["models"][model].items()
    }
    sections = {space: f"models.{model}.{space}" for space in named} | {"captions": "captions"}
    named["captions"] = {"model": params["captions"]["model"]}
    wanted = set(named) if params["parts"]["second_stage"] else {FIRST_STAGE}
    with replacing(root / FOLDER, folder=True) as temporary:
        for use, values in named.items():
            lines = []
            for key, value in sorted(values.items()):
                found = content(value, root)
                if found is None and use in wanted:
                    raise FileNotFoundError(f"{sections[use]}.{key} is {value}, where there is no file")
                lines.append(f"{key} {found or 'nothing'}\n")
            (temporary / use).write_text("".join(lines), encoding="utf-8")


def is_path(value: str) -> bool:
    """Whether weights are named by a path, or else by an asset."""
    return "/" in value or os.sep in value


def content(value: str, root: Path) -> str | None:
    """The name of an asset; or the sha256 of a file, or of the names and bytes of all files in a folder.

    None where there is neither.
    """
    if not is_path(value):
        return f"asset {value}"
    path = root / Path(value).expanduser()
    if path.is_file():
        return f"sha256 {sha256_of(path)}"
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    lines = [f"{sha256_of(file)}  {file.relative_to(path).as_posix()}\n" for file in files]
    return f"sha256 {hashlib.sha256(''.join(lines).encode()).hexdigest()}"
