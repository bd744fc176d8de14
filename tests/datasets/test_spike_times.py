"""The examples of docs/recordings.md that turn spike times into a table and into NWB are run, and agree."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from spikevaediff.datasets.plain_format import plain_folder
from spikevaediff.recordings import sessions
from spikevaediff.recordings.unit_filter import Limits

SECTION = (ROOT / "docs/recordings.md").read_text().partition("\n## Spike times\n")[2].partition("\n## ")[0]
TABLE, NWB = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
UNLIMITED = Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """What the page takes for given, and its folder without sessions."""
    folder, rng = tmp_path / "vendor/data/mine", np.random.default_rng(0)
    for name in ("images", "sessions"):
        (folder / name).mkdir(parents=True)
    for number in range(5):
        Image.fromarray(rng.integers(0, 256, (20, 30), np.uint8)).save(folder / f"images/{number}.png")
    rows = "".join(f"{number},{number}.png,\n" for number in range(5))
    (folder / "images.csv").write_text(f"image_id,file,caption\n{rows}")
    (folder / "units.csv").write_text("session_id,unit_id,area\n1,4,V1\n1,7,V4\n1,9,V4\n")
    monkeypatch.chdir(tmp_path)
    onset_s = 2.0 + 0.5 * np.arange(40)
    return {
        "spikes_s": [np.sort(rng.uniform(0, 25, n)) for n in (900, 200, 400)],
        "onset_s": onset_s,
        "offset_s": onset_s + 0.25,
        "shown": rng.permutation(np.repeat(np.arange(5), 8)),
        "ids": np.array([4, 7, 9]),
        "areas": ["V1", "V4", "V4"],
    }


def test_spike_times_are_counted_into_a_table_and_written_as_nwb(recording: dict[str, object]) -> None:
    for example in (TABLE, NWB):
        exec(compile(example, "docs/recordings.md", "exec"), dict(recording))
    found = plain_folder.examine(Path("vendor/data/mine"))
    assert found.problems == []
    assert found.tables[1].window_s is not None
    counted = sessions.read_responses(
        Path("vendor/data/mine/sessions/2.nwb"),
        areas=["V1", "V4"],
        windows_s=found.tables[1].window_s,
        limits=UNLIMITED,
        min_units=1,
    )
    np.testing.assert_array_equal(found.tables[1].responses, counted.counts)
    np.testing.assert_array_equal(found.tables[1].image_id, counted.image_id)
    assert counted.counts.sum() > 100
    assert counted.units.area.tolist() == ["V1", "V4", "V4"]


def test_a_file_must_hold_every_dataset_that_the_page_lists(recording: dict[str, object]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", SECTION, re.MULTILINE)
    listed = []
    for row in rows:
        first, *others = re.findall(r"`([^`]+)`", row)
        listed += [first, *(name.replace("...", first.rpartition("/")[0]) for name in others)]
    given = dict(recording)
    exec(compile(NWB, "docs/recordings.md", "exec"), given)
    assert sorted(listed) == sorted(given["columns"])  # type: ignore[call-overload]
    path = Path("vendor/data/mine/sessions/2.nwb")
    whole = path.read_bytes()
    assert plain_folder.examine(Path("vendor/data/mine")).problems == []
    for name in listed:
        path.write_bytes(whole)
        with h5py.File(path, "a") as file:
            del file[name]
        assert plain_folder.examine(Path("vendor/data/mine")).problems, name
