"""Spikes and presentations of one recording are in seconds on one clock: else all counts are 0, and nobody knows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spikevaediff.recordings.nwb_extract import extract
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits

SCENES = "intervals/natural_scenes_presentations"
ELECTRODES = "general/extracellular_ephys/electrodes"
RATES_HZ = [0.4, 2.0, 5.0, 9.0, 20.0, 8.0]
DURATION_S, N_PRESENTATIONS = 600.0, 400
LIMITS = Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Ten minutes of six units and 400 presentations of 0.25 s, from 200 to 275 s and from 425 to 450 s."""
    rng = np.random.default_rng(0)
    trains = [np.sort(rng.uniform(0, DURATION_S, rng.poisson(rate * DURATION_S))) for rate in RATES_HZ]
    start = 200 + 0.25 * np.arange(N_PRESENTATIONS) + 150.0 * (np.arange(N_PRESENTATIONS) >= 300)
    n = len(trains)
    with h5py.File(tmp_path / "1.nwb", "w") as file:
        for name, values in {
            "identifier": "1",
            "units/id": np.arange(n),
            "units/peak_channel_id": np.arange(n),
            "units/firing_rate": np.array([len(times) / DURATION_S for times in trains]),
            **{f"units/{name}": np.ones(n) for name in ("isi_violations", "amplitude_cutoff", "presence_ratio")},
            "units/spike_times": np.concatenate(trains),
            "units/spike_times_index": np.cumsum([len(times) for times in trains]),
            f"{ELECTRODES}/id": np.arange(n),
            f"{ELECTRODES}/location": ["VISp"] * n,
            f"{SCENES}/id": np.arange(N_PRESENTATIONS),
            f"{SCENES}/start_time": start,
            f"{SCENES}/stop_time": start + 0.25,
            f"{SCENES}/frame": np.arange(N_PRESENTATIONS) % 20,
        }.items():
            file[name] = values
    return tmp_path / "1.nwb"


def times(factor: float, *columns: str, offset: float = 0.0) -> Callable[[h5py.File], None]:
    def spoil(file: h5py.File) -> None:
        for column in columns:
            file[column][...] = file[column][:] * factor + offset

    return spoil


def trains(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[h5py.File], None]:
    """Another train for each unit, of any length."""

    def spoil(file: h5py.File) -> None:
        ends = file["units/spike_times_index"][:]
        made = [change(part) for part in np.split(file["units/spike_times"][:], ends[:-1])]
        del file["units/spike_times"], file["units/spike_times_index"]
        file["units/spike_times"] = np.concatenate(made)
        file["units/spike_times_index"] = np.cumsum([len(part) for part in made])

    return spoil


def spoiled(path: Path, *changes: Callable[[h5py.File], None], rates: bool) -> Path:
    with h5py.File(path, "r+") as file:
        for change in changes:
            change(file)
        if not rates:
            del file["units/firing_rate"]
    return path


def take(path: Path) -> float:
    return extract(path, path.parent / "extract.nwb", margin_s=0.5)


SPIKES, START, STOP = "units/spike_times", f"{SCENES}/start_time", f"{SCENES}/stop_time"
OTHERWISE = "cannot be seconds|presentations lie outside|times a second on average|times as fast as /units/firing_rate"


