"""Which weights of a model are files to fetch: names of assets, and nothing else that an option may hold."""

import copy
from typing import Any

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from spikevaediff.tools import needs

PARAMS: dict[str, Any] = YAML(typ="safe").load(ROOT / "params.yaml")


def of_model(**diffusion: Any) -> list[str]:
    params = copy.deepcopy(PARAMS)
    params["models"]["mini"]["diffusion"] = diffusion
    return needs._of_model(params)


def test_weights_are_assets_by_name_and_files_by_path() -> None:
    assert of_model(module="mine", weights="kl_f8") == ["efficientnet_lite0", "all_minilm_l6_v2", "kl_f8"]
    assert of_model(module="mine", weights="vendor/data/weights/mine.safetensors") == of_model(module="mine")


@pytest.mark.parametrize("value", [[0.5, 1.0], 2.0, None, {"a": 1}])
def test_weights_of_a_module_of_ones_own_may_be_numbers(value: Any) -> None:
    assert of_model(module="mine", mix_weights=value) == of_model(module="mine")
