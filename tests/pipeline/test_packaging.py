"""pyproject.toml names every package that the project is made with, and constraints.txt pins each of them."""

import re
import tomllib

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMED = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
    if not line.startswith("spikevaediff")
]


@pytest.mark.parametrize(
    "name",
    ["dvc", "jax", "optax", "torch", "numpy", "open_clip_torch", "pillow", "scikit-image", "pytest"],
)
def test_a_package_stands_in_pyproject(name: str) -> None:
    assert canonicalize_name(name) in {canonicalize_name(requirement.name) for requirement in NAMED}


def test_the_pins_are_of_versions_that_pyproject_asks_for() -> None:
    lines = [line.split(";")[0].split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    pinned = {canonicalize_name(name): Version(version.strip()) for name, version in lines}
    for requirement in NAMED:
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_what_is_installed_without_dependencies_is_the_extra_of_the_published_model() -> None:
    installed = re.search(r"^CLIP := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert installed
    extra = [Requirement(line).name for line in PROJECT["optional-dependencies"]["published"]]
    assert installed[1].split() == extra


def test_allensdk_has_an_environment_of_its_own() -> None:
    assert "allensdk" not in {requirement.name for requirement in NAMED}
    assert re.search(r"^allensdk==", (ROOT / "src/spikevaediff/recordings/by_allensdk.txt").read_text(), re.MULTILINE)
