"""Where units sit, joined by channel."""

import numpy as np
from small_session import ELECTRODES

from spikevaediff.recordings.unit_places import read_places


def test_places_follow_the_peak_channel(session, fixture_path):
    channels = {
        f"{ELECTRODES}/x": [1.0, 2.0, 3.0, -1.0],
        f"{ELECTRODES}/y": [4.0, 5.0, 6.0, -1.0],
        f"{ELECTRODES}/z": [7.0, 8.0, 9.0, -1.0],
        f"{ELECTRODES}/probe_vertical_position": [20, 40, 60, 80],
        f"{ELECTRODES}/probe_id": [8, 7, 7, 8],
        f"{ELECTRODES}/group_name": ["probeB", "probeA", "probeA", "probeB"],
        "units/peak_channel_id": [101, 103, 104, 999],
    }
    found = read_places(session(channels))
    assert found.unit_id.tolist() == [11, 12, 13, 14]
    assert found.probe_id.tolist() == [7, 8, 8, -1]
    assert found.probe.tolist() == ["probeA", "probeB", "probeB", ""]
    assert found.area.tolist() == ["VISp", "LGd", "", ""]
    np.testing.assert_array_equal(found.depth_um, [60, 20, 80, np.nan])
    nan = [np.nan] * 3
    np.testing.assert_array_equal(found.ccf_um, [[3, 6, 9], [1, 4, 7], nan, nan])
    real = read_places(fixture_path)
    assert set(real.probe.tolist()) == {"probeC", "probeD", "probeE"}
    assert np.isfinite(real.ccf_um[real.area != ""]).all()
