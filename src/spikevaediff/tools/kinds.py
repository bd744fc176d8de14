"""Files of another kind than a command takes, told by the arrays that they hold."""

from pathlib import Path
from zipfile import BadZipFile, ZipFile


def refuse_table(path: str | Path) -> None:
    """Refuse a table of responses of the plain format where a record of responses is expected."""
    if {"responses", "image_id", "unit_id"} <= _arrays(path):
        raise ValueError(
            f"{path} is a table of responses. make_responses(values, image_id, like=...).save(...) turns its arrays "
            "into what predict takes: docs/api.md"
        )


def refuse_fit(path: str | Path) -> None:
    """Refuse a regression where an encoding model is expected."""
    if {"method", "coupling"} <= _arrays(path):
        raise ValueError(
            f"{path} is a fit, which predicts features from responses, not an encoding model. Name one such as "
            "artifacts/encoders/visual/all_images.npz"
        )


def _arrays(path: str | Path) -> set[str]:
    """Names of the arrays of an npz; none where it is not there, or damaged, which its reader says."""
    try:
        with ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, BadZipFile):
        return set()
