"""Tables of responses beside recordings, read by the same calls."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikevaediff.recordings import preprocessing, sessions, spike_counts
from spikevaediff.recordings.pseudo_population import concatenate
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK, Responses, UnitTable

LIMITS = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
WINDOWS = np.array([[0.0, 0.25]])
UNKNOWN = np.full(6, np.nan)


def table(session_id: int = 1, dtype: type = np.float32, **metrics: np.ndarray) -> Responses:
    rng = np.random.default_rng(session_id)
    image_id = rng.permutation(np.repeat([BLANK, 0, 1, 2], 3))
    units = {name: UNKNOWN for name in ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio", "firing_rate")}
    return Responses.make(
        counts=rng.gamma(2.0, 1.0, (12, 6, 1)).astype(dtype),
        image_id=image_id,
        presentation_id=np.arange(12)[:, None],
        session_id=np.array([session_id]),
        window_s=np.array([[0.05, 0.15]]),
        units=UnitTable(
            unit_id=np.arange(6),
            session_id=np.full(6, session_id),
            area=np.array(["V4", "V4", "IT", "V4", "", "IT"]),
            **units | metrics,
        ),
    )


def read(path: Path, **options: object) -> Responses:
    return sessions.read_responses(
        path, **{"areas": ["V4"], "windows_s": WINDOWS, "min_units": 1, "limits": LIMITS} | options
    )


def test_a_table_gives_the_units_of_the_areas_in_its_own_windows(tmp_path: Path) -> None:
    whole = table()
    whole.save(tmp_path / "1.npz")
    found = read(tmp_path / "1.npz")
    np.testing.assert_array_equal(found.counts, whole.counts[:, [0, 1, 3]])
    assert found.counts.dtype == np.float32
    assert found.units.unit_id.tolist() == [0, 1, 3]
    assert found.window_s.tolist() == [[0.05, 0.15]]
    assert sessions.summary(tmp_path / "1.npz", LIMITS) == {
        "": {"recorded": 1, "in an area": 0},
        "IT": {"recorded": 2, "in an area": 2},
        "V4": {"recorded": 3, "in an area": 3},
    }


def test_a_metric_that_a_table_has_limits_and_one_that_it_lacks_does_not(tmp_path: Path) -> None:
    isi = np.array([0.5, 0.6, 0.1, np.nan, 0.1, 0.1])
    table(isi_violations=isi).save(tmp_path / "1.npz")
    assert read(tmp_path / "1.npz").units.unit_id.tolist() == [0]
    assert read(tmp_path / "1.npz", limits=replace(LIMITS, isi_violations_max=None)).units.unit_id.tolist() == [0, 1, 3]
    left = sessions.summary(tmp_path / "1.npz", LIMITS)["V4"]
    assert left == {"recorded": 3, "in an area": 3, "isi_violations <= 0.5": 1}


def test_a_table_without_the_area_is_refused_with_those_it_has(tmp_path: Path) -> None:
    table().save(tmp_path / "1.npz")
    with pytest.raises(ValueError, match=r"1.npz: no unit in VISp. Units that pass .* by area: IT 2/2, V4 3/3"):
        read(tmp_path / "1.npz", areas=["VISp"])
    with pytest.raises(ValueError, match="3 units pass in V4, fewer than min_units = 4"):
        read(tmp_path / "1.npz", min_units=4)


def test_tables_are_joined_as_recordings_are(tmp_path: Path) -> None:
    for session_id in (1, 2):
        table(session_id).save(tmp_path / f"{session_id}.npz")
    found = sessions.paths(tmp_path)
    assert [path.name for path in found] == ["1.npz", "2.npz"]
    joined = concatenate([read(path) for path in found])
    assert joined.counts.shape == (12, 6, 1)
    first = table(1)
    np.testing.assert_array_equal(joined.image_id, first.image_id)
    np.testing.assert_array_equal(joined.counts[:, :3], first.counts[:, [0, 1, 3]])


def test_a_recording_is_read_as_before(shared: Path) -> None:
    path = shared / "data/allen_layout_nwb_fixture/session_900000001.nwb"
    options = {"areas": ["VISp"], "windows_s": WINDOWS, "min_units": 1, "limits": LIMITS}
    np.testing.assert_array_equal(
        sessions.read_responses(path, **options).counts, spike_counts.read_responses(path, **options).counts
    )
    assert sessions.has_spike_times(path)


def population(folder: Path, **options: object) -> Responses:
    given = {"areas": ["V4"], "windows_s": WINDOWS, "min_units": 1, "limits": LIMITS} | options
    return sessions.read_population(sessions.paths(folder), **given)


def test_an_area_need_not_be_in_every_session_of_a_population_only_in_one(tmp_path: Path) -> None:
    table(1).save(tmp_path / "1.npz")
    other = table(2)
    other.unit_area[:] = ["V4", "V4", "V4", "V1", "V1", ""]
    other.save(tmp_path / "2.npz")
    found = population(tmp_path, areas=["V1", "V4", "IT"])
    assert sorted(zip(found.unit_session_id.tolist(), found.unit_area.tolist(), strict=True)) == [
        (1, "IT"),
        (1, "IT"),
        *[(1, "V4")] * 3,
        *[(2, "V1")] * 2,
        *[(2, "V4")] * 3,
    ]
    with pytest.raises(ValueError, match=r"no unit in V2 passes in any of 2 sessions. There are IT, V1, V4"):
        population(tmp_path, areas=["V4", "V2"])
    with pytest.raises(ValueError, match=r"no unit in IT passes in .*2.npz. Leave it out"):
        population(tmp_path, areas=["IT"])
    with pytest.raises(ValueError, match=r"1.npz: 2 units pass in IT, fewer than min_units = 3"):
        population(tmp_path, areas=["V1", "IT"], min_units=3)
    (tmp_path / "2.npz").unlink()
    assert len(population(tmp_path).units) == 3
    with pytest.raises(ValueError, match=r"1.npz: no unit in V1"):  # a session alone must have all that is asked for
        population(tmp_path, areas=["V4", "V1"])


def test_a_folder_without_sessions_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no session \(\*.nwb or \*.npz\). Make one with: dvc repro acq"):
        sessions.paths(tmp_path)


def test_responses_that_are_no_counts_must_be_finite_and_have_no_root_below_zero() -> None:
    found = table()
    found.counts[3, 2] = -0.5
    with pytest.raises(ValueError, match=r"fall to -0\.5, which has no square root"):
        preprocessing.response_matrix(found, transform="square_root")
    assert preprocessing.response_matrix(found, transform="none").min() == -0.5
    counts = found.counts.copy()
    counts[5] = np.nan
    with pytest.raises(ValueError, match=r"counts are not finite in 1 presentations \(rows \[5\]\)"):
        Responses.make(
            counts=counts,
            image_id=found.image_id,
            presentation_id=found.presentation_id,
            session_id=found.session_id,
            window_s=found.window_s,
            units=found.units,
        )


def test_a_shuffled_population_has_the_areas_of_the_others() -> None:
    areas = {"visual": ["V4", "IT"], "other": ["V4", "V1"], "control": "shuffled"}
    assert sessions.areas_of(areas, "visual") == ["V4", "IT"]
    assert sessions.areas_of(areas, "control") == sessions.areas_of(areas) == ["V4", "IT", "V1"]
    with pytest.raises(KeyError, match=r"no areas.contrl; areas has visual, other, control"):
        sessions.areas_of(areas, "contrl")
    with pytest.raises(ValueError, match=r"areas.control is 'shufled', expected a list of areas, or shuffled"):
        sessions.areas_of(areas | {"control": "shufled"}, "visual")
    with pytest.raises(ValueError, match="all of areas is shuffled"):
        sessions.areas_of({"visual": "shuffled"}, "visual")
    with pytest.raises(ValueError, match=r"areas.visual names V4 twice; name it once"):
        sessions.areas_of({"visual": ["V4", "IT", "V4"], "control": "shuffled"}, "visual")
    with pytest.raises(ValueError, match=r"areas.visual is \['V4', 3\], expected a list of areas, or shuffled"):
        sessions.areas_of({"visual": ["V4", 3], "control": "shuffled"}, "visual")


def test_a_control_holds_no_area_that_it_is_the_control_of() -> None:
    with pytest.raises(ValueError, match=r"IT is in areas.visual and in areas.control.* -S areas.control=shuffled"):
        sessions.areas_of({"visual": ["V4", "IT"], "control": ["IT"]}, "visual")
    assert sessions.areas_of({"visual": ["V4"], "control": ["IT"]}, "control") == ["IT"]


RESPONSES = {"start_s": 0.05, "duration_s": 0.1, "n_bins": 1}


def test_the_windows_of_a_recording_are_equal_bins(session: Callable[..., Path]) -> None:
    found = sessions.windows([session()], start_s=0.25, duration_s=0.75, n_bins=3)
    assert found.tolist() == [[0.25, 0.5], [0.5, 0.75], [0.75, 1.0]]
    np.testing.assert_array_equal(
        sessions.windows([session()], start_s=-0.5, duration_s=2, n_bins=1), [[-0.5, 1.5]]
    )  # two images long


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        # Images follow one another after 1 s.
        (
            {"duration_s": 5.0},
            r"responses.duration_s is 5, but in .*nwb one image follows another after 1 s.* at most 2",
        ),
        ({"duration_s": 0.0}, r"responses.duration_s is 0.0, expected seconds, more than 0"),
        ({"duration_s": "long"}, r"responses.duration_s is 'long', expected a number of seconds"),
        ({"start_s": None}, r"responses.start_s is None, expected a number of seconds"),
        ({"start_s": float("nan")}, r"responses.start_s is nan, expected a number of seconds"),
        ({"start_s": None, "duration_s": None, "n_bins": None}, r"responses.start_s is None, expected a number"),
        ({"n_bins": 1.5}, r"responses.n_bins is 1.5, expected a whole number, 1 or more"),
        ({"n_bins": 0}, r"responses.n_bins is 0, expected a whole number, 1 or more"),
        ({"n_bins": True}, r"responses.n_bins is True, expected a whole number, 1 or more"),
    ],
)
def test_a_window_that_no_recording_can_mean_is_refused(
    session: Callable[..., Path], wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sessions.windows([session()], **RESPONSES | wrong)


def test_parameters_must_say_what_a_table_was_counted_in(tmp_path: Path) -> None:
    path = tmp_path / "1.npz"
    table().save(path)
    assert sessions.windows([path], **RESPONSES).tolist() == [[0.05, 0.05 + 0.1]]
    assert sessions.windows([path], start_s=None, duration_s=None, n_bins=None).tolist() == [[0.05, 0.15]]
    settings = r"-S responses.start_s=0.05 -S responses.duration_s=0.1 -S responses.n_bins=1$"
    for wrong in ({"start_s": 0.04}, {"duration_s": 0.25}, {"n_bins": 2}):
        with pytest.raises(ValueError, match=rf"1.npz is a table, counted from 0.05 to 0.15 s in 1 window.*{settings}"):
            sessions.windows([path], **RESPONSES | wrong)
    with pytest.raises(ValueError, match=r"responses.n_bins is None"):
        sessions.windows([path], **RESPONSES | {"n_bins": None})


def test_windows_of_a_table_that_are_no_equal_bins_are_said_by_null(tmp_path: Path) -> None:
    counted = np.array([[0.0, 0.1], [0.1, 0.3]])
    one = table()
    replace(one, counts=np.repeat(one.counts, 2, axis=2), window_s=counted).save(tmp_path / "1.npz")
    message = (
        r"counted from 0 to 0.3 s in 2 window.*start_s=null -S responses.duration_s=null -S responses.n_bins=null$"
    )
    with pytest.raises(ValueError, match=message):
        sessions.windows([tmp_path / "1.npz"], start_s=0.0, duration_s=0.3, n_bins=2)
    none = sessions.windows([tmp_path / "1.npz"], start_s=None, duration_s=None, n_bins=None)
    np.testing.assert_array_equal(none, counted)


def test_shuffling_exchanges_images_and_nothing_else() -> None:
    before = table()
    after = sessions.shuffled(before)
    np.testing.assert_array_equal(before.counts, after.counts)
    blank = before.image_id == BLANK
    np.testing.assert_array_equal(after.image_id == BLANK, blank)
    assert not np.any(after.image_id[~blank] == before.image_id[~blank])
    # Presentations of one image stay together.
    pairs = {*zip(before.image_id.tolist(), after.image_id.tolist(), strict=True)}
    assert len(pairs) == 4
    np.testing.assert_array_equal(sessions.shuffled(before).image_id, after.image_id)
