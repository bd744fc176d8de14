"""Extract one feature space from the images that were shown or their captions: python -m stages.features SPACE"""

import sys

import stages
from spikevaediff.records import Captions, Stimuli
from spikevaediff.regression import repeatable


def main(space: str) -> None:
    """Write artifacts/features/SPACE.npz; refuse targets that a second extraction does not give again."""
    params = stages.declared(f"features@{space}")
    model = stages.section(params, "model")
    options = {"module": space} | stages.section(params, "models", model, space)
    extract = stages.module("features", options["module"]).extract
    elsewhere = ("batch_size", "device")
    stages.check_options(extract, options, f"models.{model}.{space}", stage=("module",), passed=elsewhere)
    del options["module"]
    options = stages.with_weights(options) | stages.asked(extract, stages.compute())
    stimuli, captions = Stimuli.load("artifacts/images.npz"), None
    if repeatable.reads_captions(extract):
        captions = Captions.load("artifacts/captions.csv").of(stimuli.image_id)
    features, says = repeatable.extract_twice(extract, stimuli, captions, options)
    features.save(f"artifacts/features/{space}.npz")
    stages.done(f"{space}: {features.values.shape} (image, dim) in {len(features.group_name)} groups; {says}")


if __name__ == "__main__":
    main(sys.argv[1])
