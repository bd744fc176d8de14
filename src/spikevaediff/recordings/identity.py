"""Which image was shown, read from the response to a single presentation: a yardstick for recordings, not for decoders.

Two decoders. `discriminant` is a linear discriminant in closed form, a hundredth of a second for a population, for
whatever is repeated many times (windows, areas, subsets). `support_vectors` is the decoder of a published number, the
quick start of AllenSDK, for comparison with it.

Presentations are tested in contiguous blocks: neighbours in time share slow fluctuations, which random folds would
let a decoder use, and drift then costs accuracy as it would in use.
"""

import numpy as np

from spikevaediff.side_by_side import side_by_side, workers


def contiguous_folds(n_presentations: int, n_folds: int) -> np.ndarray:
    """The block that tests each presentation, in the order of the session: int64, (n_presentations,).

    Raises
    ------
    ValueError
        Fewer than two folds, or more than presentations.
    """
    if not 2 <= n_folds <= n_presentations:
        raise ValueError(f"n_folds is {n_folds}, expected 2 to {n_presentations}, the number of presentations")
    return np.arange(n_presentations) * n_folds // n_presentations


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
