"""Fit of encoding models: a place, a layer and a few weights per unit, chosen by leaving out training images.

A receptive field is small. A readout therefore pools the channels of one layer under one Gaussian window and is a ridge
regression on the pooled channels: as many weights as channels, instead of channels times places. With Z the pooled
channels of the n training images (each divided by its deviation plus the mean deviation of all channels of the window,
so that a silent channel does not blow up), K = Z Z' centred and l, V its eigenvalues and eigenvectors without the
constant one, the error of leaving out image i is

    e_i = (V B V' y)_i / sum_j B_j V_ij^2,    B_j = alpha / (l_j + alpha),

exactly and without refitting; both are sums without cancellation. Penalties are offered relative to the mean of l.

The best window of hundreds looks better than it is. So the left-out prediction of image i, which decides the family and
the noise, is that of the windows and penalties that predict the *other* images best, each of those without both i and
itself: with r = V B V'y the residuals and M = V B V' the residual maker, leaving out i and j gives

    e_j = (M_ii r_j - M_ij r_i) / (M_ii M_jj - M_ij^2),

whose squares are summed over j by two matrix products. A unit for which no family beats its mean response keeps the
mean. The average of the best few windows is offered beside the best one: it is usually better.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from spikevaediff.encoding import windows as places

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # relative to the mean eigenvalue
N_BEST = (1, 3, 10)  # windows that are averaged


@dataclass(frozen=True)
class Readout:
    """Readouts of one family, one row per (unit, window).

    unit, layer : int64, (n_rows,).
    window : float64, (n_rows, 3); size, row and column, image widths.
    weight : list of float64, (n_channels,), (n_rows,) of them; of the pooled channels as they are.
    """

    unit: np.ndarray
    layer: np.ndarray
    window: np.ndarray
    weight: list[np.ndarray]


@dataclass(frozen=True)
class Fitted:
    """Encoding models of all units.

    family : int64, (n_units,); position among the families offered, -1 for a unit that keeps its mean.
    readouts : one Readout per family.
    intercept : float64, (n_units,).
    left_out : float64, (n_images, n_units); prediction of every training image without it.
    r2 : float64, (n_units,); 1 - squared error of left_out / squared deviations of the responses.
    family_r2 : float64, (n_families, n_units); the same of each family.
    """

    family: np.ndarray
    readouts: list[Readout]
    intercept: np.ndarray
    left_out: np.ndarray
    r2: np.ndarray
    family_r2: np.ndarray


def fit(
    maps: Sequence[Sequence[Tensor]], windows: Sequence[Sequence[tuple[tuple[float, int], ...]]], y: np.ndarray
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

    Raises
    ------
    ValueError
        Fewer than 4 images, other numbers of images, or values that are not finite.

    Source: the window follows St-Yves & Naselaris 2018, The feature-weighted receptive field, NeuroImage 180.
    """
    y = np.asarray(y, np.float64)
    if len(y) < 4:
        raise ValueError(f"encoding models need at least 4 training images, got {len(y)}")
    if not np.isfinite(y).all():
        raise ValueError(f"responses are not finite in {np.sum(~np.isfinite(y))} of {y.size} places")
    mean = y.mean(0)
    total = ((y - mean) ** 2).sum(0)
    family = np.full(y.shape[1], -1)
    intercept = mean.copy()
    # Leaving an image out of its own mean.
    left_out = mean + (mean - y) / (len(y) - 1)
    least = ((y - left_out) ** 2).sum(0)
    chosen: list[tuple[np.ndarray, np.ndarray]] = []  # per family: windows per unit, and how many of them
    studies = []
    family_r2 = []
    for number, (of_family, offered) in enumerate(zip(maps, windows, strict=True)):
        study = _study(of_family, offered, y)
        studies.append(study)
        n_best, predicted = _average(study, y)
        error = ((y - predicted) ** 2).sum(0)
        family_r2.append(1 - np.divide(error, total, out=np.ones_like(error), where=total > 0))
        better = error < least
        family[better], least[better], left_out[:, better] = number, error[better], predicted[:, better]
        chosen.append((np.argsort(study.error, 0), n_best))
    readouts = []
    for number, (study, (order, n_best)) in enumerate(zip(studies, chosen, strict=True)):
        pairs = [(int(c), int(u)) for u in np.flatnonzero(family == number) for c in order[: n_best[u], u]]
        readout = _readout(study, maps[number], pairs, n_best, y, intercept)
        readouts.append(readout)
    r2 = 1 - np.divide(least, total, out=np.ones_like(least), where=total > 0)
    return Fitted(family, readouts, intercept, left_out, r2, np.array(family_r2))


@dataclass(frozen=True)
class _Study:
    """All windows of a family.

    layer, window : int64 (n_windows,) and float64 (n_windows, 3).
    penalty : int64, (n_windows, n_units); the best, by `error`.
    error : float64, (n_windows, n_units); summed squares of the residuals, each image left out.
    others : float32, (n_windows, n_images, n_units); summed squares over the other images j, each without i and j, at
        the penalty that makes them least.
    residual : float32, (n_windows, n_images, n_units); of image i without it, at that penalty.
    """

    layer: np.ndarray
    window: np.ndarray
    penalty: np.ndarray
    error: np.ndarray
    others: np.ndarray
    residual: np.ndarray


