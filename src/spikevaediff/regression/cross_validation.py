"""Predictions of images by fits that have not seen them: the one loop over folds of all that is predicted.

Responses are standardised with the statistics of the training images of a fold, a method is fitted to them, and the
test images of that fold are predicted. What differs between uses is said by arguments: rows of a library beside the
real ones, other responses to predict from, targets less their training mean, predictions renormalised for a decoder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from rich.progress import track

from spikevaediff.files.atomic import replacing
from spikevaediff.recordings import preprocessing
from spikevaediff.recordings.preprocessing import Scale
from spikevaediff.records import ImageSplit
from spikevaediff.regression import library_weight
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.folds import standardisation, trained
from spikevaediff.regression.renormalise import renormalise as renormalised_by
from spikevaediff.side_by_side import side_by_side, workers

LARGE = 1 << 30  # bytes of targets that are not copied
SMALL = 1 << 28  # bytes of targets up to which folds are fitted side by side


@dataclass(frozen=True)
class Prediction:
    """Out-of-fold predictions of the test images, in the order of split.test_ids.

    raw : float32, or float64 where the targets are, (n_versions, n_test, n_targets); version 0 is predicted from x, the
        others from `also`.
    renormalised : the same dtype, (n_decoded, n_test, n_targets); of the versions `decoded`.
    choices : one dict per fold that was fitted; Fit.summary, `renormalise` and `renormalise_factor` (n_groups,), that
        of the first version decoded; library_weight, where several were offered.
    """

    raw: np.ndarray
    renormalised: np.ndarray
    choices: tuple[dict[str, np.ndarray], ...]

    def save_choices(self, path: str | Path) -> None:
        """Write what the fits chose to an npz: the arrays of `choices` with the folds as first axis."""
        stacked = {name: np.stack([of_fold[name] for of_fold in self.choices]) for name in self.choices[0]}
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, **stacked)


@dataclass(frozen=True)
class Weights:
    """Weights of rows of a library that are offered, and what decides between them: see regression.library_weight.

    offered : weights, 0 or more; 0: real images alone.
    answers : by fold, and of all images, float32 (n_parts, n_library, n_columns); as `library` of `predict`, of models
        that have not learnt from a part of the training images, those of regression.parts in turn.
    """

    offered: Sequence[float]
    answers: Sequence[np.ndarray]


def predict(
    x: np.ndarray,
    y: np.ndarray,
    split: ImageSplit,
    method: ModuleType,
    options: Mapping[str, Any],
    *,
    renormalise: str = "none",
    library: np.ndarray | None = None,
    weights: Weights | None = None,
    also: Sequence[np.ndarray] = (),
    decoded: Sequence[int] = (0,),
    deviations: bool = False,
    progress: str = "",
) -> Prediction:
    """Predict every test image by a fit to the training images of its fold.

    Parameters
    ----------
    x : float64, (n_images, n_columns)
        Responses, as a rule means over presentations; rows in the order of split.image_id.
    y : float, (n_images [+ n_library], n_targets)
        Targets in the same order; those of the library after them.
    split : ImageSplit
    method : module of spikevaediff.regression.methods
    options : mapping
        Keyword arguments of method.fit; y_row and n_scored come from the fold and the library.
    renormalise : str
        See regression.renormalise.
    library : float32, (n_folds + 1, n_library, n_columns), optional
        Responses of the encoding models of each fold, and of all images, to images that were never shown. They are
        trained on, standardised as the real ones are, and never left out: real images alone choose penalties.
    weights : Weights, optional
        Of rows of the library, of which real images choose one in each fold. None: rows of the library count as real
        ones do.
    also : sequence of float64, (n_images, n_columns)
        Other responses of the same images, halves of the presentations for one, from which the same fits predict.
    decoded : sequence of int
        Versions that are renormalised.
    deviations : bool
        Targets are what differs from their mean over the training images of the fold; then 0 is predicted where no
        column of x varies in training. Not with a library.
    progress : str
        What a progress bar says; none where empty.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        x or y has another number of rows than the split, or a library another number of models; or as method.fit,
        preprocessing.scale_of and `renormalise` raise.
    """
    _check(x, y, split, library, also, deviations)
    versions, tested = [x, *also], split.fold[split.fold >= 0]
    dtype = np.float64 if y.dtype == np.float64 else np.float32
    raw = np.zeros((len(versions), len(tested), y.shape[1]), dtype)
    renormalised = np.zeros((len(decoded), len(tested), y.shape[1]), dtype)

    def of_fold(fold: int) -> dict[str, np.ndarray] | None:
        """Predicts the images of a fold; what was chosen, or None where nothing varies."""
        test, scale = split.fold == fold, standardisation(x, split, fold)
        if deviations and scale.n_constant == x.shape[1]:
            return None
        fitted = _fit(x, y, split, method, options, fold, scale, library, weights, deviations)
        # One prediction of all versions: one shape to compile for.
        found = method.predict(fitted, preprocessing.standardise(np.concatenate([v[test] for v in versions]), scale))
        found = found.reshape(len(versions), -1, y.shape[1])
        raw[:, tested == fold] = found
        factors = []
        for place, version in enumerate(decoded):
            renormalised[place, tested == fold], factor = renormalised_by(found[version], fitted, how=renormalise)
            factors.append(factor)
        chosen = fitted.summary()
        if weights is not None:
            chosen = library_weight.among_offered(chosen, options["alphas"])
            chosen["library_weight"] = np.array(fitted.library_weight)
        return chosen | {"renormalise": np.array(renormalise), "renormalise_factor": factors[0]}

    # One by one where targets are large, since two folds take twice the memory, or are spread over devices, which wait
    # for each other.
    at_once = workers(jax.default_backend()) if y.nbytes <= SMALL and jax.device_count() == 1 else 1
    found = side_by_side(of_fold, range(split.n_folds), at_once=at_once)
    choices = list(track(found, progress, total=split.n_folds) if progress else found)
    return Prediction(raw, renormalised, tuple(one for one in choices if one is not None))


def fit_to_all(
    x: np.ndarray,
    y: np.ndarray,
    split: ImageSplit,
    method: ModuleType,
    options: Mapping[str, Any],
    *,
    library: np.ndarray | None = None,
    weights: Weights | None = None,
) -> tuple[Fit, Scale]:
    """The fit to all images, for responses to other ones, and the scale of its responses.

    Parameters and errors are those of `predict`; of a library, the responses of the model of all images are used.
    """
    _check(x, y, split, library, (), False)
    scale = standardisation(x, split, None)
    return _fit(x, y, split, method, options, None, scale, library, weights, False), scale


def _check(
    x: np.ndarray,
    y: np.ndarray,
    split: ImageSplit,
    library: np.ndarray | None,
    also: Sequence[np.ndarray],
    deviations: bool,
) -> None:
    n = len(split.image_id)
    for values in (x, *also):
        if values.shape != (n, x.shape[1]):
            raise ValueError(f"responses have the shape {values.shape}, expected {n} images by {x.shape[1]} columns")
    if library is not None and deviations:
        raise ValueError("deviations go without a library, which has no training mean of its own")
    if library is not None and library.shape[::2] != (split.n_folds + 1, x.shape[1]):
        raise ValueError(
            f"the library's responses have the shape {library.shape}, and do not fit {split.n_folds} folds and "
            f"{x.shape[1]} columns: expected {split.n_folds + 1} models, one of all images"
        )
    expected = n + (0 if library is None else library.shape[1])
    if len(y) != expected:
        raise ValueError(f"targets have {len(y)} rows, expected {expected}: the images of the split, then the library")


def _fit(
    x: np.ndarray,
    y: np.ndarray,
    split: ImageSplit,
    method: ModuleType,
    options: Mapping[str, Any],
    fold: int | None,
    scale: Scale,
    library: np.ndarray | None,
    weights: Weights | None,
    deviations: bool,
) -> Fit:
    train = trained(split, fold)
    z = preprocessing.standardise(x[train], scale)
    if library is None and y.nbytes > LARGE and not deviations:
        return method.fit(z, y, y_row=np.flatnonzero(train), **options)
    if library is None:
        targets = y[train]  # together they are read faster
        if deviations:
            targets = targets - targets.mean(0, keepdims=True)
        return method.fit(z, targets, y_row=np.arange(len(z)), **options)
    simulated = preprocessing.standardise(library[split.n_folds if fold is None else fold], scale)
    if weights is not None:
        answers = [preprocessing.standardise(one, scale) for one in weights.answers[-1 if fold is None else fold]]
        weight, alpha = library_weight.choose(z, y, train, answers, weights.offered, method, options)
        if not weight:
            return method.fit(z, y[: len(train)], y_row=np.flatnonzero(train), **options)
        options = {**options, "alphas": [alpha], "library_weight": weight}
    y_row = np.concatenate([np.flatnonzero(train), np.arange(len(train), len(y))])
    return method.fit(np.concatenate([z, simulated]), y, y_row=y_row, n_scored=len(train), **options)
