"""What a recording is worth, and what besides the image affects its responses.

All functions take the responses of one session, one row per presentation, in the order of the session, and look at each
unit, or at the pairs of units of an area. Numbers that need repeated presentations are NaN where there are none.
Published numbers stand beside ours: PUBLISHED_*.
"""

from typing import Any

import numpy as np

from spikevaediff.recordings import preprocessing, reliability
from spikevaediff.records import BLANK

# Identity of 119 conditions (118 images and the blank) from one count in 0.25 s, session 791319847, 93 VISp units, RBF
# SVC, 5 contiguous folds: the quick start of AllenSDK. Its folds in order; their mean is 0.478.
PUBLISHED_ACCURACY = (0.414, 0.497, 0.497, 0.507, 0.473)
# Split-half reliability over the 118 scenes, 32 sessions: median over units, share of units at 0.8 or above (values of
# Huang et al. 2023, AAAI; whether they are corrected after Spearman and Brown is not stated there).
PUBLISHED_RELIABILITY = {
    "VISp": (0.928, 0.87),
    "VISl": (0.886, 0.68),
    "VISal": (0.866, 0.62),
    "VISpm": (0.850, 0.60),
    "VISam": (0.819, 0.53),
    "VISrl": (0.808, 0.51),
}


def fano_factor(counts: np.ndarray, image_id: np.ndarray) -> np.ndarray:
    """Variance over mean of spike counts: both over the presentations of one image, each averaged over images.

    1 for a Poisson process with a rate that the image alone decides. AllenSDK's fano_ns is the same at the preferred
    image only.

    Parameters
    ----------
    counts : real, (n_presentations, n_units)
    image_id : int64, (n_presentations,)
        Blanks are left out, and so are images that were shown once.

    Returns
    -------
    float64, (n_units,); NaN for a silent unit.
    """
    counts = np.asarray(counts, np.float64)
    means, variances = [], []
    for image in _repeated(image_id):
        of_image = counts[image_id == image]
        means.append(of_image.mean(0))
        variances.append(of_image.var(0, ddof=1))
    if not means:
        return np.full(counts.shape[1], np.nan)
    mean, variance = np.mean(means, axis=0), np.mean(variances, axis=0)
    return np.divide(variance, mean, out=np.full(len(mean), np.nan), where=mean > 0)


