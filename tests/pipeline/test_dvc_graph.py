"""dvc.yaml tells the truth: every module a stage reaches is a dependency, and every parameter it reads is declared."""

import ast
import hashlib
import json
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from spikevaediff.parameters.of_space import spaces

ROOT = Path(__file__).resolve().parents[2]
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
PLACES = {
    "spikevaediff": ROOT / "src",
    "loading": ROOT / "vendor",
    "vdvae": ROOT / "vendor",
    "versatile_diffusion": ROOT / "vendor",
    "stages": ROOT,
}
# Unable to change a number beyond rounding: how files are renamed, how parameters are read, how bytes of a known hash
# are fetched, what lets a library be imported, what a machine has, and how many threads work.
PLUMBING = {
    "stages/__init__.py",
    "src/spikevaediff/__init__.py",
    "src/spikevaediff/files/asset_table.py",
    "src/spikevaediff/files/assets.py",
    "src/spikevaediff/files/atomic.py",
    "src/spikevaediff/files/checksums.py",
    "src/spikevaediff/files/left_out.py",
    "src/spikevaediff/files/pip_archive.py",
    "src/spikevaediff/files/one_request.py",
    "src/spikevaediff/files/download.py",
    "src/spikevaediff/files/file_part.py",
    "src/spikevaediff/files/file_structure.py",
    "src/spikevaediff/networks/torchvision_ops.py",
    "src/spikevaediff/parameters/check.py",
    "src/spikevaediff/parameters/declared.py",
    "src/spikevaediff/parameters/of_space.py",
    "src/spikevaediff/parameters/options.py",
    "src/spikevaediff/parameters/own.py",
    "src/spikevaediff/parameters/schema.py",
    "vendor/loading/machine.py",
}
# Which bytes those are: what fetches any of them depends on the table of their hashes.
ASSETS, ASSET_TABLE = "src/spikevaediff/files/assets.py", "src/spikevaediff/files/assets.toml"


# Stages that take long: an edit of a module that they do not reach must not rerun them. They list modules one by one,
# or folders that they reach all of; the others take seconds, and may depend on a folder of which they reach a part.
LONG = {
    "captions",
    "features",
    "encode",
    "library",
    "library_features",
    "library_responses",
    "regress",
    "noise_ceiling",
    "decode",
    "decode_posterior",
    "decode_diffusion",
}


def source_of(name: str) -> Path | None:
    """The file of an absolute module name, None for other people's."""
    head = name.split(".")[0]
    if head not in PLACES:
        return None
    path = PLACES[head].joinpath(*name.split("."))
    return (
        path / "__init__.py" if path.is_dir() else path.with_suffix(".py") if path.with_suffix(".py").exists() else None
    )


def reached(path: Path, seen: set[Path]) -> set[Path]:
    """The file and all of ours that it imports, directly or not."""
    if path in seen:
        return seen
    seen.add(path)
    for found in imported(path):
        reached(found, seen)
    return seen


@cache
def imported(path: Path) -> tuple[Path, ...]:
    """The files of ours that a module names in its imports; plumbing is not followed."""
    if path.relative_to(ROOT).as_posix() in PLUMBING:
        return ()
    tree, files = ast.parse(path.read_text()), []
    for block in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = [ast.Pass()]  # never run
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if (found := source_of(name)) is not None:
                files.append(found)
    return tuple(files)


def modules_of(stage: str, command: str) -> set[str]:
    """Repository paths of the modules that a stage runs through."""
    words = command.split()
    if words[2] == "stages.part":  # which runs another one, or nothing
        words = [*words[:2], f"stages.{words[4]}", *words[5:]]
    files = reached(ROOT / "stages" / f"{words[2].removeprefix('stages.')}.py", set())
    given = ROOT / "src/spikevaediff/decoders/second_stage/given.py"  # takes the extractors of both contexts
    scripts = [p for p in sorted(files) if (p.parent == ROOT / "stages" and p.stem != "__init__") or p == given]
    text = "".join(path.read_text() for path in scripts)
    if 'module("features"' in text:
        models = PARAMS["models"].values()
        needed = ["vision", "text"] if words[2] == "stages.decode_diffusion" else [words[3]]
        chosen = {spaces[name].get("module", name) for spaces in models for name in needed if name in spaces}
        for module in chosen:
            reached(ROOT / "src" / "spikevaediff" / "features" / f"{module}.py", files)
    if 'module("decoders"' in text or "stages.decoder(" in text:
        if words[2] == "stages.decode_diffusion":
            chosen = {model["diffusion"]["module"] for model in PARAMS["models"].values()}
        else:
            chosen = {PARAMS["decode"][words[4] if words[2] == "stages.decode" else "vdvae"]["module"]}
        for module in chosen:
            reached(ROOT / "src" / "spikevaediff" / "decoders" / f"{module}.py", files)
    if 'module("datasets"' in text:
        for folder in ("datasets", "datasets/simulation"):  # units of a profile are found by its name
            for path in (ROOT / "src" / "spikevaediff" / folder).glob("[!_]*.py"):
                reached(path, files)
        reached(
            ROOT / "src" / "spikevaediff" / "recordings" / "by_allensdk.py", files
        )  # a script of its own environment
    if 'module("regression/methods"' in text:
        for path in (ROOT / "src" / "spikevaediff" / "regression" / "methods").glob("[!_]*.py"):
            reached(path, files)
    if ROOT / "src" / "spikevaediff" / "encoding" / "encoder.py" in files:  # chooses families by name
        for path in (ROOT / "src" / "spikevaediff" / "encoding" / "families").glob("[!_]*.py"):
            reached(path, files)
    if ROOT / "src" / "spikevaediff" / "evaluation" / "registry.py" in files:  # finds metrics in their folder
        for path in (ROOT / "src" / "spikevaediff" / "evaluation" / "metrics").glob("[!_]*.py"):
            reached(path, files)
    if any(name in text for name in ("weights_path", "with_weights", "stages.decoder(")):
        files.add(ROOT / ASSETS)
    if ROOT / ASSETS in files:
        files.add(ROOT / ASSET_TABLE)
    paths = {path.relative_to(ROOT).as_posix() for path in files} - PLUMBING
    return {path for path in paths if not (path.endswith("__init__.py") and is_docstring_only(ROOT / path))}


