"""The weight of a library, against explicit refits in float64: it is chosen by images that nothing has learnt from."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from conftest import close

from spikevaediff.records import ImageSplit, read_npz
from spikevaediff.regression import cross_validation, library_weight, renormalise
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.parts import parts
from spikevaediff.report.figures import fit_plots

N_REAL, N_LIBRARY, N_UNITS, N_TARGETS, WEIGHT = 24, 40, 6, 9, 0.3
ALPHAS = [1.0, 10.0, 100.0]
ONE = Budget(devices=jax.devices()[:1])
OPTIONS: dict[str, Any] = {
    "group_size": np.array([4, 5]),
    "alphas": ALPHAS,
    "alpha_scope": "target",
    "folds": "image",
    "seed": 0,
}


def data(n_units: int = N_UNITS, *, error: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Real rows, then those of a library, whose level differs in responses and targets."""
    rng = np.random.default_rng(n_units)
    n = N_REAL + N_LIBRARY
    latent = rng.normal(size=(n, 3))
    x = latent @ rng.normal(size=(3, n_units)) + rng.normal(size=(n, n_units))
    y = 5 + latent @ rng.normal(size=(3, N_TARGETS)) + 0.5 * rng.normal(size=(n, N_TARGETS))
    x[N_REAL:] += 0.7 + error * rng.normal(size=(N_LIBRARY, n_units))
    y[N_REAL:] -= 3.0
    return x, y


def refit(x: np.ndarray, y: np.ndarray, alpha: float, out: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercept of two regressions that share slopes, the library's with its own mean; one row left out."""
    real = np.setdiff1d(np.arange(N_REAL), [] if out is None else [out])
    # The library's level is that of the complete fit, whichever image is left out.
    a = np.concatenate([x[real] - x[real].mean(0), x[N_REAL:] - x[N_REAL:].mean(0)])
    b = np.concatenate([y[real] - y[real].mean(0), y[N_REAL:] - y[N_REAL:].mean(0)])
    weight = np.repeat([1.0, WEIGHT], [len(real), N_LIBRARY])
    slopes = np.linalg.solve((a.T * weight) @ a + alpha * np.eye(x.shape[1]), (a.T * weight) @ b)
    return slopes, y[real].mean(0) - x[real].mean(0) @ slopes


# Fewer units than rows, and more.
@pytest.mark.parametrize("n_units", [N_UNITS, N_REAL + N_LIBRARY + 5])
@pytest.mark.parametrize("scope", ["target", "global"])
def test_predictions_scores_and_spread_are_those_of_weighted_refits(n_units: int, scope: str) -> None:
    x, y = data(n_units)
    rows = np.arange(len(x))
    options = OPTIONS | {"alpha_scope": scope, "n_scored": N_REAL, "library_weight": WEIGHT, "budget": ONE}
    fit = ridge.fit(x, y, y_row=rows, **options)
    left_out = np.empty((len(ALPHAS), N_REAL, N_TARGETS))
    for number, alpha in enumerate(ALPHAS):
        for image in range(N_REAL):
            slopes, intercept = refit(x, y, alpha, image)
            left_out[number, image] = x[image] @ slopes + intercept
    loss = ((y[:N_REAL] - left_out) ** 2).sum(1)
    chosen = loss.argmin(0) if scope == "target" else np.full(N_TARGETS, loss.sum(1).argmin())
    np.testing.assert_array_equal(fit.candidate, chosen)
    taken, squares = loss[chosen, np.arange(N_TARGETS)], ((y[:N_REAL] - y[:N_REAL].mean(0)) ** 2).sum(0)
    close(fit.loo_r2, 1 - taken / squares, 1e-8)
    predicted = left_out[chosen, :, np.arange(N_TARGETS)].T
    others = (y[:N_REAL].sum(0) - y[:N_REAL]) / (N_REAL - 1)
    close(renormalise.left_out_deviations(fit), predicted - others, 1e-8)
    new = np.random.default_rng(1).normal(size=(4, n_units))
    expected = np.empty((4, N_TARGETS))
    for target, number in enumerate(chosen.tolist()):
        slopes, intercept = refit(x, y, ALPHAS[number])
        expected[:, target] = (new @ slopes + intercept)[:, target]
    close(ridge.predict(fit, new, budget=ONE), expected, 1e-9)
    assert fit.library_weight == WEIGHT


def test_the_level_of_a_library_has_no_say() -> None:
    x, y = data()
    options = OPTIONS | {"y_row": np.arange(len(x)), "n_scored": N_REAL, "library_weight": WEIGHT, "budget": ONE}
    higher_x, higher_y = x.copy(), y.copy()
    higher_x[N_REAL:] += 20
    higher_y[N_REAL:] -= 50
    close(
        ridge.predict(ridge.fit(higher_x, higher_y, **options), x, budget=ONE),
        ridge.predict(ridge.fit(x, y, **options), x, budget=ONE),
        1e-9,
    )


def test_a_weight_is_positive_and_needs_rows_that_are_never_left_out() -> None:
    x, y = data()
    options = OPTIONS | {"y_row": np.arange(len(x))}
    for weight in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match=r"library_weight is .*, expected a positive number"):
            ridge.fit(x, y, n_scored=N_REAL, library_weight=weight, **options)
    with pytest.raises(ValueError, match="for rows from n_scored on beside others of weight one"):
        ridge.fit(x, y, library_weight=1.0, **options)


