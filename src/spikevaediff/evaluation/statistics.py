"""What a mean score is worth: chance, a p-value, an interval, and what many tests at once leave of them.

All of it follows from the matrix that a metric gives (entry (i, j): the score of reconstruction j had image i been
shown) and from the folds, and is vectorised over draws: 10,000 of 118 images take tens of milliseconds per
metric. Draws are kept in two bytes for each image, 20 MB of 1,000 images, and computed with in blocks of 8 MB.

Pairings are exchanged within folds only. The reconstructions of a fold come from one fit, which saw none of its images:
if the responses say nothing, any of them could belong to any of these images. Across folds that is false, since an
image of another fold was trained on, and pushed the mean of that training set towards itself. So `chance` too is the
mean over the wrong images of the same fold. It is not 0.5 in identification: 0.43 to 0.50 where an image is left out of
a mean of a hundred.

A large fold is exchanged in random groups, so that a metric which compares a pair by itself takes time in proportion to
images and not to pairs: any partition that does not look at scores leaves the p-value valid and chance unbiased.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import betaincinv, ndtr, ndtri

LEVEL = 0.95  # of the intervals
_ZERO = 1e-12
_LARGE, _GROUP = 128, 32  # images of a fold that is exchanged in groups, and of a group
_BLOCK = 1 << 20  # draws times images that are computed with at a time; a draw itself takes two bytes per image


def spread_of_folds(fold: np.ndarray) -> float:
    """How much wider a mean over these folds is spread without signal than draws under fixed predictions: sqrt(2), or 1
    for one fold. For p-values."""
    return 2**0.5 if len(np.unique(fold)) > 1 else 1.0


def spread_out(excess: float, fold: np.ndarray) -> float:
    """An excess over chance divided by `spread_of_folds`; what is at chance or below stays as it is: divided, a score
    below chance would count as one nearer to it, and none of many images identified as one of them."""
    return excess / spread_of_folds(fold) if excess > 0 else excess


def spread_of_intervals(fold: np.ndarray) -> float:
    """How much wider the mean over these folds is spread than a mean of as many independent scores.

    sqrt(1 + n / n_train), since fits of different folds share their training images: 1.73 for two folds, 1.5 for five,
    1.45 for ten. 1 for one fold, whose mean is that of one fit, the one that was tested.

    Source: Nadeau & Bengio 2003, Machine Learning 52, 239, with all folds as one test set.
    """
    count = np.unique(fold, return_counts=True)[1]
    return float(np.sqrt(1 + np.mean(np.repeat(len(fold) / (len(fold) - count), count)))) if len(count) > 1 else 1.0


def groups(fold: np.ndarray, *, seed: int) -> np.ndarray:
    """Random groups of 25 to 32 images of one fold, where it has more than 128; smaller folds stay as they are.

    Parameters
    ----------
    fold : int64, (n_images,)
    seed : int

    Returns
    -------
    int64, (n_images,)
        Takes the place of the folds in `pairings`, `chance` and `p_value`; `fold` itself where all are small.
    """
    members = members_of(fold)
    if max(map(len, members)) <= _LARGE:
        return fold
    rng, group, n = np.random.default_rng([seed, 1]), np.empty_like(fold), 0
    for each in members:
        n_groups = -(-len(each) // _GROUP) if len(each) > _LARGE else 1
        group[rng.permutation(each)] = n + np.arange(len(each)) % n_groups
        n += n_groups
    return group


def pairings(fold: np.ndarray, *, n_draws: int, seed: int) -> np.ndarray:
    """Random pairings of reconstructions with images of the same fold, all equally likely.

    Parameters
    ----------
    fold : int64, (n_images,)
    n_draws, seed : int

    Returns
    -------
    uint16 or uint32, (n_draws, n_images)
        Row b pairs reconstruction j with image [b, j].
    """
    rng = np.random.default_rng([seed])
    drawn = np.empty((n_draws, len(fold)), _smallest(len(fold)))
    for members in members_of(fold):
        for rows in _blocks(n_draws, len(members)):
            order = rng.permuted(np.tile(np.arange(len(members)), (rows.stop - rows.start, 1)), axis=1)
            drawn[rows, members] = members[order]
    return drawn


def _smallest(n: int) -> type[np.unsignedinteger]:
    """The integers that count to n."""
    return np.uint16 if n < 1 << 16 else np.uint32


def _blocks(n_draws: int, n_images: int) -> list[slice]:
    """Consecutive draws that are computed with at a time."""
    step = max(1, _BLOCK // n_images)
    return [slice(start, min(start + step, n_draws)) for start in range(0, n_draws, step)]


def members_of(fold: np.ndarray) -> list[np.ndarray]:
    """Positions of the images of each fold, int64 (n_of_fold,), from fold : int64, (n_images,)."""
    return [np.flatnonzero(fold == each) for each in np.unique(fold)]


def p_value(
    matrix: np.ndarray,
    fold: np.ndarray,
    drawn: np.ndarray,
    *,
    larger_is_better: bool,
    group: np.ndarray | None = None,
) -> float | None:
    """One-sided p-value of the mean score under exchanged pairings.

    p = (1 + #{draws whose excess over their mean is at least `spread_out` of that of the true pairing}) / (1 +
    n_draws); the ones keep it valid for any number of draws (Phipson & Smyth 2010, Statistical Applications in Genetics
    and Molecular Biology 9, 39).

    Parameters
    ----------
    matrix : float64, (n_images, n_images)
    fold : int64, (n_images,)
    drawn : integers, (n_draws, n_images)
        As from `pairings` of these folds, or of the groups.
    larger_is_better : bool
    group : int64, (n_images,), or None
        As from `groups` of these folds, where draws exchange within them; only pairs within a group are read.

    Returns
    -------
    float, or None where every fold tests one image and nothing can be exchanged.
    """
    n = len(matrix)
    blocks = [members for members in members_of(fold if group is None else group) if len(members) > 1]
    if not blocks:
        return None
    sign = 1.0 if larger_is_better else -1.0
    # Taken from the flat matrix: a third of the time of matrix[drawn, columns].
    flat, column = matrix.ravel(), np.arange(n)
    means = sign * np.concatenate(
        [np.take(flat, drawn[rows].astype(np.int64) * n + column).mean(1) for rows in _blocks(len(drawn), n)]
    )
    expected = matrix.diagonal().copy()
    for members in blocks:
        expected[members] = matrix[np.ix_(members, members)].mean(0)
    centre = sign * expected.mean()
    deviation = spread_out(sign * matrix.diagonal().mean() - centre, fold)
    # Sums in another order differ in the last digits; a draw that is the true pairing must count as equal to it.
    return float((1 + np.sum(means - centre >= deviation - 1e-12 * max(1.0, abs(centre)))) / (1 + len(drawn)))


def chance(matrix: np.ndarray, fold: np.ndarray) -> float | None:
    """Mean score of reconstructions for the wrong images of their fold, all of them; images count equally.

    Returns
    -------
    float, or None where every fold tests one image.
    """
    means = []
    for members in members_of(fold):
        block = matrix[np.ix_(members, members)]
        if len(members) > 1:
            means += ((block.sum(0) - block.diagonal()) / (len(members) - 1)).tolist()
    return float(np.mean(means)) if means else None


def resampled(n_images: int, *, n_draws: int, seed: int) -> np.ndarray:
    """How often each image occurs in bootstrap samples, uint16 or uint32 (n_draws, n_images); rows sum to n_images."""
    rng, share = np.random.default_rng([seed]), np.full(n_images, 1 / n_images)
    counts = np.empty((n_draws, n_images), _smallest(n_images))
    for rows in _blocks(n_draws, n_images):
        counts[rows] = rng.multinomial(n_images, share, size=rows.stop - rows.start)
    return counts


def _of_draws(counts: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """What each draw gives, float64 (n_draws,); `of` is given some rows of the counts, as float64."""
    return np.concatenate([of(counts[rows].astype(np.float64)) for rows in _blocks(*counts.shape)])


def interval_of_mean(scores: np.ndarray, counts: np.ndarray, spread: float) -> tuple[float, float]:
    """95 % interval of a mean over images, which are what is drawn from a population.

    Parameters
    ----------
    scores : float64, (n_images,)
    counts : integers, (n_draws, n_images)
        As from `resampled`.
    spread : float
        As from `spread_of_intervals`.
    """
    n = len(scores)
    return _interval(
        _of_draws(counts, lambda c: c @ scores / n), scores.mean(), (scores.sum() - scores) / (n - 1), spread
    )


def interval_of_pairs(wins: np.ndarray, counts: np.ndarray, spread: float) -> tuple[float, float]:
    """95 % interval of a mean over ordered pairs of images, as two-way identification is one.

    Images are drawn as competitors, too: with another pool of images a reconstruction would be identified more or less
    often, and an interval from per-image scores alone knows nothing of that. A copy of an image does not compete with
    it.

    Parameters
    ----------
    wins : float64, (n_images, n_images)
        1 where reconstruction j is more like image j than like image i, 0.5 for a tie; the diagonal is ignored.
    counts, spread
        As `interval_of_mean`.
    """
    n = len(wins)
    wins = wins * (1 - np.eye(n))
    total, of_image = wins.sum(), wins.sum(0) + wins.sum(1)
    drawn = _of_draws(counts, lambda c: np.einsum("bi,bi->b", c @ wins, c) / np.maximum(n**2 - (c**2).sum(1), 1))
    return _interval(drawn, total / (n * (n - 1)), (total - of_image) / ((n - 1) * max(n - 2, 1)), spread)


def interval_of_proportion(values: np.ndarray, n_least: int, spread: float) -> tuple[float, float]:
    """95 % interval of a proportion, inside [0, 1], and of some width where no or every image succeeds.

    Jeffreys' interval, quantiles of a beta distribution with n p + 1/2 and n (1 - p) + 1/2, for the number of
    independent images n = p (1 - p) / (spread^2 v) that would give the variance v of the mean. It begins at 0 without a
    success and ends at 1 without a failure. A bootstrap draws nothing that was not seen: with one success in a hundred
    it excludes the truth about every second time, and always without any.

    Parameters
    ----------
    values : float64, (n_images,)
        Their mean is p: successes, shares of a success where images tie, or values as of two_way.projection.
    n_least : int
        Number of independent images where p is 0 or 1 and nothing varies. Values that are all equal otherwise are known
        (a picture that is the same for all images), and the interval has no width.
    spread : float
        As from `spread_of_intervals`.

    Source: Brown, Cai & DasGupta 2001, Statistical Science 16, 101; the number as of Korn & Graubard 1998, Survey
    Methodology 24, 193.
    """
    p, certain = float(np.clip(values.mean(), 0, 1)), np.ptp(values) <= _ZERO
    if certain and _ZERO < p < 1 - _ZERO:
        return p, p
    n = n_least if certain else p * (1 - p) / (values.var(ddof=1) / len(values))
    a, b = (max(n, 0) * share / spread**2 + 0.5 for share in (p, 1 - p))
    low, high = betaincinv(a, b, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (0.0 if p <= _ZERO else float(min(low, p))), (1.0 if p >= 1 - _ZERO else float(max(high, p)))


def interval_of_paired_proportions(difference: np.ndarray, spread: float) -> tuple[float, float]:
    """95 % interval of the difference of two proportions of the same images, inside [-1, 1].

    With one image more on either side, d = p+ - p- +- 1.96 sqrt((p+ + p- - (p+ - p-)^2) / (n + 2)) for
    n = n_images / spread^2, and p+, p- the adjusted shares in which one or the other alone succeeds.

    Parameters
    ----------
    difference : float64, (n_images,), in [-1, 1]
        Differences of successes, 1, 0 or -1, or of shares of a success.
    spread : float
        As from `spread_of_intervals`.

    Source: Bonett & Price 2012, Journal of Educational and Behavioral Statistics 37, 479.
    """
    n = len(difference) / spread**2
    more, less = ((n * np.maximum(d, 0).mean() + 1) / (n + 2) for d in (difference, -difference))
    half = ndtri((1 + LEVEL) / 2) * np.sqrt((more + less - (more - less) ** 2) / (n + 2))
    return float(max(more - less - half, -1)), float(min(more - less + half, 1))


def interval_of_ratio(above: np.ndarray, below: np.ndarray, counts: np.ndarray, spread: float) -> tuple[float, float]:
    """95 % interval of 1 - sum(above) / sum(below) over images, as R2 is one; both float64, (n_images,). At most 1."""
    left = 1 - (above.sum() - above) / (below.sum() - below)
    low, high = _interval(
        _of_draws(counts, lambda c: 1 - (c @ above) / (c @ below)), 1 - above.sum() / below.sum(), left, spread
    )
    return low, min(high, 1.0)


def _interval(drawn: np.ndarray, estimate: float, left_out: np.ndarray, spread: float) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval, stretched about the estimate.

    Draws that are all equal give the estimate twice. Source: Efron 1987, Journal of the American Statistical
    Association 82, 171; left_out are the estimates without each image.
    """
    if np.ptp(drawn) <= 1e-12 * max(1.0, abs(estimate)):
        return float(estimate), float(estimate)
    below = np.mean(drawn < estimate) + np.mean(drawn == estimate) / 2
    z0 = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
    deviation = left_out.mean() - left_out
    scale = 6 * (deviation**2).sum() ** 1.5
    acceleration = (deviation**3).sum() / scale if scale > 0 else 0.0
    z = z0 + ndtri(np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    low, high = np.quantile(drawn, ndtr(z0 + z / (1 - acceleration * z)))
    return float(estimate + spread * (low - estimate)), float(estimate + spread * (high - estimate))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down rule: the family-wise error is kept whatever their
    dependence.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    corrected = np.empty(len(p))
    corrected[order] = stepped
    return corrected.tolist()
