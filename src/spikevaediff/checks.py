"""What would make a score a lie, looked for in the results themselves: python -m stages.checks runs all of it.

Each check looks at data and not at the code that made them, so that it also finds what code written tomorrow does. A
check returns a Finding; one that failed stops the pipeline before anything is reported.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np

from spikevaediff import images, split
from spikevaediff.metrics.pixcorr import correlation, grey
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli, rows_of

_PX = 64  # side at which pictures are compared here
# Two different scenes of the 118 correlate at 0.66 at most at this size, and a scene with itself through a blur of 4 px
# at 0.9: a picture nearer than that to a training image is that image.
COPY_CORRELATION = 0.9
MEMORISED_SHARE = 0.05  # of the reconstructions may be that near by accident
# The 118 scenes have an effective rank of 23 at 64 px, reconstructions by the mini VDVAE of 11, of 3.4 when only its
# first four layers, up to 8 x 8, are predicted.
COLLAPSED_SHARE = 0.08  # of the effective rank of the shown images: two directions of variation
LEGACY = "test_legacy"  # as renormalise calls it, whose module brings JAX, which nothing here needs
SAME_STATISTICS = 1e-3  # relative; means and deviations that agree this well were set to agree


@dataclass(frozen=True)
class Finding:
    """What a check found.

    check : str; its name. status : "passed", "legacy" (allowed, and marked wherever it is shown) or "failed".
    value, limit : float or None; what was measured, and where it would fail.
    says : str; what that means, and where it failed what to do.
    """

    check: str
    status: str
    value: float | None
    limit: float | None
    says: str


def overlap(chosen: ImageSplit, stimuli: Stimuli, tested: np.ndarray) -> Finding:
    """No image is trained on and tested in one fold: not by id, and not as the same pixels under another id.

    Parameters
    ----------
    chosen : ImageSplit
    stimuli : Stimuli
    tested : int64, (n,)
        The ids that a run reconstructed.
    """
    digests = [sha256(pixels.tobytes()).hexdigest() for pixels in stimuli.rows(chosen.image_id)]
    kind = np.unique(digests, return_inverse=True)[1]
    shared = []
    for k in range(chosen.n_folds):
        train, test = (rows_of(ids, chosen.image_id, "the split") for ids in chosen.ids(k))
        both = np.isin(kind[test], kind[train])
        shared += chosen.image_id[test[both]].tolist()
    strange = np.setxor1d(tested, chosen.test_ids).tolist()
    if strange:
        says = f"reconstructed and tested images differ in image_id {_few(strange)}. Run: dvc repro"
    elif shared:
        says = f"image_id {_few(shared)} are trained on under another id. Put equal images in one fold"
    else:
        says = f"{len(tested)} images tested, none of them in the training set of its fold"
    n = len(strange) + len(shared)
    return Finding("image overlap", "failed" if n else "passed", float(n), 0.0, says)


def near_duplicates(chosen: ImageSplit, stimuli: Stimuli) -> Finding:
    """No image has a near-duplicate (perceptual hash, mirror images too) in the training set of its fold."""
    try:
        split.check(chosen, stimuli)
    except ValueError as error:
        return Finding("near-duplicates", "failed", None, 0.0, str(error))
    return Finding("near-duplicates", "passed", 0.0, 0.0, "no image is like one of the training set of its fold")


def test_statistics(predicted: Features, raw: Features, true: Features, chosen: ImageSplit, declared: str) -> Finding:
    """Predictions were not given the mean and deviation of training targets with statistics of the test images.

    That leaves a trace: over the test images of a fold every dim then has exactly the mean and deviation that it has
    over the training images. Predictions scaled by one factor a group, or not at all, do not.

    Parameters
    ----------
    predicted : Features
        What decoders take.
    raw : Features
        As the regression left them.
    true : Features
        Of all images of the split.
    chosen : ImageSplit
    declared : str
        What `renormalise` the run says it used.
    """
    traces, unexplained = [], 0.0
    starts = np.concatenate([[0], np.cumsum(predicted.group_size)[:-1]])
    for k in range(chosen.n_folds):
        train_ids, test_ids = chosen.ids(k)
        y, p, r = (z.astype(np.float64) for z in (true.rows(train_ids), predicted.rows(test_ids), raw.rows(test_ids)))
        varies = (y.std(0) > 0) & (r.std(0) > 0)
        if len(test_ids) > 2 and varies.any():
            scale = y.std(0)[varies]
            mean = np.abs(p.mean(0) - y.mean(0))[varies] < SAME_STATISTICS * scale
            deviation = np.abs(p.std(0)[varies] - scale) < SAME_STATISTICS * scale
            traces.append(float(np.mean(mean & deviation)))
        if declared in ("none", "train"):
            # What one factor a group about the training mean cannot explain.
            a, b = r - y.mean(0), p - y.mean(0)
            power = np.add.reduceat((a * a).sum(0), starts)
            factor = np.divide(np.add.reduceat((a * b).sum(0), starts), power, out=np.ones_like(power), where=power > 0)
            rest = ((b - a * np.repeat(factor, predicted.group_size)) ** 2).sum()
            unexplained = max(unexplained, float(rest / max((b * b).sum(), np.finfo(float).tiny)))
    trace = max(traces, default=0.0)
    name = f"test statistics in renormalisation of {predicted.space}"
    if declared == LEGACY:
        says = "predictions were standardised with statistics of the test images (renormalise: test_legacy)"
        return Finding(name, "legacy", trace, 0.5, says)
    if trace > 0.5 or unexplained > 1e-4:
        says = (
            f"{trace:.0%} of the dims of a fold have the mean and deviation of training over its test images, and "
            f"{unexplained:.1g} of the variance is not one factor a group, but the run says renormalise: {declared}. "
            f"Renormalise with spikevaediff.renormalise, or say test_legacy"
        )
        return Finding(name, "failed", max(trace, unexplained), 0.5, says)
    return Finding(name, "passed", trace, 0.5, f"renormalise: {declared}; no trace of the test images in it")


test_statistics.__test__ = False  # type: ignore[attr-defined]  # no test of pytest


def memorised(reconstructed: Reconstructions, stimuli: Stimuli, chosen: ImageSplit) -> Finding:
    """Few reconstructions are a training image of their fold: nearer to it than COPY_CORRELATION, and nearer than to
    the image that was shown."""
    small = images.resize(stimuli.rows(chosen.image_id), _PX).reshape(len(chosen.image_id), -1).astype(np.float64)
    decoded = grey(images.resize(reconstructed.pixels, _PX)).reshape(len(reconstructed.image_id), -1)
    likeness = correlation(small, decoded)
    copies = []
    own_row = rows_of(reconstructed.image_id, chosen.image_id, "the split")
    for column, (image_id, row) in enumerate(zip(reconstructed.image_id.tolist(), own_row.tolist(), strict=True)):
        nearest = likeness[chosen.fold != chosen.fold[row], column].max()
        if nearest > max(COPY_CORRELATION, likeness[row, column]):
            copies.append(image_id)
    n = len(reconstructed.image_id)
    share = len(copies) / n
    if share > MEMORISED_SHARE:
        says = (
            f"{len(copies)} of {n} reconstructions are training images (pixel correlation "
            f"above {COPY_CORRELATION}): image_id {_few(copies)}. The decoder recalls what it was trained on"
        )
    else:
        says = f"{len(copies)} of {n} reconstructions are as near to a training image as a copy"
    return Finding("memorised outputs", "failed" if share > MEMORISED_SHARE else "passed", share, MEMORISED_SHARE, says)


def effective_rank(pixels: np.ndarray) -> float:
    """How many directions images differ in: the exponential of the entropy of the shares of variance.

    Parameters
    ----------
    pixels : float, (n_images, n_pixels)

    Returns
    -------
    float, 1 to n_images - 1; 0 for images that are all the same.

    Source: Roy & Vetterli 2007, EUSIPCO, The effective rank.
    """
    centred = pixels - pixels.mean(0, keepdims=True)
    value = np.maximum(np.linalg.eigvalsh(centred @ centred.T), 0)
    if not value[-1] > 1e-9 * np.square(pixels).sum():
        return 0.0
    share = value[value > 0] / value.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def collapsed(reconstructed: Reconstructions, stimuli: Stimuli) -> Finding:
    """Reconstructions differ from one another in a fair part of the directions that shown images differ in."""
    small = images.resize(stimuli.rows(reconstructed.image_id), _PX).reshape(len(reconstructed.image_id), -1)
    decoded = grey(images.resize(reconstructed.pixels, _PX)).reshape(len(reconstructed.image_id), -1)
    found, there = effective_rank(decoded), effective_rank(small.astype(np.float64))
    share = found / there if there else 1.0
    says = f"reconstructions have effective rank {found:.1f}, shown images {there:.1f}"
    if share < COLLAPSED_SHARE:
        says += ": the decoder shows nearly one picture, whatever the responses say. Identification cannot tell that"
    return Finding("collapsed outputs", "failed" if share < COLLAPSED_SHARE else "passed", share, COLLAPSED_SHARE, says)


def above_ceiling(
    scores: dict[str, Any], ceilings: Sequence[tuple[str, dict[str, Any]]], better: dict[str, bool]
) -> Finding:
    """No score is better than its noise ceiling or than the decoder with true features, by more than its interval.

    Parameters
    ----------
    scores : dict of metric to what scores.summary returns
    ceilings : pairs of name and dict of metric to a number
        Metrics that a ceiling lacks are skipped.
    better : dict of metric to bool
        Whether larger is better.
    """
    over, n = [], 0
    for name, metric in scores.items():
        if metric["absent"] is not None:
            continue
        for what, limits in ceilings:
            limit = limits.get(name)
            if limit is None:
                continue
            n += 1
            low, high = metric["interval"]
            if low > limit if better[name] else high < limit:
                over.append(f"{name} is {metric['mean']:.3f} [{low:.3f}, {high:.3f}], {what} {limit:.3f}")
    if over:
        says = f"{'; '.join(over)}. Something else than these responses tells the decoder about the images"
    else:
        says = f"none of {n} comparisons of a score with its ceilings is above it" if n else "there are no ceilings"
    return Finding("results above the noise ceiling", "failed" if over else "passed", float(len(over)), 0.0, says)


def to_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as plain dicts."""
    return [asdict(finding) for finding in findings]


def _few(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:8])) + (", ..." if len(ids) > 8 else "")
