"""What each unit responds to, one row per unit: family, place in the image, prediction of unseen images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from spikevaediff.encoding.encoder import Encoder
from spikevaediff.recordings import quality, reliability

_ROUNDING = 1e-5  # of predictions, which are float32, relative to the spread of responses


def table(
    model: Encoder,
    predicted: np.ndarray,
    mean: np.ndarray,
    trained: np.ndarray,
    x: np.ndarray,
    image_id: np.ndarray,
    *,
    n_draws: int,
    seed: int,
) -> list[dict[str, Any]]:
    """One row per unit. Time windows of a unit are added up.

    Parameters
    ----------
    model : Encoder
        Of all images: it decides family and place.
    predicted : float, (n_images, n_columns)
        Mean response to each tested image by a model that has not seen it.
    mean : float64, (n_images, n_columns)
        The response that was measured; rows as in `predicted`.
    trained : float64, (n_images, n_columns)
        Mean response to the images that this model was fitted to. Taken off both: an image is left out of its own
        training mean, so that predictions of the mean alone would correlate negatively.
    x : float64, (n_presentations, n_columns)
        Single responses, for the reliability.
    image_id : int64, (n_presentations,)
    n_draws, seed : int
        Random splits into halves, see `quality.split_half`.

    Returns
    -------
    list of dict
        session_id, unit_id, area; family, none where the unit keeps its mean; r, correlation over images of predicted
        and measured, 0 where the training mean is all that is predicted; ceiling, sqrt of the split-half reliability:
        the r of a perfect model, as the measured mean is noisy; row, column, size: centre and standard deviation of the
        receptive field, image widths from the upper left corner, of the windows under which features are pooled (the
        features' own extent comes on top). None where there is no number.

    Raises
    ------
    ValueError
        Arrays of other columns than the model's.
    """
    n_columns = len(model.intercept)
    for name, values in (("predicted", predicted), ("mean", mean), ("trained", trained), ("x", x)):
        if values.shape[1] != n_columns:
            raise ValueError(f"{name} has {values.shape[1]} columns, the encoding model {n_columns}")
    key = np.column_stack([model.session_id, model.unit_id])
    first, unit = np.unique(key, axis=0, return_index=True, return_inverse=True)[1:]
    unit = unit.reshape(-1)
    order = np.argsort(unit, kind="stable")  # columns, unit by unit
    starts = np.searchsorted(unit[order], np.arange(len(first)))

    def of_units(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values[:, order], starts, axis=1)

    expected, found = (of_units(values - trained) for values in (predicted.astype(np.float64), mean))
    r = reliability.correlation_of_columns(expected, found)
    r[(expected.std(0) <= _ROUNDING * found.std(0)) & np.isfinite(r)] = 0
    ceiling = np.sqrt(quality.split_half(of_units(x), image_id, n_draws=n_draws, seed=seed)[0])
    row_unit = unit[model.row_column]
    row_order = np.argsort(row_unit, kind="stable")
    of_row = np.split(row_order, np.searchsorted(row_unit[row_order], np.arange(1, len(first))))
    rows = []
    for number, columns in enumerate(np.split(order, starts[1:])):
        chosen = model.family[columns]
        values, counts = np.unique(chosen, return_counts=True)
        family = int(values[np.argmax(counts)])
        place = field(model.row_window[of_row[number]])
        rows.append(
            {
                "session_id": int(model.session_id[first[number]]),
                "unit_id": int(model.unit_id[first[number]]),
                "area": str(model.area[first[number]]),
                "family": str(model.family_name[family]) if family >= 0 else "none",
                "r": _number(r[number]),
                "ceiling": _number(ceiling[number]),
                **dict(zip(("row", "column", "size"), place, strict=True)),
            }
        )
    return rows


def field(windows: np.ndarray) -> Sequence[float | None]:
    """Row, column and size of the mean of Gaussian windows: its centre and its standard deviation along an axis.

    Parameters
    ----------
    windows : float64, (n_windows, 3)
        Size, row and column. A readout is an average of windows, so that all count alike.
    """
    if len(windows) == 0:
        return None, None, None
    size, row, column = windows.T
    variance = (size**2).mean() + (row.var() + column.var()) / 2
    return float(row.mean()), float(column.mean()), float(np.sqrt(variance))


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
