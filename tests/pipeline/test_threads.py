"""Threads are set once, before the libraries are loaded, for the processors that this process may use."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from loading.machine import processors

LOOK = """
import json, os, sys
if {first!r}: os.sched_setaffinity(0, {{{first!r}[0]}})
{load}
import numpy, scipy.linalg, torch, jax
jax.numpy.ones(3).block_until_ready()
names = [open(f"/proc/self/task/{{t}}/comm").read().strip() for t in os.listdir("/proc/self/task")]
from threadpoolctl import threadpool_info
print(json.dumps({{
    "torch": torch.get_num_threads(),
    "xla": names.count("tf_XLAEigen"),
    "openblas": [pool["num_threads"] for pool in threadpool_info() if pool["internal_api"] == "openblas"],
    "wait": os.environ["OMP_WAIT_POLICY"],
}}))
"""


def seen(load: str, first: list[int] | None = None, **environment: str) -> dict[str, Any]:
    names = ("OMP_", "OPENBLAS_", "NPROC", "XLA_", "MKL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    said = subprocess.run(
        [sys.executable, "-c", LOOK.format(load=load, first=first or [])],
        cwd=ROOT,
        env=kept | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'vendor'}", "JAX_PLATFORMS": "cpu"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(said.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="affinity masks are of Linux")
@pytest.mark.parametrize("load", ["import stages", "from spikevaediff.threads import set_once; set_once()"])
def test_a_stage_takes_the_processors_that_it_may_use(load: str) -> None:
    n = processors()
    assert seen(load) == {"torch": n, "xla": n, "openblas": [1, 1], "wait": "PASSIVE"}


@pytest.mark.skipif(sys.platform != "linux", reason="affinity masks are of Linux")
def test_a_process_on_one_processor_has_one_thread_and_the_user_decides_first() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    found = seen("import stages", allowed[:1])
    assert (found["torch"], found["xla"]) == (1, 1)
    found = seen("import stages", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="2", OMP_WAIT_POLICY="ACTIVE")
    assert found == {"torch": 1, "xla": 1, "openblas": [2, 2], "wait": "ACTIVE"}


def test_the_command_line_loads_no_library_before_threads_are_set() -> None:
    code = (
        "import sys, spikevaediff.__main__; print([m for m in ('numpy', 'torch', 'jax', 'scipy') if m in sys.modules])"
    )
    path = os.pathsep.join(map(str, (Path(ROOT) / "src", Path(ROOT) / "vendor")))
    said = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"
