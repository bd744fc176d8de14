"""The script that measures a GPU is through at small size on a processor, and says what it measured."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


def run(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XLA_", "JAX_"))}
    return subprocess.run(
        [ROOT / "benchmarks/on_gpu.sh", *words],
        env=environment | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_section_is_measured_and_agrees_with_the_processor(tmp_path: Path) -> None:
    done = run("--device", "cpu", "--small", "--out", str(tmp_path / "gpu.md"))
    assert done.returncode == 0, done.stderr + done.stdout
    text = (tmp_path / "gpu.md").read_text()
    assert "torch" in text.splitlines()[0]
    assert "`benchmarks/on_gpu.sh --device cpu --small" in text.splitlines()[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| (?!task|-)", line)]
    tasks = [row[0].strip() for row in rows]
    assert [task for task in tasks if task.startswith("regression")] == [
        f"regression {name}" for name in ("W1", "W1cv", "W1loo", "W2", "W2loio", "W3", "W4", "W5", "W6")
    ]
    for beginning, n in (("VDVAE", 4), ("denoising step", 3), ("posterior", 1), ("image of", 3)):
        assert sum(task.startswith(beginning) for task in tasks) == n
    assert all(float(row[2]) > 0 for row in rows)
    assert all(float(row[4]) <= float(row[5]) for row in rows)


def test_without_a_gpu_it_says_so() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: benchmarks/on_gpu.sh measures it")
    done = run()
    assert done.returncode == 2
    assert "torch sees no GPU here; --device cpu --small tries the script on a processor" in done.stderr
