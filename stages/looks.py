"""Look at the images that were shown, once for all runs: python -m stages.looks"""

from typing import Any

import stages
from spikevaediff.evaluation import scores
from spikevaediff.evaluation.looking import Shown
from spikevaediff.records import ImageSplit, Stimuli

LOOKING = ("protocol", "size_px", "metrics")  # what decides how images are looked at; the rest, what is made of it


def main() -> None:
    """Write artifacts/looks.npz: the images of the split as each metric sees them."""
    params = stages.declared("looks")
    options = {name: stages.section(params, "evaluate", name) for name in LOOKING}
    stages.check_options(Shown.of, options, "evaluate", passed=["batch_size"])
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    shown = Shown.of(stimuli, split.image_id, **options | batch())
    shown.save("artifacts/looks.npz")
    sizes = ", ".join(f"{key} {array.shape[1:]}" for key, array in shown.looks.items())
    stages.done(f"{len(shown.image_id)} images looked at: {sizes}")


def options_of(stage: str) -> dict[str, Any]:
    """The section `evaluate` for a stage that scores, checked.

    Raises
    ------
    KeyError, ValueError
        The section lacks a key, has another one, or a value that cannot be.
    """
    options = stages.section(stages.declared(stage), "evaluate")
    stages.check_options(scores.score_run, options, "evaluate", passed=["batch_size"])
    return options | batch()


def split_up(options: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of looking at images, and those of what is made of it; both name the metrics."""
    looking = {name: value for name, value in options.items() if name in (*LOOKING, "batch_size")}
    return looking, {name: value for name, value in options.items() if name not in ("protocol", "size_px")}


def batch() -> dict[str, Any]:
    """Every network of the metrics fits anywhere: "auto" is the number of images that is taken without being told."""
    return {name: n for name, n in stages.compute().items() if name == "batch_size" and n != "auto"}


if __name__ == "__main__":
    main()
