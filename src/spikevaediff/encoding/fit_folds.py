"""Encoding models of one population: one for each fold, of its training images, and one of all images."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from threadpoolctl import threadpool_limits

from loading import machine
from spikevaediff.encoding import encoder
from spikevaediff.encoding.encoder import Encoder, WeightsOf
from spikevaediff.encoding.of_folds import ALL_IMAGES, file_name
from spikevaediff.files.atomic import replacing
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli


def learner(
    responses: Responses,
    stimuli: Stimuli,
    split: ImageSplit,
    weights_of: WeightsOf,
    *,
    families: list[str],
    movie: tuple[Stimuli, Responses] | None = None,
) -> Callable[[np.ndarray], Encoder]:
    """How to learn a model from some of the images; the maps of all are computed here, once.

    Parameters
    ----------
    responses : Responses
        Of one population.
    stimuli : Stimuli
    split : ImageSplit
    weights_of : callable
        The weight file of an asset.
    families : list of str
        Modules of spikevaediff.encoding.families.
    movie : Stimuli and Responses, optional
        Rows of movies, as from movies.pictures, and the presentations of them. Every model learns from all of them;
        what is chosen, is chosen by leaving out its training images.

    Returns
    -------
    function of bool, (n_images,)
        True for the training images, in the order of split.image_id.

    Raises
    ------
    KeyError, ValueError
        As encoder.maps_of, and later as encoder.fit.
    """
    maps = encoder.maps_of(stimuli.rows(split.image_id), families, weights_of)
    means = preprocessing.mean_responses(responses, split.image_id)
    of_column = preprocessing.units_of_columns(responses)
    n_rows = 0
    if movie is not None:
        pictures, watched = movie
        n_rows = len(pictures.image_id)
        means = np.concatenate([means, preprocessing.mean_responses(watched, pictures.image_id)])
        of_rows = encoder.maps_of(pictures.pixels, families, weights_of)
        maps = [[torch.cat(both) for both in zip(*layers, strict=True)] for layers in zip(maps, of_rows, strict=True)]

    def fitted(train: np.ndarray) -> Encoder:
        learnt = np.flatnonzero(np.append(train, np.ones(n_rows, bool)))
        rows = torch.from_numpy(learnt)
        of_fold = [[layer[rows] for layer in of_family] for of_family in maps]
        image_id = split.image_id[train]
        return encoder.fit(of_fold, means[learnt], families=families, image_id=image_id, units=of_column)

    return fitted


def fit(
    folder: str | Path,
    responses: Responses,
    stimuli: Stimuli,
    split: ImageSplit,
    weights_of: WeightsOf,
    *,
    families: list[str],
    movie: tuple[Stimuli, Responses] | None = None,
) -> Encoder:
    """Learn all models and write them; the folder is there whole or not at all.

    Parameters
    ----------
    folder : str or Path
        Where `of_folds.load` finds them.
    responses, stimuli, split, weights_of, families, movie
        As in `learner`.

    Returns
    -------
    Encoder
        The model of all images.

    Raises
    ------
    KeyError, ValueError
        As `learner`.
    """
    fitted = learner(responses, stimuli, split, weights_of, families=families, movie=movie)
    sets: dict[str, Any] = {file_name(fold): split.fold != fold for fold in range(split.n_folds)}
    sets[ALL_IMAGES] = np.ones(len(split.fold), bool)
    # Small matrices: a fold on each core is faster than all cores on one.
    with (
        replacing(folder, folder=True) as temporary,
        threadpool_limits(1),
        ThreadPoolExecutor(machine.processors()) as pool,
    ):
        for name, model in track(zip(sets, pool.map(fitted, sets.values()), strict=True), "encoders", total=len(sets)):
            model.save(temporary / name)
    return model


def report_line(model: Encoder) -> str:
    """A line about a fitted model, for those who run it."""
    names = model.family_name.tolist()
    chosen = ", ".join(f"{np.sum(model.family == i)} {name}" for i, name in enumerate(names))
    return (
        f"encoding models of {len(model.r2)} columns ({chosen}, {np.sum(model.family < 0)} none), "
        f"left-out R2 {np.median(model.r2):.2f} at the median"
    )
