"""Run a stage, or leave it out with its part: python -m stages.part PART STAGE [WORDS], as dvc.yaml does

PART is one of runs.yaml, and whether params.yaml wants it is in artifacts/parts, where the first stage writes it.
DVC has no condition: a stage that is left out ends at once, with marks in place of its results (files/left_out.py).
"""

import os
import runpy
import sys
from pathlib import Path

import stages
from spikevaediff.files.left_out import mark
from spikevaediff.parameters import runs
from spikevaediff.parameters.declared import results_of


def main(part: str, stage: str, *words: str) -> None:
    """Run the stage with its words, or write the marks."""
    if runs.is_wanted(f"artifacts/parts/{part}"):
        sys.argv = [stage, *words]
        runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)
        return
    name = os.environ.get("DVC_STAGE", "")
    try:
        outs = results_of(name, Path.cwd())
    except ValueError as error:
        raise ValueError(f"DVC_STAGE is {name!r}, expected a stage of dvc.yaml. Run: dvc repro STAGE") from error
    for out in outs:
        mark(out, f"parts.{part.replace('+', ' and parts.')}")
    stages.done(f"{' '.join([stage, *words[:1]])}: left out with {part}")


if __name__ == "__main__":
    main(*sys.argv[1:])
