"""A fit is saved whole, with its targets or a checked reference to them, and applied to new responses."""

import numpy as np
import pytest
from test_ridge import make, predict, run

from spikevaediff.regression import fits


@pytest.mark.parametrize("mapped", [False, True])
def test_a_saved_fit_predicts_the_same(mapped, tmp_path):
    x, y, y_row = make(9, 6, 40, dtype=np.float32)
    if mapped:
        np.save(tmp_path / "y.npy", y)
        y = np.load(tmp_path / "y.npy", mmap_mode="r")
    a = run(x, y, y_row)
    a.save(tmp_path / "fit.npz")
    b = fits.load(tmp_path / "fit.npz")
    np.testing.assert_array_equal(predict(b, x + 1), predict(a, x + 1))
    np.testing.assert_array_equal(b.loo_r2, a.loo_r2)
    assert b.method == "ridge"
    assert ((tmp_path / "fit.npz").stat().st_size < y.nbytes + 20_000) or not mapped


def test_a_fit_refuses_targets_that_changed_or_went(tmp_path):
    x, y, y_row = make(9, 6, 40, dtype=np.float32)
    np.save(tmp_path / "y.npy", y)
    run(x, np.load(tmp_path / "y.npy", mmap_mode="r"), y_row).save(tmp_path / "fit.npz")
    y[3, 3] += 1
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(ValueError, match="has changed since"):
        fits.load(tmp_path / "fit.npz")
    np.save(tmp_path / "y.npy", y[:4])
    with pytest.raises(ValueError, match="shorter than the targets"):
        fits.load(tmp_path / "fit.npz")
    (tmp_path / "y.npy").unlink()
    with pytest.raises(FileNotFoundError, match="refers to targets in"):
        fits.load(tmp_path / "fit.npz")
    with pytest.raises(FileNotFoundError, match=r"does not exist\. Make it with"):
        fits.load(tmp_path / "none.npz")
    (tmp_path / "fit.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match="is damaged"):
        fits.load(tmp_path / "fit.npz")
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ValueError, match="is not a fit"):
        fits.load(tmp_path / "other.npz")
