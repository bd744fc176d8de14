"""Fit of encoding models: a place, a layer and a few weights per unit, chosen by leaving out training images.

A receptive field is small. A readout therefore pools the channels of one layer under one Gaussian window and is a ridge
regression on the pooled channels: as many weights as channels, instead of channels times places. With Z the pooled
channels of the n training images (each divided by its deviation plus the mean deviation of all channels of the window,
so that a silent channel does not blow up), K = Z Z' centred and l, V its eigenvalues and eigenvectors without the
constant one, the error of leaving out image i is

    e_i = (V B V' y)_i / sum_j B_j V_ij^2,    B_j = alpha / (l_j + alpha),

exactly and without refitting; both are sums without cancellation. Penalties are offered relative to the mean of l.

Windows of all families compete, and a unit averages the best k of them; k is one number for the population, the one
with the largest left-out likelihood. The best window of hundreds looks better than it is. So the left-out prediction of
image i, which decides k and the noise, is that of the windows and penalties that predict the *other* images best, each
of those without both i and itself: with r = V B V'y the residuals and M = V B V' the residual maker, leaving out i and
j gives

    e_j = (M_ii r_j - M_ij r_i) / (M_ii M_jj - M_ij^2),

whose squares are summed over j by two matrix products. A unit whose left-out predictions are worse than its mean
response keeps the mean.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikevaediff.encoding import noise
from spikevaediff.encoding import windows as places

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # relative to the mean eigenvalue
N_BEST = (1, 3, 10, 30, 100)  # windows that are averaged


@dataclass(frozen=True)
class Fitted:
    """Encoding models of all units. A row is a window that a unit reads.

    row_unit, row_family, row_layer : int64, (n_rows,).
    row_window : float64, (n_rows, 3); size, row and column, image widths.
    row_weight : list of float64, (n_channels,), (n_rows,) of them; of the pooled channels as they are.
    family : int64, (n_units,); of the best window of a unit, -1 for one that keeps its mean.
    intercept : float64, (n_units,).
    left_out : float64, (n_images, n_units); prediction of every training image without it.
    r2 : float64, (n_units,); 1 - squared error of left_out / squared deviations of the responses.
    n_best : int; windows that a unit averages.
    """

    row_unit: np.ndarray
    row_family: np.ndarray
    row_layer: np.ndarray
    row_window: np.ndarray
    row_weight: list[np.ndarray]
    family: np.ndarray
    intercept: np.ndarray
    left_out: np.ndarray
    r2: np.ndarray
    n_best: int


def fit(
    maps: Sequence[Sequence[Tensor]],
    windows: Sequence[Sequence[tuple[tuple[float, int], ...]]],
    y: np.ndarray,
    *,
    n_scored: int | None = None,
) -> Fitted:
    """Encoding models from the maps of training images.

    Parameters
    ----------
    maps : per family and layer float32, (n_images, n_channels, n_rows, n_columns)
        Of training images.
    windows : per family and layer a tuple of (size, n_side)
        As `windows.grid` takes them.
    y : float64, (n_images, n_units)
        Mean response of every unit to every training image, rows as in `maps`.
    n_scored : int, optional
        Only the first n are left out, choose and count in the results; the fits learn from all. The others,
        rows of movies, have a mean of their own.

    Raises
    ------
    ValueError
        No family, fewer than 4 images, or values that are not finite.

    Source: the window follows St-Yves & Naselaris 2018, The feature-weighted receptive field, NeuroImage 180.
    """
    y = np.asarray(y, np.float64)
    if not len(maps):
        raise ValueError("encoding.families is empty: name at least one family of features")
    if len(y) < 4:
        raise ValueError(f"encoding models need at least 4 training images, got {len(y)}")
    if not np.isfinite(y).all():
        raise ValueError(f"responses are not finite in {np.sum(~np.isfinite(y))} of {y.size} places")
    n_scored = len(y) if n_scored is None else n_scored
    y_all, y = y, y[:n_scored]
    study = _study(maps, windows, y_all, n_scored)
    n_best, left_out = _averaged(study, y)
    mean = y.mean(0)
    total = ((y - mean) ** 2).sum(0)
    # Leaving an image out of its own mean.
    without = mean + (mean - y) / (len(y) - 1)
    useless = ((y - left_out) ** 2).sum(0) >= ((y - without) ** 2).sum(0)
    left_out[:, useless] = without[:, useless]
    order = np.argsort(study.error, 0)[:n_best]
    family = np.where(useless, -1, study.family[order[0]])
    pairs = [(int(window), int(unit)) for unit in np.flatnonzero(~useless) for window in order[:, unit]]
    weights, intercept = _weights(study, maps, pairs, n_best, y_all, n_scored)
    chosen = np.array([window for window, _ in pairs], np.int64)
    return Fitted(
        row_unit=np.array([unit for _, unit in pairs], np.int64),
        row_family=study.family[chosen],
        row_layer=study.layer[chosen],
        row_window=study.window[chosen].reshape(-1, 3),
        row_weight=weights,
        family=family,
        intercept=intercept,
        left_out=left_out,
        r2=1 - np.divide(((y - left_out) ** 2).sum(0), total, out=np.ones_like(total), where=total > 0),
        n_best=n_best,
    )


@dataclass(frozen=True)
class _Study:
    """All windows of all families.

    family, layer, window : int64 (n_windows,), twice, and float64 (n_windows, 3).
    penalty : int64, (n_windows, n_units); the best, by `error`.
    error : float64, (n_windows, n_units); summed squares of the residuals, each image left out.
    others : float32, (n_windows, n_images, n_units); summed squares over the other images j, each without i and j, at
        the penalty that makes them least.
    residual : float32, (n_windows, n_images, n_units); of image i without it, at that penalty.
    """

    family: np.ndarray
    layer: np.ndarray
    window: np.ndarray
    penalty: np.ndarray
    error: np.ndarray
    others: np.ndarray
    residual: np.ndarray


def _study(
    maps: Sequence[Sequence[Tensor]],
    offered: Sequence[Sequence[tuple[tuple[float, int], ...]]],
    y: np.ndarray,
    n_scored: int,
) -> _Study:
    layers = [
        (family, layer, places.grid(windows))
        for family, of_family in enumerate(offered)
        for layer, windows in enumerate(of_family)
    ]
    sizes = [len(grid) for _, _, grid in layers]
    n_units = y.shape[1]
    shape = (sum(sizes), n_scored, n_units)
    centred = _centred(y, n_scored).astype(np.float32)
    penalty, error = np.zeros((shape[0], n_units), np.int64), np.full((shape[0], n_units), np.inf)
    others, residual = np.empty(shape, np.float32), np.empty(shape, np.float32)  # of which the first penalty fills all
    index = 0
    for family, layer, grid in layers:
        for z, _ in _pooled(maps[family][layer], grid):
            values, vectors = _eigen(z, n_scored)
            for number, alpha in enumerate(_penalties(values)):
                maker = ((vectors[:n_scored] * (alpha / (values + alpha))) @ vectors.T).astype(np.float32)
                _compare(maker, centred, number, penalty[index], error[index], others[index], residual[index])
            index += 1
    return _Study(
        family=np.repeat([family for family, _, _ in layers], sizes),
        layer=np.repeat([layer for _, layer, _ in layers], sizes),
        window=np.concatenate([grid for _, _, grid in layers]),
        penalty=penalty,
        error=error,
        others=others,
        residual=residual,
    )


def _compare(
    maker: np.ndarray,
    y: np.ndarray,
    number: int,
    penalty: np.ndarray,
    error: np.ndarray,
    others: np.ndarray,
    residual: np.ndarray,
) -> None:
    """Take over what this penalty predicts better, in place; see `_Study`."""
    rest, own = maker @ y, maker.diagonal()
    maker = maker[:, : len(maker)]
    left_out = rest / own[:, None]
    squares = np.einsum("iu,iu->u", left_out, left_out, dtype=np.float64)
    better = squares < error
    penalty[better], error[better] = number, squares[better]
    # Of a positive definite matrix every 2 x 2 determinant is positive; rounding must not make it 0.
    both, square = np.outer(own, own), maker**2
    determinant = np.maximum(both - square, 1e-4 * both)
    np.fill_diagonal(determinant, np.inf)
    inverse = 1 / determinant**2
    pairs = inverse @ rest**2
    pairs *= own[:, None] ** 2
    crossed = (maker * inverse) @ rest
    crossed *= 2 * own[:, None]
    crossed -= (square * inverse).sum(1)[:, None] * rest
    crossed *= rest
    pairs -= crossed
    closer = True if number == 0 else pairs < others
    np.copyto(others, pairs, where=closer)
    np.copyto(residual, left_out, where=closer)


def _penalties(values: np.ndarray) -> np.ndarray:
    return np.multiply(PENALTIES, max(float(values.mean()), float(np.finfo(np.float32).tiny)))


def _pooled(layer: Tensor, grid: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per window the scaled channels, float64 (n_images, n_channels), and what they were multiplied by."""
    weight = places.weights(grid, *layer.shape[2:]).astype(np.float32)
    # One product, of maps as they lie in memory: a copy of them for each window would take longer than all the rest.
    for pooled in (weight @ layer.flatten(2).flatten(0, 1).numpy().T).reshape(-1, *layer.shape[:2]):
        deviation = pooled.std(0, dtype=np.float64)
        scale = 1 / (deviation + deviation.mean() + np.finfo(np.float32).tiny)
        yield pooled * scale, scale


