"""The saved models of a run applied to new data: responses to images, and images to responses."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.api import measure
from spikevaediff.api.named import Named
from spikevaediff.api.run import Run, load, named_images, unit_ids
from spikevaediff.decoders.second_stage import given
from spikevaediff.decoders.second_stage.explained import Explained
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import of_folds, posterior, posterior_folds, with_regression
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.encoding.fewer_presentations import models_of
from spikevaediff.evaluation.correlation import correlation
from spikevaediff.files import assets
from spikevaediff.files.left_out import is_left_out
from spikevaediff.images import LEAST_PX, read_image
from spikevaediff.parameters.compute import device
from spikevaediff.parameters.options import asked, is_weights, module
from spikevaediff.recordings import preprocessing
from spikevaediff.records import (
    DAMAGED,
    Captions,
    Features,
    LibraryResponses,
    Reconstructions,
    Responses,
    Samples,
    Stimuli,
    few,
)
from spikevaediff.regression import fits, new_responses
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS

RECONSTRUCTED_BY = ("posterior", "posterior_sample", "vdvae", "diffusion")
SAME = 0.99  # correlation of pixels from which two pictures are the same image, if the next two hold as well
SAME_LIGHT, SAME_CONTRAST = 0.01, 0.9  # largest difference of means, in 0 to 1; smallest ratio of standard deviations


def reconstruct(responses: Responses, run: Run | str | Path = ".", *, by: str = "posterior") -> Named:
    """Images from new responses of the units that a run was fitted to, by its models of all images.

    Parameters
    ----------
    responses : Responses
        Of the visual population, with the same units in the same order and the same windows; see `make_responses`. The
        mean response to each image is reconstructed. Means over fewer presentations than those that the models learnt
        from are taken to be noisier, see encoding.fewer_presentations; so give presentations, one per row, where you
        have them. Fractions where the run has counts are taken for means over as many presentations as it has.
    run : Run, str or Path
        A finished run, or its folder.
    by : str
        posterior (mean of the posterior samples, with decode.posterior_images.regression_share of the regression in
        it), posterior_sample (one of them), vdvae (regression to latents) or diffusion (second stage, from the
        posterior mean).

    Returns
    -------
    Named
        uint8 (image_id, row, column, colour), sorted by image_id.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        There is no such method, or a model of it is not there; other units or windows; values below 0 where the run has
        none; an image that trained the models, whose reconstruction would look better than it is.

    Warns
    -----
    UserWarning
        The mean response is far from that of the run, as that of rates is from counts; see api/measure.py.
    """
    if by not in RECONSTRUCTED_BY:
        raise KeyError(f"there is no method {by!r}; there are {', '.join(RECONSTRUCTED_BY)}")
    if not isinstance(responses, Responses):
        raise ValueError(
            f"responses are {type(responses).__name__}, expected a record: make_responses(counts, image_id, like=known)"
        )
    run = run if isinstance(run, Run) else load(run)
    empty = contexts_of_nothing(run) if by == "diffusion" else None
    fit = fits.load(run.artifacts / "fits/vdvae_all_images.npz")
    if seen := np.intersect1d(responses.image_id, fit.parameters["context_image_id"]).tolist():
        raise ValueError(
            f"image_id {few(seen)} trained these models, so that a reconstruction would look better than it is. "
            "Reconstructions by models that have not seen them are in run.reconstructions; give new images other ids"
        )
    # It refuses other units and other windows, which encoding models do not know.
    latents = new_responses.predict_features(fit, responses)
    if said := measure.problem(fit.parameters, responses, run.artifacts / "responses/visual.npz"):
        warnings.warn(said, stacklevel=2)
    if by == "vdvae":
        return named_images(decode_latents(latents, run))
    options = run.params["decode"].get("posterior_images", {"regression_share": 0.0})  # an older run has none
    regressed = decode_latents(latents, run) if options["regression_share"] else None
    mean, sample = with_regression.pictures(_posterior(responses, latents.image_id, run), regressed, **options)
    start = sample if by == "posterior_sample" else mean
    if empty is None:
        return named_images(start)
    contexts = {
        space: new_responses.predict_features(fits.load(run.artifacts / f"fits/{space}_all_images.npz"), responses)
        for space in ("vision", "text")
    }
    explained = _explained(responses, start.image_id, run)
    return named_images(second_stage(contexts, start, run, empty=empty, explained=explained))


def decode_latents(latents: Features, run: Run) -> Reconstructions:
    """Images of predicted latents by the decoder that params.yaml names, as the stage `decode` makes them."""
    own = dict(run.params["decode"]["vdvae"])
    decode = module("decoders", own.pop("module")).decode
    given = {"seed": run.params["seed"]} | _compute(run)
    options = asked(decode, _model(run)["vdvae"]) | own | asked(decode, given)
    options |= {name: assets.weights(value, run.root) for name, value in options.items() if is_weights(name, value)}
    return decode(latents, **options)


def check_latents(fit: str | Path) -> None:
    """Refuse a saved fit whose predictions `decode_latents` cannot decode, before anything is computed.

    Parameters
    ----------
    fit : path
        Only the name of its space is read.

    Raises
    ------
    FileNotFoundError, ValueError
        It is not there, a folder or damaged, or of another feature space than vdvae.
    """
    if Path(fit).is_dir():
        raise ValueError(f"{fit} is a folder, expected a file")
    if not Path(fit).is_file():
        raise FileNotFoundError(f"{fit} does not exist. Make it with: dvc repro")
    try:
        with Path(fit).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            space = str(file["parameter_context_space"]) if "parameter_context_space" in file else "vdvae"
    except DAMAGED as error:
        raise ValueError(f"{fit} is no fit, or damaged ({error}). Make it again with: dvc repro") from error
    if space != "vdvae":
        raise ValueError(
            f"{fit} predicts the feature space {space}, and only latents of vdvae are decoded into images. Name a fit "
            "of vdvae, or leave out --decode"
        )


def encode(
    pictures: np.ndarray | Named | Sequence[str | Path] | None = None,
    run: Run | str | Path = ".",
    *,
    population: str = "visual",
    image_id: Sequence[int] | np.ndarray | None = None,
) -> Named:
    """Mean responses to new pictures or to images of the run, as encoding models predict them.

    New pictures are predicted by the model of all images. An image of the run is predicted by the model of the fold
    that tests it, which has not seen it: this prediction can be compared with the measured response. Pictures that are
    images of the run are predicted as well, with a warning: the model was trained on them.

    Parameters
    ----------
    pictures : uint8, (n, height, width), or paths
        Grey levels; whole pictures are squashed to squares, as images of a data set are. A Named keeps its image_id.
    run : Run, str or Path
    population : str
    image_id : int, (n,)
        Tested images of the run, in place of `pictures`.

    Returns
    -------
    Named
        float64 (picture or image_id, unit, window), label area. A picture is named by its place in the array, or by its
        path. The values have the unit of measure of the responses: spike counts, say.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        A model or a picture is not there or damaged; pixels of another type or shape; ids that are no whole numbers; an
        image that no fold tests; both or neither of pictures and image_id.
    """
    run = run if isinstance(run, Run) else load(run)
    there = sorted(path.parent.name for path in run.artifacts.glob("encoders/*/all_images.npz"))
    if there and population not in there:
        raise KeyError(f"there are no encoding models of a population {population!r}; there are {', '.join(there)}")
    if (pictures is None) == (image_id is None):
        raise ValueError("encode takes pictures, or the image_id of images of the run, and not both")
    if image_id is not None:
        return _encode_unseen(_whole_numbers(image_id), run, population)
    if isinstance(pictures, np.ndarray | Named):
        pixels, axis, names = np.asarray(pictures), "picture", np.arange(len(pictures))
        if isinstance(pictures, Named) and next(iter(pictures.axes)) == "image_id":
            axis, names = "image_id", pictures.axes["image_id"]
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or not pixels.size:
            grey = (
                '. Take one of the equal colours: .sel(colour="red")'
                if "colour" in getattr(pictures, "axes", ())
                else ""
            )
            raise ValueError(f"pictures are {pixels.dtype} {pixels.shape}, expected uint8 (n, height, width){grey}")
        if min(pixels.shape[1:]) < LEAST_PX:
            raise ValueError(
                f"pictures are {pixels.shape}, {len(pixels)} of {pixels.shape[2]} x {pixels.shape[1]} pixels, expected "
                f"(n, height, width) of at least {LEAST_PX}. A single one is pixels[None]; make colours grey first"
            )
    else:
        if not isinstance(pictures, Sequence) or not all(isinstance(path, str | Path) for path in pictures):
            raise ValueError("pictures are neither an array, uint8 (n, height, width), nor a list of paths")
        if isinstance(pictures, str) or not pictures:
            raise ValueError(f"pictures are {pictures!r}, expected a list of paths")
        squares = [encoders.seen(read_image(Path(path))[..., 0]).numpy() for path in pictures]
        pixels = np.concatenate([np.round(square * 255).astype(np.uint8) for square in squares])
        axis, names = "picture", np.array([str(path) for path in pictures])
    model = Encoder.load(run.artifacts / f"encoders/{population}/all_images.npz")
    if seen := trained_on(pixels, model, run.stimuli):
        warnings.warn(
            f"{len(seen)} of {len(pixels)} pictures are images on which this model was trained, so that predictions "
            f"look better than they are: image_id {few(sorted({*seen.values()}))}. For tested images, there are models "
            "that have not seen them: encode(run=run, image_id=[...])",
            stacklevel=2,
        )
    predicted = encoders.predict(model, pixels, partial(assets.weights, root=run.root))
    return _of_units(predicted, model, axis, names)


def trained_on(pixels: np.ndarray, model: Encoder, stimuli: Stimuli) -> dict[int, int]:
    """The pictures that are training images of an encoding model, at the size that the model sees.

    Parameters
    ----------
    pixels : uint8, (n, height, width)
    model : Encoder
    stimuli : Stimuli
        Of its run.

    Returns
    -------
    dict of int to int
        Number of a picture, and the image_id: the image that it correlates with most, by at least SAME, with about as
        much contrast and as light. A copy was resized, say, or is a JPEG.
    """
    image_id = np.intersect1d(model.image_id, stimuli.image_id)
    shown, new = (encoders.seen(one).numpy().reshape(len(one), -1) for one in (stimuli.rows(image_id), pixels))
    alike = correlation(new, shown)
    nearest = alike.argmax(1)
    spread = [one.std(1) for one in (shown[nearest], new)]
    light = np.abs(shown[nearest].mean(1) - new.mean(1)) <= SAME_LIGHT
    same = (alike.max(1) >= SAME) & light & (np.minimum(*spread) >= SAME_CONTRAST * np.maximum(*spread))
    return {number: int(image_id[nearest[number]]) for number in np.flatnonzero(same).tolist()}


def _whole_numbers(image_id: Sequence[int] | np.ndarray) -> np.ndarray:
    """Ids as int64; those that are no row of whole numbers would be cut off to other ids."""
    ids = np.asarray(image_id)
    if ids.ndim != 1 or not ids.size or ids.dtype.kind not in "iu":
        raise ValueError(f"image_id is {ids.tolist()!r}, expected a row of whole numbers: [3, 17]")
    if len(np.unique(ids)) < len(ids):
        raise ValueError(f"image_id {few(ids.tolist())} repeat: each can be asked for once")
    return ids.astype(np.int64)


def _encode_unseen(image_id: np.ndarray, run: Run, population: str) -> Named:
    """Responses to images of the run, each by the model of the fold that tests it."""
    fold, shown = run.split.fold_of(image_id), run.shown.sel(image_id=image_id).values
    if len(trained := image_id[fold < 0]):
        raise ValueError(f"image_id {few(trained)}: for training only, so that every model has seen them")
    predicted: np.ndarray | None = None
    for number in np.unique(fold):
        model = Encoder.load(run.artifacts / f"encoders/{population}" / of_folds.file_name(int(number)))
        rows = fold == number
        found = encoders.predict(model, shown[rows], partial(assets.weights, root=run.root))
        predicted = np.empty((len(fold), found.shape[1])) if predicted is None else predicted
        predicted[rows] = found
    assert predicted is not None
    return _of_units(predicted, model, "image_id", image_id)


def _of_units(predicted: np.ndarray, model: Encoder, axis: str, names: np.ndarray) -> Named:
    """Columns of an encoding model, (image, column), by unit and window."""
    columns = unit_ids(model)  # all units of the first window, then of the next
    n_units = len(set(columns.tolist()))
    shape = (len(predicted), -1, n_units)
    axes = {axis: names, "unit": columns[:n_units], "window": np.arange(len(columns) // n_units)}
    return Named(predicted.reshape(shape).swapaxes(1, 2), axes, {"area": ("unit", model.area[:n_units])})


def _posterior(responses: Responses, image_id: np.ndarray, run: Run) -> Samples:
    """Samples of the posterior, as the stage `decode_posterior` makes them of a fold."""
    network, options = _model(run)["vdvae"], dict(run.params["decode"]["posterior"])
    around = trained_on = None
    counts_itself = options.get("likelihood") == "poisson"  # how often an image was presented
    models, number = _models(responses, image_id, run, noisier=not counts_itself)
    if options.pop("prior", "normal") == "photographs":
        around = Stimuli.load(run.artifacts / "library/images.npz"), Features.load(run.artifacts / "features/vdvae.npz")
    if options.get("luminance_weight"):
        trained_on = Responses.load(run.artifacts / "responses/visual.npz"), Stimuli.load(run.artifacts / "images.npz")
    known = posterior_folds.Known.of(
        models[:1],
        (
            LibraryResponses.load(run.artifacts / "library/responses_visual.npz"),
            Features.load(run.artifacts / "library/vdvae.npz"),
        ),
        checkpoints.load(assets.weights(network["weights"], run.root), CONFIGS[network["config"]]),
        network["n_layers"],
        partial(assets.weights, root=run.root),
        around=around,
        trained_on=trained_on,
    )
    parts = [np.flatnonzero(number == one) for one in np.unique(number)]
    found = []
    for rows in parts:
        response, given = known.given(-1, responses, image_id[rows], models[number[rows[0]]])
        given |= {"seed": run.params["seed"]}
        found.append(posterior.samples(response, image_id[rows], **given, **options, **_compute(run)))
    return Samples.rounded(image_id, np.concatenate(found)[np.argsort(np.concatenate(parts))])


def _models(
    responses: Responses, image_id: np.ndarray, run: Run, *, noisier: bool = True
) -> tuple[list[Encoder], np.ndarray]:
    """The encoding model of all images, those for images with fewer presentations, and which is whose."""
    model, number = Encoder.load(run.artifacts / "encoders/visual/all_images.npz"), np.zeros(len(image_id), np.int64)
    if not noisier:
        return [model], number
    return models_of([model], number, Responses.load(run.artifacts / "responses/visual.npz"), responses, image_id)


def contexts_of_nothing(run: Run) -> Guides:
    """What the stage `unconditional` wrote, without which there is no second stage.

    Raises
    ------
    FileNotFoundError, ValueError
        It has not run, or was left out.
    """
    folder = run.artifacts / "unconditional"
    if is_left_out(folder):
        raise ValueError(
            "this run was made without its second stage. "
            "Set parts.second_stage of params.yaml to true and run: dvc repro"
        )
    return given.nothing_of(folder)


def second_stage(
    contexts: dict[str, Features],
    start: Reconstructions,
    run: Run,
    *,
    empty: Guides,
    explained: Explained | None,
) -> Reconstructions:
    """Images of predicted contexts, as the stage `decode_diffusion` makes them.

    Parameters
    ----------
    contexts : dict
        Features of vision and text.
    start : Reconstructions
        Of the same images.
    run : Run
    empty : Guides
        Of `contexts_of_nothing`.
    explained : Explained, optional
        The responses that guide it, or choose among samples; with None one sample follows the contexts alone.
    """
    model, compute = _model(run), _compute(run)
    guides = Guides.predicted(start.image_id, start=start, **contexts)
    decode = module("decoders", model["diffusion"]["module"]).decode
    options = {"start_share": 0.0} | model["diffusion"] | run.params["decode"]["diffusion"]  # an older run has none
    if explained is None:
        options |= asked(decode, {"n_samples": 1, "guidance_likelihood": 0.0})
    if not len(Captions.load(run.artifacts / "captions.csv").described):
        guides, options["mixing"] = replace(guides, text=None), 1.0
    weights_of = partial(assets.weights, root=run.root)
    options |= {name: weights_of(value) for name, value in options.items() if is_weights(name, value)}
    options |= {"unconditional": empty, "seed": run.params["seed"], "kept": None, "explained": explained}
    return decode(guides, **asked(decode, options | compute))


def _explained(responses: Responses, image_id: np.ndarray, run: Run) -> Explained:
    """Mean responses to images, and the encoding models that judge pictures by them."""
    response = preprocessing.mean_responses(responses, image_id)
    weights_of = partial(assets.weights, root=run.root)
    return Explained(*_models(responses, image_id, run), image_id, response, weights_of)


def _model(run: Run) -> dict[str, Any]:
    return run.params["models"][run.params["model"]]


def _compute(run: Run) -> dict[str, Any]:
    options = dict(run.params["compute"])
    return options | {"device": device(options["device"])}
