import numpy as np
import pytest
from conftest import close

from spikevaediff.evaluation import correlation as correlations
from spikevaediff.evaluation.correlation import correlation


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_correlation_is_that_of_numpy_for_every_block_size(monkeypatch, dtype, block):
    monkeypatch.setattr(correlations, "_BLOCK", block)
    rng = np.random.default_rng(1)
    a, b = rng.normal(50, 3, (4, 100)).astype(dtype), rng.normal(-9, 100, (6, 100)).astype(dtype)
    close(correlation(a, b), np.corrcoef(a.astype(np.float64), b.astype(np.float64))[:4, 4:])


@pytest.mark.parametrize(("a", "b"), [((2, 3), (2, 4)), ((2, 0), (2, 0)), ((2,), (2,))])
def test_rows_that_cannot_be_correlated_are_refused(a, b):
    with pytest.raises(ValueError, match=r"correlation needs \(n, n_dims\) and \(m, n_dims\), got"):
        correlation(np.ones(a), np.ones(b))
