"""A penalty for each principal component of the targets, against decomposition and refits by NumPy in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import pytest
from conftest import close

from spikevaediff.regression import fits, renormalise
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import banded, kernel_ridge, ridge

ALPHAS = [0.3, 3.0, 30.0, 300.0]
WIDTHS = [0.6, 2.0]
GROUPS = np.array([30, 50])
N_REAL, N_LIBRARY, N_UNITS, N_NEW = 12, 25, 7, 5
ONE = Budget(devices=jax.devices()[:1])
COMMON: dict[str, Any] = {"group_size": GROUPS, "folds": "image", "seed": 0, "budget": ONE, "alphas": ALPHAS}
KERNEL: dict[str, Any] = {"kernel": "rbf", "degree": 2, "widths": WIDTHS, "width_search": "grid", "max_steps": 1}

Predictor = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]  # x, y, new x, candidate


def data(n_library: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Responses and targets of real images, then of a library; new responses. Components of unlike strength."""
    rng = np.random.default_rng([7, n_library])
    n = N_REAL + n_library
    latent = rng.normal(size=(n + N_NEW, 4)) * [3.0, 1.5, 1.0, 0.5]
    x = latent @ rng.normal(size=(4, N_UNITS)) + rng.normal(size=(n + N_NEW, N_UNITS))
    y = 5 + latent[:n] @ rng.normal(size=(4, GROUPS.sum())) + rng.normal(size=(n, GROUPS.sum()))
    y[:, 3] = 2.0
    x[N_REAL:n] += 0.5
    return x[:n], y, x[n:]


def by_ridge(x: np.ndarray, y: np.ndarray, new: np.ndarray, candidate: int) -> np.ndarray:
    mean_x, mean_y = x.mean(0), y.mean(0)
    a = x - mean_x
    weights = np.linalg.solve(a.T @ a + ALPHAS[candidate] * np.eye(x.shape[1]), a.T @ (y - mean_y))
    return (new - mean_x) @ weights + mean_y


def by_kernel(scale: float, widths: Sequence[float] = WIDTHS) -> Predictor:
    def predict(x: np.ndarray, y: np.ndarray, new: np.ndarray, candidate: int) -> np.ndarray:
        b, a = divmod(candidate, len(ALPHAS))

        def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return np.exp(-((left[:, None] - right[None]) ** 2).sum(2) / (2 * (widths[b] * scale) ** 2))

        k = kernel(x, x)
        centre = np.eye(len(x)) - 1 / len(x)
        dual = np.linalg.solve(centre @ k @ centre + ALPHAS[a] * np.eye(len(x)), y - y.mean(0))
        return (kernel(new, x) - k.mean(0)) @ (dual - dual.mean(0)) + y.mean(0)

    return predict


def reference(
    x: np.ndarray, y: np.ndarray, new: np.ndarray, predict: Predictor, n_candidates: int
) -> tuple[np.ndarray, int, np.ndarray, np.ndarray]:
    """Choice of each component and of the rest, new predictions, and those of real images left out."""
    real, every = y[:N_REAL], range(n_candidates)
    v = np.linalg.svd(real - real.mean(0), full_matrices=False)[2][: N_REAL - 1].T  # (target, component)
    parts = np.concatenate([y @ v, y - (y - real.mean(0)) @ v @ v.T], 1)  # components, then what they leave

    def left_out(candidate: int) -> np.ndarray:
        rest = [np.arange(len(x)) != i for i in range(N_REAL)]
        return np.concatenate([predict(x[r], parts[r], x[[i]], candidate) for i, r in enumerate(rest)])

    found = np.stack([left_out(c) for c in every])
    k = v.shape[1]
    losses = ((parts[:N_REAL, :k] - found[:, :, :k]) ** 2).sum(1)
    choice, of_rest = losses.argmin(0), int(losses.sum(1).argmin())

    def together(of: np.ndarray) -> np.ndarray:
        components = np.stack([of[c, :, j] for j, c in enumerate(choice)], 1)
        return (components - real.mean(0) @ v) @ v.T + of[of_rest, :, k:]

    return choice, of_rest, together(np.stack([predict(x, parts, new, c) for c in every])), together(found)


