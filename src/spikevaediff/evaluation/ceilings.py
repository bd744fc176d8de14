"""The noise ceiling of a score: how well two reconstructions of one image agree that differ in nothing but noise.

Each test image is reconstructed twice by one fit and decoder, the regression to latents, from one half of its
presentations and from the other. The reconstruction from one half takes the place of the image, and the one from the
other half is scored against it by the metric itself; then the other way round; the mean of the two is `agreement`. Two
noisy reconstructions agree less than a perfect decoder's would with the image, so agreement alone is too strict a
bound. For PixCorr, a correlation, the bound is known: with r the agreement, all presentations together are as reliable
as R = 2 r / (1 + r) (Spearman 1910, Brown 1910), and cannot correlate above sqrt(R) with what is known without noise
(Spearman 1904). That is its `ceiling`. For other metrics no such law holds and `ceiling` is the agreement, to be read
as what this much noise costs a score that would otherwise be perfect.

It is the ceiling of that regression: another decoder of the same responses may lose less to noise. And it says nothing
of how much responses know: a picture that all reconstructions share, such as the mean training image, is perfectly
reliable.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikevaediff.evaluation import looking, scores, statistics
from spikevaediff.evaluation.registry import METRICS
from spikevaediff.recordings.reliability import spearman_brown
from spikevaediff.records import ImageSplit, Reconstructions


def of_halves(
    halves: Sequence[Reconstructions] | str,
    split: ImageSplit,
    *,
    source: str,
    protocol: str,
    size_px: int,
    metrics: list[str],
    lengthening: float = 2.0,
    batch_size: int = 8,
) -> dict[str, Any]:
    """Agreement of reconstructions from halves of the presentations, metric by metric.

    Parameters
    ----------
    halves : two of Reconstructions, or str
        Of the same images; or the reason for which there are none, as where images were shown once.
    source : str
        Of the stimuli.
    split, protocol, size_px, metrics, batch_size
        As scores.score_run.
    lengthening : float
        How many times as long as a half all presentations are, as reliability.lengthening.

    Returns
    -------
    dict
        protocol, source, n_images, settings as score_run; metrics : for each name absent, agreement, ceiling.

    Raises
    ------
    KeyError, ValueError
        As score_run; or an image is in one half only.
    """
    chosen, weights, absent = looking.prepared(protocol, metrics)
    ids = np.empty(0, np.int64)
    if isinstance(halves, str):
        absent = dict.fromkeys(metrics, halves)
    else:
        ids = np.sort(halves[0].image_id)
        absent |= scores.too_few(metrics, len(ids), absent)
        present = [name for name in metrics if name not in absent]
        options: dict[str, Any] = {"size_px": size_px, "metrics": present, "weights": weights, "batch_size": batch_size}
        looks = [looking.look(half.rows(ids), chosen, shown=False, **options) for half in halves]
        group = statistics.groups(split.fold_of(ids), seed=0)  # any will do: only the diagonal is read
        both = [scores.compare(x, y, group, chosen, metrics=present) for x, y in (looks, looks[::-1])]
    results: dict[str, Any] = {}
    for name in metrics:
        if name in absent:
            results[name] = {"absent": absent[name], "agreement": None, "ceiling": None}
            continue
        agreement = float(np.mean([matrices[name].diagonal().mean() for matrices in both]))
        results[name] = {"absent": None, "agreement": agreement, "ceiling": ceiling_of(name, agreement, lengthening)}
    return {
        "protocol": chosen.name,
        "source": source,
        "n_images": len(ids),
        "settings": chosen.rules(size_px),
        "metrics": results,
    }


def ceiling_of(metric: str, agreement: float, lengthening: float = 2.0) -> float:
    """The noise ceiling from the agreement of halves: as the module of the metric says, or the agreement.

    The module speaks of exact halves. Where an odd presentation is in neither, it is given the agreement that exact
    halves would have: with R the reliability of all presentations, R / (2 - R).
    """
    says = getattr(METRICS[metric].module, "ceiling", None)
    if says is not None and lengthening != 2 and agreement > 0:
        whole = float(spearman_brown(agreement, lengthening))
        agreement = whole / (2 - whole)
    return agreement if says is None else says(agreement)
