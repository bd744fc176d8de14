"""A session of the size that the Allen Institute publishes, read as it is: 2 GB, 5,950 presentations, 2,400 units.

The file is made here and removed afterwards. Counting and extracting run in a process of their own, whose largest
memory is measured.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import allen_files
import h5py
import numpy as np
import pytest
from bucket import serving
from conftest import ROOT

from spikevaediff.datasets import allen
from spikevaediff.files.remote_file import RemoteFile
from spikevaediff.recordings import nwb_extract

N_UNITS, DURATION_S, RATE_HZ = 2400, 9500.0, 4.0
SAMPLES = 82  # of a waveform, on each of 384 channels

MEASURED = """
import json, sys, time
from pathlib import Path
from spikevaediff.recordings import nwb_extract
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits

def peak_mb():  # not ru_maxrss, which begins with what the process that started this one had
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

source, out = sys.argv[1:]
options = dict(areas=["VISp", "VISl", "LGd", "CA1"], windows_s=[[0.04, 0.29], [0.0, 0.25]], min_units=5)
found = {}
for name, limits in (
    ("filter_on", Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)),
    ("filter_off", Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)),
):
    started, cpu = time.monotonic(), time.process_time()
    counts = read_responses(source, limits=limits, **options).counts
    found[name] = {
        "seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu, "shape": counts.shape,
        "total": int(counts.sum(dtype=int)), "peak_mb": peak_mb(),
    }
    del counts
started, cpu = time.monotonic(), time.process_time()
nwb_extract.extract(source, out, margin_s=1.0)
found["extract"] = {"seconds": time.monotonic() - started, "cpu_s": time.process_time() - cpu,
    "peak_mb": peak_mb()}
of_extract = read_responses(out, limits=limits, **options).counts
found["extract"] |= {"total": int(of_extract.sum(dtype=int))}
print(json.dumps(found))
"""


def fill(path: Path) -> int:
    """Spikes, amplitudes and waveforms at full size in a small session, column by column; returns the spikes made."""
    rng = np.random.default_rng(0)
    with h5py.File(path, "r+") as file:
        attributes = {name: dict(file[f"units/{name}"].attrs) for name in ("spike_times", "spike_amplitudes")}
        n_spikes = rng.poisson(RATE_HZ * DURATION_S, N_UNITS)
        ends = np.cumsum(n_spikes)
        file["units/firing_rate"][...] = n_spikes / DURATION_S
        columns = {}
        for name in attributes:
            del file[f"units/{name}"]
            columns[name] = file.create_dataset(f"units/{name}", shape=(ends[-1],), dtype=np.float64)
            file[f"units/{name}_index"][...] = 0
            del file[f"units/{name}_index"]
            file[f"units/{name}_index"] = ends
        amplitudes = rng.normal(1e-4, 1e-5, n_spikes.max())
        for n, end in zip(n_spikes.tolist(), ends.tolist(), strict=True):
            gaps = rng.standard_exponential(n + 1)
            times = np.cumsum(gaps)
            columns["spike_times"][end - n : end] = times[:-1] * (DURATION_S / times[-1])
            columns["spike_amplitudes"][end - n : end] = amplitudes[:n]
        del file["units/waveform_mean"], file["units/waveform_mean_index"]
        waveforms = file.create_dataset("units/waveform_mean", shape=(N_UNITS * 384, SAMPLES), dtype=np.float64)
        block = rng.normal(0, 1e-5, (384 * 40, SAMPLES))
        for first in range(0, len(waveforms), len(block)):
            waveforms[first : first + len(block)] = block
        file["units/waveform_mean_index"] = 384 * np.arange(1, N_UNITS + 1)
    return int(ends[-1])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "session_700000009.nwb"
    # The spikes of the small session are replaced, so it may have few.
    allen_files.session(path, 700000009, n_images=118, n_repeats=50, units_per_area=N_UNITS // 4, spikes=False)
    fill(path)
    yield path
    path.unlink()


@pytest.mark.slow
def test_a_recording_of_two_gigabytes_is_counted_within_a_minute_and_little_memory(large: Path, tmp_path: Path) -> None:
    assert large.stat().st_size > 2e9
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, str(large), str(tmp_path / "extract.nwb")],
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    print(json.dumps(found | {"bytes": large.stat().st_size, "load": os.getloadavg()[0]}))
    busy = os.getloadavg()[0] > (os.cpu_count() or 1)
    for name, n_units in (("filter_on", 1920), ("filter_off", 2280)):
        measured = found[name]
        assert measured["shape"] == [5949, n_units, 2]  # one presentation lies in an invalid time
        assert measured["cpu_s" if busy else "seconds"] < 60
        assert measured["peak_mb"] < 1500
        expected = RATE_HZ * 0.5 * 5949 * n_units
        assert measured["total"] == pytest.approx(expected, rel=0.01)
    assert found["extract"]["total"] == found["filter_off"]["total"]
    assert found["extract"]["peak_mb"] < 1500
    assert found["extract"]["cpu_s" if busy else "seconds"] < 60
    assert (tmp_path / "extract.nwb").stat().st_size < 0.15 * large.stat().st_size
    with h5py.File(tmp_path / "extract.nwb") as file:
        assert set(file["processing"]) == {"running", "stimulus", "filtered_gaze_mapping"}


@pytest.mark.slow
def test_a_recording_of_two_gigabytes_is_extracted_in_parts_from_its_server(large: Path, tmp_path: Path) -> None:
    nwb_extract.extract(large, tmp_path / "whole.nwb", margin_s=1.0)
    size, name = large.stat().st_size, large.name
    with serving(large.parent) as bucket, RemoteFile(bucket.url + name, tmp_path / "kept", n_bytes=size) as source:
        nwb_extract.extract(source, tmp_path / "parts.nwb", margin_s=1.0, ahead=source.fetch)
        sent, asked = bucket.n_sent[name], len(bucket.asked)
        nwb_extract.extract(source, tmp_path / "again.nwb", margin_s=1.0, ahead=source.fetch)
        assert len(bucket.asked) == asked
    print(json.dumps({"bytes": size, "sent": sent, "requests": asked}))
    assert (tmp_path / "parts.nwb").read_bytes() == (tmp_path / "whole.nwb").read_bytes()
    assert (tmp_path / "again.nwb").read_bytes() == (tmp_path / "whole.nwb").read_bytes()
    # 19 of 20 units could be used, and of these all spikes are read, to see that they are in seconds.
    spikes = 0.95 * 8 * RATE_HZ * DURATION_S * N_UNITS
    assert spikes < sent < 1.1 * spikes + 25e6
    assert sent == pytest.approx(allen.PARTS * size, rel=0.15)  # what `spikevaediff plan` says beforehand
