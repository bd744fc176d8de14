"""What the regressions of a run make of a response in which one area alone is active.

The units of an area lie k standard deviations above their mean over training images, all others at their mean. A linear
fit answers with its mean target plus k times the sum of the weights of the area's columns; that sum is what the area
says to the decoder. How long it is depends on how many units an area has, on the penalty and on k, and decoders know
features as far from the mean as those of images lie. Its direction is therefore kept and its length set to the root
mean square distance of training features from their mean,

    features of an area = m + d |y - m| / |d|,    d = f(k sd in the area, 0 elsewhere) - f(0),    m = f(0).

Source: the scripts roi_*.py of Ozcelik and VanRullen 2023, which set the voxels of a region to 1 and the length of d to
numbers chosen by hand (50 for latents, 9 for text, 15 for vision). They then z-score latents over the regions that
happen to be compared, so that the picture of a region depends on the others, and set the length of the whole vector,
mean included. Here each area is answered by itself and the mean stays where it is.
"""

from collections.abc import Sequence
from importlib import import_module

import numpy as np

from spikevaediff.records import Features, few
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.renormalise import LEGACY, renormalise

ROUNDING = 1e-5  # of the usual length; predictions err by about a tenth of it
BLOCK = 4096  # targets at a time


def responses(area: np.ndarray, n_windows: int, wanted: Sequence[str], *, deviations: float) -> np.ndarray:
    """Standardised responses: a first row with no area active, then one per wanted area.

    Parameters
    ----------
    area : str, (n_units,)
    n_windows : int
        Columns are all units of the first window, then of the next, as in preprocessing.response_matrix.
    wanted : sequence of str
    deviations : float
        Standard deviations over training images.

    Returns
    -------
    float64, (1 + n_wanted, n_windows * n_units)

    Raises
    ------
    KeyError, ValueError
        An area has no unit; deviations are 0 or not finite.
    """
    if missing := [name for name in wanted if name not in area]:
        raise KeyError(f"no unit is of area {few(missing)}; there are {', '.join(np.unique(area).tolist())}")
    if not np.isfinite(deviations) or deviations == 0:
        raise ValueError(f"deviations is {deviations}, expected a number of standard deviations other than 0")
    active = np.array([np.zeros(len(area), bool), *(area == name for name in wanted)])
    return np.tile(np.where(active, float(deviations), 0.0), n_windows)


def features(fit: Fit, z: np.ndarray) -> Features:
    """Features for standardised responses, at the usual distance from those of the first row.

    Parameters
    ----------
    fit : Fit
        With its context (new_responses.with_context). Groups of features are renormalised as the run's predictions are,
        except by statistics over the rows (`test_legacy`).
    z : float64, (n, n_columns)
        As `responses` makes them; a column that never varied in training has no say.

    Returns
    -------
    Features
        Image ids are rows of z. A row that the fit does not tell from the first one stays there.

    Raises
    ------
    ValueError
        z has another number of columns than the fit.
    """
    p = fit.parameters
    if z.shape[1:] != p["context_deviation"].shape:
        raise ValueError(f"responses have {z.shape[1]} columns, the fit {len(p['context_deviation'])}")
    method = import_module(f"spikevaediff.regression.methods.{fit.method}")
    raw = method.predict(fit, z * (p["context_deviation"] > 0)).astype(np.float32)
    how = str(p["context_renormalise"])
    found, _ = renormalise(raw, fit, how="none" if how == LEGACY else how)
    deviation = found - found[:1]
    length, usual = np.linalg.norm(deviation.astype(np.float64), axis=1), usual_length(fit)
    told = length > ROUNDING * usual
    scale = np.divide(usual, length, out=np.zeros_like(length), where=told)
    values = (found[:1] + deviation * scale[:, None]).astype(np.float32)
    return Features(str(p["context_space"]), np.arange(len(z)), values, p["context_group_name"], fit.group_size)


def usual_length(fit: Fit) -> float:
    """Root mean square distance of the features of training images from their mean, without those of a library."""
    rows, n_targets = fit.images[: fit.n_scored], fit.y.shape[1]
    starts = range(0, n_targets, BLOCK)
    return float(np.sqrt(sum(fit.y[:, a : a + BLOCK][rows].var(0, dtype=np.float64).sum() for a in starts)))
