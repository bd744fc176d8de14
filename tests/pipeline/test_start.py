"""The first stage refuses data that a run would not see, says what is not read, and withdraws old numbers."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import edit, environment

import stages
from spikevaediff.evaluation import protocols
from spikevaediff.files import vendored
from spikevaediff.report import withdraw
from spikevaediff.report.unread import unread, without
from stages import start

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")


def changed(path: str, value: Any, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    edit(tmp_path / "params.yaml", {path: value})
    return YAML(typ="safe").load(tmp_path / "params.yaml")


def test_parameters_of_choices_that_were_not_made_are_not_shown(tmp_path: Path) -> None:
    assert unread(PARAMS) == ["split.n_test", "regress.common.kernel_ridge", "regress.common.banded"]
    assert unread(changed("regress.text.method", "banded", tmp_path)) == ["split.n_test", "regress.common.kernel_ridge"]
    own = changed("regress.text.banded", {"bands": "time_bin"}, tmp_path)
    assert unread(own)[-1] == "regress.text.banded"
    assert unread(changed("split.method", "hold_out", tmp_path))[0] == "split.n_folds"
    shown = without(PARAMS, unread(PARAMS))
    assert set(PARAMS["split"]) - set(shown["split"]) == {"n_test"}
    assert set(PARAMS["regress"]["common"]) - set(shown["regress"]["common"]) == {"kernel_ridge", "banded"}
    assert shown["regress"]["common"]["alphas"] == PARAMS["regress"]["common"]["alphas"]
    assert shown["regress"]["text"] == PARAMS["regress"]["text"]
    assert shown["evaluate"] == PARAMS["evaluate"]


def test_the_published_area_is_not_read_where_no_population_has_it(tmp_path: Path) -> None:
    assert not [name for name in unread(PARAMS) if name.startswith("quality")]
    areas = {"visual": ["V4"], "control": "shuffled"}
    ignored = unread(PARAMS | {"areas": areas})
    assert ignored[:2] == ["quality.anchor_area", "quality.anchor_window_s"]
    assert "VISp" not in str(without(PARAMS | {"areas": areas}, ignored))


def test_the_size_of_pixels_is_read_by_the_protocols_that_have_none_of_their_own(tmp_path: Path) -> None:
    for name, protocol in protocols.PROTOCOLS.items():
        ignored = "evaluate.size_px" in unread(changed("evaluate.protocol", name, tmp_path))
        assert ignored == (protocol.pixels_px is not None), name


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one data set, and beside it, where the test stands, what a run of --temp has of it."""
    for folder in ("workspace", "copy"):
        (tmp_path / folder / "vendor/data/mine").mkdir(parents=True)
        (tmp_path / folder / "vendor/data/mine/images.csv").write_text("image_id,file\n")
    for words in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *words], cwd=tmp_path / "workspace", env=environment(tmp_path), check=True)
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "workspace"))
    return tmp_path / "workspace"


def test_a_run_outside_the_workspace_sees_all_of_its_data(workspace: Path) -> None:
    vendored.check_data(Path("vendor/data"), "mine")
    (workspace / "vendor/data/other").mkdir()
    (workspace / "vendor/data/other/1.npz").touch()
    vendored.check_data(Path("vendor/data"), "mine")  # another data set is no concern of this one


def test_files_that_git_does_not_know_are_named_where_a_run_would_lack_them(workspace: Path) -> None:
    (workspace / "vendor/data/mine/sessions").mkdir()
    (workspace / "vendor/data/mine/sessions/2.csv").touch()
    message = r"Git does not track vendor/data/mine/sessions/2.csv, so that .* lacks it.* git add vendor/data/mine"
    with pytest.raises(FileNotFoundError, match=message):
        vendored.check_data(Path("vendor/data"), "mine")
    # `dvc add` keeps it out of Git, and DVC puts it into the copy.
    Path("vendor/data/mine/sessions").mkdir()
    Path("vendor/data/mine/sessions/2.csv").touch()
    vendored.check_data(Path("vendor/data"), "mine")


def test_a_data_set_without_a_folder_is_answered_with_those_that_have_one(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT")
    Path("vendor/data/weights").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"dataset is yours, but there is no folder vendor/data/yours; .* mine$"
    ):
        vendored.check_data(Path("vendor/data"), "yours")


def test_what_is_read_for_a_part_alone_is_said_to_be_not_read_without_it() -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    usual, parts = unread(params), dict(params["parts"])

    def without(*left_out: str) -> set[str]:
        return set(unread(params | {"parts": parts | dict.fromkeys(left_out, False)})) - set(usual)

    assert without() == without("controls") == set()
    given = unread(params | {"split": params["split"] | {"method": "given"}})
    assert {"split.n_folds", "split.n_test", "split.seed"} <= set(given)
    contexts = {f"{of}.{space}" for of in ("regress", "models.mini") for space in ("text", "vision")}
    assert without("second_stage") == {"captions", "decode.diffusion", "models.mini.diffusion"} | contexts
    analyses = {"quality", "curves.latency", "curves.n_resamples", "layers", "regions", "known_mistakes"}
    analyses |= {"movies.n_blocks", "movies.encoder_folds", "movies.size_px", "movies.alphas"}
    assert without("analyses") == analyses
    assert without("analyses", "controls") == analyses | {"areas.control"}


def test_what_shows_numbers_is_listed_as_dvc_yaml_has_it() -> None:
    found = withdraw.shown(YAML(typ="safe").load(ROOT / "dvc.yaml"))
    tracked = subprocess.run(
        ["git", "ls-files", "metrics", "plots"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert tracked
    assert all(any(Path(name).is_relative_to(path) for path in found) for name in tracked)
    assert {path.parts[0] for path in found} == {"metrics", "plots"}


def test_what_shows_numbers_is_withdrawn_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("metrics/metrics.json", "metrics/statistics.json", "plots/gallery.png", "plots/report.html"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("of an earlier run")
    Path("metrics/mine.json").write_text("not of the pipeline")
    assert withdraw.withdraw(YAML(typ="safe").load(ROOT / "dvc.yaml")) == 4
    assert [path.as_posix() for path in Path().rglob("*") if path.is_file()] == ["metrics/mine.json"]


def test_areas_that_a_folder_lacks_are_refused_before_anything_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "vendor/data/mine"
    (folder / "sessions").mkdir(parents=True)
    (folder / "images.csv").write_text("image_id,file\n" + "".join(f"{i},{i}.png\n" for i in range(12)))
    (folder / "units.csv").write_text("session_id,unit_id,area\n" + "".join(f"1,{i},V4\n" for i in range(6)))
    np.savez(folder / "sessions/1.npz", image_id=np.arange(12), unit_id=np.arange(6))
    for name in ("params.yaml", "dvc.yaml", "runs.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    section = {"module": "plain", "source": "V4", "size_px": 32, "window_s": [0.04, 0.29], "margin_s": 1.0}
    edit(tmp_path / "params.yaml", {"dataset": "mine", "datasets.mine": section, "areas.control": "shuffled"})
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics/metrics.json").write_text("of the last run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=r"areas.visual: vendor/data/mine/sessions/1.npz: no unit in VISp, VISl"):
        start.main()
    assert (tmp_path / "metrics/metrics.json").read_text() == "of the last run"


def test_an_older_copy_of_the_data_is_said() -> None:
    new, old = {"md5": "a.dir"}, {"md5": "b.dir"}
    assert vendored.older_copy({"deps": [new], "outs": [new]}) == ""
    assert "data/ is an older copy of vendor/data" in vendored.older_copy({"deps": [new], "outs": [old]})
