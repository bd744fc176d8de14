"""Check a run for leakage, copies, collapse and scores too good to be true: python -m stages.checks RUN CEILING CONTROL

CEILING is the run that decodes true features in the same way, CONTROL the one from responses that know nothing.
"""

import sys

import stages
from spikevaediff.evaluation import checked_run, checks
from spikevaediff.files import json_file
from spikevaediff.parameters.runs import read_runs


def main(run: str, ceiling: str, control: str) -> None:
    """Write artifacts/checks/RUN.json, or stop the pipeline with what was found."""
    spaces = read_runs().checked[run]["spaces"]
    params = stages.declared(f"checks@{run}" if spaces else f"checks_posterior@{run}")
    as_published = stages.section(params, "split", "method") == "as_published"
    found = checked_run.findings(
        "artifacts", run, ceiling, control, spaces, halves=run == "vdvae", as_published=as_published
    )
    for finding in found:
        print(f"{run}: {finding.check}: {finding.status}; {finding.says}")
    says = checked_run.refuse(run, found)
    json_file.write(f"artifacts/checks/{run}.json", checks.to_json(found), digits=None)
    stages.done(f"{run}: {says}")


if __name__ == "__main__":
    main(*sys.argv[1:])
