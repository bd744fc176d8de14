"""Columns of HDF5 files as other programs write them, and files that cannot be read for reasons of their own."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from small_session import ELECTRODES, SCENES, TABLES, write

from spikevaediff.recordings import nwb, session_file
from spikevaediff.recordings.nwb_extract import extract
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits

OPTIONS: dict[str, Any] = {
    "areas": ["VISp", "LGd"],
    "windows_s": [[0.0, 0.25]],
    "min_units": 1,
    "limits": Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95),
}
COUNTS = [[2, 1, 0, 0], [0, 0, 0, 3], [1, 0, 0, 0], [1, 0, 0, 0]]  # presentation, unit; by hand


def counts(path: Path) -> list[list[int]]:
    return read_responses(path, **OPTIONS).counts[..., 0].tolist()


def taken_over(source: Path, folder: Path) -> Path:
    extract(source, folder / "extract.nwb", margin_s=1.0)
    return folder / "extract.nwb"


# ---- columns


@pytest.mark.parametrize(
    ("stored", "n_units"),
    [
        ([b"False", b"True", b"True", b"True"], 3),  # the channel of unit 12
        (["false ", "TRUE", "1", "true"], 3),
        ([0, 1, 1, 1], 3),
        ([0.0, 1.0, 1.0, 1.0], 3),
        ([False, True, True, True], 3),
        ([b"True"] * 4, 4),
    ],
)
def test_flags_are_what_they_say_in_any_type(session: Any, stored: list[Any], n_units: int) -> None:
    found = read_responses(session({f"{ELECTRODES}/valid_data": stored}), **OPTIONS | {"areas": ["VISp"]})
    assert found.counts.shape[1] == 3  # units 11, 13, 14
    _, criteria = nwb.read_units(session({f"{ELECTRODES}/valid_data": stored}))
    assert criteria["on a valid channel"].sum() == n_units


@pytest.mark.parametrize(
    "stored", [[b"no", b"yes", b"yes", b"yes"], [2, 1, 1, 1], [np.nan, 1, 1, 1], ["", "1", "1", "1"]]
)
def test_flags_that_say_neither_yes_nor_no_are_refused(session: Any, stored: list[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"valid_data is .* in row 0 \(1 such rows\), expected true or false|4 such rows"
    ):
        nwb.read_units(session({f"{ELECTRODES}/valid_data": stored}))


def test_quality_is_good_in_any_case_of_letters(session: Any) -> None:
    assert counts(session({"units/quality": ["Good", " GOOD", "good ", "good"]})) == COUNTS
    assert counts(session({"units/quality": ["Good", "good", "NOISE", "mua"]})) == [row[:2] for row in COUNTS]


@pytest.mark.parametrize("name", ["units/spike_times", "units/id", f"{SCENES}/start_time", f"{ELECTRODES}/id"])
def test_a_column_of_one_value_per_row_may_have_a_second_axis(session: Any, tmp_path: Path, name: str) -> None:
    path = session({name: np.asarray(TABLES[name])[:, None]})
    assert counts(path) == COUNTS
    assert counts(taken_over(path, tmp_path)) == COUNTS
    with pytest.raises(ValueError, match=r"has shape \(\d+, 2\), expected one value"):
        counts(session({name: np.repeat(np.asarray(TABLES[name])[:, None], 2, axis=1)}))


LINKED = ["units/spike_times", "units/id", f"{SCENES}/frame", f"{ELECTRODES}/location", f"{ELECTRODES}/valid_data"]


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("external", [False, True], ids=["in the file", "in another"])
def test_columns_may_be_links(session: Any, tmp_path: Path, name: str, external: bool) -> None:
    path = session({name: None} | ({} if external else {"elsewhere": TABLES[name]}))
    with h5py.File(tmp_path / "other.h5", "w") as other, h5py.File(path, "r+") as file:
        other["elsewhere"] = TABLES[name]
        file[name] = h5py.ExternalLink("other.h5", "/elsewhere") if external else h5py.SoftLink("/elsewhere")
    assert counts(path) == COUNTS
    (tmp_path / "below").mkdir()
    made = taken_over(path, tmp_path / "below")
    (tmp_path / "other.h5").unlink()
    assert counts(made) == COUNTS  # an extract needs nothing but itself
    if external:
        with pytest.raises(ValueError, match=rf"/{name} is a link to other.h5/elsewhere, which is not there. Put the"):
            counts(path)


def test_a_link_that_leads_nowhere_is_no_column(session: Any, tmp_path: Path) -> None:
    for name in ("units/quality", f"{ELECTRODES}/valid_data", "units/snr"):
        path = session({name: None})
        with h5py.File(path, "r+") as file:
            file[name] = h5py.SoftLink("/nowhere")
        with pytest.raises(ValueError, match=rf"/{name} is a link to /nowhere, which is not there"):
            counts(path)  # and not: nothing was rejected
    path = session()
    with h5py.File(path, "r+") as file:
        file["units/unused"] = h5py.SoftLink("/nowhere")
    assert counts(taken_over(path, tmp_path)) == COUNTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"units/id": np.array([2**64 - 1, 1, 2, 3], np.uint64)},
            r"units/id is 1\.8\d*e\+19 in row 0 .* below 2\*\*53",
        ),
        ({"units/id": [b"a", b"b", b"c", b"d"]}, r"/units/id holds \S+, expected numbers"),
        ({"units/id": [1.5, 2, 3, 4]}, "units/id is 1.5 in row 0 .1 such rows., expected whole numbers"),
        ({"identifier": "9" * 20}, r"identifier is '9{20}', expected the number of the session, below 2\*\*53"),
        ({f"{SCENES}/start_time": [b"1", b"2", b"3", b"4"]}, r"start_time holds \S+, expected numbers"),
        ({"units/spike_times": [b"1"] * 16}, r"units/spike_times holds \S+, expected numbers, in seconds"),
        ({"units/spike_times_index": [b"7"] * 4}, r"spike_times_index holds \S+, expected numbers"),
        ({f"{SCENES}/frame": [1e300, 0.0, 1.0, 2.0]}, "frame is 1e.300 in row 0"),
        ({f"{ELECTRODES}/location": [b"caf\xe9", b"VISp", b"VISp", b"None"]}, "location is not text in UTF-8"),
        ({"units/presence_ratio": np.ones((4, 2))}, r"presence_ratio has shape \(4, 2\), expected one value"),
        (
            {name: np.asarray(values)[:0] for name, values in TABLES.items() if name.startswith("units/")}
            | {"units/quality": np.empty(0, h5py.string_dtype())},
            "/units lists no unit. Write one row for each sorted unit",
        ),
        ({"units/quality": ["SUA"] * 4}, r"none of 4 units can be used \(0 not in .*, 4 not quality good\)"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_leaves_nothing(
    session: Any, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = session(changes)
    with pytest.raises(ValueError, match=message) as caught:
        extract(path, tmp_path / "out/extract.nwb", margin_s=0.5)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*"))


def test_any_other_layout_is_a_line_about_the_file(session: Any, tmp_path: Path) -> None:
    path = session({"general/extracellular_ephys/electrodes/group": np.zeros(4), "intervals/invalid_times": [1.0]})
    with pytest.raises(ValueError, match="invalid_times") as caught:
        extract(path, tmp_path / "extract.nwb", margin_s=0.5)
    assert str(path) in str(caught.value)
    path = session({"processing/running/running_speed": 3.0})
    with pytest.raises(ValueError, match=r"running_speed"):
        extract(path, tmp_path / "extract.nwb", margin_s=0.5)


ODD: dict[str, Any] = {
    "a number": 5.0,
    "nothing": np.empty(0),
    "NaN": np.full(4, np.nan),
    "negative": np.full(4, -7),
    "large": np.full(4, 2**64 - 1, np.uint64),
    "pairs": np.zeros((4, 2)),
    "three axes": np.zeros((4, 1, 1)),
    "text": [b"abc"] * 4,
    "complex": np.zeros(4, complex),
    "records": np.zeros(4, [("a", float)]),
    "lists": h5py.vlen_dtype(float),
    "references": h5py.ref_dtype,
    "null": h5py.Empty(float),
}
MORE = {
    "processing/running/running_speed/data": [1.0, 2.0, 3.0],
    "processing/running/running_speed/timestamps": [1.0, 2.0, 3.0],
    "intervals/invalid_times/start_time": [9.0],
    "intervals/invalid_times/stop_time": [9.5],
    "intervals/invalid_times/tags": [b"stimulus"],
    "intervals/invalid_times/tags_index": [1],
    "units/obs_intervals": [[0.0, 9.0]] * 4,
    "units/obs_intervals_index": [1, 2, 3, 4],
    "units/firing_rate": [1.0] * 4,
}


@pytest.mark.parametrize("odd", ODD)
def test_whatever_a_column_holds_is_refused_in_one_line_or_changes_no_count(
    session: Any, tmp_path: Path, odd: str
) -> None:
    limits = Limits(isi_violations_max=None, amplitude_cutoff_max=None, presence_ratio_min=None)
    refused: list[str] = []
    for name in [*TABLES, *MORE]:
        values = ODD[odd]
        typed = isinstance(values, np.dtype)
        path = session(MORE | {name: None if typed else values})
        if typed:
            with h5py.File(path, "r+") as file:
                file.create_dataset(name, (4,), values)
        try:
            made = taken_over(path, tmp_path)
        except ValueError as error:
            refused.append(str(error))
        else:
            if name != f"{ELECTRODES}/location":
                found = read_responses(made, **OPTIONS | {"limits": limits}).counts[..., 0]
                assert found.tolist() == COUNTS
    assert len(refused) > 10
    for line in refused:
        assert line.startswith(str(tmp_path / "session.nwb"))
        assert len(line.splitlines()) == 1
        assert "cannot be taken over" not in line


# ---- presentations


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {f"{SCENES}/stop_time": [0.25] * 4},
            r"stop_time is 0.25 s where start_time is 1 s .row 0, 4 such rows., which is too early or holds durations",
        ),
        ({f"{SCENES}/stop_time": [1.25, 2.25, 3.0, 4.25]}, r"stop_time is 3 s where start_time is 3 s .row 2, 1 such"),
        ({f"{SCENES}/start_time": [0.0] * 4}, "start_time is 0 s in 4 of 4 rows. Expected the onset of each"),
        ({f"{SCENES}/start_time": [1.0, 2.0, 2.0, 4.0]}, "start_time is 2 s in 2 of 4 rows"),
    ],
)
def test_times_of_presentations_that_cannot_be_are_refused(session: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_responses(session(changes), **OPTIONS)


def test_presentations_within_each_other_are_no_seconds(session: Any) -> None:
    n = 40
    start = 1 + np.arange(n) * 0.25
    table = {"id": np.arange(n), "start_time": start, "stop_time": (start + 0.25) * 1000, "frame": np.zeros(n)}
    with pytest.raises(
        ValueError, match=r"38 of 40 presentations last until the next but one begins. Is .*stop_time in s"
    ):
        nwb.read_presentations(session({f"{SCENES}/{name}": values for name, values in table.items()}))


INVALID = "intervals/invalid_times"


def test_invalid_times_without_tags_are_invalid_for_all(session: Any) -> None:
    times = {f"{INVALID}/start_time": [1.9, 3.1], f"{INVALID}/stop_time": [2.1, 3.2]}
    assert read_responses(session(times), **OPTIONS).presentation_id[:, 0].tolist() == [0, 3]
    tagged = times | {f"{INVALID}/tags": [b"EcephysProbe"], f"{INVALID}/tags_index": np.array([0, 1])}
    assert read_responses(session(tagged), **OPTIONS).presentation_id[:, 0].tolist() == [0, 2, 3]
    without_index = times | {f"{INVALID}/tags": [b"EcephysProbe", b"stimulus"]}
    assert read_responses(session(without_index), **OPTIONS).presentation_id[:, 0].tolist() == [0, 1, 3]
    with pytest.raises(ValueError, match=r"stop_time is 2.1 s where start_time is 2.5 s \(row 0\). Expected an end"):
        read_responses(session(times | {f"{INVALID}/start_time": [2.5, 3.1]}), **OPTIONS)


# ---- files


@pytest.fixture
def anybodys() -> Iterator[Path]:
    """A folder that every user may look into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_locked_file_is_not_called_damaged(session: Any) -> None:
    path = session()
    with path.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(
            BlockingIOError, match=r"is locked: another program has it open for writing. Close it there"
        ):
            read_responses(path, **OPTIONS)
    assert counts(path) == COUNTS


