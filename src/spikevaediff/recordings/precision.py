"""The type in which responses that were counted elsewhere are kept, and what their own type has already cost them.

Spike counts are kept as uint16, other responses as float32 where that costs no unit more than 1e-4 of its standard
deviation, as float64 otherwise: what varies by 1 around a million would lose 3 % of it. What would be lost in encoding
models, which compute in float32, is refused. What was lost before, when negative numbers were written into a type
without a sign, or small changes into one with few digits, cannot be brought back, but seen.
"""

import numpy as np

COST = 1e-4  # of the standard deviation of a unit, root mean square
LARGEST_COST = 0.1  # the same: encoding models predict in float32
SPREAD = (1e-15, 1e15)  # standard deviations whose squares float32 has with room to spare


def kept(responses: np.ndarray) -> np.ndarray:
    """The responses in the smallest type that keeps them.

    Parameters
    ----------
    responses : real, (n_presentations, n_units, n_windows)
        Finite.

    Returns
    -------
    uint16, float32 or float64, of the same shape
        uint16: all are whole numbers from 0 to 32767, spike counts.
    """
    exact = responses.astype(np.float64)
    if np.all((exact >= 0) & (exact == np.round(exact)) & (exact < 2**15)):
        return exact.astype(np.uint16)
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    if not np.isfinite(rounded).all():
        return exact
    largest = np.maximum(np.abs(exact).max((0, 2), keepdims=True), np.finfo(float).tiny)
    scaled, error = exact / largest, (exact - rounded) / largest  # numbers whose squares are numbers
    cost = np.sqrt(np.mean(error**2, axis=(0, 2)))
    varies = np.ptp(exact, axis=(0, 2)) > 0
    return rounded if np.all(cost[varies] <= COST * scaled.std((0, 2))[varies]) else exact


def lost(responses: np.ndarray) -> np.ndarray:
    """Units that arithmetic in float32, as that of encoding models, would lose.

    Rounding to float32 costs more than a tenth of the standard deviation, as it does where a unit varies by 0.01 around
    a million; or the standard deviation is so small or large that float32 has no number for its square.

    Parameters
    ----------
    responses : real, (n_presentations, n_units, n_windows)
        Finite.

    Returns
    -------
    bool, (n_units,)
        False for units that never change.
    """
    exact = responses.astype(np.float64)
    varies, largest = np.ptp(exact, axis=(0, 2)) > 0, np.abs(exact).max((0, 2), keepdims=True)
    relative = (exact / np.maximum(largest, np.finfo(float).tiny)).std((0, 2))
    deviation = relative * largest[0, :, 0]
    spread = (deviation >= SPREAD[0]) & (deviation <= SPREAD[1])
    return varies & ~(spread & (np.finfo(np.float32).eps / np.sqrt(12) <= LARGEST_COST * relative))


def wrapped(responses: np.ndarray) -> np.ndarray:
    """Units of which some numbers are too far from the others, just where a whole-number type begins anew: -1 written
    as uint16 is 65535, 200 written as int8 is -56.

    Taken for such where the numbers as the type with, or without, a sign has them span less than half as much.

    Parameters
    ----------
    responses : real, (n_presentations, n_units, n_windows)
        Finite; as they come from the file. Whole numbers of a wider type may have been wrapped in one of 16 or 32 bit.

    Returns
    -------
    bool, (n_units,)
    """
    values = responses.astype(np.float64)
    span, found = np.ptp(values, axis=(0, 2)), np.zeros(responses.shape[1], bool)
    own = 8 * responses.dtype.itemsize if responses.dtype.kind in "iu" else 0
    for bits in {own, 16, 32} - {0}:
        if responses.dtype.kind == "i" and bits == own:
            found |= np.ptp(np.where(values < 0, values + 2.0**bits, values), axis=(0, 2)) < span / 2
        else:
            fits = ((values >= 0) & (values == np.round(values)) & (values < 2.0**bits)).all((0, 2)) | (bits == own)
            signed = np.where(values >= 2.0 ** (bits - 1), values - 2.0**bits, values)
            found |= fits & (np.ptp(signed, axis=(0, 2)) < span / 2)
    return found


def too_coarse(responses: np.ndarray) -> np.ndarray:
    """Units whose type has steps wider than their standard deviation, or in which float64 would see no change.

    Parameters
    ----------
    responses : real, (n_presentations, n_units, n_windows)
        Finite; as they come from the file.

    Returns
    -------
    bool, (n_units,)
    """
    values = responses.astype(np.float64)
    changes = (responses != responses[:1, :, :1]).any((0, 2))
    if responses.dtype.kind != "f":
        return changes & (np.ptp(values, axis=(0, 2)) == 0)
    largest = np.abs(responses).max((0, 2), keepdims=True)
    step = np.spacing(largest).astype(np.float64)
    deviation = np.std(values / step, axis=(0, 2))
    return changes & (deviation < 1)
