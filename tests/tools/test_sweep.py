"""Sets of experiments: what they expand to, and what is refused."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps
from ruamel.yaml import YAML
from small_profile import environment

import spikevaediff.tools
from spikevaediff.__main__ import main
from spikevaediff.tools import shell, sweep

PARAMS = {"a": {"b": 1, "names": ["x"]}, "c": True}


def test_every_combination_becomes_an_experiment() -> None:
    made = sweep.experiments("s", {"a.b": [1, 2.5], "c": [True, None]}, PARAMS)
    assert made == {
        "s-0": ["a.b=1", "c=true"],
        "s-1": ["a.b=1", "c=null"],
        "s-2": ["a.b=2.5", "c=true"],
        "s-3": ["a.b=2.5", "c=null"],
    }


def test_lists_are_written_as_dvc_reads_them() -> None:
    assert sweep.experiments("s", {"a.names": [["VISp", "LP"]]}, PARAMS) == {"s-0": ["a.names=[VISp,LP]"]}


@pytest.mark.parametrize(
    "value",
    [
        *(
            "VISp",
            "",
            "x,y",
            "true",
            "Null",
            "1e-6",
            "12",
            "a b",
            "it's",
            "a=b",
            "#x",
            "a\\",
            "a\\'b",
            "[x]",
            "nan",
            "d/w.pt",
        ),
        *(1, -1, 1e-07, 0.5, True, None, ["x,y", "b", [1, "2"]], {"a": 1, "b": ["x", "y,z"]}),
    ],
)
def test_dvc_reads_every_value_back_as_it_is(tmp_path: Path, value: object) -> None:
    ((setting,),) = sweep.experiments("s", {"c": [value]}, PARAMS).values()
    (tmp_path / "params.yaml").write_text("c: 0\n")
    apply_overrides(tmp_path / "params.yaml", [setting])
    assert YAML(typ="safe").load(tmp_path / "params.yaml") == {"c": value}
    # With --queue, DVC would make several experiments of what it takes for several values.
    assert len(list(get_hydra_sweeps({"params.yaml": [setting]}))) == 1


def test_a_path_that_params_yaml_lacks_is_refused() -> None:
    with pytest.raises(KeyError, match=r"sweep s: params.yaml has no a.bb"):
        sweep.experiments("s", {"a.bb": [1]}, PARAMS)


def test_what_all_feature_spaces_have_in_common_is_varied_for_one(tmp_path: Path) -> None:
    text = "regress:\n  common:\n    folds: image\n    banded:\n      max_steps: 9\n  text:\n    method: ridge\n"
    (tmp_path / "params.yaml").write_text(text)
    reader = YAML(typ="safe")
    params = reader.load(text)
    found = sweep.experiments("s", {"regress.text.folds": [5], "regress.text.banded.max_steps": [3]}, params)
    assert found == {"s-0": ["++regress.text.folds=5", "++regress.text.banded.max_steps=3"]}
    apply_overrides(tmp_path / "params.yaml", found["s-0"])
    params["regress"]["text"] |= {"folds": 5, "banded": {"max_steps": 3}}
    assert reader.load(tmp_path / "params.yaml") == params
    for path in ("regress.text.fold", "regress.txt.folds", "regress.text.method.folds"):
        with pytest.raises(KeyError, match=rf"sweep s: params.yaml has no {path}"):
            sweep.experiments("s", {path: [1]}, params)


def test_the_ready_made_sweeps_fit_params_yaml() -> None:
    grids, params = sweep.load(ROOT / "sweeps.yaml"), YAML(typ="safe").load(ROOT / "params.yaml")
    for name, grid in grids.items():
        sweep.refuse(name, grid, params, ROOT)
        assert len(sweep.experiments(name, sweep.with_values(grid, params), params)) > 1


def own(root: Path, *areas: str) -> dict[str, Any]:
    """params.yaml with a data set of one's own, whose folder has a table."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    params |= {"dataset": "mine", "areas": {"visual": list(areas), "control": "shuffled"}}
    params["datasets"]["mine"] = {"module": "plain", "window_s": [0.05, 0.15]}
    (root / "vendor/data/mine/sessions").mkdir(parents=True)
    np.savez(root / "vendor/data/mine/sessions/1.npz", image_id=np.arange(4), unit_id=np.arange(3))
    return params


def test_areas_are_those_of_params_yaml_each_by_itself(tmp_path: Path) -> None:
    grid, params = sweep.load(ROOT / "sweeps.yaml")["regions"], own(tmp_path, "V4", "IT")
    sweep.refuse("regions", grid, params, tmp_path)
    assert sweep.experiments("regions", sweep.with_values(grid, params), params) == {
        "regions-0": ["areas.visual=[V4]"],
        "regions-1": ["areas.visual=[IT]"],
    }


def test_a_single_area_is_nothing_to_compare(tmp_path: Path) -> None:
    message = r"sweep regions: areas.visual of params.yaml is \[V4\], expected a list of two or more, each of which"
    with pytest.raises(ValueError, match=message):
        sweep.refuse("regions", {"areas.visual": "each"}, own(tmp_path, "V4"), tmp_path)