def test_a_file_that_may_not_be_read_is_not_called_damaged(anybodys: Path) -> None:
    path = write(anybodys / "1.nwb")
    path.chmod(0)
    if root := os.geteuid() == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"1.nwb may not be read by this user. Give the right to: chmod u\+r"):
            read_responses(path, **OPTIONS)
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_a_crashed_program_left_open_is_told_with_its_cure(tmp_path: Path) -> None:
    path = tmp_path / "1.nwb"
    crash = "import h5py, os, sys; f = h5py.File(sys.argv[1], 'w', libver='latest'); f['a'] = 1; f.flush(); "
    crash += "f.swmr_mode = True; os._exit(1)"
    subprocess.run([sys.executable, "-c", crash, str(path)], check=False)
    with pytest.raises(ValueError, match=r"marked as open for writing: .* after a crash: h5clear -s .*1.nwb"):
        nwb.read_units(path)


def test_a_filter_that_is_not_installed_is_named(session: Any) -> None:
    path = session({"units/spike_times": None})
    with h5py.File(path, "r+") as file:
        packed = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        packed.set_chunk((16,))
        packed.set_filter(47012, h5py.h5z.FLAG_OPTIONAL, ())  # a number that nobody has
        space = h5py.h5s.create_simple((16,))
        h5py.h5d.create(file["units"].id, b"spike_times", h5py.h5t.NATIVE_DOUBLE, space, packed)
    with pytest.raises(
        ValueError, match=r"/units/spike_times is packed by the filter 47012, which .* pip install hdf5pl"
    ):
        read_responses(path, **OPTIONS)


