"""All checks of one run, from files: what is looked at, and what stops the pipeline."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_checks import IDS, SPLIT, noisy, shown

from spikevaediff.evaluation import checked_run
from spikevaediff.evaluation.checks import Finding
from spikevaediff.records import Features, Reconstructions, Stimuli

__all__ = ["shown"]  # a fixture


def scores(mean: float) -> dict[str, Any]:
    metric = {"mean": mean, "interval": [mean - 0.05, mean + 0.05], "chance": 0.0, "absent": None}
    return {"metrics": {"pixcorr": metric | {"larger_is_better": True}}}


@pytest.fixture
def folder(shown: Stimuli, tmp_path: Path) -> Path:
    SPLIT.save(tmp_path / "split.npz")
    shown.save(tmp_path / "images.npz")
    for run, strength in (("vdvae", 60.0), ("ceiling", 20.0), ("control", 200.0)):
        noisy(shown, strength).save(tmp_path / "decoded" / run)
    rng = np.random.default_rng(3)
    values = [rng.standard_normal((len(IDS), 4)).astype(np.float32) for _ in range(2)]
    for path, array in zip(
        ("features/vdvae", "predicted/vdvae", "predicted/vdvae_raw"), values + values[1:], strict=True
    ):
        Features("vdvae", IDS, array, np.array(["0"]), np.array([4])).save(tmp_path / f"{path}.npz")
    (tmp_path / "fits").mkdir()
    np.savez(tmp_path / "fits/vdvae.npz", renormalise=np.array(["none"] * 4))
    (tmp_path / "scores").mkdir()
    for run, mean in (("vdvae", 0.4), ("ceiling", 0.8)):
        (tmp_path / f"scores/{run}.json").write_text(json.dumps(scores(mean)))
    (tmp_path / "scores/halves.json").write_text('{"metrics": {"pixcorr": {"ceiling": 0.2}}}')
    return tmp_path


def test_every_check_is_made_once(folder: Path) -> None:
    found = checked_run.findings(folder, "vdvae", "ceiling", "control", ["vdvae"], halves=False)
    assert [finding.check for finding in found] == [
        "image overlap",
        "near-duplicates",
        "test statistics in renormalisation of vdvae",
        "memorised outputs",
        "collapsed outputs",
        "results above the noise ceiling",
    ]
    assert checked_run.refuse("vdvae", found) == "6 checks, none failed"
    assert len(checked_run.findings(folder, "vdvae", "ceiling", "control", [], halves=False)) == 5


def test_a_published_split_may_keep_images_that_look_alike_and_is_marked(folder: Path, shown: Stimuli) -> None:
    pixels = shown.pixels.copy()
    pixels[5] = pixels[0]
    Stimuli("invented", IDS, pixels).save(folder / "images.npz")
    options: dict[str, Any] = {"halves": False}
    with pytest.raises(ValueError, match=r"image overlap: image_id 3, 8 are trained on under another id"):
        checked_run.refuse("vdvae", checked_run.findings(folder, "vdvae", "ceiling", "control", [], **options))
    found = checked_run.findings(folder, "vdvae", "ceiling", "control", [], **options, as_published=True)
    assert [finding.status for finding in found[:2]] == ["legacy", "legacy"]
    assert checked_run.refuse("vdvae", found).endswith("none failed")


def test_the_agreement_of_halves_bounds_the_runs_that_it_is_measured_for(folder: Path) -> None:
    found = checked_run.findings(folder, "vdvae", "ceiling", "control", ["vdvae"], halves=True)
    with pytest.raises(ValueError, match=r"vdvae is not reported, since a check failed.*pixcorr is 0\.400 .*0\.200"):
        checked_run.refuse("vdvae", found)


def test_a_metric_that_true_latents_do_not_bound_may_be_above_them(folder: Path) -> None:
    for run, mean in (("vdvae", 0.9), ("ceiling", 0.8)):
        (folder / f"scores/{run}.json").write_text(json.dumps(scores(mean)))
    found = checked_run.findings(folder, "vdvae", "ceiling", "control", ["vdvae"], halves=False)
    with pytest.raises(ValueError, match=r"pixcorr is 0\.900 .* with true features 0\.800.*lacks BOUNDED = False"):
        checked_run.refuse("vdvae", found)
    unbounded = scores(0.9)
    unbounded["metrics"]["pixcorr"]["bounded"] = False
    (folder / "scores/vdvae.json").write_text(json.dumps(unbounded))
    found = checked_run.findings(folder, "vdvae", "ceiling", "control", ["vdvae"], halves=False)
    assert checked_run.refuse("vdvae", found) == "6 checks, none failed"
    assert found[-1].says == "there are no ceilings"


def test_one_picture_for_all_stops_the_pipeline(folder: Path) -> None:
    Reconstructions(IDS, np.full((len(IDS), 64, 64, 3), 90, np.uint8)).save(folder / "decoded/vdvae")
    found = checked_run.findings(folder, "vdvae", "ceiling", "control", ["vdvae"], halves=False)
    with pytest.raises(ValueError, match=r"collapsed outputs: .*nearly one picture"):
        checked_run.refuse("vdvae", found)


def test_what_is_noted_is_counted() -> None:
    found = [Finding("a", "noted", None, None, "b"), Finding("c", "passed", None, None, "d")]
    assert checked_run.refuse("vdvae", found) == "2 checks, none failed, 1 noted"