def with_code_of_folders(deps: set[str], ignored: Callable[[str], bool]) -> set[str]:
    """The dependencies, and for a folder of code the modules in it that .dvcignore does not leave out."""
    inside = {
        path.relative_to(ROOT).as_posix()
        for dep in deps
        if dep.startswith(("vendor", "src", "stages"))
        for path in (ROOT / dep).rglob("*.py")
    }
    table = {ASSET_TABLE} if any(ASSET_TABLE.startswith(f"{dep}/") for dep in deps) else set()
    code = {path for path in inside if not is_docstring_only(ROOT / path) and not ignored(str(ROOT / path))}
    return deps | table | code


@cache
def is_docstring_only(path: Path) -> bool:
    return all(isinstance(node, ast.Expr) for node in ast.parse(path.read_text()).body)


@cache
def stages() -> dict[str, dict]:
    """Resolved stages by name, as DVC sees them."""
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        return {
            stage.addressing: {
                "cmds": [stage.cmd] if isinstance(stage.cmd, str) else stage.cmd,
                "outs": {str(out) for out in stage.outs},
                "listed": {str(dep) for dep in stage.deps},
                "deps": with_code_of_folders(
                    {str(dep) for dep in stage.deps if not str(dep).endswith(".yaml")},
                    # What .dvcignore leaves out reruns nothing; only the first stage, which writes no result, uses it.
                    repo.dvcignore.is_ignored_file if stage.addressing != "start" else lambda path: False,
                ),
            }
            for stage in repo.index.stages
            if stage.cmd and stage.addressing.startswith("stages/") is False
        }


@cache
def all_modules_of(name: str) -> set[str]:
    return {module for command in stages()[name]["cmds"] for module in modules_of(name, command)}


def test_every_module_that_a_stage_reaches_is_a_dependency() -> None:
    missing = {}
    for name, stage in stages().items():
        needed = {d for d in all_modules_of(name) if not d.startswith("src/spikevaediff/regression/methods/")}
        if absent := needed - stage["deps"]:
            missing[name] = sorted(absent)
    assert not missing, f"add to deps in dvc.yaml: {missing}"


def test_every_module_among_the_dependencies_is_reached() -> None:
    idle = {}
    for name, stage in stages().items():
        if name == "start":  # depends on all, see the next tests
            continue
        # Long ones must not run for nothing, not even with a module of a folder.
        listed = stage["deps"] if name.split("@")[0] in LONG else stage["listed"]
        if extra := {dep for dep in listed if dep.endswith((".py", ASSET_TABLE))} - all_modules_of(name):
            idle[name] = sorted(extra)
    assert not idle, f"these dependencies rerun a stage for nothing; remove from dvc.yaml: {idle}"


def test_every_folder_among_the_dependencies_has_a_module_that_is_reached() -> None:
    for name, stage in stages().items():
        folders = {d for d in stage["listed"] if d.startswith(("src", "vendor")) and (ROOT / d).is_dir()}
        for folder in folders - {dep for dep in folders if dep.startswith("vendor/data")}:
            reaches = [path for path in all_modules_of(name) if path.startswith(f"{folder}/")]
            assert reaches or name == "start", f"{name} reaches nothing of {folder}; remove it from dvc.yaml"


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
    files = {dep for name, stage in stages().items() if name != "start" for dep in stage["deps"]}
    outside = {dep for dep in files if not dep.startswith(("artifacts", *start["deps"]))}
    assert not outside - {"metrics/statistics.json"} - {dep for dep in outside if dep.startswith("plots/")}
    # What no stage reaches is in .dvcignore, or an edit of it would run start.
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        for path in sorted((ROOT / "src/spikevaediff").rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if path.stem != "__init__" and path.parent.name != "methods":  # those are chosen by name
                assert repo.dvcignore.is_ignored_file(str(path)) == (name not in files), f"{name}: see .dvcignore"


def test_start_writes_what_dvc_never_takes_from_the_run_cache() -> None:
    pipeline = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]
    outs = ("artifacts/started", "artifacts/parts")
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
