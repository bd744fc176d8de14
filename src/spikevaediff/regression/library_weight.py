"""How much rows of a library count beside real ones: decided by training images that are left out of everything.

A library helps where its photographs are like those that were shown and the encoding models are good. Where they are
not, it does harm. So its rows get a weight, the one of those offered with which training images are predicted best
that neither the regression nor the encoding models, which answered the library, have learnt from. 0 is the regression
to real images alone.

An encoding model that has seen an image answers the library in a way that suits the response to it: with macaque V4,
106 training images and a library at weight 1, left-out pixels then have an R2 of 0.31, where those of images that the
model has not seen have 0.10 and those of a test set 0.12. That is why models are learnt again without the images that
decide, and why these choose the penalty as well, one for all targets.

Candidates are compared on the principal components of the targets of all rows (see
spikevaediff.regression.components): a rotation, in which squared errors are the same, and as many numbers as rows stand
for all targets, however many there are.
"""

import itertools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from spikevaediff.regression import blocks, components
from spikevaediff.regression.parts import parts


def choose(
    z: np.ndarray,
    y: np.ndarray,
    train: np.ndarray,
    answers: Sequence[np.ndarray],
    weights: Sequence[float],
    method: ModuleType,
    options: Mapping[str, Any],
) -> tuple[float, float]:
    """The weight and the penalty with which images left out are predicted best, in squared error.

    Parameters
    ----------
    z : float64, (n_train, n_columns)
        Standardised responses to training images.
    y : float, (n_images + n_library, n_targets)
        Targets of all images, then of the library. Those of images that are not trained on are not read.
    train : bool, (n_images,)
    answers : sequence of float, (n_library, n_columns)
        For each of `parts` the standardised answers of models that have not seen it.
    weights : sequence of float
        That are offered, 0 or more.
    method : module of spikevaediff.regression.methods
        That knows `library_weight`.
    options : mapping
        Keyword arguments of its fit, of which `alphas` are offered.

    Returns
    -------
    weight, alpha : float
        The first that are offered where several are as good.

    Raises
    ------
    ValueError
        As many answers as parts are not there, or as method.fit.
    """
    left_out = [part[train] for part in parts(train)]
    if len(answers) != len(left_out):
        raise ValueError(f"there are answers of {len(answers)} models to the library, expected {len(left_out)}")
    rows = np.concatenate([np.flatnonzero(train), np.arange(len(train), len(y))])
    scores = components.principal(y, rows, np.ones(len(rows)), options.get("budget", blocks.DEFAULT))[2]
    given = {**options, "alpha_scope": "global", "folds": "none", "group_size": np.array([scores.shape[1]])}
    offered = list(itertools.product(weights, options["alphas"]))
    loss = np.zeros(len(offered))
    for out, answer in zip(left_out, answers, strict=True):
        real, others = np.flatnonzero(~out), np.arange(len(z), len(rows))
        for number, (weight, alpha) in enumerate(offered):
            x, y_row, more = z[real], real, {}
            if weight:
                x, y_row = np.concatenate([x, answer]), np.concatenate([real, others])
                more = {"n_scored": len(z), "library_weight": weight}
            fit = method.fit(x, scores, y_row=y_row, **{**given, **more, "alphas": [alpha]})
            loss[number] += np.sum((method.predict(fit, z[out]) - scores[: len(z)][out]) ** 2)
    return offered[int(np.argmin(loss))]


def among_offered(summary: Mapping[str, np.ndarray], alphas: Sequence[float]) -> dict[str, np.ndarray]:
    """What a fit chose, with a place for every penalty that was offered, so that folds can be compared.

    A fold that takes a weight above 0 is fitted with one penalty, and one that takes 0 has scores of all.

    Parameters
    ----------
    summary : dict
        Of Fit.summary: alphas (n_alphas,); dof (n_candidates,) and group_r2 (n_groups, n_candidates), where candidates
        are (kernel, penalty).
    alphas : sequence of float
        That were offered.

    Returns
    -------
    dict
        The same with all penalties, ascending, NaN in dof and group_r2 where no fit was made.
    """
    offered = np.sort(np.asarray(alphas, np.float64))
    place = np.isin(offered, summary["alphas"])
    found = {**summary, "alphas": offered}
    for name in ("dof", "group_r2"):
        of_fitted = summary[name].reshape(*summary[name].shape[:-1], -1, len(summary["alphas"]))
        values = np.full((*of_fitted.shape[:-1], len(offered)), np.nan)
        values[..., place] = of_fitted
        found[name] = values.reshape(*summary[name].shape[:-1], -1)
    return found
