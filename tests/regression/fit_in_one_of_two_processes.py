"""Run by test_distributed.py, once a process: PORT NUMBER_OF_PROCESSES WHICH OUT."""

import sys
from pathlib import Path

import jax
import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2] / "src")]

from spikevaediff.regression.blocks import Budget  # noqa: E402
from spikevaediff.regression.methods import ridge  # noqa: E402


def main(port: str, n_processes: int, process: int, out: str) -> None:
    """Fit and predict what test_distributed.py fits in one process, and keep what this process got."""
    jax.distributed.initialize(f"127.0.0.1:{port}", n_processes, process)
    assert jax.process_count() == n_processes
    x, y = np.load(f"{out}/x.npy"), np.load(f"{out}/y.npy", mmap_mode="r")
    results = {}
    for scope in ("target", "group"):
        options = {"alphas": np.logspace(0, 3, 4), "alpha_scope": scope, "folds": "image", "seed": 0}
        fit = ridge.fit(x, y, y_row=np.arange(len(x)), group_size=[1000, 2500, 501], budget=Budget(0.5), **options)
        results[f"{scope}_alpha"], results[f"{scope}_r2"] = fit.alpha, fit.loo_r2
        results[f"{scope}_predicted"] = ridge.predict(fit, x + 1, budget=Budget(0.5))
    np.savez(f"{out}/process{process}.npz", **results)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
