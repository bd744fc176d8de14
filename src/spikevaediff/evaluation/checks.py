"""Checks of the results themselves, for leakage, copies, collapse and scores too good to be true.

Each check looks at data and not at the code that made them, so that it also finds what code written tomorrow does. A
check returns a Finding; one that failed stops the pipeline before anything is reported. Only what cannot be an accident
fails: what is merely unlikely is noted and shown with its chance.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from scipy.special import ndtri

from spikevaediff import images
from spikevaediff.evaluation.correlation import correlation
from spikevaediff.images import grey
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli, few, group_edges, rows_of
from spikevaediff.regression import split

OVERLAP, NEAR_DUPLICATES = "image overlap", "near-duplicates"  # names of checks

_PX = 64  # side at which pictures are compared here
NEIGHBOURS = 8  # nearest images from which the first one has to stand out
RARE = (1e-2, 1e-4)  # shares of reconstructions that stand out so far by accident
ACCIDENT = 1e-6  # what is less likely stops the pipeline
ONE_DIRECTION = 1.25  # effective rank; less, and over 94 % of the variance between pictures is one direction
ROUNDING = 0.5  # grey levels
NARROW = 0.25  # of the directions in which shown images differ; below, it is noted
LEGACY = "test_legacy"  # as renormalise calls it, whose module brings JAX, which nothing here needs
FLOAT32 = 1e-6  # relative; what arithmetic in float32 leaves of a mean
SAME_STATISTICS = 1e-3  # relative; means and deviations that agree this well were set to agree


@dataclass(frozen=True)
class Finding:
    """What a check found.

    check : str; its name. status : "passed", "noted" (unlikely, and no reason to stop), "legacy" (allowed, and marked
        wherever it is shown) or "failed".
    value, limit : float or None; what was measured, and where it would fail.
    says : str; what that means, and where it failed what to do.
    """

    check: str
    status: str
    value: float | None
    limit: float | None
    says: str


def overlap(chosen: ImageSplit, stimuli: Stimuli, tested: np.ndarray, *, as_published: bool = False) -> Finding:
    """No image is trained on and tested in one fold: not by id, and not as the same pixels under another id.

    Parameters
    ----------
    chosen : ImageSplit
    stimuli : Stimuli
    tested : int64, (n,)
        The ids that a run reconstructed.
    as_published : bool
        The split is that of a publication, which keeps equal images: they are marked as legacy.
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
        says = f"reconstructed and tested images differ in image_id {few(strange)}. Run: dvc repro"
    elif shared:
        says = f"image_id {few(shared)} are trained on under another id. Put equal images in one fold"
    else:
        says = f"{len(tested)} images tested, none of them in the training set of its fold"
    n = len(strange) + len(shared)
    status = "legacy" if as_published and shared and not strange else "failed" if n else "passed"
    return Finding(OVERLAP, status, float(n), 0.0, says)


def near_duplicates(chosen: ImageSplit, stimuli: Stimuli, *, as_published: bool = False) -> Finding:
    """No image has a near-duplicate (perceptual hash, mirror images too) in the training set of its fold.

    as_published : as in `overlap`.
    """
    try:
        split.check(chosen, stimuli)
    except ValueError as error:
        return Finding(NEAR_DUPLICATES, "legacy" if as_published else "failed", None, 0.0, str(error))
    return Finding(NEAR_DUPLICATES, "passed", 0.0, 0.0, "no image is like one of the training set of its fold")


