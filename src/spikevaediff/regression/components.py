r"""A penalty for each principal component of the targets: alpha_scope "component".

What training images have in common is predicted better than what sets one of them apart, and thousands of targets share
a hundred components. With z the targets of the n training images that are left out in turn, m their mean and
z - m = sum_k c_k v_k' their singular value decomposition, c_k = (z - m) v_k is a target like any other, and gets the
penalty (or the kernel and penalty) a_k that predicts it best while each image is left out in turn. The prediction is

    p = sum_k p_{a_k}(c_k) v_k' + p_{a_0}(z (I - sum_k v_k v_k')),

p_a(t) the prediction of t with penalty a. The last term is what rows of a library show and no training image does. No
image that is left out can judge it, so it has the penalty a_0 that is best for all components together.

Both v_k = (z - m)' w_k and p_a are linear in the targets, from the left, and so is all of this: one operator

    O_{a_0} + sum_k (O_{a_k} - O_{a_0}) (Z v_k) w_k'

of images (rows of Z, library included), whatever the number of targets. No component, as wide as the targets, is kept.

The components are those of all training images of a fit, the left-out one included: left-out scores flatter a little,
as those at a chosen penalty always do. Test images take no part.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from spikevaediff.regression import blocks, targets
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.designs import Design
from spikevaediff.regression.targets import Scores

SCOPE = "component"


def score(
    y: np.ndarray,
    design: Design,
    maps: np.ndarray,
    *,
    scope: str,
    group_size: np.ndarray,
    budget: Budget,
) -> tuple[Scores, dict[str, np.ndarray]]:
    """Choose candidates by left-out losses for any scope.

    Parameters
    ----------
    y, maps, scope, group_size, budget
        As in targets.score; scope may be "component".
    design : Design

    Returns
    -------
    Scores
        For "component", `candidate` is that of the component which carries most of a target's variance; loss and
        correlation are those of the whole prediction, and group_loss of every candidate on its own.
    dict
        Parameters of the fit, for `mixed`; empty for other scopes. component_candidate, int32 (n_components,);
        component_rest, int32 (), a_0; component_score, float64 (n_images, n_components), Z v_k less its mean over
        images that are left out; component_weight, float64 (n_components, n_scored), w_k.

    Raises
    ------
    ValueError
        As targets.score.
    """
    root = np.sqrt(design.image_weight[: design.n_scored])
    given = {"group_size": group_size, "budget": budget}
    if scope != SCOPE:
        return targets.score(y, design.images, maps, root, scope=scope, **given), {}  # type: ignore[arg-type]
    value, weight, scores = principal(y, design.images, root, budget)
    losses = np.stack([np.square(e.astype(np.float64) @ scores).sum(0) for e in maps])
    parameters = {
        "component_candidate": losses.argmin(0).astype(np.int32),
        "component_rest": np.array(losses.sum(1).argmin(), np.int32),
        "component_score": scores,
        "component_weight": weight,
    }
    every = targets.score(y, design.images, maps, root, scope="target", **given)  # type: ignore[arg-type]
    whole = targets.score(
        y,
        design.images,
        mixed(parameters, {c: maps[c] for c in candidates(parameters).tolist()})[None],
        root,
        scope="target",
        **given,  # type: ignore[arg-type]
    )
    main = _main(y, design.images[: design.n_scored], value[:, None] * weight, budget) if len(value) else 0
    found = Scores(
        candidate=np.broadcast_to(np.append(losses.argmin(0), losses.sum(1).argmin())[main], y.shape[1]).astype(
            np.int32
        ),
        loss=whole.loss,
        squares=whole.squares,
        correlation=whole.correlation,
        group_loss=every.group_loss,
    )
    return found, parameters


def candidates(parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """The candidates that `mixed` needs operators of, ascending."""
    return np.union1d(parameters["component_candidate"], parameters["component_rest"])


def mixed(parameters: Mapping[str, np.ndarray], operators: Mapping[int, np.ndarray]) -> np.ndarray:
    """The one operator that predicts every component with its own candidate.

    Parameters
    ----------
    parameters : mapping
        Of a fit, as from `score`.
    operators : mapping of int to float, (n_rows, n_images)
        By candidate. The rows of all have one and the same sum.

    Returns
    -------
    float, (n_rows, n_images)
    """
    chosen, rest = parameters["component_candidate"], int(parameters["component_rest"])
    weight = parameters["component_weight"]
    out = operators[rest].copy()
    for c in np.unique(chosen).tolist():
        mine = chosen == c
        if c != rest:
            less = (operators[c].astype(np.float64) - operators[rest]) @ parameters["component_score"][:, mine]
            out[:, : weight.shape[1]] += (less @ weight[mine]).astype(out.dtype)
    return out


def principal(
    y: np.ndarray, images: np.ndarray, root: np.ndarray, budget: Budget
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Principal components of targets: singular values, w_k and Z v_k, from products of targets that are read once.

    An image counts by its weight, as in the loss: the components are those of root (z - m).
    """
    n = len(root)
    products = np.zeros((len(images), n))
    for z in _centred(y, images, root, budget):
        products += z @ z[:n].T
    eigenvalue, vectors = np.linalg.eigh(root[:, None] * products[:n] * root)
    eigenvalue, vectors = eigenvalue[::-1], vectors[:, ::-1]
    # A product of float64 numbers knows its eigenvalues to about n roundings of the largest.
    kept = eigenvalue > 4 * n * np.finfo(np.float64).eps * eigenvalue[0]
    value = np.sqrt(eigenvalue[kept])
    weight = (vectors[:, kept] / value).T * root
    return value, weight, products @ weight.T


def _main(y: np.ndarray, images: np.ndarray, weight: np.ndarray, budget: Budget) -> np.ndarray:
    """The component with most of each target's variance, int64 (n_targets,)."""
    found = [np.abs(weight @ z).argmax(0) for z in _centred(y, images, np.ones(len(images)), budget)]
    return np.concatenate(found)


def _centred(y: np.ndarray, images: np.ndarray, root: np.ndarray, budget: Budget) -> Iterator[np.ndarray]:
    """Blocks of targets, float64 (n_images, some), less their weighted mean over the first images, those of `root`."""
    share = root**2 / np.sum(root**2)
    width = max(1, int(budget.n_bytes / (8 * 3 * len(images))))
    for first in range(0, y.shape[1], width):
        blocks.check_file(y)
        z = y[images, first : first + width].astype(np.float64)
        yield z - share @ z[: len(root)]
