"""Score the reconstructions of one run: python -m stages.evaluate RUN

RUN is a folder of artifacts/decoded, or one of the baselines that are made here and scored like any other run: `grey`
(the same mid grey for every image) and `mean` (the mean of the images that the fold trained on).
"""

import sys
import time

import stages
from spikevaediff import scores
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli


def main(run: str) -> None:
    """Score one run on the test images of the split and write artifacts/scores/RUN.json."""
    stage = "baseline" if run in ("grey", "mean") else "evaluate"
    options = stages.section(stages.declared(f"{stage}@{run}"), "evaluate")
    stages.check_options(scores.score_run, options, "evaluate", passed=["batch_size"])
    shown = Stimuli.load("artifacts/images.npz")
    split = ImageSplit.load("artifacts/split.npz")
    if run == "grey":
        reconstructed = scores.grey(split.test_ids, size_px=options["size_px"])
    elif run == "mean":
        reconstructed = scores.mean_training_image(shown, split, size_px=options["size_px"])
    else:
        decoded = Reconstructions.load(f"artifacts/decoded/{run}")
        # Exactly the test images: with fewer, means of different runs could not be compared.
        reconstructed = Reconstructions(split.test_ids, decoded.rows(split.test_ids))
    print(f"{run}: shown {shown.pixels.shape}, reconstructed {reconstructed.pixels.shape}")

    started = time.perf_counter()
    # Every network of the metrics fits anywhere: "auto" is the number of images that score_run takes by itself.
    chosen = {name: n for name, n in stages.compute().items() if name == "batch_size" and n != "auto"}
    result = scores.score_run(shown, reconstructed, **options, **chosen)
    for name, metric in result["metrics"].items():
        if metric["absent"] is None:
            print(f"{run}: {name} {metric['mean']:.3f}, wrong pairings {metric['shuffled_mean']:.3f}")
        else:
            print(f"{run}: {name} is absent: {metric['absent']}", file=sys.stderr)
    scores.save(result, f"artifacts/scores/{run}.json")
    print(f"{run}: {result['n_images']} images scored in {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1])
