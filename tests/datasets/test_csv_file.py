"""CSV as people's programs write it."""

from pathlib import Path

import numpy as np
import pytest

from spikevaediff.datasets.plain_format import csv_file, response_tables
from spikevaediff.datasets.plain_format.response_tables import Findings, Table

VALUES = np.array([[0, 3, 0, 1], [2, 1, 5, 0], [-1, 0, 2, 2], [0, 4, 4, 1], [2, 0, 1, 1]])
PLAIN = "image_id,11,12,15\n" + "\n".join(",".join(map(str, row)) for row in VALUES.tolist()) + "\n"


def table(folder: Path, text: str | bytes) -> tuple[Table | None, Findings]:
    found, path = Findings([], []), folder / "1.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return response_tables.read(path, found), found


def lines(change: object) -> str:
    """PLAIN with each line changed by a function of its number and text."""
    return "".join(f"{change(i, line)}\n" for i, line in enumerate(PLAIN.splitlines()))  # type: ignore[operator]


SAME = {
    "as it should be": PLAIN,
    "lines of Windows": PLAIN.replace("\n", "\r\n"),
    "a byte order mark": b"\xef\xbb\xbf" + PLAIN.encode(),
    "white space": PLAIN.replace(",", " , "),
    "quotes": lines(lambda i, line: ",".join(f'"{value}"' for value in line.split(","))),
    "numbers with points": PLAIN.replace("5", "5.0").replace("15.0", "15"),
    "exponents": PLAIN.replace(",5,", ",0.5e1,"),
    "commas at the end of all lines": lines(lambda i, line: line + ",,"),
    "commas at the end of some lines": lines(lambda i, line: line + ",,," * (i % 2)),
    "empty lines": PLAIN.replace("\n", "\n\n"),
    "lines of commas, as spreadsheets have them": PLAIN + ",,,\n,,,,,,\n",
    "the index of pandas": lines(lambda i, line: f"{'' if i == 0 else i - 1},{line}"),
    "the row names of R": lines(lambda i, line: f'"{"" if i == 0 else i}",{line}'),
    "the index of pandas, written twice over": lines(lambda i, line: f"{'Unnamed: 0' if i == 0 else i - 1},{line}"),
    "an index and commas at the end": lines(lambda i, line: f"{'' if i == 0 else i - 1},{line},"),
}


@pytest.mark.parametrize("case", SAME)
def test_what_programs_add_changes_no_number(tmp_path: Path, case: str) -> None:
    read, found = table(tmp_path, SAME[case])
    assert found.problems == []
    assert read is not None
    np.testing.assert_array_equal(read.responses[:, :, 0], VALUES[:, 1:])
    np.testing.assert_array_equal(read.image_id, VALUES[:, 0])
    assert read.unit_id.tolist() == [11, 12, 15]
    told = any("the first column has no name and is not used" in note for note in found.notes)
    assert told == ("index" in case or "row names" in case)


REFUSED = {
    "5_0, which Python reads as 50": (PLAIN.replace("5,0", "5_0,0"), r"expected numbers in line 3, column 12: '5_0'"),
    "a number of another alphabet": (PLAIN.replace("5,0", "٥,0"), r"expected numbers in line 3, column 12: '٥'"),
    "hexadecimal": (PLAIN.replace("5,0", "0x5,0"), r"expected numbers in line 3, column 12: '0x5'"),
    "a blank cell": (PLAIN.replace("5,0", ",0"), r"expected numbers in line 3, column 12: ''"),
    "NA of R": (PLAIN.replace("5,0", "NA,0"), r"expected numbers in line 3, column 12: 'NA'"),
    "NaN of pandas": (PLAIN.replace("5,0", "NaN,0"), r"not finite in 1 places, in 1 of 5 presentations and of unit 12"),
    "Inf of R": (PLAIN.replace("5,0", "Inf,0"), r"not finite in 1 places"),
    "#DIV/0! of a spreadsheet": (PLAIN.replace("5,0", "#DIV/0!,0"), r"column 12: '#DIV/0!'"),
    "semicolons": (PLAIN.replace(",", ";"), r"is separated by ';', expected commas .* begins with 'image_id;11;12;15'"),
    "tabs": (PLAIN.replace(",", "\t"), r"is separated by '\\t', expected commas"),
    "decimal commas": (
        PLAIN.replace(",", ";").replace("5;", "0,5;"),
        r"is separated by ';', expected commas \(and poi",
    ),
    "UTF-16": (PLAIN.encode("utf-16"), r"is not CSV in UTF-8 \(.*\). Save it as CSV UTF-8"),
    "row names without a name": (lines(lambda i, line: line if i == 0 else f"{i},{line}"), "does not have 4 values"),
    "a unit twice, renamed by pandas": (
        PLAIN.replace("11,12", "11,11.1"),
        r"begins with '11.1', expected image_id and",
    ),
    "a column without a name": (PLAIN.replace("11,12", "11,"), r"begins with '', expected image_id and the numbers of"),
    "an id of twenty digits": (PLAIN.replace("11,12", f"{10**19},12"), r"begins with '10{19}', expected image_id"),
    "a header alone": ("image_id,11\n", "has no presentation below its header"),
    "nothing": ("", r"begins with '', expected image_id"),
    "commas alone": (",,,\n,,\n", r"begins with '', expected image_id"),
    "-1 for missing counts": (
        PLAIN.replace("5,0", "-1,0"),
        r"responses are -1 in 1 places and nothing like it elsewhere",
    ),
    "-999 for missing numbers": (
        PLAIN.replace("5,0", "-999,0.5"),
        r"responses are -999 in 1 places and nothing like it",
    ),
    "-9 twice among numbers": (PLAIN.replace("5,0", "-9,-9") + "3,0.5,1,2\n", r"responses are -9 in 2 places and noth"),
    "two marks": (PLAIN.replace("5,0", "-1,-9"), r"responses are -1, -9 in 2 places and nothing like it"),
    "255 for missing counts": (PLAIN.replace("5,0", "255,255"), r"responses are 255 in 2 places and nothing like it"),
    "-9999 among numbers around 0": (
        PLAIN.replace("5,0", "-9999,-1.5"),
        r"responses are -9999 in 1 places and nothing like it",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_have_to_be_guessed_is_refused(tmp_path: Path, case: str) -> None:
    text, message = REFUSED[case]
    _, found = table(tmp_path, text)
    (problem,) = found.problems
    assert problem.startswith("sessions/1.csv")
    assert "\n" not in problem
    with pytest.raises(ValueError, match=message):
        raise ValueError(problem)


def test_activity_below_zero_is_no_mark_of_missing_values(tmp_path: Path) -> None:
    for text in (PLAIN.replace("5,0", "-1.5,0.25"), PLAIN.replace("5,0", "-1,-2"), PLAIN.replace("5,0", "-9,0.5")):
        assert table(tmp_path, text)[1].problems == []


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5.0), ("-2.5", -2.5), ("+3.", 3.0), (".5", 0.5), ("1e-3", 1e-3), ("2E+2", 200.0)]
    + [(text, None) for text in ("5_0", "1,5", "", " ", "e5", "0x1F", "1e", "--1", "٣", "1 000", "5-", "true")],
)
def test_numbers_are_written_as_numbers(text: str, value: float | None) -> None:
    assert csv_file.number(text) == value


def test_whole_numbers_have_an_end() -> None:
    assert csv_file.whole_number("0017") == 17
    assert csv_file.whole_number("-3") == -3
    for text in ("1_7", "17.0", "", "9" * 16, "9" * 5000, "²", "٣"):
        assert csv_file.whole_number(text) is None
