"""Channels and units of the simulated probes."""

import numpy as np
import pytest

from spikevaediff.datasets.simulation.probes import FLAWS, OUTSIDE, PROBES, electrodes, quality, recorded_units

N_UNITS = {"VISp": 93, "LGd": 8, "CA1": 85}
LIMITS = {"isi_violations": 0.5, "amplitude_cutoff": 0.1, "presence_ratio": 0.95}


def _passes(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {
        "isi_violations": columns["isi_violations"] <= LIMITS["isi_violations"],
        "amplitude_cutoff": columns["amplitude_cutoff"] <= LIMITS["amplitude_cutoff"],
        "presence_ratio": columns["presence_ratio"] >= LIMITS["presence_ratio"],
        "noise": columns["quality"] == "good",
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_unit_fails_the_default_filter_by_its_flaw_and_by_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units = recorded_units(rng, N_UNITS)
    for criterion, passed in _passes(quality(rng, units["flaw"])).items():
        assert np.array_equal(passed, units["flaw"] != criterion)


def test_each_area_has_its_good_units_and_one_bad_one_for_each_reason() -> None:
    units = recorded_units(np.random.default_rng(0), N_UNITS)
    for area, n in N_UNITS.items():
        flaws = units["flaw"][units["area"] == area]
        assert np.sum(flaws == "") == n
        assert sorted(flaws[flaws != ""]) == sorted(FLAWS)
    assert np.sum(units["area"] == OUTSIDE) == 2 * len(PROBES)


def test_a_unit_sits_on_a_channel_of_its_area_and_units_follow_the_channels() -> None:
    units, table = recorded_units(np.random.default_rng(0), N_UNITS), electrodes()
    row = np.searchsorted(table["id"], units["peak_channel_id"])
    assert np.array_equal(table["id"][row], units["peak_channel_id"])
    location = table["location"][row]
    assert {name for name in location if name.startswith("LGd")} - {"LGd"}, "some are written with a sub-structure"
    area = np.array([name.split("-")[0] if name != "None" else "" for name in location])
    assert np.array_equal(area, units["area"])
    assert np.all(np.diff(row) >= 0)
    assert len(np.unique(units["id"])) == len(units["id"])


def test_both_spellings_of_nowhere_occur() -> None:
    assert {"", "None"} <= set(electrodes()["location"])
