"""Another processor: how far results move, and a checkout whose commit holds those of another one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_profile import commit, copied, environment, results, succeeded

from spikevaediff.records import Reconstructions

pytestmark = pytest.mark.slow

# What an older processor would compute with, in torch, oneDNN, OpenBLAS and XLA, and with another number of threads.
OLDER = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OPENBLAS_CORETYPE": "Nehalem",
    "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    "OMP_NUM_THREADS": "2",
}
FIRST_STAGE = (
    "features vdvae",
    "regress vdvae vdvae visual",
    "decode vdvae vdvae artifacts/predicted/vdvae.npz",
    "evaluate vdvae",
    "report",
)


def numbers(clone: Path) -> dict[str, dict[str, float]]:
    """metrics.json, run by run."""
    ((_, means),) = json.loads((clone / "metrics/metrics.json").read_text(encoding="utf-8")).items()
    return means


def test_an_older_processor_moves_pictures_by_a_grey_level_and_means_by_less_than_their_digits(
    pristine: Path, tmp_path: Path
) -> None:
    clone = copied(pristine, tmp_path / "clone")
    for command in FIRST_STAGE:
        done = subprocess.run(
            [sys.executable, "-m", *f"stages.{command}".split()],
            cwd=clone,
            env=environment(tmp_path) | OLDER,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
    ours, theirs = (Reconstructions.load(folder / "artifacts/decoded/vdvae").pixels for folder in (pristine, clone))
    apart = np.abs(ours.astype(int) - theirs)
    assert apart.max() <= 1
    assert np.mean(apart > 0) < 1e-3
    scores = [json.loads((folder / "artifacts/scores/vdvae.json").read_text()) for folder in (pristine, clone)]
    ours, theirs = (np.array([score["metrics"]["pixcorr"][key] for key in ("mean", "chance")]) for score in scores)
    assert np.abs(ours - theirs).max() < 1e-5
    for path in sorted((pristine / "plots").glob("*.png")):
        drawn = [np.asarray(Image.open(folder / "plots" / path.name), int) for folder in (pristine, clone)]
        assert drawn[0].shape == drawn[1].shape
        differ = np.abs(drawn[0] - drawn[1])
        assert np.mean(differ > 0) < 1e-3, path.name
    # So a line can differ where a number lies on the edge between two digits, and then by one in the last.
    for run, of_run in numbers(pristine).items():
        for name, value in of_run.items():
            assert abs(numbers(clone)[run][name] - value) < 0.0011, (run, name)


def test_the_way_back_from_an_experiment_restores_this_machines_results(pristine: Path, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    before, lock = results(clone), clone / "dvc.lock"
    ours = lock.read_text(encoding="utf-8")
    # Outputs of the commit that no cache here has, as if its processor had given other last bits.
    theirs = re.sub(r"(path: artifacts/(?:decoded|predicted)\S*\n +hash: md5\n +md5: )(\w{8})", r"\g<1>00000000", ours)
    assert theirs != ours
    lock.write_text(theirs, encoding="utf-8")
    commit(clone, "Results of another processor")
    lock.write_text(ours, encoding="utf-8")
    assert "up to date" in succeeded(clone, "status").output

    assert "layers" in succeeded(clone, "exp", "run", "-S", "layers.n_images=3").ran
    assert results(clone) != before
    # As docs/experiments.md says.
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=clone, check=True)
    back = succeeded(clone, "repro")
    assert "layers" in back.restored
    assert back.ran == {"start", "report"}
    assert back.files == before
    assert "up to date" in succeeded(clone, "status").output
