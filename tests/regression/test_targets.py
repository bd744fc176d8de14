"""What is as wide as the targets: blocks, tiles, devices and storage change nothing, and sums over groups are right."""

import itertools

import jax
import numpy as np
import pytest
from conftest import close
from test_ridge import ONE, make, predict, run

from spikevaediff.regression import blocks, predictions, targets
from spikevaediff.regression.blocks import Budget


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_memory_bound_devices_and_memory_maps_change_nothing(dtype, tmp_path):
    x, y, y_row = make(9, 6, 5000, dtype=dtype)
    np.save(tmp_path / "y.npy", y)
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    a = run(x, y, y_row)
    for other, devices in ((mapped, None), (mapped, jax.devices()[:3]), (y, jax.devices()[:1])):
        budget = Budget(0.001, devices)
        b = run(x, other, y_row, budget=budget)
        np.testing.assert_array_equal(b.alpha, a.alpha)
        tolerance = 1e-10 if dtype == np.float64 else 1e-6
        close(b.loo_r2, a.loo_r2, tolerance)
        close(b.loo_correlation, a.loo_correlation, tolerance)
        close(predict(b, x, budget=budget), predict(a, x), tolerance)


@pytest.mark.parametrize("devices", [1, 3, 8])
@pytest.mark.parametrize("sizes", [[1], [5, 1, 2], [16, 3000, 1, 1, 2000, 700], [4000]])
def test_gram_matrices_of_groups_equal_their_definition_wherever_blocks_and_devices_cut(sizes, devices):
    rng = np.random.default_rng(0)
    y, share = rng.standard_normal((5, sum(sizes))) + 3, rng.dirichlet(np.ones(5))
    edges = np.cumsum([0, *sizes])
    centred = y - share @ y
    expected = [centred[:, a:b] @ centred[:, a:b].T for a, b in itertools.pairwise(edges)]
    for block_mb in (0.001, 64.0):
        budget = Budget(block_mb, jax.devices()[:devices])
        found = targets.group_grams(y, np.arange(5), share, group_size=np.array(sizes), budget=budget)
        close(found, np.array(expected))


@pytest.mark.parametrize("n_new", [predictions.FEW_ROWS, predictions.FEW_ROWS + 1])
@pytest.mark.parametrize("n_candidates", [1, 7])
@pytest.mark.parametrize("n_targets", [3, 5000])
def test_every_target_is_predicted_by_its_own_candidate_for_few_and_many_rows(n_new, n_candidates, n_targets):
    rng = np.random.default_rng([n_new, n_candidates])
    y, operators = rng.standard_normal((6, n_targets)), rng.standard_normal((n_candidates, n_new, 6))
    candidate = rng.integers(0, n_candidates, n_targets)
    found = predictions.apply(y, np.arange(6), operators, candidate, budget=Budget(0.3, ONE.devices))
    close(found, np.einsum("trm,mt->rt", operators[candidate], y))


def test_losses_of_groups_are_sums_of_the_losses_of_their_targets():
    x, y, y_row = make(9, 6, 4000)
    sizes = [1, 1500, 2499]
    by_target = run(x, y, y_row, group_size=sizes, budget=Budget(0.2, ONE.devices))
    by_group = run(x, y, y_row, group_size=sizes, budget=Budget(0.2, ONE.devices), alpha_scope="group")
    close(by_target.group_r2, by_group.group_r2)


def test_rounding_of_a_large_mean_does_not_pass_for_signal():
    x, y, y_row = make(9, 6, 3, dtype=np.float32)
    y[:, 2] = 1e6
    assert np.isnan(run(x, y, y_row).loo_r2[2])
    with pytest.raises(ValueError, match=r"y is not finite in rows 0, 1, 2, 3, 4, 5, 6, 7, \.\.\. "):
        blocks.check_finite(np.full((12, 5), np.nan), np.arange(12), ONE)
    blocks.check_finite(np.full((2, 5), 1e38, np.float32), np.arange(2), ONE)
    with pytest.raises(ValueError, match="block_mb is 0, expected a positive number"):
        Budget(0)


@pytest.mark.parametrize("devices", [1, 3])
def test_a_target_file_that_shrank_is_named_instead_of_ending_the_process(devices, tmp_path):
    x, y, y_row = make(9, 6, 4000, dtype=np.float32)
    np.save(tmp_path / "y.npy", y)
    mapped = np.load(tmp_path / "y.npy", mmap_mode="r")
    options = {"budget": Budget(devices=jax.devices()[:devices])}
    fit = run(x, mapped, y_row, **options)
    with (tmp_path / "y.npy").open("r+b") as file:
        file.truncate(5000)
    message = r"y.npy shrank to 5000 bytes while in use; its targets \(9, 4000\) need 144128"
    with pytest.raises(ValueError, match=message):
        predict(fit, x, **options)
    for scope in ("target", "group"):
        with pytest.raises(ValueError, match=message):
            run(x, mapped[:, 1:], y_row, alpha_scope=scope, **options)


@pytest.mark.parametrize("scope", ["target", "group", "global"])
@pytest.mark.parametrize("factor", [1e-30, 1e-20, 1e19, 1e37])
def test_targets_whose_squares_leave_float32_are_scored_and_chosen_as_others(factor, scope):
    x, y, y_row = make(9, 6, 40, dtype=np.float32)
    options = {"alpha_scope": scope, "group_size": [30, 10]}
    power = np.float32(2.0 ** np.round(np.log2(factor)))  # scores are then the same to the last digit
    a, b = run(x, y, y_row, **options), run(x, y * power, y_row, **options)
    np.testing.assert_array_equal(b.alpha, a.alpha)
    np.testing.assert_array_equal(b.loo_r2, a.loo_r2)
    np.testing.assert_array_equal(b.loo_correlation, a.loo_correlation)
    np.testing.assert_allclose(b.group_r2, a.group_r2, rtol=1e-12)
    assert np.isfinite(a.loo_r2).all()
    assert len(set(a.alpha.tolist())) > 1 or scope != "target"


def test_targets_of_very_different_size_count_by_their_variance():
    x, y, y_row = make(9, 6, 40)
    y[:, :20] *= 1e25
    fit = run(x, y.astype(np.float32), y_row, alpha_scope="global", group_size=[20, 20])
    np.testing.assert_array_equal(fit.alpha, run(x, y[:, :20], y_row, alpha_scope="global").alpha[0])
    close(fit.loo_r2, run(x, y, y_row, alpha_scope="global", group_size=[20, 20]).loo_r2.astype(np.float32), 1e-5)


def test_targets_whose_squares_leave_float64_are_refused():
    x, y, y_row = make(9, 6, 4)
    for factor in (1e200, 1e-200):
        with pytest.raises(ValueError, match=r"whose squares are beyond float64\. Give them in other units"):
            run(x, y * factor, y_row)
