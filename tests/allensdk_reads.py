# /// script
# requires-python = ">=3.9,<3.12"
# dependencies = ["allensdk==2.16.2", "hdmf<4", "ndx-events==0.2.1", "pynwb==2.8.3", "numpy<1.24"]
# ///
"""What allensdk reads from a session: uv run --no-project --script tests/allensdk_reads.py SESSION.nwb OUT.npz

allensdk 2.16.2 needs numpy below 1.24, so it cannot share the project's environment; and freshly installed it brings an
hdmf that it cannot work with, hence the other two pins.
"""

import sys
import warnings

import numpy as np

warnings.simplefilter("ignore")
from allensdk.brain_observatory.ecephys.ecephys_session import EcephysSession  # noqa: E402

WINDOWS_S = [(0.0, 0.25), (0.05, 0.3)]

path, out = sys.argv[1:]
session = EcephysSession.from_nwb_path(path)  # with its default quality filter
scenes = session.get_stimulus_table("natural_scenes")
found = {"unit_id": session.units.index.values, "area": session.units["structure_acronym"].values.astype(str)}
found["presentation_id"] = scenes.index.values
found["frame"] = scenes["frame"].values.astype(float)
found["start_time"] = scenes["start_time"].values.astype(float)
found["running_speed"] = session.running_speed["velocity"].values[:100]
units = found["unit_id"]
for number, window in enumerate(WINDOWS_S):
    counts = session.presentationwise_spike_counts(window, scenes.index.values, units)
    found[f"counts_{number}"] = counts.values.reshape(len(scenes), len(units)).astype(np.uint16)
np.savez(out, **found)