@pytest.mark.parametrize("method", ["ridge", "kernel_ridge"])
@pytest.mark.parametrize("n_library", [0, N_LIBRARY])
def test_choices_scores_and_predictions_are_those_of_refits_to_components(
    method: str, n_library: int, tmp_path: Any
) -> None:
    x, y, new = data(n_library)
    module, more = (ridge, {}) if method == "ridge" else (kernel_ridge, KERNEL)
    options = COMMON | more | {"y_row": np.arange(len(x)), "alpha_scope": "component", "n_scored": N_REAL}
    fit = module.fit(x, y, **options)
    scale = float(fit.parameters["scale"]) if method == "kernel_ridge" else 0.0
    predict = by_ridge if method == "ridge" else by_kernel(scale)
    n_candidates = len(ALPHAS) * (len(WIDTHS) if method == "kernel_ridge" else 1)
    choice, of_rest, expected, left_out = reference(x, y, new, predict, n_candidates)
    assert len(set(choice.tolist())) > 2  # components differ in what is best for them
    np.testing.assert_array_equal(fit.parameters["component_candidate"], choice)
    assert fit.parameters["component_rest"] == of_rest
    close(module.predict(fit, new, budget=ONE), expected, 1e-8)

    real = y[:N_REAL]
    squares = ((real - real.mean(0)) ** 2).sum(0)
    varies = squares > 0
    r2 = 1 - ((real - left_out) ** 2).sum(0)[varies] / squares[varies]
    close(fit.loo_r2[varies], r2, 1e-8)
    assert np.isnan(fit.loo_r2[3])
    others = (real.sum(0) - real) / (N_REAL - 1)
    close(renormalise.left_out_deviations(fit)[:, varies], (left_out - others)[:, varies], 1e-7)

    # The penalty that a report gives a target is that of the component which makes most of it; curves are every one's.
    _, s, v = np.linalg.svd(real - real.mean(0), full_matrices=False)
    main = np.abs(s[:-1, None] * v[:-1]).argmax(0)
    np.testing.assert_array_equal(fit.candidate[varies], choice[main][varies])
    same = module.fit(x, y, **options | {"alpha_scope": "target"})
    np.testing.assert_array_equal(fit.group_r2, same.group_r2)

    fit.save(tmp_path / "fit.npz")
    np.testing.assert_array_equal(
        module.predict(fits.load(tmp_path / "fit.npz"), new, budget=ONE), module.predict(fit, new, budget=ONE)
    )


@pytest.mark.parametrize("n_library", [0, N_LIBRARY])
def test_blocks_memory_maps_devices_and_float32_change_nothing_but_rounding(n_library: int, tmp_path: Any) -> None:
    x, y, new = data(n_library)
    y = np.tile(y, (1, 40)) + np.random.default_rng(0).normal(size=(len(y), 40 * y.shape[1]))
    np.save(tmp_path / "y.npy", y.astype(np.float32))
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    options = COMMON | {"y_row": np.arange(len(x)), "alpha_scope": "component", "n_scored": N_REAL}
    options |= {"group_size": np.tile(GROUPS, 40)}
    fit = ridge.fit(x, mapped.astype(np.float64), **options)
    small = ridge.fit(x, mapped, **options | {"budget": Budget(0.2, jax.devices()[:3])})
    np.testing.assert_array_equal(small.parameters["component_candidate"], fit.parameters["component_candidate"])
    np.testing.assert_array_equal(small.candidate, fit.candidate)
    close(small.loo_r2, fit.loo_r2.astype(np.float32), 1e-5)
    close(ridge.predict(small, new, budget=Budget(0.2)), ridge.predict(fit, new).astype(np.float32), 1e-5)


def test_one_penalty_gives_what_any_scope_gives() -> None:
    x, y, new = data(N_LIBRARY)
    options = COMMON | {"y_row": np.arange(len(x)), "n_scored": N_REAL, "alphas": [3.0]}
    component, common = (ridge.fit(x, y, **options | {"alpha_scope": scope}) for scope in ("component", "global"))
    close(ridge.predict(component, new), ridge.predict(common, new), 1e-12)
    close(component.loo_r2[4:], common.loo_r2[4:], 1e-12)


