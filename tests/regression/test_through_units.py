"""Left-out errors through the units: an independent refit, the maps of all images, and when they are taken."""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from conftest import close

from spikevaediff.regression import blocks, designs, solver, targets, through_units
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.designs import Design
from spikevaediff.regression.factors import Factor
from spikevaediff.regression.methods import ridge

N, N_LIBRARY, N_UNITS = 20, 150, 7
ALPHAS = np.array([0.1, 3.0, 50.0, 1000.0])
GROUPS = np.array([5, 1, 30])


def problem(dtype: type, weight: float | None) -> tuple[np.ndarray, np.ndarray, Design, Factor, np.ndarray]:
    """Responses, targets (one of them constant), design, factor and maps; rows in another order than images."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N + N_LIBRARY, N_UNITS))
    y = (x @ rng.standard_normal((N_UNITS, GROUPS.sum())) + 3 * rng.standard_normal((len(x), GROUPS.sum())) + 5).astype(
        dtype
    )
    y[:, 3] = 2.0
    y_row = np.concatenate([rng.permutation(N), N + rng.permutation(N_LIBRARY)])
    design = designs.check(
        x, y, y_row=y_row, group_size=GROUPS, alphas=ALPHAS, alpha_scope="target", folds="image", seed=0,
        n_scored=N,
    )  # fmt: skip
    mean = x.mean(0)
    if weight is not None:
        design = design.with_library(weight)
        mean = x[:N].mean(0)
        x = np.concatenate([x[:N], x[N:] - x[N:].mean(0) + mean])
    centred = solver.centred(
        x, mean if weight is not None else solver.weighted_mean(x, design.root**2), design.root, 0.1
    )
    return x, y, design, *solver.linear(centred, ALPHAS, design)


@pytest.mark.parametrize("weight", [None, 0.3])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_scores_are_those_of_the_maps_of_all_images(dtype: type, weight: float | None) -> None:
    _, y, design, factor, maps = problem(dtype, weight)
    given: dict[str, Any] = {"group_size": GROUPS, "budget": blocks.DEFAULT}
    expected = targets.score(y, design.images, maps, design.root[:N], scope="target", **given)
    for budget in (blocks.DEFAULT, Budget(0.001)):
        found = through_units.score(y, factor, ALPHAS, design, **given | {"budget": budget})
        varies = expected.squares > 0  # of a constant target every penalty predicts all
        assert np.flatnonzero(~varies).tolist() == [3]
        np.testing.assert_array_equal(found.candidate[varies], expected.candidate[varies])
        limit = 1e-10 if dtype is np.float64 else 1e-4
        for name in ("loss", "squares", "group_loss"):
            close(getattr(found, name), getattr(expected, name), limit)
        close(found.correlation[varies], expected.correlation[varies], limit)


def test_losses_are_those_of_refits_without_each_image() -> None:
    x, y, design, factor, _ = problem(np.float64, None)
    found = through_units.score(y, factor, ALPHAS, design, group_size=GROUPS, budget=blocks.DEFAULT)
    z = y[design.images[design.image]]
    for target in (0, 6, 20):
        losses = []
        for alpha in ALPHAS:
            errors = []
            for i in range(N):
                rest = np.arange(len(x)) != i
                mean, level = x[rest].mean(0), z[rest, target].mean()
                gram = (x[rest] - mean).T @ (x[rest] - mean) + alpha * np.eye(N_UNITS)
                beta = np.linalg.solve(gram, (x[rest] - mean).T @ (z[rest, target] - level))
                errors.append(z[i, target] - level - (x[i] - mean) @ beta)
            losses.append(np.sum(np.square(errors)))
        assert found.candidate[target] == np.argmin(losses)
        assert found.loss[target] == pytest.approx(min(losses), rel=1e-9)


def test_they_are_taken_where_that_is_less_work_and_a_fit_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, design, factor, _ = problem(np.float64, None)
    assert not through_units.pays(factor, ALPHAS, design), "targets are spread over eight devices here"
    options: dict[str, Any] = {"group_size": GROUPS, "alphas": ALPHAS, "alpha_scope": "target", "folds": "image"}
    options |= {"y_row": design.image, "seed": 0, "n_scored": N}
    before = ridge.fit(x, y, **options)
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    assert through_units.pays(factor, ALPHAS, design)
    together = replace(design, fold=np.where(design.fold == 1, 0, design.fold))
    assert not through_units.pays(factor, ALPHAS, together), "two images are left out together"
    used = []
    monkeypatch.setattr(through_units, "score", lambda *a, s=through_units.score, **k: used.append(1) or s(*a, **k))
    after = ridge.fit(x, y, **options)
    assert used
    np.testing.assert_array_equal(np.delete(after.candidate, 3), np.delete(before.candidate, 3))
    for name in ("loo_r2", "loo_correlation", "group_r2"):
        known = np.isfinite(getattr(before, name))
        np.testing.assert_array_equal(np.isfinite(getattr(after, name)), known)
        close(getattr(after, name)[known], getattr(before, name)[known])


def test_targets_whose_squares_are_no_numbers_are_refused() -> None:
    _, y, design, factor, _ = problem(np.float64, None)
    with pytest.raises(ValueError, match="whose squares are beyond float64"):
        through_units.score(1e160 * y, factor, ALPHAS, design, group_size=GROUPS, budget=blocks.DEFAULT)
