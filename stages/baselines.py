"""Score images made without a decoder, as any other run: python -m stages.baselines"""

import stages
from spikevaediff.evaluation import baselines, scores
from spikevaediff.evaluation.looking import Shown, split_up
from spikevaediff.records import ImageSplit, Responses, Stimuli


def main() -> None:
    """Write artifacts/scores/{grey,mean,nearest,random}.json."""
    options = stages.section(stages.declared("baselines"), "evaluate")
    stages.check_options(scores.score_run, options, "evaluate", passed=["batch_size"])
    looking, worth = split_up(options, stages.compute())
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    shown, responses = Shown.load("artifacts/looks.npz"), Responses.load("artifacts/responses/visual.npz")
    size, draws = {"size_px": looking["size_px"]}, {name: worth[name] for name in ("metrics", "n_draws", "seed")}
    results = {
        "grey": scores.score(shown, baselines.grey(split, **size), split, **worth),
        "mean": scores.score(shown, baselines.mean_training_image(stimuli, split, **size), split, **worth),
    }
    # Two baselines show some of the shown images again, which have been looked at.
    for name, ids in (
        ("nearest", baselines.nearest_training_image(responses, split)),
        ("random", baselines.random_training_image(split, seed=worth["seed"])),
    ):
        results[name] = scores.score_looks(shown, split.test_ids, shown.rows(ids), split, **draws)
    for name, result in results.items():
        scores.save(result, f"artifacts/scores/{name}.json")
        print(*scores.lines(name, result), sep="\n")
    stages.done(f"{', '.join(results)}: {len(split.test_ids)} images each, scored by protocol {shown.protocol}")


if __name__ == "__main__":
    main()