def test_statistics(predicted: Features, raw: Features, true: Features, chosen: ImageSplit, declared: str) -> Finding:
    """Predictions were not given the mean and deviation of training targets with statistics of the test images.

    That leaves a trace: over the test images of a fold every dim then has exactly the mean and deviation that it has
    over the training images. Predictions scaled by one factor per group, or not at all, do not.

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
    starts = group_edges(predicted.group_size)[:-1]
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
            # What one factor per group about the training mean cannot explain.
            a, b = r - y.mean(0), p - y.mean(0)
            power = np.add.reduceat((a * a).sum(0), starts)
            factor = np.divide(np.add.reduceat((a * b).sum(0), starts), power, out=np.ones_like(power), where=power > 0)
            rest = ((b - a * np.repeat(factor, predicted.group_size)) ** 2).sum()
            # A fold that is left at its mean differs from it by rounding alone.
            rounding = ((FLOAT32 * (np.abs(p) + np.abs(y.mean(0)))) ** 2).sum()
            unexplained = max(unexplained, float(max(rest - rounding, 0) / max((b * b).sum(), np.finfo(float).tiny)))
    trace = max(traces, default=0.0)
    name = f"test statistics in renormalisation of {predicted.space}"
    if declared == LEGACY:
        says = "predictions were standardised with statistics of the test images (renormalise: test_legacy)"
        return Finding(name, "legacy", trace, 0.5, says)
    if trace > 0.5 or unexplained > 1e-4:
        says = (
            f"{trace:.0%} of the dims of a fold have the mean and deviation of training over its test images, and "
            f"{unexplained:.1g} of the variance is not one factor per group, but the run says renormalise: {declared}. "
            f"Renormalise with spikevaediff.regression.renormalise, or say test_legacy"
        )
        return Finding(name, "failed", max(trace, unexplained), 0.5, says)
    return Finding(name, "passed", trace, 0.5, f"renormalise: {declared}; no trace of the test images in it")


test_statistics.__test__ = False  # type: ignore[attr-defined]  # no test of pytest


def standing_out(likeness: np.ndarray) -> float:
    """How likely the nearest of some images is so far ahead of the next ones by accident.

    Photographs have their low frequencies in common, so a blurred reconstruction is near to many of them at once, with
    correlations up to 0.95 on real ones. A copy is near to one, and much nearer than to the next. Where the upper tail
    of n independent values falls off exponentially, the distances from the k-th value to the next one, times k, are
    independent and equally distributed (Renyi 1953, Acta Mathematica Hungarica 4, 191). With G the first of them over
    the mean of the following m - 1,

        p = (1 + G / (m - 1)) ** -(m - 1).

    Fisher's z of the correlations falls off faster, which makes p too large rather than too small: of the images of 144
    ridge regressions from macaque V4 to 400 photographs, 0.1 % have p < 0.01, 1.3 % at most, and none has p < 0.0001.

    Parameters
    ----------
    likeness : float64, (n_images,)
        Correlations of one reconstruction with images that it is not for.

    Returns
    -------
    float, in (0, 1]; 1 for fewer than four images.
    """
    m = min(NEIGHBOURS, len(likeness) - 1)
    if m < 3:
        return 1.0
    z = np.arctanh(np.clip(np.sort(np.partition(likeness, -m - 1)[-m - 1 :])[::-1], -1 + 1e-9, 1 - 1e-9))
    spacing = np.arange(1, m + 1) * (z[:-1] - z[1:])
    rest = spacing[1:].mean()
    return float((1 + spacing[0] / rest / (m - 1)) ** (1 - m)) if rest > 0 else 1.0


def memorised(
    reconstructed: Reconstructions,
    stimuli: Stimuli,
    chosen: ImageSplit,
    control: Reconstructions | None = None,
) -> Finding:
    """Reconstructions are not training images of their fold.

    A copy is nearer to one training image than to the image that was shown, and stands out from the distances to all
    other training images (`standing_out`). By accident a share of 1 % of reconstructions does so with p < 0.01, one of
    10,000 with p < 0.0001, or as many as stand out among the images of their own fold, which no fit of theirs has seen,
    where a fold has enough of them. The finding has a chance of its own: that of so many different training images
    under the binomial distribution, the less likely of the two, doubled. Reconstructions near to one and the same
    training image count once, since they may be near to each other.

    Parameters
    ----------
    reconstructed : Reconstructions
    stimuli : Stimuli
    chosen : ImageSplit
    control : Reconstructions, optional
        Of the same decoder from responses that know nothing; reported beside.
    """
    from scipy.stats import binom  # half a second

    likeness, own = _likeness(reconstructed, stimuli, chosen)
    nearest, p = _nearest(likeness, own, chosen, trained=True)
    unseen = _nearest(likeness, own, chosen, trained=False)[1]
    unseen = unseen[~np.isnan(unseen)]
    n, chances, limits = len(p), [], []
    for level in RARE:
        rate = max(level, float(np.mean(unseen < level)) if len(unseen) else 0.0)
        chances.append(len(RARE) * float(binom.sf(len(set(nearest[p < level])) - 1, n, rate)))
        limits.append(next((k / n for k in range(n + 1) if len(RARE) * binom.sf(k - 1, n, rate) < ACCIDENT), None))
    chance, copies = min(1.0, *chances), p < RARE[0]
    many = float(binom.sf(copies.sum() - 1, n, RARE[0])) < 0.05
    status = "failed" if chance < ACCIDENT else "noted" if many else "passed"
    says = (
        f"{copies.sum()} of {n} reconstructions stand out as near to a single training image, "
        f"{len(set(nearest[copies]))} different ones ({RARE[0] * n:.1f} would by accident, chance {chance:.2g})"
    )
    if len(unseen):
        says += f", {np.sum(unseen < RARE[0])} of {len(unseen)} to one that their fit had not seen"
    if control is not None:
        n_control = np.sum(_nearest(*_likeness(control, stimuli, chosen), chosen, trained=True)[1] < RARE[0])
        says += f", {n_control} of the control to a training image"
    if status == "failed":
        named = few(reconstructed.image_id[copies])
        says += f": image_id {named} are training images. The decoder recalls what it was trained on"
    return Finding("memorised outputs", status, float(copies.mean()), limits[0], says)


def _likeness(reconstructed: Reconstructions, stimuli: Stimuli, chosen: ImageSplit) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of all images (rows) with all reconstructions, and the row of the image that each is for."""
    small = images.resize(stimuli.rows(chosen.image_id), _PX).reshape(len(chosen.image_id), -1).astype(np.float64)
    decoded = grey(images.resize(reconstructed.pixels, _PX)).reshape(len(reconstructed.image_id), -1)
    return correlation(small, decoded), rows_of(reconstructed.image_id, chosen.image_id, "the split")


