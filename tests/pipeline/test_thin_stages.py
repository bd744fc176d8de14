"""Stages are thin: they read parameters and results, call the library and write what it returns."""

import ast

import pytest
from conftest import ROOT

LONGEST = 40  # lines, docstring included
STAGES = sorted((ROOT / "stages").glob("[!_]*.py"))


@pytest.mark.parametrize("stage", [path.stem for path in STAGES])
def test_a_stage_is_short(stage: str) -> None:
    n = len((ROOT / "stages" / f"{stage}.py").read_text().splitlines())
    assert n <= LONGEST, f"stages/{stage}.py has {n} lines, expected at most {LONGEST}"


@pytest.mark.parametrize("stage", [path.stem for path in STAGES])
def test_a_stage_imports_no_other(stage: str) -> None:
    others = []
    for node in ast.walk(ast.parse((ROOT / "stages" / f"{stage}.py").read_text())):
        if isinstance(node, ast.Import):
            others += [alias.name for alias in node.names if alias.name.startswith("stages.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stages":
            others += [f"{node.module}.{alias.name}" for alias in node.names]
    assert not others, f"stages/{stage}.py imports {others}; what two stages use belongs into the library"
