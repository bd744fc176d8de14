"""Score images made without a decoder: python -m stages.baselines

Writes artifacts/scores/{grey,mean,nearest,random}.json, each scored like any other run.
"""

import numpy as np

import stages
from spikevaediff import images
from spikevaediff.evaluation import baselines, scores
from spikevaediff.records import ImageSplit, Responses, Stimuli, rows_of


def main() -> None:
    """Look at the shown images once; two of the baselines show some of them again."""
    options = stages.section(stages.declared("baselines"), "evaluate")
    stages.check_options(scores.score_run, options, "evaluate", passed=["batch_size"])
    shown, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    responses = Responses.load("artifacts/responses/visual.npz")
    ids, size = split.test_ids, options["size_px"]
    protocol, weights, absent = scores.prepared(ids, options["protocol"], options["metrics"])
    looking = {
        "metrics": [name for name in options["metrics"] if name not in absent],
        "weights": weights,
        "size_px": size,
    } | {name: n for name, n in stages.compute().items() if name == "batch_size" and n != "auto"}
    # All images, since a training image may be one that is never tested.
    every = scores.look(images.rgb(shown.rows(split.image_id)), protocol, shown=True, **looking)

    def taken(wanted: np.ndarray) -> scores.Looks:
        rows = rows_of(wanted, split.image_id, "the split")
        return {name: [array[rows] for array in arrays] for name, arrays in every.items()}

    looks = {
        "grey": scores.look(baselines.grey(split, size_px=size).rows(ids), protocol, shown=False, **looking),
        "mean": scores.look(
            baselines.mean_training_image(shown, split, size_px=size).rows(ids), protocol, shown=False, **looking
        ),
        "nearest": taken(baselines.nearest_training_image(responses, split)),
        "random": taken(baselines.random_training_image(split, seed=options["seed"])),
    }
    for name, looked in looks.items():
        result = scores.summed_up(
            ids,
            taken(ids),
            looked,
            split,
            protocol,
            source=shown.source,
            metrics=options["metrics"],
            absent=absent,
            weights=weights,
            size_px=size,
            n_draws=options["n_draws"],
            seed=options["seed"],
        )
        scores.save(result, f"artifacts/scores/{name}.json")
        means = ", ".join(f"{m} {v['mean']:.3f}" for m, v in result["metrics"].items() if v["absent"] is None)
        stages.done(f"{name}: {means}")


if __name__ == "__main__":
    main()
