"""Writes a session in the layout of the Allen Visual Coding Neuropixels files (NWB 2.7), with plain h5py.

So a simulated session is read by the same code as a recorded one, by pynwb and by allensdk. pynwb could write it as
well, but stamps random object ids and the time of day into the file, and DVC knows a result by its bytes. Here object
ids follow from session and path (UUID version 5), dates are fixed and HDF5 keeps no times: the same session is the
same file. The schema of NWB itself, which every reader has, is not copied into the file; the extension of the Allen
Institute is described in it, in the three types that are used, since readers know it from the file alone.
"""

import json
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from spikevaediff.files.atomic import replacing

_DATE = "2019-01-01T12:00:00+00:00"
_TEXT = h5py.string_dtype("utf-8")
_ALLEN = "ndx-aibs-ecephys"
_ELECTRODES = "general/extracellular_ephys/electrodes"
_FLIPS = "processing/stimulus/timestamps"
_SAMPLE_HZ, _LFP_HZ = 29999.95, 1249.998


class MoviePresentations(NamedTuple):
    """Which frame of a movie was shown when.

    frame, block : int64, (n_presentations,).
    frames : int64, (n_presentations, 2); first and last-plus-one monitor frame.
    """

    frame: np.ndarray
    block: np.ndarray
    frames: np.ndarray


@dataclass(frozen=True)
class Recording:
    """What a session file is made of.

    session_id : int
    frame_s : float64, (n_frames,); when each frame of the monitor began, seconds.
    image_id, block : int64, (n_presentations,); of the natural scenes, in order; -1 is the blank.
    frames : int64, (n_presentations, 2); first and last-plus-one monitor frame.
    spontaneous_frames : int64, (n_intervals, 2); the same for the grey screens in between.
    invalid : (start in s, stop in s, tags) of times that must not be used.
    probes : names; number 810000001 and on in this order.
    electrodes : columns, each (n_electrodes,); at least "id", "location" and "group_name" (a probe).
    units : columns, each (n_units,); at least "id" and "peak_channel_id" (the id of an electrode).
    spikes_s : one float64 (n_spikes,) per unit, sorted, seconds.
    running_s, running_cm_per_s : float64, (n_samples,).
    movies : MoviePresentations by the name of the movie.
    """

    session_id: int
    frame_s: np.ndarray
    image_id: np.ndarray
    block: np.ndarray
    frames: np.ndarray
    spontaneous_frames: np.ndarray
    invalid: Sequence[tuple[float, float, tuple[str, ...]]]
    probes: Sequence[str]
    electrodes: Mapping[str, np.ndarray]
    units: Mapping[str, np.ndarray]
    spikes_s: Sequence[np.ndarray]
    running_s: np.ndarray
    running_cm_per_s: np.ndarray
    movies: Mapping[str, MoviePresentations] = field(default_factory=dict)


class _Ragged(NamedTuple):
    """A column with several values per row: all of them, and where each row ends."""

    flat: np.ndarray
    ends: np.ndarray


def write(recording: Recording, path: str | Path) -> None:
    """Write a session file; the same recording gives the same bytes.

    Parameters
    ----------
    recording : Recording
    path : str or Path
        Appears whole or not at all.

    Raises
    ------
    ValueError
        Spike trains do not match the units, or a unit's channel or an electrode's probe is not listed.
    OSError
        No right to write, or the disk is full.
    """
    r = recording
    if len(r.spikes_s) != len(r.units["id"]):
        raise ValueError(f"{len(r.spikes_s)} spike trains for {len(r.units['id'])} units, expected one each")
    for what, wanted, listed in (
        ("peak_channel_id", r.units["peak_channel_id"], r.electrodes["id"]),
        ("group_name", r.electrodes["group_name"], np.asarray(r.probes)),
    ):
        unknown = np.setdiff1d(wanted, listed)
        if len(unknown):
            raise ValueError(f"{what} {', '.join(map(str, unknown[:5]))} is not among the {len(listed)} listed")
    try:
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            _write_root(file, r.session_id)
            _write_probes(file, r)
            _write_running(file, r)
            _write_stimuli(file, r)
            _write_units(file, r)
            _write_extension(file)
    except (OSError, RuntimeError) as error:
        # On a full disk HDF5 can neither write nor close the file, and the second error hides the reason.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError) or cause.errno is None:
            raise
        raise OSError(cause.errno, os.strerror(cause.errno), str(path)) from error


