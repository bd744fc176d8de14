"""Files as the Allen Institute publishes them, synthetic: session files with all that a recording has, and templates.

Built with h5py from the layout of a published session: the tables that the pipeline reads, and beside them what it must
leave alone (other stimuli, optotagging, waveforms, amplitudes, raw gaze).
"""

import csv
import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image

from spikevaediff.recordings import allensdk_environment
from spikevaediff.recordings.nwb_writer import MoviePresentations, Recording, write

HEIGHT, WIDTH = 46, 59  # the aspect of 918 x 1174
AREAS = ["VISp", "VISl", "LGd-sh", "CA1"]
N_CHANNELS = 384
PROBES = ["probeA", "probeB"]


def templates(folder: Path, n_images: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    """natural_scene_<n>.tiff, grey; images are smooth and differ."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(7)
    for image_id in range(n_images):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8), dtype=np.uint8))
        coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(folder / f"natural_scene_{image_id}.tiff")


def movie_template(folder: Path, pixels: np.ndarray, number: int = 1) -> None:
    """natural_movie_<n>.h5, which is a NumPy file as published."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"natural_movie_{number}.h5").open("wb") as file:
        np.save(file, pixels)


def manifest(
    base_url: str, folder: Path, session_ids: list[int], n_images: int, size: tuple[int, int] = (HEIGHT, WIDTH)
) -> dict:
    """As vendor/data/allen/manifest.json, for these sessions, which lie in the folder, and these images."""
    sessions = []
    for number in session_ids:
        content = (folder / f"session_{number}/session_{number}.nwb").read_bytes()
        known = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "dandi_blob": f"abcdef-{number}"}
        sessions.append({"session_id": number, "at_chance": False} | known)
    return {
        "licence": "made up for tests",
        "citation": ["nobody"],
        "base_url": base_url,
        "dandi": {"name": "DANDI 000021", "blobs": f"{base_url}blobs/"},
        "facts": {},
        "session_file": "session_{session_id}/session_{session_id}.nwb",
        "sessions": sessions,
        "templates": {
            "file": "natural_scene_templates/natural_scene_{image_id}.tiff",
            "n_images": n_images,
            "height": size[0],
            "width": size[1],
            "approximate_bytes": 3000,
            "sha256": {},
            "fingerprints": [],
        },
    }


