"""Predicted features brought back to the spread of real ones, with the statistics of training images only.

Ridge regression shrinks: the less it knows of a target, the nearer its predictions stay to the mean of training. That
is right for squared error and wrong for a decoder, which has only seen features of full spread and turns shrunken
ones into images without contrast. The field divides by the deviation of the *test* predictions and multiplies by that
of the training targets (`test_legacy`). Then the prediction of an image depends on the other test images, and a
regression that knows nothing looks sure of itself. `train` needs neither: how far predictions of unseen images spread
is known from the training images, each of them predicted while it was left out, in closed form.

The targets of a group (a layer of a VDVAE, a token) share one factor,

    factor_g = sqrt( sum_{i, t in g} (y_it - m_t)^2 / sum_{i, t in g} d_it^2 ),    p'_t = m_t + factor_g (p_t - m_t),

where i runs over training images, those of a library apart, m is their mean and d_i the left-out prediction of image i
minus the mean of the other images. A group of which nothing is predicted, sum_{i, t in g} (y_it - m_t) d_it <= 0, is
left at its mean (factor 0): its predictions are noise, and full spread would make them look like knowledge. No factor
is above LARGEST, which only predictions ask for that hardly leave the mean. `unusual_factors` says where either was
so. One factor for each group keeps what the regression says of its targets relative to each other; a factor for each
target raises those of which nothing is known to full spread, as noise.

Why `train` is the default: left-out predictions of *training* images, decoded by the mini VDVAE, prefer it in every
fold that was tried (folds 0, 3 and 7 of ten: AlexNet-2 0.73 to 0.75 instead of 0.57, AlexNet-5 0.60 instead of 0.52,
PixCorr 0.34 to 0.35 instead of 0.32 to 0.34, LPIPS 0.88 instead of 0.90), SSIM excepted (0.26 instead of 0.30), which
flat images please. One factor per target is worse than one per group by every measure (AlexNet-2 0.68, PixCorr 0.30).
"""

import itertools

import numpy as np
from scipy.linalg import qr

from spikevaediff.records import group_edges
from spikevaediff.regression import blocks, components, predictions
from spikevaediff.regression.fits import Fit

HOW = ("none", "train", "test_legacy")
LEGACY = "test_legacy"
BLOCK_BYTES = 1 << 28  # of training targets in float64 at a time
LARGEST = 100.0  # factor; the embedded session asks for 2 to 75, its control population for up to 1,200


