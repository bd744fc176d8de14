"""Recordings as plain files: what is right is read, and all that is wrong is said at once."""

import csv
import fcntl
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import small_session
from PIL import Image

from spikevaediff import __main__
from spikevaediff.datasets import plain
from spikevaediff.datasets.plain_format import plain_folder, response_tables
from spikevaediff.files import tables
from spikevaediff.recordings import sessions
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import BLANK, Captions, Responses, Stimuli
from spikevaediff.regression import split
from spikevaediff.report.read import order_unknown

N_IMAGES, N_REPEATS, UNITS = 6, 3, (11, 12, 15)
OPTIONS = {"source": "a test", "size_px": 16, "window_s": [0.05, 0.15], "margin_s": 1.0}


def write_csv(path: Path, *rows: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shown = rng.permutation(np.repeat(np.arange(BLANK, N_IMAGES), N_REPEATS))
    responses = rng.poisson(5.0, (len(shown), len(UNITS)))
    return {"responses": responses, "image_id": shown, "unit_id": np.array(UNITS)}


def units(*sessions: int) -> list[list[Any]]:
    return [[session, unit, area] for session in sessions for unit, area in zip(UNITS, ("V1", "V1", "V4"), strict=True)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path)


def folder_of(place: Path) -> Path:
    """A folder of six images, one session as npz and one as CSV."""
    folder = place / "mine"
    for name in ("images", "sessions"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = ["a.png", "b.jpg", "c.tif", "d.png", "e.bmp", "f.png"]
    for i, name in enumerate(names):
        shape = (20 + 2 * i, 30 + 3 * i, 3) if i % 2 else (20 + 2 * i, 30 + 3 * i)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / "images" / name)
    captions = [f"Picture {i}, a thing." for i in range(N_IMAGES)]
    write_csv(
        folder / "images.csv", ["image_id", "file", "caption"], *zip(range(N_IMAGES), names, captions, strict=True)
    )
    write_csv(folder / "units.csv", ["session_id", "unit_id", "area", "snr"], *[[*row, 2.5] for row in units(1, 2)])
    np.savez(folder / "sessions/1.npz", **arrays(0))
    other = arrays(1)
    rows = np.column_stack([other["image_id"], other["responses"]]).tolist()
    write_csv(folder / "sessions/2.csv", ["image_id", *UNITS], *rows)
    return folder


def test_a_good_folder_has_no_problem_and_is_summed_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["check-data", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "is ready: 2 tables of responses, 6 images, units V1 4, V4 2, 36 presentations" in said
    assert "note" not in said


def test_what_is_acquired_is_what_the_files_hold(folder: Path, tmp_path: Path) -> None:
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    assert [p.name for p in sessions.paths(tmp_path / "out/sessions")] == ["1.npz", "2.npz"]
    for session_id in (1, 2):
        found, expected = Responses.load(tmp_path / f"out/sessions/{session_id}.npz"), arrays(session_id - 1)
        np.testing.assert_array_equal(found.counts[:, :, 0], expected["responses"])
        assert found.counts.dtype == np.uint16
        np.testing.assert_array_equal(found.image_id, expected["image_id"])
        assert found.units.unit_id.tolist() == list(UNITS)
        assert found.units.area.tolist() == ["V1", "V1", "V4"]
        assert found.units.snr.tolist() == [2.5] * 3
        assert np.isnan(found.units.presence_ratio).all()
        assert found.window_s.tolist() == [[0.05, 0.15]]
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    assert stimuli.source == "a test"
    assert stimuli.pixels.shape == (6, 16, 16)
    given = Captions.load(tmp_path / "out/captions_given.csv")
    assert given.sentences[3] == ("Picture 3, a thing.",)


def test_the_same_folder_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        plain.acquire(folder, tmp_path / name, **OPTIONS)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()


def test_sixteen_bit_pictures_keep_their_greys(folder: Path, tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    Image.fromarray(ramp).save(folder / "images/a.png")
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    np.testing.assert_array_equal(Stimuli.load(tmp_path / "out/images.npz").pixels[0].ravel(), np.arange(256))


def test_pictures_of_several_aspect_ratios_are_noted(folder: Path) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (400, 400), np.uint8)
    sizes = {"a.png": (40, 40), "d.png": (70, 100), "f.png": (333, 400), "e.bmp": (334, 400)}
    for name, (height, width) in sizes.items():
        Image.fromarray(noise[:height, :width]).save(folder / "images" / name)
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert found.notes == [
        "images/: pictures have 4 aspect ratios (3:2 2, 6:5 2, 1:1 1, 10:7 1); each is resized to a square by itself: "
        "pad or crop them to what the screen showed"
    ]


def test_what_was_done_to_pictures_is_told_and_the_turned_one_is_acquired(folder: Path, tmp_path: Path) -> None:
    exif, picture = Image.Exif(), np.random.default_rng(5).integers(0, 256, (16, 16), np.uint8)
    exif[274] = 6
    for name in ("a.png", "d.png"):
        Image.fromarray(picture).save(folder / "images" / name, exif=exif)
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert "images/: a.png, d.png: turned as its orientation tag says" in found.notes
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    np.testing.assert_array_equal(Stimuli.load(tmp_path / "out/images.npz").pixels[0], picture[::-1].T)


def test_pictures_that_mean_nothing_certain_are_refused_by_name(folder: Path) -> None:
    Image.fromarray(np.full((20, 20), 90, np.uint8)).save(folder / "images/a.png")
    Image.fromarray(np.linspace(0, 4095, 256).astype(np.uint16).reshape(16, 16)).save(folder / "images/d.png")
    (problem,) = plain_folder.examine(folder).problems
    assert "a.png (all of it is grey level 90; a blank screen is image_id -1)" in problem
    assert "d.png (its numbers of 16 bit lie between 0 and 4095, of 0 to 65535" in problem
    assert problem.endswith("cannot be used as a picture; save it again as PNG of 8 bit, as it was shown")


def test_responses_that_are_no_counts_are_kept_and_several_windows_too(folder: Path, tmp_path: Path) -> None:
    for session_id in (1, 2):
        made = arrays(session_id)
        made["responses"] = np.stack([made["responses"] * 0.5 - 1, made["responses"]], axis=2)
        (folder / f"sessions/{session_id}.csv").unlink(missing_ok=True)
        np.savez(folder / f"sessions/{session_id}.npz", **made, window_s=np.array([[0, 0.1], [0.1, 0.2]]))
    assert any("taken as activity and not as spike counts" in note for note in plain_folder.examine(folder).notes)
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    found = Responses.load(tmp_path / "out/sessions/1.npz")
    assert found.counts.dtype == np.float32
    assert found.counts.min() < 0
    assert found.window_s.tolist() == [[0, 0.1], [0.1, 0.2]]


def test_rows_grouped_by_image_are_noticed(folder: Path, tmp_path: Path) -> None:
    made = arrays()
    npz(image_id=np.sort(made["image_id"]))(folder)
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert any(note.startswith("sessions/1.npz: rows are grouped by image") for note in found.notes)
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    assert order_unknown(tmp_path / "out/sessions").startswith("rows of session 1 are grouped by image")


def test_images_that_a_session_does_not_show_are_left_out(folder: Path, tmp_path: Path) -> None:
    made = arrays()
    kept = made["image_id"] != 4
    np.savez(folder / "sessions/1.npz", **{n: v if n == "unit_id" else v[kept] for n, v in made.items()})
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert "image_id 4 is not shown in every session and left out" in found.notes
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    assert Stimuli.load(tmp_path / "out/images.npz").image_id.tolist() == [0, 1, 2, 3, 5]
    assert 4 not in Responses.load(tmp_path / "out/sessions/2.npz").image_id


def test_without_captions_nothing_is_given_and_an_empty_one_is(folder: Path, tmp_path: Path) -> None:
    rows = [row.split(",")[:2] for row in (folder / "images.csv").read_text().splitlines()]
    write_csv(folder / "images.csv", *rows)
    plain.acquire(folder, tmp_path / "none", **OPTIONS)
    assert len(Captions.load(tmp_path / "none/captions_given.csv").image_id) == 0
    write_csv(folder / "images.csv", ["image_id", "file", "caption"], *[[*row, ""] for row in rows[1:]])
    plain.acquire(folder, tmp_path / "empty", **OPTIONS)
    assert Captions.load(tmp_path / "empty/captions_given.csv").sentences == ((),) * 6


def with_split(folder: Path, *values: str) -> None:
    with (folder / "images.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    split = [[*row, value] for row, value in zip(rows, values, strict=True)]
    write_csv(folder / "images.csv", [*header, "split"], *split)


def test_a_split_is_that_of_the_images_and_none_is_given_without_the_column(folder: Path, tmp_path: Path) -> None:
    plain.acquire(folder, tmp_path / "without", **OPTIONS)
    assert not (tmp_path / "without/split_given.csv").exists()
    with_split(folder, "train", "test", "train", "train", "test", "train")
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    given = {int(row["image_id"]): row["fold"] == "0" for row in tables.read(tmp_path / "out/split_given.csv")}
    assert given == {0: False, 1: True, 2: False, 3: False, 4: True, 5: False}
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    chosen, _ = split.decide(stimuli, given, method="given", n_folds=2, n_test=1, seed=0)
    assert chosen.test_ids.tolist() == [1, 4]
    with pytest.raises(ValueError, match=r"a test brings a split of its own, .* Set split.method to given, not k_fold"):
        split.decide(stimuli, given, method="k_fold", n_folds=2, n_test=1, seed=0)
    found = plain_folder.examine(folder)
    assert "6 images (2 of them tested)" in plain_folder.summary(folder, found)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            ["train", "val", "train", "", "test", "TEST"],
            "images.csv: expected train or test as the split of an image; see line 3: 'val', line 5: '', "
            "line 7: 'TEST'",
        ),
        (
            ["train"] * 5 + ["test"],
            "images.csv: its split leaves 1 tested and 5 training images that every session shows, expected at least "
            "2 and 4",
        ),
        (
            ["test"] * 3 + ["train"] * 3,
            "images.csv: its split leaves 3 tested and 3 training images that every session shows, expected at least "
            "2 and 4",
        ),
    ],
)
def test_a_split_that_cannot_be_is_refused(folder: Path, values: list[str], said: str) -> None:
    with_split(folder, *values)
    assert said in plain_folder.examine(folder).problems


