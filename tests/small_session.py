"""A session file of four units and four presentations, counted in the head, and spoiled copies of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

ELECTRODES = "general/extracellular_ephys/electrodes"
SCENES = "intervals/natural_scenes_presentations"

# Onsets at 1, 2, 3, 4 s, binary fractions throughout: sums and comparisons of times are exact.
SPIKES = [
    [1.0, 1.125, 1.25, 2.5, 3.0, 3.25, 4.0],
    [0.5, 0.75, 1.0625],
    [],
    [1.5, 2.0, 2.0, 2.0, 4.25, 4.5],
]
TABLES = {
    "identifier": "700000001",
    "units/id": [11, 12, 13, 14],
    "units/peak_channel_id": [101, 103, 101, 102],
    "units/quality": ["good", "good", "good", "good"],
    "units/isi_violations": [0.1, 0.5, 0.0, 0.2],
    "units/amplitude_cutoff": [0.01, 0.1, 0.0, 0.02],
    "units/presence_ratio": [0.99, 0.95, 1.0, 0.96],
    "units/snr": [1.0, 2.0, 3.0, np.nan],
    "units/spike_times": [t for spikes in SPIKES for t in spikes],
    "units/spike_times_index": [7, 10, 10, 16],
    f"{ELECTRODES}/id": [103, 102, 101, 104],
    f"{ELECTRODES}/location": ["LGd-sh", "VISp", "VISp", "None"],
    f"{ELECTRODES}/valid_data": [True, True, True, True],
    f"{SCENES}/id": [0, 1, 2, 3],
    f"{SCENES}/start_time": [1.0, 2.0, 3.0, 4.0],
    f"{SCENES}/stop_time": [1.25, 2.25, 3.25, 4.25],
    f"{SCENES}/frame": [5.0, -1.0, 7.0, 5.0],
}


def write(path: Path, changes: Mapping[str, Any] | None = None) -> Path:
    """Write the session, with some columns replaced, or left out where the value is None."""
    with h5py.File(path, "w") as file:
        for name, values in (TABLES | dict(changes or {})).items():
            if values is not None:
                file[name] = values
    return path