def renormalise(predicted: np.ndarray, fit: Fit, *, how: str) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of a fit with the spread that a decoder expects.

    Parameters
    ----------
    predicted : float32, (n_new, n_targets)
        As `predict` of the method gave them.
    fit : Fit
        That predicted them; its targets are those of training images.
    how : str
        none: as they are. train: see the module. test_legacy: m_t + s_t (p_t - mean(p_t)) / std(p_t), with m and s of
        training targets and mean and std over the rows of `predicted`, which must be all test images; for comparison
        with publications that did so, never for a result.

    Returns
    -------
    predicted : float32, (n_new, n_targets)
    factor : float64, (n_groups,)
        What deviations were multiplied by; for test_legacy the median over the targets of a group.

    Raises
    ------
    ValueError
        An unknown `how`; a fit whose rows are not one per image; one test image, which has no spread.
    """
    if how not in HOW:
        raise ValueError(f"renormalise is {how!r}, expected one of {', '.join(HOW)}")
    edges = group_edges(fit.group_size)
    if how == "none":
        return predicted, np.ones(len(fit.group_size))
    if how == LEGACY and len(predicted) < 2:
        raise ValueError("renormalise: test_legacy takes statistics of test images, and this fold tests one")
    rows = fit.images[: fit.n_scored]
    # Without a library the weights of the fit; with one, images that were left out in turn count alike.
    share = fit.share if fit.n_scored == len(fit.images) else np.full(len(rows), 1 / len(rows))
    factor = group_factors(fit) if how == "train" else np.ones(len(fit.group_size))
    each = np.repeat(factor, fit.group_size)
    scaled = np.empty_like(predicted)
    width = max(1, BLOCK_BYTES // (8 * len(rows)))
    for first in range(0, len(each), width):
        some = slice(first, first + width)
        y, p = fit.y[:, some][rows], predicted[:, some]
        centre = mean = share @ y
        if how == LEGACY:
            wanted, there = y.std(0, dtype=np.float64), p.std(0, dtype=np.float64)
            each[some] = np.divide(wanted, there, out=np.zeros_like(there), where=there > 0)
            centre = p.mean(0, dtype=np.float64)
        scaled[:, some] = mean + (p - centre) * each[some]
    if how == LEGACY:
        factor = np.array([np.median(each[a:b]) for a, b in itertools.pairwise(edges)])
    return scaled, factor


def group_factors(fit: Fit) -> np.ndarray:
    """factor_g of the module docstring: 0 to LARGEST; 1 for a group that is constant.

    Returns
    -------
    float64, (n_groups,)

    Raises
    ------
    ValueError
        As `left_out_deviations`.
    """
    starts = group_edges(fit.group_size)[:-1]
    y = fit.y[fit.images[: fit.n_scored]]
    wanted = np.add.reduceat(y.var(0, dtype=np.float64), starts)
    deviation = left_out_deviations(fit)
    there = np.add.reduceat(np.einsum("it,it->t", deviation, deviation, dtype=np.float64), starts) / len(y)
    factor = np.sqrt(np.divide(wanted, there, out=np.ones_like(there), where=(there > 0) & (wanted > 0)))
    mean = y.mean(0, dtype=np.float64)
    agreement = np.add.reduceat(np.einsum("it,it->t", y - mean, deviation, dtype=np.float64), starts)
    return np.where((agreement > 0) | (wanted == 0), np.minimum(factor, LARGEST), 0.0)


def unusual_factors(factor: np.ndarray, group_name: np.ndarray) -> str:
    """Groups that a fold left at their mean, or at the largest factor there is; empty where there are none.

    factor : float64, (n_folds, n_groups), of `renormalise`; group_name : str, (n_groups,).
    """
    said = []
    for which, words in ((factor == 0, "left at the mean, nothing is predicted"), (factor == LARGEST, "at the bound")):
        groups = np.flatnonzero(which.any(0))
        if len(groups):
            names = ", ".join(str(group_name[g]) for g in groups[:5]) + (", ..." if len(groups) > 5 else "")
            said.append(f"{words} in {which.mean():.0%} of folds and groups ({names})")
    return f"; renormalised by {np.median(factor):.3g} (median), " + "; ".join(said) if said else ""


def left_out_deviations(fit: Fit) -> np.ndarray:
    """Prediction of every image that was left out by a fit without it, minus the mean of the others that were.

    With H the smoother of the fit, intercept included, and n images left out in turn, exactly and without refitting,
    d_i = n / (n - 1) (y_i - m) - (y_i - (H y)_i) / (1 - H_ii): the first term is the image minus the mean of the
    others, the second its left-out error.

    Parameters
    ----------
    fit : Fit
        To one row per image, equally weighted but for a library; any method and penalty.

    Returns
    -------
    float32, or float64 where the targets are, (n_scored, n_targets), rows as the first of fit.images

    Raises
    ------
    ValueError
        The fit has several rows per image, unequal weights or no left-out scores.
    """
    n, scored = len(fit.images), fit.n_scored
    # With one row per image, each of weight one, a column of `coupling` holds the coordinates of that image, and the
    # trace of H that they give is the one that the fit reports. Of rows of a library it holds their root times more.
    root, constant = np.ones(n), np.ones((n, 1))
    if "library_weight" in fit.parameters:
        root[scored:] = np.sqrt(fit.parameters["library_weight"])
        real = np.arange(n) < scored
        constant = np.where(np.stack([real, ~real], axis=1), root[:, None], 0.0)
    turned = fit.coupling / root
    trace = 1 + np.einsum("bar,bri->ba", fit.gain, turned.astype(np.float64) ** 2).ravel()
    if trace.shape != fit.dof.shape or not np.allclose(trace, fit.dof, rtol=1e-3):
        raise ValueError(
            f"renormalise: train needs a fit to one row per image, with weights of one and left-out scores; this "
            f"{fit.method} fit is to presentations, has other weights or no scores. Choose renormalise: none"
        )
    by_component = "component_candidate" in fit.parameters
    used, position = np.unique(fit.candidate, return_inverse=True)
    if by_component:
        used, position = components.candidates(fit.parameters), np.zeros_like(position)
    operators = np.empty((len(used), scored, n))
    others = np.zeros((scored, n))
    others[:, :scored] = (np.eye(scored) - 1 / scored) * scored / (scored - 1)
    last = -1
    for operator, c in zip(operators, used.tolist(), strict=True):  # `used` ascends: one smoother after the other
        b, a = divmod(c, len(fit.alphas))
        # I - H as a sum of positive terms, without the difference: see spikevaediff.regression.solver.
        if b != last:
            coordinates = turned[b].astype(np.float64)
            length = np.linalg.norm(coordinates, axis=1)
            explained = length > 0
            directions = coordinates[explained].T / length[explained]
            rest = qr(np.column_stack([constant, directions]))[0][:, constant.shape[1] + directions.shape[1] :]
            unexplained, last = rest[:scored] @ rest.T, b
        weighted = directions[:scored] * (fit.alphas[a] * fit.gain[b, a, explained])
        residual = weighted @ directions.T + unexplained
        operator[:] = others - residual / residual.diagonal()[:, None] * root
    if by_component:
        operators = components.mixed(fit.parameters, dict(zip(used.tolist(), operators, strict=True)))[None]
    return predictions.apply(fit.y, fit.images, operators, position, budget=blocks.DEFAULT)
