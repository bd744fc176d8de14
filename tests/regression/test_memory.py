"""The large case in bounded memory: 4,700 presentations of 94 images x 2,000 units -> 197,376 targets below 3 GB."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FIT = """
import sys
from pathlib import Path
import numpy as np
sys.path[:0] = [{src!r}]
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import ridge
rng = np.random.default_rng(0)
x = rng.standard_normal((4700, 2000), dtype=np.float32)
y = np.load({y!r}, mmap_mode="r")
options = dict(group_size=[768] * 257, alphas=np.logspace(0, 5, 10), alpha_scope="target", folds="image", seed=0)
fit = ridge.fit(x, y, y_row=np.repeat(np.arange(94), 50), budget=Budget(64), **options)
np.save({out!r}, ridge.predict(fit, x[:200], budget=Budget(64)))
# Not ru_maxrss, which begins with what the process that started this one had.
print(int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024)
"""


@pytest.mark.slow
def test_large_fit_from_a_float16_memory_map_stays_below_three_gigabytes(tmp_path):
    y = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float16, (94, 197_376))
    y[:] = np.random.default_rng(0).standard_normal(y.shape, dtype=np.float32)
    y.flush()
    paths = {"src": str(Path(__file__).resolve().parents[2] / "src"), "y": str(tmp_path / "y.npy")}
    script = FIT.format(**paths, out=str(tmp_path / "out.npy"))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 3000
    predicted = np.load(tmp_path / "out.npy", mmap_mode="r")
    assert np.isfinite(predicted[:, ::97]).all()
    assert predicted[:, -768:].std() > 0