def write_manifest(folder: Path, content: dict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def recording(
    session_id: int,
    *,
    n_images: int,
    n_repeats: int,
    units_per_area: int,
    seed: int = 0,
    spikes: bool = True,
    movie_frames: int = 0,
    movie_repeats: int = 0,
) -> Recording:
    """Three blocks of scenes with other stimuli in between; every fifth unit fails the filter in one way or another.

    Natural movie one comes after them, where it is asked for, in two blocks.

    Without `spikes` each unit has one, for a caller who puts in others.
    """
    rng = np.random.default_rng([seed, session_id])
    n = (n_images + 1) * n_repeats
    image_id = np.concatenate([rng.permutation(np.arange(-1, n_images)) for _ in range(n_repeats)])
    frames_each, gap = 15, 3000
    n_movie = movie_frames * movie_repeats
    n_flips = 2 * gap + 600 + n * frames_each + 600
    frame_s = 20.0 + np.arange(n_flips + (2 * n_movie + 4200) * (n_movie > 0)) / 60 * 1.0008
    movie_starts = n_flips + 2 * np.arange(n_movie) + gap * (np.arange(n_movie) >= n_movie // 2)
    starts = 600 + np.arange(n) * frames_each + gap * (np.arange(n) * 3 // n)
    frames = np.column_stack([starts, starts + frames_each])
    block = 2.0 + np.arange(n) * 3 // n
    spontaneous = np.array([[0, 590], [starts[-1] + frames_each, len(frame_s) - 1]])
    n_units = units_per_area * len(AREAS)
    channel = 850_000_000 + np.arange(N_CHANNELS * len(PROBES))
    electrodes = {
        "id": channel,
        "location": np.array([["None", *AREAS][(i // 20) % (len(AREAS) + 1)] for i in range(len(channel))]),
        "group_name": np.repeat(PROBES, N_CHANNELS),
        "probe_vertical_position": np.tile(np.arange(N_CHANNELS) * 10, 2),
        "probe_horizontal_position": np.tile([43, 11, 59, 27], len(channel) // 4),
        "probe_id": np.repeat([810_000_001, 810_000_002], N_CHANNELS),
        "local_index": np.tile(np.arange(N_CHANNELS), 2),
        "valid_data": np.arange(len(channel)) != 30,
        **{axis: rng.uniform(1000, 9000, len(channel)) for axis in "xyz"},
    }
    rows = np.concatenate(
        [
            rng.choice(np.flatnonzero((electrodes["location"] == area) & electrodes["valid_data"]), units_per_area)
            for area in AREAS
        ]
    )
    flaw = np.where(np.arange(n_units) % 5 == 4, np.arange(n_units) // 5 % 4, -1)
    duration = frame_s[-1] + 5
    tuning = rng.lognormal(0, 0.8, (n_units, n_images + 1))
    spikes_s = [] if spikes else [np.array([30.0])] * n_units
    for unit in range(n_units if spikes else 0):
        rate = rng.lognormal(1.8, 0.6)
        background = rng.uniform(0, duration, rng.poisson(rate * duration / 3))
        evoked = rng.poisson(rate * 0.25 * tuning[unit, image_id + 1])
        times = np.repeat(frame_s[starts], evoked) + rng.uniform(0.04, 0.27, evoked.sum())
        spikes_s.append(np.sort(np.concatenate([background, times])))
    names = ("PT_ratio", "amplitude", "cumulative_drift", "d_prime", "isolation_distance", "l_ratio", "max_drift")
    names += ("nn_hit_rate", "nn_miss_rate", "recovery_slope", "repolarization_slope", "silhouette_score", "spread")
    names += ("velocity_above", "velocity_below", "waveform_duration", "waveform_halfwidth")
    units = {
        "id": 950_000_000 + 7 * np.arange(n_units),
        "peak_channel_id": channel[rows],
        "quality": np.where(flaw == 3, "noise", "good"),
        "isi_violations": np.where(flaw == 0, 0.9, 0.1),
        "amplitude_cutoff": np.where(flaw == 1, np.nan, 0.02),
        "presence_ratio": np.where(flaw == 2, 0.8, 0.99),
        "firing_rate": np.array([len(times) / duration for times in spikes_s]),
        "snr": rng.uniform(1, 6, n_units),
        **{name: rng.uniform(0, 1, n_units) for name in names},
    }
    shown = MoviePresentations(
        np.arange(n_movie) % max(movie_frames, 1),
        1.0 + (np.arange(n_movie) >= n_movie // 2),
        np.column_stack([movie_starts, movie_starts + 2]),
    )
    running = np.arange(20.0, duration, 1 / 60)
    bad = int(n // 2)
    invalid = (float(frame_s[starts[bad]] + 0.1), float(frame_s[starts[bad]] + 0.2), ("EcephysSession", "stimulus"))
    return Recording(
        session_id=session_id,
        frame_s=frame_s,
        image_id=image_id,
        block=block,
        frames=frames,
        spontaneous_frames=spontaneous,
        invalid=[invalid],
        probes=PROBES,
        electrodes=electrodes,
        units=units,
        spikes_s=spikes_s,
        running_s=running,
        running_cm_per_s=rng.normal(5, 10, len(running)),
        movies={"natural_movie_one": shown} if n_movie else {},
    )


def add_what_is_not_needed(path: Path, *, pupil: bool = True) -> None:
    """Pupil and raw gaze, another stimulus and optotagging, as published sessions have them."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "r+") as file:
        times = np.arange(25.0, float(file["processing/stimulus/timestamps/timestamps"][-1]), 1 / 30)
        for module in ("raw_gaze_mapping", "filtered_gaze_mapping") if pupil else ():
            group = file.create_group(f"processing/{module}")
            for name, value in {"namespace": "core", "neurodata_type": "ProcessingModule"}.items():
                group.attrs[name] = value
            group.attrs["description"] = f"Gaze mapping processing module {module.split('_')[0]} outputs"
            group.attrs["object_id"] = f"00000000-0000-5000-8000-{len(module):012d}"
            for number, name in enumerate(
                ("eye_area", "pupil_area", "screen_coordinates", "screen_coordinates_spherical")
            ):
                values = rng.uniform(0.001, 0.007, (len(times), 2) if "screen" in name else len(times))
                values[rng.random(len(times)) < 0.05] = np.nan
                file.copy(file["processing/running/running_speed"], group, name=name)
                del group[name]["data"], group[name]["timestamps"]
                group[name].attrs["object_id"] = f"00000000-0000-5000-8000-{len(module):06d}{number:06d}"
                data = group[name].create_dataset("data", data=values)
                for key, value in {"conversion": 1.0, "offset": 0.0, "resolution": -1.0, "unit": "m^2"}.items():
                    data.attrs[key] = value
                stamps = group[name].create_dataset("timestamps", data=times)
                stamps.attrs["interval"], stamps.attrs["unit"] = 1, "seconds"
        file.copy(file["intervals/spontaneous_presentations"], file["intervals"], name="flashes_presentations")
        flashes = file["intervals/flashes_presentations"]
        flashes["stimulus_name"][:] = "flashes"
        flashes["timeseries"][...] = file["intervals/spontaneous_presentations/timeseries"][:]
        for name in ("tags", "timeseries"):  # a copy of a reference points nowhere
            flashes[f"{name}_index"].attrs["target"] = flashes[name].ref
        for item in (flashes, *flashes.values()):
            item.attrs["object_id"] = f"00000000-0000-5000-8000-{abs(hash(item.name)) % 10**12:012d}"
        opto = file.create_group("processing/optotagging")
        for name, value in {"namespace": "core", "neurodata_type": "ProcessingModule"}.items():
            opto.attrs[name] = value
        opto.attrs["description"], opto.attrs["object_id"] = "optogenetics", "00000000-0000-5000-8000-999999999999"
        file.copy(file["processing/running/running_speed"], opto, name="optotagging")
        opto["optotagging"].attrs["object_id"] = "00000000-0000-5000-8000-999999999998"


def session(path: Path, session_id: int, *, pupil: bool = True, seed: int = 0, **sizes: int) -> Recording:
    """Write a session file; `sizes` as `recording`."""
    made = recording(session_id, seed=seed, **sizes)
    write(made, path)
    add_what_is_not_needed(path, pupil=pupil)
    return made


def project_tables(cache: Path, number: int) -> None:
    """The tables of sessions, probes, channels and units that AllenSDK keeps in its cache, for a session in it."""

    def table(name: str, columns: Mapping[str, Sequence[Any] | np.ndarray]) -> None:
        with (cache / name).open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(columns)
            rows.writerows(zip(*columns.values(), strict=True))

    with h5py.File(cache / f"session_{number}/session_{number}.nwb") as file:
        electrodes, units = file["general/extracellular_ephys/electrodes"], file["units"]
        probes, first = np.unique(electrodes["probe_id"][:], return_index=True)
        n, names = len(probes), electrodes["group_name"].asstr()[:][first]
        areas = ["" if name == "None" else name.split("-")[0] for name in electrodes["location"].asstr()[:]]
        about = {"session_type": ["brain_observatory_1.1"], "age_in_days": [100.0], "sex": ["M"], "genotype": ["wt/wt"]}
        dates = {"date_of_acquisition": ["2019-01-01"], "published_at": ["2019-10-01"]}
        table("sessions.csv", {"id": [number], "specimen_id": [1], "has_nwb": [True], **about, **dates})
        sampling = {"sampling_rate": [30000.0] * n, "lfp_sampling_rate": [2500.0] * n, "phase": ["3a"] * n}
        lfp = {"lfp_temporal_subsampling_factor": [2] * n, "has_lfp_data": [False] * n}
        table("probes.csv", {"id": probes, "ecephys_session_id": [number] * n, "name": names, **sampling, **lfp})
        positions = {
            name: electrodes[name][:]
            for name in ("local_index", "probe_horizontal_position", "probe_vertical_position")
        }
        for axis, name in zip("xyz", ("anterior_posterior", "dorsal_ventral", "left_right"), strict=True):
            positions[f"{name}_ccf_coordinate"] = electrodes[axis][:]
        structures = {"ecephys_structure_id": [1 if area else "" for area in areas], "ecephys_structure_acronym": areas}
        channels = {"id": electrodes["id"][:], "ecephys_probe_id": electrodes["probe_id"][:]}
        table("channels.csv", {**channels, **positions, **structures})
        metrics = {
            name: units[name][:]
            for name in ("amplitude_cutoff", "presence_ratio", "isi_violations", "snr", "firing_rate")
        }
        listed = {"id": units["id"][:], "ecephys_channel_id": units["peak_channel_id"][:]}
        table("units.csv", {**listed, "quality": units["quality"].asstr()[:], **metrics})
        fano = {"ecephys_unit_id": units["id"][:], "fano_ns": np.ones(len(units["id"]))}
        table(f"session_{number}/session_{number}_analysis_metrics.csv", fano)


def read_by_allensdk(folder: Path, *paths: Path) -> list[dict[str, np.ndarray]]:
    """What allensdk reads from session files, in its own environment; skips the test where that cannot be built.

    `folder` is for what it writes.
    """
    outs = [folder / f"{path.stem}_read.npz" for path in paths]
    pairs = [str(one) for pair in zip(paths, outs, strict=True) for one in pair]
    try:
        command = allensdk_environment.command("read", *pairs)
    except OSError as error:
        pytest.skip(str(error))
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    assert run.returncode == 0, run.stderr
    found = []
    for out in outs:
        with np.load(out) as file:
            found.append(dict(file))
    return found