@pytest.mark.parametrize("rates", [True, False], ids=["rates stated", "rates not stated"])
@pytest.mark.parametrize(
    "change",
    [
        times(1e3, SPIKES),
        times(3e4, SPIKES),
        times(60.0, SPIKES),
        times(1e-3, SPIKES),
        times(1 / 60, SPIKES),
        times(1e3, START, STOP),
        times(3e4, START, STOP),
        times(60.0, START, STOP),
        times(1e3, SPIKES, START, STOP),
        times(3e4, SPIKES, START, STOP),
        times(1.0, SPIKES, offset=1.6e9),
        times(1.0, START, STOP, offset=1.6e9),
        times(1.0, SPIKES, offset=-160.0),
        times(1.0, SPIKES, offset=250.0),
        trains(lambda part: part[part < 420]),
        trains(lambda part: part[part > 230]),
    ],
    ids=lambda _: "",
)
def test_other_units_of_time_and_other_clocks_are_refused(
    recording: Path, change: Callable[[h5py.File], None], rates: bool
) -> None:
    with pytest.raises(ValueError, match=OTHERWISE) as caught:
        take(spoiled(recording, change, rates=rates))
    assert "Write both in seconds, on one clock" in str(caught.value)
    assert str(caught.value).startswith(str(recording))
    assert not (recording.parent / "extract.nwb").exists()


def test_a_recording_on_one_clock_is_taken_over_with_its_mean_rate(recording: Path) -> None:
    with h5py.File(recording) as file:
        stated = file["units/firing_rate"][:].mean()
    assert take(recording) == pytest.approx(stated, rel=0.01)
    again = extract(recording.parent / "extract.nwb", recording.parent / "again.nwb", margin_s=0.5)
    assert again == pytest.approx(stated, rel=0.2)  # of an extract: over the times that it holds


@pytest.mark.parametrize(("factor", "refused"), [(0.05, True), (0.2, False), (5.0, False), (20.0, True)])
def test_rates_may_differ_from_those_that_the_file_states_by_a_factor_of_ten(
    recording: Path, factor: float, refused: bool
) -> None:
    spoiled(recording, times(factor, "units/firing_rate"), rates=True)
    if refused:
        says = f"units fire {1 / factor:.3g} times as fast as /units/firing_rate says .median of 6."
        with pytest.raises(ValueError, match=says):
            take(recording)
    else:
        take(recording)


def test_one_unit_whose_rate_differs_does_not_refuse_a_recording(recording: Path) -> None:
    def lost(file: h5py.File) -> None:
        file["units/firing_rate"][0] = 100.0

    take(spoiled(recording, lost, rates=True))


def test_half_a_minute_of_presentations_without_a_spike_is_refused_and_a_break_is_not(recording: Path) -> None:
    spoiled(recording, trains(lambda part: part[(part < 210) | (part > 245)]), rates=True)
    with pytest.raises(
        ValueError, match=r"no unit fires in any of 1\d\d presentations from 21\d.* to 24\d.* s. Leave these"
    ):
        take(recording)


