"""A movie that the simulated mouse watches after the images: a window that pans over photographs, one after another."""

from typing import NamedTuple

import numpy as np

from spikevaediff.images import resize
from spikevaediff.recordings.nwb_writer import MoviePresentations

NAME = "natural_movie_one"
N_FRAMES = 900  # as many as that of the Allen Institute
FRAMES_PER_FRAME = 2  # of a 60 Hz monitor: 30 frames a second
SIZE_PX = 128
N_SHOTS = 30  # of a second each, every one of another photograph
_WINDOW = 0.7  # side of the window, in sides of the photograph


def pan(crops: list[np.ndarray], seed: int) -> np.ndarray:
    """The frames of the movie.

    Parameters
    ----------
    crops : list of uint8, (side, side)
        Of which N_SHOTS are taken, evenly spread; a window moves over each from one corner to another.
    seed : int
        Of the corners.

    Returns
    -------
    uint8, (N_FRAMES, SIZE_PX, SIZE_PX)

    Raises
    ------
    ValueError
        There are fewer crops than shots.
    """
    if len(crops) < N_SHOTS:
        raise ValueError(f"a movie of {N_SHOTS} shots needs as many training crops, there are {len(crops)}")
    n, rng = N_FRAMES // N_SHOTS, np.random.default_rng([seed, 2])
    found = []
    for number in np.linspace(0, len(crops) - 1, N_SHOTS).round().astype(int):
        crop = crops[number]
        side = round(_WINDOW * len(crop))
        corner = rng.integers(0, 2, 2)
        towards = np.where(rng.permutation(2), corner, 1 - corner)  # along one axis
        path = np.linspace(corner, towards, n) * (len(crop) - side)
        found += [resize(crop[None, y : y + side, x : x + side], SIZE_PX) for y, x in path.round().astype(int)]
    return np.concatenate(found)


class Screening(NamedTuple):
    """When the movie is shown: again and again, without a break.

    presentations : MoviePresentations, of the session file.
    slot : int64, (n_presentations,); as many as are within the time of an image have one number.
    n_slots : int
    """

    presentations: MoviePresentations
    slot: np.ndarray
    n_slots: int


def screening(n_frames: int, n_repeats: int, *, first: int, frames_per_slot: int) -> Screening:
    """Show n_frames n_repeats times from the monitor's frame `first`; see `Screening`."""
    number = np.arange(n_frames * n_repeats)
    start = first + FRAMES_PER_FRAME * number
    shown = MoviePresentations(
        frame=number % max(n_frames, 1),
        block=np.ones(len(number), np.int64),
        frames=np.column_stack([start, start + FRAMES_PER_FRAME]),
    )
    slot = number * FRAMES_PER_FRAME // frames_per_slot
    return Screening(shown, slot, int(slot[-1]) + 1 if len(slot) else 0)