@pytest.mark.parametrize(("n", "n_parts"), [(10, 5), (106, 5), (300, 2), (960, 1)])
def test_fifths_of_the_training_images_are_left_out_until_a_hundred_were(n: int, n_parts: int) -> None:
    train = np.arange(n + 7) >= 7
    found = parts(train)
    assert len(found) == n_parts
    assert not np.any(np.stack(found) & ~train)
    assert np.sum(found, axis=0).max() == 1
    assert all(abs(part.sum() - n / 5) < 1 for part in found)
    assert np.sum(found) >= min(n, 100)


def chosen(x: np.ndarray, y: np.ndarray, weights: list[float]) -> tuple[float, float]:
    train = np.ones(N_REAL, bool)
    answers = [x[N_REAL:]] * len(parts(train))
    return library_weight.choose(x[:N_REAL], y, train, answers, weights, ridge, OPTIONS)


def test_weight_and_penalty_are_those_that_predict_images_best_which_nothing_has_seen() -> None:
    """In closed form as by refits to all targets, of which there are more than rows."""
    x, y = data(error=0.1)
    y = np.concatenate([y, y @ np.random.default_rng(2).normal(size=(N_TARGETS, 90)) ** 3], axis=1)
    train = np.ones(N_REAL, bool)
    rng = np.random.default_rng(3)
    answers = [x[N_REAL:] + 0.3 * rng.normal(size=(N_LIBRARY, N_UNITS)) for _ in parts(train)]
    offered = [0.0, 0.1, 1.0]
    loss = np.zeros((len(offered), len(ALPHAS)))
    for part, answer in zip(parts(train), answers, strict=True):
        kept = np.flatnonzero(~part)
        for number, weight in enumerate(offered):
            each = np.repeat([1.0, weight], [len(kept), N_LIBRARY])
            a = np.concatenate([x[kept] - x[kept].mean(0), answer - answer.mean(0)])
            b = np.concatenate([y[kept] - y[kept].mean(0), y[N_REAL:] - y[N_REAL:].mean(0)])
            for place, alpha in enumerate(ALPHAS):
                slopes = np.linalg.solve((a.T * each) @ a + alpha * np.eye(N_UNITS), (a.T * each) @ b)
                error = y[:N_REAL][part] - (x[:N_REAL][part] - x[kept].mean(0)) @ slopes - y[kept].mean(0)
                loss[number, place] += np.sum(error**2)
    best = np.unravel_index(loss.argmin(), loss.shape)
    found = library_weight.choose(x[:N_REAL], y, train, answers, offered, ridge, OPTIONS)
    assert found == (offered[best[0]], ALPHAS[best[1]])


def test_a_library_of_other_answers_gets_no_weight_and_a_good_one_does() -> None:
    x, y = data(error=0.1)
    assert chosen(x, y, [0.0, 1.0])[0] == 1.0
    x[N_REAL:] = np.random.default_rng(4).permutation(x[N_REAL:])
    y[N_REAL:] *= 5
    assert chosen(x, y, [0.0, 1.0])[0] == 0.0
    with pytest.raises(ValueError, match="there are answers of 1 models to the library, expected 5"):
        library_weight.choose(x[:N_REAL], y, np.ones(N_REAL, bool), [x[N_REAL:]], [0.0], ridge, OPTIONS)


