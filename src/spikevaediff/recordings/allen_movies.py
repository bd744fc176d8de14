"""The natural movies of the Allen Brain Observatory: where their frames are, and which part of them scenes cover.

A template is a NumPy file, whatever its name says: uint8 (n_frames, 304, 608). Geometry, from AllenSDK's stimulus_info
(monitor of 1200 x 1920 px; scenes of 918 x 1174 shown pixel for pixel, movies enlarged to 1080 x 1920, both centred):
a scene covers rows 141 to 1059 and columns 373 to 1547 of the monitor, and so of a frame

    rows (141 - 60) 304 / 1080 = 22.8 to (1059 - 60) 304 / 1080 = 281.2,  columns 373 608 / 1920 = 118.1 to 489.9.

It was written for the two-photon rig, whose monitor is of the same size; hence the part is an option.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from spikevaediff.recordings import movies
from spikevaediff.records import Stimuli


class Template(NamedTuple):
    """What is known of a movie: its number in AllenSDK, its frames, and how often a session shows it."""

    number: int
    n_frames: int
    n_repeats: int

    @property
    def file(self) -> str:
        """Its name in the bucket and in AllenSDK's cache."""
        return f"natural_movie_templates/natural_movie_{self.number}.h5"

    @property
    def about(self) -> int:
        """Bytes, but for those of the header."""
        return self.n_frames * HEIGHT * WIDTH


HEIGHT, WIDTH = 304, 608
TEMPLATES = {"natural_movie_one": Template(1, 900, 20), "natural_movie_three": Template(3, 3600, 10)}


def check_part(rows: Sequence[float], columns: Sequence[float]) -> None:
    """Refuse a part that is none of a frame, before anything is fetched.

    Raises
    ------
    ValueError
        Not two numbers within the frame, the first below the second.
    """
    for name, part, most in (("rows", rows, HEIGHT), ("columns", columns, WIDTH)):
        if len(part) != 2 or not 0 <= part[0] < part[1] <= most:
            raise ValueError(
                f"datasets.allen.movie_{name} is {list(part)}, expected [first, last] of the {most} {name} of a frame"
            )


def read(name: str, path: Path, rows: Sequence[float], columns: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """The part of every frame that falls where scenes are shown, squashed to a square as scenes are.

    Parameters
    ----------
    name : str
        natural_movie_one or natural_movie_three.
    path : Path
        Its template.
    rows, columns : [first, last]
        Of a frame; edges of pixels, not whole numbers as a rule.

    Returns
    -------
    image_id : int64, (n_frames,); as from movies.frame_ids
    pixels : uint8, (n_frames, SIZE_PX, SIZE_PX)

    Raises
    ------
    ValueError
        The file is damaged, or holds other frames than are known.
    """
    expected = (TEMPLATES[name].n_frames, HEIGHT, WIDTH)
    try:
        frames = np.load(path, mmap_mode="r", allow_pickle=False)
    except PermissionError:
        raise  # it is not damaged
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"{path} is not a NumPy file or damaged ({error}). Delete it, and it is fetched again by the same command"
        ) from error
    if frames.shape != expected or frames.dtype != np.uint8:
        raise ValueError(f"{path} holds {frames.dtype} {frames.shape}, expected uint8 {expected} (frame, row, column)")
    box = (columns[0], rows[0], columns[1], rows[1])
    size = (movies.SIZE_PX, movies.SIZE_PX)
    pixels = [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BICUBIC, box)) for one in frames]
    return movies.frame_ids(name, len(frames)), np.stack(pixels)


def frames(paths: dict[str, Path], source: str, rows: Sequence[float], columns: Sequence[float]) -> Stimuli:
    """All frames of some movies, by the name of each; parameters and errors as `read`."""
    if not paths:
        return movies.no_frames(source)
    found = [read(name, path, rows, columns) for name, path in paths.items()]
    return Stimuli(source, *map(np.concatenate, zip(*found, strict=True)))
