"""Learned perceptual image patch similarity (LPIPS), with AlexNet and the linear heads of version 0.1.

The distance is a weighted sum of squared differences, so the matrix over all pairs follows from inner products: the
network sees every image once, not once per pair. The input scaling of LPIPS, 2 p - 1 for p in [0, 1] shifted by
(-0.030, -0.088, -0.188) and divided by (0.458, 0.448, 0.450), is the ImageNet mean and standard deviation written
differently; hence the activations are those that two-way identification uses too.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from spikevaediff.evaluation.looks import Look

if TYPE_CHECKING:
    from spikevaediff.evaluation.protocols import Protocol

LOOKS_AT = {"lpips": Look("alexnet", (0, 1, 2, 3, 4), "AlexNet, five convolutions, with the heads of LPIPS 0.1")}
ASSETS = ("lpips_heads",)
LARGER_IS_BETTER = False
RANGE = (0.0, float("inf"))
CHANCE = "No fixed number; the mean over wrong pairings says what an unrelated photograph scores."

_EPSILON = 1e-10  # added to the norm of a position, as in the reference weights' training
_BLOCK = 1 << 18  # numbers taken to float64 at a time, of all images; they stay in the processor's cache


def pairwise(shown: Sequence[np.ndarray], reconstructed: Sequence[np.ndarray], protocol: "Protocol") -> np.ndarray:
    """`distance` with the published heads, for every pair.

    Parameters
    ----------
    shown, reconstructed : five of float32, (n, n_channels, height, width) and (m, n_channels, height, width)
        The rectified convolutions of AlexNet.
    protocol : Protocol
        Has decided what the network saw; not read.

    Returns
    -------
    float64, (n, m), not negative

    Raises
    ------
    FileNotFoundError, ValueError
        The heads are not there or damaged.
    """
    from spikevaediff.files import assets
    from spikevaediff.networks import small  # torch, which the names of metrics need not wait for

    return distance(shown, reconstructed, heads=small.lpips_heads(assets.fetch("lpips_heads")))


def distance(
    shown: Sequence[np.ndarray], reconstructed: Sequence[np.ndarray], *, heads: Sequence[np.ndarray]
) -> np.ndarray:
    """LPIPS distance, for every pair.

    sum over layers of mean over positions p of sum over channels c of
    w_c (x_cp / (||x_p|| + 1e-10) - y_cp / (||y_p|| + 1e-10))^2, computed as <x, x> + <y, y> - 2 <x, y> in float64.

    Parameters
    ----------
    shown, reconstructed : sequences of float32, (n, n_channels, height, width) and (m, n_channels, height, width)
        Activations, one array per layer.
    heads : sequence of float32, (n_channels,)
        The weights of each layer, not negative.

    Returns
    -------
    float64, (n, m), not negative

    Raises
    ------
    ValueError
        The layers differ in number or shape, or the heads do not fit them.

    References
    ----------
    Zhang, Isola, Efros, Shechtman & Wang 2018, CVPR, arXiv:1801.03924.
    """
    of_shown, of_reconstructed = ([layer.shape[1:] for layer in layers] for layers in (shown, reconstructed))
    if of_shown != of_reconstructed:
        raise ValueError(f"layers must agree, got {of_shown} of the shown and {of_reconstructed} of the other images")
    if [shape[0] for shape in of_shown] != [len(w) for w in heads]:
        raise ValueError(f"heads for {[len(w) for w in heads]} channels do not fit the layers {of_shown}")
    distance = np.zeros((len(shown[0]), len(reconstructed[0])))
    for x, y, w in zip(shown, reconstructed, heads, strict=True):
        n_positions = x.shape[2] * x.shape[3]
        x, y = x.reshape(*x.shape[:2], n_positions), y.reshape(*y.shape[:2], n_positions)
        step = max(1, _BLOCK // (x.shape[1] * max(len(x), len(y))))
        for start in range(0, n_positions, step):
            u, v = (_weighted(z[:, :, start : start + step], w) for z in (x, y))
            squares = (u * u).sum(axis=1)[:, None] + (v * v).sum(axis=1)[None, :]
            distance += (squares - 2 * u @ v.T) / n_positions
    return np.maximum(distance, 0)  # rounding leaves -1e-17 for an image with itself


def _weighted(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Unit-length positions times the root of the weights, flattened: (n, n_channels * n_positions), float64."""
    activations = activations.astype(np.float64)
    length = np.sqrt((activations**2).sum(axis=1, keepdims=True)) + _EPSILON
    return (activations / length * np.sqrt(weights.astype(np.float64))[:, None]).reshape(len(activations), -1)