def test_silence_between_blocks_is_no_fault(recording: Path) -> None:
    take(spoiled(recording, trains(lambda part: part[(part < 274) | (part > 425.5)]), rates=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            trains(lambda part: part[::-1]),
            r"the spike times of unit 0 are not sorted \(.* s is followed by .* s\). Sort",
        ),
        (
            trains(lambda part: np.append(part, np.full(13000 - len(part), -1.0))),
            r"unit 0 has 127\d\d spike times of -1, which fill up a row. Leave them out",
        ),
        (
            trains(lambda part: np.append(np.full(13000 - len(part), -1.0), part)),
            r"unit 0 has 127\d\d spike times of -1, which fill up a row",
        ),
        (
            trains(lambda part: np.append(part, np.full(13000 - len(part), np.nan))),
            r"unit 0 has 127\d\d spike times that are not finite. Leave them out",
        ),
        (trains(lambda part: part[:0]), "none of 6 units has a spike"),
        (trains(lambda part: part[:1] * 0 + 250.0), "times a second on average"),
    ],
)
def test_spike_times_that_would_be_counted_wrongly_are_refused_in_an_extract_too(
    recording: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        take(spoiled(recording, change, rates=False))
    assert not (recording.parent / "extract.nwb").exists()


def shifted_in(dtype: type, offset: float) -> Callable[[h5py.File], None]:
    """All times on another zero, and spikes in another type."""

    def spoil(file: h5py.File) -> None:
        for column in (SPIKES, START, STOP):
            values = file[column][:] + offset
            del file[column]
            file[column] = values.astype(dtype) if column == SPIKES else values

    return spoil


def test_a_type_that_cannot_hold_milliseconds_is_refused(recording: Path) -> None:
    """Seconds since 1970 in float32 are exact to two minutes."""
    with pytest.raises(
        ValueError, match=r"spike_times is float32, in which 1.6e\+09 s are exact to 128 s only. Write it"
    ):
        take(spoiled(recording, shifted_in(np.float32, 1.6e9), rates=True))


@pytest.mark.parametrize("column", [START, STOP])
def test_presentations_in_a_type_that_cannot_hold_milliseconds_are_refused(recording: Path, column: str) -> None:
    def spoil(file: h5py.File) -> None:
        for one in (START, STOP):
            values = file[one][:] + 40_000
            del file[one]
            file[one] = values.astype(np.float32) if one == column else values

    with pytest.raises(
        ValueError, match=r"_time is float32, in which 4[\d.]+ s are exact to 0.00390625 s only. Write it"
    ):
        take(spoiled(recording, spoil, rates=True))


@pytest.mark.parametrize(("dtype", "offset"), [(np.float64, 1.6e9), (np.float32, 0.0)])
def test_times_that_are_exact_to_the_millisecond_are_taken(recording: Path, dtype: type, offset: float) -> None:
    take(spoiled(recording, shifted_in(dtype, offset), rates=True))


@pytest.mark.parametrize(
    ("unit", "refused"), [("milliseconds", True), ("samples", True), ("seconds", False), ("s", False)]
)
def test_the_unit_that_a_file_states_is_heard(recording: Path, unit: str, refused: bool) -> None:
    with h5py.File(recording, "r+") as file:
        file[SPIKES].attrs["unit"] = unit
    if refused:
        with pytest.raises(ValueError, match=f"/units/spike_times is in {unit}, expected seconds. Convert it"):
            take(recording)
    else:
        take(recording)


def test_spikes_that_stand_twice_are_refused(recording: Path) -> None:
    with pytest.raises(ValueError, match=r"unit 0 has (\d+) of \d+ spike times twice. Write each once"):
        take(spoiled(recording, trains(lambda part: np.repeat(part, 2)), rates=True))


def test_presentations_during_which_a_unit_was_not_observed_are_refused(recording: Path) -> None:
    def observed(file: h5py.File) -> None:
        intervals = [[[0.0, 600.0]]] * 4 + [[[0.0, 230.0], [260.0, 600.0]]] + [[[0.0, 600.0]]]
        file["units/obs_intervals"] = np.concatenate(intervals)
        file["units/obs_intervals_index"] = np.cumsum([len(of_unit) for of_unit in intervals])

    spoiled(recording, observed, rates=True)
    with pytest.raises(
        ValueError, match=r"unit 4 was not observed in 120 of 400 presentations \(/units/obs_intervals\)"
    ):
        take(recording)
    with h5py.File(recording, "r+") as file:
        file["intervals/invalid_times/start_time"] = [229.9]
        file["intervals/invalid_times/stop_time"] = [260.0]
    take(recording)


def test_counts_of_an_extract_are_those_of_a_loop(recording: Path) -> None:
    take(recording)
    options: dict[str, Any] = {"areas": ["VISp"], "windows_s": [[0.0, 0.25], [0.04, 0.29]], "min_units": 1}
    found = read_responses(recording.parent / "extract.nwb", limits=LIMITS, **options).counts
    with h5py.File(recording) as file:
        parts = np.split(file[SPIKES][:], file["units/spike_times_index"][:-1])
        start = file[START][:]
    for j, part in enumerate(parts):
        for k, (first, last) in enumerate(options["windows_s"]):
            expected = [(part >= onset + first).sum() - (part >= onset + last).sum() for onset in start]
            assert found[:, j, k].tolist() == expected
    assert found.sum() > 1000
