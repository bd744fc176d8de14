"""The rows of the library that a regression takes: its first images, and features of none where it takes none.

Rows of movies follow them. They are pictures with measured responses in place of simulated ones, and like those of the
library they belong to the training rows of every fold and choose no penalty.
"""

import numpy as np

from spikevaediff.images import resize
from spikevaediff.recordings import movies
from spikevaediff.records import Features, LibraryResponses, Stimuli


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


def joined(images: Stimuli, rows: Stimuli) -> Stimuli:
    """The images of the library, then rows of movies, at the size of the library."""
    size_px = images.pixels.shape[1]
    return Stimuli(
        images.source,
        np.concatenate([images.image_id, rows.image_id]),
        np.concatenate([images.pixels, resize(rows.pixels, size_px)]),
    )


def with_movies(
    simulated: LibraryResponses, rows: np.ndarray, measured: np.ndarray, expected: np.ndarray
) -> LibraryResponses:
    """Responses to the library, then to rows of movies: the same for all models but for their level (movies.centred).

    Parameters
    ----------
    simulated : LibraryResponses
    rows : int64, (n_rows,)
        Ids.
    measured : float64, (n_rows, n_columns)
        Mean responses.
    expected : float32, (n_models, n_rows, n_columns)
        What the models predict for them.
    """
    values = movies.centred(measured, expected).astype(np.float32)
    return LibraryResponses(
        np.concatenate([simulated.image_id, rows]), np.concatenate([simulated.values, values], axis=1)
    )


def no_features(space: str) -> Features:
    """Features of no image, where a regression takes no row of the library."""
    return Features(space, np.empty(0, np.int64), np.empty((0, 0), np.float32), np.empty(0, str), np.empty(0, np.int64))
