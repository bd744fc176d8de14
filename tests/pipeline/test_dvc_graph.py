"""dvc.yaml tells the truth: a stage depends on every module that it reaches, and declares every parameter it reads."""

import ast
import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from spikevaediff.parameters.of_space import spaces
from spikevaediff.parameters.reached import code_of_stages

ROOT = Path(__file__).resolve().parents[2]
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
# Modules that are chosen by name, and so not in any import: what chooses, and the folder of the chosen.
BY_NAME = {
    "src/spikevaediff/encoding/encoder.py": "src/spikevaediff/encoding/families",
    "src/spikevaediff/evaluation/registry.py": "src/spikevaediff/evaluation/metrics",
    'stages.module("datasets"': "src/spikevaediff/datasets",
    'stages.module("decoders"': "src/spikevaediff/decoders",
    "stages.decoder(": "src/spikevaediff/decoders",
    'stages.module("features"': "src/spikevaediff/features",
    'stages.module("regression/methods"': "src/spikevaediff/regression/methods",
}


@cache
def stages() -> dict[str, dict]:
    """Resolved stages by name, as DVC sees them."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        return {
            stage.addressing: {
                "cmds": [stage.cmd] if isinstance(stage.cmd, str) else stage.cmd,
                "outs": {str(out) for out in stage.outs},
                "deps": {str(dep) for dep in stage.deps if not str(dep).endswith(".yaml")},
            }
            for stage in repo.index.stages
            if stage.cmd and stage.addressing.startswith("stages/") is False
        }


@cache
def code() -> dict[str, list[str]]:
    return code_of_stages(ROOT)


def code_of(name: str) -> set[str]:
    """The modules that a stage depends on through its file of artifacts/code."""
    (file,) = (dep for dep in stages()[name]["deps"] if dep.startswith("artifacts/code/"))
    return set(code()[file.removeprefix("artifacts/code/")])


def test_every_stage_depends_on_the_code_that_it_runs_through() -> None:
    for name, stage in stages().items():
        if name == "start":
            continue
        for command in stage["cmds"]:
            words = command.split()
            script = words[4] if words[2] == "stages.part" else words[2].removeprefix("stages.")
            assert f"stages/{script}.py" in code_of(name), name
        assert code_of(name) & {"src/spikevaediff/records/__init__.py", "src/spikevaediff/report/page.py"}, name
        assert all((ROOT / path).is_file() for path in code_of(name)), name


def test_what_is_chosen_by_name_is_a_dependency_of_those_that_choose() -> None:
    for name, stage in stages().items():
        if name == "start":
            continue
        scripts = "".join((ROOT / path).read_text() for path in code_of(name) if path.startswith("stages/"))
        for chooser, folder in BY_NAME.items():
            if chooser in code_of(name) or chooser in scripts:
                assert any(dep.startswith(folder) for dep in stage["deps"]), f"{name}: add what it needs of {folder}"
                assert any(path.startswith(f"{folder}/") for path in code_of(name)), name


def test_the_contexts_of_nothing_depend_on_the_modules_and_weights_of_both_contexts() -> None:
    named = {
        f"src/spikevaediff/features/{PARAMS['models'][m][s]['module']}.py"
        for m in PARAMS["models"]
        for s in ("vision", "text")
    }
    assert named | {"artifacts/weights/text", "artifacts/weights/vision"} <= stages()["unconditional"]["deps"]
    assert "artifacts/unconditional" in stages()["decode_diffusion@diffusion"]["deps"]


def test_weights_rerun_the_stages_that_read_them_and_no_other() -> None:
    def reading(space: str) -> set[str]:
        return {name.split("@")[0] for name, stage in stages().items() if f"artifacts/weights/{space}" in stage["deps"]}

    assert reading("diffusion") == {"decode_diffusion"}
    assert reading("captions") == {"captions"}
    assert reading("text") == reading("vision") == {"features", "library_features", "unconditional"}
    of_vdvae = {"features", "library_features", "decode", "decode_posterior", "layers", "known_mistakes"}
    assert reading("vdvae") == of_vdvae
    assert not [name for name, stage in stages().items() if "vendor/data/weights" in stage["deps"]]


def test_a_module_reruns_the_stages_that_reach_it_and_no_other() -> None:
    """Known answers, by what each stage is for."""
    names = set(stages()) - {"start"}

    def reach(path: str) -> set[str]:
        return {name for name in names if path in code_of(name)}

    def of(*groups: str) -> set[str]:
        return {name for name in names if name.split("@")[0] in groups}

    assert reach("src/spikevaediff/features/vdvae.py") == {
        "features@vdvae",
        "library_features@vdvae",
        "layers",
    }
    ridge = reach("src/spikevaediff/regression/methods/ridge.py")
    assert ridge == of("regress", "noise_ceiling", "known_mistakes", "curves", "movies", "regions")
    assert reach("src/spikevaediff/regression/methods/banded.py") == {"regions"}
    assert reach("src/spikevaediff/regression/methods/kernel_ridge.py") == set()
    assert reach("src/spikevaediff/encoding/posterior.py") == of("decode_posterior")
    assert reach("src/spikevaediff/datasets/cowley_v4.py") == {"acquire"}
    assert reach("src/spikevaediff/evaluation/metrics/ssim.py") == of("looks", "evaluate", "halves", "baselines")
    assert reach("src/spikevaediff/report/page.py") == {"report"}
    assert reach("vendor/versatile_diffusion/unet.py") == of("decode_diffusion")
    assert reach("src/spikevaediff/tools/plan.py") == set()
    table = "src/spikevaediff/files/assets.toml"
    assert reach(table) >= of("features", "encode", "decode", "decode_posterior", "decode_diffusion", "evaluate")
    assert not reach(table) & of("split", "responses", "regress", "checks")


def test_every_run_begins_with_start() -> None:
    """Whatever is asked of DVC: what it does not compute again has been withdrawn before."""
    maker = {out: name for name, stage in stages().items() for out in stage["outs"]}

    def begins(name: str) -> bool:
        return name == "start" or any(begins(maker[dep]) for dep in stages()[name]["deps"] if dep in maker)

    others = [name for name in stages() if not begins(name)]
    assert not others, f"these may run without it; let them depend on artifacts/started: {others}"


def test_start_is_run_by_every_change_of_a_parameter_or_of_code_that_a_result_depends_on() -> None:
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    start = pipeline["start"]
    sections = {name.split(".")[0] for name in start["params"] if isinstance(name, str)}
    assert sections == set(YAML(typ="safe").load(ROOT / "params.yaml")) - {"compute"}
    files = {dep for name, stage in stages().items() if name != "start" for dep in stage["deps"] | code_of(name)}
    outside = {dep for dep in files if not dep.startswith(("artifacts", *start["deps"]))}
    assert not outside - {"metrics/statistics.json"} - {dep for dep in outside if dep.startswith("plots/")}
    # What no stage reaches is in .dvcignore, or an edit of it would run start.
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        for path in sorted((ROOT / "src/spikevaediff").rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            # Methods are chosen by name; and what start writes of code and weights follows from how they are read.
            if path.stem not in ("__init__", "reached", "weights_used") and path.parent.name != "methods":
                assert repo.dvcignore.is_ignored_file(str(path)) == (name not in files), f"{name}: see .dvcignore"


def test_start_writes_what_dvc_never_takes_from_the_run_cache() -> None:
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = ("artifacts/started", "artifacts/parts", "artifacts/code", "artifacts/weights")
    assert pipeline["start"]["outs"] == [{out: {"persist": True}} for out in outs]  # see dvc.stage.cache._can_hash


def test_what_data_dvc_imports_is_the_folder_that_git_keeps() -> None:
    """An edit of vendor/data followed by `dvc exp run` leaves data.dvc with the new checksum and the old copy."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "vendor/data"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    files = [
        {"md5": hashlib.md5((ROOT / name).read_bytes()).hexdigest(), "relpath": name.removeprefix("vendor/data/")}
        for name in names
        if name
    ]
    listing = json.dumps(sorted(files, key=lambda file: file["relpath"]), sort_keys=True).encode()
    imported = YAML(typ="safe").load(ROOT / "data.dvc")
    expected = f"{hashlib.md5(listing).hexdigest()}.dir"
    assert imported["deps"][0]["md5"] == expected, "renew the copy: dvc repro -f data.dvc"
    assert imported["outs"][0]["md5"] == expected, "renew the copy: dvc repro -f data.dvc"


