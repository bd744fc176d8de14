"""Ids of images, groups of columns and windows: what records are searched and compared by."""

from collections.abc import Sequence

import numpy as np

BLANK = -1  # image_id of a presentation of the grey screen (the frame number that the recordings give it)
LONGEST_WINDOW_S = 60.0  # of a time window, from onset: a longer one is in milliseconds


def few(values: Sequence[object] | np.ndarray) -> str:
    """The first eight values of a list, for a message: "3, 8, 21"."""
    return ", ".join(map(str, list(values[:8]))) + (", ..." if len(values) > 8 else "")


def group_edges(group_size: np.ndarray) -> np.ndarray:
    """Where consecutive groups of columns begin and end, int64 (n_groups + 1,): group g has columns edges[g] to
    edges[g + 1], its last one not included.
    """
    return np.concatenate([[0], np.cumsum(group_size)])


def rows_of(wanted: np.ndarray, present: np.ndarray, what: str) -> np.ndarray:
    """Positions of `wanted` ids among the `present` ones.

    Parameters
    ----------
    wanted, present : int64, (n,) and (m,)
        Ids; those present are unique.
    what : str
        Named in the error: the file or record that is searched.

    Returns
    -------
    int64, (n,)

    Raises
    ------
    KeyError
        An id is not there; the message counts and names the missing ones.
    """
    wanted, present = np.asarray(wanted), np.asarray(present)
    missing = np.setdiff1d(wanted, present)
    if len(missing):
        raise KeyError(f"{what} lacks image_id {few(missing)} ({len(missing)} of {len(wanted)} asked for)")
    order = np.argsort(present)
    return order[np.searchsorted(present, wanted, sorter=order)]


def same_windows(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether windows, (n_windows, 2) in seconds, are the same but for rounding, 1e-6 s: 0.05 + 0.1 is not 0.15."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=1e-6))
