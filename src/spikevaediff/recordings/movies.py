"""Movies that the units of a session saw besides the scenes: rows for training, which are never tested.

A row is a few consecutive frames, averaged to one picture, and the mean response to them over all showings of the
movie, counted from the onset of the first. Frames last 33 ms and follow one another without a gap, so that neighbouring
rows are alike in picture and response: what is left out to choose a penalty must be real scenes, or whole stretches of
time (`blocks`), and never single rows.
"""

from collections.abc import Sequence

import numpy as np

from spikevaediff.records import Responses, Stimuli

NAMES = ("natural_movie_one", "natural_movie_three")
FIRST_ID = 2_000_000  # of frames; no data set and no library counts that far
_APART = 100_000  # from the ids of one movie to those of the next
SIZE_PX = 128


def frame_ids(name: str, n_frames: int) -> np.ndarray:
    """The ids of the frames of a movie, int64 (n_frames,).

    Raises
    ------
    ValueError
        A movie of another name.
    """
    if name not in NAMES:
        raise ValueError(f"there is no movie {name!r}; there are {', '.join(NAMES)}")
    return FIRST_ID + _APART * NAMES.index(name) + np.arange(n_frames)


def no_frames(source: str) -> Stimuli:
    """Frames of no movie, for a data set that shows none."""
    return Stimuli(source, np.empty(0, np.int64), np.empty((0, SIZE_PX, SIZE_PX), np.uint8))


def pictures(frames: Stimuli, frames_per_row: int) -> Stimuli:
    """The picture of every row, under the id of its first frame.

    Parameters
    ----------
    frames : Stimuli
        Of one or several movies, ids as from `frame_ids`.
    frames_per_row : int
        A rest of fewer frames at the end of a movie makes no row.

    Returns
    -------
    Stimuli
        Means over frames, rounded.

    Raises
    ------
    ValueError
        frames_per_row is below 1, or a movie is shorter.
    """
    if frames_per_row < 1:
        raise ValueError(f"movies.frames_per_row is {frames_per_row}, expected 1 or more")
    image_id, means = [], []
    for _, of_movie in by_movie(frames.image_id):
        n = len(of_movie) // frames_per_row
        if not n:
            raise ValueError(
                f"movies.frames_per_row is {frames_per_row}, more than the {len(of_movie)} frames of the movie"
            )
        rows = of_movie[: n * frames_per_row].reshape(n, frames_per_row)
        image_id.append(frames.image_id[rows[:, 0]])
        means += [frames.pixels[row].mean(0, dtype=np.float64) for row in rows]
    if not means:
        return frames
    return Stimuli(frames.source, np.concatenate(image_id), np.round(means).astype(np.uint8))


def by_movie(image_id: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The name of each movie and the positions of its frames, int64 (n_frames,), in the order of the movie."""
    number = (image_id - FIRST_ID) // _APART
    found = []
    for each in np.unique(number).tolist():
        rows = np.flatnonzero(number == each)
        found.append((NAMES[each], rows[np.argsort(image_id[rows])]))
    return found


def names(image_id: np.ndarray) -> list[str]:
    """The movies of these frames or rows."""
    return [name for name, _ in by_movie(image_id)]


def blocks(image_id: np.ndarray, n_blocks: int) -> np.ndarray:
    """Contiguous parts of each movie, int64 (n_rows,): rows of one block are left out together or not at all.

    Parameters
    ----------
    image_id : int64, (n_rows,)
        Of rows.
    n_blocks : int
        Of every movie; as equal as can be.

    Raises
    ------
    ValueError
        More blocks than a movie has rows, or fewer than 2.
    """
    found = np.empty(len(image_id), np.int64)
    for number, (name, rows) in enumerate(by_movie(image_id)):
        if not 2 <= n_blocks <= len(rows):
            raise ValueError(f"movies.n_blocks is {n_blocks}, expected 2 to {len(rows)}, the number of rows of {name}")
        found[rows] = number * n_blocks + np.arange(len(rows)) * n_blocks // len(rows)
    return found


def refuse_shown(pictures: Stimuli, scenes: Stimuli, pairs: np.ndarray) -> None:
    """Refuse frames or rows that show what a scene shows: training on a copy of a tested image would be a leak.

    Parameters
    ----------
    pictures, scenes : Stimuli
    pairs : int64, (n_pairs, 3)
        As from split.near_copies of their pixels.

    Raises
    ------
    ValueError
        Names them.
    """
    if len(pairs):
        told = [
            f"frame {int(pictures.image_id[row] - FIRST_ID) % _APART} of {names(pictures.image_id[[row]])[0]} and "
            f"image_id {scenes.image_id[other]} ({bits} hash bits differ)"
            for row, other, bits in pairs[:8].tolist()
        ]
        more = f" and {len(pairs) - 8} more" if len(pairs) > 8 else ""
        raise ValueError(
            f"movies leak what is tested: {'; '.join(told)}{more} are near-duplicates. Take the movie "
            f"out of the options of the data set"
        )


def of_window(window_s: np.ndarray, start_s: float) -> np.ndarray:
    """The window in which responses to rows are counted: as long as that of the scenes, from another start.

    Parameters
    ----------
    window_s : float64, (n_windows, 2)
        Of the scenes.
    start_s : float
        After the onset of the first frame.

    Returns
    -------
    float64, (1, 2)

    Raises
    ------
    ValueError
        The scenes have several time bins: a stretch of a movie has no onset to which they could belong.
    """
    if len(window_s) != 1:
        raise ValueError(
            f"responses.n_bins is {len(window_s)}, but movies go with one time bin: a stretch of a movie has no onset. "
            f"-S responses.n_bins=1, or leave movies out of the data set's options"
        )
    return start_s + window_s - window_s[0, 0]


def for_training(pictures: Stimuli, watched: Responses, *, train: bool) -> tuple[Stimuli, Responses] | None:
    """Rows that are to be learnt from, as fit_folds.fit takes them; None where params.yaml wants none.

    Raises
    ------
    ValueError
        It wants them, and the data set shows no movie.
    """
    if not train:
        return None
    if not len(pictures.image_id):
        raise ValueError(
            "params.yaml: movies.train is true, but the data set shows no movie. Set movies.train=false, or the option "
            "of the data set (movies, movie_repeats) that has them"
        )
    return pictures, watched


def centred(measured: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Measured responses at the level that models expect, float64 (n_models, n_rows, n_columns).

    A movie is shown at another time and without pauses: units fire at another mean rate for reasons that are not in
    the pictures. What is kept is how they differ between the rows of a movie.

    Parameters
    ----------
    measured : float64, (n_rows, n_columns)
    expected : float, (n_models, n_rows, n_columns)
    """
    return measured[None] - measured.mean(0) + expected.mean(1, dtype=np.float64, keepdims=True)


def chosen(options: Sequence[str], where: str) -> list[str]:
    """Names of movies as an option gives them, checked.

    Raises
    ------
    ValueError
        No list, a movie twice, or one of another name.
    """
    if isinstance(options, str) or len(set(options)) < len(options) or set(options) - set(NAMES):
        raise ValueError(f"{where} is {options!r}, expected some of {', '.join(NAMES)}, each once")
    return list(options)
