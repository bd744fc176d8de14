"""The parameter reference and the JSON schema of editors are those of the code, and fit params.yaml."""

import copy
import json
from typing import Any

import jsonschema
import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.parameters import reference

FILE = "src/spikevaediff/parameters/params.schema.json"
AGAIN = "write it again: python -m spikevaediff.parameters.reference"


def test_the_written_files_are_of_the_present_schema() -> None:
    assert (ROOT / "docs/parameters.md").read_text() == reference.page(), AGAIN
    assert (ROOT / FILE).read_text() == reference.json_schema(), AGAIN


def test_editors_find_the_schema_by_the_first_line_of_params_yaml() -> None:
    assert (ROOT / "params.yaml").read_text().startswith(f"# yaml-language-server: $schema={FILE}\n")


def test_the_json_schema_takes_params_yaml_and_refuses_what_is_not_possible() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(reference.json_schema()))
    params: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")
    validator.check_schema(validator.schema)
    validator.validate(params)
    params["regress"]["text"] |= {"folds": 5, "kernel_ridge": {"widths": [1.0]}}
    params["datasets"]["mine"] = {"module": "plain", "source": "mine", "size_px": 8, "window_s": [0, 1], "margin_s": 1}
    validator.validate(params)
    for path, value, message in (
        (("split", "n_folds"), 1, "1 is less than the minimum of 2"),
        (("split", "n_fold"), 2, "Additional properties are not allowed"),
        (("evaluate", "protocol"), "strikt", "'strikt' is not one of"),
        (("regress", "text", "alphas"), [0.0], "0.0 is less than or equal to the minimum of 0"),
    ):
        wrong = copy.deepcopy(params)
        section = wrong
        for name in path[:-1]:
            section = section[name]
        section[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError, match=message):
            validator.validate(wrong)
