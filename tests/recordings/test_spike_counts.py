"""Spike counts against allensdk's own, against a loop, and against files that are wrong."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from small_session import ELECTRODES, SCENES, SPIKES, TABLES

from spikevaediff.recordings import sessions
from spikevaediff.recordings.nwb import read_presentations
from spikevaediff.recordings.nwb_extract import extract
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK

ALLENSDK_LIMITS = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
LOOSE_LIMITS = Limits(isi_violations_max=np.inf, amplitude_cutoff_max=np.inf, presence_ratio_min=-np.inf)
NO_LIMITS = Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)
OPTIONS = {"areas": ["VISp"], "windows_s": [[0.0, 0.25]], "min_units": 1, "limits": ALLENSDK_LIMITS}
ALL_AREAS = ["VISp", "VISl", "VISal", "CA1", "DG", "LGd", "LP"]


@pytest.fixture
def allensdk(shared):
    return np.load(shared / "data/allen_layout_nwb_fixture/expected_allensdk_2.16.2.npz")


def test_counts_units_areas_and_presentations_are_those_of_allensdk(fixture_path, allensdk):
    read = read_responses(
        fixture_path, areas=ALL_AREAS, windows_s=[[0, 0.25], [0.05, 0.30]], min_units=1, limits=ALLENSDK_LIMITS
    )
    assert read.counts.shape == (475, 57, 2)
    row = {unit: i for i, unit in enumerate(read.unit_unit_id.tolist())}
    order = [row[unit] for unit in allensdk["unit_id"].tolist()]  # allensdk sorts by probe and depth
    np.testing.assert_array_equal(read.unit_area[order], allensdk["area"])
    np.testing.assert_array_equal(read.image_id, allensdk["frame"])
    # No spike of this file lies exactly on an edge, so the closed and the half-open interval count the same.
    np.testing.assert_array_equal(read.counts[:, order, 0], allensdk["counts_0_250ms"])
    np.testing.assert_array_equal(read.counts[:, order, 1], allensdk["counts_50_300ms"])
    assert read.session_id.tolist() == [900000001]
    assert set(read.unit_session_id.tolist()) == {900000001}


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (LOOSE_LIMITS, "unit_id_no_quality_filter"),
        (replace(ALLENSDK_LIMITS, presence_ratio_min=0.9), "unit_id_presence_ratio_min_0p9"),
    ],
)
def test_other_limits_choose_the_units_that_allensdk_chooses(fixture_path, allensdk, limits, expected):
    read = read_responses(fixture_path, areas=ALL_AREAS, windows_s=[[0, 0.25]], min_units=1, limits=limits)
    assert sorted(read.unit_unit_id.tolist()) == sorted(allensdk[expected].tolist())


def test_the_presentation_in_an_invalid_time_vanishes_and_the_others_keep_their_ids(fixture_path, allensdk):
    read = read_responses(fixture_path, areas=["VISp"], windows_s=[[0, 0.25]], min_units=1, limits=ALLENSDK_LIMITS)
    with h5py.File(fixture_path) as file:
        ids, start = file[f"{SCENES}/id"][:], file[f"{SCENES}/start_time"][:]
    missing = np.setdiff1d(ids, read.presentation_id[:, 0])
    assert len(missing) == 1
    assert start[ids == missing[0]][0] <= 119.11192 <= start[ids == missing[0]][0] + 0.2503
    np.testing.assert_array_equal(start[np.isin(ids, read.presentation_id[:, 0])], allensdk["start_time"])


def test_the_blanks_are_kept(fixture_path):
    read = read_responses(fixture_path, areas=["VISp"], windows_s=[[0, 0.25]], min_units=1, limits=ALLENSDK_LIMITS)
    ids, times = np.unique(read.image_id, return_counts=True)
    assert ids.tolist() == [BLANK, *range(118)]
    assert times[0] in (3, 4)


def test_the_summary_counts_the_units_left_after_each_criterion(fixture_path):
    table = sessions.summary(fixture_path, ALLENSDK_LIMITS)
    assert sum(row["recorded"] for row in table.values()) == 72
    assert sum(row["presence_ratio >= 0.95"] for row in table.values()) == 57
    assert table[""]["in a brain area"] == 0
    assert "LGd" in table
    assert "LGd-sh" not in table
    for row in table.values():
        assert list(row.values()) == sorted(row.values(), reverse=True)


def test_units_keep_the_order_of_the_file_and_their_columns(session):
    read = read_responses(session(), **OPTIONS | {"areas": ["LGd", "VISp"]})
    assert read.unit_unit_id.tolist() == [11, 12, 13, 14]
    assert read.unit_area.tolist() == ["VISp", "LGd", "VISp", "VISp"]
    np.testing.assert_array_equal(read.unit_snr, [1.0, 2.0, 3.0, np.nan])
    assert np.isnan(read.unit_firing_rate).all()  # the column is absent
    assert read.image_id.tolist() == [5, BLANK, 7, 5]
    assert read.presentation_id.tolist() == [[0], [1], [2], [3]]


def test_a_spike_on_the_start_of_a_window_counts_and_one_on_its_end_does_not(session):
    read = read_responses(session(), **OPTIONS | {"windows_s": [[0, 0.25], [0.25, 0.5]]})
    # Unit 11 fires at 1.0 (start), 1.125, 1.25 (end of the first window, start of the second).
    assert read.counts[0, 0].tolist() == [2, 1]
    # Unit 14 fires three times at 2.0, and at 4.25 and 4.5.
    assert read.counts[1, 2].tolist() == [3, 0]
    assert read.counts[3, 2].tolist() == [0, 1]


def test_half_open_windows_add_up_where_the_closed_windows_of_allensdk_count_a_spike_twice(session):
    path = session()
    halves = read_responses(path, **OPTIONS | {"windows_s": [[0, 0.25], [0.25, 0.5]]}).counts
    whole = read_responses(path, **OPTIONS | {"windows_s": [[0, 0.5]]}).counts[..., 0]
    np.testing.assert_array_equal(halves.sum(2), whole)
    spikes = np.array(SPIKES[0])
    closed = [
        np.searchsorted(spikes, 1 + b, "right") - np.searchsorted(spikes, 1 + a) for a, b in ((0, 0.25), (0.25, 0.5))
    ]
    assert closed == [3, 1]
    assert sum(closed) == 1 + whole[0, 0]


def test_counts_equal_those_of_a_loop_over_random_spikes(session):
    rng = np.random.default_rng(0)
    spikes = [np.sort(rng.uniform(0, 6, n)) for n in (0, 1, 50, 400)]
    path = session(
        {
            "units/spike_times": np.concatenate(spikes),
            "units/spike_times_index": np.cumsum([len(s) for s in spikes]).astype(np.uint32),
            f"{SCENES}/start_time": [4.0, 1.0, 3.0, 1.1],  # onsets in any order
            f"{SCENES}/stop_time": [4.25, 1.25, 3.25, 1.35],
        }
    )
    windows = [[-0.5, 0.25], [0.04, 0.29], [1.0, 9.0]]
    read = read_responses(path, **OPTIONS | {"areas": ["VISp", "LGd"], "windows_s": windows})
    for i, onset in enumerate([1.0, 1.1, 3.0, 4.0]):  # rows are in the order of time
        for j, times in enumerate(spikes):
            for k, (start, stop) in enumerate(windows):
                assert read.counts[i, j, k] == sum(onset + start <= t < onset + stop for t in times)


def test_limits_are_inclusive_and_nan_meets_none(session):
    assert 12 in read_responses(session(), **OPTIONS | {"areas": ["LGd"]}).unit_unit_id  # exactly on all three
    path = session({"units/isi_violations": [np.nan, 0.5, 0.0, 0.2]})
    assert 11 not in read_responses(path, **OPTIONS | {"limits": LOOSE_LIMITS}).unit_unit_id


@pytest.mark.parametrize(
    "changes",
    [
        {"units/quality": ["good", "good", "good", "noise"]},
        {f"{ELECTRODES}/valid_data": [True, False, True, True]},
        {"units/peak_channel_id": [101, 103, 101, 104]},  # out of the brain
        {"units/peak_channel_id": [101, 103, 101, 999]},  # a channel that is not listed
        {"units/peak_channel_id": [101, 103, 101, 99]},
    ],
)
def test_units_judged_bad_or_without_a_valid_channel_in_the_brain_are_dropped(session, changes):
    read = read_responses(session(changes), **OPTIONS | {"areas": ["VISp", "LGd"], "limits": LOOSE_LIMITS})
    assert read.unit_unit_id.tolist() == [11, 12, 13]


def test_a_file_without_columns_of_rejection_rejects_nothing(session):
    path = session({"units/quality": None, f"{ELECTRODES}/valid_data": None})
    assert len(read_responses(path, **OPTIONS).units) == 3


@pytest.mark.parametrize(
    ("start", "stop", "tags", "left"),
    [
        (1.9, 2.1, [b"stimulus"], [0, 2, 3]),
        (2.25, 2.5, [b"EcephysSession", b"1", b"stimulus"], [0, 2, 3]),  # it touches the end: allensdk drops it too
        (2.26, 2.9, [b"stimulus"], [0, 1, 2, 3]),
        (1.0, 9.0, [b"EcephysProbe", b"stimulus_like"], [0, 1, 2, 3]),
        (0.0, 3.5, [b"stimulus"], [3]),
    ],
)
def test_presentations_that_overlap_a_time_invalid_for_the_stimulus_are_dropped(session, start, stop, tags, left):
    path = session(
        {
            "intervals/invalid_times/start_time": [start],
            "intervals/invalid_times/stop_time": [stop],
            "intervals/invalid_times/tags": tags,
            "intervals/invalid_times/tags_index": np.array([len(tags)], np.uint8),
        }
    )
    assert read_responses(path, **OPTIONS).presentation_id[:, 0].tolist() == left


def test_each_invalid_time_goes_by_its_own_tags(session):
    path = session(
        {
            "intervals/invalid_times/start_time": [1.1, 2.1, 3.1],
            "intervals/invalid_times/stop_time": [1.2, 2.2, 3.2],
            "intervals/invalid_times/tags": [b"EcephysProbe", b"8", b"stimulus", b"EcephysProbe", b"9"],
            "intervals/invalid_times/tags_index": np.array([2, 3, 5], np.uint8),
        }
    )
    assert read_responses(path, **OPTIONS).presentation_id[:, 0].tolist() == [0, 2, 3]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing.nwb does not exist. Make it with: dvc repro"):
        read_responses(tmp_path / "nothing.nwb", **OPTIONS)


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_truncated_file_is_refused(session, size):
    path = session()
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="is not a whole HDF5 file"):
        read_responses(path, **OPTIONS)


@pytest.mark.parametrize(
    "missing",
    [
        "units/id",
        "units/peak_channel_id",
        "units/isi_violations",
        "units/presence_ratio",
        "units/spike_times",
        "units/spike_times_index",
        f"{ELECTRODES}/id",
        f"{ELECTRODES}/location",
        f"{SCENES}/frame",
        f"{SCENES}/start_time",
    ],
)
def test_a_missing_column_is_named_with_the_layout_expected(session, missing):
    with pytest.raises(ValueError, match=f"has no /{missing}. Expected the layout of an Allen Visual Coding"):
        read_responses(session({missing: None}), **OPTIONS)


@pytest.mark.parametrize("table", ["units", ELECTRODES, SCENES])
def test_a_missing_table_is_named(session, table):
    with pytest.raises(ValueError, match=f"has no /{table}. Expected"):
        read_responses(session({name: None for name in TABLES if name.startswith(table)}), **OPTIONS)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identifier": "mouse A"}, "/identifier is 'mouse A', expected the number of the session"),
        (
            {"units/spike_times": [1.0, np.nan, *SPIKES[0][2:], *SPIKES[1], *SPIKES[3]]},
            "unit 11 has 1 spike times that are not",
        ),
        ({"units/spike_times": [*SPIKES[0], *SPIKES[1], *SPIKES[3][::-1]]}, "spike times of unit 14 are not sorted"),
        (
            {"units/spike_times_index": [7, 6, 10, 16]},
            "must rise to the length .* 16, but ends at 16 and falls in 1 places",
        ),
        ({"units/spike_times_index": [7, 10, 10, 15]}, "must rise to the length .* 16, but ends at 15"),
        ({"units/spike_times_index": [7, 10, 16]}, "lists 3 units, /units/id 4"),
        ({"units/id": [11, 12, 12, 14]}, r"/units/id must be unique, but \[12\] repeat"),
        ({f"{ELECTRODES}/id": [101, 101, 102, 103]}, r"electrodes/id must be unique, but \[101\] repeat"),
        ({f"{SCENES}/id": [0, 1, 1, 2]}, r"presentations/id must be unique, but \[1\] repeat"),
        (
            {f"{SCENES}/start_time": [1.0, np.nan, 3.0, 4.0]},
            r"start_time is not finite in 1 of 4 rows \(first: row 1\)",
        ),
        ({f"{SCENES}/frame": [5.0, 1.5, 7.0, 5.0]}, "frame is 1.5 in row 1"),
        ({f"{SCENES}/frame": [5.0, 1.0, np.nan, 5.0]}, "frame is nan in row 2"),
        ({f"{SCENES}/frame": [5.0, -2.0, 7.0, 5.0]}, "frame is -2.0 in row 1"),
        ({f"{SCENES}/frame": [5.0, -1.0]}, "differ in length: .*'frame': 2"),
        ({f"{ELECTRODES}/location": ["LGd-sh", "VISp"]}, "electrodes differ in length: .*'location': 2"),
        ({f"{ELECTRODES}/valid_data": [True] * 5}, "electrodes differ in length: .*'valid_data': 5"),
        ({"units/quality": ["good"]}, "columns of /units differ in length: .*'quality': 1"),
        ({"units/isi_violations": [0.1, 0.5]}, "columns of /units differ in length: .*'isi_violations': 2"),
        ({f"{ELECTRODES}/location": [1, 2, 3, 4]}, r"electrodes/location holds int\d+, expected text"),
        ({"units/presence_ratio": ["a", "b", "c", "d"]}, r"/units/presence_ratio holds object, expected numbers"),
        ({"units/peak_channel_id": [101.0, np.nan, 101.0, 102.0]}, "peak_channel_id is not finite in 1 of 4 rows"),
        ({"units/isi_violations": None, "units/isi_violations/data": [0.1]}, "isi_violations is not a column"),
        ({f"{SCENES}/frame": 5.0}, "frame is not a column. Expected a value for each row"),
        ({"identifier": 7}, "/identifier is '', expected the number of the session"),
        (
            {f"{ELECTRODES}/{name}": np.empty(0, int) for name in ("id", "valid_data")}
            | {f"{ELECTRODES}/location": np.empty(0, h5py.string_dtype())},
            "electrodes lists no channel",
        ),
    ],
)
def test_a_file_with_wrong_values_is_refused(session, changes, message):
    with pytest.raises(ValueError, match=message):
        read_responses(session(changes), **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"areas": []}, "areas is empty"),
        ({"areas": ["VISp", "VISl"]}, r"no unit in VISl. .* by area: LGd 1/1, VISp 3/3"),
        ({"areas": ["LGd-sh"]}, "no unit in LGd-sh.*without sub-structure"),
        ({"areas": ["VISp"], "min_units": 4}, "3 units pass in VISp, fewer than min_units = 4"),
        (
            {"limits": replace(ALLENSDK_LIMITS, presence_ratio_min=2.0)},
            r"none of 4 units passes \(0 not in a brain area.*4 not presence_ratio >= 2\)",
        ),
        ({"windows_s": [[0.0, 0.25], [0.3, 0.3]]}, r"\[0.3, 0.3\] must start before it stops"),
        ({"windows_s": [[0.0, np.nan]]}, "must start before it stops"),
        ({"windows_s": [[40.0, 290.0]]}, r"windows_s is \[\[40.0, 290.0\]\], expected seconds, up to 60 from onset"),
        ({"windows_s": [0.0, 0.25]}, r"has shape \(2,\), expected one row"),
    ],
)
def test_options_that_cannot_be_met_are_refused(session, options, message):
    with pytest.raises(ValueError, match=message):
        read_responses(session(), **OPTIONS | options)


def test_more_spikes_in_a_window_than_counts_can_hold_are_refused(session):
    n = 70_000
    path = session({"units/spike_times": np.linspace(1, 1.2, n), "units/spike_times_index": [n, n, n, n]})
    with pytest.raises(ValueError, match="unit 11 has 70000 spikes in one window"):
        read_responses(path, **OPTIONS)


def test_no_limit_lets_a_metric_pass_that_is_unknown(session):
    path = session({"units/isi_violations": [np.nan, 0.5, 0.0, 0.2], "units/presence_ratio": [0.1, 0.95, 1.0, 0.96]})
    assert read_responses(path, **OPTIONS | {"limits": NO_LIMITS}).unit_unit_id.tolist() == [11, 13, 14]
    assert list(sessions.summary(path, NO_LIMITS)["VISp"]) == [
        "recorded",
        "in a brain area",
        "on a valid channel",
        "quality good",
    ]


def test_presentations_are_the_rows_of_the_responses(session, fixture_path):
    found = read_presentations(session())
    assert found.presentation_id.tolist() == [0, 1, 2, 3]
    assert found.image_id.tolist() == [5, BLANK, 7, 5]
    assert found.stop_s.tolist() == [1.25, 2.25, 3.25, 4.25]
    read = read_responses(fixture_path, areas=["VISp"], windows_s=[[0, 0.25]], min_units=1, limits=ALLENSDK_LIMITS)
    found = read_presentations(fixture_path)
    np.testing.assert_array_equal(found.presentation_id, read.presentation_id[:, 0])
    np.testing.assert_array_equal(found.image_id, read.image_id)
    assert np.median(found.stop_s - found.start_s) == pytest.approx(0.25021, abs=1e-4)


def test_presentations_are_in_the_order_of_time_whatever_the_file_has(session):
    """Drift and the identity of images are read off that order."""
    columns = {"id": [3, 1, 0, 2], "frame": [5, BLANK, 5, 7], "start_time": [4.0, 2.0, 1.0, 3.0]}
    columns["stop_time"] = [4.25, 2.25, 1.25, 3.25]
    mixed = session({f"{SCENES}/{name}": values for name, values in columns.items()})
    options = {"areas": ["VISp"], "windows_s": [[0, 0.25]], "min_units": 1, "limits": NO_LIMITS}
    for one, other in zip(read_presentations(mixed), read_presentations(session()), strict=True):
        np.testing.assert_array_equal(one, other)
    found, expected = read_responses(mixed, **options), read_responses(session(), **options)
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.presentation_id, expected.presentation_id)


def test_units_and_spikes_that_no_area_asks_for_are_checked_too(session, tmp_path):
    def check(path):
        return extract(path, tmp_path / "extract.nwb", margin_s=0.5)

    assert check(session()) == pytest.approx(16 / 4 / 4.0)  # spikes of four units in the four seconds of 0.5 to 4.5 s
    spoiled = {"units/spike_times": [*SPIKES[0], *SPIKES[1], *SPIKES[3][::-1]]}
    with pytest.raises(ValueError, match="spike times of unit 14 are not sorted"):
        check(session(spoiled))
    judged_noise = spoiled | {"units/quality": ["good", "good", "good", "noise"]}
    check(session(judged_noise))  # no limits let this unit pass
