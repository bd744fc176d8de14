"""runs.yaml: every run once, what is left out with a part, and how the units of other data are called."""

import string
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.parameters.runs import population_labels, problems, read_runs, wanted

WRITTEN: dict[str, Any] = YAML(typ="safe").load(ROOT / "runs.yaml")
ALL = {"second_stage": True, "controls": True, "analyses": True}


def read(**parts: bool) -> Any:
    return read_runs(ROOT / "runs.yaml", ALL | parts)


def test_runs_are_in_the_order_of_the_tables() -> None:
    runs = read()
    assert runs == read_runs(ROOT / "runs.yaml")
    assert list(runs.scored)[:4] == list(runs.results) == list(runs.checked)
    assert list(runs.scored)[-4:] == ["mean", "grey", "nearest", "random"]
    assert runs.lead == "posterior"
    assert len(runs.scored) == 16
    assert runs.hypotheses == (
        *("posterior", "posterior_sample", "vdvae", "diffusion"),
        *("posterior_control", "posterior_control_sample", "control", "diffusion_control"),
    )
    assert set(runs.compared) == {
        ("posterior", "vdvae"),
        ("posterior", "posterior_control"),
        ("posterior", "mean"),
        ("posterior_sample", "vdvae"),
        ("vdvae", "control"),
        ("vdvae", "mean"),
        ("diffusion", "vdvae"),
        ("diffusion", "diffusion_control"),
        ("diffusion", "nearest"),
    }
    assert {space: runs.of_space(space) for space in runs.spaces} == {
        "vdvae": ("vdvae", "control"),
        "text": ("text", "control_text"),
        "vision": ("vision", "control_vision"),
    }
    assert [runs.checked[run]["spaces"] for run in runs.checked] == [[], [], ["vdvae"], ["text", "vision"]]


def test_every_run_that_another_names_exists() -> None:
    scored, made = {**WRITTEN["scored"], **WRITTEN["baselines"]}, set()
    for run in scored.values():
        assert set(run.get("compared_with", [])) <= set(scored)
    for of in ("checked", "checked_posteriors"):
        for name, run in WRITTEN[of].items():
            assert {name, run["ceiling"], run["control"]} <= set(scored)
            assert scored[name]["role"] == "result"
    assert {*WRITTEN["gallery"], *WRITTEN["sheet"], WRITTEN["lead"]} <= set(scored)
    for of in ("decoded", "posteriors", "generated"):
        made |= set(WRITTEN[of])
    made |= {f"{name}_sample" for name in WRITTEN["posteriors"]}
    assert set(WRITTEN["scored"]) <= made
    for run in [*WRITTEN["regressions"].values(), *WRITTEN["posteriors"].values()]:
        assert run["population"] in WRITTEN["populations"]


def test_a_run_is_left_out_with_what_it_is_made_of() -> None:
    """Whatever parts are left out: nothing that is wanted is made of something that is not."""
    params = [
        {"second_stage": a, "controls": b, "analyses": c} for a in (True, False) for b in (True, False) for c in (True,)
    ]
    for parts in params:
        there = {
            of: {name for name, run in WRITTEN[of].items() if wanted(run["part"], parts)}
            for of in ("populations", "regressions", "decoded", "posteriors", "generated", "scored")
        }
        made = there["decoded"] | there["posteriors"] | there["generated"]
        made |= {f"{name}_sample" for name in there["posteriors"]}
        assert there["scored"] == made & set(WRITTEN["scored"])
        for of in ("regressions", "posteriors"):
            assert all(WRITTEN[of][name]["population"] in there["populations"] for name in there[of])
        for name in there["posteriors"]:
            assert WRITTEN["posteriors"][name]["regression"].removeprefix("artifacts/decoded/") in there["decoded"]
        for name in there["generated"]:
            for path in (WRITTEN["generated"][name][of] for of in ("start", "vision", "text")):
                folder, _, made_of = path.removeprefix("artifacts/").removesuffix(".npz").partition("/")
                assert folder in ("features", "split") or made_of in there["regressions"] | made


def test_without_the_second_stage_or_controls_no_name_of_theirs_is_left() -> None:
    alone = read(second_stage=False)
    assert not [run for run in alone.scored if "diffusion" in run or "prior" in run]
    assert alone.spaces == ["vdvae"]
    assert "diffusion" not in {*alone.gallery, *alone.sheet, *alone.checked}
    alone = read(controls=False)
    assert not [run for run in {**alone.scored, **alone.regressions, **alone.gallery} if "control" in run]
    assert alone.populations == ["visual"]
    assert {run["control"] for run in alone.checked.values()} == {None}
    assert not [pair for pair in alone.compared if "control" in "".join(pair)]
    least = read(second_stage=False, controls=False)
    assert list(least.scored) == [
        *("posterior", "posterior_sample", "vdvae", "ceiling", "mean", "grey", "nearest", "random")
    ]


def test_a_part_that_is_not_in_the_parameters_is_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match=r"runs.yaml: there is no part controls; params.yaml has parts.second_stage"):
        read_runs(ROOT / "runs.yaml", {"second_stage": True})


def test_texts_name_the_units_that_were_asked_for() -> None:
    words = population_labels({"visual": ["V4"], "control": "shuffled"})
    assert words == {"visual": "units in V4", "control": "the same units with responses to other images"}
    assert population_labels({"control": ["CA1", "DG"]}) == {"control": "units in CA1, DG"}
    for run in read().scored.values():
        fields = {field for _, field, _, _ in string.Formatter().parse(run["says"]) if field}
        assert fields <= {"visual", "control"}
        assert "{" not in run["says"].format(**words)
        assert not [word for word in ("hippocamp", "CA1", "mouse") if word in run["says"]]


def test_a_run_that_nothing_makes_is_said_before_anything_runs() -> None:
    pipeline = YAML(typ="safe").load(ROOT / "dvc.yaml")
    assert list(problems(WRITTEN, pipeline)) == []
    more = {"decoded": WRITTEN["decoded"] | {"mine": {}}, "scored": WRITTEN["scored"] | {"mine": {}, "mien": {}}}
    line = "decoded has mine, which stage decode of dvc.yaml lacks: give it a line there, as vdvae has"
    nothing, *others = problems(WRITTEN | more, pipeline)
    assert nothing == line
    assert [one.split(".")[0] for one in others] == ["scored has mien, which nothing makes"]
    fewer = {name: run for name, run in WRITTEN["regressions"].items() if name != "text"}
    assert list(problems(WRITTEN | {"regressions": fewer}, pipeline)) == [
        "stage regress of dvc.yaml has text, which is not in regressions"
    ]
    mean = WRITTEN["scored"]["vdvae"] | {"compared_with": ["meen"]}
    changed = {"scored": WRITTEN["scored"] | {"vdvae": mean}, "gallery": {"vdave": "x"}}
    assert list(problems(WRITTEN | changed, pipeline)) == [
        "gallery has vdave, which is not scored",
        "scored.vdvae is compared with meen, which is not scored",
    ]
    made = ", ".join(f"artifacts/decoded/{name}" for name in WRITTEN["decoded"])
    for regression in ({"regression": "artifacts/decoded/vdave"}, {}):
        posterior = {"posterior": {"population": "visual"} | regression}
        (line,) = problems(WRITTEN | {"posteriors": WRITTEN["posteriors"] | posterior}, pipeline)
        named = regression.get("regression")
        assert line == f"posteriors.posterior.regression is {named}, expected one of {made}"