def _centred(values: np.ndarray, n_scored: int) -> np.ndarray:
    """Rows less their mean: that of the scored ones, and that of the others."""
    found = values - values[:n_scored].mean(0)
    if n_scored < len(values):
        found[n_scored:] = values[n_scored:] - values[n_scored:].mean(0)
    return found


def _eigen(z: np.ndarray, n_scored: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors, (n, n - 1), of the kernel of centred rows, without the vector that is constant over
    the scored ones. (The others' constant vector has the eigenvalue 0, and no scored row.)
    """
    z = _centred(z, n_scored)
    # A Householder reflection that takes the constant vector to the first axis; what is left is orthogonal to it.
    n = len(z)
    reflector = np.where(np.arange(n) < n_scored, 1 / np.sqrt(n_scored), 0.0)
    reflector[0] += 1
    reflector /= np.linalg.norm(reflector)
    turned = z - np.outer(2 * reflector, reflector @ z)
    values, vectors = np.linalg.eigh(turned[1:] @ turned[1:].T)
    whole = np.concatenate([np.zeros((1, n - 1)), vectors])
    return np.maximum(values, 0), whole - np.outer(2 * reflector, reflector @ whole)


def _averaged(study: _Study, y: np.ndarray) -> tuple[int, np.ndarray]:
    """How many windows to average, and the prediction of every image without it, float64 (n_images, n_units)."""
    n_images, n_units = y.shape
    offered = sorted({min(count, len(study.error)) for count in N_BEST})
    predicted = np.empty((len(offered), n_images, n_units))
    for image in range(n_images):
        best = torch.from_numpy(study.others[:, image]).topk(offered[-1], 0, largest=False).indices
        residual = torch.gather(torch.from_numpy(study.residual[:, image]), 0, best)
        running = residual.double().cumsum(0).numpy()
        for number, count in enumerate(offered):
            predicted[number, image] = y[image] - running[count - 1] / count
    varies = np.ptp(y, axis=0) > 0
    surprise = [_log_determinant((y - one)[:, varies]) for one in predicted]
    number = int(np.argmin(surprise))
    return offered[number], predicted[number]


def _log_determinant(residual: np.ndarray) -> float:
    """Minus twice the mean Gaussian log likelihood of residuals under their shrunk covariance, up to a constant."""
    if not residual.size:
        return 0.0
    return float(np.linalg.slogdet(noise.covariance(residual)[0])[1])


def _weights(
    study: _Study,
    maps: Sequence[Sequence[Tensor]],
    pairs: list[tuple[int, int]],
    n_best: int,
    y: np.ndarray,
    n_scored: int,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Weights of the chosen (window, unit) pairs, and the intercept of every unit."""
    intercept, centred = y[:n_scored].mean(0), _centred(y, n_scored)
    readers: dict[int, list[int]] = {}
    for window, unit in pairs:
        readers.setdefault(window, []).append(unit)
    weight: dict[tuple[int, int], np.ndarray] = {}
    for window, units in readers.items():
        of_layer = maps[study.family[window]][study.layer[window]]
        ((z, scale),) = _pooled(of_layer, study.window[window : window + 1])
        values, vectors = _eigen(z, n_scored)
        alpha = _penalties(values)[study.penalty[window, units]]
        dual = vectors @ ((vectors.T @ centred[:, units]) / (values[:, None] + alpha))
        # dual sums to 0, over the scored rows and over the others: centring z changes nothing
        of_channels = (z.T @ dual) * scale[:, None] / n_best
        intercept[units] -= (z[:n_scored].mean(0) / scale) @ of_channels
        weight |= {(window, unit): column for unit, column in zip(units, of_channels.T, strict=True)}
    return [weight[pair] for pair in pairs], intercept
