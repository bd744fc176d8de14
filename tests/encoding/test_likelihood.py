"""Likelihoods of responses against formulas in float64, and what they refuse."""

import numpy as np
import pytest
import torch
from conftest import close
from scipy import stats

from spikevaediff.encoding import likelihood


def test_gaussian_is_minus_the_log_density_up_to_a_constant() -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((5, 5)) + 3 * np.eye(5)
    covariance = root @ root.T
    measured, predicted = rng.standard_normal((2, 4, 5))
    misfit = likelihood.gaussian(covariance, "cpu")
    found = misfit(torch.from_numpy(measured).float(), torch.from_numpy(predicted).float())
    density = stats.multivariate_normal(np.zeros(5), covariance)
    expected = density.logpdf(np.zeros(5)) - density.logpdf(measured - predicted)
    close(found.double().numpy(), expected, 1e-5)


def counts(mean: float, n: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean counts of several presentations, predictions some of which are below the floor, and how many there were."""
    rng = np.random.default_rng(int(mean))
    n_presentations = np.array([1, 1, 2, 5, 1, 20][:n])
    rate = mean * rng.uniform(0.5, 2, (n, 7))
    total = rng.poisson(rate * n_presentations[:, None])
    return total, rate * rng.uniform(0.8, 1.2, rate.shape), n_presentations


def test_poisson_is_minus_the_log_probability_of_the_counts_less_its_least() -> None:
    total, predicted, n = counts(1.5)
    predicted[0, :3] = [-0.4, 0.0, 0.01]  # a linear readout may say so
    assert (total == 0).any()
    measured = torch.from_numpy(total / n[:, None])
    misfit = likelihood.poisson(torch.from_numpy(n.astype(np.float64)))
    rate = np.maximum(predicted, likelihood.FLOOR) * n[:, None]
    expected = (stats.poisson.logpmf(total, np.maximum(total, 1e-300)) - stats.poisson.logpmf(total, rate)).sum(1)
    close(misfit(measured, torch.from_numpy(predicted)).numpy(), expected, 1e-10)
    assert float(misfit(measured, measured.clamp(min=likelihood.FLOOR))[total.min(1) > 0].abs().sum()) < 1e-12


def test_gradient_of_poisson_is_that_of_its_formula() -> None:
    total, predicted, n = counts(1.5)
    predicted[0, :3] = [-0.4, 0.0, 0.01]
    f = torch.from_numpy(predicted).requires_grad_()
    likelihood.poisson(torch.from_numpy(n.astype(np.float64)))(torch.from_numpy(total / n[:, None]), f).sum().backward()
    above = predicted > likelihood.FLOOR
    expected = np.where(above, n[:, None] - total / np.where(above, predicted, 1), 0)
    assert f.grad is not None
    close(f.grad.numpy(), expected, 1e-12)


@pytest.mark.parametrize(("mean", "tolerance"), [(1e3, 0.1), (1e5, 0.01), (1e7, 0.001)])
def test_for_large_counts_poisson_is_gaussian_with_the_mean_as_variance(mean: float, tolerance: float) -> None:
    total, _, n = counts(mean)
    measured = torch.from_numpy(total / n[:, None])
    rng = np.random.default_rng(1)
    rate = total / n[:, None] + np.sqrt(total) / n[:, None] * rng.standard_normal(total.shape)  # a deviation away
    found = likelihood.poisson(torch.from_numpy(n.astype(np.float64)))(measured, torch.from_numpy(rate)).numpy()
    expected = [
        0.5 * (t / k - f) @ np.diag(k / f) @ (t / k - f) for t, f, k in zip(total, rate, n.tolist(), strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=tolerance)


@pytest.mark.parametrize("wrong", [0.5, -1.0])
def test_what_is_no_count_is_refused_with_what_is_expected(wrong: float) -> None:
    x = np.random.default_rng(0).poisson(2, (5, 3)).astype(np.float64)
    likelihood.check_counts(x, np.arange(5))
    x[3, 1] = wrong
    message = (
        rf"likelihood is poisson, and responses are not counts: {wrong:g} in column 1 for image_id \[?3\]? \(7% of all"
        r"\)\. Expected whole numbers of spikes, 0 or more, of single presentations: no means, z-scores or normalised "
        r"activity\. Bring counts, or set decode\.posterior\.likelihood to gaussian"
    )
    with pytest.raises(ValueError, match=message):
        likelihood.check_counts(x, np.arange(5))
