"""What is wrong with params.yaml, all of it at once, before anything is computed.

Each problem takes one line: the parameter, its value, what was expected, and what was meant where that can be guessed.
"""

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as limits
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent

from spikevaediff.decoders.second_stage.protocols import PROTOCOLS
from spikevaediff.files.weights_used import FIRST_STAGE
from spikevaediff.parameters import schema
from spikevaediff.parameters.of_space import COMMON, of_space, spaces
from spikevaediff.parameters.options import modules

CHOSEN = ("datasets", "models", "regress", "decode")  # sections whose keys depend on names of modules
# Sections of `decode` that are no decoders of features.
NO_DECODER: dict[str, type[BaseModel]] = {
    "posterior": schema.Posterior,
    "posterior_images": schema.PosteriorImages,
    "diffusion": schema.DecodeDiffusion,
}


def refuse(problems: Iterable[str], file: str = "params.yaml") -> None:
    """Raise what `of_sections` and `of_choices` found in a file, if anything.

    Raises
    ------
    ValueError
        All problems, one per line.
    """
    found = list(problems)
    if len(found) == 1:
        raise ValueError(f"{file}: {found[0]}")
    if found:
        raise ValueError("\n  ".join([f"{file} has {len(found)} problems:", *found]))


def refuse_aliases(path: Path) -> None:
    """Refuse aliases of YAML: `dvc exp run -S` of a key that an alias repeats changes nothing, and does not say so.

    Raises
    ------
    ValueError
        Names the alias and its line.
    """
    with path.open(encoding="utf-8") as file:
        for event in YAML().parse(file):
            if isinstance(event, AliasEvent):
                raise ValueError(
                    f"{path}, line {event.start_mark.line + 1}: *{event.anchor} repeats another place, and "
                    f"`dvc exp run -S` would change neither, without a word. Write the values out"
                )


def of_sections(params: Mapping[str, Any], *, whole: bool = True) -> Iterator[str]:
    """Keys that do not exist or are missing, and values of another kind or out of range, as `schema` has them.

    Parameters
    ----------
    params : mapping
        What params.yaml holds, or a part of it.
    whole : bool
        Whether a key that is not there is a problem; a stage declares only those that it reads.
    """
    yield from _section("", params, schema.Parameters, whole)
    for path, options, kind in _chosen(params):
        if kind is None:
            continue  # a module of your own, checked by the signature of its function when its stage begins
        yield from _section(path, options, kind, whole)


def of_section(name: str, options: Any) -> Iterator[str]:
    """As `of_sections`, for one whole top-level section."""
    kind: Any = schema.Parameters.model_fields[name].annotation
    yield from _section(name, options, kind, True)


def _chosen(params: Mapping[str, Any]) -> Iterator[tuple[str, Any, type[BaseModel] | None]]:
    """Sections whose keys depend on a choice: their path, what they hold and what they should; None: unknown."""
    for name, options in _items(params.get("datasets")):
        yield f"datasets.{name}", options, schema.DATASETS.get(_module(options, name))
    for model, of_model in _items(params.get("models")):
        if not isinstance(of_model, Mapping):
            yield f"models.{model}", of_model, schema.Model
        for space, options in _items(of_model):
            known = schema.GENERATORS if space == "diffusion" else schema.FEATURES
            yield f"models.{model}.{space}", options, known.get(_module(options, space))
    for name, options in _items(params.get("regress")):
        yield f"regress.{name}", options, schema.Common if name == COMMON else schema.Space
    for name, options in _items(params.get("decode")):
        if name in NO_DECODER:
            yield f"decode.{name}", options, NO_DECODER[name]
        elif isinstance(options, Mapping) and "module" in options:
            yield f"decode.{name}", options, schema.DECODERS.get(options["module"])
        else:  # which lacks it
            yield f"decode.{name}", {} if isinstance(options, Mapping) else options, schema.OwnModule