def test_a_damaged_file_is_to_be_copied_anew_and_a_folder_is_none(session: Any, tmp_path: Path) -> None:
    path = session()
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"is not a whole HDF5 file \(.*\). Copy a recording anew from where it came"):
        read_responses(path, **OPTIONS)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        nwb.read_units(tmp_path)


def test_a_full_disk_is_named_and_not_the_recording(session: Any, tmp_path: Path) -> None:
    script = (
        "import resource, sys; from spikevaediff.recordings.nwb_extract import extract\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try: extract(sys.argv[1], sys.argv[2], margin_s=0.5)\n"
        "except OSError as error: print(error)"
    )
    command = [sys.executable, "-c", script, str(session()), str(tmp_path / "out/extract.nwb")]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "File too large" in said.stdout, said.stderr
    assert "extract.nwb" in said.stdout
    assert not list((tmp_path / "out").glob("*"))


# ---- time series


def test_times_follow_from_start_and_rate(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "series.h5", "w") as file:
        file["by_rate/data"] = np.zeros(5)
        file["by_rate/starting_time"] = 2.0
        file["by_rate/starting_time"].attrs["rate"] = 4.0
        assert session_file.times(file, "by_rate").tolist() == [2.0, 2.25, 2.5, 2.75, 3.0]
        for rate in (0.0, np.nan, "fast"):
            file["by_rate/starting_time"].attrs["rate"] = rate
            with pytest.raises(
                ValueError, match="by_rate/starting_time expected a number of seconds, and a rate in Hz"
            ):
                session_file.times(file, "by_rate")
        file["neither/data"] = np.zeros(5)
        with pytest.raises(ValueError, match="has no /neither/timestamps"):
            session_file.times(file, "neither")
