"""Identity over time, on responses that hold it in one window."""

import numpy as np
import pytest

from spikevaediff.analysis import latency
from spikevaediff.recordings import spike_counts
from spikevaediff.records import BLANK

RNG = np.random.default_rng(0)


def test_windows_slide_from_start_to_stop() -> None:
    np.testing.assert_allclose(
        spike_counts.sliding_windows(-0.05, 0.1, 0.025, 0.05),
        [[-0.05, 0], [-0.025, 0.025], [0, 0.05], [0.025, 0.075], [0.05, 0.1]],
        atol=1e-12,
    )
    assert len(spike_counts.sliding_windows(0, 0.1, 1.0, 0.1)) == 1
    with pytest.raises(ValueError, match=r"no window of 0\.2 s fits between start_s 0 and stop_s 0\.1"):
        spike_counts.sliding_windows(0, 0.1, 0.1, 0.2)
    for step, width in ((0, 0.1), (0.1, -1)):
        with pytest.raises(ValueError, match="both must be above 0"):
            spike_counts.sliding_windows(0, 1, step, width)


def test_identity_is_known_in_the_windows_that_hold_it_and_nowhere_else() -> None:
    shown = RNG.permutation(np.repeat(np.arange(BLANK, 10), 20))
    rate = np.stack([np.full((11, 8), 5.0), RNG.uniform(1, 30, (11, 8)), np.full((11, 8), 5.0)], axis=2)
    counts = RNG.poisson(rate[shown + 1]).astype(np.uint16)
    shares = latency.identity_by_window(counts, shown, n_folds=4, shrinkage=0.1)
    assert shares.shape == (3, 10)
    assert shares[1].mean() > 0.8
    assert shares[[0, 2]].mean() < 0.2
    order = np.argsort(shown, kind="stable")  # grouped by image, no image may be tested in one fold alone
    grouped = latency.identity_by_window(counts[order], shown[order], n_folds=4, shrinkage=0.1)
    assert abs(grouped[1].mean() - shares[1].mean()) < 0.1