def _section(path: str, given: Any, kind: type[BaseModel], whole: bool) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield f"section {path} is {given!r}, expected keys with values"
        return
    fields, name = kind.model_fields, f"section {path}" if path else "the file"
    own = set(modules("regression/methods")) if issubclass(kind, schema.Common) else set()
    if kind is schema.Areas:  # as many populations as dvc.yaml knows
        fields = dict.fromkeys(given, fields["visual"]) | fields
    for key in given:
        if key not in fields and key not in own:
            yield f"{name} has {key}, which does not exist. Its keys are {', '.join(fields)}{_meant(key, fields)}"
    if whole and (lacking := _lacking(given, fields)):
        yield f"{name} lacks {', '.join(lacking)}"
    for key, field in fields.items():
        inner: Any = field.annotation
        if key not in given:
            continue
        if not path and key in CHOSEN and isinstance(given[key], Mapping):  # what is in it is looked at by `_chosen`
            if whole and key in ("regress", "decode") and (lacking := _lacking(given[key], inner.model_fields)):
                yield f"section {key} lacks {', '.join(lacking)}"
            continue
        below = f"{path}.{key}".removeprefix(".")
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _section(below, given[key], inner, whole)
        elif not _fits(given[key], field):
            words = given[key] if isinstance(given[key], list) else [given[key]]
            unknown = [word for word in words if isinstance(word, str) and word not in _names(inner)]
            meant = _meant(unknown[0], _names(inner)) if unknown else ""
            yield f"{below} is {given[key]!r}, expected {expected(field)}{meant}"


