"""Extracts of session files: whatever is counted in them is what is counted in the whole file, by three readers."""

import hashlib
import shutil
import time
from pathlib import Path

import allen_files
import h5py
import numpy as np
import pytest

from spikevaediff.recordings import behaviour, session_file, sessions
from spikevaediff.recordings.nwb import KEPT, read_presentations
from spikevaediff.recordings.nwb_extract import common_intervals, extract, kept_intervals
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits

LIMITS = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
NO_LIMITS = Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)
WINDOWS_S = [[0.0, 0.25], [0.05, 0.30], [-0.3, 0.7]]
OPTIONS = {"areas": ["VISp", "VISl", "LGd", "CA1"], "windows_s": WINDOWS_S, "min_units": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "session_700000001.nwb"
    allen_files.session(path, 700000001, n_images=12, n_repeats=6, units_per_area=10)
    return path


@pytest.fixture(scope="module")
def part(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("part") / "700000001.nwb"
    extract(whole, path, margin_s=0.5)
    return path


@pytest.mark.parametrize("limits", [LIMITS, NO_LIMITS], ids=["filter on", "filter off"])
def test_counts_are_those_of_the_whole_file(whole: Path, part: Path, limits: Limits) -> None:
    windows = {"windows_s": [[0.0, 0.25], [0.05, 0.30], [-0.3, 0.7]]}
    one, other = (read_responses(path, **OPTIONS | {"limits": limits} | windows) for path in (whole, part))
    assert one.counts.sum() > 1000
    for name, value in vars(one).items():
        np.testing.assert_array_equal(getattr(other, name), value)
    assert len(one.units) == (32 if limits is LIMITS else 38)  # of 40, 8 flawed, 2 of these judged noise


def places(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Id, CCF coordinates and probe of every unit, by way of its peak channel."""
    with h5py.File(path) as file:
        channels = file[session_file.ELECTRODES]
        row = np.searchsorted(channels["id"], file["units/peak_channel_id"])
        np.testing.assert_array_equal(channels["id"][:][row], file["units/peak_channel_id"])
        ccf_um = np.stack([channels[axis][:][row] for axis in "xyz"], axis=1)
        return file["units/id"][:], ccf_um, channels["probe_id"][:][row]


def test_numbers_of_units_places_and_presentations_are_those_of_the_whole_file(whole: Path, part: Path) -> None:
    assert sessions.summary(part, LIMITS) == sessions.summary(whole, LIMITS)
    for one, other in zip(read_presentations(whole), read_presentations(part), strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(places(whole), places(part), strict=True):
        np.testing.assert_array_equal(one, other)
        assert np.all(one != -1)


def test_behaviour_during_presentations_is_that_of_the_whole_file(whole: Path, part: Path) -> None:
    shown = read_presentations(whole)
    running = [behaviour.read_running_speed(path) for path in (whole, part)]
    pupil = [behaviour.read_pupil(path) for path in (whole, part)]
    assert len(running[1].start_s) < 0.7 * len(running[0].start_s)
    assert pupil[0] is not None
    assert pupil[1] is not None
    for one, other in (
        [behaviour.mean_between(r.start_s, r.cm_per_s, shown.start_s, shown.stop_s) for r in running],
        [behaviour.mean_between(p.time_s, p.area, shown.start_s, shown.stop_s) for p in pupil],
    ):
        np.testing.assert_allclose(one, other, rtol=1e-9)
        assert np.isfinite(one).mean() > 0.9


def test_what_is_not_needed_is_left_out(whole: Path, part: Path) -> None:
    with h5py.File(whole) as old, h5py.File(part) as new:
        assert "processing/optotagging" in old
        assert set(new["processing"]) == {"running", "stimulus", "filtered_gaze_mapping"}
        assert set(new["intervals"]) == {"natural_scenes_presentations", "spontaneous_presentations", "invalid_times"}
        assert len(new["units/waveform_mean"]) == len(new["units/spike_amplitudes"]) == 0
        assert len(new["units/spike_times"]) < 0.9 * len(old["units/spike_times"])
        noise = new["units/quality"].asstr()[:] == "noise"
        ends = new["units/spike_times_index"][:].astype(int)
        assert np.all(np.diff(ends, prepend=0)[noise] == 0)


def test_the_same_session_gives_the_same_bytes(whole: Path, part: Path, tmp_path: Path) -> None:
    time.sleep(1.1)  # the times that HDF5 could keep are whole seconds
    extract(whole, tmp_path / "again.nwb", margin_s=0.5)
    assert hashlib.sha256((tmp_path / "again.nwb").read_bytes()).digest() == hashlib.sha256(part.read_bytes()).digest()


def test_an_extract_of_an_extract_is_the_same(part: Path, tmp_path: Path) -> None:
    extract(part, tmp_path / "again.nwb", margin_s=0.5)
    one, other = (read_responses(path, **OPTIONS | {"limits": LIMITS}) for path in (part, tmp_path / "again.nwb"))
    np.testing.assert_array_equal(one.counts, other.counts)


def test_an_extract_of_an_extract_holds_no_more_than_that(part: Path, tmp_path: Path) -> None:
    wide = tmp_path / "wide.nwb"
    extract(part, wide, margin_s=5.0)
    with h5py.File(part) as one, h5py.File(wide) as other:
        np.testing.assert_array_equal(one[KEPT], other[KEPT])
    with pytest.raises(ValueError, match=r"extract that does not hold the spikes of all of"):
        read_responses(wide, **OPTIONS | {"limits": LIMITS} | {"windows_s": [[0.0, 0.8]]})


def test_common_intervals_are_those_of_both() -> None:
    rng = np.random.default_rng(6)
    a, b = (np.sort(rng.uniform(0, 50, 60)).reshape(-1, 2) for _ in range(2))
    at = np.linspace(-1, 51, 20_001)[:, None]

    def inside(intervals: np.ndarray) -> np.ndarray:
        return ((at > intervals[:, 0]) & (at < intervals[:, 1])).any(1)

    found = common_intervals(a, b)
    np.testing.assert_array_equal(inside(found), inside(a) & inside(b))
    np.testing.assert_array_equal(common_intervals(a, a), a)
    np.testing.assert_array_equal(
        common_intervals(np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([[0.5, 3.0]])), [[0.5, 2.0]]
    )
    assert common_intervals(a, a[:0]).shape == (0, 2)


def test_windows_beyond_what_was_kept_are_refused_instead_of_counted_too_low(part: Path) -> None:
    with pytest.raises(ValueError, match=r"extract that does not hold the spikes of all of .*datasets.allen.margin_s"):
        read_responses(part, **OPTIONS | {"limits": LIMITS} | {"windows_s": [[0.0, 0.8]]})
    with pytest.raises(ValueError, match=r"nearer to the onset"):
        read_responses(part, **OPTIONS | {"limits": LIMITS} | {"windows_s": [[-0.6, 0.1]]})


def test_intervals_are_the_union_of_widened_presentations() -> None:
    rng = np.random.default_rng(5)
    start = rng.uniform(0, 100, 40)
    stop = start + rng.uniform(0.1, 2, 40)
    found = kept_intervals(start, stop, 0.3)
    at = np.linspace(-2, 105, 20_001)
    inside = ((at[:, None] >= start - 0.3) & (at[:, None] <= stop + 0.3)).any(1)
    np.testing.assert_array_equal(inside, ((at[:, None] >= found[:, 0]) & (at[:, None] <= found[:, 1])).any(1))
    assert np.all(found[1:, 0] > found[:-1, 1])


@pytest.mark.parametrize("margin", [-1.0, np.nan, np.inf])
def test_a_margin_that_cannot_be_is_refused(whole: Path, tmp_path: Path, margin: float) -> None:
    with pytest.raises(ValueError, match=r"margin_s is .*, expected seconds, 0 or more"):
        extract(whole, tmp_path / "x.nwb", margin_s=margin)
    assert list(tmp_path.iterdir()) == []


def test_a_truncated_session_is_refused_and_leaves_nothing(whole: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.nwb"
    source.write_bytes(whole.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="is not a whole HDF5 file"):
        extract(source, tmp_path / "out" / "x.nwb", margin_s=0.5)
    assert not (tmp_path / "out" / "x.nwb").exists()


def test_references_to_nothing_stay_as_they_are(whole: Path, tmp_path: Path) -> None:
    nothing, source = h5py.Reference(), tmp_path / "source.nwb"
    shutil.copy(whole, source)
    with h5py.File(source, "a") as file:
        file.attrs["nothing"] = file["general"].attrs["nothing"] = nothing
        names = file.create_dataset("general/names", (2,), h5py.ref_dtype)
        names[0] = file["identifier"].ref
        file.create_dataset("general/name", (), h5py.ref_dtype)
        pairs = file.create_dataset("general/pairs", (2,), np.dtype([("row", np.int64), ("name", h5py.ref_dtype)]))
        pairs[0] = (7, file["identifier"].ref)
    extract(source, tmp_path / "extract.nwb", margin_s=0.5)
    with h5py.File(tmp_path / "extract.nwb") as new:
        general = new["general"]
        assert not new.attrs["nothing"]
        assert not general.attrs["nothing"]
        assert not general["name"][()]
        for one, other in (general["names"][:], general["pairs"]["name"]):
            assert new[one].name == "/identifier"
            assert not other
        assert general["pairs"]["row"].tolist() == [7, 0]
    one, other = (read_responses(path, **OPTIONS | {"limits": LIMITS}) for path in (whole, tmp_path / "extract.nwb"))
    np.testing.assert_array_equal(one.counts, other.counts)


@pytest.mark.filterwarnings("ignore:The 'manufacturer' field is deprecated:DeprecationWarning")
def test_pynwb_opens_the_extract(part: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    with pynwb.NWBHDF5IO(part, "r", load_namespaces=True) as io:
        file = io.read()
        assert file.identifier == "700000001"
        assert file.electrodes.to_dataframe()["group"].iloc[0].name == "probeA"
        first = file.intervals["natural_scenes_presentations"].to_dataframe().iloc[0]
        assert first["timeseries"][0].timeseries.name == "timestamps"
        assert file.scratch["kept_intervals_s"].data.shape == (3, 2)
        assert len(file.units) == 40


@pytest.mark.slow
def test_what_allensdk_reads_from_the_recording_is_what_the_extract_holds(
    whole: Path, part: Path, tmp_path: Path
) -> None:
    theirs, of_extract = allen_files.read_by_allensdk(tmp_path, whole, part)
    ours = read_responses(part, **OPTIONS | {"limits": LIMITS} | {"windows_s": WINDOWS_S[:2]})
    shown, (unit_id, ccf_um, probe_id) = read_presentations(part), places(part)
    running, pupil = behaviour.read_running_speed(part), behaviour.read_pupil(part)
    assert pupil is not None
    order = np.argsort(theirs["unit_id"])
    np.testing.assert_array_equal(theirs["unit_id"][order], ours.unit_unit_id)
    np.testing.assert_array_equal(theirs["area"][order], ours.unit_area)
    for name in ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio"):
        np.testing.assert_array_equal(theirs[name][order], getattr(ours, f"unit_{name}"))
    row = [unit_id.tolist().index(unit) for unit in theirs["unit_id"].tolist()]
    np.testing.assert_array_equal(ccf_um[row], theirs["ccf_um"])
    np.testing.assert_array_equal(probe_id[row], theirs["probe_id"])
    np.testing.assert_array_equal(theirs["frame"], ours.image_id)
    np.testing.assert_array_equal(theirs["start_time"], shown.start_s)
    np.testing.assert_array_equal(theirs["stop_time"], shown.stop_s)
    for number in range(2):
        np.testing.assert_array_equal(theirs[f"counts_{number}"][:, order], ours.counts[:, :, number])
        np.testing.assert_array_equal(theirs[f"counts_{number}"], of_extract[f"counts_{number}"])
    kept = np.isin(theirs["running_start_s"], running.start_s)
    np.testing.assert_array_equal(theirs["running_cm_per_s"][kept], running.cm_per_s)
    np.testing.assert_array_equal(theirs["running_stop_s"][kept], running.stop_s)
    kept = np.isin(theirs["pupil_s"], pupil.time_s)
    np.testing.assert_array_equal(theirs["pupil_area"][kept], pupil.area)
    for name in ("unit_id", "area", "ccf_um", "frame", "start_time"):
        np.testing.assert_array_equal(theirs[name], of_extract[name])