def test_a_recording_with_spike_times_is_taken_as_it_is(shared: Path, folder: Path, tmp_path: Path) -> None:
    shutil.rmtree(folder / "sessions")
    (folder / "sessions").mkdir()
    (folder / "units.csv").unlink()
    (folder / "sessions/900000001.nwb").symlink_to(shared / "data/allen_layout_nwb_fixture/session_900000001.nwb")
    for i in range(6, 118):
        shutil.copy(folder / "images/a.png", folder / f"images/{i}.png")
    with (folder / "images.csv").open("a", newline="") as file:
        csv.writer(file).writerows([[i, f"{i}.png", "One."] for i in range(6, 118)])
    assert plain_folder.examine(folder).problems == []
    plain.acquire(folder, tmp_path / "out", **OPTIONS)
    limits = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
    options = {"areas": ["VISp"], "windows_s": np.array([[0.0, 0.25]]), "min_units": 1, "limits": limits}
    before, after = (
        sessions.read_responses(path, **options)
        for path in (folder / "sessions/900000001.nwb", tmp_path / "out/sessions/900000001.nwb")
    )
    np.testing.assert_array_equal(before.counts, after.counts)
    (folder / "sessions/900000001.nwb").rename(folder / "sessions/7.nwb")
    assert any("Name the file 900000001.nwb" in problem for problem in plain_folder.examine(folder).problems)


