"""A sentence about a photograph that no one has described: the classes that EfficientNet-lite0 finds likeliest."""

import json

import numpy as np
import torch

from spikevaediff.files import assets
from spikevaediff.networks.small import efficientnet_lite0


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