def test_a_component_that_responses_say_nothing_of_costs_the_others_nothing() -> None:
    """Strong noise in one direction of the targets: one penalty for all gives way to it, one per component need not."""
    rng = np.random.default_rng(3)
    signal = rng.normal(size=(140, 2))
    x = signal @ rng.normal(size=(2, 30)) + 2 * rng.normal(size=(140, 30))
    basis = np.linalg.qr(rng.normal(size=(40, 3)))[0].T
    y = np.concatenate([signal, 20 * rng.normal(size=(140, 1))], 1) @ basis
    options = COMMON | {"y_row": np.arange(40), "group_size": [40], "alphas": np.logspace(-1, 6, 15)}
    error = {}
    for scope in ("global", "component"):
        fit = ridge.fit(x[:40], y[:40], **options | {"alpha_scope": scope})
        missed = (ridge.predict(fit, x[40:]) - y[40:]) @ basis[:2].T  # in what responses do say
        error[scope] = np.square(missed).mean()
    assert error["component"] < 0.5 * error["global"]


@pytest.mark.parametrize("n_library", [0, N_LIBRARY])
def test_targets_that_never_vary_have_no_component_and_are_predicted_by_their_value(n_library: int) -> None:
    x, y, new = data(n_library)
    options = COMMON | {"y_row": np.arange(len(x)), "alpha_scope": "component", "n_scored": N_REAL}
    fit = ridge.fit(x, np.full_like(y, 3.0), **options)
    close(ridge.predict(fit, new), np.full((N_NEW, y.shape[1]), 3.0), 1e-12)
    assert fit.parameters["component_weight"].shape == (0, N_REAL)
    assert np.isnan(fit.loo_r2).all()


def test_what_has_no_components_is_refused() -> None:
    x, y, _ = data(0)
    options = COMMON | {"alpha_scope": "component"}
    with pytest.raises(ValueError, match="which needs one row of x for each image, and there are 24 rows of 12 images"):
        ridge.fit(np.tile(x, (2, 1)), y, **options | {"y_row": np.tile(np.arange(N_REAL), 2)})
    more = {"bands": np.array(["a"] * N_UNITS), "units_per_band": 0, "max_steps": 2, "y_row": np.arange(N_REAL)}
    with pytest.raises(ValueError, match=r"'component', which ridge and kernel_ridge know; .*expected target, group"):
        banded.fit(x, y, **options | more)


def test_every_width_that_a_component_chose_takes_part_in_predictions() -> None:
    """Few targets: no target is mainly of some component, whose width nothing else may have chosen."""
    rng = np.random.default_rng(5)
    widths, missed = [0.3, 0.6, 1.2, 2.4, 5.0], 0
    for _ in range(20):
        x, new = rng.normal(size=(14, 6)), rng.normal(size=(3, 6))
        y = np.sin(x @ rng.normal(size=(6, 4))) * [5.0, 2.0, 1.0, 0.5] + 0.5 * rng.normal(size=(14, 4))
        y = y @ np.linalg.qr(rng.normal(size=(4, 4)))[0]
        options = COMMON | KERNEL | {"widths": widths, "y_row": np.arange(14), "group_size": np.array([4])}
        fit = kernel_ridge.fit(x, y, **options | {"alpha_scope": "component"})
        scale = float(fit.parameters["scale"])
        predict = by_kernel(scale, widths)
        v = np.linalg.svd(y - y.mean(0), full_matrices=False)[2].T
        choice = fit.parameters["component_candidate"].tolist()
        parts = np.stack([(predict(x, y, new, c) - y.mean(0)) @ v[:, k] for k, c in enumerate(choice)], 1)
        close(kernel_ridge.predict(fit, new, budget=ONE), parts @ v.T + y.mean(0), 1e-8)
        chosen = {int(c) // len(ALPHAS) for c in [*choice, fit.parameters["component_rest"]]}
        missed += not chosen <= set((fit.candidate // len(ALPHAS)).tolist())
    assert missed > 0, "some component chose a width that is no target's"
