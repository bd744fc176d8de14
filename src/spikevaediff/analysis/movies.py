"""What rows of movies add to the training images, for scenes; and how well stretches of a movie are predicted.

Two small models are learnt from scenes alone, and from scenes and movies: ridge regression from responses to images of
a few pixels, in all folds, and the encoding models of some folds. Tested are the scenes, as everywhere. Blocks of a
movie are tested beside them, a block being left out whole: predicted from its neighbours in time, a frame would seem to
be decoded. Penalties are chosen by leaving out training scenes, never rows of a movie.

Responses and images are taken as deviations from the mean of their kind (scenes or movies) over training rows, since
units fire at another level during a movie.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from spikevaediff import images
from spikevaediff.analysis.curves import likeness
from spikevaediff.encoding import fit_folds, of_folds
from spikevaediff.encoding.encoder import Encoder, WeightsOf
from spikevaediff.recordings import movies, preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.regression.methods import ridge

_ROUNDING = 1e-5  # of predictions, relative to the spread of responses

SCENES, BLOCKS = "scenes", "blocks of movies"


class Known(NamedTuple):
    """Mean responses, float64 (n, n_units), and images, float32 (n, n_pixels)."""

    x: np.ndarray
    y: np.ndarray

    def around(self, train: np.ndarray) -> "Known":
        """Deviations from the mean over the training rows, bool (n,)."""
        return Known(*(values - values[train].mean(0) for values in self))

    def of(self, chosen: np.ndarray) -> "Known":
        """Some of the rows."""
        return Known(*(values[chosen] for values in self))


def predicted(scenes: Known, rows: Known | None, x: np.ndarray, alphas: Sequence[float]) -> np.ndarray:
    """Images for responses x, by ridge regression from scenes and rows of movies; all are deviations.

    One penalty for all pixels, chosen by leaving out scenes.
    """
    learnt = scenes if rows is None else Known(*map(np.concatenate, zip(scenes, rows, strict=True)))
    scale = preprocessing.scale_of(scenes.x)
    n = len(learnt.y)
    fit = ridge.fit(
        preprocessing.standardise(learnt.x, scale),
        learnt.y,
        y_row=np.arange(n),
        group_size=np.array([learnt.y.shape[1]]),
        alphas=alphas,
        alpha_scope="global",
        folds="image",
        seed=0,
        n_scored=len(scenes.y),
    )
    return ridge.predict(fit, preprocessing.standardise(x, scale))


def of_scenes(
    scenes: Known, rows: Known | None, split: ImageSplit, alphas: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all tested scenes; see curves.likeness."""
    shown, found = [], []
    for fold in range(split.n_folds):
        train, tested = split.fold != fold, split.fold == fold
        around = scenes.around(train)
        also = None if rows is None else rows.around(np.ones(len(rows.x), bool))
        shown.append(around.y[tested])
        found.append(predicted(around.of(train), also, around.x[tested], alphas))
    return likeness(np.concatenate(shown), np.concatenate(found))


def of_blocks(
    scenes: Known, rows: Known, block: np.ndarray, alphas: Sequence[float], *, learn: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all rows of movies, each block left out; `learn`: from the other blocks as well as from scenes."""
    everything = scenes.around(np.ones(len(scenes.x), bool))
    shown, found = [], []
    for each in np.unique(block):
        train = block != each
        around = rows.around(train)
        shown.append(around.y[~train])
        found.append(predicted(everything, around.of(train) if learn else None, around.x[~train], alphas))
    return likeness(np.concatenate(shown), np.concatenate(found))


def of_encoders(
    responses: Responses,
    stimuli: Stimuli,
    split: ImageSplit,
    movie: tuple[Stimuli, Responses],
    stored: Sequence[Encoder],
    weights_of: WeightsOf,
    *,
    families: list[str],
    stored_learnt_from_movies: bool,
    n_folds: int,
) -> dict[bool, float]:
    """Correlation of predicted and measured responses to the tested scenes of the first folds, median over units.

    By whether models learnt from movies: those that are stored, and others that are learnt here.
    """
    other = None if stored_learnt_from_movies else movie
    learn = fit_folds.learner(responses, stimuli, split, weights_of, families=families, movie=other)
    means = preprocessing.mean_responses(responses, split.image_id)
    parts = []
    for fold in range(min(n_folds, split.n_folds)):
        tested = split.fold == fold
        pair = [stored[fold], learn(~tested)]
        found = of_folds.predict(pair, stimuli.rows(split.image_id[tested]), weights_of)
        # Taken off all: an image is left out of its own training mean, so that models which predict nothing else would
        # correlate negatively.
        trained = means[~tested].mean(0)
        parts.append([rows - trained for rows in (means[tested], *found)])
    measured, *both = (np.concatenate(part) for part in zip(*parts, strict=True))
    order = (stored_learnt_from_movies, not stored_learnt_from_movies)
    return {learnt: float(np.median(_correlation(measured, of))) for learnt, of in zip(order, both, strict=True)}


def _correlation(measured: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Of every column over rows; 0 where one never varies, or predictions, which are float32, by rounding alone."""
    a, b = (np.asarray(v, np.float64) - v.mean(0, dtype=np.float64) for v in (measured, predicted))
    norm = np.sqrt((a**2).sum(0) * (b**2).sum(0))
    varies = (norm > 0) & (b.std(0) > _ROUNDING * a.std(0))
    return np.divide((a * b).sum(0), norm, out=np.zeros(len(norm)), where=varies)


def rows(
    responses: Responses,
    stimuli: Stimuli,
    split: ImageSplit,
    movie: tuple[Stimuli, Responses],
    encoder_r: dict[bool, float],
    *,
    n_blocks: int,
    size_px: int,
    alphas: list[float],
) -> Iterator[dict[str, Any]]:
    """The table: what is tested, what was learnt from, and how well it went.

    Parameters
    ----------
    responses : Responses
    stimuli : Stimuli
    split : ImageSplit
    movie : Stimuli and Responses
        Rows of movies, and the presentations of them.
    encoder_r : dict
        As from `of_encoders`.
    n_blocks, size_px : int
    alphas : list of float

    Yields
    ------
    dict
        tested; learnt_from; n_tested; correlation, of pixels; two_way; encoder_r, median over units, None for movies.

    Raises
    ------
    ValueError
        As movies.blocks.
    """
    pictures, watched = movie
    block = movies.blocks(pictures.image_id, n_blocks)

    def known(pixels: np.ndarray, of: Responses, image_id: np.ndarray) -> Known:
        y = images.resize(pixels, size_px).reshape(len(pixels), -1).astype(np.float32)
        return Known(preprocessing.mean_responses(of, image_id), y)

    scenes = known(stimuli.rows(split.image_id), responses, split.image_id)
    film = known(pictures.pixels, watched, pictures.image_id)
    for tested in (SCENES, BLOCKS):
        for learn in (False, True):
            if tested == SCENES:
                scores = of_scenes(scenes, film if learn else None, split, alphas)
            else:
                scores = of_blocks(scenes, film, block, alphas, learn=learn)
            yield {
                "tested": tested,
                "learnt_from": "scenes and movies" if learn else "scenes",
                "n_tested": len(scores[0]),
                "correlation": float(scores[0].mean()),
                "two_way": float(scores[1].mean()),
                "encoder_r": encoder_r[learn] if tested == SCENES else None,
            }
