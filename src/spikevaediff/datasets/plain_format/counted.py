"""Tables of the plain format as the pipeline takes them: their responses, and the rates that these come to."""

import numpy as np

from spikevaediff.datasets.plain_format.examination import Examination
from spikevaediff.datasets.plain_format.response_tables import Table
from spikevaediff.datasets.plain_format.units import units_of
from spikevaediff.recordings import unit_filter
from spikevaediff.recordings.spike_trains import FASTEST_HZ, SLOWEST_HZ
from spikevaediff.records import BLANK, Responses

_OF_OWN_RATE = 10.0  # by how much counts may differ from the rates that units.csv states


def responses_of(session_id: int, table: Table, found: Examination, window_s: np.ndarray | None) -> Responses:
    """The responses of a table to the images that all sessions show, and to blanks.

    Parameters
    ----------
    session_id : int
    table : Table
    found : Examination, without problems.
    window_s : float64, (2,), or None where it is not known
        In which a table was counted that does not say so itself.

    Raises
    ------
    ValueError
        A metric of units.csv is out of range; or its units have a firing_rate, and counts are more than ten times as
        many, or as few; or units fire less than 0.2 or more than 1,000 times a second on average, as in recordings.
    """
    rate_hz = rates_hz(table, window_s)
    if table.window_s is not None:
        window_s = table.window_s.astype(np.float64)
    elif window_s is not None:
        window_s = window_s[None]
    kept = np.isin(table.image_id, [BLANK, *found.shared])
    units = units_of(session_id, table, found)
    if (wrong := unit_filter.impossible(units)) is not None:
        raise ValueError(f"session {session_id}: units.csv: {wrong}")
    known = np.isfinite(units.firing_rate) & (units.firing_rate > 0)
    if window_s is not None and rate_hz is not None:
        ratio = float(np.median(rate_hz[known] / units.firing_rate[known])) if known.any() else 1.0
        if not 1 / _OF_OWN_RATE <= ratio <= _OF_OWN_RATE:
            raise ValueError(
                f"session {session_id}: spikes counted in {window_s.tolist()} s are {ratio:.3g} times as many as "
                f"firing_rate of units.csv says (median of {known.sum()} units). Write counts, seconds and Hz"
            )
        if not SLOWEST_HZ <= (mean := rate_hz.mean()) <= FASTEST_HZ:
            cure = (
                "Leave out silent units"
                if mean < SLOWEST_HZ
                else "If these are not counts but activity, divide them by 100"
            )
            raise ValueError(
                f"session {session_id}: with spikes counted in {window_s.tolist()} s, {len(rate_hz)} units fire "
                f"{mean:.3g} times a second on average, expected {SLOWEST_HZ:g} to {FASTEST_HZ:g}. Write the window in "
                f"seconds after onset, and spike counts, not rates. {cure}"
            )
    return Responses.make(
        counts=table.responses[kept],
        image_id=table.image_id[kept],
        presentation_id=np.flatnonzero(kept)[:, None],
        session_id=np.array([session_id]),
        window_s=np.array([[0.0, 1.0]] * table.responses.shape[2]) if window_s is None else window_s,
        units=units,
    )


def rates_hz(table: Table, window_s: np.ndarray | None) -> np.ndarray | None:
    """Mean rate of each unit of a table of spike counts, float64 (n_units,); None: no counts, or no known window."""
    windows_s = table.window_s if table.window_s is not None else window_s
    if windows_s is None or table.responses.dtype != np.uint16:
        return None
    return table.responses.mean((0, 2), dtype=np.float64) / np.ptp(windows_s, axis=-1).mean()
