"""A sentence about a photograph that no one has described: the classes that EfficientNet-lite0 finds likeliest."""

import json
from typing import Any

import numpy as np
import torch

from spikevaediff.features import efficientnet
from spikevaediff.files import assets
from spikevaediff.images import rgb
from spikevaediff.networks.small import efficientnet_lite0
from spikevaediff.records import Features, Stimuli


def caption_of(probabilities: np.ndarray, names: list[str]) -> str:
    """A sentence from class probabilities: the likeliest class, and the next two while they are at all likely."""
    order = np.argsort(-probabilities)[:3]
    likely = [names[i] for i in order if probabilities[i] >= 0.05] or [names[order[0]]]
    return "A photograph of " + " and ".join(likely) + "."


def captions_of(grids: np.ndarray) -> list[str]:
    """Sentences from the tokens of `features.efficientnet`, float32 (n_images, 49, 1280)."""
    network = efficientnet_lite0(assets.fetch("efficientnet_lite0"))
    names = json.loads(assets.fetch("imagenet_class_names").read_text(encoding="utf-8"))
    with torch.inference_mode():
        # The grid's mean is the pooled feature that the classifier reads.
        probabilities = network.fc(torch.from_numpy(grids.mean(1))).softmax(1).numpy()
    return [caption_of(row, names) for row in probabilities]


def describe(images: Stimuli, vision: Features, **compute: Any) -> list[str]:
    """A sentence for every image.

    Parameters
    ----------
    images : Stimuli
    vision : Features
        Vision contexts of the first of them, taken where they are of the same network; rows of movies may follow.
    **compute
        device and batch_size of features.efficientnet.contexts, for the other images.

    Raises
    ------
    FileNotFoundError
        The weights of the network, or the names of its classes, cannot be fetched.
    """
    same = vision.group_size.tolist() == [efficientnet.WIDTH] * efficientnet.N_TOKENS
    n = int(np.isin(images.image_id, vision.image_id).sum()) if same else 0
    grids = [vision.tokens(images.image_id[:n])] if n else []
    if n < len(images.image_id):
        weights = assets.fetch("efficientnet_lite0")
        grids.append(efficientnet.contexts(rgb(images.pixels[n:]), weights=weights, **compute))
    return captions_of(np.concatenate(grids))