def test_each_fold_chooses_and_no_test_image_has_a_say() -> None:
    x, y = data(error=0.1)
    split = ImageSplit(np.arange(N_REAL), np.arange(N_REAL) % 2)
    sets = [split.fold != 0, split.fold != 1, np.ones(N_REAL, bool)]
    library = np.broadcast_to(x[N_REAL:].astype(np.float32), (3, N_LIBRARY, N_UNITS))
    answers = [np.stack([library[0]] * len(parts(train))) for train in sets]

    def predict(x: np.ndarray, y: np.ndarray, offered: list[float]) -> cross_validation.Prediction:
        weights = cross_validation.Weights(offered, answers)
        return cross_validation.predict(
            x[:N_REAL], y, split, ridge, OPTIONS, renormalise="train", library=library, weights=weights
        )

    found = predict(x, y, [0.0, 0.3, 1.0])
    assert all(float(of_fold["library_weight"]) in (0.0, 0.3, 1.0) for of_fold in found.choices)
    alone = cross_validation.predict(x[:N_REAL], y[:N_REAL], split, ridge, OPTIONS, renormalise="train")
    close(predict(x, y, [0.0]).renormalised, alone.renormalised, 1e-9)
    other_x, other_y = x.copy(), y.copy()
    first = np.flatnonzero(split.fold == 0)
    other_x[first[0]] += 100
    other_y[first] = 7
    again = predict(other_x, other_y, [0.0, 0.3, 1.0])
    np.testing.assert_array_equal(again.renormalised[0][first[1:]], found.renormalised[0][first[1:]])
    fit, _ = cross_validation.fit_to_all(
        x[:N_REAL], y, split, ridge, OPTIONS, library=library, weights=cross_validation.Weights([1.0], answers)
    )
    assert fit.library_weight == 1.0
    assert len(fit.images) == N_REAL + N_LIBRARY


def test_folds_that_take_the_library_and_folds_that_do_not_are_saved_together(tmp_path: Path) -> None:
    x, y = data(error=0.1)
    split = ImageSplit(np.arange(N_REAL), np.arange(N_REAL) % 2)
    library = np.stack([x[N_REAL:]] * 3).astype(np.float32)
    library[1] = -30 * np.random.default_rng(4).permutation(library[1])
    sets = split.fold != [[0], [1], [9]]
    answers = [np.stack([one] * len(parts(train))) for one, train in zip(library, sets, strict=True)]
    found = cross_validation.predict(
        x[:N_REAL], y, split, ridge, OPTIONS, library=library, weights=cross_validation.Weights([0.0, 1.0], answers)
    )
    found.save_choices(tmp_path / "choices.npz")
    saved = read_npz(tmp_path / "choices.npz")
    assert saved["library_weight"].tolist() == [1.0, 0.0]
    np.testing.assert_array_equal(saved["alphas"], [ALPHAS] * 2)
    # Fold 0 was fitted with the one penalty that was chosen with the weight.
    fitted = np.array(ALPHAS) == saved["alpha"][0, 0]
    assert np.array_equal(np.isfinite(saved["group_r2"]), np.broadcast_to([[fitted], [[True] * 3]], (2, 2, 3)))
    assert np.array_equal(np.isfinite(saved["dof"]), [fitted, [True] * 3])
    alone = cross_validation.predict(x[:N_REAL], y[:N_REAL], split, ridge, OPTIONS).choices[1]
    np.testing.assert_array_equal(saved["group_r2"][1], alone["group_r2"])
    best = np.mean([saved["group_r2"][0][:, fitted].mean(), alone["group_r2"].max(1).mean()])
    (row,) = fit_plots.search_rows(saved["convergence"], saved["group_r2"])
    assert row["loss"] == pytest.approx(1 - best)
    assert fit_plots.draw_search(["a", "b"], saved, "a test")


def test_penalties_of_every_kernel_have_a_place() -> None:
    summary = {"alphas": np.array([2.0]), "dof": np.array([5.0, 6.0]), "group_r2": np.array([[0.1, 0.2]])}
    found = library_weight.among_offered(summary, [3.0, 1.0, 2.0])
    np.testing.assert_array_equal(found["alphas"], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(found["dof"], [np.nan, 5, np.nan, np.nan, 6, np.nan])
    np.testing.assert_array_equal(found["group_r2"], [[np.nan, 0.1, np.nan, np.nan, 0.2, np.nan]])