def test_the_chosen_modules_are_dependencies() -> None:
    """Each named once, in params.yaml: another module is found, and an edit of it seen."""
    text = (ROOT / "dvc.yaml").read_text()
    written = YAML(typ="safe").load(text)["stages"]
    for run, entry in written["decode"]["foreach"].items():
        named = f"${{decode.{entry['decoder']}.module}}"
        assert entry == {"run": f"${{decoded.{run}}}", "decoder": entry["decoder"], "module": named}
    assert "src/spikevaediff/decoders/${item.module}.py" in str(written["decode"]["do"]["deps"])
    for stage, runs in (("decode", "decoded"), ("regress", "regressions")):
        assert set(written[stage]["foreach"]) == set(YAML(typ="safe").load(ROOT / "runs.yaml")[runs])
    for model in PARAMS["models"]:
        assert f"src/spikevaediff/decoders/${{models.{model}.diffusion.module}}.py" in text
        for space in ("text", "vision"):
            for stage in ("features", "library_features"):
                assert written[stage]["foreach"][space][model] == f"${{models.{model}.{space}.module}}"
            assert f"src/spikevaediff/features/${{models.{model}.{space}.module}}.py" in text
    regressions = YAML(typ="safe").load(ROOT / "runs.yaml")["regressions"]
    expected = {
        name: {"run": f"${{regressions.{name}}}", "method": f"${{regress.{run['space']}.method}}"}
        for name, run in regressions.items()
    }
    assert YAML(typ="safe").load(text)["stages"]["regress"]["foreach"] == expected
    assert "src/spikevaediff/regression/methods/${item.method}.py" in text


