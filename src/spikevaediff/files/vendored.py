"""Whether a run sees the data set that it is asked for, all of it, as vendor/data has it now."""

import os
import subprocess
from pathlib import Path
from typing import Any


def check_data(folder: Path, name: str) -> None:
    """Refuse a data set that is not there, or of which a run beside the workspace would see only a part.

    Raises
    ------
    FileNotFoundError
        The message says what is missing, why, and how to go on.
    """
    cure = f"Let it: git add {folder / name}; or, when it is large, dvc add {folder / name}"
    workspace = Path(os.environ.get("DVC_ROOT", "."))
    # A run of `--temp` or `--queue` has a copy of what Git tracks. Files that Git does not know would be left out in
    # silence.
    if workspace.resolve() != Path().resolve():
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--others", "--", folder / name],
            cwd=workspace,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        left_out = [path for path in listed.stdout.split("\0") if path and not Path(path).exists()]
        if left_out:
            some = ", ".join(sorted(left_out)[:3]) + (", ..." if len(left_out) > 3 else "")
            raise FileNotFoundError(
                f"Git does not track {some}, so that a run outside the workspace (--temp, --queue) lacks it. {cure}"
            )
    if not (folder / name).is_dir():
        there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != "weights"))
        raise FileNotFoundError(
            f"params.yaml: dataset is {name}, but there is no folder {folder / name}; there {there}"
        )


def older_copy(imported: dict[str, Any]) -> str:
    """What to say when data/ is not vendor/data: `dvc exp run` notes the checksum of the folder without copying it."""
    if imported["deps"][0].get("md5") == imported["outs"][0].get("md5"):
        return ""
    return "; data/ is an older copy of vendor/data, which is what this run reads. To renew it: dvc repro -f data.dvc"
