"""Units, their responses to what was shown, and those that encoding models would give."""

from dataclasses import dataclass, fields
from typing import ClassVar, Self

import numpy as np

from spikevaediff.records.ids import LONGEST_WINDOW_S
from spikevaediff.records.npz import Npz, require, same_length, unique


@dataclass(frozen=True)
class UnitTable:
    """The units of one or several sessions: sorted single cells, sites of an electrode, or voxels.

    unit_id, session_id : int64, (n_units,); a pair names a unit.
    area : str, (n_units,); acronym of the Allen Common Coordinate Framework without sub-structure ("LGd-sh" is "LGd").
    snr, isi_violations, amplitude_cutoff, presence_ratio, firing_rate : float64, (n_units,); as in the recording
        (firing_rate in Hz over the whole session), NaN where it has none.
    """

    METRICS: ClassVar = ("snr", "isi_violations", "amplitude_cutoff", "presence_ratio", "firing_rate")

    unit_id: np.ndarray
    session_id: np.ndarray
    area: np.ndarray
    snr: np.ndarray
    isi_violations: np.ndarray
    amplitude_cutoff: np.ndarray
    presence_ratio: np.ndarray
    firing_rate: np.ndarray

    def __post_init__(self) -> None:
        same_length("UnitTable", **{f.name: getattr(self, f.name) for f in fields(self)})
        unique("UnitTable", "(session_id, unit_id)", np.column_stack([self.session_id, self.unit_id]))

    @classmethod
    def make(
        cls, unit_id: np.ndarray, session_id: int | np.ndarray, area: str | np.ndarray, **metrics: np.ndarray
    ) -> Self:
        """A table from what is known of the units: one session or area is that of all, metrics not given are NaN."""
        n = len(unit_id)
        sessions = session_id if isinstance(session_id, np.ndarray) else np.full(n, session_id, np.int64)
        areas = area if isinstance(area, np.ndarray) else np.full(n, area)
        return cls(unit_id, sessions, areas, **{name: np.full(n, np.nan) for name in cls.METRICS} | metrics)

    def __len__(self) -> int:
        return len(self.unit_id)

    def take(self, chosen: np.ndarray) -> Self:
        """The units at these positions, int64 (n,), or where this mask, bool (n_units,), is true."""
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(frozen=True)
class Responses(Npz):
    """Spike counts of every unit to every presentation, in one or several time windows.

    counts : uint16, (n_presentations, n_units, n_windows); float32 or float64 where responses are not counts (the
        activity of two-photon imaging, a mean count over presentations); float16, mapped from the file, where these
        would take gigabytes (single trials of thousands of voxels).
    image_id : int64, (n_presentations,); BLANK (-1) is the grey screen.
    presentation_id : int64, (n_presentations, n_sessions); row of the stimulus table of each session. With several
        sessions a row pairs presentations of the same image (a pseudo-population).
    session_id : int64, (n_sessions,).
    window_s : float64, (n_windows, 2); half-open [start, stop), seconds after onset.
    unit_* : the columns of UnitTable, (n_units,).
    """

    counts: np.ndarray
    image_id: np.ndarray
    presentation_id: np.ndarray
    session_id: np.ndarray
    window_s: np.ndarray
    unit_unit_id: np.ndarray
    unit_session_id: np.ndarray
    unit_area: np.ndarray
    unit_snr: np.ndarray
    unit_isi_violations: np.ndarray
    unit_amplitude_cutoff: np.ndarray
    unit_presence_ratio: np.ndarray
    unit_firing_rate: np.ndarray

    def __post_init__(self) -> None:
        require(self.counts.ndim == 3, f"Responses: counts has shape {self.counts.shape}, expected 3 axes")
        require(
            np.issubdtype(self.counts.dtype, np.integer) or self.counts.dtype.kind == "f",
            f"Responses: counts is {self.counts.dtype}, not whole numbers (floating-point ones for other responses)",
        )
        bad = np.flatnonzero(~np.isfinite(self.counts).all((1, 2)))
        require(
            len(bad) == 0, f"Responses: counts are not finite in {len(bad)} presentations (rows {bad[:5].tolist()})"
        )
        same_length("Responses", counts=self.counts, image_id=self.image_id, presentation_id=self.presentation_id)
        n_units, n_windows = self.counts.shape[1:]
        require(
            self.presentation_id.shape[1:] == self.session_id.shape,
            f"Responses: presentation_id {self.presentation_id.shape} does not match {len(self.session_id)} sessions",
        )
        require(
            self.window_s.shape == (n_windows, 2),
            f"Responses: window_s {self.window_s.shape} does not match {n_windows} windows of counts",
        )
        require(
            bool(np.all(np.abs(self.window_s) <= LONGEST_WINDOW_S)),
            f"Responses: window_s is {self.window_s.tolist()}, expected seconds, up to {LONGEST_WINDOW_S:g} from onset",
        )
        require(len(self.units) == n_units, f"Responses: {len(self.units)} units listed, {n_units} counted")

    @property
    def units(self) -> UnitTable:
        """The unit table, (n_units,) rows."""
        return UnitTable(**{f.name: getattr(self, f"unit_{f.name}") for f in fields(UnitTable)})

    @classmethod
    def make(
        cls,
        *,
        counts: np.ndarray,
        image_id: np.ndarray,
        presentation_id: np.ndarray,
        session_id: np.ndarray,
        window_s: np.ndarray,
        units: UnitTable,
    ) -> Self:
        """A record from its parts, with the unit table as one."""
        columns = {f"unit_{f.name}": getattr(units, f.name) for f in fields(UnitTable)}
        return cls(counts, image_id, presentation_id, session_id, window_s, **columns)


@dataclass(frozen=True)
class LibraryResponses(Npz):
    """How encoding models would answer the images of the library, with a draw of their noise.

    image_id : int64, (n_images,), unique.
    values : float32, (n_models, n_images, n_columns); of the model of each fold, the last one of all images. Columns as
        in `preprocessing.response_matrix`.
    """

    image_id: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        unique("LibraryResponses", "image_id", self.image_id)
        require(
            self.values.ndim == 3 and self.values.shape[1] == len(self.image_id) and self.values.dtype == np.float32,
            f"LibraryResponses: values is {self.values.dtype} {self.values.shape}, expected float32 "
            f"(model, {len(self.image_id)} images, column)",
        )
        require(np.isfinite(self.values).all(), "LibraryResponses: values are not finite")