def test_windows_of_tables_are_not_varied(tmp_path: Path) -> None:
    grid, params = sweep.load(ROOT / "sweeps.yaml")["window"], own(tmp_path, "V4")
    message = (
        "sweep window: responses of mine are tables, counted in fixed windows (0.05 to 0.15 s), so that "
        "responses.start_s, responses.duration_s cannot be varied. Other windows need spike times"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sweep.refuse("window", grid, params, tmp_path)
    with pytest.raises(
        ValueError, match="sweep window: responses of cowley_v4 are tables, counted in fixed windows, so"
    ):
        sweep.refuse("window", grid, params | {"dataset": "cowley_v4"}, tmp_path)
    sweep.refuse("window", grid, params | {"dataset": "allen"}, tmp_path)
    path = tmp_path / "vendor/data/mine/sessions/1.npz"
    path.write_bytes(b"no table")
    with pytest.raises(ValueError, match=r"See what is wrong: spikevaediff check-data .*mine"):
        sweep.refuse("window", grid, params, tmp_path)
    path.rename(path.with_suffix(".nwb"))  # recordings are counted in any window
    sweep.refuse("window", grid, params, tmp_path)


def test_the_command_refuses_before_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    YAML().dump(own(tmp_path, "V4"), tmp_path / "params.yaml")
    (tmp_path / "sweeps.yaml").write_bytes((ROOT / "sweeps.yaml").read_bytes())
    monkeypatch.chdir(tmp_path)
    for name in ("regions", "window"):
        assert main(["sweep", name, "--dry-run"]) == 1
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith(f"sweep {name}: ")
    assert main(["sweep"]) == 0
    assert "regions: 1 experiments over areas.visual\n" in capsys.readouterr().out


def test_a_sweep_without_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sweeps.yaml").write_text("s:\n  a.b: 1\n")
    with pytest.raises(ValueError, match=r"s must be paths of params.yaml, each with a list of values; got"):
        sweep.load(tmp_path / "sweeps.yaml")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s: {}\n", r"s must be paths of params.yaml, each with a list of values; got {}"),
        ("s: 3\n", r"s must be paths of params.yaml, each with a list of values; got 3"),
        ("- s\n", r"sweeps.yaml must be names of sets, each with paths of params.yaml; got \['s'\]"),
        ("s: [1\n", r"^not YAML: .*sweeps.yaml\", line 2, column 1$"),
        ("s: {a: [1]}\ns: {a: [2]}\n", r"^not YAML: .*sweeps.yaml\".*duplicate key \"s\""),
    ],
)
def test_sweeps_of_another_form_are_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, says: str
) -> None:
    (tmp_path / "sweeps.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "s"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(says, line)


def test_parameters_that_are_no_yaml_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sweeps.yaml").write_text("s: {a: [1]}\n")
    (tmp_path / "params.yaml").write_text("a: [\n")
    monkeypatch.chdir(tmp_path)
    for command in (["sweep", "s"], ["cards"]):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert re.search(r'^not YAML: .*params.yaml", line 2, column 1$', line)


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_queue_that_nothing_would_run_is_refused(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(ValueError, match=rf"--jobs is {jobs}: with fewer than 1 at a time nothing would run"):
        list(sweep.run_here(tmp_path, {"s-0": []}, jobs=jobs))


def test_a_folder_without_sweeps_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"sweeps.yaml does not exist. Run this at the top of a checkout"):
        sweep.load(tmp_path / "sweeps.yaml")


def test_the_command_lists_and_prints_and_names_what_exists(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["sweep"]) == 0
    assert "methods: 3 experiments over regress.vdvae.method" in capsys.readouterr().out
    assert main(["sweep", "methods", "--dry-run"]) == 0
    assert "dvc exp run --name methods-1 -S regress.vdvae.method=kernel_ridge" in capsys.readouterr().out
    assert main(["sweep", "methodz"]) == 1
    assert "sweeps.yaml has no 'methodz'; there are regions, alphas, penalties, methods" in capsys.readouterr().err


def test_names_that_exist_are_not_run_over(tmp_path: Path) -> None:
    for words in ("init --quiet", "commit --quiet --allow-empty --message x"):
        subprocess.run(["git", *words.split()], cwd=tmp_path, env=environment(tmp_path), check=True)
    ref = f"refs/exps/{shell.folder_of(tmp_path)}/s-1"
    subprocess.run(["git", "update-ref", ref, "HEAD"], cwd=tmp_path, check=True)
    with pytest.raises(ValueError, match=r"To run them anew: dvc exp remove s-1$"):
        list(sweep.run_here(tmp_path, {"s-0": [], "s-1": []}, jobs=1))


def test_a_cluster_without_its_package_names_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delitem(sys.modules, "spikevaediff.tools.cluster", raising=False)
    monkeypatch.delattr(spikevaediff.tools, "cluster", raising=False)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(["sweep", "methods", "--cluster", "tcp://127.0.0.1:1"]) == 1
    assert "Install it: pip install -c constraints.txt -e '.[cluster]'" in capsys.readouterr().err
