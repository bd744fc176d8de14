"""Responses of the encoding models of all folds to the same images, each map computed and pooled once.

A dense model (`encoder.Predictor`) multiplies whole maps. Models of ten folds share their maps and most of their
windows: pooled once under every window that any of them reads, a model is a few weights per unit.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import windows
from spikevaediff.encoding.encoder import Encoder, WeightsOf

ALL_IMAGES = "all_images.npz"


def file_name(fold: int) -> str:
    """The file of the model of a fold, beside ALL_IMAGES in the folder of a population."""
    return f"fold_{fold:02d}.npz"


def load(folder: str | Path, n_folds: int) -> list[Encoder]:
    """The models of one population: of each fold, then of all images.

    Raises
    ------
    FileNotFoundError, ValueError
        A model is absent or damaged.
    """
    return [Encoder.load(Path(folder) / name) for name in [*map(file_name, range(n_folds)), ALL_IMAGES]]


@torch.no_grad()
def predict(
    models: Sequence[Encoder], pixels: np.ndarray, weights_of: WeightsOf, *, batch_size: int = 256
) -> np.ndarray:
    """Mean responses to images.

    Parameters
    ----------
    models : sequence of Encoder
        With the same families and columns.
    pixels : uint8, (n_images, height, width)
    weights_of : callable
        The weight file of an asset.
    batch_size : int
        Changes no result but by rounding.

    Returns
    -------
    float32, (n_models, n_images, n_columns)

    Raises
    ------
    ValueError
        Models of other families or columns.
    """
    names = models[0].family_name.tolist()
    if any(m.family_name.tolist() != names or m.intercept.shape != models[0].intercept.shape for m in models):
        raise ValueError("the encoding models are of different families or columns. Make them again: dvc repro encode")
    images = encoders.seen(pixels)
    n_columns = len(models[0].intercept)
    found = np.tile(np.concatenate([m.intercept for m in models]).astype(np.float32), (len(images), 1))
    for index, name in enumerate(names):
        layers = _readers(models, index)
        if not layers:
            continue
        maps = encoders.built(name, weights_of)
        for start in track(range(0, len(images), batch_size), f"{name}: responses"):
            values = maps(images[start : start + batch_size])
            of_batch = found[start : start + batch_size]
            for layer, readers in layers.items():
                places = windows.weights(np.array(list(readers)), *values[layer].shape[2:]).astype(np.float32)
                flat = values[layer].flatten(2).numpy()
                # One product of two matrices: (window, place) by (image and channel, place).
                pooled = (places @ flat.reshape(-1, flat.shape[2]).T).reshape(len(places), *flat.shape[:2])
                for channels, (columns, weights) in zip(pooled, readers.values(), strict=True):
                    of_batch[:, columns] += channels @ np.stack(weights, axis=1)  # no column reads a window twice
    return found.reshape(len(images), len(models), n_columns).swapaxes(0, 1)


def _readers(models: Sequence[Encoder], family: int) -> dict[int, dict[tuple[float, ...], tuple[list, list]]]:
    """By layer and window: the columns that read it, counted over all models, and the weights of each."""
    found: dict[int, dict[tuple[float, ...], tuple[list, list]]] = {}
    for number, model in enumerate(models):
        for row in np.flatnonzero(model.row_family == family).tolist():
            of_layer = found.setdefault(int(model.row_layer[row]), {})
            columns, weights = of_layer.setdefault(tuple(model.row_window[row].tolist()), ([], []))
            columns.append(number * len(model.intercept) + int(model.row_column[row]))
            weights.append(model.weight[model.row_start[row] : model.row_start[row + 1]])
    return found


def noise(model: Encoder, image_id: np.ndarray, *, seed: int, number: int) -> np.ndarray:
    """A draw of the scatter around the prediction for each image, from (seed, number, image_id) alone.

    Parameters
    ----------
    model : Encoder
    image_id : int64, (n_images,)
    seed : int
    number : int
        Of the model: another fold gets other draws.

    Returns
    -------
    float32, (n_images, n_columns)
    """
    n_columns = len(model.intercept)
    draws = np.empty((len(image_id), n_columns))
    for draw, each in zip(draws, image_id.tolist(), strict=True):
        draw[:] = np.random.default_rng([seed, number, each]).standard_normal(n_columns)
    return (draws @ np.linalg.cholesky(model.covariance).T).astype(np.float32)
