"""How well features could be predicted at most, given that presentations differ.

A decoder trained on all presentations of its training images predicts each test image twice, from two halves of its
presentations. Where the two predictions agree is what the image causes; where they differ is noise. By Spearman and
Brown's formula the correlation r of the halves makes the reliability R = 2 r / (1 + r) of the prediction from all
presentations, and no prediction of that reliability can correlate above sqrt(R) with features that are known without
noise (Spearman 1904, attenuation; Schoppe et al. 2016, Frontiers in Computational Neuroscience 10:10, for responses).
So

    correlation / ceiling

is what the decoder would reach with endless presentations at test: the ceiling is what recording noise costs, the rest
is lost by the regression, by too few training images, or was never in the spikes.

Each fold predicts about the mean of its own training images, in both halves alike. That mean is taken away first; left
in, it would count as agreement.
"""

from typing import Any

import numpy as np

from spikevaediff.recordings.reliability import correlation_of_groups, spearman_brown
from spikevaediff.records import Features


def by_group(pairs: list[tuple[Features, Features]], predicted: Features, true: Features) -> list[dict[str, Any]]:
    """The noise ceiling of each group of features (VDVAE layer).

    Parameters
    ----------
    pairs : list of (Features, Features)
        One pair a draw: predictions from either half of the presentations.
    predicted : Features
        From all presentations.
    true : Features
        All without the training mean, the true ones too; the same images and dims.

    Returns
    -------
    list of dict, in the order of the groups
        group, its name; half_correlation, of the two predictions over images (mean over the dims of the group and
        draws, a constant dim counts as 0); reliability, R above; ceiling, sqrt(R); correlation, of prediction and true
        features; share_of_ceiling, their ratio, None where the ceiling is 0.

    Raises
    ------
    KeyError
        The true features lack an image.
    """
    agreed = np.mean([correlation_of_groups(a.values, b.rows(a.image_id), a.group_size) for a, b in pairs], axis=0)
    found = correlation_of_groups(predicted.values, true.rows(predicted.image_id), predicted.group_size)
    return [summary(*row) for row in zip(predicted.group_name.tolist(), agreed.tolist(), found.tolist(), strict=True)]


def summary(group: str, half_correlation: float, correlation: float) -> dict[str, Any]:
    """A row of `by_group` from its two correlations."""
    reliability = float(spearman_brown(half_correlation))
    ceiling = reliability**0.5
    return {
        "group": group,
        "half_correlation": half_correlation,
        "reliability": reliability,
        "ceiling": ceiling,
        "correlation": correlation,
        "share_of_ceiling": correlation / ceiling if ceiling > 0 else None,
    }
