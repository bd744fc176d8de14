"""Two real processes on loopback, two devices each, give what one process gives."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from conftest import close

from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import ridge


@pytest.mark.slow  # ten seconds on an idle machine: three interpreters compile the same programs
def test_two_processes_each_get_the_result_of_one(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((14, 6)), rng.standard_normal((14, 4001)).astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = Path(__file__).with_name("fit_in_one_of_two_processes.py")
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), port, "2", str(i), str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    found = [dict(np.load(tmp_path / f"process{i}.npz")) for i in range(2)]
    one = Budget(devices=jax.devices()[:1])
    for scope in ("target", "group"):
        options = {"alphas": np.logspace(0, 3, 4), "alpha_scope": scope, "folds": "image", "seed": 0, "budget": one}
        fit = ridge.fit(x, y, y_row=np.arange(14), group_size=[1000, 2500, 501], **options)
        for part in found:
            np.testing.assert_array_equal(part[f"{scope}_alpha"], fit.alpha)
            close(part[f"{scope}_r2"], fit.loo_r2)
            close(part[f"{scope}_predicted"], ridge.predict(fit, x + 1, budget=one))
