"""The type of responses: what rounding would cost, and what an earlier cast has cost already."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikevaediff.datasets.plain_format import response_tables
from spikevaediff.datasets.plain_format.response_tables import Findings, Table
from spikevaediff.recordings import precision

RNG = np.random.default_rng([11])
COUNTS = RNG.poisson(4.0, (60, 3, 1))
NOISE = RNG.standard_normal((60, 3, 1))


def read(folder: Path, responses: np.ndarray, kind: str = "npz") -> tuple[Table | None, Findings]:
    found, path = Findings([], []), folder / f"1.{kind}"
    image_id = np.arange(len(responses)) % 7
    if kind == "npz":
        np.savez(path, responses=responses[:, :, 0], image_id=image_id, unit_id=np.array([5, 6, 8]))
    else:
        lines = ["image_id,5,6,8"]
        for i, row in zip(image_id.tolist(), responses[:, :, 0].tolist(), strict=True):
            lines.append(",".join(map(repr, [i, *row])))
        path.write_text("\n".join(lines))
    return response_tables.read(path, found), found


def only(unit: int, values: np.ndarray, others: np.ndarray = COUNTS) -> np.ndarray:
    """One unit's numbers beside those of others."""
    made = others.astype(values.dtype)
    made[:, unit] = values[:, unit]
    return made


@pytest.mark.parametrize("kind", ["npz", "csv"])
@pytest.mark.parametrize(
    ("responses", "dtype"),
    [
        (COUNTS, np.uint16),
        (COUNTS.astype(float), np.uint16),
        (COUNTS * 0.5 - 1, np.float32),
        (NOISE, np.float32),
        (NOISE + 100, np.float32),
        (only(1, NOISE * 0.01 + 1e4), np.float64),  # float32 has steps of 0.001 there
        (COUNTS + 2**22 + 0.25, np.float64),  # of 0.5 there
        (only(2, NOISE * 1e14), np.float32),
        (only(2, NOISE * 1e-14), np.float32),
    ],
)
def test_each_response_keeps_its_signal(tmp_path: Path, responses: np.ndarray, dtype: Any, kind: str) -> None:
    table, found = read(tmp_path, responses, kind)
    assert found.problems == []
    assert table is not None
    assert table.responses.dtype == dtype
    exact, largest = responses.astype(np.float64), np.abs(responses).max((0, 2), keepdims=True)
    lost = np.std((table.responses - exact) / largest, axis=(0, 2)) / np.std(exact / largest, axis=(0, 2))
    assert np.all(lost < precision.COST)


@pytest.mark.parametrize("kind", ["npz", "csv"])
@pytest.mark.parametrize(
    "responses",
    [
        only(1, NOISE * 0.01 + 1e6),  # float32 has steps of 0.06 there
        only(1, COUNTS + 2**27),  # of 8 to 16 there
        only(1, COUNTS + 2**40),
        only(1, NOISE * 1e60),  # infinite in float32
        only(1, NOISE * 1e-60),  # 0 in float32
        only(1, NOISE * 1e200),  # with squares that are infinite
    ],
)
def test_what_encoding_models_would_lose_is_refused(tmp_path: Path, responses: np.ndarray, kind: str) -> None:
    _, found = read(tmp_path, responses, kind)
    (problem,) = found.problems
    assert "responses of unit 6 vary so little around their mean, or are so small or large" in problem
    assert "Subtract the mean of each unit" in problem


def test_a_unit_that_never_changes_decides_nothing(tmp_path: Path) -> None:
    constant = only(0, np.full((60, 3, 1), 0.1), NOISE)
    table, found = read(tmp_path, constant)
    assert table is not None
    assert table.responses.dtype == np.float32
    assert np.ptp(table.responses[:, 0]) == 0
    assert any("unit 5 never changes" in note for note in found.notes)


LEAST = COUNTS.min()
NEGATIVE = np.where(COUNTS > LEAST, COUNTS, -1)


@pytest.mark.parametrize(
    "written",
    [
        NEGATIVE.astype(np.uint8),
        NEGATIVE.astype(np.uint16),
        NEGATIVE.astype(np.uint32),
        (COUNTS * 5 + 100).astype(np.int8),  # above 127
        NEGATIVE.astype(np.uint16).astype(np.int64),  # wrapped before it was written
        NEGATIVE.astype(np.uint32).astype(np.float64),
    ],
)
def test_numbers_that_began_anew_in_a_small_type_are_refused(tmp_path: Path, written: np.ndarray) -> None:
    # Text has no type, so that 255 alone is no sign of one.
    for kind in ("npz", "csv") if written.dtype.itemsize > 1 else ("npz",):
        _, found = read(tmp_path, only(1, written, COUNTS % 5), kind)
        (problem,) = found.problems
        if written.max() in (255, 65535):  # which mark missing values as well
            assert re.search(
                r"1\.\w+: responses are (255|65535) in 3 places .* or -1 in a type without a sign", problem
            )
            continue
        assert problem.startswith(f"sessions/1.{kind}: responses of unit 6 are from")
        assert "negative numbers had been written into an unsigned type" in problem


@pytest.mark.parametrize(
    "responses",
    [
        NEGATIVE.astype(np.uint64),
        NEGATIVE.astype(np.uint16) - np.uint16(3),  # all of them near the end, and some beyond
    ],
)
def test_wide_types_begin_anew_too(responses: np.ndarray) -> None:
    assert precision.wrapped(responses).tolist() == (responses > 2**15).any((0, 2)).tolist()
    assert precision.wrapped(responses).any()


@pytest.mark.parametrize(
    "responses",
    [
        COUNTS.astype(np.uint8),
        (COUNTS * 3000 + 20000).astype(np.uint16),  # raw fluorescence across the middle of the type
        (RNG.integers(0, 65536, (60, 3, 1))).astype(np.uint16),
        (NOISE * 40).astype(np.int8),
        (NOISE * 1e4).astype(np.int16),
        COUNTS - 5,
        NOISE * 1e5,
        COUNTS.astype(bool),
    ],
)
def test_numbers_that_fill_their_type_are_taken_as_they_are(responses: np.ndarray) -> None:
    assert not precision.wrapped(responses).any()


@pytest.mark.parametrize(
    ("responses", "says"),
    [
        ((NOISE * 0.02 + 1e6).astype(np.float32), "by less than a step of float32"),
        ((NOISE * 0.3 + 1e3).astype(np.float16), "by less than a step of float16"),
        (COUNTS % 2 + 2**60, "by less than a step of int64"),
    ],
)
def test_what_an_earlier_cast_has_lost_is_refused(tmp_path: Path, responses: np.ndarray, says: str) -> None:
    _, found = read(tmp_path, responses)
    (problem,) = found.problems
    assert "responses of unit 5, 6, 8 change" in problem
    assert says in problem


def test_float32_that_holds_its_signal_is_read_as_it_is(tmp_path: Path) -> None:
    written = (NOISE * 0.5 + 1e6).astype(np.float32)
    table, found = read(tmp_path, written)
    assert found.problems == []
    assert table is not None
    np.testing.assert_array_equal(table.responses, written)
