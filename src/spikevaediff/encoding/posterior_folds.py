"""Samples of the posterior for all tested images, by the encoding models of their folds; finished folds are kept."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from spikevaediff.encoding import likelihood, luminance, of_folds, posterior
from spikevaediff.encoding.encoder import Encoder, WeightsOf
from spikevaediff.encoding.photographs import Photographs
from spikevaediff.recordings import preprocessing
from spikevaediff.records import Features, ImageSplit, LibraryResponses, Responses, Stimuli, rows_of
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS
from vdvae.model import VDVAE

# Options of posterior.samples that do not come from section decode.posterior of params.yaml.
GIVEN = (
    *("encoder", "gain", "model", "n_layers", "weights_of", "n_presentations", "photographs", "luminance"),
    *("seed", "batch_size", "device"),
)


def samples(
    models: list[Encoder],
    responses: Responses,
    split: ImageSplit,
    library: tuple[LibraryResponses, Features],
    *,
    config: str,
    weights: Path,
    n_layers: int,
    weights_of: WeightsOf,
    options: Mapping[str, Any],
    compute: Mapping[str, Any],
    kept: Path,
    code: Path | None = None,
    around: tuple[Stimuli, Features] | None = None,
    shown: Stimuli | None = None,
) -> np.ndarray:
    """Samples for every tested image.

    Parameters
    ----------
    models : list of Encoder
        Of each fold, as from of_folds.load; one of all images after them is not used.
    responses : Responses
    split : ImageSplit
    library : LibraryResponses and Features
        Responses of the models to photographs that were never shown, and their latents.
    config, weights : str, Path
        Of the VDVAE.
    n_layers : int
        Layers of latents that are searched.
    weights_of : callable
        The weight file of an asset.
    options : mapping
        seed, n_samples and the others of posterior.samples that decide a result.
    compute : mapping
        batch_size and device.
    kept : Path
        Folder of finished folds, found again by all that decides them; its name is that of the progress bar.
    code : Path, optional
        File that names the code, with its hashes: folds that other code finished are made again. Ignored if it is not
        there.
    around : Stimuli and Features, optional
        Pictures of the library, and latents of the images of the data set. With them, the prior lies around the library
        and the training images of each fold, instead of being that of the VDVAE.
    shown : Stimuli, optional
        The images of the data set, which options.luminance_weight above 0 needs: coarse luminance is then expected from
        the responses, by the training images of each fold.

    Returns
    -------
    float32, (n_test, n_samples, row, column), grey in [0, 1]
        In the order of split.test_ids.

    Raises
    ------
    KeyError, ValueError
        As posterior.samples and, for the Poisson likelihood, likelihood.check_counts; the library's responses lack an
        image of it.
    """
    x = preprocessing.response_matrix(responses, transform="none")
    if options.get("likelihood") == "poisson":
        of_images = np.isin(responses.image_id, split.test_ids)
        likelihood.check_counts(x[of_images], responses.image_id[of_images])
    simulated, features = library
    rows = rows_of(features.image_id, simulated.image_id, "the library's responses")
    model = checkpoints.load(weights, CONFIGS[config])
    whitened = whitened_latents(model, features, n_layers)
    if around is not None:
        prior = priors(models, around, whitened, features.image_id, model, n_layers, weights_of)
    network = {"config": config, "weights": weights.name, "n_layers": n_layers}
    found: list[np.ndarray] = []
    for fold in track(range(split.n_folds), f"{kept.name}: folds"):
        trained, ids = split.ids(fold)
        encoder = models[fold]
        response = preprocessing.mean_over_presentations(x, responses.image_id, ids)
        gain = posterior.gain(whitened, simulated.values[fold][rows], encoder.covariance)
        given: dict[str, Any] = {
            "encoder": encoder,
            "gain": gain,
            "model": model,
            "n_layers": n_layers,
            "weights_of": weights_of,
            "n_presentations": (responses.image_id == ids[:, None]).sum(1),
            "photographs": prior(fold) if around is not None else None,
            "luminance": None,
        }
        if shown is not None and options.get("luminance_weight"):
            learnt = preprocessing.mean_over_presentations(x, responses.image_id, trained)
            given["luminance"] = luminance.expected(learnt, shown.rows(trained), response)
        decisive: list[Any] = [response, ids, gain, encoder.weight, encoder.intercept, encoder.covariance]
        decisive += [dict(options), network, weights, given["n_presentations"]]
        decisive += [*(given["photographs"] or ()), *(given["luminance"] or ())]
        decisive += [code] if code is not None and code.is_file() else []
        found.append(
            posterior.kept(
                kept / f"{posterior.key(*decisive)}.npz",
                partial(posterior.samples, response, ids, **given, **options, **compute),
            )
        )
    order = np.argsort(np.concatenate([split.ids(fold)[1] for fold in range(split.n_folds)]))
    return np.concatenate(found)[order]


def priors(
    models: Sequence[Encoder],
    around: tuple[Stimuli, Features],
    whitened: np.ndarray,
    image_id: np.ndarray,
    model: VDVAE,
    n_layers: int,
    weights_of: WeightsOf,
) -> Callable[[int], Photographs]:
    """The photographs of the library and those that an encoding model was trained on, as a function of its position.

    Parameters
    ----------
    models : sequence of Encoder
    around : Stimuli and Features
        Pictures of the library, and latents of the images of the data set.
    whitened, image_id : float32 (n_images, n_numbers) and int64 (n_images,)
        Latents of the library, and which picture each row is of.
    model, n_layers, weights_of
        As in `samples`.

    Raises
    ------
    KeyError
        Latents of a picture of the library, or of a training image, are not there.
    """
    pictures, features = around
    answers = of_folds.predict(models, pictures.pixels, weights_of)
    of_library = whitened[rows_of(pictures.image_id, image_id, "latents of the library")]
    of_shown = whitened_latents(model, features, n_layers)

    def prior(number: int) -> Photographs:
        encoder = models[number]
        trained = rows_of(encoder.image_id, features.image_id, "latents of the images")
        predicted = np.concatenate([answers[number], encoder.left_out]).astype(np.float32)
        return Photographs(predicted, np.concatenate([of_library, of_shown[trained]]))

    return prior


def whitened_latents(model: VDVAE, features: Features, n_layers: int) -> np.ndarray:
    """Latents as standard deviations from the prior, float32 (n_images, n_numbers), 32 images at once."""
    nothing = np.empty((0, model.n_numbers(n_layers)), np.float32)
    pieces = [features.values[i : i + 32] for i in range(0, len(features.values), 32)]
    return np.concatenate([nothing, *(model.whiten(piece, n_layers) for piece in pieces)])