def _nearest(
    likeness: np.ndarray, own: np.ndarray, chosen: ImageSplit, *, trained: bool
) -> tuple[np.ndarray, np.ndarray]:
    """For each reconstruction the nearest training image of its fold, or the nearest of the other test images, and how
    likely it stands out so far by accident: 1 where the image shown is nearer, NaN where there are too few to tell."""
    nearest, p = np.full(len(own), -1), np.full(len(own), np.nan)
    for column, row in enumerate(own.tolist()):
        pool = np.flatnonzero((chosen.fold != chosen.fold[row]) == trained)
        pool = pool[pool != row]
        if trained or len(pool) > NEIGHBOURS:
            to_pool = likeness[pool, column]
            nearest[column] = chosen.image_id[pool[to_pool.argmax()]]
            p[column] = standing_out(to_pool) if to_pool.max() > likeness[row, column] else 1.0
    return nearest, p


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


def collapsed(reconstructed: Reconstructions, stimuli: Stimuli, ceiling: Reconstructions | None = None) -> Finding:
    """Reconstructions are more than one picture.

    Honest ones from few units or with strong penalties differ in two directions, where photographs differ in thirty:
    that is noted. One direction is one picture in more or less contrast; differences below half a grey level, seen at
    16 px so that noise averages out, are rounding. Both are the decoder's doing.

    Parameters
    ----------
    reconstructed : Reconstructions
    stimuli : Stimuli
    ceiling : Reconstructions, optional
        Of the same decoder from true features; reported beside.
    """
    shown = images.rgb(stimuli.rows(reconstructed.image_id))
    found, there = _rank_of(reconstructed.pixels), _rank_of(shown)
    coarse = grey(images.resize(reconstructed.pixels, 16)).std(0).mean()
    says = f"reconstructions differ in {found:.1f} directions (effective rank), shown images in {there:.1f}"
    if ceiling is not None:
        says += f", reconstructions from true features in {_rank_of(ceiling.pixels):.1f}"
    status = "passed"
    # Two different images differ in one direction, and few in few.
    if there and (found < min(ONE_DIRECTION, NARROW * there) or coarse < ROUNDING):
        status = "failed"
        says += (
            f", by {coarse:.1f} grey levels: the decoder shows nearly one picture, whatever the responses say. "
            "Identification cannot tell that"
        )
    elif found < NARROW * there:
        status = "noted"
        says += ". They show a few features of the images and not single images"
    return Finding("collapsed outputs", status, found, ONE_DIRECTION, says)


