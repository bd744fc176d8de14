"""How models that have not learnt from some of the training images would answer a library.

These images then decide how much the library counts: see spikevaediff.regression.library_weight.
"""

from collections.abc import Callable

import numpy as np
from rich.progress import track

from spikevaediff.encoding import of_folds
from spikevaediff.encoding.encoder import Encoder, WeightsOf
from spikevaediff.records import ImageSplit, LibraryResponses, Stimuli
from spikevaediff.regression import folds
from spikevaediff.regression.parts import parts


def answers(
    learn: Callable[[np.ndarray], Encoder], split: ImageSplit, library: Stimuli, weights_of: WeightsOf, *, seed: int
) -> LibraryResponses:
    """Answers of models without each part of the training images, with a draw of their noise.

    Parameters
    ----------
    learn : function of bool, (n_images,)
        A model of these training images, as fit_folds.learner gives it.
    split : ImageSplit
    library : Stimuli
    weights_of : callable
        The weight file of an asset.
    seed : int
        Of the noise.

    Returns
    -------
    LibraryResponses
        Models by fold and part, in the order of regression.parts; then those of all images.
    """
    sets = [folds.trained(split, fold) for fold in [*range(split.n_folds), None]]
    without = [train & ~part for train in sets for part in parts(train)]
    models = [learn(some) for some in track(without, "encoders without some images")]
    values = of_folds.predict(models, library.pixels, weights_of)
    for number, model in enumerate(models):
        values[number] += of_folds.noise(model, library.image_id, seed=seed, number=len(sets) + number)
    return LibraryResponses(library.image_id, values)


def none() -> LibraryResponses:
    """Answers of no model, where no weight is chosen."""
    return LibraryResponses(np.empty(0, np.int64), np.empty((0, 0, 0), np.float32))
