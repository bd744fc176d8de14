"""Look for what would make the scores of a run a lie: python -m stages.checks RUN CEILING CONTROL

CEILING is the run that decodes true features in the same way, CONTROL the one from responses that know nothing.
Writes artifacts/checks/RUN.json, or stops the pipeline with what it found.
"""

import json
import sys
from pathlib import Path
from typing import Any

import stages
from spikevaediff.evaluation import checks
from spikevaediff.files.atomic import replacing
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli, read_npz
from spikevaediff.runs import read_runs


def main(run: str, ceiling: str, control: str) -> None:
    """Check one run against the images, the split, its features and its ceilings.

    Raises
    ------
    ValueError
        A check failed; the message says which and what it found.
    """
    split, stimuli = ImageSplit.load("artifacts/split.npz"), Stimuli.load("artifacts/images.npz")
    decoded, best, nothing = (Reconstructions.load(f"artifacts/decoded/{name}") for name in (run, ceiling, control))
    scores, generator = (read(f"artifacts/scores/{name}.json") for name in (run, ceiling))
    better = {name: metric["larger_is_better"] for name, metric in scores.items()}
    limits = [("with true features", checks.beyond_chance(generator, scores))]
    if run == "vdvae" and "pixcorr" in (halves := read("artifacts/scores/halves.json")):
        # The agreement of halves bounds no other score: all presentations together are less noisy than halves of them.
        limits.append(("its noise ceiling", {"pixcorr": halves["pixcorr"]["ceiling"]}))
    findings = [
        checks.overlap(split, stimuli, decoded.image_id),
        checks.near_duplicates(split, stimuli),
        *(renormalised(space, split) for space in read_runs().checked[run]["spaces"]),
        checks.memorised(decoded, stimuli, split, nothing),
        checks.collapsed(decoded, stimuli, best),
        checks.above_ceiling(scores, limits, better),
    ]
    for finding in findings:
        print(f"{run}: {finding.check}: {finding.status}; {finding.says}")
    failed = [f"{finding.check}: {finding.says}" for finding in findings if finding.status == "failed"]
    if failed:
        raise ValueError(f"{run} is not reported, since a check failed. {' | '.join(failed)}")
    with replacing(f"artifacts/checks/{run}.json") as temporary:
        temporary.write_text(json.dumps(checks.to_json(findings), indent=1) + "\n", encoding="utf-8")
    noted = sum(finding.status == "noted" for finding in findings)
    stages.done(f"{run}: {len(findings)} checks, none failed" + (f", {noted} noted" if noted else ""))


def renormalised(space: str, split: ImageSplit) -> checks.Finding:
    """Whether the predictions of a feature space were renormalised as they say."""
    predicted, raw = (Features.load(f"artifacts/predicted/{space}{kind}.npz") for kind in ("", "_raw"))
    declared = str(read_npz(f"artifacts/fits/{space}.npz")["renormalise"][0])
    return checks.test_statistics(predicted, raw, Features.load(f"artifacts/features/{space}.npz"), split, declared)


def read(path: str) -> dict[str, Any]:
    """The metrics of a file of scores."""
    return json.loads(Path(path).read_text(encoding="utf-8"))["metrics"]


if __name__ == "__main__":
    main(*sys.argv[1:])
