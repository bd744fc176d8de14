"""Whether new responses have the unit of measure of those that a fit is of: counts are neither rates nor z-scores.

A fit takes any number, and makes meaningless pictures from responses of another size.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Responses

# Five single presentations to 20 units, drawn at random from simulated sessions and V4, have 0.3 to 2.7 times the mean
# of their recording. Among square roots, rates stand out in windows of 0.1 s, and not in 0.25 s.
MOST, LEAST = 3.0, 0.2
N_UNITS, N_IMAGES = 20, 5  # with fewer, the means of a recording vary more
N_SPIKES = 100  # expected of all units in all presentations; with fewer, chance decides


def problem(context: Mapping[str, np.ndarray], responses: Responses, known: Path) -> str:
    """What is to be warned of: a mean response far from that of the fit.

    Parameters
    ----------
    context : mapping of arrays
        context_mean, (n_columns,), and context_transform of a fit, as in its parameters.
    responses : Responses
        New ones, of the units of the fit.
    known : Path
        Responses that the fit is of, which are read where new ones fall below 0. It need not exist.

    Returns
    -------
    str
        Empty where there is nothing to say: of other units, or of fewer than N_UNITS, N_IMAGES or expected N_SPIKES;
        where a unit of the fit has a mean below 0, so that the ratio says nothing.

    Raises
    ------
    ValueError
        Responses fall below 0, and those that the fit is of never do.
    """
    if (responses.counts < 0).any() and known.is_file() and not (Responses.load(known).counts < 0).any():
        raise ValueError(
            f"the responses fall to {responses.counts.min():g}, and the fit is of responses that are never below 0: "
            f"are these z-scores, or was a baseline taken off? Give them in the unit of measure of {known}"
        )
    mean, shown = context["context_mean"], responses.image_id != BLANK
    n_units, n_windows = responses.counts.shape[1:]
    if n_units < N_UNITS or n_units * n_windows != len(mean) or len(np.unique(responses.image_id[shown])) < N_IMAGES:
        return ""
    if mean.min() < 0 or not mean.any():
        return ""
    transform = str(context["context_transform"])
    if mean.sum() * np.sum(shown) < N_SPIKES:
        return ""
    new = preprocessing.response_matrix(responses, transform=transform)[shown].mean()
    if LEAST <= new / mean.mean() <= MOST:
        return ""
    roots = " (of square roots)" if transform == "square_root" else ""
    return (
        f"the fit is of responses with a mean of {mean.mean():.3g}{roots}; these have {new:.3g}. Are they in "
        "another unit of measure, such as rates instead of counts? If so, predictions are meaningless"
    )
