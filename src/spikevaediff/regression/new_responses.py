"""A saved fit applied to new responses: `spikevaediff predict FIT RESPONSES OUT`.

A fit only knows standardised means over presentations. What turned counts into them (transform, mean and deviation of
each column in training), what the targets are (feature space, groups) and how their spread was restored is put beside
it by `with_context`, so that one file is enough to go from another recording of the same units to features that a
decoder takes, as it takes artifacts/predicted.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np

from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, Responses, same_windows
from spikevaediff.regression import fits
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.renormalise import renormalise


def with_context(
    fit: Fit,
    *,
    scale: preprocessing.Scale,
    transform: str,
    space: str,
    group_name: np.ndarray,
    responses: Responses,
    how: str,
    image_id: np.ndarray,
) -> Fit:
    """The fit with what is needed to apply it to Responses.

    Parameters
    ----------
    fit : Fit, of responses standardised by `scale`.
    scale : Scale, of the training rows.
    transform : str, as in preprocessing.response_matrix.
    space, group_name : of the Features it was fitted to.
    responses : Responses, that it was fitted to: their units and windows.
    how : str, as in renormalise: what predictions go through before a decoder takes them.
    image_id : int64, (n_images,), the images that it was fitted to.
    """
    context = {
        "context_mean": scale.mean,
        "context_deviation": scale.deviation,
        "context_transform": np.array(transform),
        "context_space": np.array(space),
        "context_group_name": np.asarray(group_name),
        "context_unit": _unit_names(responses),
        "context_window_s": responses.window_s,
        "context_renormalise": np.array(how),
        "context_image_id": np.asarray(image_id),
    }
    return replace(fit, parameters=fit.parameters | context)


def _unit_names(responses: Responses) -> np.ndarray:
    """unit_id of each unit, str (n_units,); "session_id/unit_id" in a pseudo-population, whose sessions may count from
    0 each. One session may be recorded anew under another id."""
    unit = responses.unit_unit_id.astype(str)
    if len(responses.session_id) == 1:
        return unit
    return np.char.add(np.char.add(responses.unit_session_id.astype(str), "/"), unit)


def predict_features(fit: Fit, responses: Responses) -> Features:
    """Features of every image in a recording, from the mean response to its presentations, renormalised as the
    predictions of the pipeline are.

    Raises
    ------
    ValueError
        The fit has no context (see with_context) or one of an earlier version, or the recording has other units than it
        was fitted to, or was counted in other windows, or shows no image.
    """
    p = fit.parameters
    if "context_unit" not in p:
        raise ValueError("the fit does not say how responses were standardised. Save it by new_responses.with_context.")
    if "context_renormalise" not in p:
        raise ValueError(
            "the fit does not say how predictions were renormalised. Make it again with: dvc repro regress"
        )
    expected, found = p["context_unit"], _unit_names(responses)
    if not np.array_equal(expected, found):
        missing, extra = np.setdiff1d(expected, found), np.setdiff1d(found, expected)
        if not len(missing) and not len(extra) and len(expected) == len(found):
            first = int(np.flatnonzero(expected != found)[0])
            raise ValueError(
                f"the responses are of the units of the fit in another order: unit {first + 1} is {found[first]}, "
                f"expected {expected[first]}. Put them in that order"
            )
        raise ValueError(
            f"the responses are of other units than the fit: {len(missing)} missing {missing[:5].tolist()}, "
            f"{len(extra)} unknown {extra[:5].tolist()}. Use the same quality filter and areas."
        )
    if not same_windows(p["context_window_s"], responses.window_s):
        raise ValueError(
            f"the responses were counted in the windows {responses.window_s.tolist()}, the fit is of counts in "
            f"{p['context_window_s'].tolist()} (seconds after onset). Count in the same windows."
        )
    image_id = np.unique(responses.image_id[responses.image_id != BLANK])
    if not len(image_id):
        raise ValueError("the responses are to blanks alone (image_id -1), which predict nothing")
    means = preprocessing.mean_responses(responses, image_id, transform=str(p["context_transform"]))
    scale = preprocessing.Scale(p["context_mean"], p["context_deviation"], int(np.sum(p["context_deviation"] == 0)))
    method = import_module(f"spikevaediff.regression.methods.{fit.method}")
    raw = method.predict(fit, preprocessing.standardise(means, scale)).astype(np.float32)
    values, _ = renormalise(raw, fit, how=str(p["context_renormalise"]))
    return Features(str(p["context_space"]), image_id, values, p["context_group_name"], fit.group_size)


def predict_file(fit_path: str | Path, responses_path: str | Path, out_path: str | Path) -> str:
    """Read a fit and responses, write Features, and say in a line what was done.

    Raises
    ------
    FileNotFoundError, ValueError
        As spikevaediff.regression.fits.load, Responses.load and predict_features.
    """
    fit = fits.load(fit_path)
    features = predict_features(fit, Responses.load(responses_path))
    features.save(out_path)
    n_trained = int(np.isin(features.image_id, fit.parameters["context_image_id"]).sum())
    seen = f"; {n_trained} of them trained the fit and look better than they are: score only the others"
    return (
        f"{out_path}: {features.values.shape[1]} dims of {features.space} for {len(features.image_id)} images, "
        f"renormalise {fit.parameters['context_renormalise']}{seen * bool(n_trained)}"
    )
