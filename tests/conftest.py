"""What every test shares: strict JAX, one tolerance table, one finished run of the small profile, and the folder of
real recordings where this machine has it."""

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "vendor"), str(ROOT)]
# JAX reads these when it is first imported: eight devices on one processor, for the sharding tests.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

import small_session  # noqa: E402
from small_profile import Run, checkout, cloned, commit, succeeded  # noqa: E402

# Largest error against an independent route, relative to the largest value of that route.
TOLERANCE = {
    np.dtype(np.int64): 0.0,
    np.dtype(np.uint8): 0.0,
    np.dtype(np.float64): 1e-10,
    np.dtype(np.float32): 1e-5,
}
MODEL_TOLERANCE = 1e-4  # tensors inside a network, float32


# Files of slow tests that take longest; the first does not need the finished run, and is begun while that is made.
LONG = ("test_edited_data.py", "test_docs.py", "test_robustness.py", "test_remotes.py", "test_cluster.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One file that needs the finished run first, then the long ones, then others that need it, then all the rest.

    Long files wait for servers and queues, which the rest of the machine can use only while there is something left to
    do. Short ones last, so that both workers end together.
    """
    needing = [item.path for item in items if "finished" in getattr(item, "fixturenames", ())]
    if needing:
        maker = max(needing, key=needing.count)

        def rank(item: pytest.Item) -> int:
            if item.path == maker:
                return 0
            long = LONG.index(item.path.name) if item.path.name in LONG else len(LONG)
            return 1 + long + (long == len(LONG) and item.path not in needing)

        items.sort(key=rank)  # files stay together: items come file by file, and the sort is stable


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float | None = None) -> None:
    """Assert that two arrays agree to the tolerance of the first one's dtype."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shapes {actual.shape} and {expected.shape}"
    limit = TOLERANCE[actual.dtype] if tolerance is None else tolerance
    scale = np.abs(expected).max() if expected.size else 0.0
    error = np.abs(actual.astype(np.float64) - expected.astype(np.float64)).max() if expected.size else 0.0
    assert error <= limit * max(scale, 1e-300) or error == 0, (
        f"error {error:.3g} on a scale of {scale:.3g}, allowed {limit:g}"
    )


@pytest.fixture(scope="session")
def common(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this run of pytest see."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def source(common: Path) -> Path:
    """The working tree as a repository of its own, with the parameters of the small profile."""
    folder = common / "source"
    with FileLock(common / "source.lock"):
        if not folder.exists():
            checkout(common / "unfinished").rename(folder)
    return folder


@pytest.fixture(scope="session")
def finished(source: Path, common: Path) -> tuple[Path, Run]:
    """A clone of it in which `dvc repro` ran and its results were committed, and that run; one for all workers."""
    record = common / "run.json"
    with FileLock(common / "finished.lock"):
        if not record.exists():
            clone = cloned(source, common / "finished")
            run = succeeded(clone, "repro")
            commit(clone, "Results")
            record.write_text(json.dumps(dataclasses.asdict(run)))
    return common / "finished/clone", Run(**json.loads(record.read_text()))


@pytest.fixture(scope="session")
def pristine(finished: tuple[Path, Run]) -> Path:
    """The checkout as the first run left it. Every test works on a copy."""
    return finished[0]


@pytest.fixture(scope="session")
def first(finished: tuple[Path, Run]) -> Run:
    return finished[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real recordings and golden arrays that may not be published, beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the folder of real recordings and golden arrays (../shared) is not on this machine")
    return folder


@pytest.fixture
def fixture_path(shared: Path) -> Path:
    """A session file in the layout of the Allen Institute."""
    return shared / "data/allen_layout_nwb_fixture/session_900000001.nwb"


@pytest.fixture
def session(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small session with some columns changed."""
    return partial(small_session.write, tmp_path / "session.nwb")
