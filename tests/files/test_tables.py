"""Tables between stages: the same text everywhere, whole or not at all."""

from pathlib import Path

import pytest

from spikevaediff.files import tables


def test_tables_have_the_same_line_ends_and_digits_everywhere() -> None:
    rows = [{"layer": "00 (1x1)", "r": 1 / 3, "n": 7}, {"layer": 'a "b", c', "r": 2.0, "n": None}]
    assert tables.text([{"r": -1e-9}], digits=4) == "r\n0.0\n"
    assert tables.text(rows, digits=4) == 'layer,r,n\n00 (1x1),0.3333,7\n"a ""b"", c",2.0,\n'


def test_what_is_written_is_read_as_text(tmp_path: Path) -> None:
    tables.write(tmp_path / "new/a.csv", [{"area": "VISp", "p": 0.123456789}, {"area": "LGd, shell", "p": 1.0}])
    assert tables.read(tmp_path / "new/a.csv") == [
        {"area": "VISp", "p": "0.12346"},
        {"area": "LGd, shell", "p": "1.0"},
    ]
    tables.write(tmp_path / "none.csv", [])
    assert tables.read(tmp_path / "none.csv") == []


def test_a_table_that_is_not_there_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"b.csv does not exist. Make it with: dvc repro"):
        tables.read(tmp_path / "b.csv")


def test_a_row_with_another_column_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dict contains fields not in fieldnames: 'b'"):
        tables.write(tmp_path / "a.csv", [{"a": 1}, {"a": 2, "b": 3}])
    assert list(tmp_path.iterdir()) == []


def test_responses_in_a_small_unit_of_measure_keep_their_digits() -> None:
    rows = [{"p": 4.312345678e-7, "volt": 4.312345678e-7}, {"p": 0.5, "volt": -123.4567891}, {"p": 0.0, "volt": -0.0}]
    assert tables.text(rows, digits=5, significant=("volt",)).splitlines() == [
        "p,volt",
        "0.0,4.31235e-07",
        "0.5,-123.45679",
        "0.0,0.0",
    ]
