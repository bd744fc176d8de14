"""Numbers of an earlier run, which must not stay beside parameters and data that they were not computed from."""

from pathlib import Path
from typing import Any

# The stages whose results Git keeps. A run that ends at an earlier stage, because it was told to or failed, must not
# leave them.
SHOWN = ("report",)


def withdraw(pipeline: dict[str, Any]) -> int:
    """Remove what these stages wrote, which they will write again, and say how many files that were."""
    every = [path for out in shown(pipeline) for path in ([out] if not out.is_dir() else sorted(out.rglob("*")))]
    there = [path for path in every if path.is_file()]
    for path in there:
        path.unlink()
    return len(there)


def shown(pipeline: dict[str, Any]) -> list[Path]:
    """The outputs of the stages that show numbers, as dvc.yaml lists them."""
    kinds = [pipeline["stages"][name].get(kind, []) for name in SHOWN for kind in ("metrics", "plots", "outs")]
    return [Path(out if isinstance(out, str) else next(iter(out))) for outs in kinds for out in outs]