# ---- What is wrong


def change(name: str, old: str, new: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return spoil


def npz(**changes: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        made = arrays() | changes
        np.savez(folder / "sessions/1.npz", **{name: value for name, value in made.items() if value is not None})

    return spoil


def with_nan() -> np.ndarray:
    responses = arrays()["responses"].astype(float)
    responses[[2, 5], 1] = np.nan
    return responses


def damaged_nwb(folder: Path) -> None:
    (folder / "sessions/3.nwb").write_bytes(b"not HDF5 at all")


def another_nwb(folder: Path) -> None:
    with h5py.File(folder / "sessions/3.nwb", "w") as file:
        file["something"] = 1


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no images.csv": (lambda f: (f / "images.csv").unlink(), r"images.csv is missing. Write a table that begins with"),
    "another header": (
        change("images.csv", "image_id,file", "id,file"),
        "images.csv lacks the column image_id: it beg",
    ),
    "a comma too many": (
        change("images.csv", '"Picture 2, a thing."', "Picture 2, a thing."),
        "line 4 does not have 3",
    ),
    "an id that is a word": (change("images.csv", "\n3,", "\nthree,"), "expected a whole number .* line 5: 'three'"),
    "an id twice": (change("images.csv", "\n3,", "\n2,"), "image_id 2 occurs more than once"),
    "a picture that is not there": (change("images.csv", "d.png", "D.PNG"), r"images/: D.PNG is named .* holds a.png"),
    "a picture that is cut off": (
        lambda f: (f / "images/b.jpg").write_bytes((f / "images/b.jpg").read_bytes()[:300]),
        r"images/: b.jpg \(.*\) cannot be used as a picture; save it again as PNG",
    ),
    "a text for a picture": (
        lambda f: (f / "images/e.bmp").write_text("x"),
        r"e.bmp \(it is no picture of a kind that can be read",
    ),
    "a picture of few pixels": (
        lambda f: Image.new("L", (3, 40)).save(f / "images/a.png"),
        r"a.png \(only 3 x 40 pixels\) cannot be used",
    ),
    "a picture of fractions": (
        lambda f: Image.fromarray(np.zeros((20, 20), np.float32)).save(f / "images/c.tif"),
        r"c.tif \(its pixels are floating-point numbers",
    ),
    "no folder of pictures": (lambda f: shutil.rmtree(f / "images"), "images/ is missing"),
    "a picture elsewhere": (change("images.csv", "a.png", "../images.csv"), r"\.\./images.csv is outside images/"),
    "no sessions": (lambda f: shutil.rmtree(f / "sessions"), "sessions/ holds nothing: put a file there for each"),
    "a session without number": (
        lambda f: (f / "sessions/1.npz").rename(f / "sessions/one.npz"),
        r"sessions/one.npz: name it by the number of the session, as in 1.npz",
    ),
    "a session of another kind": (
        lambda f: (f / "sessions/3.mat").write_text("x"),
        r"sessions/3.mat: expected a file .npz, .csv or .nwb",
    ),
    "a session twice": (lambda f: (f / "sessions/2.npz").write_bytes(b""), "2.npz and 2.csv are the same session"),
    "a damaged npz": (lambda f: (f / "sessions/1.npz").write_bytes(b"PK"), r"1.npz is not an npz of plain arrays"),
    "a pickle": (npz(responses=np.array([{}])), r"1.npz is not an npz of plain arrays, or damaged \(Object arrays"),
    "no unit_id": (npz(unit_id=None), r"1.npz lacks the array unit_id; it holds responses, image_id"),
    "responses of one axis": (npz(responses=np.zeros(21)), r"responses is float64 \(21,\), expected numbers"),
    "responses the other way": (
        npz(responses=arrays()["responses"].T),
        r"21 image_id, but responses has 3 presentations \(its shape is \(3, 21\)\)",
    ),
    "a missing presentation": (
        npz(responses=with_nan()),
        "not finite in 2 places, in 2 of 21 presentations and of unit 12",
    ),
    "constant responses": (npz(responses=np.ones((21, 3))), "all responses of every unit are the same"),
    "windows that are not said": (npz(responses=np.ones((21, 3, 2))), "responses has 2 windows; add window_s"),
    "windows that end early": (npz(window_s=np.array([[0.2, 0.1]])), r"window_s is \[\[0.2, 0.1\]\], expected 1 row"),
    "an image that is not listed": (
        npz(image_id=arrays()["image_id"] + 1),
        "session 1 shows image_id 6, which images.csv does not list .it has 0 to 5",
    ),
    "an id below the blank": (
        npz(image_id=arrays()["image_id"] - 1),
        "image_id -2, -2, -2: expected whole numbers, -1",
    ),
    "half an image": (
        npz(image_id=arrays()["image_id"] + 0.5),
        "image_id is float64 .*, expected a row of whole numbers",
    ),
    "a unit twice": (npz(unit_id=np.array([11, 11, 15])), "unit_id 11 occurs more than once"),
    "a unit without an area": (
        npz(unit_id=np.array([11, 12, 16])),
        "units.csv lacks unit_id 16 of session 1; write a line",
    ),
    "no units.csv": (lambda f: (f / "units.csv").unlink(), "units.csv is missing"),
    "an empty area": (
        change("units.csv", "1,11,V1", "1,11,"),
        "expected two whole numbers, an area .* see line 2: 1,11,",
    ),
    "an area of two lines": (
        change("units.csv", "1,11,V1", '1,11,"V1\nv"'),
        r"name of an area .* see line 3: 'V1\\nv'",
    ),
    "an area that clears the screen": (change("units.csv", "1,11,V1", "1,11,V\x1b[2J1"), r"see line 2: 'V\\x1b\[2J1'"),
    "an area that is not known": (change("units.csv", "1,12,V1", "1,12,NaN"), "see line 3: 'NaN'. Write its name in"),
    "a window twice": (
        npz(responses=np.stack([arrays()["responses"]] * 2, axis=2), window_s=np.array([[0, 0.1], [0, 0.1]])),
        r"1.npz: window_s is \[\[0.0, 0.1\], \[0.0, 0.1\]\], where two rows are the same: each window",
    ),
    "windows that overlap": (
        npz(responses=np.stack([arrays()["responses"]] * 2, axis=2), window_s=np.array([[0, 0.1], [0, 0.2]])),
        r"1.npz: window_s is \[\[0.0, 0.1\], \[0.0, 0.2\]\], where windows overlap: .* would count twice",
    ),
    "a metric that is not a number": (change("units.csv", "2.5", "good"), "line 2: snr is 'good'"),
    "a unit listed twice": (change("units.csv", "1,12,V1", "1,11,V1"), r"\(1, 11\) occurs more than once"),
    "an id that is not a number of a picture": (
        npz(image_id=arrays()["image_id"] + np.inf),
        "image_id is float64 .*whole",
    ),
    "an id beyond all bounds": (
        npz(unit_id=np.array([11, 12, 1e300])),
        "unit_id is float64 .*, expected a row of whole",
    ),
    "an endless id as text": (change("sessions/2.csv", "\n", "\ninf,1,2,3\n"), "image_id inf: expected whole numbers"),
    "a unit beyond all bounds": (
        change("sessions/2.csv", ",11,", f",{'9' * 25},"),
        "begins with '9{25}', expected image_id and the numbers",
    ),
    "a text behind an empty line": (
        change("sessions/2.csv", "\n", "\n\n0,1,x,3\n"),
        "expected numbers in line 3, column 12: 'x'",
    ),
    "a text among numbers": (
        change("sessions/2.csv", "\n", "\n0,1,x,3\n"),
        "expected numbers in line 2, column 12: 'x'",
    ),
    "a short line": (change("sessions/2.csv", "\n", "\n0,1\n"), "line 2 does not have 4 values as the header has"),
    "a header without units": (
        change("sessions/2.csv", "image_id,11", "image_id,cell"),
        "begins with 'cell', expected",
    ),
    "a damaged recording": (damaged_nwb, r"sessions/3.nwb is not a whole HDF5 file"),
    "a recording of another layout": (another_nwb, r"sessions/3.nwb has no /intervals/natural_scenes_presentations"),
    "two images": (
        npz(image_id=np.arange(21) % 2),
        "at least 4, to train on some and test others; found 2 that are in images.csv and in all of 2",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_with_its_place_and_its_cure(
    case: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil, message = BAD[case]
    spoil(folder)
    assert __main__.main(["check-data", str(folder)]) == 1
    said = capsys.readouterr().out
    assert "The format, by example:" in said
    assert re.search(message, said), said
    with pytest.raises(ValueError, match=r"has \d+ problems?; see all with: spikevaediff check-data .*mine. The first"):
        plain.acquire(folder, tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_a_picture_that_cannot_be_is_one_problem_and_the_others_are_looked_at(folder: Path) -> None:
    (folder / "images/b.jpg").unlink()
    (folder / "images/b.jpg").symlink_to("b.jpg")
    change("images.csv", "a.png", "x" * 5000)(folder)
    change("images.csv", "d.png", "d\0.png")(folder)
    (folder / "images/e.bmp").write_text("x")
    unfit, broken = plain_folder.examine(folder).problems
    assert f"{'x' * 60}... (5000 letters) (File name too long)" in unfit
    assert "b.jpg (Too many levels of symbolic links)" in unfit
    assert r"'d\x00.png' (embedded null byte)" in unfit
    assert unfit.endswith("under a short name, and write that into images.csv")
    assert broken.startswith("images/: e.bmp (it is no picture of a kind that can be read")


def test_all_that_is_wrong_is_said_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    together = (
        "an id twice",
        "a text for a picture",
        "a missing presentation",
        "an empty area",
        "a text among numbers",
    )
    for case in together:
        BAD[case][0](folder)
    assert __main__.main(["check-data", str(folder)]) == 1
    said = capsys.readouterr().out
    for case in together:
        assert re.search(BAD[case][1], said), said
    assert "5. " in said


def test_recordings_are_not_cut_to_the_images_that_all_sessions_show(folder: Path) -> None:
    recording, columns = folder / "sessions/700000001.nwb", {"id": 0.0, "start_time": 0.0, "stop_time": 0.25}
    small_session.write(recording, {f"{small_session.SCENES}/frame": [0.0, 1.0, 2.0, 3.0]})
    found = plain_folder.examine(folder)
    assert found.problems == []  # the tables are cut to the four images
    assert found.shared.tolist() == [0, 1, 2, 3]
    made = arrays()
    kept = made["image_id"] != 3
    np.savez(folder / "sessions/1.npz", **{n: v if n == "unit_id" else v[kept] for n, v in made.items()})
    five = {f"{small_session.SCENES}/{name}": np.arange(5.0) + 1 + behind for name, behind in columns.items()}
    small_session.write(recording, five | {f"{small_session.SCENES}/frame": np.arange(5.0)})
    (problem,) = plain_folder.examine(folder).problems
    assert problem.startswith("session 700000001 shows image_id 3, which not every session shows. Tables are cut to")


# ---- What programs and people do without being asked


def as_spreadsheets_write(folder: Path) -> None:
    for name in ("images.csv", "units.csv", "sessions/2.csv"):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("".join(f"{line},,\n" for line in [*lines, ""]))


def as_pandas_writes(folder: Path) -> None:
    for name in ("images.csv", "units.csv", "sessions/2.csv"):
        lines = (folder / name).read_text().splitlines()
        (folder / name).write_text("".join(f"{i - 1 if i else ''},{line}\n" for i, line in enumerate(lines)))


def as_matlab_keeps(folder: Path) -> None:
    """Every array has two axes, and every number is a double."""
    made = {name: np.atleast_2d(value).astype(float) for name, value in arrays().items()}
    np.savez(folder / "sessions/1.npz", **made, __globals__=np.empty(0), window_s=np.array([[0.05, 0.15]]))
    made = {name: np.atleast_2d(value).astype(float) for name, value in arrays(1).items()}
    np.savez(folder / "sessions/2.npz", **made | {"image_id": made["image_id"].T}, window_s=np.array([0.05, 0.15]))
    (folder / "sessions/2.csv").unlink()


def as_macos_names_files(folder: Path) -> None:
    composed = unicodedata.normalize("NFC", "plage d\u2019été.png")
    (folder / "images/a.png").rename(folder / "images" / unicodedata.normalize("NFD", composed))
    change("images.csv", "a.png", composed)(folder)


@pytest.mark.parametrize("habit", [as_spreadsheets_write, as_pandas_writes, as_matlab_keeps, as_macos_names_files])
def test_what_programs_do_without_being_asked_changes_nothing(
    folder: Path, tmp_path: Path, habit: Callable[[Path], None]
) -> None:
    plain.acquire(folder, tmp_path / "before", **OPTIONS)
    habit(folder)
    assert plain_folder.examine(folder).problems == []
    plain.acquire(folder, tmp_path / "after", **OPTIONS)
    for name in ("sessions/1.npz", "sessions/2.npz", "images.npz", "captions_given.csv"):
        assert (tmp_path / "after" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def test_the_line_of_readiness_states_mean_responses_and_rates(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = {f"{small_session.SCENES}/frame": [0.0, 1.0, 2.0, 3.0]}
    small_session.write(folder / "sessions/700000001.nwb", frames)
    assert __main__.main(["check-data", str(folder)]) == 0
    said = capsys.readouterr().out
    mean = np.mean([arrays(seed)["responses"].mean() for seed in (0, 1)])
    assert (
        f"mean response {mean:.3g} per unit and presentation, mean rate 1 Hz per unit" in said
    )  # 16 spikes, 4 units, 4 s


def test_units_of_electrodes_that_are_not_listed_are_noted(folder: Path) -> None:
    frames = {f"{small_session.SCENES}/frame": [0.0, 1.0, 2.0, 3.0]}
    small_session.write(folder / "sessions/700000001.nwb", frames)
    assert not any("peak_channel_id" in note for note in plain_folder.examine(folder).notes)
    small_session.write(folder / "sessions/700000001.nwb", frames | {"units/peak_channel_id": [100, 103, 101, 102]})
    said = "sessions/700000001.nwb: 1 of 4 units are left out, since their peak_channel_id is no id in /general"
    assert any(note.startswith(said) for note in plain_folder.examine(folder).notes)


def test_a_recording_is_taken_over_before_it_is_called_ready(folder: Path, tmp_path: Path) -> None:
    """What only the reading of spikes or of running speed tells."""
    path, frames = folder / "sessions/700000001.nwb", {f"{small_session.SCENES}/frame": [0.0, 1.0, 2.0, 3.0]}
    running = "processing/running/running_speed"
    for changes, message in (
        (
            {"units/spike_times": [*small_session.TABLES["units/spike_times"][:15], np.nan]},
            "1 spike times that are not",
        ),
        (
            {"units/spike_times": 1000 * np.array(small_session.TABLES["units/spike_times"])},
            "4 units fire 0.001 times a second on average",
        ),
        ({f"{running}/data": [1.0, 2.0], f"{running}/timestamps": [2.0, 1.0]}, "must be finite and rise"),
        ({f"{running}/data": [1.0, 2.0]}, "has no /processing/running/running_speed/timestamps"),
    ):
        small_session.write(path, frames | changes)
        (problem,) = plain_folder.examine(folder).problems
        assert problem.startswith("sessions/700000001.nwb")
        assert message in problem
        with pytest.raises(ValueError, match=message):
            plain.acquire(folder, tmp_path / "out", **OPTIONS)
        assert not (tmp_path / "out/sessions").exists()


def test_whatever_is_done_to_a_file_ends_in_lines_and_never_in_a_traceback(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes changed, cut off and put twice: check-data judges, and what it calls ready is acquired."""
    rng = np.random.default_rng(3)
    small_session.write(folder / "sessions/700000001.nwb", {f"{small_session.SCENES}/frame": [0.0, 1.0, 2.0, 3.0]})
    ready = 0
    files = [path for path in sorted(folder.rglob("*.*")) if path.is_file()]
    for trial in range(44):
        path = files[trial % len(files)]
        whole = path.read_bytes()
        spoilt = bytearray(whole)
        for at in rng.integers(0, len(whole), rng.integers(1, 4)):
            spoilt[at] = rng.integers(256)
        cut = int(rng.integers(len(whole)))
        path.write_bytes([spoilt, whole[:cut], whole[:cut] + whole[cut // 2 :]][trial % 3])
        status = __main__.main(["check-data", str(folder)])
        said = capsys.readouterr().out
        assert ("is ready" in said) == (status == 0)
        if status == 0:
            ready += 1
            plain.acquire(folder, tmp_path / "out", **OPTIONS)
        else:
            assert re.search(r"^1\. \S", said, re.MULTILINE)
            with pytest.raises(ValueError, match=r"see all with: spikevaediff check-data|sessions/700000001.nwb"):
                plain.acquire(folder, tmp_path / "out", **OPTIONS)
        path.write_bytes(whole)
    assert 2 < ready < 42


def test_a_file_that_may_not_be_read_is_named_with_its_cure() -> None:
    with tempfile.TemporaryDirectory() as name:  # which every user may look into, unlike those of pytest
        folder = folder_of(Path(name))
        for path in (Path(name), *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        closed = ("images/b.jpg", "images.csv", "units.csv", "sessions/1.npz", "sessions/2.csv")
        for path in closed:
            (folder / path).chmod(0)
            if root := os.geteuid() == 0:
                os.seteuid(65534)
            try:
                problems = plain_folder.examine(folder).problems
            finally:
                if root:
                    os.seteuid(0)
            (folder / path).chmod(0o644)
            told = [
                problem for problem in problems if "may not be read by this user. Give the right to: chmod" in problem
            ]
            assert len(told) == 1
            assert Path(path).name in told[0]
            assert not any("elete" in problem or "damaged" in problem for problem in problems)


def test_a_recording_that_another_program_writes_is_said_to_be_locked(folder: Path) -> None:
    path = small_session.write(folder / "sessions/700000001.nwb")
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (problem,) = plain_folder.examine(folder).problems
    assert problem == (
        "sessions/700000001.nwb is locked: another program has it open for writing. Close it there, or wait"
    )


def test_a_session_with_a_number_that_no_program_can_hold_is_refused(folder: Path) -> None:
    (folder / "sessions/1.npz").rename(folder / f"sessions/{'9' * 20}.npz")
    assert f"sessions/{'9' * 20}.npz: name it by the number of the session" in plain_folder.examine(folder).problems[0]


def repeated_means() -> np.ndarray:
    made = arrays()
    return np.array([made["responses"][made["image_id"] == i].mean(0) for i in made["image_id"]])


SENSELESS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "the image_id among the units": (
        npz(responses=np.column_stack([arrays()["responses"][:, :2], arrays()["image_id"]])),
        "the responses of unit 15 are the image_id or the number of the row",
    ),
    "a counter among the units": (
        npz(responses=np.column_stack([arrays()["responses"][:, :2], np.arange(21) + 1])),
        "the responses of unit 15 are the image_id or the number of the row",
    ),
    "the image_id counted from 1": (
        npz(responses=np.column_stack([arrays()["responses"][:, :2], arrays()["image_id"] + 1])),
        "the responses of unit 15 are the image_id or the number of the row, or in proportion to it",
    ),
    "onsets in milliseconds, every half second": (
        npz(responses=np.column_stack([arrays()["responses"][:, :2], 3000 + 500 * np.arange(21)])),
        "the responses of unit 15 are the image_id or the number of the row, or in proportion to it",
    ),
    "means written once for each presentation": (
        npz(responses=repeated_means()),
        "all presentations of an image have the same responses, as if a mean were repeated. Write one row for each",
    ),
    "a window in milliseconds": (
        npz(window_s=np.array([[50.0, 150.0]])),
        r"window_s is \[\[50.0, 150.0\]\], expected 1 row.* in seconds after onset, up to 60 s from it",
    ),
}


@pytest.mark.parametrize("case", SENSELESS)
def test_what_would_decode_too_well_or_in_other_units_is_refused(case: str, folder: Path) -> None:
    spoil, message = SENSELESS[case]
    spoil(folder)
    problem, *_ = plain_folder.examine(folder).problems
    assert re.search(message, problem), problem


def test_areas_are_those_of_units_with_responses(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [[*row, 2.5] for row in units(1, 2)]
    write_csv(
        folder / "units.csv", ["session_id", "unit_id", "area", "snr"], *listed, [1, 99, "V2", 2.5], [3, 5, "IT", 1]
    )
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert sorted(plain_folder.areas_of_tables(found)) == ["V1"] * 4 + ["V4"] * 2
    assert "units V1 4, V4 2," in plain_folder.summary(folder, found)


def test_a_window_that_is_given_counts_in_the_look_at_a_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(
        folder / "units.csv", ["session_id", "unit_id", "area", "firing_rate"], *[[*row, 0.1] for row in units(1, 2)]
    )
    assert plain_folder.examine(folder).problems == []
    problem, *_ = plain_folder.examine(folder, window_s=(0.05, 0.15)).problems
    assert "times as many as firing_rate of units.csv says" in problem
    assert __main__.main(["check-data", str(folder), "--window", "50,150"]) == 1
    said = capsys.readouterr()
    assert "the window is 50 to 150 s, expected seconds after onset, up to 60 s from it: milliseconds?" in said.err
    assert "is ready" not in said.out


@pytest.mark.parametrize(
    ("header", "lacks"),
    [("image_id,file,caption", False), ("\nimage_id,file,caption", False), ("image_id,file,Caption", True)],
)
def test_the_forecast_reads_captions_as_the_acquisition_does(folder: Path, header: str, lacks: bool) -> None:
    path = folder / "images.csv"
    path.write_text(path.read_text().replace("image_id,file,caption", header, 1))
    assert plain.lacks_captions(folder) is lacks
    assert (plain_folder.examine(folder).captions is None) is lacks


def test_counts_are_compared_with_the_rates_that_units_csv_states(folder: Path, tmp_path: Path) -> None:
    def rates(hz: float) -> None:
        listed = [[*row, hz] for row in units(1, 2)]
        write_csv(folder / "units.csv", ["session_id", "unit_id", "area", "firing_rate"], *listed)

    for session_id in (1, 2):
        (folder / f"sessions/{session_id}.csv").unlink(missing_ok=True)
        np.savez(folder / f"sessions/{session_id}.npz", **arrays(session_id), window_s=np.array([[0.05, 0.15]]))
    rates(50.0)  # 5 spikes in 0.1 s
    assert plain_folder.examine(folder).problems == []
    rates(4.0)
    problems = plain_folder.examine(folder).problems
    assert re.match(
        r"session 1: spikes counted in \[\[0.05, 0.15\]\] s are 1[12].\d* times as many as firing_rate", problems[0]
    )
    for session_id in (1, 2):
        np.savez(folder / f"sessions/{session_id}.npz", **arrays(session_id))
    assert plain_folder.examine(folder).problems == []  # the window stands in params.yaml
    with pytest.raises(ValueError, match=r"session 1: spikes counted in .* times as many as firing_rate of units.csv"):
        plain.acquire(folder, tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out/sessions").exists()


def test_a_window_in_milliseconds_is_told_by_the_rate_of_the_counts(folder: Path, tmp_path: Path) -> None:
    rate = arrays()["responses"].mean() / 50
    assert plain_folder.examine(folder, window_s=(0, 50)).problems[0] == (
        f"session 1: with spikes counted in [[0.0, 50.0]] s, 3 units fire {rate:.3g} times a second on average, "
        f"expected 0.2 to 1000. Write the window in seconds after onset, and spike counts, not rates. Leave out silent "
        f"units"
    )
    fast = plain_folder.examine(folder, window_s=(0, 0.001)).problems[0]
    assert fast.endswith("and spike counts, not rates. If these are not counts but activity, divide them by 100")
    for window_s, hz in (([0.0, 50.0], r"0\.1\d*"), ([0.0, 0.001], r"[45](\.\d+)?e\+03")):
        with pytest.raises(ValueError, match=rf"units fire {hz} times a second on average, expected 0\.2 to 1000"):
            plain.acquire(folder, tmp_path / "out", **OPTIONS | {"window_s": window_s})


def test_the_last_line_has_the_rate_of_counts_in_a_known_window(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = np.mean([arrays(seed)["responses"].mean() for seed in (0, 1)])
    assert __main__.main(["check-data", str(folder), "--window", "0.05,0.15"]) == 0
    assert capsys.readouterr().out.endswith(f"mean response {mean:.3g} per unit and presentation, {10 * mean:.3g} Hz\n")
    npz(responses=arrays()["responses"] + 0.5)(folder)  # activity has no rate
    assert __main__.main(["check-data", str(folder), "--window", "0.05,0.15"]) == 0
    assert "Hz" not in capsys.readouterr().out


def test_a_presentation_far_outside_of_the_others_is_noted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = arrays()
    made["responses"][4] = 500
    np.savez(folder / "sessions/1.npz", **made)
    assert plain_folder.examine(folder, window_s=(0.05, 0.15)).notes == [], "a few units: one of them may be driven"
    monkeypatch.setattr(response_tables, "_FEW_UNITS", 3)
    np.savez(folder / "sessions/1.npz", **made)
    (note,) = plain_folder.examine(folder, window_s=(0.05, 0.15)).notes
    shown = int(made["image_id"][4])
    assert note == (
        f"sessions/1.npz: in row 4 (counted from 0; image_id {shown}) the mean over units is far outside that of all "
        "other rows. Are these artefacts? Leave those out"
    )
    # Where most rows have no spike at all, a few with one are no artefacts.
    made["responses"][:] = 0
    made["responses"][::7] = [3, 0, 1]
    np.savez(folder / "sessions/1.npz", **made)
    notes = plain_folder.examine(folder).notes
    assert not [note for note in notes if "far outside" in note], notes


def test_counts_that_are_all_multiples_of_a_number_are_noted(folder: Path) -> None:
    npz(responses=10 * arrays()["responses"])(folder)
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert found.notes == ["sessions/1.npz: every count is a multiple of 10: rates instead of counts?"]


@pytest.mark.parametrize("kind", [float, object])
def test_spike_times_in_a_table_are_refused_with_the_page_that_counts_them(folder: Path, kind: type) -> None:
    times = np.array([[0.5, 1.0], [0.7, 1.2]], kind)
    for made in (arrays(), {}):
        np.savez(folder / "sessions/1.npz", **made, spike_times=times)
        assert plain_folder.examine(folder).problems[0] == (
            "sessions/1.npz holds spike_times, expected counts: responses (presentation, unit). Count them in a window "
            "after each onset, as the section Spike times of docs/recordings.md shows, and leave them out"
        )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "presence_ratio",
            99.0,
            "presence_ratio is 99 for unit 11 (6 such units), expected 0 to 1.5, a share, not a percent",
        ),
        ("amplitude_cutoff", 5.0, "amplitude_cutoff is 5 for unit 11"),
        ("amplitude_cutoff", -1.0, "amplitude_cutoff is -1 for unit 11"),
        ("isi_violations", -1.0, "isi_violations is -1 for unit 11"),
    ],
)
def test_metrics_that_every_limit_would_let_pass_are_refused(
    folder: Path, name: str, value: float, message: str
) -> None:
    listed = [[*row, value] for row in units(1, 2)]
    write_csv(folder / "units.csv", ["session_id", "unit_id", "area", name], *listed)
    problem, *_ = plain_folder.examine(folder).problems
    assert problem.startswith("session 1: units.csv: " + message.replace("6 such", "3 such"))
    shutil.rmtree(folder / "sessions")
    (folder / "sessions").mkdir()
    metric = {f"units/{name}": [value, 0.1, 0.1, 0.1]}
    frames = {f"{small_session.SCENES}/frame": [0.0, 1.0, 2.0, 3.0]}
    small_session.write(folder / "sessions/700000001.nwb", frames | metric)
    problem, *_ = plain_folder.examine(folder).problems
    assert problem.startswith("sessions/700000001.nwb: /units/" + message.replace("6 such", "1 such"))


def test_words_for_nothing_are_no_captions(folder: Path) -> None:
    change("images.csv", '"Picture 2, a thing."', "NaN")(folder)
    assert plain_folder.examine(folder).problems == ["images.csv: the caption of image_id 2 is 'NaN'; leave it empty"]


def test_one_table_under_two_numbers_is_refused_and_a_copied_unit_noted(folder: Path) -> None:
    (folder / "sessions/2.csv").unlink()
    shutil.copy(folder / "sessions/1.npz", folder / "sessions/2.npz")
    assert plain_folder.examine(folder).problems == ["sessions 1 and 2 hold the same responses; keep one of them"]
    responses = arrays(1)["responses"]
    responses[:, 2] = responses[:, 0]
    np.savez(folder / "sessions/2.npz", **arrays(1) | {"responses": responses})
    found = plain_folder.examine(folder)
    assert found.problems == []
    assert "sessions/2.npz: unit 11 and 15 have the same responses; is one a copy?" in found.notes


def test_a_square_table_and_areas_that_differ_in_case_are_noted(folder: Path) -> None:
    made = arrays()
    rows = np.flatnonzero(made["image_id"] >= 0)[:3]
    np.savez(
        folder / "sessions/1.npz", responses=made["responses"][rows], image_id=np.arange(3), unit_id=made["unit_id"]
    )
    change("units.csv", "1,11,V1", "1,11,v1")(folder)
    notes = plain_folder.examine(folder).notes
    assert "sessions/1.npz: as many presentations as units; rows must be presentations, and columns units" in notes
    assert "units.csv: V1 and v1 are areas of their own; did you mean the same?" in notes


def test_options_out_of_range_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    for option, message in (({"margin_s": -1.0}, "margin_s is -1.0"), ({"size_px": 0}, "size_px must be at least 1")):
        with pytest.raises(ValueError, match=message):
            plain.acquire(tmp_path / "nowhere", tmp_path / "out", **OPTIONS | option)


def test_a_folder_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert __main__.main(["check-data", str(tmp_path / "nowhere")]) == 1
    assert "nowhere is not a folder" in capsys.readouterr().out


@pytest.mark.parametrize("window", [[0.1], [0.2, 0.1], [0.1, 0.1], [50.0, 150.0]])
def test_a_window_that_is_none_is_refused(folder: Path, tmp_path: Path, window: list[float]) -> None:
    with pytest.raises(ValueError, match=r"window_s is .*, expected a start and a later stop"):
        plain.acquire(folder, tmp_path / "out", **OPTIONS | {"window_s": window})
