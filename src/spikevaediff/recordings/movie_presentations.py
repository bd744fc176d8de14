"""When a session shows the rows of its movies; what a row is: movies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.recordings import movies, nwb, sessions
from spikevaediff.recordings.nwb import Presentations
from spikevaediff.records import Responses, few


def responses(
    paths: Sequence[Path],
    frames: np.ndarray,
    scenes: Responses,
    *,
    frames_per_row: int,
    start_s: float,
    asked: Mapping[str, Any],
) -> Responses:
    """Responses of the units of a population to the rows of movies.

    Parameters
    ----------
    paths : sequence of Path
        Sessions.
    frames : int64, (n_frames,)
        Ids of frames, as in movies.pictures; without any, there are no presentations.
    scenes : Responses
        Of the same units to the scenes.
    frames_per_row : int
    start_s : float
        See movies.of_window.
    asked : mapping
        areas, limits and min_units, as of sessions.read_population.

    Raises
    ------
    FileNotFoundError, ValueError
        As sessions.read_population, movies.of_window and `read`.
    """
    if not len(frames):
        return sessions.without_presentations(scenes)
    window_s = movies.of_window(scenes.window_s, start_s)
    return sessions.read_population(
        paths, windows_s=window_s, shown=lambda path: read(path, frames, frames_per_row), **asked
    )


def read(path: Path, frames: np.ndarray, frames_per_row: int) -> Presentations:
    """When a session shows the rows of its movies, each time: a presentation of a row is that of its first frame.

    Parameters
    ----------
    path : Path
        A session file.
    frames : int64, (n_frames,)
        Ids of frames, as in `pictures`.
    frames_per_row : int

    Returns
    -------
    Presentations
        image_id as in `pictures`, in the order of the file; stop_s that of the last frame. A showing of which a frame
        is missing, because the time is invalid for the stimulus, is left out.

    Raises
    ------
    FileNotFoundError, ValueError
        As spike_counts.read_responses; the session shows other frames, or a row never as a whole.
    """
    parts = []
    for name, of_movie in movies.by_movie(frames):
        shown = nwb.read_presentations(path, name)
        n_frames = len(of_movie)
        there = np.unique(shown.image_id)
        if unknown := np.setdiff1d(there, np.arange(n_frames)).tolist():
            raise ValueError(f"{path} shows frame {few(unknown)} of {name}, which has {n_frames} frames")
        order = np.argsort(shown.start_s, kind="stable")
        number, start_s, stop_s = shown.image_id[order], shown.start_s[order], shown.stop_s[order]
        wanted = np.arange(0, n_frames - n_frames % frames_per_row, frames_per_row)
        # Without the frames that nothing follows for long enough.
        first = np.flatnonzero(np.isin(number[: max(len(number) - frames_per_row + 1, 0)], wanted))
        steps = np.arange(frames_per_row)
        whole = np.all(number[first[:, None] + steps] == number[first][:, None] + steps, axis=1)
        # One frame follows another at once: a break in between would be a part of the picture that nobody averages.
        last = first + frames_per_row - 1
        lasts = frames_per_row * np.median(stop_s - start_s)
        first = first[whole & (stop_s[last] - start_s[first] < 1.5 * lasts)]
        if lacking := np.setdiff1d(wanted, number[first]).tolist():
            raise ValueError(
                f"{path} never shows frames {lacking[0]} to {lacking[0] + frames_per_row - 1} of {name} in a row "
                f"({len(lacking)} of {len(wanted)} such stretches). Leave the movie out"
            )
        parts.append(
            Presentations(
                shown.presentation_id[order][first],
                frames[of_movie][number[first]],
                start_s[first],
                stop_s[first + frames_per_row - 1],
            )
        )
    return Presentations(*map(np.concatenate, zip(*parts, strict=True)))
