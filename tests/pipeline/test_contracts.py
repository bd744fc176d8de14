"""The folders are the registries: what every module in them offers, and that their __init__ holds words and no code."""

import ast
import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

import stages
from spikevaediff.encoding import posterior, with_regression
from spikevaediff.encoding.posterior_folds import GIVEN
from spikevaediff.evaluation.looks import PIXELS, Look
from spikevaediff.evaluation.registry import METRICS
from spikevaediff.regression import task

PACKAGE = ROOT / "src" / "spikevaediff"
FUNCTIONS = {
    "datasets": ["acquire"],
    "features": ["extract"],
    "regression/methods": ["fit", "predict"],
    "decoders": ["decode"],
    "evaluation/metrics": ["pairwise"],
}
# Data, and options that change how a result is computed and not which; they alone may have a default.
FREE = {"batch_size", "device", "budget", "n_scored", "library_weight"}
MODULES = [(folder, path.stem) for folder in sorted(FUNCTIONS) for path in sorted((PACKAGE / folder).glob("[!_]*.py"))]


def module(folder: str, name: str) -> object:
    return importlib.import_module(f"spikevaediff.{folder.replace('/', '.')}.{name}")


@pytest.mark.parametrize("folder", sorted(FUNCTIONS))
def test_the_folder_states_its_contract_and_holds_no_code(folder: str) -> None:
    body = ast.parse((PACKAGE / folder / "__init__.py").read_text()).body
    assert [type(node) for node in body] == [ast.Expr]
    words = ast.literal_eval(body[0].value)
    for function in FUNCTIONS[folder]:
        assert f"{function}(" in words, f"{folder}/__init__.py does not say what {function} takes"


@pytest.mark.parametrize("folder", sorted(FUNCTIONS))
def test_a_folder_holds_modules_and_nothing_else(folder: str) -> None:
    names = {path.name for path in (PACKAGE / folder).iterdir()} - {"__pycache__"}
    rooms = {path.name for path in (PACKAGE / folder).iterdir() if (path / "__init__.py").exists()}
    assert all(name.endswith(".py") for name in names - rooms)
    assert names != {"__init__.py"}


@pytest.mark.parametrize(("folder", "name"), MODULES, ids=lambda value: value)
def test_a_module_offers_the_functions_of_its_folder_with_a_docstring(folder: str, name: str) -> None:
    for function in FUNCTIONS[folder]:
        found = getattr(module(folder, name), function, None)
        assert inspect.isfunction(found), f"{folder}/{name}.py has no function {function}"
        words = inspect.getdoc(found) or ""
        assert "Parameters\n---" in words, f"{folder}.{name}.{function}: its parameters are not described"
        assert "Returns\n---" in words or found.__annotations__["return"] is None


