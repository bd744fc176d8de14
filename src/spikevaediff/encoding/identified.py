"""Which image was shown, and what does each unit respond to? All that encoding models say of one population."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spikevaediff.encoding import (
    identification,
    identification_curves,
    identification_over_time,
    of_folds,
    receptive_fields,
)
from spikevaediff.encoding.encoder import Encoder, WeightsOf
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli, rows_of


@dataclass(frozen=True)
class Identified:
    """What was found of one population.

    sets : dict; identification among three sets of candidates, see identification.of_sets.
    curves : list of dict; identification over units, presentations and time, see identification_curves.rows.
    units : list of dict; population and the columns of receptive_fields.table, one row per unit.
    """

    sets: dict[str, dict[str, Any]]
    curves: list[dict[str, Any]]
    units: list[dict[str, Any]]


def of_population(
    population: str,
    responses: Responses,
    models: list[Encoder],
    stimuli: Stimuli,
    library: Stimuli,
    split: ImageSplit,
    weights_of: WeightsOf,
    *,
    short: Responses | None,
    units: list[int],
    presentations: list[int],
    n_draws: int,
    seed: int,
) -> Identified:
    """Identify the tested images and describe the units of a population.

    Parameters
    ----------
    population : str
        Its name in the rows.
    responses : Responses
    models : list of Encoder
        Of each fold, then of all images, as from of_folds.load.
    stimuli, library : Stimuli
        Shown, and never shown.
    split : ImageSplit
    weights_of : callable
        The weight file of an asset.
    short : Responses, optional
        Of the same units in short windows, for the curve over time; None where spike times are not known.
    units, presentations : list of int
        Numbers of them in the curves.
    n_draws, seed : int
        Draws of units, presentations and halves.

    Returns
    -------
    Identified

    Raises
    ------
    ValueError
        Models of other units or families.
    """
    *of_fold, of_all = models
    x = preprocessing.response_matrix(responses, transform="none")
    mean = preprocessing.mean_over_presentations(x, responses.image_id, split.test_ids)
    of_shown = of_folds.predict(of_fold, stimuli.rows(split.image_id), weights_of)
    of_library = of_folds.predict(of_fold, library.pixels, weights_of)
    fold, own = split.fold_of(split.test_ids), rows_of(split.test_ids, split.image_id, "the split")
    noise = [model.covariance for model in of_fold]
    sets = identification.of_sets(noise, mean, fold, own, split.fold, of_shown, of_library)

    unit = np.tile(np.arange(len(responses.units)), len(responses.window_s))
    task = identification_curves.Task(noise, of_shown, fold, own, unit)
    drawn = {"n_draws": n_draws, "seed": seed}
    train = [split.ids(k)[0] for k in range(split.n_folds)]
    trained = np.stack([preprocessing.mean_over_presentations(x, responses.image_id, ids).mean(0) for ids in train])
    mean_of = preprocessing.mean_over_presentations
    curve = {
        "units": identification_curves.over_units(task, mean, units, **drawn),
        "presentations": identification_curves.over_presentations(
            task, x, responses.image_id, split.test_ids, train, mean_of, presentations, **drawn
        ),
    }
    if short is not None:
        curve["time"] = identification_over_time.over_time(of_fold, of_shown, fold, own, split.test_ids, short)
    chance = sets["all"]["chance"]
    curves = [
        row
        for of, successes in curve.items()
        for row in identification_curves.rows(population, of, successes, fold, chance)
    ]
    rows = receptive_fields.table(of_all, of_shown[fold, own], mean, trained[fold], x, responses.image_id, **drawn)
    return Identified(sets, curves, [{"population": population} | row for row in rows])


def report_line(sets: dict[str, dict[str, Any]]) -> str:
    """A line about `Identified.sets`, for those who run it."""
    told = ", ".join(f"{name} {one['top1']:.2f} (chance {one['chance']:.4f})" for name, one in sets.items())
    return f"identified among {told}"
