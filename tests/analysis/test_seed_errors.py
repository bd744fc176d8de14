"""Each mistake is the one that it is said to be: it destroys or flatters the score of a session that is known."""

from functools import partial

import numpy as np
import pytest

from spikevaediff.analysis import seed_errors
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, UnitTable
from spikevaediff.regression.methods import ridge

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


def fit(z: np.ndarray, y: np.ndarray, alphas: tuple[float, ...] = ALPHAS) -> ridge.Fit:
    return ridge.fit(
        z,
        y,
        y_row=np.arange(len(z)),
        group_size=np.array([N_DIMS]),
        alphas=alphas,
        alpha_scope="global",
        folds="image",
        seed=0,
    )


def similarity(predicted: np.ndarray, features: Features) -> float:
    truth = features.rows(SPLIT.test_ids)
    a, b = predicted - predicted.mean(0, keepdims=True), truth - truth.mean(0, keepdims=True)
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


@pytest.fixture(scope="module")
def found(features: Features, responses: Responses) -> dict[str, np.ndarray]:
    x = responses.counts[:, :, 0].astype(np.float64)
    right = partial(seed_errors.image_rows, x, responses)
    wrong = partial(seed_errors.misaligned_rows, x, responses, every_id=SPLIT.image_id)
    noise = seed_errors.noise_targets(features, seed=0)
    run = partial(seed_errors.out_of_fold, split=SPLIT, predict=ridge.predict)
    return {
        "none": run(right, features, fit=fit, how="train"),
        "noise_targets": run(right, noise, fit=fit, how="train"),
        "training_rows_predicted": seed_errors.fitted_to_themselves(
            right, features, SPLIT, fit=fit, predict=ridge.predict, how="train"
        ),
        "misaligned_rows": run(wrong, features, fit=fit, how="train"),
        "nsd_alphas": run(right, features, fit=partial(fit, alphas=(seed_errors.NSD_ALPHA,)), how="none"),
        "test_renormalisation": run(right, features, fit=fit, how="test_legacy"),
    }


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


def test_noise_belongs_to_its_image(features: Features) -> None:
    every = seed_errors.noise_targets(features, seed=0)
    again = seed_errors.noise_targets(features, seed=0)
    other = seed_errors.noise_targets(features, seed=1)
    np.testing.assert_array_equal(every.values, again.values)
    assert not np.array_equal(every.values, other.values)
    assert abs(np.corrcoef(every.values.ravel(), features.values.ravel())[0, 1]) < 0.2


def test_every_mistake_has_a_sentence() -> None:
    assert next(iter(seed_errors.ERRORS)) == "none"
    assert all(text[0].isupper() and not text.endswith(".") for text in seed_errors.ERRORS.values())


def test_statistics_of_test_images_need_two_of_them() -> None:
    assert seed_errors.possible(SPLIT) == list(seed_errors.ERRORS)
    alone = seed_errors.possible(ImageSplit(np.arange(5), np.arange(5)))
    assert alone == [name for name in seed_errors.ERRORS if "test_renormalisation" not in name]
    assert len(alone) == len(seed_errors.ERRORS) - 2
