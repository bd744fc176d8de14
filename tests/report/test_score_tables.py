"""Numbers of a finished run are taken as they are, and put into the page's table."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from spikevaediff.report import score_tables

COMMAND = "make repro DATASET=cowley_v4"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    pages = ("README.md", "docs/scores.md", "docs/cowley-v4.md", "docs/cowley-v4.json", "docs/simulated.json")
    for name in (*pages, "metrics/metrics.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def test_a_finished_run_is_taken_with_its_command_and_commit(project: Path, tmp_path: Path) -> None:
    score_tables.main(["--from", str(ROOT), "--name", "201025", "--command", COMMAND], project)
    known = json.loads((project / "docs/cowley-v4.json").read_text())
    means, statistics = (
        next(iter(json.loads((ROOT / f"metrics/{name}.json").read_text()).values()))
        for name in ("metrics", "statistics")
    )
    run = known["201025"]
    assert (run["command"], run["means"]) == (COMMAND, means)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run["commit"] == head.stdout.strip()
    pixcorr = statistics["runs"]["posterior"]["pixcorr"]
    assert run["intervals"]["posterior"]["pixcorr"] == [pixcorr["low"], pixcorr["high"], pixcorr["p_holm"]]
    apart = statistics["differences"]["posterior - vdvae"]["pixcorr"]
    assert run["intervals"]["posterior - vdvae"]["pixcorr"] == [apart["low"], apart["high"]]
    identified = statistics["identification"]["visual"]["all"]["top1_interval"]
    assert run["intervals"]["identification of visual"]["all"] == identified
    assert f"| posterior | {means['posterior']['alexnet2']} |" in (project / "docs/cowley-v4.md").read_text()


def test_a_run_that_has_not_ended_is_refused_and_nothing_is_written(project: Path) -> None:
    before = (project / "docs/cowley-v4.json").read_bytes()
    (project / "elsewhere").mkdir()
    with pytest.raises(FileNotFoundError, match=r"metrics\.json is not there: no run has ended in .*dvc repro"):
        score_tables.main(["--from", str(project / "elsewhere"), "--name", "201025", "--command", COMMAND], project)
    with pytest.raises(SystemExit):
        score_tables.main(["--from", str(ROOT)], project)
    assert (project / "docs/cowley-v4.json").read_bytes() == before


def test_rows_are_json_with_a_line_for_each_run() -> None:
    content = {"a": {"command": "x", "means": {"one": {"r": 0.5}, "two": {"r": [1, 2]}}}, "b": {"means": {}}}
    text = score_tables.as_rows(content)
    assert json.loads(text) == content
    assert '\n   "one": {"r": 0.5},\n   "two": {"r": [1, 2]}\n' in text
