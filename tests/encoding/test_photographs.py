"""The prior around photographs: which of them a sample starts from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from spikevaediff.encoding import likelihood, of_folds, photographs, posterior_folds
from spikevaediff.records import Features, Stimuli

COVARIANCE = np.array([[1.0, 0.5, 0.0], [0.5, 2.0, 0.0], [0.0, 0.0, 0.5]])
PREDICTED = np.random.default_rng(0).normal(0, 1.5, (6, 3)).astype(np.float32)
RESPONSE = np.array([0.3, -0.2, 0.5], np.float32)


def drawn(n: int, predicted: np.ndarray) -> np.ndarray:
    normal = np.random.default_rng(1).standard_normal((n, len(predicted)))
    return photographs.drawn(
        likelihood.gaussian(COVARIANCE, "cpu"),
        torch.from_numpy(np.tile(RESPONSE, (n, 1))),
        torch.from_numpy(predicted),
        torch.from_numpy(normal),
    ).numpy()


def test_photographs_are_drawn_by_their_likelihood() -> None:
    likely = np.array([stats.multivariate_normal.pdf(RESPONSE, mean, COVARIANCE) for mean in PREDICTED])
    counts = np.bincount(drawn(20_000, PREDICTED), minlength=6)
    assert stats.chisquare(counts, 20_000 * likely / likely.sum()).pvalue > 1e-3


def test_where_the_model_knows_nothing_any_photograph_is_as_good_as_another() -> None:
    counts = np.bincount(drawn(6_000, np.zeros((6, 3), np.float32)), minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_counts_are_compared_under_their_own_likelihood() -> None:
    rate = np.array([[1.0, 4.0], [3.0, 3.0], [5.0, 1.0]], np.float32)
    counts, n = np.array([[1.0, 5.0], [5.5, 0.5]], np.float32), np.array([1, 2])
    found = photographs.drawn(
        likelihood.poisson(torch.from_numpy(n.astype(np.float32))),
        torch.from_numpy(counts),
        torch.from_numpy(rate),
        torch.zeros(2, 3),
    )
    expected = stats.poisson.logpmf((n[:, None] * counts)[:, None], n[:, None, None] * rate).sum(2).argmax(1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("n_latents", [5, 2, 0])
def test_the_prior_is_of_those_photographs_of_the_library_that_have_latents(
    monkeypatch: pytest.MonkeyPatch, n_latents: int
) -> None:
    library, shown = 100 + np.arange(5), np.arange(3)
    pictures = Stimuli("library", library, np.tile(library.astype(np.uint8)[:, None, None], (1, 8, 8)))
    monkeypatch.setattr(of_folds, "predict", lambda models, pixels, _: pixels[None, :, 0, :2].astype(np.float32))
    as_they_are = SimpleNamespace(n_numbers=lambda _: 1, whiten=lambda values, _: values)
    features = Features("vdvae", shown, shown[:, None].astype(np.float32), np.array(["a"]), np.ones(1, int))
    model = SimpleNamespace(image_id=shown[:2], left_out=np.array([[0.0, 0.0], [1.0, 1.0]]))
    found = posterior_folds.priors(
        [model],  # type: ignore[list-item]
        (pictures, features),
        library[:n_latents, None].astype(np.float32),
        library[:n_latents],
        as_they_are,  # type: ignore[arg-type]
        1,
        lambda _: None,  # type: ignore[arg-type,return-value]
    )(0)
    expected = [*library[:n_latents].tolist(), 0, 1]
    assert found.predicted[:, 0].tolist() == found.whitened[:, 0].tolist() == expected
