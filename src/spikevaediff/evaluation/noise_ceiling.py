"""How well features could be predicted at most, given that presentations differ.

A decoder trained on all presentations of its training images predicts each test image twice, from two halves of its
presentations. Where the two predictions agree is what the image causes; where they differ is noise. By Spearman and
Brown's formula the correlation r of the halves makes the reliability R = k r / (1 + (k - 1) r) of the prediction from
all presentations, k = 2, or more where an odd one is in no half (reliability.lengthening). No prediction of that
reliability can correlate above sqrt(R) with features that are known without noise (Spearman 1904, attenuation; Schoppe
et al. 2016, Frontiers in Computational Neuroscience 10:10, for responses). So

    correlation / ceiling

is what the decoder would reach with endless presentations at test: the ceiling is what recording noise costs, the rest
is lost by the regression, by too few training images, or was never in the spikes.

Each fold predicts about the mean of its own training images, in both halves alike. That mean is taken away first; left
in, it would count as agreement.
"""

from typing import Any

import numpy as np

from spikevaediff.recordings import reliability
from spikevaediff.recordings.reliability import correlation_of_groups, spearman_brown
from spikevaediff.records import BLANK, Features
from spikevaediff.regression import cross_validation, folds
from spikevaediff.regression.task import Task


def of_task(
    task: Task, source: str, progress: str, *, n_draws: int, seed: int
) -> tuple[dict[str, Any], list[Features]]:
    """The noise ceiling of a regression, from predictions of every test image by halves of its presentations.

    Parameters
    ----------
    task : Task
    source : str
        The data set, for the record.
    progress : str
        What a progress bar says.
    n_draws, seed : int
        Random splits into halves that are averaged.

    Returns
    -------
    dict
        space, population, source, n_images, n_draws; presentations, [fewest, most of an image]; lengthening, k; absent,
        None or why there is no ceiling (a data set with one presentation of an image has none); mean, a row as those of
        `by_group` for all groups together; groups, `by_group`.
    list of two Features
        Predictions from the halves of the first draw, as decoders take them; of no image where there are no halves:
        nothing must be decoded and shown as if it came from a half.

    Raises
    ------
    KeyError, ValueError
        As cross_validation.predict.
    """
    image_id, split, features = task.responses.image_id, task.split, task.features
    n_shown = np.unique(image_id[image_id != BLANK], return_counts=True)[1]
    result: dict[str, Any] = {
        "space": task.space,
        "population": task.population,
        "source": source,
        "n_images": len(split.test_ids),
        "n_draws": n_draws,
        "presentations": [int(n_shown.min()), int(n_shown.max())],
        "lengthening": None,
        "absent": None,
        "mean": None,
        "groups": [],
    }
    if n_shown.min() < 2:
        which = "images" if n_shown.max() == 1 else "some images"
        result["absent"] = f"{which} were shown once, or only the mean over presentations is known: no two halves"
        none = np.empty((0, features.values.shape[1]), np.float32)
        return result, [Features(task.space, split.test_ids[:0], none, features.group_name, features.group_size)] * 2
    drawn = [reliability.halves(image_id, seed=seed, draw=draw) for draw in range(n_draws)]
    found = cross_validation.predict(
        task.x,
        task.y,
        split,
        task.method,
        task.options,
        renormalise=task.renormalise,
        library=task.simulated,
        weights=task.library_weights,
        also=[m for h in drawn for m in reliability.half_means(task.presentations, image_id, h, split.image_id)],
        decoded=(1, 2),
        progress=progress,
    )
    real = features.rows(split.image_id)
    mean = folds.training_mean(real, split, dtype=np.float64)
    # In place: predictions of published latents fill 400 MB.
    np.subtract(found.raw, mean, out=found.raw, casting="same_kind")
    of_all, *of_halves = (task.record(values) for values in found.raw)
    true = task.record((real[split.fold >= 0] - mean).astype(np.float32))
    longer = reliability.lengthening(image_id[np.isin(image_id, split.test_ids)])  # whose halves are compared
    groups = by_group(list(zip(of_halves[::2], of_halves[1::2], strict=True)), of_all, true, longer)
    halves, whole = (float(np.mean([group[name] for group in groups])) for name in ("half_correlation", "correlation"))
    result |= {"lengthening": longer, "mean": summary("mean", halves, whole, longer), "groups": groups}
    return result, [task.record(values) for values in found.renormalised]


def report_line(result: dict[str, Any]) -> str:
    """A line about what `of_task` found, for those who run it."""
    if result["absent"]:
        return f"absent: {result['absent']}"
    mean = result["mean"]
    return (
        f"halves agree at {mean['half_correlation']:.3f}, so at most {mean['ceiling']:.3f}; reached "
        f"{mean['correlation']:.3f} (mean over {len(result['groups'])} groups)"
    )


def by_group(
    pairs: list[tuple[Features, Features]], predicted: Features, true: Features, lengthening: float = 2.0
) -> list[dict[str, Any]]:
    """The noise ceiling of each group of features (VDVAE layer).

    Parameters
    ----------
    pairs : list of (Features, Features)
        One pair per draw: predictions from either half of the presentations.
    predicted : Features
        From all presentations.
    true : Features
        All without the training mean, the true ones too; the same images and dims.
    lengthening : float
        k above.

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
    rows = zip(predicted.group_name.tolist(), agreed.tolist(), found.tolist(), strict=True)
    return [summary(*row, lengthening) for row in rows]


def summary(group: str, half_correlation: float, correlation: float, lengthening: float) -> dict[str, Any]:
    """A row of `by_group` from its two correlations."""
    whole = float(spearman_brown(half_correlation, lengthening))
    ceiling = whole**0.5
    return {
        "group": group,
        "half_correlation": half_correlation,
        "reliability": whole,
        "ceiling": ceiling,
        "correlation": correlation,
        "share_of_ceiling": correlation / ceiling if ceiling > 0 else None,
    }
