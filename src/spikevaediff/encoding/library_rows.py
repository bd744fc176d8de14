"""The rows of the library that a regression takes: its first images, and features of none where it takes none."""

import numpy as np

from spikevaediff.records import Features, Stimuli


def first(images: Stimuli, n: int, space: str) -> Stimuli:
    """The first n images of a library, whose features regress.<space>.library asks for.

    Raises
    ------
    ValueError
        The library has fewer, or n is below 0.
    """
    if not 0 <= n <= len(images.image_id):
        raise ValueError(
            f"params.yaml: regress.{space}.library is {n}, expected 0 to {len(images.image_id)}, the number of images "
            f"in the library ({images.source}; library.n_images)"
        )
    return Stimuli(images.source, images.image_id[:n], images.pixels[:n])


def no_features(space: str) -> Features:
    """Features of no image, where a regression takes no row of the library."""
    return Features(space, np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty(0, str), np.empty(0, np.int64))
