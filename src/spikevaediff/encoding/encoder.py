"""A fitted encoding model of one population: kept as arrays, run by torch, differentiable in the image.

Kept sparse (a few windows per unit), run dense: each layer gets one matrix (unit, channel x place) of the units that
read it, so that the responses to many images, and their gradient, are one matrix product per layer.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from spikevaediff.encoding import families, noise, readout, rowwise, windows
from spikevaediff.images import resize
from spikevaediff.parameters.options import modules
from spikevaediff.records.npz import Npz, require

WeightsOf = Callable[[str], Path]  # the file of an asset, by name
_AT_ONCE = 32  # images, of which `maps_of` computes maps


@dataclass(frozen=True)
class Encoder(Npz):
    """Responses as a function of the image, and how they scatter around it. A column is a unit in one time window.

    family_name : str, (n_families,); modules of spikevaediff.encoding.families.
    family : int64, (n_columns,); that of its best window, position in family_name; -1 for one that keeps its mean.
    row_column, row_family, row_layer : int64, (n_rows,); which column reads which layer of which family.
    row_window : float64, (n_rows, 3); size, row and column of the window, image widths.
    row_start : int64, (n_rows + 1,); weights of a row are weight[row_start[i]:row_start[i + 1]], a number per channel.
    weight : float32, (n_weights,).
    intercept : float64, (n_columns,).
    covariance : float64, (n_columns, n_columns); of the response around the prediction, trial noise of a mean response
        and error of the model together.
    shrinkage : float64, (); of its correlations, see `noise`.
    image_id : int64, (n_images,); the training images.
    left_out : float64, (n_images, n_columns); prediction of every training image without it.
    r2 : float64, (n_columns,); of left_out. n_best : int64, (); windows that a column averages.
    unit_id, session_id : int64, (n_columns,); area : str, (n_columns,).
    """

    family_name: np.ndarray
    family: np.ndarray
    row_column: np.ndarray
    row_family: np.ndarray
    row_layer: np.ndarray
    row_window: np.ndarray
    row_start: np.ndarray
    weight: np.ndarray
    intercept: np.ndarray
    covariance: np.ndarray
    shrinkage: np.ndarray
    image_id: np.ndarray
    left_out: np.ndarray
    r2: np.ndarray
    n_best: np.ndarray
    unit_id: np.ndarray
    session_id: np.ndarray
    area: np.ndarray

    def __post_init__(self) -> None:
        n = len(self.intercept)
        for name in ("family", "r2", "unit_id", "session_id", "area", "covariance"):
            require(len(getattr(self, name)) == n, f"Encoder: {name} has {len(getattr(self, name))} columns, not {n}")
        require(self.row_start[-1] == len(self.weight), "Encoder: row_start does not end where the weights do")
        for name in ("weight", "intercept", "covariance"):
            require(np.isfinite(getattr(self, name)).all(), f"Encoder: {name} is not finite")


def seen(pixels: np.ndarray) -> Tensor:
    """Images as encoding models take them: uint8 (n, height, width) -> float32 (n, 64, 64) in [0, 1]."""
    return torch.from_numpy(resize(pixels, families.IMAGE_PX).astype(np.float32) / 255)


def family(name: str) -> ModuleType:
    """A module of spikevaediff.encoding.families.

    Raises
    ------
    KeyError
        There is no such family; the message lists those that exist.
    """
    if name not in (there := modules("encoding/families")):
        raise KeyError(f"encoding family {name!r} does not exist; there are {', '.join(there)}")
    return import_module(f"spikevaediff.encoding.families.{name}")


def built(name: str, weights_of: WeightsOf) -> Callable[[Tensor], list[Tensor]]:
    """The maps of a family as a function of images, with its weights."""
    module = family(name)
    return module.build(*[weights_of(asset) for asset in module.ASSETS])


@torch.no_grad()
def maps_of(pixels: np.ndarray, names: Sequence[str], weights_of: WeightsOf) -> list[list[Tensor]]:
    """Maps of all images, per family and layer float32 (n_images, channel, row, column), for `fit`."""
    images = seen(pixels)
    found = []
    for name in names:
        maps = built(name, weights_of)
        parts = [maps(images[i : i + _AT_ONCE]) for i in track(range(0, len(images), _AT_ONCE), f"{name} maps")]
        # Rows and columns last in memory, which readouts sum over.
        found.append([torch.cat(layer).contiguous() for layer in zip(*parts, strict=True)])
    return found


def fit(
    maps: Sequence[Sequence[Tensor]],
    x: np.ndarray,
    *,
    families: Sequence[str],
    image_id: np.ndarray,
    units: Mapping[str, np.ndarray],
) -> Encoder:
    """Encoding model of training images, and of rows of movies besides.

    Parameters
    ----------
    maps : per family and layer float32, (n_images, channel, row, column)
        As from `maps_of`, of the training images alone, then of rows of movies, if there are any.
    x : float64, (n_images, n_columns)
        Mean responses to them, rows as in `maps`.
    families : sequence of str
        Families in the order of `maps`.
    image_id : int64, (n_train,)
        Of the training images: choices and noise are theirs alone.
    units : mapping of arrays, (n_columns,)
        unit_id, session_id and area of every column, as from `preprocessing.units_of_columns`.

    Raises
    ------
    ValueError
        See `readout.fit` and `noise.covariance`.
    """
    n = len(image_id)
    fitted = readout.fit(maps, [family(name).WINDOWS for name in families], x, n_scored=n)
    covariance, shrinkage = noise.covariance(x[:n] - fitted.left_out)
    return Encoder(
        family_name=np.array(families),
        family=fitted.family,
        row_column=fitted.row_unit,
        row_family=fitted.row_family,
        row_layer=fitted.row_layer,
        row_window=fitted.row_window,
        row_start=np.concatenate([[0], np.cumsum([len(w) for w in fitted.row_weight], dtype=np.int64)]),
        weight=np.concatenate([*fitted.row_weight, np.zeros(0)]).astype(np.float32),
        intercept=fitted.intercept,
        covariance=covariance,
        shrinkage=np.array(shrinkage),
        image_id=image_id,
        left_out=fitted.left_out,
        r2=fitted.r2,
        n_best=np.array(fitted.n_best),
        unit_id=units["unit_id"],
        session_id=units["session_id"],
        area=units["area"],
    )


class Predictor(torch.nn.Module):
    """Mean responses to images: float32 (n_images, row, column) in [0, 1] -> float32 (n_images, n_columns).

    Parameters
    ----------
    encoder : Encoder
    weights_of : callable
        The weight file of an asset.
    """

    intercept: Tensor

    def __init__(self, encoder: Encoder, weights_of: WeightsOf) -> None:
        super().__init__()
        self.register_buffer("intercept", torch.from_numpy(encoder.intercept.astype(np.float32)))
        self.encoder = encoder
        self._lock = threading.Lock()
        self._maps = [
            (index, built(name, weights_of))
            for index, name in enumerate(encoder.family_name.tolist())
            if np.any(encoder.row_family == index)
        ]

    def dense(self, family: int, layer: int, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Columns that read one layer, (n_readers,), and their weights, (n_readers, channel * row * column); made on
        first use for maps of this shape."""
        readers, dense = (f"{kind}_{family}_{layer}" for kind in ("readers", "dense"))
        with self._lock:
            if dense not in self._buffers:
                self._make(readers, dense, family, layer, shape)
        return self.get_buffer(readers), self.get_buffer(dense)

    def _make(self, readers: str, dense: str, family: int, layer: int, shape: Sequence[int]) -> None:
        e = self.encoder
        rows = np.flatnonzero((e.row_family == family) & (e.row_layer == layer))
        columns, reader = np.unique(e.row_column[rows], return_inverse=True)
        places = windows.weights(e.row_window[rows], *shape[1:]).astype(np.float32)
        channels = np.stack([e.weight[e.row_start[row] : e.row_start[row + 1]] for row in rows.tolist()])
        matrix = np.empty((len(columns), shape[0], places.shape[1]), np.float32)
        for to in range(len(columns)):
            own = reader == to
            np.matmul(channels[own].T, places[own], out=matrix[to])
        self.register_buffer(readers, torch.from_numpy(columns).to(self.intercept.device))
        self.register_buffer(dense, torch.from_numpy(matrix.reshape(len(matrix), -1)).to(self.intercept))

    def forward(self, images: Tensor) -> Tensor:
        found = self.intercept.expand(len(images), -1)
        # Never one image alone, for which libraries choose other kernels. The graph is the same for any number, so that
        # gradients are added up in one order.
        several = images.repeat(2 if len(images) == 1 else 1, 1, 1)
        for index, maps in self._maps:
            for layer, values in enumerate(maps(several)):
                if np.any((self.encoder.row_family == index) & (self.encoder.row_layer == layer)):
                    readers, dense = self.dense(index, layer, values.shape[1:])
                    found = found.index_add(1, readers, rowwise.product(values[: len(images)].flatten(1), dense.T))
        return found


@torch.no_grad()
def predict(encoder: Encoder, pixels: np.ndarray, weights_of: WeightsOf, *, batch_size: int = 64) -> np.ndarray:
    """Mean responses to images, uint8 (n, height, width) -> float64 (n, n_columns)."""
    predictor, images = Predictor(encoder, weights_of), seen(pixels)
    parts = [predictor(images[i : i + batch_size]) for i in range(0, len(images), batch_size)]
    return torch.cat(parts).double().numpy() if parts else np.empty((0, len(encoder.intercept)))
