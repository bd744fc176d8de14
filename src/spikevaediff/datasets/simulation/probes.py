"""The hardware of a simulated session: six probes, where their channels lie, and which units were sorted on them.

Beside the good units there are bad ones, since a reader must leave them out: for every area one unit for each reason
that the quality filter of the AllenSDK knows, and on every probe two units on channels above the brain. The bad ones
fire like their area's good ones, so that a reader which lets them in changes its results.
"""

import numpy as np

PROBES = ("probeA", "probeB", "probeC", "probeD", "probeE", "probeF")
FLAWS = ("isi_violations", "amplitude_cutoff", "presence_ratio", "noise")
OUTSIDE = ""
_CORTEX = {
    "probeA": "VISam",
    "probeB": "VISpm",
    "probeC": "VISp",
    "probeD": "VISl",
    "probeE": "VISal",
    "probeF": "VISrl",
}
# Written with the sub-structure after a dash, as the recordings do; a reader counts them all as LGd.
_THALAMUS = {"probeC": ("LGd-sh", "LGd-co", "LGd-ip", "LGd"), "probeD": ("LP",)}
_N_CHANNELS = 72  # a probe; from the tip up: 12 thalamus, 8 dentate gyrus, 18 CA1, 28 cortex, 6 above the brain


def _locations(probe: str) -> list[str]:
    thalamus = _THALAMUS.get(probe, ("TH",))
    deep = [thalamus[i * len(thalamus) // 12] for i in range(12)]
    # Readers meet both spellings of "nowhere" in the recordings.
    return deep + ["DG"] * 8 + ["CA1"] * 18 + [_CORTEX[probe]] * 28 + ["", "None"] * 3


def electrodes() -> dict[str, np.ndarray]:
    """The channels of all probes, by columns of the electrode table, each (n_channels,)."""
    n, local = len(PROBES) * _N_CHANNELS, np.tile(np.arange(_N_CHANNELS), len(PROBES))
    probe = np.repeat(np.arange(len(PROBES)), _N_CHANNELS)
    location = np.array([name for p in PROBES for name in _locations(p)])
    return {
        "id": 850_000_002 + 2 * np.arange(n),
        "location": location,
        "group_name": np.array(PROBES)[probe],
        "probe_vertical_position": 20 * (local // 2 + 1),
        "probe_horizontal_position": np.array([43, 11, 59, 27])[local % 4],
        "probe_id": 810_000_001 + probe,
        "local_index": local,
        "valid_data": np.ones(n, bool),
        "x": 7000.0 + 400 * probe,
        "y": 3000.0 - 40 * local,
        "z": np.full(n, 8000.0),
    }


def recorded_units(rng: np.random.Generator, n_units: dict[str, int]) -> dict[str, np.ndarray]:
    """The units in the order of the file: by probe, from the tip up.

    Parameters
    ----------
    rng : np.random.Generator
    n_units : dict of str to int
        Good units of each area.

    Returns
    -------
    dict
        "id", "peak_channel_id" int64, "area" str (OUTSIDE above the brain), "flaw" str (one of FLAWS, "" for a good
        unit), each (n,).
    """
    table = electrodes()
    area_of = np.array([name.split("-")[0].removeprefix("None") for name in table["location"]])
    members = [(area, flaw) for area, n in n_units.items() for flaw in ("",) * n + FLAWS]
    rows = [rng.choice(np.flatnonzero(area_of == area)) for area, _ in members]
    for probe in PROBES:
        above = (area_of == OUTSIDE) & (table["group_name"] == probe)
        rows += rng.choice(np.flatnonzero(above), 2, replace=False).tolist()
        members += [(OUTSIDE, "")] * 2
    order = np.argsort(rows, kind="stable")
    return {
        "id": 950_000_003 + 3 * np.arange(len(rows)),
        "peak_channel_id": table["id"][np.array(rows)[order]],
        "area": np.array([area for area, _ in members])[order],
        "flaw": np.array([flaw for _, flaw in members])[order],
    }


def quality(rng: np.random.Generator, flaw: np.ndarray) -> dict[str, np.ndarray]:
    """Columns of the unit table that describe the sorting, each (n_units,), within the ranges of the recordings.

    A unit fails the default filter (isi_violations <= 0.5, amplitude_cutoff <= 0.1, presence_ratio >= 0.95, quality
    "good") by its `flaw` and by nothing else.
    """
    n = len(flaw)

    def between(low: float, high: float, name: str = "", bad_low: float = 0.0, bad_high: float = 0.0) -> np.ndarray:
        good, bad = rng.uniform(low, high, n), rng.uniform(bad_low, bad_high, n)
        return np.where(flaw == name, bad, good) if name else good

    return {
        "quality": np.where(flaw == "noise", "noise", "good"),
        "isi_violations": between(0.0, 0.45, "isi_violations", 0.6, 2.0),
        "presence_ratio": between(0.96, 0.99, "presence_ratio", 0.3, 0.9),
        "amplitude_cutoff": between(0.001, 0.09, "amplitude_cutoff", 0.12, 0.5),
        "isolation_distance": between(20, 120),
        "l_ratio": between(0.0, 0.1),
        "d_prime": between(2, 8),
        "nn_hit_rate": between(0.7, 1.0),
        "nn_miss_rate": between(0.0, 0.02),
        "max_drift": between(5, 60),
        "cumulative_drift": between(50, 400),
        "silhouette_score": between(0.0, 0.3),
        "waveform_duration": between(0.15, 0.9),
        "waveform_halfwidth": between(0.08, 0.3),
        "PT_ratio": between(0.2, 0.9),
        "repolarization_slope": between(0.2, 1.0),
        "recovery_slope": between(-0.3, -0.02),
        "amplitude": between(60, 300),
        "spread": between(20, 120),
        "velocity_above": between(-1, 1),
        "velocity_below": between(-1, 1),
        "snr": np.round(np.exp(rng.normal(1.0, 0.35, n)), 3),
    }
