"""Predict one feature space from one population of units: python -m stages.regress RUN SPACE POPULATION"""

import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.parameters.of_space import COMMON, of_space
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, ImageSplit, LibraryResponses, Responses, rows_of
from spikevaediff.regression import jax_cache, new_responses
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.renormalise import in_words, renormalise


def main(run: str, space: str, population: str) -> None:
    """Write the out-of-fold prediction of every test image, what the fits chose, and a fit to all images."""
    jax_cache.keep()
    params = stages.declared(f"regress@{run}")
    how = options_of(params, space)["renormalise"]
    method, transform, options = method_of(params, space)
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    split = ImageSplit.load("artifacts/split.npz")
    features = Features.load(f"artifacts/features/{space}.npz")
    check_same_images(responses, split, features, population)
    options |= bands(method, responses, options)

    x = preprocessing.response_matrix(responses, transform=transform)
    library = library_of(params, space, population, features, x.shape[1])
    fitted_to = fitter(x, responses, split, features, library, method, options)
    raw, predicted = (np.empty((len(split.test_ids), features.values.shape[1]), np.float32) for _ in range(2))
    summaries = []

    for fold in track(range(split.n_folds), f"{run}: folds"):
        test_ids = split.ids(fold)[1]
        fit, scale = fitted_to(fold)
        x_test = preprocessing.mean_over_presentations(x, responses.image_id, test_ids)
        rows = rows_of(test_ids, split.test_ids, "the split")
        raw[rows] = method.predict(fit, preprocessing.standardise(x_test, scale))
        predicted[rows], factor = renormalise(raw[rows], fit, how=how)
        summaries.append(fit.summary() | {"renormalise": np.array(how), "renormalise_factor": factor})
    # Decoders take the first; how well features are predicted is a question about the second.
    for name_of_file, values in ((run, predicted), (f"{run}_raw", raw)):
        Features(space, split.test_ids, values, features.group_name, features.group_size).save(
            f"artifacts/predicted/{name_of_file}.npz"
        )
    with replacing(f"artifacts/fits/{run}.npz") as temporary:
        np.savez(
            temporary, allow_pickle=False, **{name: np.stack([s[name] for s in summaries]) for name in summaries[0]}
        )
    # Never scored here: for responses to other images, see `spikevaediff predict`.
    fit, scale = fitted_to(None)
    new_responses.with_context(
        fit,
        scale=scale,
        transform=transform,
        space=space,
        group_name=features.group_name,
        responses=responses,
        how=how,
        image_id=split.image_id,
    ).save(f"artifacts/fits/{run}_all_images.npz")
    # Many at the largest are noise, by right; many at the smallest ask for a wider grid.
    edges = ", ".join(f"{share:.0%} of targets at the {edge} penalty" for edge, share in fit.edge_share.items())
    constant = f" ({fit.n_constant} that never vary are dropped)" if fit.n_constant else ""
    nothing = "" if features.varies else f"; {space} is the same for every image, which leaves nothing to predict"
    factors = np.stack([s["renormalise_factor"] for s in summaries])
    spread = in_words(factors, features.group_name) if how == "train" else ""
    and_library = f" and {len(library.features.image_id)} library images" if library else ""
    stages.done(
        f"{run}: responses {x.shape} of {population} units{constant}{and_library} predict {predicted.shape} of "
        f"{space}, small matrices in {fit.precision}; {edges}{nothing}{spread}"
    )


def options_of(params: dict[str, Any], space: str) -> dict[str, Any]:
    """What params.yaml says of the regression of a space: in `regress.common`, and of the space alone."""
    return of_space({name: stages.section(params, "regress", name) for name in (COMMON, space)}, space)


def method_of(params: dict[str, Any], space: str) -> tuple[ModuleType, str, dict[str, Any]]:
    """The regression that predicts a space, the transform of its responses and the options of its fit."""
    options = options_of(params, space)
    name = options["method"]
    method = stages.module("regression/methods", name)
    # Options of all methods stand side by side, so that the name alone switches from one to another.
    of_method = {other: options.pop(other) for other in stages.modules("regression/methods") if other in options}
    options |= of_method.get(name) or {}
    stages.check_options(
        method.fit,
        options,
        f"regress.{space}",
        stage=("method", "transform", "renormalise", "library"),
        passed=("y_row", "group_size", "n_scored"),
    )
    del options["method"], options["renormalise"], options["library"]
    return method, options.pop("transform"), options


class Library(NamedTuple):
    """Rows of training beside those of real images: how encoding models would answer photographs no one was shown."""

    features: Features
    responses: LibraryResponses


