"""What a stage declares is read without loading DVC's index, and is what DVC itself reads."""

import json
from pathlib import Path
from typing import Any

import pytest

from spikevaediff.parameters.declared import of_stage, results_of

ROOT = Path(__file__).resolve().parents[2]

PIPELINE = """
vars:
- more.yaml
- own: {space: text}
stages:
  plain:
    cmd: x ${unknown.and.never.asked}
    params: [seed, "models.${model}", "models.${model}.${own.space}", regress.text, regress.text.alphas, nowhere.at.all]
  none:
    cmd: x
    outs: [a.npz, b: {persist: true}]
    metrics: [{m.json: {cache: false}}]
  listed:
    foreach: [a, b]
    do:
      cmd: x
      params: ["letters.${item}"]
      outs: ["${item}.npz", "more/${letters.a}"]
  named:
    foreach: ${spaces}
    do:
      cmd: x
      params: ["models.mini.${key}", "regress.${item.of}"]
  crossed:
    matrix: {one: [a, b], other: [text, vision]}
    cmd: x
    params: ["letters.${item.one}", "models.mini.${item.other}"]
  elsewhere:
    cmd: x
    params: [seed, {more.yaml: [spaces]}]
"""
PARAMS = """
model: mini
seed: 3
letters: {a: 1, b: 2}
models: {mini: {text: {n: 1}, vision: {n: 2}}, large: {text: {n: 3}}}
regress: {text: {alphas: [1.0, 2.5e+3], method: ridge}, vdvae: {method: banded}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "more.yaml").write_text("spaces: {text: {of: text}, vision: {of: vdvae}}\n")
    return tmp_path


def test_every_stage_gets_what_dvc_reads() -> None:
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    expected: dict[str, dict[str, Any]] = {}
    outs: dict[str, list[str]] = {}
    with Repo(str(ROOT)) as repo:
        for stage in repo.index.stages:
            if stage.cmd and "/" not in stage.addressing:
                outs[stage.addressing] = sorted(map(str, stage.outs))
            found = [dep for dep in stage.deps if isinstance(dep, ParamsDependency)]
            if stage.cmd and "/" not in stage.addressing and {dep.def_path for dep in found} <= {"params.yaml"}:
                expected[stage.addressing] = found[0].read_params(flatten=False) if found else {}
    assert len(expected) > 50
    for name, params in expected.items():
        # As text: the report shows parameters in their order.
        assert json.dumps(of_stage(name, ROOT)) == json.dumps(params), name
    for name, paths in outs.items():
        assert sorted(results_of(name, ROOT)) == paths, name


@pytest.mark.parametrize("stage", ["report", "regress@control_text"])
def test_it_is_what_the_api_of_dvc_gives(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import dvc.api

    monkeypatch.chdir(ROOT)
    assert json.dumps(of_stage(stage, ROOT)) == json.dumps(dvc.api.params_show(stages=stage))


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (
            "plain",
            {
                "seed": 3,
                "models": {"mini": {"text": {"n": 1}, "vision": {"n": 2}}},
                "regress": {"text": {"alphas": [1.0, 2500.0], "method": "ridge"}},
            },
        ),
        ("none", {}),
        ("listed@b", {"letters": {"b": 2}}),
        (
            "named@text",
            {"models": {"mini": {"text": {"n": 1}}}, "regress": {"text": {"alphas": [1.0, 2500.0], "method": "ridge"}}},
        ),
        ("named@vision", {"models": {"mini": {"vision": {"n": 2}}}, "regress": {"vdvae": {"method": "banded"}}}),
        ("crossed@b-text", {"letters": {"b": 2}, "models": {"mini": {"text": {"n": 1}}}}),
    ],
)
def test_templates_are_filled_in(folder: Path, stage: str, expected: dict[str, Any]) -> None:
    assert of_stage(stage, folder) == expected


def test_results_are_named_with_whatever_dvc_is_told_of_them(folder: Path) -> None:
    assert results_of("none", folder) == ["a.npz", "b", "m.json"]
    assert results_of("listed@b", folder) == ["b.npz", "more/1"]
    assert results_of("plain", folder) == []
    with pytest.raises(ValueError, match="Could not find 'listed'"):
        results_of("listed", folder)


def test_an_edit_of_params_yaml_counts_at_once(folder: Path) -> None:
    """As `dvc exp run -S` edits it before the stages run."""
    (folder / "params.yaml").write_text(PARAMS.replace("model: mini", "model: large").replace("n: 3", "n: 4"))
    assert of_stage("plain", folder)["models"] == {"large": {"text": {"n": 4}}}


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("nothing", "dvc.yaml: cannot read stage nothing: Could not find 'nothing'"),
        ("plain@text", "dvc.yaml: cannot read stage plain@text: Could not find 'plain@text'"),
        ("listed", "dvc.yaml: cannot read stage listed: Could not find 'listed'"),
        ("listed@c", "dvc.yaml: cannot read stage listed@c: Could not find 'listed@c'"),
        (
            "elsewhere",
            r"dvc.yaml: elsewhere declares \{'more.yaml': \['spaces'\]\}, and a stage can read those of params.yaml "
            "alone",
        ),
    ],
)
def test_a_stage_that_cannot_be_read_is_named(folder: Path, stage: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        of_stage(stage, folder)


def test_a_template_of_nothing_is_named(folder: Path) -> None:
    (folder / "params.yaml").write_text("seed: 3\n")
    with pytest.raises(ValueError, match=r"(?s)dvc.yaml: cannot read stage plain: .*Could not find 'model'"):
        of_stage("plain", folder)


@pytest.mark.parametrize("name", ["dvc.yaml", "params.yaml", "more.yaml"])
def test_a_file_that_is_damaged_or_missing_is_named(folder: Path, name: str) -> None:
    (folder / name).write_text("a: [1\n")
    with pytest.raises(ValueError, match=rf"unable to read: '.*{name}', YAML file structure is corrupted"):
        of_stage("none", folder)
    (folder / name).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        of_stage("none", folder)
