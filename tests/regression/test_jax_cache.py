"""Compiled programs are kept: the first call of a later process takes less than two seconds of processor time."""

import os
import subprocess
import sys

import jax
from conftest import ROOT

from spikevaediff.parameters.reached import reached
from spikevaediff.regression import jax_cache

FIRST_CALL = """
import sys, time
import numpy as np
sys.path[:0] = [{src!r}]
from spikevaediff.regression import jax_cache
from spikevaediff.regression.methods import ridge
jax_cache.keep()
rng = np.random.default_rng(0)
x, y = rng.standard_normal((94, 300)), rng.standard_normal((94, 9000), dtype=np.float32)
options = dict(y_row=np.arange(94), group_size=[9000], alpha_scope="target", folds="image", seed=0)
start = time.process_time()
ridge.predict(ridge.fit(x, y, alphas=np.logspace(0, 5, 10), **options), x[:24])
print(time.process_time() - start)
"""


def test_programs_are_kept_for_the_next_process(tmp_path):
    environment = os.environ | {"SPIKEVAEDIFF_CACHE": str(tmp_path), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, "-c", FIRST_CALL.format(src=str(ROOT / "src"))]
    seconds = [
        float(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)
        for _ in range(2)
    ]
    assert any((tmp_path / "compiled").iterdir())
    assert seconds[1] < min(2.0, seconds[0])


def test_a_folder_chosen_by_the_user_is_kept(tmp_path):
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", str(tmp_path))
        jax_cache.keep()
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def test_every_stage_that_compiles_programs_keeps_them():
    """Curves, areas, ceilings and mistakes compile as many as the regressions, the same again in every run."""
    compiling = set()
    for path in (ROOT / "stages").glob("[!_]*.py"):
        files = {file for file in reached([path], ROOT) if file.endswith(".py") and not file.endswith("jax_cache.py")}
        if any(line.startswith("import jax") for file in files for line in (ROOT / file).read_text().splitlines()):
            compiling.add(path.stem)
    assert compiling == {"regress", "noise_ceiling", "curves", "regions", "known_mistakes", "movies"}
    for name in compiling:
        assert "jax_cache.keep()" in (ROOT / f"stages/{name}.py").read_text(), name
