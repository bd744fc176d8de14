"""Spike times of a session file, unit by unit, and whether they are in seconds on the clock of the presentations.

Times in milliseconds, in samples or of another clock are numbers like any other, and all counts come out as 0: what the
tables of one recording say of each other is compared before anything is counted.
"""

from dataclasses import dataclass, field

import h5py
import numpy as np

from spikevaediff.recordings import nwb, session_file

_TIMES, _OBSERVED = "spike_times", "obs_intervals"
_LONGEST_S = 2 * 86400.0  # no session lasts two days
SLOWEST_HZ, FASTEST_HZ = 0.2, 1000.0  # mean over units; frames of a monitor in place of seconds are 60 times fewer
_OF_OWN_RATE = 10.0  # by how much rates may differ from those that the file states
_SPIKES_OF_A_GAP = 20  # Poisson spikes leave so long a gap, in mean intervals, with a probability of 2e-9
_SILENT_S = 30.0  # no anaesthetised cortex pauses as long


def bounds(file: h5py.File, n_units: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the spike times of each unit begin and end in their column, int64 (n_units,) each.

    Raises
    ------
    ValueError
        The file lacks a column, or its index does not fit it or the units.
    """
    starts, ends = session_file.ends(file, "units", _TIMES)
    if len(ends) != n_units:
        raise ValueError(f"{file.filename}: /units/{_TIMES}_index lists {len(ends)} units, /units/id {n_units}")
    return starts, ends


def spikes(file: h5py.File, unit_id: int, start: int, stop: int) -> np.ndarray:
    """The spike times of a unit, float64 (n_spikes,), sorted.

    Raises
    ------
    ValueError
        They are not numbers, not in seconds, not finite, not sorted, filled up with -1, written twice, or too large for
        their type to hold to the millisecond.
    """
    column = file[f"units/{_TIMES}"]
    if column.dtype.kind not in "uif":
        raise ValueError(f"{file.filename}: /units/{_TIMES} holds {column.dtype}, expected numbers, in seconds")
    if (unit := str(column.attrs.get("unit", "seconds"))) not in ("seconds", "second", "s"):
        raise ValueError(f"{file.filename}: /units/{_TIMES} is in {unit}, expected seconds. Convert it")
    found = session_file.flat(column[start:stop])
    if found.ndim != 1:
        raise ValueError(
            f"{file.filename}: /units/{_TIMES} has shape {column.shape}, expected one value for each spike"
        )
    session_file.check_step(file, f"units/{_TIMES}", column.dtype, found)
    found = found.astype(np.float64)
    if n := np.sum(~np.isfinite(found)):
        raise ValueError(f"{file.filename}: unit {unit_id} has {n} spike times that are not finite. Leave them out")
    gaps = np.diff(found)
    falls = np.flatnonzero(gaps < 0)
    padded = len(falls) > 0 or (len(found) > 0 and found[0] == -1)
    if padded and (n := np.sum(found == -1)) > 1:
        raise ValueError(
            f"{file.filename}: unit {unit_id} has {n} spike times of -1, which fill up a row. Leave them out"
        )
    if len(falls):
        raise ValueError(
            f"{file.filename}: the spike times of unit {unit_id} are not sorted "
            f"({found[falls[0]]:g} s is followed by {found[falls[0] + 1]:g} s). Sort them within the unit"
        )
    if 2 * (n := np.sum(gaps == 0)) >= len(found) > 20:
        raise ValueError(f"{file.filename}: unit {unit_id} has {n} of {len(found)} spike times twice. Write each once")
    return found


def check_observed(file: h5py.File, unit_id: np.ndarray, usable: np.ndarray, shown: nwb.Presentations) -> None:
    """Refuse presentations during which a unit was not observed, where a file says so (obs_intervals of NWB): counts
    would be 0.

    Parameters
    ----------
    file : h5py.File
    unit_id, usable : int64 and bool, (n_units,)
    shown : Presentations

    Raises
    ------
    ValueError
        Such a presentation, of a usable unit; or the column cannot be read.
    """
    if not session_file.has(file, f"units/{_OBSERVED}"):
        return
    starts, ends = session_file.ends(file, "units", _OBSERVED)
    intervals = file[f"units/{_OBSERVED}"]
    if intervals.ndim != 2 or intervals.shape[1] != 2 or intervals.dtype.kind not in "uif" or len(ends) != len(unit_id):
        raise ValueError(f"{file.filename}: /units/{_OBSERVED} is not a column of [start, stop] for each unit")
    for unit in np.flatnonzero(usable):
        of_unit = intervals[starts[unit] : ends[unit]]
        seen = (shown.start_s[:, None] >= of_unit[None, :, 0]) & (shown.stop_s[:, None] <= of_unit[None, :, 1])
        if not seen.any(1).all():
            raise ValueError(
                f"{file.filename}: unit {unit_id[unit]} was not observed in {np.sum(~seen.any(1))} of {len(seen)} "
                f"presentations (/units/{_OBSERVED}). Leave out the unit, or list the time in /intervals/invalid_times"
            )


@dataclass
class Clock:
    """What the spikes of all units together say about their clock; filled unit by unit, then judged.

    shown : Presentations
    n_spikes : list of int, one for each unit that was added.
    first_s, last_s : float; of all their spikes.
    of_presentation : int64, (n_presentations,); spikes of all units between start and stop.
    """

    shown: nwb.Presentations
    n_spikes: list[int] = field(default_factory=list)
    first_s: float = np.inf
    last_s: float = -np.inf

    def __post_init__(self) -> None:
        self.of_presentation = np.zeros(len(self.shown.start_s), np.int64)

    def add(self, times_s: np.ndarray) -> None:
        """Take up the sorted spike times of a unit, float64 (n_spikes,)."""
        self.n_spikes.append(len(times_s))
        if len(times_s):
            self.first_s, self.last_s = min(self.first_s, times_s[0]), max(self.last_s, times_s[-1])
        self.of_presentation += np.searchsorted(times_s, self.shown.stop_s) - np.searchsorted(
            times_s, self.shown.start_s
        )

    def check(self, path: str, firing_rate: np.ndarray, kept_s: float | None) -> float:
        """Mean rate of the units in Hz, where spikes and presentations agree with each other.

        Parameters
        ----------
        path : str
            The file, named in errors.
        firing_rate : float64, (n_added,)
            Rates in Hz that the file states for the units that were added; NaN where it does not.
        kept_s : float or None
            Seconds of which an extract holds the spikes; None: all from the first spike to the last.

        Raises
        ------
        ValueError
            There are no spikes; they last days; units fire less than 0.2 or more than 1,000 times a second on average,
            or not within a factor of 10 of the rates that the file states (median over units); presentations lie before
            the first or after the last spike, or half a minute of them without any spike lies in between.
        """
        n = sum(self.n_spikes)
        if not n:
            raise ValueError(
                f"{path}: none of {len(self.n_spikes)} units has a spike. Is /units/{_TIMES} the right column?"
            )
        span = self.last_s - self.first_s
        says = (
            f"{path}: spikes from {self.first_s:g} to {self.last_s:g} and presentations from "
            f"{self.shown.start_s.min():g} to {self.shown.stop_s.max():g}"
        )
        cure = "Write both in seconds, on one clock"
        if span > _LONGEST_S:
            raise ValueError(f"{says} cannot be seconds: {span / 86400:.0f} days. {cure}")
        seconds = kept_s or span
        rates = np.array(self.n_spikes) / max(seconds, 1e-9)
        mean = float(rates.mean())
        known = np.isfinite(firing_rate) & (firing_rate > 0)
        if known.any():
            ratio = float(np.median(rates[known] / firing_rate[known]))
            if not 1 / _OF_OWN_RATE <= ratio <= _OF_OWN_RATE:
                raise ValueError(
                    f"{says}: units fire {ratio:.3g} times as fast as /units/firing_rate says (median of "
                    f"{known.sum()}). {cure}, and firing_rate in Hz"
                )
        if not SLOWEST_HZ <= mean <= FASTEST_HZ:
            raise ValueError(f"{says}: {len(rates)} units fire {mean:.3g} times a second on average. {cure}")
        wait = max(1.0, _SPIKES_OF_A_GAP * seconds / n)
        before = self.shown.stop_s < self.first_s - wait
        after = self.shown.start_s > self.last_s + wait
        if before.any() or after.any():
            raise ValueError(
                f"{says}: {before.sum() + after.sum()} of {len(before)} presentations lie outside. {cure}, or leave "
                f"out what was shown while nothing was recorded"
            )
        self._check_silence(path, max(_SILENT_S, wait))
        return mean

    def _check_silence(self, path: str, longest_s: float) -> None:
        order = np.argsort(self.shown.start_s, kind="stable")
        start, stop = self.shown.start_s[order], self.shown.stop_s[order]
        shown_s = np.concatenate([[0.0], np.cumsum(stop - start)])  # breaks between presentations do not count
        silent = np.concatenate([[False], self.of_presentation[order] == 0, [False]])
        firsts, ends = np.flatnonzero(silent[1:] & ~silent[:-1]), np.flatnonzero(silent[:-1] & ~silent[1:])
        for first, end in zip(firsts.tolist(), ends.tolist(), strict=True):
            if shown_s[end] - shown_s[first] > longest_s:
                raise ValueError(
                    f"{path}: no unit fires in any of {end - first} presentations from {start[first]:g} to "
                    f"{stop[end - 1]:g} s. Leave these out, or list the time in /intervals/invalid_times"
                )
