# /// script
# requires-python = ">=3.11,<3.12"
# dependencies = ["allensdk==2.16.2", "hdmf<4", "ndx-events==0.2.1", "pynwb==2.8.3", "numpy<1.24", "setuptools<81"]
# ///
"""Recordings by way of allensdk itself, in an environment of its own (allensdk_environment.py):

    python src/spikevaediff/recordings/by_allensdk.py fetch CACHE N_IMAGES MOVIES SESSION_ID...
    python src/spikevaediff/recordings/by_allensdk.py read SESSION.nwb OUT.npz ...

Above is what it needs: freshly installed, allensdk brings an hdmf that it cannot work with and a setuptools without
pkg_resources, hence the other pins. by_allensdk.txt holds what that comes to, with hashes; to renew it, in this folder:

    uv export --script by_allensdk.py --format requirements-txt --no-header --no-annotate --output-file by_allensdk.txt

`fetch` fills the folder
CACHE with the sessions, the templates of the natural scenes and of movies (numbers joined by commas: 1,3; - for none)
and the tables of sessions, probes, channels and units, under the names that the project's own download uses as well.
`read` writes what allensdk finds in each session file, for comparison.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

warnings.simplefilter("ignore")
from allensdk.brain_observatory.ecephys.ecephys_project_cache import EcephysProjectCache  # noqa: E402
from allensdk.brain_observatory.ecephys.ecephys_session import EcephysSession  # noqa: E402

WINDOWS_S = [(0.0, 0.25), (0.05, 0.3)]
TRIES, TIMEOUT_S = 3, 1800


def fetch(folder: Path, n_images: int, movies: list[int], session_ids: list[int]) -> None:
    """Have allensdk fetch what its cache lacks, and open each file once."""
    cache = EcephysProjectCache.from_warehouse(
        manifest=str(folder / "manifest.json"), fetch_tries=TRIES, timeout=TIMEOUT_S
    )
    known = cache.get_session_table()
    unknown = [number for number in session_ids if number not in known.index]
    if unknown:
        raise SystemExit(f"allensdk knows no session {unknown}; it knows {len(known)}")
    units = cache.get_units(
        amplitude_cutoff_maximum=np.inf, presence_ratio_minimum=-np.inf, isi_violations_maximum=np.inf
    )
    for image_id in range(n_images):
        cache.get_natural_scene_template(image_id)
    for movie in movies:
        cache.get_natural_movie_template(movie)
    for number in session_ids:
        session = cache.get_session_data(number)
        listed = units.index[units["ecephys_session_id"] == number]
        print(f"session {number}: {len(session.units)} of {len(listed)} good units pass the filter", flush=True)


def read(path: Path, out: Path) -> None:
    """Units, presentations, counts, spikes, running speed and pupil of a session, with allensdk's default filter."""
    session = EcephysSession.from_nwb_path(str(path))
    scenes = session.get_stimulus_table("natural_scenes")
    found = {"unit_id": session.units.index.values}
    # The name of the column depends on the way the session was opened.
    area = [name for name in ("ecephys_structure_acronym", "structure_acronym") if name in session.units]
    found["area"] = session.units[area[0]].values.astype(str)
    for name in ("probe_id", "snr", "isi_violations", "amplitude_cutoff", "presence_ratio"):
        found[name] = session.units[name].values
    ccf = [f"{axis}_ccf_coordinate" for axis in ("anterior_posterior", "dorsal_ventral", "left_right")]
    found["ccf_um"] = session.units[ccf].values.astype(float)
    found["presentation_id"] = scenes.index.values
    for name in ("frame", "start_time", "stop_time"):
        found[name] = scenes[name].values.astype(float)
    running = session.running_speed
    found["running_start_s"] = running["start_time"].values
    found["running_stop_s"] = running["end_time"].values
    found["running_cm_per_s"] = running["velocity"].values
    gaze = session.get_screen_gaze_data(include_filtered_data=True)
    if gaze is not None:
        found["pupil_s"], found["pupil_area"] = gaze.index.values, gaze["filtered_pupil_area"].values
    units = found["unit_id"]
    for number, window in enumerate(WINDOWS_S):
        counts = session.presentationwise_spike_counts(window, scenes.index.values, units)
        found[f"counts_{number}"] = counts.values.reshape(len(scenes), len(units)).astype(np.uint16)
    np.savez(out, **found)


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "fetch":
        movies = [] if words[2] == "-" else [int(word) for word in words[2].split(",")]
        fetch(Path(words[0]), int(words[1]), movies, [int(word) for word in words[3:]])
    elif verb == "read":
        for path, out in zip(words[::2], words[1::2], strict=True):
            read(Path(path), Path(out))
    else:
        raise SystemExit(__doc__)
