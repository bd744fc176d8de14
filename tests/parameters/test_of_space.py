"""The regression of one feature space: what is common, and what differs."""

from typing import Any

from spikevaediff.parameters.of_space import of_space, spaces

REGRESS: dict[str, Any] = {
    "common": {"folds": "image", "alphas": [1.0, 10.0], "banded": {"bands": "area", "max_steps": 200}},
    "text": {"method": "ridge", "library": 0},
    "vision": {"method": "banded", "library": 4, "folds": 5, "alphas": [3.0], "banded": {"max_steps": 9}},
}


def test_a_space_has_what_is_common_and_what_it_says_itself() -> None:
    assert spaces(REGRESS) == ["text", "vision"]
    assert of_space(REGRESS, "text") == REGRESS["common"] | {"method": "ridge", "library": 0}
    assert of_space(REGRESS, "vision") == {
        "folds": 5,
        "alphas": [3.0],  # a list is one value
        "banded": {"bands": "area", "max_steps": 9},  # a section is joined key by key
        "method": "banded",
        "library": 4,
    }
    assert REGRESS["common"]["banded"] == {"bands": "area", "max_steps": 200}
