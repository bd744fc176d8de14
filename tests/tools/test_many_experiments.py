"""Many experiments in one table: all are shown, and only the first look at each costs time.

`EXPERIMENTS=1000 pytest -m slow test_many_experiments.py -s` shows as many as one likes and prints the time, a third of
a second or more for each.
"""

import csv
import io
import os
import subprocess
from pathlib import Path

import pytest
from small_profile import copied, succeeded

N = int(os.environ.get("EXPERIMENTS", "100"))


def make(clone: Path, n: int) -> None:
    """Experiments of the present commit as DVC keeps them, hidden commits that differ in params.yaml, in a second."""
    base = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone, capture_output=True, text=True, check=True).stdout
    base = base.strip()
    params = (clone / "params.yaml").read_text()
    assert params.count("\nseed: 0") == 1
    stream = []
    for i in range(n):
        content = params.replace("\nseed: 0", f"\nseed: {i + 1}")
        stream += [
            f"commit refs/exps/{base[:2]}/{base[2:]}/many-{i:04d}",
            f"committer test <test@example.org> {1700000000 + i} +0000",
            "data 4",
            "many",
            f"from {base}",
            "M 100644 inline params.yaml",
            f"data {len(content.encode())}",
            content,
        ]
    subprocess.run(["git", "fast-import", "--quiet"], cwd=clone, input="\n".join(stream) + "\n", text=True, check=True)


@pytest.mark.slow
def test_many_experiments_are_shown(pristine: Path, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    make(clone, N)
    first = succeeded(clone, "exp", "show", "--csv")
    again = succeeded(clone, "exp", "show", "--csv")
    print(f"{N} experiments: {first.seconds:.0f} s, and {again.seconds:.0f} s the second time")
    assert again.output == first.output
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(first.output)) if row["Experiment"]}
    assert {name: row["seed"] for name, row in rows.items()} == {f"many-{i:04d}": str(i + 1) for i in range(N)}
    scores = {row["simulated.vdvae.pixcorr"] for row in rows.values()}
    assert len(scores) == 1
    assert float(scores.pop()) > 0
    assert again.seconds < first.seconds / 4  # DVC keeps what it read of every experiment
