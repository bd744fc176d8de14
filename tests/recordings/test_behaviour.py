"""Running speed and pupil area as a session file has them."""

import h5py
import numpy as np
import pytest

from spikevaediff.recordings.behaviour import has_running_speed, mean_between, read_pupil, read_running_speed
from spikevaediff.recordings.nwb_extract import extract

RUNNING = "processing/running/running_speed"
PUPIL = "processing/filtered_gaze_mapping/pupil_area"
BEHAVIOUR = {
    f"{RUNNING}/timestamps": [0.0, 1.0, 2.0],
    f"{RUNNING}/data": [0.5, -1.0, np.nan],
    f"{RUNNING}_end_times/timestamps": [1.0, 2.0, 3.0],
    f"{PUPIL}/timestamps": [0.5, 1.5],
    f"{PUPIL}/data": [0.004, np.nan],
}


def test_running_speed_and_pupil_are_read_as_they_are(session):
    path = session(BEHAVIOUR)
    start, stop, speed = read_running_speed(path)
    assert (start.tolist(), stop.tolist()) == ([0.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(speed, [0.5, -1.0, np.nan])
    time, area = read_pupil(path)
    assert time.tolist() == [0.5, 1.5]
    np.testing.assert_array_equal(area, [0.004, np.nan])


def test_a_session_without_eye_tracking_has_no_pupil(fixture_path):
    assert read_pupil(fixture_path) is None
    running = read_running_speed(fixture_path)
    assert len(running.cm_per_s) == 11588
    assert np.all(running.stop_s > running.start_s)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({f"{RUNNING}/data": None}, "has no /processing/running/running_speed/data. Expected the layout"),
        ({f"{RUNNING}_end_times/timestamps": [1.0]}, "differ in length: .*'end': 1"),
        ({f"{RUNNING}/timestamps": [0.0, 2.0, 1.0]}, "running_speed/timestamps must be finite and rise"),
        ({f"{PUPIL}/timestamps": [0.5, np.nan]}, "pupil_area/timestamps must be finite and rise"),
        ({f"{PUPIL}/timestamps": [0.5]}, "has 1 times and 2 areas"),
    ],
)
def test_behaviour_that_cannot_be_right_is_refused(session, changes, message):
    path = session(BEHAVIOUR | changes)
    with pytest.raises(ValueError, match=message):
        read_pupil(path) if PUPIL in next(iter(changes)) else read_running_speed(path)


def test_means_between_times_leave_out_what_is_unknown():
    rng = np.random.default_rng(3)
    time, values = np.sort(rng.uniform(0, 10, 500)), rng.normal(size=500)
    values[rng.random(500) < 0.2] = np.nan
    start = rng.uniform(-1, 10, 60)
    stop = start + rng.uniform(0, 1, 60)
    expected = []
    for a, b in zip(start, stop, strict=True):
        inside = values[(time >= a) & (time < b) & ~np.isnan(values)]
        expected.append(inside.mean() if len(inside) else np.nan)
    found = mean_between(time, values, start, stop)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert np.isnan(mean_between(time, values, np.array([20.0]), np.array([21.0]))).all()


def test_whether_a_session_has_running_speed_is_known_without_reading_it(session):
    assert has_running_speed(session(BEHAVIOUR))
    assert not has_running_speed(session())


@pytest.mark.parametrize(
    ("unit", "conversion", "cm_per_s"),
    [("cm/s", 1.0, 1.0), ("cm / s", 1.0, 1.0), ("m/s", 1.0, 100.0), ("m/s", 0.01, 1.0), ("mm/s", 1.0, 0.1)],
)
def test_running_speed_is_in_cm_per_second_whatever_it_was_stored_in(session, unit, conversion, cm_per_s):
    path = session(BEHAVIOUR)
    with h5py.File(path, "r+") as file:
        file[f"{RUNNING}/data"].attrs["unit"] = unit
        file[f"{RUNNING}/data"].attrs["conversion"] = conversion
    np.testing.assert_allclose(read_running_speed(path).cm_per_s, cm_per_s * np.array([0.5, -1.0, np.nan]))


def test_a_speed_of_unknown_unit_is_refused(session):
    path = session(BEHAVIOUR)
    with h5py.File(path, "r+") as file:
        file[f"{RUNNING}/data"].attrs["unit"] = "rpm"
    with pytest.raises(ValueError, match=r"running_speed/data is in 'rpm', expected cm/s, .* Convert it, or leave"):
        read_running_speed(path)


def test_samples_without_ends_last_until_the_next(session):
    path = session(BEHAVIOUR | {f"{RUNNING}_end_times/timestamps": None})
    assert read_running_speed(path).stop_s.tolist() == [1.0, 2.0, 3.0]


def test_behaviour_by_rate_is_the_same_in_an_extract(session, tmp_path):
    """A start and a rate in place of times, as pynwb writes what was sampled evenly."""
    rng = np.random.default_rng(0)
    by_rate = {f"{RUNNING}/data": rng.normal(size=900), f"{PUPIL}/data": rng.normal(size=300)}
    path = session(by_rate | {f"{RUNNING}/starting_time": 0.25, f"{PUPIL}/starting_time": 0.0})
    with h5py.File(path, "r+") as file:
        file[f"{RUNNING}/starting_time"].attrs["rate"] = 128.0
        file[f"{PUPIL}/starting_time"].attrs["rate"] = 50.0
    extract(path, tmp_path / "extract.nwb", margin_s=0.125)
    start, stop = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.25, 2.25, 3.25, 4.25])
    for at, values, read in (
        (0.25 + np.arange(900) / 128, by_rate[f"{RUNNING}/data"], lambda p: read_running_speed(p)[::2]),
        (np.arange(300) / 50, by_rate[f"{PUPIL}/data"], read_pupil),
    ):
        expected = [values[(at >= a) & (at < b)].mean() for a, b in zip(start, stop, strict=True)]
        for file in (path, tmp_path / "extract.nwb"):
            np.testing.assert_allclose(mean_between(*read(file), start, stop), expected, rtol=1e-9)
