"""Samples of the posterior for all tested images, by the encoding models of their folds; finished folds are kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from rich.progress import track

from spikevaediff.encoding import likelihood, luminance, of_folds, posterior
from spikevaediff.encoding.encoder import Encoder, WeightsOf
from spikevaediff.encoding.fewer_presentations import models_of
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
    if options.get("likelihood") == "poisson":
        of_images = np.isin(responses.image_id, split.test_ids)
        x = preprocessing.response_matrix(responses, transform="none")
        likelihood.check_counts(x[of_images], responses.image_id[of_images])
    network = {"config": config, "weights": weights.name, "n_layers": n_layers}
    known = Known.of(
        models,
        library,
        checkpoints.load(weights, CONFIGS[config]),
        n_layers,
        weights_of,
        around=around,
        trained_on=(responses, shown) if shown is not None and options.get("luminance_weight") else None,
    )
    tested, every = split.test_ids, models
    number = fold_of = split.fold_of(tested)
    if options.get("likelihood") != "poisson":  # which counts presentations itself
        every, number = models_of(models, fold_of, responses, responses, tested)
    parts = [np.flatnonzero(number == one) for one in np.unique(number)]
    found: list[np.ndarray] = []
    for rows in track(parts, f"{kept.name}: images of one model"):
        ids, encoder = tested[rows], every[number[rows[0]]]
        response, given = known.given(int(fold_of[rows[0]]), responses, ids, encoder)
        decisive: list[Any] = [response, ids, given["gain"]]
        decisive += [encoder.weight, encoder.intercept, encoder.covariance]
        decisive += [dict(options), network, weights, given["n_presentations"]]
        decisive += [*(given["photographs"] or ()), *(given["luminance"] or ())]
        decisive += [code] if code is not None and code.is_file() else []
        found.append(
            posterior.kept(
                kept / f"{posterior.key(*decisive)}.npz",
                partial(posterior.samples, response, ids, **given, **options, **compute),
            )
        )
    return np.concatenate(found)[np.argsort(np.concatenate(parts))]


@dataclass(frozen=True)
class Known:
    """What is known before responses come in: of images from a library, and of units from their encoding models.

    models : sequence of Encoder
    simulated : float64, (n_models, n_images, n_columns), responses of the models to the library.
    whitened : float32, (n_library, n_numbers), latents of the library.
    rows : int64, (n_library,), of `simulated`: those of the latents.
    model, n_layers : VDVAE, int
    weights_of : callable, the weight file of an asset.
    prior : callable, of the position of a model; None where the prior is that of the VDVAE.
    trained_on : Responses and Stimuli, the training images of the models; None where no luminance is expected.
    """

    models: Sequence[Encoder]
    simulated: np.ndarray
    whitened: np.ndarray
    rows: np.ndarray
    model: VDVAE
    n_layers: int
    weights_of: WeightsOf
    prior: Callable[[int], Photographs] | None
    trained_on: tuple[Responses, Stimuli] | None

    @classmethod
    def of(
        cls,
        models: Sequence[Encoder],
        library: tuple[LibraryResponses, Features],
        model: VDVAE,
        n_layers: int,
        weights_of: WeightsOf,
        *,
        around: tuple[Stimuli, Features] | None,
        trained_on: tuple[Responses, Stimuli] | None,
    ) -> Self:
        """From what `samples` takes.

        Raises
        ------
        KeyError
            The library's responses or latents lack an image of it.
        """
        simulated, features = library
        rows = rows_of(features.image_id, simulated.image_id, "the library's responses")
        whitened = whitened_latents(model, features, n_layers)
        prior = None
        if around is not None:
            prior = priors(models, around, whitened, features.image_id, model, n_layers, weights_of)
        return cls(models, simulated.values, whitened, rows, model, n_layers, weights_of, prior, trained_on)

    def given(
        self, number: int, responses: Responses, image_id: np.ndarray, encoder: Encoder
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Mean responses to some images, and what posterior.samples takes with them.

        Parameters
        ----------
        number : int
            Position of the encoding model, -1 for the last one.
        responses : Responses
        image_id : int64, (n_images,)
        encoder : Encoder
            The one at that position, or with the noise of fewer presentations, see `fewer_presentations`.

        Returns
        -------
        float64, (n_images, n_columns), and dict

        Raises
        ------
        KeyError
            An image was not presented.
        """
        response = preprocessing.mean_responses(responses, image_id)
        light = None
        if self.trained_on is not None:
            known, shown = self.trained_on
            learnt = preprocessing.mean_responses(known, encoder.image_id)
            light = luminance.expected(learnt, shown.rows(encoder.image_id), response)
        return response, {
            "encoder": encoder,
            "gain": posterior.gain(self.whitened, self.simulated[number][self.rows], encoder.covariance),
            "model": self.model,
            "n_layers": self.n_layers,
            "weights_of": self.weights_of,
            "n_presentations": (responses.image_id == image_id[:, None]).sum(1),
            "photographs": None if self.prior is None else self.prior(number),
            "luminance": light,
        }


def priors(
    models: Sequence[Encoder],
    around: tuple[Stimuli, Features],
    whitened: np.ndarray,
    image_id: np.ndarray,
    model: VDVAE,
    n_layers: int,
    weights_of: WeightsOf,
) -> Callable[[int], Photographs]:
    """Photographs of the library that have latents, and those that an encoding model was trained on.

    Parameters
    ----------
    models : sequence of Encoder
    around : Stimuli and Features
        Pictures of the library, and latents of the images of the data set.
    whitened, image_id : float32 (n_images, n_numbers) and int64 (n_images,)
        Latents of the library, and which picture each row is of.
    model, n_layers, weights_of
        As in `samples`.

    Returns
    -------
    callable of int
        The photographs of a model, by its position.

    Raises
    ------
    KeyError
        Latents of a training image are not there.
    """
    pictures, features = around
    kept = pictures.image_id[np.isin(pictures.image_id, image_id)]  # regress.vdvae.library may ask for fewer latents
    answers = of_folds.predict(models, pictures.rows(kept), weights_of)
    of_library = whitened[rows_of(kept, image_id, "latents of the library")]
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
