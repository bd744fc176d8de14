"""The noise ceiling of a score: how well two reconstructions of one image agree that differ in nothing but noise.

Each test image is reconstructed twice by the same fit and decoder, from one half of its presentations and from the
other. The reconstruction from one half takes the place of the image, and the one from the other half is scored against
it by the metric itself; then the other way round; the mean of the two is `agreement`. Two noisy reconstructions agree
less than a perfect decoder's would with the image, so agreement alone is too strict a bound. For PixCorr, a
correlation, the bound is known: with r the agreement, all presentations together are as reliable as R = 2 r / (1 + r)
(Spearman 1910, Brown 1910), and cannot correlate above sqrt(R) with what is known without noise (Spearman 1904). That
is its `ceiling`. For other metrics no such law holds and `ceiling` is the agreement, to be read as what this much noise
costs a score that would otherwise be perfect.
"""

from typing import Any

import numpy as np

from spikevaediff.evaluation import protocols, scores
from spikevaediff.records import ImageSplit, Reconstructions


def of_halves(
    first: Reconstructions,
    second: Reconstructions,
    split: ImageSplit,
    *,
    source: str,
    protocol: str,
    size_px: int,
    metrics: list[str],
    batch_size: int = 16,
) -> dict[str, Any]:
    """Agreement of reconstructions from halves of the presentations, metric by metric.

    Parameters
    ----------
    first, second : Reconstructions
        Of the same images.
    source : str
        Of the stimuli.
    split, protocol, size_px, metrics, batch_size
        As scores.score_run.

    Returns
    -------
    dict
        protocol, source, n_images, settings as score_run; metrics : for each name absent, agreement, ceiling.

    Raises
    ------
    KeyError, ValueError
        As score_run; or an image is in one half only.
    """
    ids = np.sort(first.image_id)
    chosen, weights, absent = scores.prepared(ids, protocol, metrics)
    present = [name for name in metrics if name not in absent]
    looks = [
        scores.look(
            half.rows(ids),
            chosen,
            shown=False,
            size_px=size_px,
            metrics=present,
            weights=weights,
            batch_size=batch_size,
        )
        for half in (first, second)
    ]
    fold = split.fold_of(ids)
    both = [scores.compare(x, y, fold, chosen, metrics=present, weights=weights) for x, y in (looks, looks[::-1])]
    results: dict[str, Any] = {}
    for name in metrics:
        if name in absent:
            results[name] = _absent(absent[name])
            continue
        agreement = float(np.mean([compared[name].matrix.diagonal().mean() for compared in both]))
        results[name] = {"absent": None, "agreement": agreement, "ceiling": ceiling_of(name, agreement)}
    return {
        "protocol": chosen.name,
        "source": source,
        "n_images": len(ids),
        "settings": chosen.rules(size_px),
        "metrics": results,
    }


def without_halves(
    reason: str, *, source: str, protocol: str, size_px: int, metrics: list[str], batch_size: int = 16
) -> dict[str, Any]:
    """What `of_halves` says where images were shown once: every metric is absent, for this reason, of no image."""
    chosen = protocols.named(protocol)
    return {
        "protocol": chosen.name,
        "source": source,
        "n_images": 0,
        "settings": chosen.rules(size_px),
        "metrics": {name: _absent(reason) for name in metrics},
    }


def _absent(reason: str) -> dict[str, Any]:
    return {"absent": reason, "agreement": None, "ceiling": None}


def ceiling_of(metric: str, agreement: float) -> float:
    """The noise ceiling from the agreement of halves; see the module."""
    if metric != "pixcorr":
        return agreement
    return float(np.sqrt(max(2 * agreement / (1 + agreement), 0.0))) if agreement > -1 else 0.0