def _study(maps: Sequence[Tensor], offered: Sequence[tuple[tuple[float, int], ...]], y: np.ndarray) -> _Study:
    grids = [places.grid(windows) for windows in offered]
    layer = np.repeat(np.arange(len(grids)), [len(g) for g in grids])
    n_images, n_units = y.shape
    shape = (len(layer), n_images, n_units)
    centred = (y - y.mean(0)).astype(np.float32)
    penalty, error = np.zeros((len(layer), n_units), np.int64), np.full((len(layer), n_units), np.inf)
    others, residual = np.full(shape, np.inf, np.float32), np.zeros(shape, np.float32)
    index = 0
    for of_layer, grid in zip(maps, grids, strict=True):
        for z, _ in _pooled(of_layer, grid):
            values, vectors = _eigen(z)
            for number, alpha in enumerate(_penalties(values)):
                maker = ((vectors * (alpha / (values + alpha))) @ vectors.T).astype(np.float32)
                _compare(maker, centred, number, penalty[index], error[index], others[index], residual[index])
            index += 1
    return _Study(layer, np.concatenate(grids), penalty, error, others, residual)


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
    left_out = rest / own[:, None]
    squares = np.einsum("iu,iu->u", left_out, left_out, dtype=np.float64)
    better = squares < error
    penalty[better], error[better] = number, squares[better]
    # Of a positive definite matrix every 2 x 2 determinant is positive; rounding must not make it 0.
    determinant = np.maximum(np.outer(own, own) - maker**2, 1e-4 * np.outer(own, own))
    np.fill_diagonal(determinant, np.inf)
    inverse = 1 / determinant**2
    pairs = own[:, None] ** 2 * (inverse @ rest**2)
    pairs -= 2 * own[:, None] * rest * ((maker * inverse) @ rest)
    pairs += rest**2 * (maker**2 * inverse).sum(1)[:, None]
    closer = pairs < others
    np.copyto(others, pairs, where=closer)
    np.copyto(residual, left_out, where=closer)


def _penalties(values: np.ndarray) -> np.ndarray:
    return np.multiply(PENALTIES, max(float(values.mean()), float(np.finfo(np.float32).tiny)))


def _pooled(layer: Tensor, grid: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per window the scaled channels, float64 (n_images, n_channels), and what they were multiplied by."""
    weight = places.weights(grid, *layer.shape[2:]).astype(np.float32)
    for pooled in np.einsum("wp,ncp->wnc", weight, layer.flatten(2).numpy(), optimize=True):
        deviation = pooled.std(0, dtype=np.float64)
        scale = 1 / (deviation + deviation.mean() + np.finfo(np.float32).tiny)
        yield pooled * scale, scale


def _eigen(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues and eigenvectors, (n, n - 1), of the kernel of centred rows, without the constant vector."""
    z = z - z.mean(0)
    # A Householder reflection that takes the constant vector to the first axis; what is left is orthogonal to it.
    n = len(z)
    reflector = np.full(n, 1 / np.sqrt(n))
    reflector[0] += 1
    reflector /= np.linalg.norm(reflector)
    turned = z - np.outer(2 * reflector, reflector @ z)
    values, vectors = np.linalg.eigh(turned[1:] @ turned[1:].T)
    whole = np.concatenate([np.zeros((1, n - 1)), vectors])
    return np.maximum(values, 0), whole - np.outer(2 * reflector, reflector @ whole)


def _average(study: _Study, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many windows to average per unit, int64 (n_units,), and the prediction of every image without it."""
    n_images, n_units = y.shape
    most = min(max(N_BEST), len(study.error))
    predicted = np.empty((len(N_BEST), n_images, n_units))
    for image in range(n_images):
        best = torch.from_numpy(study.others[:, image]).topk(most, 0, largest=False).indices
        residual = torch.gather(torch.from_numpy(study.residual[:, image]), 0, best)
        running = residual.double().cumsum(0).numpy()
        for number, count in enumerate(N_BEST):
            count = min(count, most)
            predicted[number, image] = y[image] - running[count - 1] / count
    number = ((y - predicted) ** 2).sum(1).argmin(0)
    return np.minimum(np.array(N_BEST)[number], most), predicted[number, :, np.arange(n_units)].T


def _readout(
    study: _Study,
    maps: Sequence[Tensor],
    pairs: list[tuple[int, int]],
    n_best: np.ndarray,
    y: np.ndarray,
    intercept: np.ndarray,
) -> Readout:
    """Weights of the chosen (window, unit) pairs; their share of the mean is taken off `intercept`."""
    centred = y - y.mean(0)
    weight: dict[tuple[int, int], np.ndarray] = {}
    for index in sorted({c for c, _ in pairs}):
        units = np.array([u for c, u in pairs if c == index])
        ((z, scale),) = _pooled(maps[study.layer[index]], study.window[index : index + 1])
        values, vectors = _eigen(z)
        alpha = _penalties(values)[study.penalty[index, units]]
        dual = vectors @ ((vectors.T @ centred[:, units]) / (values[:, None] + alpha))
        of_channels = (z.T @ dual) * scale[:, None] / n_best[units]  # dual sums to 0: centring z changes nothing
        intercept[units] -= (z.mean(0) / scale) @ of_channels
        weight |= {(index, unit): column for unit, column in zip(units.tolist(), of_channels.T, strict=True)}
    chosen = np.array([c for c, _ in pairs], np.int64)
    return Readout(
        unit=np.array([u for _, u in pairs], np.int64),
        layer=study.layer[chosen],
        window=study.window[chosen],
        weight=[weight[pair] for pair in pairs],
    )