@pytest.mark.parametrize("space", ["vdvae", "text", "vision"])
def test_what_is_said_of_one_feature_space_reruns_its_regressions_alone(space: str) -> None:
    """A key below regress.<space>, where it overrides regress.common; the stages after them follow by their results."""
    from dvc.dependency import ParamsDependency
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        declared = {
            stage.addressing: {name for dep in stage.deps if isinstance(dep, ParamsDependency) for name in dep.params}
            for stage in repo.index.stages
        }
    control = "control" if space == "vdvae" else f"control_{space}"
    fitted = {f"regress@{space}", f"regress@{control}"}
    if space == "vdvae":
        fitted |= {"noise_ceiling@vdvae", "known_mistakes"}
    readers = {name for name, params in declared.items() if params & {"regress", f"regress.{space}"}}
    assert readers == fitted | {"start", "report"}
    assert {name for name, params in declared.items() if "regress.common" in params} >= fitted
    assert {name for name, params in declared.items() if f"regress.{space}.library" in params} == {
        f"library_features@{space}"
    }


def test_no_parameter_is_read_that_is_not_there() -> None:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    assert params["dataset"] in params["datasets"]
    assert params["model"] in params["models"]
    assert set(spaces(params["regress"])) <= set(params["models"][params["model"]])


@pytest.mark.parametrize("folder", ["src", "vendor", "stages"])
def test_vendored_models_and_library_keep_their_direction(folder: str) -> None:
    """vendor/ imports nothing of the library, the library nothing of the stages."""
    forbidden = {"src": "stages", "vendor": "spikevaediff", "stages": "tests"}[folder]
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else None
            assert not (module or "").startswith(forbidden), f"{path} imports {module}"
