"""Score the reconstructions of one run, a folder of artifacts/decoded: python -m stages.evaluate RUN

`halves` scores the reconstructions from either half of the presentations against those from the other.
"""

import json
import sys
from pathlib import Path

import stages
from spikevaediff.evaluation import ceilings, scores
from spikevaediff.evaluation.looking import Shown, split_up
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli


def main(run: str) -> None:
    """Write artifacts/scores/RUN.json, of the test images of the split."""
    options = stages.section(stages.declared(f"evaluate@{run}" if run != "halves" else run), "evaluate")
    stages.check_options(scores.score_run, options, "evaluate", passed=["batch_size"])
    looking, worth = split_up(options, stages.compute())
    split = ImageSplit.load("artifacts/split.npz")
    if run == "halves":
        told = json.loads(Path("artifacts/noise_ceiling/vdvae.json").read_text(encoding="utf-8"))
        halves = [decoded(f"half_{half}", split) for half in "ab"] if told["absent"] is None else told["absent"]
        source, longer = Stimuli.load("artifacts/images.npz").source, told["lengthening"] or 2.0
        result = ceilings.of_halves(halves, split, source=source, lengthening=longer, **looking)
    else:
        result = scores.score(Shown.load("artifacts/looks.npz"), decoded(run, split), split, **worth)
    print(*scores.lines(run, result), sep="\n")
    scores.save(result, f"artifacts/scores/{run}.json")
    stages.done(f"{run}: {result['n_images']} images scored by protocol {result['protocol']}")


def decoded(run: str, split: ImageSplit) -> Reconstructions:
    """Exactly the test images of a run: with fewer, means of different runs could not be compared."""
    return Reconstructions(split.test_ids, Reconstructions.load(f"artifacts/decoded/{run}").rows(split.test_ids))


if __name__ == "__main__":
    main(sys.argv[1])
