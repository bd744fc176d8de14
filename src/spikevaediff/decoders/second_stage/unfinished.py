"""Where finished images of a run of the second stage are kept until all are there."""

import hashlib
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.files import assets


def folder(run: str, guides: Guides, options: Mapping[str, Any], decode: Callable[..., Any]) -> Path:
    """A folder for the images of a run.

    In the user's cache, since the folder of a queued experiment goes with it, and under a name of what decides them, so
    that two experiments do not meet: the same wherever the checkout is. Beside the results where the cache is not ours.

    Parameters
    ----------
    run : str
    guides : Guides
    options : mapping
        Of versatile_diffusion.samples, those that decide a result.
    decode : callable
        What makes the images. Those that another version of its module finished are made again, and those of other code
        that the stage reaches.
    """
    named = {name: value.name if isinstance(value, Path) else str(value) for name, value in options.items()}
    digest = hashlib.sha256(repr(sorted(named.items())).encode())
    for array in (guides.image_id, guides.start, guides.vision, guides.text):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    for code in (Path("artifacts/code/decode_diffusion"), Path(inspect.getfile(decode))):
        digest.update(code.read_bytes() if code.is_file() else b"")  # the first is written by the stage `start`
    found = assets.cache_dir() / "diffusion" / f"{run}-{digest.hexdigest()[:16]}"
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path("artifacts/kept") / run
    return found if os.access(found, os.W_OK) else Path("artifacts/kept") / run
