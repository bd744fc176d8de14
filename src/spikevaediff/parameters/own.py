"""Sections of modules of your own: no schema has them, so the signatures of their functions say what may stand there.

A stage checks its section again; here all of them are looked at before the first one runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from spikevaediff.parameters import check, schema
from spikevaediff.parameters.of_space import of_space, spaces
from spikevaediff.parameters.options import asked, check_options, module

DEVICE = ("batch_size", "device")
OF_SCHEMA = {"ridge", "kernel_ridge", "banded"}  # regressions whose options the schema has


class Section(NamedTuple):
    """A section with a module of your own.

    path : str; in params.yaml. folder, name, function : str; of the module.
    options : dict; what stands there. also : mapping; options that the function gets where it asks for them.
    passed : tuple of str; options that come from elsewhere.
    """

    path: str
    folder: str
    name: str
    function: str
    options: dict[str, Any]
    also: Mapping[str, Any]
    passed: tuple[str, ...]


def problems(params: Mapping[str, Any]) -> Iterator[str]:
    """Functions that a module of your own lacks, and options that its function does not have or would need.

    Parameters
    ----------
    params : mapping
        params.yaml, in which `check` found nothing wrong.
    """
    for one in sections(params):
        function = getattr(module(one.folder, one.name), one.function, None)
        if not callable(function):
            where = f"src/spikevaediff/{one.folder}/{one.name}.py"
            yield f"{one.path} names {one.name}, but {where} has no function {one.function}"
            continue
        options = asked(function, one.also) | one.options
        try:
            check_options(function, options, one.path, passed=one.passed)
        except ValueError as error:
            yield str(error).removeprefix("params.yaml: ")


def sections(params: Mapping[str, Any]) -> Iterator[Section]:
    """The sections of params.yaml that name a module of your own."""
    for name, options in params["datasets"].items():
        chosen = options.get("module", name)
        if chosen not in schema.DATASETS:
            yield Section(f"datasets.{name}", "datasets", chosen, "acquire", _rest(options), {}, ())
    for model, of_model in params["models"].items():
        for space, options in of_model.items():
            path, chosen = f"models.{model}.{space}", options.get("module", space)
            if space == "diffusion" and chosen not in schema.GENERATORS:
                also, given = params["decode"]["diffusion"], ("seed", "kept", "unconditional", "explained", *DEVICE)
                yield Section(path, "decoders", chosen, "decode", _rest(options), also, given)
            elif space != "diffusion" and chosen not in schema.FEATURES:
                yield Section(path, "features", chosen, "extract", _rest(options), {}, DEVICE)
    for name, options in params["decode"].items():
        if name not in check.NO_DECODER and options["module"] not in schema.DECODERS:
            also, chosen = params["models"][params["model"]]["vdvae"], options["module"]
            yield Section(f"decode.{name}", "decoders", chosen, "decode", _rest(options), also, ("seed", *DEVICE))
    for space in spaces(params["regress"]):
        chosen = (regress := of_space(params["regress"], space))["method"]
        if chosen not in OF_SCHEMA:
            from spikevaediff.regression import task  # which imports what regressions need

            fitted = {name: value for name, value in task.options_of(regress).items() if name not in task.OWN}
            yield Section(f"regress.{space}", "regression/methods", chosen, "fit", fitted, {}, task.GIVEN)


def _rest(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "module"}
