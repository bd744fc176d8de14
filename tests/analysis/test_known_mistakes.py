"""Each mistake is the one that it is said to be: it destroys or flatters the score of a session that is known."""

import numpy as np
import pytest

from spikevaediff.analysis import known_mistakes
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, UnitTable
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.task import Task

N_IMAGES, N_UNITS, N_REPEATS, N_DIMS = 30, 12, 4, 20
ALPHAS = (0.1, 1.0, 10.0, 100.0)


@pytest.fixture(scope="module")
def features() -> Features:
    values = np.random.default_rng([1]).normal(size=(N_IMAGES, N_DIMS)).astype(np.float32)
    # Most of what the images differ in lies in a few directions, so that few units can predict it.
    values = values[:, :3] @ np.random.default_rng([2]).normal(size=(3, N_DIMS)).astype(np.float32) + 0.1 * values
    return Features("vdvae", np.arange(N_IMAGES), values, np.array(["all"]), np.array([N_DIMS]))


@pytest.fixture(scope="module")
def responses(features: Features) -> Responses:
    """Poisson counts of units that are linear in the features; presentations in random order, with blanks."""
    rng = np.random.default_rng([3])
    ids = rng.permutation(np.r_[np.repeat(np.arange(N_IMAGES), N_REPEATS), np.full(10, BLANK)])
    drive = features.values @ rng.normal(size=(N_DIMS, N_UNITS))
    rate = 20 + 6 * drive / drive.std(0, keepdims=True)
    counts = rng.poisson(np.clip(np.where(ids[:, None] == BLANK, 20, rate[ids]), 0.1, None)).astype(np.uint16)
    nothing = np.full(N_UNITS, np.nan)
    units = UnitTable(
        np.arange(N_UNITS), np.ones(N_UNITS, np.int64), np.full(N_UNITS, "VISp"), *[nothing.copy() for _ in range(5)]
    )
    return Responses.make(
        counts=counts[:, :, None],
        image_id=ids,
        presentation_id=np.arange(len(ids))[:, None],
        session_id=np.array([1]),
        window_s=np.array([[0.0, 0.25]]),
        units=units,
    )


SPLIT = ImageSplit(np.arange(N_IMAGES), np.arange(N_IMAGES) % 5)


def similarity(predicted: np.ndarray, features: Features) -> float:
    truth = features.rows(SPLIT.test_ids)
    a, b = predicted - predicted.mean(0, keepdims=True), truth - truth.mean(0, keepdims=True)
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.fixture(scope="module")
def task(features: Features, responses: Responses) -> Task:
    options = {
        "group_size": features.group_size,
        "alphas": ALPHAS,
        "alpha_scope": "global",
        "folds": "image",
        "seed": 0,
    }
    return Task("vdvae", "visual", responses, SPLIT, features, None, [], None, ridge, "none", "train", options)


@pytest.fixture(scope="module")
def found(task: Task) -> dict[str, np.ndarray]:
    return {name: known_mistakes.predicted(task, name, seed=0) for name in known_mistakes.ERRORS}


def test_the_honest_run_finds_what_is_there(found: dict[str, np.ndarray], features: Features) -> None:
    assert similarity(found["none"], features) > 0.6


@pytest.mark.parametrize("mistake", ["noise_targets", "misaligned_rows"])
def test_some_mistakes_leave_nothing(mistake: str, found: dict[str, np.ndarray], features: Features) -> None:
    assert abs(similarity(found[mistake], features)) < 0.3


def test_predicting_the_training_rows_flatters(found: dict[str, np.ndarray], features: Features) -> None:
    assert similarity(found["training_rows_predicted"], features) > similarity(found["none"], features)


def test_penalties_of_a_larger_data_set_predict_the_mean(found: dict[str, np.ndarray], features: Features) -> None:
    for fold in range(SPLIT.n_folds):
        _, test = SPLIT.ids(fold)
        assert found["nsd_alphas"][test].std(0).mean() < 0.02 * features.values.std(0).mean()


def test_test_renormalisation_gives_every_fold_the_spread_of_its_training_targets(
    found: dict[str, np.ndarray], features: Features
) -> None:
    for fold in range(SPLIT.n_folds):
        train, test = SPLIT.ids(fold)
        np.testing.assert_allclose(found["test_renormalisation"][test].std(0), features.rows(train).std(0), rtol=1e-3)


def test_the_published_run_makes_both_mistakes(found: dict[str, np.ndarray], features: Features) -> None:
    both = found["nsd_alphas_and_test_renormalisation"]
    for fold in range(SPLIT.n_folds):
        train, test = SPLIT.ids(fold)
        np.testing.assert_allclose(both[test].std(0), features.rows(train).std(0), rtol=1e-3)
    assert np.abs(both - found["test_renormalisation"]).max() > 0.01


def test_a_mistake_that_there_is_not_is_refused(task: Task) -> None:
    with pytest.raises(KeyError, match="there is no mistake 'nsd_alpha'; there are none, noise_targets, "):
        known_mistakes.predicted(task, "nsd_alpha", seed=0)


def test_noise_belongs_to_its_image(features: Features) -> None:
    every = known_mistakes.noise_targets(features, seed=0)
    again = known_mistakes.noise_targets(features, seed=0)
    other = known_mistakes.noise_targets(features, seed=1)
    np.testing.assert_array_equal(every.values, again.values)
    assert not np.array_equal(every.values, other.values)
    assert abs(np.corrcoef(every.values.ravel(), features.values.ravel())[0, 1]) < 0.2


def test_every_mistake_has_a_sentence() -> None:
    assert next(iter(known_mistakes.ERRORS)) == "none"
    assert all(text[0].isupper() and not text.endswith(".") for text in known_mistakes.ERRORS.values())


def test_statistics_of_test_images_need_two_of_them() -> None:
    in_disorder = SPLIT.image_id[::-1]
    assert known_mistakes.possible(SPLIT, in_disorder) == list(known_mistakes.ERRORS)
    alone = known_mistakes.possible(ImageSplit(np.arange(5), np.arange(5)), np.arange(5)[::-1])
    assert alone == [name for name in known_mistakes.ERRORS if "test_renormalisation" not in name]
    assert len(alone) == len(known_mistakes.ERRORS) - 2


def test_rows_that_are_the_images_in_order_cannot_be_misaligned() -> None:
    """A table of means over presentations: its rows, without blanks, are the images."""
    rows = np.concatenate([[-1], SPLIT.image_id])
    assert known_mistakes.possible(SPLIT, rows) == [name for name in known_mistakes.ERRORS if name != "misaligned_rows"]