def _rank_of(pixels: np.ndarray) -> float:
    return effective_rank(grey(images.resize(pixels, _PX)).reshape(len(pixels), -1))


def above_ceiling(
    scores: dict[str, Any], ceilings: Sequence[tuple[str, dict[str, Any]]], better: dict[str, bool]
) -> Finding:
    """No score is better than a ceiling by more than its interval, widened for the number of comparisons (Bonferroni).

    Parameters
    ----------
    scores : dict of metric to what scores.summary returns
    ceilings : pairs of name and dict of metric to a number
        Metrics that a ceiling lacks are skipped.
    better : dict of metric to bool
        Whether larger is better.
    """
    compared = [
        (name, what, limits[name])
        for what, limits in ceilings
        for name, metric in scores.items()
        if metric["absent"] is None and limits.get(name) is not None
    ]
    n = len(compared)
    wider = ndtri(1 - 0.025 / n) / ndtri(1 - 0.025) if n else 1.0
    over = []
    for name, what, limit in compared:
        mean, (low, high) = scores[name]["mean"], scores[name]["interval"]
        edge = mean - wider * (mean - low) if better[name] else mean + wider * (high - mean)
        if edge > limit if better[name] else edge < limit:
            over.append(f"{name} is {mean:.3f} [{low:.3f}, {high:.3f}], {what} {limit:.3f}")
    if over:
        says = (
            f"{'; '.join(over)}. Something other than these responses tells the decoder about the images; or images "
            "can score better without what true latents hold, and the metric's module lacks BOUNDED = False"
        )
    else:
        says = f"none of {n} comparisons of a score with its ceilings is above it" if n else "there are no ceilings"
    return Finding("results above the noise ceiling", "failed" if over else "passed", float(len(over)), 0.0, says)


def beyond_chance(ceiling: dict[str, Any], scores: dict[str, Any]) -> dict[str, float]:
    """What a decoder with true features allows a run to reach, metric by metric.

    A sharp decoder scores worse by SSIM than a blurred one with the same knowledge of the image, for right and for
    wrong images alike. So a run is allowed what the ceiling gains over its own wrong pairings, added to what the run
    scores for wrong ones, where that is more than the mean of the ceiling.

    Parameters
    ----------
    ceiling, scores : dict of metric to what scores.summary returns
    """
    found = {}
    for name, metric in ceiling.items():
        if metric["absent"] is not None or scores[name]["absent"] is not None:
            continue
        limits = [metric["mean"]]
        if metric["chance"] is not None and scores[name]["chance"] is not None:
            limits.append(metric["mean"] - metric["chance"] + scores[name]["chance"])
        found[name] = max(limits) if metric["larger_is_better"] else min(limits)
    return found


def to_json(findings: list[Finding]) -> list[dict[str, Any]]:
    """Findings as plain dicts."""
    return [asdict(finding) for finding in findings]