def _lacking(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> list[str]:
    return [key for key, field in fields.items() if field.is_required() and key not in given]


def _fits(value: Any, field: FieldInfo) -> bool:
    kind: Any = Annotated[field.annotation, field]
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def of_choices(params: Mapping[str, Any]) -> Iterator[str]:
    """Names that nothing has, and values that do not go together.

    DVC would only miss a file, perhaps after hours. Sections that are not there, which `of_sections` says, are not
    problems here.
    """
    for name in ("dataset", "model"):
        yield from _one_of(name, params.get(name), params.get(f"{name}s"), f"a section of {name}s")
    for name, options in _items(params.get("datasets")):
        yield from _one_of(f"datasets.{name}.module", _module(options, name), modules("datasets"), _in("datasets"))
    for model, of_model in _items(params.get("models")):
        for space, options in _items(of_model):
            folder = "decoders" if space == "diffusion" else "features"
            there = [name for name in modules(folder) if folder == "features" or name not in schema.DECODERS]
            yield from _one_of(f"models.{model}.{space}.module", _module(options, space), there, _in(folder))
    there = [name for name in modules("decoders") if name not in schema.GENERATORS]
    for name, options in _items(params.get("decode")):
        if name not in NO_DECODER:
            yield from _one_of(f"decode.{name}.module", _at(options, "module"), there, _in("decoders"))
    folder = "encoding/families"
    for family in _list(params, "encoding", "families"):
        yield from _one_of("encoding.families", family, modules(folder), _in(folder))
    from spikevaediff.evaluation.registry import METRICS  # which imports SciPy

    metrics = _list(params, "evaluate", "metrics")
    declared = "one that a module of src/spikevaediff/evaluation/metrics declares"
    for metric in metrics:
        yield from _one_of("evaluate.metrics", metric, METRICS, declared)
    yield from _one_of("report.rank_by", _at(params, "report", "rank_by"), metrics, "one of evaluate.metrics")
    if _at(params, "split", "method") == "hold_out" and _at(params, "split", "n_test") == 1:
        yield "split.n_test is 1, expected 2 or more: with one image, there is no wrong one to compare with"
    yield from _of_protocol(params)
    yield from _of_diffusion(params)
    yield from _of_regressions(params)
    yield from _of_areas(params.get("areas"))
    yield from _of_private_data(params)


def _of_protocol(params: Mapping[str, Any]) -> Iterator[str]:
    from spikevaediff.evaluation import protocols

    name, rank_by = _at(params, "evaluate", "protocol"), _at(params, "report", "rank_by")
    defined = protocols.PROTOCOLS[name].metrics if name in protocols.PROTOCOLS else ()
    if defined and rank_by in _list(params, "evaluate", "metrics") and rank_by not in defined:
        yield f"report.rank_by is {rank_by}, which protocol {name} does not define: {_or(list(defined))}"


def _of_diffusion(params: Mapping[str, Any]) -> Iterator[str]:
    model = params.get("model")
    options, path = _at(params, "models", model, "diffusion"), f"models.{model}.diffusion"
    if _at(params, "parts", "second_stage") is False:
        return
    if not isinstance(options, Mapping) or list(_section(path, options, schema.VersatileDiffusion, True)):
        return
    strength, steps = options["strength"], options["steps"]
    if strength > 0 and strength * len(range(1, 1000, 1000 // steps)) < 1:
        yield f"{path}.strength is {strength}, less than one of {steps} steps: raise one of them, or set strength to 0"
    if options["protocol"] != "strict":
        for key, value in PROTOCOLS[options["protocol"]].numbers.items():
            if options[key] != value:
                yield f"{path}.{key} is {options[key]}, but protocol {options['protocol']} has {value}"


def _of_regressions(params: Mapping[str, Any]) -> Iterator[str]:
    regress, there = params.get("regress"), _at(params, "library", "n_images")
    features = [name for name in dict(_items(_at(params, "models", params.get("model")))) if name != "diffusion"]
    if not isinstance(regress, Mapping) or not isinstance(regress.get(COMMON), Mapping):
        return
    for space in spaces(regress):
        if not isinstance(regress[space], Mapping):
            continue
        if features and space not in features:
            model = params["model"]
            yield f"regress has {space}, which is not a feature space of model {model}{_meant(space, features)}"
        if space != FIRST_STAGE and _at(params, "parts", "second_stage") is False:
            continue  # nothing is predicted of it
        options, folder = of_space(regress, space), "regression/methods"
        yield from _one_of(f"regress.{space}.method", options.get("method"), modules(folder), _in(folder))
        if options.get("method") == "banded" and options.get("alpha_scope") == "component":
            yield f"regress.{space}.alpha_scope is component, which banded does not know: target, group or global"
        yield from _of_choice_of_penalties(f"regress.{space}", options)
        n = options.get("library")
        if n and options.get("library_weights") and options.get("method") != "ridge":
            yield f"regress.{space}.library_weights goes with method ridge alone. Choose it, or offer no weights: []"
        if n and options.get("library_weights") and not regress[COMMON].get("library_weights"):
            yield (
                f"regress.{space}.library_weights needs regress.common.library_weights, for which responses to the "
                f"library are predicted. Offer weights there, and an empty list, [], for spaces without weights"
            )
        if n and options.get("library_weights") and _at(params, "movies", "train"):
            yield f"regress.{space}.library_weights goes without movies.train. Offer no weights: []"
        if isinstance(n, int) and isinstance(there, int) and n > there:
            yield f"regress.{space}.library is {n}, expected 0 to {there} (library.n_images)"
        if n and options.get("transform", "none") != "none":
            yield (
                f"regress.{space}.transform is {options['transform']}, but encoding models, which answer the library, "
                f"predict counts: choose none, or set regress.{space}.library to 0"
            )


def _of_choice_of_penalties(path: str, options: Mapping[str, Any]) -> Iterator[str]:
    method, penalties = options.get("method"), options.get("alphas")
    if options.get("folds") == "none":
        if method in ("kernel_ridge", "banded"):
            yield f"{path}.folds is none, which only ridge knows: image, or a number of folds"
        elif isinstance(penalties, list) and len(penalties) > 1:
            yield f"{path}.folds is none, which chooses nothing, but {len(penalties)} alphas are offered. Give one"
        if options.get("renormalise") == "train":
            yield f"{path}.renormalise is train, which needs scores of left-out images: choose none where folds is none"
    if method != "kernel_ridge" or not isinstance(kernel := options.get("kernel_ridge"), Mapping):
        return
    by_gradient, linear = kernel.get("width_search") == "gradient", kernel.get("kernel") == "linear"
    if (by_gradient or linear) and len(widths := kernel.get("widths") or []) > 1:
        why = "the linear kernel has no width" if linear else "the gradient search starts from one"
        yield f"{path}.kernel_ridge.widths is {widths}, expected a single one: {why}"
    if by_gradient and options.get("library"):
        yield f"{path}.kernel_ridge.width_search is gradient, which takes no library: choose grid, or library 0"


def _of_private_data(params: Mapping[str, Any]) -> Iterator[str]:
    """A data set that may not be passed on, and outputs that `dvc push` would send to whatever remote there is."""
    name = params.get("dataset")
    module = _module(_at(params, "datasets", name) or {}, str(name))
    if params.get("recordings_remote") or module not in modules("datasets"):
        return
    if why := getattr(importlib.import_module(f"spikevaediff.datasets.{module}"), "PRIVATE", ""):
        yield (
            f"dataset is {name}, {why}, and `dvc push` would do so: set -S recordings_remote=not_shared; or, if "
            f"everyone who can read a remote has agreed to the terms, to the name of that remote"
        )


def _of_areas(areas: Any) -> Iterator[str]:
    from spikevaediff.recordings import sessions  # which imports what reads recordings

    if isinstance(areas, Mapping) and not list(_section("areas", areas, schema.Areas, True)):
        try:
            sessions.areas_of(areas)
        except ValueError as error:
            yield str(error).removeprefix("params.yaml: ")


def _one_of(path: str, name: Any, there: Any, what: str) -> Iterator[str]:
    if isinstance(name, str) and there and name not in there:
        yield f"{path} is {name!r}, expected {what}: {_or(list(there))}{_meant(name, there)}"


def _meant(name: Any, there: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(name), list(there), 1)
    return f"; did you mean {close[0]}?" if close else ""


def _in(folder: str) -> str:
    return f"a module of src/spikevaediff/{folder}"


def _module(options: Any, name: str) -> str:
    return str(options.get("module", name)) if isinstance(options, Mapping) else name


def _items(section: Any) -> Iterable[tuple[str, Any]]:
    return section.items() if isinstance(section, Mapping) else ()


def _at(params: Any, *names: Any) -> Any:
    for name in names:
        params = params.get(name) if isinstance(params, Mapping) else None
    return params


def _list(params: Mapping[str, Any], *names: str) -> list[Any]:
    found = _at(params, *names)
    return found if isinstance(found, list) else []


# ---- what a parameter may be


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "null"}


def expected(field: FieldInfo) -> str:
    """What a parameter may be: "a whole number, 1 or more"."""
    return _said(field.annotation, field.metadata)


def _said(kind: Any, metadata: Iterable[Any] = ()) -> str:
    metadata = list(metadata)
    if get_origin(kind) is Annotated:
        kind, *more = get_args(kind)
        for one in more:
            metadata += one.metadata if isinstance(one, FieldInfo) else [one]
        return _said(kind, metadata)
    if get_origin(kind) in (Union, UnionType):
        parts = [_said(one) for one in get_args(kind)]
        return ", or ".join(parts) if any("," in part for part in parts) else _or(parts)
    if get_origin(kind) is Literal:
        return _or(list(map(str, get_args(kind))))
    found = {type(one): one for one in metadata}
    if get_origin(kind) is list:
        lengths = found.get(limits.MinLen), found.get(limits.MaxLen)
        if lengths[1] is not None:
            return "a start and a later stop, two numbers in a list"
        some = "a list of one or more" if lengths[0] is not None else "a list"
        different = ", all different" if any(getattr(one, "func", None) is schema.different for one in metadata) else ""
        return f"{some}, each {_said(get_args(kind)[0])}{different}"
    return _KINDS[kind] + _range(found)


def _range(found: Mapping[type, Any]) -> str:
    if limits.Ge in found and limits.Le in found:
        return f", {found[limits.Ge].ge:g} to {found[limits.Le].le:g}"
    words = {limits.Ge: "{0.ge:g} or more", limits.Gt: "above {0.gt:g}"}
    words |= {limits.Le: "{0.le:g} or less", limits.Lt: "below {0.lt:g}"}
    return "".join(f", {text.format(found[kind])}" for kind, text in words.items() if kind in found)


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])


def _names(kind: Any) -> list[str]:
    """The words that an annotation allows."""
    if get_origin(kind) is Literal:
        return [word for word in get_args(kind) if isinstance(word, str)]
    return [word for one in get_args(kind) for word in _names(one)]
