"""A checkout whose results were made anew on this machine, while those of the commit are of another one."""

import re
import subprocess
from pathlib import Path

import pytest
from small_profile import commit, copied, results, succeeded

pytestmark = pytest.mark.slow


def test_the_way_back_from_an_experiment_computes_nothing_and_restores_this_machines_results(
    pristine: Path, tmp_path: Path
) -> None:
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

    assert "report" in succeeded(clone, "exp", "run", "-S", "report.n_each=2").ran
    assert results(clone) != before
    # As docs/experiments.md says.
    subprocess.run(["git", "checkout", "--quiet", "params.yaml"], cwd=clone, check=True)
    back = succeeded(clone, "repro")
    assert back.ran == set()
    assert back.files == before
    assert "up to date" in succeeded(clone, "status").output
