"""Contexts without content, which guidance steers away from: those of no image and of the empty caption.

They depend on the networks of the contexts alone. Loading the networks takes longer than using them, so one stage
computes the contexts and every run of the second stage reads them.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.parameters.options import is_weights, module
from spikevaediff.records import Features

SPACES = ("vision", "text")
ID = np.array([0])  # placeholder for the image_id of other contexts


def contexts(spaces: Mapping[str, Any], weights_of: Callable[[str], Path], device: str) -> dict[str, Features]:
    """Compute the contexts.

    Parameters
    ----------
    spaces : mapping
        Sections vision and text of a model of params.yaml.
    weights_of : callable
        The weight file of an asset, or of a path.
    device : str

    Returns
    -------
    dict of space to Features
        One row, of n_tokens * width values; a group is a token.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As the modules of spikevaediff.features raise.
    """
    found = {}
    for space in SPACES:
        options = {"module": space} | spaces[space]
        extractor = module("features", options.pop("module"))
        options |= {name: weights_of(value) for name, value in options.items() if is_weights(name, value)}
        found[space] = Features.of_tokens(space, ID, extractor.unconditional(device=device, **options)[None])
    return found
