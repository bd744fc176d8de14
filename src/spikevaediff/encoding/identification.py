"""Which image was shown? From encoding models alone, without a generator (Kay et al. 2008).

The response r to a tested image is compared with what the encoding model f of its fold predicts for candidate images c,

    log p(r | c) = -1/2 (r - f(c))' C^-1 (r - f(c)) + const,

C the covariance of the noise. The image is identified if the shown one is likelier than all other candidates. No
candidate but the shown one is in the fold's favour: the encoding model has not seen the tested images, and those that
it has seen fit their own responses, not this one.

Source: Kay, Naselaris, Prenger & Gallant 2008, Identifying natural images from human brain activity, Nature 452.
"""

from typing import Any

import numpy as np
import scipy.linalg

from spikevaediff.evaluation import statistics


def log_likelihood(response: np.ndarray, predicted: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """log p(r | c) up to a constant.

    Parameters
    ----------
    response : float64, (n_images, n_columns)
    predicted : float64, (n_candidates, n_columns)
    covariance : float64, (n_columns, n_columns)

    Returns
    -------
    float64, (n_images, n_candidates)

    Raises
    ------
    ValueError
        Other numbers of columns, or a covariance that is not positive definite.
    """
    if response.shape[1] != len(covariance) or predicted.shape[1] != len(covariance):
        raise ValueError(
            f"responses {response.shape}, predictions {predicted.shape} and covariance {covariance.shape} do not fit"
        )
    try:
        root = scipy.linalg.cholesky(covariance, lower=True)
    except scipy.linalg.LinAlgError as error:
        raise ValueError(f"the covariance of the noise is not positive definite ({error})") from error
    measured, expected = (scipy.linalg.solve_triangular(root, x.T, lower=True) for x in (response, predicted))
    # Squares of differences, not the expanded square: large responses would cancel.
    return np.stack([-0.5 * ((measured[:, [i]] - expected) ** 2).sum(0) for i in range(len(response))])


def rank(likelihood: np.ndarray, own: np.ndarray) -> np.ndarray:
    """How many candidates are likelier than the shown image, ties counted half.

    Parameters
    ----------
    likelihood : float64, (n_images, n_candidates)
        NaN for a candidate that does not count.
    own : int64, (n_images,)
        The candidate that was shown.

    Returns
    -------
    float64, (n_images,), 0 where the image is identified
    """
    shown = likelihood[np.arange(len(own)), own][:, None]
    return (likelihood > shown).sum(1) + ((likelihood == shown).sum(1) - 1) / 2


def summary(ranks: np.ndarray, n_candidates: np.ndarray, fold: np.ndarray) -> dict[str, Any]:
    """Share of images that are identified, and what it is worth.

    Parameters
    ----------
    ranks : float64, (n_images,)
        As from `rank`.
    n_candidates : int64, (n_images,)
        The shown image included.
    fold : int64, (n_images,)

    Returns
    -------
    dict
        n_candidates: the most of any image; top1: share with rank 0, a tie of k candidates counting 1 / k;
        top1_interval: 95 %; chance: mean of 1 / n_candidates; p_value: of as many successes by chance, from the Poisson
        binomial distribution, with an excess over chance divided by the spread of folds; two_way: mean share of the
        other candidates that are less likely; two_way_interval.
    """
    first = successes(ranks)
    by_chance = 1 / n_candidates
    spread = statistics.spread_of_intervals(fold)
    two_way = 1 - ranks / np.maximum(n_candidates - 1, 1)
    mean = by_chance.mean()
    excess = statistics.spread_out(first.mean() - mean, fold)
    return {
        "n_candidates": int(n_candidates.max()),
        "top1": float(first.mean()),
        "top1_interval": statistics.interval_of_proportion(first, len(first), spread),
        "chance": float(mean),
        "p_value": _p_value(by_chance, (mean + excess) * len(first)),
        "two_way": float(two_way.mean()),
        "two_way_interval": statistics.interval_of_proportion(two_way, len(first), spread),
    }


def successes(ranks: np.ndarray) -> np.ndarray:
    """1 for rank 0, 1 / k for a tie of k candidates with rank (k - 1) / 2 below 1, else 0. float64 (n_images,)."""
    return np.where(ranks < 1, 1 / (1 + 2 * ranks), 0.0)


def _p_value(by_chance: np.ndarray, successes: float) -> float:
    """Probability of at least so many successes, each image's own chance given: exact, by convolution."""
    probability = np.ones(1)
    for p in by_chance.tolist():
        probability = np.convolve(probability, [1 - p, p])
    return float(min(1.0, probability[int(np.ceil(successes - 1e-9)) :].sum()))


SETS = ("fold", "all", "library")  # of candidates, as `of_sets` finds them


def of_sets(
    covariances: list[np.ndarray],
    response: np.ndarray,
    fold: np.ndarray,
    own: np.ndarray,
    fold_of_image: np.ndarray,
    of_images: np.ndarray,
    of_library: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Identification among three sets of candidates.

    Parameters
    ----------
    covariances : list of float64, (n_columns, n_columns)
        Noise of the encoding model of each fold.
    response : float64, (n_tested, n_columns)
        Mean response to each tested image.
    fold, own : int64, (n_tested,)
        The fold that tests it, and its row among all images.
    fold_of_image : int64, (n_images,)
    of_images : float32, (n_folds, n_images, n_columns)
        Predicted responses of all images by the model of each fold.
    of_library : float32, (n_folds, n_library, n_columns)

    Returns
    -------
    dict of dicts as from `summary`
        fold: the images that the fold tests; all: all images of the data set; library: the shown image and all
        library images. An image that has no other candidate in a set does not count in it, and a set in which no image
        counts is left out.
    """
    ranks: dict[str, list[float]] = {name: [] for name in SETS}
    sizes: dict[str, list[int]] = {name: [] for name in ranks}
    order = []
    for k, covariance in enumerate(covariances):
        rows = np.flatnonzero(fold == k)
        among = log_likelihood(response[rows], of_images[k].astype(np.float64), covariance)
        far = log_likelihood(response[rows], of_library[k].astype(np.float64), covariance)
        together = np.flatnonzero(fold_of_image == k)
        shown = among[np.arange(len(rows)), own[rows]][:, None]
        sets = {
            "fold": (among[:, together], np.searchsorted(together, own[rows])),
            "all": (among, own[rows]),
            "library": (np.concatenate([shown, far], 1), np.zeros(len(rows), np.int64)),
        }
        for name, (likelihood, true) in sets.items():
            ranks[name] += rank(likelihood, true).tolist()
            sizes[name] += [likelihood.shape[1]] * len(rows)
        order += rows.tolist()
    found = {}
    for name in ranks:
        of_set, size = np.array(ranks[name]), np.array(sizes[name])
        if (several := size > 1).any():
            found[name] = summary(of_set[several], size[several], fold[order][several])
    return found
