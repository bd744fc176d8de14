"""Identification from short windows: lines with a known answer, and a recording in which the image arrives late."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import close

from spikevaediff.encoding import identification_over_time
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.records import Responses, UnitTable

N_IMAGES, N_UNITS, N_TIMES, N_FOLDS = 24, 40, 8, 3
IDS = 5 * np.arange(N_IMAGES)
FOLD = np.arange(N_IMAGES) % N_FOLDS
DRIVE = np.random.default_rng(0).gamma(2.0, 2.0, (N_IMAGES, N_UNITS))  # of the whole response: the truth
NO_DRIVE = 3  # a unit that keeps its mean


def units() -> UnitTable:
    unknown = np.full(N_UNITS, np.nan)
    area = np.full(N_UNITS, "VISp")
    return UnitTable(100 + np.arange(N_UNITS), np.full(N_UNITS, 7), area, *[unknown] * 5)


def model(fold: int, n_windows: int = 1) -> Encoder:
    """A model that knows the truth, one window after the other a share of it."""
    train = np.flatnonzero(fold != FOLD)
    n = N_UNITS * n_windows
    left_out = np.tile(DRIVE[train] / n_windows, n_windows)
    family = np.zeros(n, np.int64)
    for window in range(n_windows):
        # Its left-out prediction is its left-out mean, which falls where the response rises.
        column = window * N_UNITS + NO_DRIVE
        family[column] = -1
        y = left_out[:, column]
        left_out[:, column] = y.mean() + (y.mean() - y) / (len(y) - 1)
    empty = np.zeros(0, np.int64)
    table = units()
    return Encoder(
        family_name=np.array(["luminance"]), family=family, row_column=empty, row_family=empty, row_layer=empty,
        row_window=np.zeros((0, 3)), row_start=np.zeros(1, np.int64), weight=np.zeros(0, np.float32),
        intercept=np.zeros(n), covariance=np.eye(n), shrinkage=np.array(0.0), image_id=IDS[train], left_out=left_out,
        r2=np.ones(n), n_best=np.array(1), unit_id=np.tile(table.unit_id, n_windows),
        session_id=np.tile(table.session_id, n_windows), area=np.tile(table.area, n_windows),
    )  # fmt: skip


def recorded() -> Responses:
    """Before, at and after the response: nothing, nothing, then 0.6 of the drive beside 1 spike."""
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(N_IMAGES), N_TIMES)
    rate = np.stack(
        [np.full((len(image), N_UNITS), 2.0), np.full((len(image), N_UNITS), 2.0), 1 + 0.6 * DRIVE[image]], 2
    )
    counts = rng.poisson(rate).astype(np.uint16)
    order = rng.permutation(len(image))
    return Responses.make(
        counts=counts[order],
        image_id=IDS[image[order]],
        presentation_id=np.arange(len(image))[:, None],
        session_id=np.array([7]),
        window_s=np.array([[-0.05, 0.0], [0.0, 0.05], [0.05, 0.1]]),
        units=units(),
    )


def found(n_windows: int = 1, responses: Responses | None = None) -> dict[int, np.ndarray]:
    predicted = np.tile(DRIVE / n_windows, n_windows).astype(np.float32)
    return identification_over_time.over_time(
        [model(k, n_windows) for k in range(N_FOLDS)],
        np.stack([predicted] * N_FOLDS),
        FOLD,
        np.arange(N_IMAGES),
        IDS,
        recorded() if responses is None else responses,
    )


def test_lines_are_those_of_least_squares_and_never_fall() -> None:
    rng = np.random.default_rng(2)
    drive = rng.standard_normal((30, 4))
    response = 3 + drive * [2.0, -1.0, 0.5, 0.0] + 0.1 * rng.standard_normal((30, 4))
    drive[:, 3] = 1.5  # never varies
    a, b = identification_over_time.lines(drive, response)
    for unit in (0, 2):
        slope, start = np.polyfit(drive[:, unit], response[:, unit], 1)
        close(np.array([a[unit], b[unit]]), np.array([start, slope]))
    np.testing.assert_array_equal(b[[1, 3]], 0)
    close(a[[1, 3]], response.mean(0)[[1, 3]])


def test_images_are_identified_from_when_the_response_begins_and_by_chance_before() -> None:
    shares = {time: first.mean() for time, first in found().items()}
    assert list(shares) == [-25, 25, 75]
    assert max(shares[-25], shares[25]) < 0.2
    assert shares[75] > 0.9


def test_windows_of_a_unit_are_one_drive() -> None:
    for one, two in zip(found().values(), found(n_windows=2).values(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_unit_that_keeps_its_mean_tells_nothing() -> None:
    """Its left-out mean would give the response away exactly."""
    responses = recorded()
    other = responses.counts.copy()
    other[:, NO_DRIVE] = other[:, NO_DRIVE, ::-1]
    for one, two in zip(found().values(), found(responses=replace(responses, counts=other)).values(), strict=True):
        assert abs(one.mean() - two.mean()) < 0.1


def test_responses_of_other_units_are_refused() -> None:
    responses = replace(recorded(), unit_unit_id=np.arange(N_UNITS))
    with pytest.raises(ValueError, match="of other units than the encoding models: dvc repro encode"):
        found(responses=responses)
