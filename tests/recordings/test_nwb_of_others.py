"""A session that pynwb wrote from scratch, as somebody would write their own recording, and not from the layout."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikevaediff.recordings import behaviour
from spikevaediff.recordings.nwb import read_presentations
from spikevaediff.recordings.nwb_extract import extract
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits

pynwb = pytest.importorskip("pynwb")

NO_LIMITS = Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)
OPTIONS: dict[str, Any] = {"areas": ["VISp"], "windows_s": [[0.0, 0.25]], "min_units": 1, "limits": NO_LIMITS}
INVALID = (12.1, 12.9)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, list[np.ndarray], np.ndarray]:
    """The file, the spike times of its units, and the onsets."""
    rng = np.random.default_rng(0)
    file = pynwb.NWBFile(
        session_description="a session", identifier="17", session_start_time=datetime(2026, 1, 1, tzinfo=UTC)
    )
    probe = file.create_device(name="probe")
    group = file.create_electrode_group(name="probe", description="a probe", location="V1", device=probe)
    file.add_electrode_column(name="valid_data", description="usable")
    for channel in range(4):
        file.add_electrode(group=group, location=["VISp", "CA1"][channel // 2], valid_data=channel != 1, id=channel)
    for name in ("peak_channel_id", "quality", "isi_violations", "amplitude_cutoff", "presence_ratio"):
        file.add_unit_column(name=name, description=name)
    trains = [np.sort(rng.uniform(0, 40, n)) for n in (200, 300, 50, 400)]
    for channel, times in enumerate(trains):
        metrics = {"isi_violations": 0.1, "amplitude_cutoff": 0.05, "presence_ratio": 0.99}
        file.add_unit(
            spike_times=times, peak_channel_id=channel, quality="Good", obs_intervals=[[0.0, 40.0]], **metrics
        )
    onset = 10 + np.arange(60) * 0.3
    shown = pynwb.epoch.TimeIntervals(name="natural_scenes_presentations", description="images")
    shown.add_column(name="frame", description="number of the image")
    for i, start in enumerate(onset.tolist()):
        shown.add_interval(start_time=start, stop_time=start + 0.25, frame=float(i % 6 - 1), tags=["stimulus"])
    file.add_time_intervals(shown)
    file.add_invalid_time_interval(start_time=INVALID[0], stop_time=INVALID[1])
    speed = pynwb.TimeSeries(name="running_speed", data=np.arange(4000.0), unit="m/s", rate=100.0, starting_time=0.5)
    file.create_processing_module(name="running", description="running").add(speed)
    with pynwb.NWBHDF5IO(tmp_path / "17.nwb", "w") as io:
        io.write(file)
    return tmp_path / "17.nwb", trains, onset


def test_it_is_read_as_it_was_meant(written: tuple[Path, list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    path, trains, onset = written
    assert extract(path, tmp_path / "extract.nwb", margin_s=0.2) == pytest.approx(
        np.mean([len(trains[unit]) for unit in (0, 2, 3)]) / np.ptp(np.concatenate([trains[u] for u in (0, 2, 3)]))
    )
    kept = (onset > INVALID[1]) | (onset + 0.25 < INVALID[0])
    for source in (path, tmp_path / "extract.nwb"):
        found = read_responses(source, **OPTIONS)
        assert found.units.unit_id.tolist() == [0]  # the channel of unit 1 is not valid, units 2 and 3 are elsewhere
        np.testing.assert_allclose(read_presentations(source).start_s, onset[kept])
        expected = [np.sum((trains[0] >= start) & (trains[0] < start + 0.25)) for start in onset[kept]]
        np.testing.assert_array_equal(found.counts[:, 0, 0], expected)
        assert found.image_id.tolist() == (np.arange(60) % 6 - 1)[kept].tolist()
        start_s, _, cm_per_s = behaviour.read_running_speed(source)
        np.testing.assert_allclose(cm_per_s, 100 * np.round((start_s - 0.5) * 100))


def test_pynwb_reads_the_extract(written: tuple[Path, list[np.ndarray], np.ndarray], tmp_path: Path) -> None:
    extract(written[0], tmp_path / "extract.nwb", margin_s=0.2)
    with pynwb.NWBHDF5IO(tmp_path / "extract.nwb", "r") as io:
        file = io.read()
        assert len(file.units) == 4
        assert file.processing["running"]["running_speed"].rate is None
        assert len(file.processing["running"]["running_speed"].timestamps) > 1000
        assert len(file.electrodes) == 4
