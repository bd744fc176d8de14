"""What the generator is given for each run: predicted images and contexts, or nothing that depends on spikes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spikevaediff.decoders.second_stage import unconditional
from spikevaediff.decoders.second_stage.explained import Explained
from spikevaediff.decoders.second_stage.guides import Guides
from spikevaediff.encoding import of_folds
from spikevaediff.records import Features, ImageSplit, Reconstructions, Responses, Stimuli
from spikevaediff.regression.folds import training_mean

# Runs that know nothing of an image: empty contexts, and what the regression says of mean spikes, the mean of the
# training images' contexts. What these show does not come from responses.
NO_SPIKES, MEAN_SPIKES = PRIORS = ("prior_no_spikes", "prior_mean_spikes")

# Options of a second stage that do not come from params.yaml.
GIVEN = ("seed", "batch_size", "device", "kept", "unconditional", "explained")


# What runs.yaml names where a run reads no file, and where images that were shown stand in the place of responses.
NOTHING, SHOWN = "split.npz", "images.npz"


def explained(
    encoders: str | Path,
    responses: str | Path,
    split: ImageSplit,
    options: Mapping[str, Any],
    weights_of: Callable[[str], Path],
) -> Explained | None:
    """Responses to the tested images, and who judges images by them; None where nobody asks.

    Parameters
    ----------
    encoders : str or Path
        Folder of a population's encoding models, or NOTHING: a prior asks nothing of responses.
    responses : str or Path
        Measured ones of that population; or SHOWN: those that its models expect of the images that were shown.
    split : ImageSplit
    options : mapping
        Of the second stage: with one sample and no guidance by likelihood there is nothing to ask.
    weights_of : callable
        The weight file of an asset.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        As of_folds.load, Responses.load, Stimuli.load, Explained.of and Explained.expected raise.
    """
    if Path(encoders).name == NOTHING or (options.get("n_samples") == 1 and not options.get("guidance_likelihood")):
        return None
    models = of_folds.load(Path(encoders), split.n_folds)
    if Path(responses).name == SHOWN:
        return Explained.expected(models, Stimuli.load(responses), split, weights_of)
    return Explained.of(models, Responses.load(responses), split, weights_of)


def guides(
    run: str, split: ImageSplit, folder: str | Path, start: str = "", vision: str = "", text: str = ""
) -> Guides:
    """The guides of the tested images.

    Parameters
    ----------
    run : str
        One of PRIORS, or any other, which has the following.
    split : ImageSplit
    folder : str or Path
        Of true features, for the means of training images.
    start, vision, text : str
        A folder of reconstructions, and files of features.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        Something is absent, damaged or lacks a tested image.
    """
    if run == NO_SPIKES:
        return Guides(split.test_ids, None, None, None)
    if run == MEAN_SPIKES:
        means = {
            space: mean_contexts(Features.load(Path(folder) / f"{space}.npz"), split) for space in ("vision", "text")
        }
        return Guides(split.test_ids, None, **means)
    return Guides.predicted(
        split.test_ids, start=Reconstructions.load(start), vision=Features.load(vision), text=Features.load(text)
    )


def mean_contexts(features: Features, split: ImageSplit) -> np.ndarray:
    """For every tested image the mean context of its fold's training images, float32 (n_test, n_tokens, width)."""
    return training_mean(features.tokens(split.image_id), split)


def nothing(contexts: Mapping[str, Features]) -> Guides:
    """The guides without content, of one row of each space: what `unconditional.contexts` computes."""
    return Guides(unconditional.ID, None, **{space: one.tokens(unconditional.ID) for space, one in contexts.items()})


def nothing_of(folder: str | Path) -> Guides:
    """The same, as the stage `unconditional` wrote it.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is not there, is damaged or holds something else.
    """
    return nothing({space: Features.load(Path(folder) / f"{space}.npz") for space in unconditional.SPACES})
