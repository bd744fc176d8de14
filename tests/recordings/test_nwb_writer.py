"""Session files: the same bytes each time, the layout of real ones, and three readers that agree."""

import time
from dataclasses import replace
from pathlib import Path

import allen_files
import h5py
import numpy as np
import pytest

from spikevaediff.datasets.simulation.simulator import AREAS, simulate
from spikevaediff.recordings.nwb_writer import Recording, write
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK

WINDOWS_S = np.array([[0.0, 0.25], [0.05, 0.3]])


@pytest.fixture(scope="module")
def recording() -> Recording:
    return simulate(
        np.random.default_rng(0).integers(0, 256, (20, 32, 32), np.uint8),
        np.arange(20),
        profile="gabor",
        seed=0,
        n_repeats=3,
        spontaneous_s=1.0,
        log_gain=0.4,
        log_gain_spread=0.4,
        private_shape=4.0,
        shared_gain=0.3,
        shared_correlation=0.98,
        drift=0.2,
        blank_rate=0.8,
    )


@pytest.fixture(scope="module")
def path(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("session") / "session.nwb"
    write(recording, path)
    return path


def _expected(recording: Recording) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(rows of the units that pass, rows of the valid presentations, counts in closed intervals), counted naively."""
    location = dict(zip(recording.electrodes["id"].tolist(), recording.electrodes["location"].tolist(), strict=True))
    u = recording.units
    passing = [
        i
        for i in range(len(u["id"]))
        if location[int(u["peak_channel_id"][i])].split("-")[0] in AREAS
        and u["quality"][i] == "good"
        and u["isi_violations"][i] <= 0.5
        and u["amplitude_cutoff"][i] <= 0.1
        and u["presence_ratio"][i] >= 0.95
    ]
    begins, ends = recording.frame_s[recording.frames].T
    valid = np.ones(len(begins), bool)
    for start_s, stop_s, tags in recording.invalid:
        if "stimulus" in tags:
            valid &= (ends < start_s) | (begins > stop_s)
    counts = np.array(
        [
            [
                [np.sum((s >= onset + a) & (s <= onset + b)) for a, b in WINDOWS_S]
                for s in (recording.spikes_s[i] for i in passing)
            ]
            for onset in begins[valid]
        ]
    )
    return np.array(passing), np.flatnonzero(valid), counts


def test_the_same_recording_gives_the_same_bytes_at_any_time(recording: Recording, path: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # the times that HDF5 could keep are whole seconds
    write(recording, tmp_path / "elsewhere.nwb")
    assert (tmp_path / "elsewhere.nwb").read_bytes() == path.read_bytes()


def test_the_projects_reader_finds_the_good_units_and_every_spike(recording: Recording, path: Path) -> None:
    found = read_responses(
        path,
        areas=list(AREAS),
        windows_s=WINDOWS_S,
        limits=Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95),
        min_units=1,
    )
    units, presentations, counts = _expected(recording)
    assert np.array_equal(found.unit_unit_id, recording.units["id"][units])
    assert np.array_equal(found.presentation_id[:, 0], presentations)
    assert np.array_equal(found.image_id, recording.image_id[presentations])
    assert np.array_equal(found.counts, counts)
    assert found.session_id.tolist() == [recording.session_id]
    assert len(presentations) == 21 * 3 - 3
    assert BLANK in found.image_id


def _described(file: h5py.File) -> dict[str, tuple[object, ...]]:
    """For every object: kind, dtype, number of axes, NWB type, names of attributes. Probe names are made alike."""
    found: dict[str, tuple[object, ...]] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        attributes = tuple(sorted(item.attrs))
        kind = (item.attrs.get("namespace"), item.attrs.get("neurodata_type"))
        if isinstance(item, h5py.Dataset):
            # Indices take the smallest type that holds their end.
            dtype = "index" if name.endswith("_index") else str(item.dtype)
            found[name] = ("dataset", dtype, h5py.check_string_dtype(item.dtype) is None, item.ndim, kind, attributes)
        else:
            found[name] = ("group", kind, attributes)

    file.visititems(visit)
    return {name: what for name, what in found.items() if not name.startswith("specifications")}


def test_the_layout_is_that_of_a_recorded_session(path: Path, shared: Path) -> None:
    fixture = shared / "data" / "allen_layout_nwb_fixture" / "session_900000001.nwb"
    with h5py.File(fixture) as real, h5py.File(path) as ours:
        expected, found = _described(real), _described(ours)
        # The fixture has one stimulus more and three of the six probes.
        expected = {n: what for n, what in expected.items() if "drifting_gratings" not in n}
        found = {n: what for n, what in found.items() if not any(p in n for p in ("probeA", "probeB", "probeF"))}
        assert found == expected
        for name in (
            "units",
            "general/extracellular_ephys/electrodes",
            "intervals/natural_scenes_presentations",
            "intervals/spontaneous_presentations",
            "intervals/invalid_times",
        ):
            assert set(ours[name].attrs["colnames"]) == set(real[name].attrs["colnames"])
        assert sorted(ours.attrs) == sorted(real.attrs)
        column = "intervals/natural_scenes_presentations/timeseries"
        assert ours[column].dtype == real[column].dtype
        for file in (ours, real):
            index = file[f"{column}_index"]
            assert file[index.attrs["target"]].name == f"/{column}"
            assert file[file[column][0][2]].name == "/processing/stimulus/timestamps"


def test_presentations_point_at_their_monitor_frames(recording: Recording, path: Path) -> None:
    with h5py.File(path) as file:
        table = file["intervals/natural_scenes_presentations"]
        frame_s = file["processing/stimulus/timestamps/timestamps"][:]
        stretch = table["timeseries"][:]
        assert np.array_equal(table["start_time"][:], frame_s[stretch["idx_start"]])
        assert np.array_equal(table["stop_time"][:], frame_s[stretch["idx_start"] + stretch["count"]])
        assert np.array_equal(table["frame"][:], recording.image_id)


@pytest.mark.filterwarnings("ignore:The 'manufacturer' field is deprecated:DeprecationWarning")
def test_pynwb_opens_the_file_and_reads_the_same_spikes(recording: Recording, path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    with pynwb.NWBHDF5IO(path, "r", load_namespaces=True) as io:
        file = io.read()
        assert file.identifier == str(recording.session_id)
        assert file.subject.specimen_name.startswith("simulated")
        assert file.devices["probeF"].probe_id == 810_000_006
        assert len(file.electrodes) == len(recording.electrodes["id"])
        assert len(file.invalid_times) == 2
        for row in (0, 7, len(recording.spikes_s) - 1):
            assert np.array_equal(file.units["spike_times"][row], recording.spikes_s[row])
        scenes = file.intervals["natural_scenes_presentations"].to_dataframe()
        assert np.array_equal(scenes["frame"], recording.image_id)
        assert scenes["tags"].iloc[3].tolist() == ["stimulus_time_interval"]


@pytest.mark.slow
def test_allensdk_reads_the_same_units_presentations_and_counts(
    recording: Recording, path: Path, tmp_path: Path
) -> None:
    (found,) = allen_files.read_by_allensdk(tmp_path, path)
    units, presentations, counts = _expected(recording)
    assert len(found["unit_id"]) == len(units) == sum(area.n_units for area in AREAS.values())
    names, n = np.unique(found["area"], return_counts=True)
    assert dict(zip(names.tolist(), n.tolist(), strict=True)) == {a: AREAS[a].n_units for a in AREAS}
    assert np.array_equal(found["frame"], recording.image_id[presentations])
    order, ours = np.argsort(found["unit_id"]), np.argsort(recording.units["id"][units])
    assert np.array_equal(found["unit_id"][order], recording.units["id"][units][ours])
    for number in range(len(WINDOWS_S)):
        assert np.array_equal(found[f"counts_{number}"][:, order], counts[:, ours, number])


def test_a_missing_spike_train_is_refused(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="465 spike trains for 466 units"):
        write(replace(recording, spikes_s=recording.spikes_s[1:]), tmp_path / "w.nwb")
    assert list(tmp_path.iterdir()) == []


def test_a_unit_on_an_unlisted_channel_is_refused(recording: Recording, tmp_path: Path) -> None:
    channels = np.where(np.arange(466) == 5, 7, recording.units["peak_channel_id"])
    with pytest.raises(ValueError, match="peak_channel_id 7 is not among the 432 listed"):
        write(replace(recording, units={**recording.units, "peak_channel_id": channels}), tmp_path / "w.nwb")


def test_an_electrode_of_an_unlisted_probe_is_refused(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="group_name probeF is not among the 5 listed"):
        write(replace(recording, probes=recording.probes[:5]), tmp_path / "w.nwb")