# ---- building blocks of NWB


def typed(item: h5py.Group | h5py.Dataset, kind: str, namespace: str, *, maker: str = "spikevaediff") -> None:
    """Give an object the attributes by which NWB knows what it is; its id follows from maker, session and path."""
    session_id = item.file["identifier"].asstr()[()]
    item.attrs["namespace"], item.attrs["neurodata_type"] = namespace, kind
    item.attrs["object_id"] = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{maker}/{session_id}{item.name}"))


def _group(file: h5py.File, path: str, kind: str, namespace: str = "core", **attributes: object) -> h5py.Group:
    group = file.create_group(path)
    for name, value in attributes.items():
        group.attrs[name] = value
    typed(group, kind, namespace)
    return group


def _dataset(file: h5py.File, path: str, data: np.ndarray, **options: object) -> h5py.Dataset:
    if data.dtype.kind == "U":
        return file.create_dataset(path, data=data.astype(object), dtype=_TEXT, **options)
    return file.create_dataset(path, data=data, **options)


def _column(file: h5py.File, path: str, data: np.ndarray | _Ragged, description: str) -> h5py.Dataset:
    name = path.rsplit("/", 1)[1]
    flat = data.flat if isinstance(data, _Ragged) else data
    # Megabytes of one and the same number; everything else is written plainly, so that reading it is fast.
    packed = {"compression": "gzip", "chunks": True} if name == "spike_amplitudes" else {}
    column = _dataset(file, path, flat, **packed)
    column.attrs["description"] = description
    if name == "timeseries":
        typed(column, "TimeSeriesReferenceVectorData", "core")
    else:
        typed(column, "VectorData", "hdmf-common")
    if isinstance(data, _Ragged):
        index = _dataset(file, f"{path}_index", data.ends.astype(np.min_scalar_type(data.ends[-1])))
        index.attrs["description"] = f"Index for VectorData '{name}'"
        index.attrs["target"] = column.ref
        typed(index, "VectorIndex", "hdmf-common")
    return column


def _table(
    file: h5py.File,
    path: str,
    kind: str,
    about: str,
    ids: np.ndarray,
    columns: Mapping[str, tuple[np.ndarray | _Ragged, str]],
) -> None:
    """A table: for every column its values and what they are."""
    namespace = "hdmf-common" if kind == "DynamicTable" else "core"
    names = np.array(list(columns), dtype=object)
    _group(file, path, kind, namespace, description=about).attrs.create("colnames", names, dtype=_TEXT)
    typed(_dataset(file, f"{path}/id", ids), "ElementIdentifiers", "hdmf-common")
    for name, (data, description) in columns.items():
        _column(file, f"{path}/{name}", data, description)


def _series(file: h5py.File, path: str, data: np.ndarray, times_s: np.ndarray, unit: str) -> None:
    _group(file, path, "TimeSeries", comments="no comments", description="no description")
    samples = _dataset(file, f"{path}/data", data)
    for name, value in (("conversion", 1.0), ("offset", 0.0), ("resolution", -1.0), ("unit", unit)):
        samples.attrs[name] = value
    times = _dataset(file, f"{path}/timestamps", times_s)
    times.attrs["interval"], times.attrs["unit"] = 1, "seconds"


# ---- the parts of a session


def _write_root(file: h5py.File, session_id: int) -> None:
    for path, text in {
        "identifier": str(session_id),
        "session_description": "Data and metadata for an Ecephys session",
        "session_start_time": _DATE,
        "timestamps_reference_time": _DATE,
        "general/institution": "SIMULATED by SpikeVAEDiff, not a recording",
        "general/session_id": str(session_id),
        "general/stimulus": "brain_observatory_1.1",
        "general/subject/age": "P100D",
        "general/subject/description": "simulated",
        "general/subject/genotype": "wt/wt",
        "general/subject/sex": "M",
        "general/subject/species": "Mus musculus",
        "general/subject/strain": "n/a",
        "general/subject/subject_id": str(session_id),
    }.items():
        file.create_dataset(path, data=text, dtype=_TEXT)
    _dataset(file, "file_create_date", np.array([_DATE]))
    for path in ("acquisition", "analysis", "stimulus/presentation", "stimulus/templates"):
        file.create_group(path)
    file.attrs["nwb_version"] = "2.7.0"
    typed(file, "NWBFile", "core")
    subject = file["general/subject"]
    subject.attrs["age_in_days"], subject.attrs["specimen_name"] = 100.0, f"simulated-{session_id}"
    typed(subject, "EcephysSpecimen", _ALLEN)
    file["general/subject/age"].attrs["reference"] = "birth"


