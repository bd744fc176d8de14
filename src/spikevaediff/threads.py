"""Threads of the numerical libraries, set once, before any of them is loaded.

PyTorch and JAX get one thread for each processor that this process may use. Threads that wait for others sleep: by
default they spin, and where other programs keep the processors busy, those that are waited for cannot run meanwhile
(with eight programs on two processors, small products took 6 to 12 s instead of 0.1 to 0.3). OpenBLAS, which NumPy and
SciPy use for small matrices here, spins whatever it is told, so it has one thread: it took 2 to 8 s instead of 0.2.

OMP_NUM_THREADS, and any other of these variables, stays as it is where it is set already.
"""

import os

from loading.machine import processors


def set_once() -> None:
    """Set the environment variables that the libraries read when they are loaded, those that are not set already."""
    n = os.environ.get("OMP_NUM_THREADS") or str(processors())
    for name, value in (
        ("OMP_NUM_THREADS", n),  # PyTorch, scikit-learn
        ("OMP_WAIT_POLICY", "PASSIVE"),
        ("OPENBLAS_NUM_THREADS", "1"),  # NumPy, SciPy
        ("NPROC", n),  # XLA
        ("TOKENIZERS_PARALLELISM", "false"),  # a second pool beside that of PyTorch only gets in its way
    ):
        os.environ.setdefault(name, value)
