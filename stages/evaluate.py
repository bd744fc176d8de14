"""Score the reconstructions of one run: python -m stages.evaluate RUN

RUN is a folder of artifacts/decoded. `halves` scores the reconstructions from one half of the presentations as if those
from the other half had been shown, both ways round: what noise in the responses lets a score reach.
"""

import json
import sys
from pathlib import Path

import numpy as np

import stages
from spikevaediff.evaluation import ceilings, scores
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli


def main(run: str) -> None:
    """Score one run on the test images of the split and write artifacts/scores/RUN.json."""
    options = stages.section(stages.declared(f"evaluate@{run}" if run != "halves" else run), "evaluate")
    stages.check_options(scores.score_run, options, "evaluate", passed=["batch_size"])
    shown = Stimuli.load("artifacts/images.npz")
    split = ImageSplit.load("artifacts/split.npz")
    # Every network of the metrics fits anywhere: "auto" is the number of images that is taken without being told.
    options |= {name: n for name, n in stages.compute().items() if name == "batch_size" and n != "auto"}
    if run == "halves":
        reason = json.loads(Path("artifacts/noise_ceiling/vdvae.json").read_text(encoding="utf-8"))["absent"]
        looking = {name: value for name, value in options.items() if name not in ("n_draws", "seed")}
        if reason is not None:
            result = ceilings.without_halves(reason, source=shown.source, **looking)
        else:
            first, second = (decoded(f"half_{half}", split) for half in "ab")
            result = ceilings.of_halves(first, second, split, source=shown.source, **looking)
    else:
        result = scores.score_run(shown, decoded(run, split), split, **options)
    for name, metric in result["metrics"].items():
        if metric["absent"] is not None:
            print(f"{run}: {name} is absent: {metric['absent']}", file=sys.stderr)
        elif run == "halves":
            says = f"at most {metric['ceiling']:.3f}" if name == "pixcorr" else f"agreement {metric['agreement']:.3f}"
            print(f"{run}: {name} {says}")
        else:
            low, high = metric["interval"]
            chance, p = (np.nan if metric[key] is None else metric[key] for key in ("chance", "p"))
            print(f"{run}: {name} {metric['mean']:.3f} [{low:.3f}, {high:.3f}], chance {chance:.3f}, p = {p:.2g}")
    scores.save(result, f"artifacts/scores/{run}.json")
    stages.done(f"{run}: {result['n_images']} images scored by protocol {result['protocol']}")


def decoded(run: str, split: ImageSplit) -> Reconstructions:
    """Exactly the test images of a run: with fewer, means of different runs could not be compared."""
    return Reconstructions(split.test_ids, Reconstructions.load(f"artifacts/decoded/{run}").rows(split.test_ids))


if __name__ == "__main__":
    main(sys.argv[1])