def _write_probes(file: h5py.File, r: Recording) -> None:
    groups = {}
    for number, name in enumerate(r.probes, start=810_000_001):
        device = {"description": "Neuropixels 1.0 Probe", "manufacturer": "imec", "sampling_rate": _SAMPLE_HZ}
        _group(file, f"general/devices/{name}", "EcephysProbe", _ALLEN, probe_id=number, **device)
        lfp = {"has_lfp_data": False, "lfp_sampling_rate": _LFP_HZ, "location": "See electrode locations"}
        path, kind, about = f"general/extracellular_ephys/{name}", "EcephysElectrodeGroup", "Ecephys Electrode Group"
        groups[name] = _group(file, path, kind, _ALLEN, probe_id=number, description=about, **lfp)
        groups[name]["device"] = h5py.SoftLink(f"/general/devices/{name}")
    n = len(r.electrodes["id"])
    described = {
        "location": "the location of channel within the subject e.g. brain region",
        "group_name": "the name of the ElectrodeGroup this electrode is a part of",
        "probe_vertical_position": "um",
        "probe_horizontal_position": "um",
        "probe_id": "probe",
        "local_index": "index on probe",
        "valid_data": "usable",
        "x": "the x coordinate of the position (+x is posterior)",
        "y": "the y coordinate of the position (+y is inferior)",
        "z": "the z coordinate of the position (+z is right)",
    }
    references = np.array([groups[name].ref for name in r.electrodes["group_name"]], dtype=h5py.ref_dtype)
    filters = np.full(n, "AP band: 500 Hz high-pass; LFP band: 1000 Hz low-pass")
    columns = {
        **{name: (values, described.get(name, name)) for name, values in r.electrodes.items() if name != "id"},
        "group": (references, "a reference to the ElectrodeGroup this electrode is a part of"),
        "imp": (np.full(n, np.nan), "the impedance of the electrode, in ohms"),
        "filtering": (filters, "description of hardware filtering"),
    }
    _table(file, _ELECTRODES, "DynamicTable", "metadata about extracellular electrodes", r.electrodes["id"], columns)


def _write_running(file: h5py.File, r: Recording) -> None:
    _group(file, "processing/running", "ProcessingModule", description="running speed data")
    ends_s = np.append(r.running_s[1:], 2 * r.running_s[-1] - r.running_s[-2])
    _series(file, "processing/running/running_speed", r.running_cm_per_s, r.running_s, "cm/s")
    _series(file, "processing/running/running_speed_end_times", ends_s, ends_s, "cm/s")
    turned = np.zeros_like(r.running_s)  # readers want the series to be there
    _series(file, "processing/running/running_wheel_rotation", turned, r.running_s, "radians")


def _write_stimuli(file: h5py.File, r: Recording) -> None:
    _group(file, "processing/stimulus", "ProcessingModule", description="Stimulus Times processing")
    _series(file, _FLIPS, r.frame_s, r.frame_s, "s")
    scenes = {
        "stimulus_block": r.block.astype(np.float64),
        "stimulus_index": np.full(len(r.block), 5.0),  # of natural scenes in the protocol brain_observatory_1.1
        "frame": r.image_id.astype(np.float64),
    }
    _write_presentations(file, "natural_scenes", r.frames, r.frame_s, scenes)
    _write_presentations(file, "spontaneous", r.spontaneous_frames, r.frame_s, {})
    for name, shown in r.movies.items():
        told = {"stimulus_block": shown.block.astype(np.float64), "frame": shown.frame.astype(np.float64)}
        _write_presentations(file, name, shown.frames, r.frame_s, told)
    if r.invalid:
        start_s, stop_s, tags = zip(*r.invalid, strict=True)
        columns: dict[str, tuple[np.ndarray | _Ragged, str]] = {
            "start_time": (np.array(start_s), "Start time of epoch, in seconds"),
            "stop_time": (np.array(stop_s), "Stop time of epoch, in seconds"),
            "tags": (_Ragged(np.concatenate(tags), np.cumsum([len(names) for names in tags])), "user-defined tags"),
        }
        about = "time intervals to be removed from analysis"
        _table(file, "intervals/invalid_times", "TimeIntervals", about, np.arange(len(tags)), columns)


