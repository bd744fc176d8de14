"""Which image was shown, read from the response to a single presentation: a yardstick for recordings, not for decoders.

Two decoders. `discriminant` is a linear discriminant in closed form, a hundredth of a second for a population, for
whatever is repeated many times (windows, areas, subsets). `support_vectors` is the decoder of a published number, the
quick start of AllenSDK, for comparison with it.

Presentations are tested in contiguous blocks: neighbours in time share slow fluctuations, which random folds would
let a decoder use, and drift then costs accuracy as it would in use.
"""

import numpy as np

from spikevaediff.records import BLANK
from spikevaediff.side_by_side import side_by_side, workers


def grouped_by_image(image_id: np.ndarray) -> bool:
    """Whether all presentations of an image stand together, blanks apart: not the order of any session.

    Parameters
    ----------
    image_id : int64, (n_presentations,)
    """
    shown = image_id[image_id != BLANK]
    n_images = len(np.unique(shown))
    return bool(n_images < len(shown) and np.count_nonzero(np.diff(shown)) + 1 == n_images)


def folds(image_id: np.ndarray, n_folds: int) -> np.ndarray:
    """The fold that tests each presentation.

    Contiguous blocks of the session. Where presentations are grouped by image, a block would hold all of an image:
    there the first presentations of every image are the first fold, and so on.

    Parameters
    ----------
    image_id : int64, (n_presentations,)
        In the order of the session.
    n_folds : int

    Returns
    -------
    int64, (n_presentations,)

    Raises
    ------
    ValueError
        Fewer than two folds, or more than presentations.
    """
    n = len(image_id)
    if not 2 <= n_folds <= n:
        raise ValueError(f"n_folds is {n_folds}, expected 2 to {n}, the number of presentations")
    if not grouped_by_image(image_id):
        return np.arange(n) * n_folds // n
    order = np.argsort(image_id, kind="stable")
    _, first, n_shown = np.unique(image_id[order], return_index=True, return_counts=True)
    repetition = np.arange(n) - np.repeat(first, n_shown)
    fold = np.empty(n, np.int64)
    fold[order] = repetition * n_folds // np.repeat(n_shown, n_shown)
    return fold


def discriminant(x: np.ndarray, image_id: np.ndarray, fold: np.ndarray, *, shrinkage: float) -> np.ndarray:
    """Linear discriminant analysis with one covariance for all images, out of fold.

    Assigns a response r to the image m that maximises m' C^-1 r - m' C^-1 m / 2, m the mean training response to the
    image and C = (1 - shrinkage) S + shrinkage diag(S), S the covariance of training responses within images. Equal
    priors. Columns without variance within images are left out.

    Parameters
    ----------
    x : float, (n_presentations, n_columns)
        Square roots of counts suit the equal covariances.
    image_id, fold : int64, (n_presentations,)
        An image that a fold does not train on is never recognised in it.
    shrinkage : float in (0, 1]

    Returns
    -------
    bool, (n_presentations,)
        Whether the image was recognised.

    Raises
    ------
    ValueError
        shrinkage is outside (0, 1].

    Source: Friedman 1989, Regularized discriminant analysis, JASA 84.
    """
    if not 0 < shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}, expected above 0 and at most 1")
    x = np.asarray(x, np.float64)
    correct = np.zeros(len(x), bool)
    for k in np.unique(fold).tolist():
        train, test = fold != k, fold == k
        classes, label, n = np.unique(image_id[train], return_inverse=True, return_counts=True)
        order = np.argsort(label, kind="stable")
        means = np.add.reduceat(x[train][order], np.cumsum(n) - n, axis=0) / n[:, None]
        within = x[train] - means[label]
        # Compared exactly, and not with the mean: a rounding error must not be divided by.
        varies = (x[train] != x[train][order][np.cumsum(n) - n][label]).any(0)
        if not varies.any():
            continue
        covariance = within[:, varies].T @ within[:, varies] / len(within)
        diagonal = np.diag(np.diag(covariance))
        m = means[:, varies]
        w = np.linalg.solve((1 - shrinkage) * covariance + shrinkage * diagonal, m.T)
        value = x[test][:, varies] @ w - 0.5 * np.sum(m.T * w, axis=0)
        correct[test] = classes[value.argmax(1)] == image_id[test]
    return correct


def support_vectors(x: np.ndarray, image_id: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The decoder of the AllenSDK quick start: a support vector classifier with an RBF kernel and scikit-learn's
    defaults (C = 1, gamma = 1 / (n_columns variance)), on counts as they are, out of fold.

    Parameters and result are those of `discriminant`.
    """
    from sklearn.svm import SVC  # a second, which the other decoder need not wait for

    def recognised(k: int) -> np.ndarray:
        machine = SVC().fit(x[fold != k], image_id[fold != k])
        return machine.predict(x[fold == k]) == image_id[fold == k]

    correct, folds = np.zeros(len(x), bool), np.unique(fold).tolist()
    for k, of_fold in zip(folds, side_by_side(recognised, folds, at_once=workers()), strict=True):
        correct[fold == k] = of_fold
    return correct
