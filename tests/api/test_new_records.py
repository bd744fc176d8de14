"""Responses from arrays, a run that is not there, and an import that costs nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import spikevaediff
from spikevaediff import Named
from spikevaediff.records import Responses

COUNTS, SHOWN = np.array([[1, 0], [2, 5], [0, 7]]), np.array([4, -1, 4])
KNOWN = {"unit_id": np.array([30, 20]), "window_s": np.array([0.0, 0.25])}


def test_arrays_become_a_record() -> None:
    made = spikevaediff.make_responses(COUNTS, SHOWN, area=["V1", "V4"], session_id=3, snr=[2.0, 3.0], **KNOWN)
    assert made.counts.dtype == np.uint16
    np.testing.assert_array_equal(made.counts[:, :, 0], COUNTS)
    np.testing.assert_array_equal(made.image_id, SHOWN)
    np.testing.assert_array_equal(made.presentation_id, [[0], [1], [2]])
    np.testing.assert_array_equal(made.window_s, [[0, 0.25]])
    np.testing.assert_array_equal(made.units.unit_id, [30, 20])
    np.testing.assert_array_equal(made.units.area, ["V1", "V4"])
    np.testing.assert_array_equal(made.units.snr, [2, 3])
    assert np.isnan(made.units.firing_rate).all()


def test_a_record_like_another_has_its_units_and_windows() -> None:
    first = spikevaediff.make_responses(COUNTS, SHOWN, **KNOWN)
    second = spikevaediff.make_responses(COUNTS[:1] / 2, SHOWN[:1], like=first)
    assert second.counts.dtype == np.float64
    np.testing.assert_array_equal(second.units.unit_id, first.units.unit_id)
    np.testing.assert_array_equal(second.window_s, first.window_s)
    with pytest.raises(ValueError, match="Responses: 2 units listed, 1 counted"):
        spikevaediff.make_responses(COUNTS[:, :1], SHOWN, like=first)
    with pytest.raises(ValueError, match="leave out unit_id, window_s and metrics"):
        spikevaediff.make_responses(COUNTS, SHOWN, like=first, **KNOWN)
    with pytest.raises(
        ValueError, match=r"counts fall to -0\.5, and `like` is of spike counts, which are never below 0"
    ):
        spikevaediff.make_responses(COUNTS - 0.5, SHOWN, like=first)
    assert spikevaediff.make_responses(COUNTS - 0.5, SHOWN, like=second).counts.min() == -0.5  # activity, say


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"counts": COUNTS - 1}, "counts are from -1 to 6, expected spike counts, 0 to 65535"),
        ({"counts": COUNTS * 10**5}, "expected spike counts, 0 to 65535"),
        ({"counts": COUNTS[0]}, r"counts has the shape \(2,\), expected \(presentation, unit\)"),
        ({"image_id": SHOWN + 0.5}, r"image_id is float64 \(3,\), expected a row of whole numbers"),
        ({"unit_id": None}, "give unit_id and window_s, or `like`"),
        ({"quality": [1, 2]}, "there is no metric quality; there are snr, isi_violations"),
        ({"window_s": [0.0, 250.0]}, "expected seconds, up to 60 from onset"),
        ({"unit_id": np.array([20, 20])}, r"\(session_id, unit_id\) must be unique"),
        ({"image_id": SHOWN - 1}, "image_id is from -2 to 3, expected numbers from 0 on, -1 for a blank screen"),
        ({"image_id": SHOWN.astype(np.uint64)}, "image_id is from 4 to 18446744073709551615"),
        ({"image_id": SHOWN[:, None]}, r"image_id is int64 \(3, 1\), expected a row of whole numbers"),
        ({"session_id": 1.7}, "session_id is 1.7, expected a whole number"),
        ({"window_s": [0.25, 0.0]}, r"window_s is \[\[0.25, 0.0\]\], expected a start and a later stop"),
        ({"like": "visual"}, "like is str, expected a record"),
        ({"counts": np.ma.masked_equal(COUNTS, 5)}, "counts is an array with masked values: leave out presentations"),
        ({"snr": 3}, r"snr has the shape \(\), expected a number for each of 2 units, \(2,\)"),
        ({"firing_rate": [3.0, 1.0, 2.0]}, r"firing_rate has the shape \(3,\), expected a number for each of 2 units"),
        ({"session_id": True}, "session_id is True, expected a whole number"),
    ],
)
def test_what_is_no_record_is_refused(changed: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spikevaediff.make_responses(**{"counts": COUNTS, "image_id": SHOWN} | KNOWN | changed)


def test_a_table_that_names_its_units_must_name_these() -> None:
    first = spikevaediff.make_responses(COUNTS, SHOWN, session_id=3, **KNOWN)
    rows = np.array([7, 8, 9])
    table = Named(COUNTS, {"image_id": rows, "unit": np.array(["3.30", "3.20"])})
    np.testing.assert_array_equal(spikevaediff.make_responses(table, rows, like=first).counts[:, :, 0], COUNTS)
    with pytest.raises(ValueError, match=r"units 3\.30, 3\.20 in this order: unit 1 is 3\.20, expected 3\.30"):
        spikevaediff.make_responses(table.sel(unit=["3.20", "3.30"]), rows, like=first)
    with pytest.raises(ValueError, match="rows by other images than image_id: row 1 is 7, expected 9"):
        spikevaediff.make_responses(table, rows[::-1], like=first)
    with pytest.raises(ValueError, match="counts has the axes unit, image_id, expected image_id, unit"):
        spikevaediff.make_responses(Named(COUNTS[:2], {"unit": rows[:2], "image_id": rows[:2]}), rows[:2], like=first)


def test_columns_of_pandas_that_name_units_must_name_these() -> None:
    pandas = pytest.importorskip("pandas")
    for columns in ([30, 20], ["30", "20"], None):
        table = pandas.DataFrame(COUNTS, columns=columns)
        made = spikevaediff.make_responses(table, pandas.Series(SHOWN), **KNOWN)
        np.testing.assert_array_equal(made.counts[:, :, 0], COUNTS)
    with pytest.raises(ValueError, match="not name the units 30, 20 in this order: unit 1 is 20, expected 30"):
        spikevaediff.make_responses(pandas.DataFrame(COUNTS, columns=[20, 30]), SHOWN, **KNOWN)
    # Names that pandas gives by itself, if they are ids of units as well, are taken as these.
    with pytest.raises(ValueError, match="not name the units 1, 0 in this order: unit 1 is 0, expected 1"):
        spikevaediff.make_responses(pandas.DataFrame(COUNTS), SHOWN, **KNOWN | {"unit_id": np.array([1, 0])})


def test_the_difference_between_long_lists_of_names_is_named() -> None:
    """Beyond the eight names that a message shows."""
    unit_id, rows = np.arange(100, 112), np.arange(12)
    counts = np.ones((12, 12), np.int64)
    like = spikevaediff.make_responses(counts, rows, unit_id=unit_id, window_s=np.array([0.0, 0.25]))

    def refusal(columns: Any, index: np.ndarray = rows) -> str:
        table = Named(np.ones((12, len(columns))), {"image_id": index, "unit": np.array(columns)})
        with pytest.raises(ValueError, match=r"counts (does not name|names its rows)") as caught:
            spikevaediff.make_responses(table, rows, like=like)
        return str(caught.value)

    names = [str(one) for one in unit_id]
    assert "in this order: image_id not expected. Put its columns" in refusal([*names, "image_id"])
    assert "in this order: 111 missing. Put" in refusal(names[:-1])
    assert "in this order: 7 not expected, 111 missing. Put" in refusal([*names[:-1], "7"])
    assert "in this order: unit 11 is 111, expected 110. Put" in refusal([*names[:-2], "111", "110"])
    assert "units 0.100, 0.101" in refusal([f"1.{name}" for name in names])
    assert refusal(names, np.append(rows[:-1], 20)).endswith("than image_id: 20 not expected, 11 missing")
    assert refusal(names, np.append(rows[:-2], [11, 10])).endswith("than image_id: row 11 is 11, expected 10")


def test_rows_of_pandas_that_are_image_ids_must_be_these() -> None:
    pandas = pytest.importorskip("pandas")
    first = spikevaediff.make_responses(COUNTS, SHOWN, **KNOWN)
    table = pandas.DataFrame(COUNTS, index=pandas.Index([7, 8, 9], name="image_id"), columns=[30, 20])
    rows = np.array([7, 8, 9])
    np.testing.assert_array_equal(spikevaediff.make_responses(table, rows, like=first).counts[:, :, 0], COUNTS)
    with pytest.raises(ValueError, match="rows by other images than image_id: row 1 is 7, expected 9"):
        spikevaediff.make_responses(table, rows[::-1], like=first)
    spikevaediff.make_responses(table.reset_index(drop=True), rows[::-1], like=first)  # rows without a name


class Labelled:
    """What xarray offers of an array with names: dims, coords and the numbers."""

    def __init__(self, values: np.ndarray, **coords: np.ndarray) -> None:
        self.values, self.dims, self.coords = values, ("image_id", "unit"), coords

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values

    def __len__(self) -> int:
        return len(self.values)


def test_coordinates_of_xarray_must_name_these() -> None:
    first, rows = spikevaediff.make_responses(COUNTS, SHOWN, **KNOWN), np.array([7, 8, 9])
    for coords in ({"unit": np.array([30, 20]), "image_id": rows}, {"unit": np.array([30, 20])}, {}):
        found = spikevaediff.make_responses(Labelled(COUNTS, **coords), rows, like=first)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.counts[:, :, 0], COUNTS)
    with pytest.raises(ValueError, match="not name the units 30, 20 in this order: unit 1 is 20, expected 30"):
        spikevaediff.make_responses(Labelled(COUNTS, unit=np.array([20, 30])), rows, like=first)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="rows by other images than image_id: row 1 is 9, expected 7"):
        spikevaediff.make_responses(Labelled(COUNTS, image_id=rows[::-1]), rows, like=first)  # type: ignore[arg-type]


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"params.yaml does not exist. Name a project .* dvc repro"):
        spikevaediff.load(tmp_path)
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    with pytest.raises(FileNotFoundError, match=r"artifacts/images.npz does not exist"):
        spikevaediff.load(tmp_path / "artifacts")


def test_a_run_stays_that_of_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        (tmp_path / name / "artifacts").mkdir(parents=True)
        (tmp_path / name / "artifacts/images.npz").touch()
        (tmp_path / name / "params.yaml").write_text(f"name: {name}\n")
    monkeypatch.chdir(tmp_path / "first")
    runs = [spikevaediff.load("."), spikevaediff.load("artifacts")]
    monkeypatch.chdir(tmp_path / "second")
    for run in runs:
        assert run.root == tmp_path / "first"
        assert run.params == {"name": "first"}


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys, spikevaediff; "
        "print([name for name in ('numpy', 'torch', 'jax', 'matplotlib', 'spikevaediff.api') if name in sys.modules]); "
        "print(all(name in dir(spikevaediff) for name in spikevaediff.__all__))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'vendor'}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\nTrue\n"


def test_every_name_that_is_promised_is_there_and_others_are_answered() -> None:
    for name in spikevaediff.__all__:
        assert callable(getattr(spikevaediff, name))
    with pytest.raises(AttributeError, match=r"has no attribute 'lod'; it has Named, Run, activate, encode"):
        spikevaediff.lod  # noqa: B018


def test_tables_of_pandas_with_nullable_columns_are_taken_and_gaps_refused() -> None:
    whole = np.array(COUNTS, object)
    made = spikevaediff.make_responses(whole, SHOWN.astype(float), **KNOWN)
    assert (made.counts.dtype, made.image_id.dtype) == (np.uint16, np.int64)
    np.testing.assert_array_equal(made.counts[:, :, 0], COUNTS)
    whole[0, 0] = None
    with pytest.raises(ValueError, match="counts has missing values"):
        spikevaediff.make_responses(whole, SHOWN, **KNOWN)
    whole[0, 0] = "a few"
    with pytest.raises(ValueError, match="counts holds values that are no numbers, or are missing: could not convert"):
        spikevaediff.make_responses(whole, SHOWN, **KNOWN)
    with pytest.raises(ValueError, match="counts is of <U21, expected numbers"):
        spikevaediff.make_responses(COUNTS.astype(str), SHOWN, **KNOWN)
    with pytest.raises(ValueError, match="image_id is float64"):
        spikevaediff.make_responses(COUNTS, SHOWN + 0.5, **KNOWN)


def test_turned_counts_are_named() -> None:
    with pytest.raises(ValueError, match=r"counts has 2 rows, image_id 3: expected one per presentation. .* counts.T"):
        spikevaediff.make_responses(COUNTS.T, SHOWN, **KNOWN)


def test_a_record_is_saved_as_npz_alone(tmp_path: Path) -> None:
    made = spikevaediff.make_responses(COUNTS, SHOWN, **KNOWN)
    for name in ("new", "new.dat"):
        with pytest.raises(ValueError, match=rf"{name} does not end in .npz"):
            made.save(tmp_path / name)
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(ValueError, match=r"a.npz is a folder, expected the name of a file"):
        made.save(tmp_path / "a.npz")
    (tmp_path / "picture.png").write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"picture.png is no npz file"):
        Responses.load(tmp_path / "picture.png")