def split_half(x: np.ndarray, image_id: np.ndarray, *, n_draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Reliability of the mean responses to the images, after Spearman and Brown.

    Parameters
    ----------
    x : real, (n_presentations, n_units)
    image_id : int64, (n_presentations,)
        Blanks are left out, and so are images that were shown once.
    n_draws, seed : int
        Random splits into halves; their correlations are averaged before the correction.

    Returns
    -------
    float64, (n_units,)
        Of each unit: correlation over images of its two halves, 0 where one of them never varies, mean over draws, and
        Spearman and Brown's formula. NaN where the unit always gives the same response.
    float64, (n_draws, n_images, n_units)
        The mean of either half less its mean over images, multiplied: summed over images and units, the covariance of
        whole populations.
    """
    images = _repeated(image_id)
    n_units = x.shape[1]
    if len(images) < 3:
        return np.full(n_units, np.nan), np.zeros((n_draws, 0, n_units))
    x = np.asarray(x, np.float64)
    each, common = [], []
    for draw in range(n_draws):
        half = reliability.halves(image_id, seed=seed, draw=draw)
        a, b = reliability.half_means(x, image_id, half, images)
        each.append(np.nan_to_num(reliability.correlation_of_columns(a, b)))  # a half in which a unit never varies
        a, b = a - a.mean(0, keepdims=True), b - b.mean(0, keepdims=True)
        size = np.sqrt(np.sum(a**2, axis=0) * np.sum(b**2, axis=0))[None]
        common.append(np.divide(a * b, size, out=np.zeros_like(a), where=size > 0))
    shown = x[np.isin(image_id, images)]
    silent = (shown == shown[:1]).all(0)
    of_all = reliability.spearman_brown(np.mean(each, axis=0), reliability.lengthening(image_id))
    return np.where(silent, np.nan, of_all), np.stack(common)


def pair_correlations(x: np.ndarray, image_id: np.ndarray, *, seed: int) -> dict[str, float | None]:
    """Signal and noise correlations of the pairs of units of an area.

    Signal: correlation over images of the mean responses of two units, from different halves of the presentations, so
    that what the units share in one presentation does not count. Noise: correlation over presentations of what is left
    of the responses when the mean response to the image is taken away; slow fluctuations of the session are in it.

    Parameters
    ----------
    x : real, (n_presentations, n_units)
    image_id : int64, (n_presentations,)
        Blanks are left out, and so are images that were shown once.
    seed : int
        Of the halves.

    Returns
    -------
    dict
        signal, noise: means over pairs; noise_median; noise_first_share, of the first eigenvalue of the noise
        correlations, 1 / n_units without any; signal_noise, correlation of the two over pairs. None where there are
        fewer than two units, or no repeated presentations.
    """
    none: dict[str, float | None] = dict.fromkeys(
        ("signal", "noise", "noise_median", "noise_first_share", "signal_noise")
    )
    images = _repeated(image_id)
    x = np.asarray(x, np.float64)
    among = np.isin(image_id, images)
    if len(images) < 3 or x.shape[1] < 2:
        return none
    x, image_id = x[among], image_id[among]
    means = preprocessing.mean_over_presentations(x, image_id, images)
    left = x - means[np.searchsorted(images, image_id)]
    a, b = reliability.half_means(x, image_id, reliability.halves(image_id, seed=seed, draw=0), images)
    live = (np.ptp(left, axis=0) > 0) & (np.ptp(a, axis=0) > 0) & (np.ptp(b, axis=0) > 0)
    if live.sum() < 2:
        return none
    noise = np.corrcoef(left[:, live].T)
    across = np.corrcoef(a[:, live].T, b[:, live].T)[: live.sum(), live.sum() :]
    signal = (across + across.T) / 2
    pairs = np.triu_indices(int(live.sum()), 1)
    both_vary = len(pairs[0]) > 2 and np.ptp(signal[pairs]) > 1e-9 and np.ptp(noise[pairs]) > 1e-9
    together = np.corrcoef(signal[pairs], noise[pairs])[0, 1] if both_vary else None
    return {
        "signal": float(signal[pairs].mean()),
        "noise": float(noise[pairs].mean()),
        "noise_median": float(np.median(noise[pairs])),
        "noise_first_share": float(np.linalg.eigvalsh(noise)[-1] / live.sum()),
        "signal_noise": None if together is None else float(together),
    }


def course(x: np.ndarray, n_blocks: int) -> np.ndarray:
    """How responses change over a session: mean in each of n_blocks equal parts, relative to the whole.

    The order of images is random, so that the parts saw the same images on average.

    Parameters
    ----------
    x : real, (n_presentations, n_units)
    n_blocks : int

    Returns
    -------
    float64, (n_blocks, n_units)
        From 0 to n_blocks. NaN for a unit without responses, and for one with a response below 0: its mean (near 0 in
        z-scored activity) is not a size that changes could be relative to.
    """
    x = np.asarray(x, np.float64)
    mean = np.where(x.min(0) < 0, 0.0, x.mean(0))
    blocks = np.stack([part.mean(0) for part in np.array_split(x, n_blocks)])
    return np.divide(blocks, mean[None], out=np.full(blocks.shape, np.nan), where=mean[None] != 0)


def noise_ceiling(x: np.ndarray, image_id: np.ndarray) -> np.ndarray:
    """How much of the variance of a single presentation the image decides, at most.

    NC = ncsnr^2 / (ncsnr^2 + 1) with ncsnr^2 = signal / noise. noise is the variance within images (over n - 1), pooled
    over images that were shown twice or more; signal is the variance of their means over images, less what noise adds
    to it, noise * mean(1 / n_i), and not below 0. It needs no counts, and means nothing without repeats.

    Parameters
    ----------
    x : float64, (n_presentations, n_units)
    image_id : int64, (n_presentations,)
        -1, the blank, is left out.

    Returns
    -------
    float64, (n_units,)
        0 to 1; NaN where fewer than two images have repeats, or a unit never varies.

    Source: Allen et al. 2022, A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence.
    """
    found, row, n = np.unique(image_id, return_inverse=True, return_counts=True)
    repeated = (n > 1) & (found != BLANK)
    if repeated.sum() < 2:
        return np.full(x.shape[1], np.nan)
    means = preprocessing.mean_over_presentations(x, image_id, found)
    within = np.where(repeated[row][:, None], (x - means[row]) ** 2, 0.0)
    noise = within.sum(0) / (n[repeated] - 1).sum()
    signal = np.maximum(means[repeated].var(0, ddof=1) - noise * np.mean(1 / n[repeated]), 0.0)
    total = signal + noise
    return np.divide(signal, total, out=np.full(len(total), np.nan), where=total > 0)


def drift(x: np.ndarray) -> np.ndarray:
    """Change of the mean response from the first to the last third of a session, relative to the whole.

    Parameters
    ----------
    x : real, (n_presentations, n_units)

    Returns
    -------
    float64, (n_units,)
        From -3 to 3; NaN as in `course`.
    """
    first, _, last = course(x, 3)
    return last - first


def running_ratio(x: np.ndarray, runs: np.ndarray, still: np.ndarray) -> np.ndarray:
    """Mean response while the mouse runs, relative to that while it sits still.

    Parameters
    ----------
    x : real, (n_presentations, n_units)
    runs, still : bool, (n_presentations,)
        Neither where the speed is not known.

    Returns
    -------
    float64, (n_units,)
        Less than 100. NaN where the mouse never did one of the two, for a unit with a response below 0, and where the
        mean at rest is less than 1 % of that while running: too near 0 to divide by.
    """
    x = np.asarray(x, np.float64)
    ratio = np.full(x.shape[1], np.nan)
    if not runs.any() or not still.any():
        return ratio
    running, resting = x[runs].mean(0), x[still].mean(0)
    return np.divide(running, resting, out=ratio, where=(x.min(0) >= 0) & (resting > running / 100))


def area_reliability(common: np.ndarray, lengthening: float) -> float | None:
    """Reliability of the pattern of an area: correlation of the halves over all images and units, each unit centred on
    its mean over images and scaled to equal weight; then Spearman and Brown.

    The correlation of raw population vectors would not do: it compares the mean rates of the units and is near 1
    wherever these differ, in areas that know nothing of the image as well.

    Parameters
    ----------
    common : float64, (n_draws, n_images, n_units)
        From `split_half`.
    lengthening : float
        As reliability.lengthening.
    """
    if common.size == 0:
        return None
    return float(reliability.spearman_brown(common.sum(1).mean(), lengthening))


def percentiles(values: np.ndarray) -> dict[str, float] | None:
    """Percentiles 5, 25, 50, 75 and 95, and the mean, of values (n,) without NaN; None where none is left."""
    known = np.asarray(values, np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    found: dict[str, Any] = {f"p{q}": float(np.percentile(known, q)) for q in (5, 25, 50, 75, 95)}
    return found | {"mean": float(known.mean())}


def _repeated(image_id: np.ndarray) -> np.ndarray:
    images, n = np.unique(image_id, return_counts=True)
    return images[(n > 1) & (images != BLANK)]