def library_of(
    params: dict[str, Any], space: str, population: str, features: Features, n_columns: int
) -> Library | None:
    """The rows that regress.SPACE.library asks for; None where that is 0, or nothing can be learnt of the space.

    Raises
    ------
    ValueError
        A transform that cannot take them, or rows of other features or units.
    """
    options = options_of(params, space)
    if not options["library"]:
        return None
    if options["transform"] != "none":
        raise ValueError(
            f"regress.{space}.transform must be none: encoding models, which answer the library, predict counts"
        )
    if not features.varies:
        return None
    found = Features.load(f"artifacts/library/{space}.npz")
    responses = LibraryResponses.load(f"artifacts/library/responses_{population}.npz")
    if not np.array_equal(found.group_size, features.group_size) or responses.values.shape[2] != n_columns:
        raise ValueError(
            f"the library has {found.values.shape[1]} dims of {space} and {responses.values.shape[2]} columns of "
            f"{population}, expected {features.values.shape[1]} and {n_columns}. Make it again with: dvc repro library"
        )
    return Library(found, responses)


def fitter(
    x: np.ndarray,
    responses: Responses,
    split: ImageSplit,
    features: Features,
    library: Library | None,
    method: ModuleType,
    options: dict[str, Any],
) -> Callable[[int | None], tuple[Fit, preprocessing.Scale]]:
    """The fit to the training images of a fold, or to all images (None), and the scale of its responses.

    Responses of the library are those of the encoding models of the same training images. They are standardised as the
    real ones are, and never left out: real images alone choose penalties.
    """
    if library is not None:
        ids = library.features.image_id
        answers = library.responses.values[:, rows_of(ids, library.responses.image_id, "the library's responses")]
        targets = np.concatenate([features.values, library.features.values])

    def fitted_to(fold: int | None) -> tuple[Fit, preprocessing.Scale]:
        train_ids = split.image_id if fold is None else split.ids(fold)[0]
        x_train = preprocessing.mean_over_presentations(x, responses.image_id, train_ids)
        scale = preprocessing.scale_of(x_train)
        z = preprocessing.standardise(x_train, scale)
        if library is None:
            y, y_row, n_scored = features.rows(train_ids), np.arange(len(train_ids)), {}
        else:
            n = len(features.image_id)
            simulated = answers[split.n_folds if fold is None else fold]
            z = np.concatenate([z, preprocessing.standardise(simulated, scale)])
            real = rows_of(train_ids, features.image_id, f"feature space {features.space}")
            y, y_row, n_scored = targets, np.concatenate([real, n + np.arange(len(ids))]), {"n_scored": n}
        return method.fit(z, y, y_row=y_row, group_size=features.group_size, **n_scored, **options), scale

    return fitted_to


def bands(method: ModuleType, responses: Responses, options: dict[str, Any]) -> dict[str, Any]:
    """The option `bands` of a regression that has one, with the band of every column instead of their kind."""
    if "bands" not in inspect.signature(method.fit).parameters:
        return {}
    return {"bands": bands_of(responses, options["bands"])}


def bands_of(responses: Responses, kind: str) -> np.ndarray:
    """The band of every column of the response matrix (all units of the first window, then of the next).

    Raises
    ------
    ValueError
        Bands are neither areas nor time bins.
    """
    n_windows = len(responses.window_s)
    if kind == "area":
        return np.tile(responses.units.area, n_windows)
    if kind == "time_bin":
        names = [f"{start:.3f} to {stop:.3f} s" for start, stop in responses.window_s.tolist()]
        return np.repeat(names, len(responses.units))
    raise ValueError(f"params.yaml: bands are {kind!r}, expected area or time_bin")


def check_same_images(responses: Responses, split: ImageSplit, features: Features, population: str) -> None:
    """Refuse records that are not of one set of images: those left out would go unnoticed.

    Raises
    ------
    ValueError
        Names the images that were shown but are not split, and those that are split but have no response or feature.
    """
    shown = np.setdiff1d(responses.image_id, [BLANK])
    for what, present, cure, wanted, where in (
        ("artifacts/images.npz", split.image_id, "acquire", shown, "the sessions show"),
        (f"artifacts/responses/{population}.npz", shown, "acquire", split.image_id, "artifacts/images.npz holds"),
        (
            f"feature space {features.space}",
            features.image_id,
            "features",
            split.image_id,
            "artifacts/images.npz holds",
        ),
    ):
        missing = np.setdiff1d(wanted, present)
        if len(missing):
            names = ", ".join(map(str, missing[:8].tolist())) + (", ..." if len(missing) > 8 else "")
            raise ValueError(
                f"{what} lacks image_id {names} ({len(missing)} of {len(wanted)} that {where}). "
                f"Make it again with: dvc repro {cure}"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
