"""Targets come out again when they are extracted again, or no regression is fitted to them."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikevaediff.records import Captions, Features, Stimuli

TOLERANCE = 1e-4  # of the largest value: another batch size changes the rounding, nothing else


def reads_captions(extract: Callable[..., Features]) -> bool:
    """Whether an extractor of spikevaediff.features reads captions instead of images."""
    return "captions" in inspect.signature(extract).parameters


def extract_twice(
    extract: Callable[..., Features],
    stimuli: Stimuli,
    captions: Captions | None,
    options: Mapping[str, Any],
) -> tuple[Features, str]:
    """Extract a feature space, and some images of it again in another batch.

    A network that is not loaded, or that draws its latents, is found here.

    Parameters
    ----------
    extract : callable
        Of a module of spikevaediff.features.
    stimuli : Stimuli
    captions : Captions or None
        Of all images, where the extractor reads them.
    options : mapping
        Of the extractor.

    Returns
    -------
    Features
    str
        What the second extraction said, for those who run it.

    Raises
    ------
    ValueError
        As `check_repeatable`.
    """

    def extracted(ids: np.ndarray, **changes: int) -> Features:
        shown = Stimuli(stimuli.source, ids, stimuli.rows(ids))
        return extract(shown if captions is None else captions.of(ids), **{**options, **changes})

    features = extracted(stimuli.image_id)
    described = stimuli.image_id if captions is None else captions.described
    if not len(described):
        return features, "no image has a caption, so that its context is that of the empty one and tells nothing"
    bare = np.setdiff1d(stimuli.image_id, described)
    few = np.sort([*np.sort(described)[:: max(1, len(described) // 8)], *bare[:1]])
    first = Features(features.space, few, features.rows(few), features.group_name, features.group_size)
    another = {"batch_size": 3} if "batch_size" in options else {}
    found = check_repeatable(first, extracted(few, **another), tolerance=TOLERANCE)
    return features, f"extracted again, largest difference {found.difference:.1e}, {found.n_constant} constant dims"


@dataclass(frozen=True)
class Repeatability:
    """How well two extractions of a feature space agree.

    difference : float; largest |first - second| over all values, relative to the largest |first|.
    correlation : float; Pearson correlation of all values, each dim centred over images.
    n_constant : int; dims that are the same for every image: nothing can be learnt of them.
    """

    difference: float
    correlation: float
    n_constant: int


def check_repeatable(first: Features, second: Features, *, tolerance: float) -> Repeatability:
    """Refuse targets that come out otherwise when they are extracted again.

    A network whose weights were not loaded, or that draws its latents instead of taking their means, gives targets
    that no regression can predict, while every later stage still runs.

    Parameters
    ----------
    first, second : Features
        Two independent extractions of the same images.
    tolerance : float
        Largest difference allowed, relative to the largest value.

    Returns
    -------
    Repeatability

    Raises
    ------
    ValueError
        Other images or dims; values that differ by more than the tolerance; no dim that varies over images.
    """
    if first.space != second.space or not np.array_equal(first.image_id, second.image_id):
        raise ValueError(
            f"cannot compare {first.space} of {len(first.image_id)} images with {second.space} of "
            f"{len(second.image_id)}: expected the same space and the same images in the same order"
        )
    a, b = first.values, second.values
    if a.shape != b.shape:
        raise ValueError(f"feature space {first.space} has {a.shape[1]} dims, then {b.shape[1]}")
    n_constant = int(np.sum((a == a[:1]).all(0)))
    if n_constant == a.shape[1]:
        raise ValueError(
            f"feature space {first.space} is the same for all {len(a)} images: the network does not see them. "
            f"Check that its weights were loaded and that the images differ"
        )
    scale = float(np.abs(a).max())
    difference = float(np.abs(a - b).max()) / scale
    a, b = a - a.mean(0, keepdims=True), b - b.mean(0, keepdims=True)
    product, power_a, power_b = (
        float(np.einsum("ij,ij->", *pair, dtype=np.float64)) for pair in ((a, b), (a, a), (b, b))
    )
    correlation = product / np.sqrt(power_a * power_b) if power_b else 0.0
    if not difference <= tolerance:
        raise ValueError(
            f"feature space {first.space} is not repeatable: two extractions differ by {difference:.3g} of the largest "
            f"value (allowed {tolerance:g}) and correlate at {correlation:.3f} over images. Expected the mean of the "
            f"latents, not a draw, from a network in evaluation mode with its weights loaded"
        )
    return Repeatability(difference, float(correlation), n_constant)
