"""Where the units of a session sit: probe, depth and coordinates, by way of their peak channels."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from spikevaediff.recordings import nwb, session_file


class UnitPlaces(NamedTuple):
    """Where the units of a session sit, in the order of the file.

    unit_id, channel_id, probe_id : int64, (n_units,); channel_id is the peak channel; probe_id is -1 where the
        channel is not listed.
    probe : str, (n_units,); name of the probe, "probeA" and the like.
    area : str, (n_units,); as in UnitTable; "" outside the brain.
    depth_um : float64, (n_units,); position of the channel on the probe, from the tip.
    ccf_um : float64, (n_units, 3); anterior-posterior, dorsal-ventral and left-right coordinate in the Allen Common
        Coordinate Framework; NaN where unknown.
    """

    unit_id: np.ndarray
    channel_id: np.ndarray
    probe_id: np.ndarray
    probe: np.ndarray
    area: np.ndarray
    depth_um: np.ndarray
    ccf_um: np.ndarray


def read_places(path: str | Path) -> UnitPlaces:
    """Probe and position of every recorded unit, by way of its peak channel; join to other tables by unit_id.

    Raises
    ------
    FileNotFoundError, ValueError
        As spike_counts.read_responses.
    """
    units, _ = nwb.read_units(path)
    with session_file.opened(path) as file:
        peak, row, listed = nwb.peak_channels(file)
        ccf = np.stack([session_file.numbers(file, session_file.ELECTRODES, axis) for axis in "xyz"], axis=1)
        # What lies outside the brain, or was not registered, has coordinates below 0.
        ccf[(ccf < 0).any(1)] = np.nan
        depth = session_file.numbers(file, session_file.ELECTRODES, "probe_vertical_position")
        probe = session_file.texts(file, session_file.ELECTRODES, "group_name").astype(str)
        probe_id = session_file.whole(file, session_file.ELECTRODES, "probe_id")
    return UnitPlaces(
        unit_id=units.unit_id,
        channel_id=peak,
        probe_id=np.where(listed, probe_id[row], -1),
        probe=np.where(listed, probe[row], ""),
        area=units.area,
        depth_um=np.where(listed, depth[row], np.nan),
        ccf_um=np.where(listed[:, None], ccf[row], np.nan),
    )
