"""docs/parameters.md and the JSON schema that editors complete by: python -m spikevaediff.parameters.reference

Both come from `schema`; a test compares them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from spikevaediff.files.atomic import replacing
from spikevaediff.parameters import schema
from spikevaediff.parameters.check import expected

HERE = Path(__file__).resolve().parent
TITLE = """# Parameters

All parameters of [params.yaml](../params.yaml), with their valid values. `dvc exp run -S evaluate.size_px=64` changes
one; an invalid value is refused before anything runs. The section of a module of your own holds the options of its
function.

*Written by `python -m spikevaediff.parameters.reference` from src/spikevaediff/parameters/schema.py.*
"""


def main() -> None:
    """Write both files."""
    for path, text in (
        (HERE.parents[2] / "docs" / "parameters.md", page()),
        (HERE / "params.schema.json", json_schema()),
    ):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def json_schema() -> str:
    """The schema as JSON, as `yaml-language-server` reads it by the first line of params.yaml."""
    made = schema.Parameters.model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema"} | made, indent=1) + "\n"


def page() -> str:
    """The parameter reference, a table for each section."""
    parts = [TITLE]
    for path, kind in _sections():
        shared = schema.Common.model_fields if kind is schema.Space else ()
        rows = []
        for name, field in kind.model_fields.items():
            if name in shared or sections_of(field.annotation):
                continue
            extra = field.json_schema_extra
            unit = extra.get("unit", "") if isinstance(extra, dict) else ""
            rows.append(f"| `{name}` | {expected(field)} | {unit} | {field.description} |")
        if rows:
            about = f"## `{path}`\n\n{kind.__doc__}" if path else "## Choices"
            parts.append(
                "\n".join([about, "", "| parameter | valid values | unit | what |", "|---|---|---|---|", *rows])
            )
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section with its path, in the order of params.yaml."""
    yield "", schema.Parameters
    for name, field in schema.Parameters.model_fields.items():
        inner: Any = field.annotation
        if name == "datasets":
            for dataset, kind in schema.DATASETS.items():
                yield f"datasets.{'<name>' if kind is schema.Plain else dataset}", kind
        elif name == "models":
            for space, of_space in schema.Model.model_fields.items():
                yield from ((f"models.<name>.{space}", kind) for kind in sections_of(of_space.annotation))
        elif name == "regress":
            yield from _below("regress.common", schema.Common)
            yield "regress.<space>", schema.Space
        elif sections_of(inner):
            yield from _below(name, inner)


def _below(path: str, kind: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, kind
    for name, field in kind.model_fields.items():
        for inner in sections_of(field.annotation):
            yield from _below(f"{path}.{name}", inner)


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """What a section may be, a module of your own aside; empty for a value."""
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not schema.OwnModule]
    return kinds if all(isinstance(kind, type) and issubclass(kind, BaseModel) for kind in kinds) else []


if __name__ == "__main__":
    main()
