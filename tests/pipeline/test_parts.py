"""One parameter leaves the second stage, the controls or the analyses out, and one brings them back."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from small_profile import STAGES, Run, copied, edit, succeeded

from spikevaediff.files.left_out import is_left_out
from spikevaediff.parameters.runs import is_wanted, read_runs, write_parts

SECOND_STAGE = {
    *(
        "captions",
        "features@text",
        "features@vision",
        "library_features@text",
        "library_features@vision",
        "unconditional",
    ),
    *("regress@text", "regress@vision", "regress@control_text", "regress@control_vision", "checks@diffusion"),
    *(f"{stage}@diffusion{of}" for stage in ("decode_diffusion", "evaluate") for of in ("", "_control", "_ceiling")),
    *(f"{stage}@prior_{of}_spikes" for stage in ("decode_diffusion", "evaluate") for of in ("no", "mean")),
}

ANALYSES = {"quality", "curves", "layers", "movies", "regions", "known_mistakes"}
PARTS = ("second_stage", "controls", "analyses")


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A repository that knows the stages, without any code or data."""
    for name in ("dvc.yaml", "params.yaml", "runs.yaml", ".dvc/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def part(folder: Path, *words: str, stage: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages.part", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "DVC_STAGE": stage},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_that_is_not_wanted_leaves_marks_and_does_not_run(skeleton: Path) -> None:
    wanted = {"second_stage": True, "controls": False, "analyses": True}
    write_parts(skeleton / "artifacts/parts", wanted, ROOT / "runs.yaml")
    found = {path.name: is_wanted(path) for path in (skeleton / "artifacts/parts").iterdir()}
    assert found == wanted | {"core": True, "second_stage+controls": False}
    done = part(skeleton, "controls", "regress", "control", "vdvae", "control", stage="regress@control")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("regress control: left out with controls")
    artifacts = skeleton / "artifacts"
    written = {path.relative_to(skeleton).as_posix() for path in artifacts.rglob("*") if path.is_file()}
    results = {"predicted/control.npz", "predicted/control_raw.npz", "fits/control.npz", "fits/control_all_images.npz"}
    assert {f"artifacts/{path}" for path in results} == {path for path in written if "/parts/" not in path}
    assert all(is_left_out(skeleton / "artifacts" / path) for path in results)
    done = part(skeleton, "second_stage+controls", "decode_diffusion", stage="decode_diffusion@diffusion_control")
    assert done.returncode == 0, done.stderr
    mark = skeleton / "artifacts/decoded/diffusion_control/left_out.txt"
    assert mark.read_text() == "left out: params.yaml does not want parts.second_stage and parts.controls\n"


def test_a_stage_that_is_wanted_runs(skeleton: Path) -> None:
    folder = skeleton / "artifacts/parts"
    folder.mkdir(parents=True)
    (folder / "core").write_text("wanted\n")
    done = part(skeleton, "core", "split", stage="split")
    assert done.returncode == 1
    assert "artifacts/images.npz" in done.stderr  # it ran, and missed what it reads


@pytest.mark.parametrize(
    ("content", "stage", "message"),
    [
        (None, "split", r"artifacts/parts/controls does not exist. Make it with: dvc repro start$"),
        ("yes\n", "split", r"artifacts/parts/controls says 'yes\\n', expected 'wanted\\n' or 'left out\\n'"),
        ("left out\n", "", r"DVC_STAGE is '', expected a stage of dvc.yaml. Run: dvc repro STAGE$"),
        ("left out\n", "split@no", r"DVC_STAGE is 'split@no', expected a stage of dvc.yaml. Run: dvc repro STAGE$"),
    ],
)
def test_what_nobody_wrote_is_refused_in_one_line(
    skeleton: Path, content: str | None, stage: str, message: str
) -> None:
    folder = skeleton / "artifacts/parts"
    folder.mkdir(parents=True)
    if content is not None:
        (folder / "controls").write_text(content)
    done = part(skeleton, "controls", "split", stage=stage)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.search(message, line), line


@pytest.mark.slow
def test_parts_are_left_out_and_come_back_out_of_the_cache(pristine: Path, first: Run, tmp_path: Path) -> None:
    clone = copied(pristine, tmp_path / "clone")
    before = json.loads((clone / "metrics/metrics.json").read_text())["simulated"]
    least = succeeded(clone, "exp", "run", *(word for part in PARTS for word in ("-S", f"parts.{part}=false")))
    of_control = {name for name in STAGES if "control" in name}
    readers = {"identify", "checks@vdvae", "checks_posterior@posterior", "checks_posterior@posterior_sample"}
    assert least.ran == SECOND_STAGE | of_control | ANALYSES | readers | {"start", "report"}
    after = json.loads((clone / "metrics/metrics.json").read_text())["simulated"]
    there = set(read_runs(clone / "runs.yaml", dict.fromkeys(PARTS, False)).scored)
    assert set(after) == there | {"shuffled", "noise_ceiling", "identification"}
    assert after == {run: before[run] for run in after}
    assert not [path for path in least.files if re.match("plots/(layers|regions|quality|curves|known)", path)]
    page = (clone / "plots/report.html").read_text()
    assert "parts.analyses of params.yaml is false" in page
    assert "Known mistakes" not in page
    columns = succeeded(clone, "exp", "show", "--csv").output.splitlines()[0].split(",")
    assert {f"parts.{part}" for part in PARTS} <= set(columns)
    assert not [column for column in columns if column.startswith(("scored.", "regressions.", "generated."))]

    edit(clone / "params.yaml", {"parts.controls": True, "parts.analyses": True})
    without_second = succeeded(clone, "repro")
    # What stays left out and reads the control again puts its marks again.
    of_both = {"regress@control_text", "regress@control_vision", "decode_diffusion@diffusion_control"}
    assert without_second.ran == of_both | {"start", "report", "checks@vdvae"}
    after = json.loads((clone / "metrics/metrics.json").read_text())["simulated"]
    assert not [run for run in after if re.search("diffusion|prior|text|vision", run)]
    assert after == {run: before[run] for run in after}

    edit(clone / "params.yaml", {"parts.second_stage": True})
    back = succeeded(clone, "repro")
    assert back.ran == {"start", "report"}
    assert back.files == first.files
