"""Movies of the Allen data set: the part of a frame that scenes cover, what is fetched, kept and refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import allen_files
import h5py
import numpy as np
import pytest
from bucket import Bucket, serving

from spikevaediff.datasets import allen
from spikevaediff.recordings import allen_movies, movie_presentations, movies
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import Stimuli

N_FRAMES, N_REPEATS = 8, 2
ROWS, COLUMNS = [22.8, 281.2], [118.1, 489.9]
OPTIONS: dict[str, Any] = {
    **{"sessions": [700000001], "fetch": "https", "margin_s": 0.5, "size_px": 32},
    **{"movies": ["natural_movie_one"], "movie_rows": ROWS, "movie_columns": COLUMNS},
}
FILE = "natural_movie_templates/natural_movie_1.h5"


def ramps() -> np.ndarray:
    """Frames that rise along their columns, and every other one along its rows: uint8 (N_FRAMES, 304, 608)."""
    row, column = np.arange(304) + 0.5, np.arange(608) + 0.5
    along = [np.tile(column / 3, (304, 1)), np.tile(row[:, None] * 0.8, (1, 608))]
    return np.round(np.stack([along[i % 2] for i in range(N_FRAMES)])).astype(np.uint8)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    path = folder / "session_700000001/session_700000001.nwb"
    sizes = {"n_images": 4, "n_repeats": 2, "units_per_area": 3, "movie_frames": N_FRAMES, "movie_repeats": N_REPEATS}
    allen_files.session(path, 700000001, **sizes)
    allen_files.templates(folder / "natural_scene_templates", 4)
    allen_files.movie_template(folder / "natural_movie_templates", ramps())
    return folder


@pytest.fixture
def bucket(published: Path) -> Iterator[Bucket]:
    with serving(published) as running:
        yield running


@pytest.fixture
def data(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest; and a movie shorter than the real one, as the files are."""
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(allen_movies.TEMPLATES, "natural_movie_one", allen_movies.Template(1, N_FRAMES, N_REPEATS))
    content = allen_files.manifest(bucket.url, bucket.folder, [700000001], 4)
    return allen_files.write_manifest(tmp_path / "data", content)


def test_what_is_known_of_the_movies() -> None:
    """AllenSDK's documentation: 900 frames 20 times, 3,600 frames 10 times; a monitor of 1200 x 1920."""
    assert allen_movies.TEMPLATES["natural_movie_one"] == (1, 900, 20)
    assert allen_movies.TEMPLATES["natural_movie_three"] == (3, 3600, 10)
    for part, monitor, shown, scene, frame in ((ROWS, 1200, 1080, 918, 304), (COLUMNS, 1920, 1920, 1174, 608)):
        first = ((monitor - scene) / 2 - (monitor - shown) / 2) * frame / shown
        np.testing.assert_allclose(part, [first, first + scene * frame / shown], atol=0.05)


def test_the_part_of_a_frame_where_scenes_are_shown_is_taken(data: Path, tmp_path: Path) -> None:
    """A ramp stays a ramp: its value tells the place that a pixel comes from."""
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    found = Stimuli.load(tmp_path / "out/movies.npz")
    assert found.image_id.tolist() == movies.frame_ids("natural_movie_one", N_FRAMES).tolist()
    place = (np.arange(movies.SIZE_PX) + 0.5) / movies.SIZE_PX
    column = (COLUMNS[0] + place * (COLUMNS[1] - COLUMNS[0])) / 3
    row = (ROWS[0] + place * (ROWS[1] - ROWS[0])) * 0.8
    np.testing.assert_allclose(found.pixels[0], np.tile(column, (movies.SIZE_PX, 1)), atol=1)
    np.testing.assert_allclose(found.pixels[1], np.tile(row[:, None], (1, movies.SIZE_PX)), atol=1)


def test_an_extract_keeps_the_movie_that_is_asked_for(data: Path, published: Path, tmp_path: Path) -> None:
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    extract = tmp_path / "out/sessions/700000001.nwb"
    whole = published / "session_700000001/session_700000001.nwb"
    frames = movies.frame_ids("natural_movie_one", N_FRAMES)
    limits = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
    asked = {"areas": ["VISp", "CA1"], "windows_s": np.array([[0.04, 0.29]]), "min_units": 1, "limits": limits}
    counts = [
        read_responses(path, shown=movie_presentations.read(path, frames, 4), **asked).counts
        for path in (extract, whole)
    ]
    np.testing.assert_array_equal(*counts)
    assert counts[0].shape[0] == 2 * N_REPEATS
    sources = json.loads((tmp_path / "out/sessions/sources.json").read_text())
    assert sources["files"][FILE]["bytes"] == (published / FILE).stat().st_size
    allen.acquire(data, tmp_path / "parts", **OPTIONS | {"fetch": "stream"})
    assert (tmp_path / "parts/sessions/700000001.nwb").read_bytes() == extract.read_bytes()
    allen.acquire(data, tmp_path / "without", **OPTIONS | {"movies": []})
    assert len(Stimuli.load(tmp_path / "without/movies.npz").image_id) == 0
    with h5py.File(tmp_path / "without/sessions/700000001.nwb") as file:
        assert "natural_movie_one_presentations" not in file["intervals"]


def test_a_template_that_was_altered_or_is_another_is_refused(data: Path, published: Path, tmp_path: Path) -> None:
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    path = tmp_path / "cache/allen" / FILE
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"natural_movie_1\.h5 has sha256 .*, when it was fetched it had .*: it was"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    noted = tmp_path / "cache/allen_sha256" / f"{FILE}.sha256"
    for wrong, message in (
        (content[:-100], r"natural_movie_1\.h5 is not a NumPy file or damaged"),
        (b"x" * 50, r"natural_movie_1\.h5 is not a NumPy file or damaged"),
    ):
        noted.unlink()
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=message):
            allen.acquire(data, tmp_path / "out", **OPTIONS)
    noted.unlink()
    allen_files.movie_template(path.parent, ramps()[:5])
    with pytest.raises(ValueError, match=r"holds uint8 \(5, 304, 608\), expected uint8 \(8, 304, 608\) \(frame, row, "):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_another_number_of_showings_stops_before_anything_is_written(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(allen_movies.TEMPLATES, "natural_movie_one", allen_movies.Template(1, N_FRAMES, 20))
    expected = "natural_movie_one is 8 frames, 2 to 2 times each, expected 8 frames, 20 to 20 times each"
    with pytest.raises(ValueError, match=expected):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert not list(tmp_path.glob("out/*.npz")) + list(tmp_path.glob("out/sessions/*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"movies": ["natural_movie_two"]}, r"datasets\.allen\.movies is \['natural_movie_two'\], expected some of"),
        ({"movie_rows": [10.0, 305.0]}, r"movie_rows is \[10\.0, 305\.0\], expected \[first, last\] of the 304 rows"),
        ({"movie_columns": [50.0, 50.0]}, r"movie_columns is \[50\.0, 50\.0\], expected \[first, last\] of the 608"),
    ],
)
def test_options_that_cannot_be_are_refused(
    data: Path, bucket: Bucket, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        allen.acquire(data, tmp_path / "out", **OPTIONS | options)
    assert bucket.asked == []
