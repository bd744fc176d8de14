"""Identification from fewer units and presentations: known answers, and the noise that fewer presentations add."""

import numpy as np
import pytest
from conftest import close
from scipy.stats import multivariate_normal

from spikevaediff.encoding import identification, identification_curves
from spikevaediff.encoding.fewer_presentations import Noise
from spikevaediff.recordings import preprocessing

N_IMAGES, N_UNITS, N_TIMES, N_FOLDS = 12, 8, 6, 3
FOLD = np.arange(N_IMAGES) % N_FOLDS
IDS = 10 * np.arange(N_IMAGES)


def task(predicted: np.ndarray, covariance: np.ndarray) -> identification_curves.Task:
    of_folds = np.stack([predicted] * N_FOLDS).astype(np.float32)
    unit = np.tile(np.arange(N_UNITS // 2), 2)  # two time windows per unit
    return identification_curves.Task([covariance] * N_FOLDS, of_folds, FOLD, np.arange(N_IMAGES), unit)


def noisy(scale: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng([2])
    predicted = rng.normal(size=(N_IMAGES, N_UNITS)).astype(np.float32).astype(np.float64)
    mixing = np.eye(N_UNITS) + 0.3 * rng.normal(size=(N_UNITS, N_UNITS))
    image_id = rng.permutation(np.repeat(IDS, N_TIMES))
    x = predicted[image_id // 10] + scale * rng.normal(size=(len(image_id), N_UNITS)) @ mixing.T
    return predicted, mixing @ mixing.T, x, image_id


def test_perfect_predictions_identify_every_image_and_wrong_ones_none() -> None:
    predicted, covariance, _, _ = noisy(0)
    found = identification_curves.over_units(task(predicted, covariance), predicted, [1, 2, 40], n_draws=3, seed=0)
    assert list(found) == [1, 2, 4]
    for first in found.values():
        np.testing.assert_array_equal(first, 1)
    wrong = task(np.roll(predicted, 1, axis=0), covariance)
    for first in identification_curves.over_units(wrong, predicted, [2], n_draws=3, seed=0).values():
        np.testing.assert_array_equal(first, 0)


def test_some_units_are_all_of_their_windows_and_the_likelihood_that_of_scipy() -> None:
    predicted, covariance, x, image_id = noisy(1.0)
    mean = preprocessing.mean_over_presentations(x, image_id, IDS)
    found = identification_curves.over_units(task(predicted, covariance), mean, [2], n_draws=1, seed=5)
    units = np.random.default_rng([5, 0]).permutation(4)[:2]
    columns = np.sort(np.concatenate([units, units + 4]))
    own = covariance[np.ix_(columns, columns)]
    likelihood = np.array(
        [[multivariate_normal.logpdf(r, c, own) for c in predicted[:, columns]] for r in mean[:, columns]]
    )
    np.testing.assert_array_equal(found[2], likelihood.argmax(1) == np.arange(N_IMAGES))
    assert 0 < found[2].mean() < 1


def test_fewer_presentations_identify_fewer_images_and_count_those_that_every_image_has() -> None:
    predicted, covariance, x, image_id = noisy(1.5)
    train = [IDS[k != FOLD] for k in range(N_FOLDS)]
    found = identification_curves.over_presentations(
        task(predicted, covariance / N_TIMES),
        x,
        image_id,
        IDS,
        train,
        preprocessing.mean_over_presentations,
        [1, 3, 9],
        n_draws=8,
        seed=0,
    )
    assert list(found) == [1, 3, N_TIMES]
    assert found[1].mean() < found[N_TIMES].mean()
    mean = preprocessing.mean_over_presentations(x, image_id, IDS)
    likelihood = identification.log_likelihood(mean, predicted, covariance)
    np.testing.assert_array_equal(found[N_TIMES], likelihood.argmax(1) == np.arange(N_IMAGES))


def test_the_noise_that_models_know_is_that_of_their_training_images() -> None:
    """Training images were presented ten times as often as tested ones: the likelihood is that of single responses."""
    predicted, single, x, image_id = noisy(1.0)
    tested, often = IDS[FOLD == 0], np.isin(image_id, IDS[FOLD != 0])
    first = np.concatenate([np.flatnonzero(image_id == i)[:1] for i in tested])
    rows = np.concatenate([first, np.flatnonzero(often)])
    found = identification_curves.over_presentations(
        identification_curves.Task([single / N_TIMES], predicted[None].astype(np.float32), np.zeros(len(tested), int),
                                   np.flatnonzero(FOLD == 0), np.arange(N_UNITS)),
        x[rows], image_id[rows], tested, [IDS[FOLD != 0]], preprocessing.mean_over_presentations, [1],
        n_draws=1, seed=0,
    )  # fmt: skip
    noise = Noise.of(x[often], image_id[often]).single
    own = single / N_TIMES + (1 - 1 / N_TIMES) * noise
    likelihood = np.array([[multivariate_normal.logpdf(r, c, own) for c in predicted] for r in x[first]])
    assert list(found) == [1]
    np.testing.assert_array_equal(found[1], likelihood.argmax(1) == np.flatnonzero(FOLD == 0))


def test_the_noise_of_single_responses_is_their_pooled_covariance() -> None:
    _, _, x, image_id = noisy(1.0)
    expected = sum((np.cov(x[image_id == i].T, ddof=1) for i in IDS), np.zeros((N_UNITS, N_UNITS))) / N_IMAGES
    close(Noise.of(x, image_id).single, expected)
    once = np.arange(N_IMAGES)
    np.testing.assert_array_equal(Noise.of(x[once], once).single, 0)


def test_rows_have_an_interval_around_the_share_and_chance() -> None:
    first = np.array([1.0, 0.0, 0.5, 1.0] * 3)
    (row,) = identification_curves.rows("visual", "units", {4: first}, FOLD, 1 / 12)
    assert row["top1"] == pytest.approx(0.625)
    assert 0 <= row["low"] < 0.625 < row["high"] <= 1
    assert (row["population"], row["of"], row["n"], row["chance"]) == ("visual", "units", 4, 1 / 12)


def test_a_tie_of_two_is_half_a_success() -> None:
    np.testing.assert_array_equal(identification.successes(np.array([0.0, 0.5, 1.0, 7.0])), [1, 0.5, 0, 0])