def _write_presentations(
    file: h5py.File, stimulus: str, frames: np.ndarray, frame_s: np.ndarray, more: Mapping[str, np.ndarray]
) -> None:
    """When a stimulus was on, in seconds and as a stretch of the monitor's frames."""
    n = len(frames)
    stretch = np.empty(n, [("idx_start", "<i4"), ("count", "<i4"), ("timeseries", h5py.ref_dtype)])
    stretch["idx_start"], stretch["count"] = frames[:, 0], frames[:, 1] - frames[:, 0]
    stretch["timeseries"] = file[_FLIPS].ref
    each = np.arange(1, n + 1)
    columns: dict[str, tuple[np.ndarray | _Ragged, str]] = {
        "start_time": (frame_s[frames[:, 0]], "Start time of epoch, in seconds"),
        "stop_time": (frame_s[frames[:, 1]], "Stop time of epoch, in seconds"),
        "stimulus_name": (np.full(n, stimulus), "stimulus_name"),
        **{name: (values, name) for name, values in more.items()},
        "tags": (_Ragged(np.full(n, "stimulus_time_interval"), each), "user-defined tags"),
        "timeseries": (_Ragged(stretch, each), "index into a TimeSeries object"),
    }
    about = f"Presentation times and stimuli details for '{stimulus}' stimuli"
    _table(file, f"intervals/{stimulus}_presentations", "TimeIntervals", about, np.arange(n), columns)


def _write_units(file: h5py.File, r: Recording) -> None:
    n = len(r.units["id"])
    ends = np.cumsum([len(times) for times in r.spikes_s])
    # The layout has amplitudes and waveforms, and no reader of ours looks at them: one value, one small shape.
    shape = np.exp(-((np.arange(20) - 7.0) ** 2) / 6) * -1e-4
    waveforms = np.tile(np.outer([0.3, 1.0, 0.5, 0.2], shape), (n, 1))
    given = {name: values for name, values in r.units.items() if name != "id"}
    plain = {"peak_channel_id": given.pop("peak_channel_id"), "local_index": np.arange(n), "cluster_id": np.arange(n)}
    columns: dict[str, tuple[np.ndarray | _Ragged, str]] = {
        **{name: (values, "no description") for name, values in (plain | given).items()},
        "spike_times": (_Ragged(np.concatenate(r.spikes_s), ends), "times (s) of detected spiking events"),
        "spike_amplitudes": (_Ragged(np.full(ends[-1], 1e-4), ends), "amplitude (s) of detected spiking events"),
        "waveform_mean": (_Ragged(waveforms, 4 * np.arange(1, n + 1)), "mean waveforms"),
    }
    _table(file, "units", "Units", "", r.units["id"], columns)
    file["units/waveform_mean"].attrs["unit"] = "volts"


def _write_extension(file: h5py.File) -> None:
    """The Allen Institute's additions to NWB, as far as the file uses them."""

    def kind(name: str, extends: str, doc: str, **attributes: str) -> dict[str, object]:
        fields = [{"name": name, "dtype": dtype, "doc": name.replace("_", " ")} for name, dtype in attributes.items()]
        return {"neurodata_type_def": name, "neurodata_type_inc": extends, "doc": doc, "attributes": fields}

    types = [
        kind("EcephysProbe", "Device", "a Neuropixels probe", sampling_rate="float64", probe_id="int"),
        kind(
            "EcephysElectrodeGroup",
            "ElectrodeGroup",
            "the channels of one probe",
            has_lfp_data="bool",
            probe_id="int",
            lfp_sampling_rate="float64",
        ),
        kind("EcephysSpecimen", "Subject", "the animal", specimen_name="text", age_in_days="float"),
    ]
    namespace = {
        "name": _ALLEN,
        "version": "0.2.0",
        "doc": "Allen Institute ecephys extension",
        "author": "Allen Institute for Brain Science",
        "contact": "none",
        "schema": [{"namespace": "core"}, {"source": f"{_ALLEN}.extension"}],
    }
    folder = f"specifications/{_ALLEN}/0.2.0"
    file.create_dataset(f"{folder}/namespace", data=json.dumps({"namespaces": [namespace]}), dtype=_TEXT)
    file.create_dataset(f"{folder}/{_ALLEN}.extension", data=json.dumps({"groups": types}), dtype=_TEXT)
    file.attrs[".specloc"] = file["specifications"].ref