@pytest.mark.parametrize(("folder", "name"), MODULES, ids=lambda value: value)
def test_options_are_keyword_only_and_those_that_change_a_result_have_no_default(folder: str, name: str) -> None:
    for function in FUNCTIONS[folder]:
        parameters = inspect.signature(getattr(module(folder, name), function)).parameters.values()
        assert not [p.name for p in parameters if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert 1 <= len(positional) <= (3 if folder == "evaluation/metrics" else 2)
        assert [p.name for p in positional if p.default is not p.empty] == []
        hidden = [p.name for p in parameters if p.default is not p.empty and p.name not in FREE]
        assert hidden == [], f"{folder}.{name}.{function}: {hidden} stand in the code and belong in params.yaml"


@pytest.mark.parametrize(("folder", "name"), MODULES, ids=lambda value: value)
def test_every_parameter_is_annotated(folder: str, name: str) -> None:
    for function in FUNCTIONS[folder]:
        found = getattr(module(folder, name), function)
        assert set(found.__annotations__) == {*inspect.signature(found).parameters, "return"}


@pytest.mark.parametrize("name", [name for folder, name in MODULES if folder == "evaluation/metrics"])
def test_a_metric_says_its_sense_its_range_and_its_chance(name: str) -> None:
    metric = module("evaluation/metrics", name)
    assert isinstance(metric.LARGER_IS_BETTER, bool)
    low, high = metric.RANGE
    assert low < high
    assert len(metric.CHANCE) > 10
    assert list(inspect.signature(metric.pairwise).parameters) == ["shown", "reconstructed", "protocol"]
    assert metric.LOOKS_AT
    for look in metric.LOOKS_AT.values():
        assert isinstance(look, Look)
        assert look == PIXELS or look.words


def test_every_metric_is_reached_by_a_name_of_params() -> None:
    assert {metric.module.__name__.rpartition(".")[2] for metric in METRICS.values()} == {
        name for folder, name in MODULES if folder == "evaluation/metrics"
    }
    assert set(YAML(typ="safe").load(ROOT / "params.yaml")["evaluate"]["metrics"]) <= set(METRICS)


@pytest.mark.parametrize("folder", sorted(set(FUNCTIONS) - {"evaluation/metrics"}))
def test_a_name_that_does_not_exist_is_answered_with_the_names_that_do(folder: str) -> None:
    there = ", ".join(name for where, name in MODULES if where == folder)
    with pytest.raises(KeyError, match=rf"'riddge', which is not in src/spikevaediff/{folder}; there are {there}"):
        stages.module(folder, "riddge")
    for name in ("__init__", "../regression/ridge", ""):
        with pytest.raises(KeyError, match="there are"):
            stages.module(folder, name)


def test_params_name_modules_and_their_options() -> None:
    """The values of params.yaml fit the signatures, for all data sets and models and not only for the chosen ones."""
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for name, options in params["datasets"].items():
        acquire = stages.module("datasets", options.get("module", name)).acquire
        stages.check_options(acquire, {"module": name} | options, f"datasets.{name}", stage=("module",))
    for model, spaces in params["models"].items():
        for space, options in spaces.items():
            if space == "diffusion":
                continue  # a decoder and no feature space; checked with decode.diffusion below
            options = {"module": space} | options
            extract = stages.module("features", options["module"]).extract
            shared = {"stage": ("module",), "passed": ("batch_size", "device")}
            stages.check_options(extract, options, f"models.{model}.{space}", **shared)
        for name, options in params["decode"].items():
            if name == "posterior":
                stages.check_options(posterior.samples, options, f"decode.{name}", stage=("prior",), passed=GIVEN)
                continue
            if name == "posterior_images":
                stages.check_options(with_regression.pictures, options, f"decode.{name}")
                continue
            own = options | spaces[name] if name == "diffusion" else options
            decode = stages.module("decoders", own["module"]).decode
            both = own | stages.asked(decode, spaces["vdvae"])
            passed = ("seed", "batch_size", "device", "kept", "unconditional", "explained")
            stages.check_options(decode, both, f"decode.{name}", stage=("module",), passed=passed)


def check_regression(regress: dict[str, Any], space: str) -> None:
    method = stages.module("regression/methods", regress["method"])
    stages.check_options(method.fit, task.options_of(regress), f"regress.{space}", stage=task.OWN, passed=task.GIVEN)


def sections() -> list[tuple[Callable[..., Any], str, tuple[str, ...], tuple[str, ...]]]:
    """Functions with the section of params.yaml that holds their options, keys of the stage, options from elsewhere."""
    from spikevaediff.analysis import curves, known_mistakes, latency, layers, movies, regions
    from spikevaediff.captioning import blip2
    from spikevaediff.encoding import library
    from spikevaediff.evaluation import noise_ceiling, scores
    from spikevaediff.recordings import session_quality
    from spikevaediff.regression import split
    from spikevaediff.report import results

    device = ("batch_size", "device")
    return [
        (split.split_by_image, "split", (), ("alike",)),
        (scores.score_run, "evaluate", (), ("batch_size",)),
        (blip2.describe, "captions", ("model",), ("folder", "unfinished", *device)),
        (library.make, "library", ("folder",), ()),
        (session_quality.judged, "quality", (), ("areas", "window_s", "limits")),
        (latency.rows, "curves.latency", (), ("areas", "limits", "n_resamples", "seed")),
        (curves.rows, "curves.counts", (), ("n_resamples", "seed")),
        (noise_ceiling.of_task, "noise_ceiling", (), ()),
        (movies.rows, "movies", ("train", "frames_per_row", "start_s", "encoder_folds"), ("movie", "encoder_r")),
        (known_mistakes.rows, "known_mistakes", (), ("noise_seed",)),
        (posterior.samples, "decode.posterior", ("prior",), GIVEN),
        (layers.study, "layers", (), ("config", "weights", "n_layers", *device)),
        (regions.compare, "regions", (), ()),
        (results.of_run, "report", (), ()),
    ]


def test_sections_of_params_have_the_keys_and_kinds_of_their_functions() -> None:
    from spikevaediff.parameters.of_space import of_space, spaces

    params = YAML(typ="safe").load(ROOT / "params.yaml")
    for function, path, stage, passed in sections():
        options = params
        for name in path.split("."):
            options = options[name]
        stages.check_options(function, options, path, stage=stage, passed=passed)
    for space in spaces(params["regress"]):
        for method in ("ridge", "kernel_ridge", "banded"):
            for folds in ("image", 5):
                check_regression(of_space(params["regress"], space) | {"method": method, "folds": folds}, space)
    for wrong in ({"alphas": 5.0}, {"folds": 2.5}, {"seed": "x"}, {"alpha_scope": 1}):
        with pytest.raises(ValueError, match=rf"params.yaml: regress.vdvae.{next(iter(wrong))} is .*, expected "):
            check_regression(of_space(params["regress"], "vdvae") | wrong, "vdvae")
    for sessions in ("all", 791319847, [791319847]):
        one = params["datasets"]["allen"] | {"sessions": sessions}
        acquire = stages.module("datasets", "allen").acquire
        stages.check_options(acquire, one, "datasets.allen", stage=("module",) if "module" in one else ())


def test_the_package_itself_imports_nothing_but_the_standard_library() -> None:
    code = "import sys, importlib, typing; before = set(sys.modules); import spikevaediff; "
    code += "print(set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "{'spikevaediff'}\n"
