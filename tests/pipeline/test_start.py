"""The first stage refuses names that nothing has and data that a run would not see, and withdraws old numbers."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML
from small_profile import edit, environment

from spikevaediff.evaluation import protocols
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.report.unread import unread, without
from stages import start

PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")


def changed(path: str, value: Any, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    edit(tmp_path / "params.yaml", {path: value})
    return YAML(typ="safe").load(tmp_path / "params.yaml")


def test_the_names_of_params_yaml_are_all_there(tmp_path: Path) -> None:
    start.check_names(PARAMS)
    for path, value in (("model", "published"), ("dataset", "allen"), ("regress.text.method", "banded")):
        start.check_names(changed(path, value, tmp_path))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("encoding.families", ["gabor", "gabro"], r"asks for 'gabro', which is not in .*families; there are alexnet"),
        ("encoding.families", [], r"encoding.families is \[\], expected a list of different families"),
        ("encoding.families", ["gabor", "gabor"], "expected a list of different families"),
        ("decode.posterior.n_samples", 0, "decode.posterior.n_samples is 0, expected whole numbers, 1 or more"),
        ("regress.text.library", 1300, r"regress.text.library is 1300, expected 0 to 1200 \(library.n_images\)"),
        ("regress.text.library", -1, r"regress.text.library is -1, expected 0 to 1200"),
        ("regress.text.library", "all", r"regress.text.library is 'all', expected 0 to 1200"),
        ("library.n_images", 20, r"regress.vdvae.library is 1200, expected 0 to 20"),
        (
            "regress.vdvae.transform",
            "square_root",
            r"transform is square_root, but encoding models, .* choose none, or",
        ),
        ("dataset", "simulatd", r"params.yaml has no datasets.simulatd; datasets has simulated, allen"),
        (
            "datasets.simulated.module",
            "plian",
            r"asks for 'plian', which is not in src/spikevaediff/datasets; there are",
        ),
        ("model", "minni", r"params.yaml has no models.minni; models has mini, published"),
        ("models.mini.text.module", "minilmm", r"asks for 'minilmm', which is not in src/spikevaediff/features; there"),
        ("models.mini.diffusion.module", "vd", r"asks for 'vd', which is not in src/spikevaediff/decoders; there are"),
        ("regress.vdvae.method", "rigde", r"'rigde', which is not in src/spikevaediff/regression/methods; there"),
        ("regress.vision.method", "rigde", r"'rigde', which is not in src/spikevaediff/regression/methods; there"),
        ("areas.control", ["VISp"], r"VISp stands in areas.visual and in areas.control"),
        ("areas.visual", "VISp", r"areas.visual is 'VISp', expected a list of areas, or shuffled"),
    ],
)
def test_a_name_that_nothing_has_is_answered_with_those_that_are(
    path: str, value: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises((KeyError, ValueError), match=message):
        start.check_names(changed(path, value, tmp_path))


def test_an_alias_is_refused_since_experiments_would_not_change_it(tmp_path: Path) -> None:
    start.check_written_out(ROOT / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: &same\n  b: 1\nc: *same\n")
    with pytest.raises(ValueError, match=r"params.yaml, line 3: \*same repeats another place.* Write the values out"):
        start.check_written_out(tmp_path / "params.yaml")


def test_a_section_that_no_stage_reads_and_a_seed_that_is_none_are_refused() -> None:
    declared = {name: value for name, value in PARAMS.items() if name != "compute"}
    start.check_sections(declared, PARAMS)
    with pytest.raises(ValueError, match=r"no stage reads splits; its sections are dataset, model, seed, .*, compute$"):
        start.check_sections(declared, PARAMS | {"splits": {"n_folds": 5}})
    for seed in ("ten", 1.5, True, None, -1):
        with pytest.raises(ValueError, match=r"params.yaml: seed is .*, expected a whole number, 0 or more"):
            start.check_sections(declared | {"seed": seed}, PARAMS)


@pytest.mark.parametrize("value", ["low", True, [0.5], float("nan")])
def test_a_limit_of_units_is_a_number_or_null(value: Any) -> None:
    assert Limits.of(PARAMS["responses"] | {"presence_ratio_min": None}).presence_ratio_min is None
    with pytest.raises(
        ValueError, match=r"responses.presence_ratio_min is .*, expected a number, or null for no limit"
    ):
        Limits.of(PARAMS["responses"] | {"presence_ratio_min": value})


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
    start.check_data(Path("vendor/data"), "mine")
    (workspace / "vendor/data/other").mkdir()
    (workspace / "vendor/data/other/1.npz").touch()
    start.check_data(Path("vendor/data"), "mine")  # another data set is no concern of this one


def test_files_that_git_does_not_know_are_named_where_a_run_would_lack_them(workspace: Path) -> None:
    (workspace / "vendor/data/mine/sessions").mkdir()
    (workspace / "vendor/data/mine/sessions/2.csv").touch()
    message = r"Git does not track vendor/data/mine/sessions/2.csv, so that .* lacks it.* git add vendor/data/mine"
    with pytest.raises(FileNotFoundError, match=message):
        start.check_data(Path("vendor/data"), "mine")
    # `dvc add` keeps it out of Git, and DVC puts it into the copy.
    Path("vendor/data/mine/sessions").mkdir()
    Path("vendor/data/mine/sessions/2.csv").touch()
    start.check_data(Path("vendor/data"), "mine")


def test_a_data_set_without_a_folder_is_answered_with_those_that_have_one(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DVC_ROOT")
    Path("vendor/data/weights").mkdir()
    with pytest.raises(
        FileNotFoundError, match=r"dataset is yours, but there is no folder vendor/data/yours; .* mine$"
    ):
        start.check_data(Path("vendor/data"), "yours")


def test_what_shows_numbers_is_listed_as_dvc_yaml_has_it() -> None:
    found = {path.as_posix() for path in start.shown(YAML(typ="safe").load(ROOT / "dvc.yaml"))}
    tracked = subprocess.run(
        ["git", "ls-files", "metrics", "plots"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert found == set(tracked)


def test_an_older_copy_of_the_data_is_said() -> None:
    new, old = {"md5": "a.dir"}, {"md5": "b.dir"}
    assert start.older_copy({"deps": [new], "outs": [new]}) == ""
    assert "data/ is an older copy of vendor/data" in start.older_copy({"deps": [new], "outs": [old]})
