"""The schema is not a second list: its sections have the options of their functions, its choices those of the code."""

import inspect
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from test_contracts import sections

from spikevaediff.parameters import schema
from spikevaediff.parameters.options import module, modules
from spikevaediff.parameters.reference import sections_of
from spikevaediff.recordings.unit_filter import LIMITS, Limits


def kinds(annotation: Any) -> set[str]:
    """What YAML can write of an annotation; words are text, and arrays and paths are left out."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return set().union(*map(kinds, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(word).__name__ for word in get_args(annotation)}
    if get_origin(annotation) in (list, Sequence):
        return {f"list of {kind}" for kind in kinds(get_args(annotation)[0])}
    return set() if annotation in (np.ndarray, Path) else {getattr(annotation, "__name__", str(annotation))}


def options(function: Any, *passed: str) -> dict[str, set[str]]:
    hints = get_type_hints(function)
    parameters = inspect.signature(function).parameters.values()
    return {p.name: kinds(hints[p.name]) for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in passed}


def section(*of: Any, without: tuple[str, ...] = ()) -> dict[str, set[str]]:
    return {
        name: kinds(field.annotation)
        for kind in of
        for name, field in kind.model_fields.items()
        if name not in ("module", *without)
    }


OF_METHODS = {"kernel_ridge": schema.KernelRidge, "banded": schema.Banded}
DEVICE = ("batch_size", "device")


@pytest.mark.parametrize("name", schema.DATASETS)  # modules of your own need no entry
def test_data_sets(name: str) -> None:
    assert section(schema.DATASETS[name]) == options(module("datasets", name).acquire)


@pytest.mark.parametrize("name", schema.FEATURES)
def test_feature_spaces(name: str) -> None:
    assert section(schema.FEATURES[name]) == options(module("features", name).extract, *DEVICE)


def test_decoders() -> None:
    first, second = module("decoders", "vdvae").decode, module("decoders", "versatile_diffusion").decode
    assert section(schema.Vdvae, schema.DecodeVdvae) == options(first, "seed", *DEVICE)
    assert {*schema.DECODERS, *schema.GENERATORS} <= set(modules("decoders"))
    passed = ("seed", "kept", "unconditional", "explained", *DEVICE)
    assert section(schema.VersatileDiffusion, schema.DecodeDiffusion) == options(second, *passed)


@pytest.mark.parametrize("name", ["ridge", *OF_METHODS])
def test_regressions(name: str) -> None:
    passed = ("y_row", "group_size", "n_scored", "library_weight", "budget")
    found = section(schema.Common, without=("transform", "renormalise", "library_weights", *OF_METHODS))
    if name in OF_METHODS:
        found |= section(OF_METHODS[name])
    expected = options(module("regression/methods", name).fit, *passed)
    if name == "banded":
        expected["bands"] = {"str"}  # params.yaml has their kind, the stage makes the band of every column of it
    assert found == expected


@pytest.mark.parametrize(("function", "path", "stage", "passed"), sections(), ids=[path for _, path, *_ in sections()])
def test_sections_of_functions(function: Any, path: str, stage: tuple[str, ...], passed: tuple[str, ...]) -> None:
    kind: Any = schema.Parameters
    for name in path.split("."):
        kind = kind.model_fields[name].annotation
    assert section(kind, without=stage) == options(function, *passed)


def test_limits_of_units() -> None:
    limits = {name: kinds(hint) for name, hint in get_type_hints(Limits).items()}
    assert {name: kind for name, kind in section(schema.Responses).items() if name in LIMITS} == limits


def test_words_are_those_of_the_code() -> None:
    from spikevaediff.datasets import allen
    from spikevaediff.decoders.second_stage.protocols import PROTOCOLS
    from spikevaediff.evaluation import protocols
    from spikevaediff.networks import clip
    from spikevaediff.regression import designs, renormalise
    from spikevaediff.regression.methods import kernel_ridge
    from vdvae.config import CONFIGS
    from versatile_diffusion.config import AUTOENCODERS, UNETS

    for kind, name, words in (
        (schema.Allen, "fetch", allen._WAYS),
        (schema.Vdvae, "config", CONFIGS),
        (schema.VersatileDiffusion, "unet", UNETS),
        (schema.VersatileDiffusion, "autoencoder", AUTOENCODERS),
        (schema.VersatileDiffusion, "protocol", PROTOCOLS),
        (schema.ClipText, "config", clip.CONFIGS),
        (schema.ClipVision, "config", clip.CONFIGS),
        (schema.Common, "alpha_scope", designs.SCOPES),
        (schema.Common, "renormalise", renormalise.HOW),
        (schema.KernelRidge, "kernel", kernel_ridge.KERNELS),
        (schema.KernelRidge, "width_search", kernel_ridge.SEARCHES),
        (schema.Evaluate, "protocol", protocols.PROTOCOLS),
    ):
        annotation: Any = kind.model_fields[name].annotation
        if get_origin(annotation) is list:
            (annotation,) = get_args(annotation)
        assert set(get_args(annotation)) == set(words), f"{kind.__name__}.{name}"


def test_every_parameter_says_what_it_is_for_and_one_with_a_unit_which() -> None:
    units = {"s": "s", "px": "px", "cm_per_s": "cm/s"}
    todo: list[Any] = [schema.Parameters, *schema.DATASETS.values(), *schema.FEATURES.values()]
    todo += [schema.VersatileDiffusion, schema.Common, schema.Space]
    for kind in todo:
        assert kind.__doc__
        for name, field in kind.model_fields.items():
            if inner := sections_of(field.annotation):
                todo += inner
                continue
            assert field.description, f"{kind.__name__}.{name}"
            (unit,) = [units[end] for end in ("cm_per_s", "px", "s") if name.endswith(f"_{end}")][:1] or [None]
            if unit:
                assert (field.json_schema_extra or {}).get("unit") == unit, f"{kind.__name__}.{name}"
