"""Look at the images that were shown, once for all runs: python -m stages.looks"""

import stages
from spikevaediff.evaluation.looking import LOOKING, Shown, split_up
from spikevaediff.records import ImageSplit, Stimuli


def main() -> None:
    """Write artifacts/looks.npz: the images of the split as each metric sees them."""
    params = stages.declared("looks")
    options = {name: stages.section(params, "evaluate", name) for name in LOOKING}
    stages.check_options(Shown.of, options, "evaluate", passed=["batch_size"])
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    shown = Shown.of(stimuli, split.image_id, **split_up(options, stages.compute())[0])
    shown.save("artifacts/looks.npz")
    sizes = ", ".join(f"{key} {array.shape[1:]}" for key, array in shown.looks.items())
    stages.done(f"{len(shown.image_id)} images looked at: {sizes}")


if __name__ == "__main__":
    main()
