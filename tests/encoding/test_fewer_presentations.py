"""Models of means over fewer presentations, against covariances of responses that were drawn with known noise."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import close

from spikevaediff.encoding.encoder import Encoder
from spikevaediff.encoding.fewer_presentations import Noise, models_of
from spikevaediff.records import BLANK, Responses, UnitTable

N_UNITS = 3
ROOT_OF_NOISE = np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 3.0]])
NOISE = ROOT_OF_NOISE @ ROOT_OF_NOISE.T


def encoder(image_id: np.ndarray, covariance: np.ndarray) -> Encoder:
    """Of units that keep their mean."""
    columns = {name: np.zeros(N_UNITS) for name in ("family", "r2", "unit_id", "session_id", "area", "intercept")}
    rows = {name: np.empty(0) for name in Encoder.__dataclass_fields__}
    known = {"image_id": image_id, "covariance": covariance, "row_start": np.zeros(1, np.int64)}
    return Encoder(**rows | columns | known)


def responses(n_of_image: dict[int, int], seed: int, *, mean: float = 0.0) -> Responses:
    """Activity of the noise above around `mean`; so many presentations of each image."""
    shown = np.repeat(list(n_of_image), list(n_of_image.values()))
    drawn = mean + np.random.default_rng(seed).standard_normal((len(shown), N_UNITS)) @ ROOT_OF_NOISE.T
    nothing = [np.full(N_UNITS, np.nan)] * 5
    return Responses.make(
        counts=drawn[:, :, None],
        image_id=shown,
        presentation_id=np.arange(len(shown))[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.1]]),
        units=UnitTable(np.arange(N_UNITS), np.ones(N_UNITS, np.int64), np.array(["V4"] * N_UNITS), *nothing),
    )


def test_a_mean_over_k_presentations_has_the_noise_that_is_expected_of_it() -> None:
    ids, error = np.arange(400), 0.3 * np.eye(N_UNITS)  # error of the model
    known = responses(dict.fromkeys(ids.tolist(), 10) | {BLANK: 5}, 0)
    shown = {1000: 1, 1001: 3, 1002: 10, 1003: 40, 1004: 2}
    model = encoder(ids, error + NOISE / 10)
    every, position = models_of([model], np.zeros(5, np.int64), known, responses(shown, 1), np.array(list(shown)))
    assert position[[2, 3]].tolist() == [0, 0]  # as many as training images had, or more
    assert every[0] is model
    for k, number in zip(shown.values(), position.tolist(), strict=True):
        close(every[number].covariance, error + NOISE / min(k, 10), 0.12)  # steps of a tenth, rounded down
        assert every[number].image_id is ids
    # As many as are drawn: means over three presentations scatter with this covariance.
    means = responses(dict.fromkeys(range(4000), 3), 2).counts[:, :, 0].reshape(4000, 3, N_UNITS).mean(1)
    close(every[position[1]].covariance, error + np.cov(means.T), 0.12)


def test_a_few_presentations_fewer_make_no_difference() -> None:
    known = responses(dict.fromkeys(range(40), 20), 0)
    model = encoder(np.arange(40), NOISE)
    shown = {50: 20, 51: 19, 52: 15, 53: 14, 54: 13}
    every, position = models_of([model], np.zeros(5, np.int64), known, responses(shown, 1), np.array(list(shown)))
    assert position.tolist() == [0, 0, 1, 1, 2]  # 20 / 15 and 20 / 14 are three steps of a tenth
    assert len(every) == 3


def test_unequal_numbers_of_presentations_count_by_the_mean_of_their_inverse() -> None:
    known = responses({0: 2, 1: 4, 2: 8}, 2)
    noise = Noise.of(known.counts[:, :, 0], known.image_id)
    assert noise.share == pytest.approx(np.mean([1 / 2, 1 / 4, 1 / 8]))
    np.testing.assert_array_equal(noise.added(8), 0)
    close(noise.added(1), (1 - noise.share) * noise.single)


def test_where_only_means_are_known_nothing_is_added() -> None:
    ids = np.arange(30)
    model = encoder(ids, NOISE)
    every, position = models_of(
        [model],
        np.zeros(2, np.int64),
        responses(dict.fromkeys(ids.tolist(), 1), 3),
        responses({50: 1, 51: 3}, 4),
        ids[:2] + 50,
    )
    assert every == [model]
    assert position.tolist() == [0, 0]


def test_each_model_has_the_noise_of_its_own_training_images() -> None:
    known = responses(dict.fromkeys(range(20), 6) | dict.fromkeys(range(20, 40), 3), 5)
    models = [encoder(np.arange(20), NOISE), encoder(np.arange(20, 40), NOISE)]
    number = np.array([0, 1, 1])
    every, position = models_of(models, number, known, responses({0: 3, 30: 3, 31: 1}, 6), np.array([0, 30, 31]))
    assert position.tolist() == [2, 1, 3]  # three presentations are few beside six, and enough beside three
    assert len(every) == 4
    assert every[3].image_id.tolist() == list(range(20, 40))


def test_means_are_not_taken_for_single_presentations() -> None:
    """A row of fractions, where the run has counts, is a mean over nobody knows how many."""
    counts = replace(responses(dict.fromkeys(range(20), 6), 5), counts=np.ones((120, N_UNITS, 1), np.uint16))
    counts.counts[::2] = 3
    model, ids = encoder(np.arange(20), NOISE), np.array([50])
    means, single = responses({50: 1}, 6), replace(responses({50: 1}, 6), counts=np.ones((1, N_UNITS, 1), np.uint16))
    assert models_of([model], np.zeros(1, np.int64), counts, means, ids)[1].tolist() == [0]
    assert models_of([model], np.zeros(1, np.int64), counts, single, ids)[1].tolist() == [1]
