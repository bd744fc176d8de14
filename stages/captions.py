"""A caption for every image, where the data set brings none by BLIP-2: python -m stages.captions"""

import numpy as np

import stages
from spikevaediff.records import Captions, Stimuli


def main() -> None:
    """Write artifacts/captions.csv: the captions that are given, and made ones for the other images."""
    options = stages.section(stages.declared("captions"), "captions")
    stimuli, given = Stimuli.load("artifacts/images.npz"), Captions.load("artifacts/captions_given.csv")
    if not len(np.setdiff1d(stimuli.image_id, given.image_id)):
        found, says = given.of(np.sort(stimuli.image_id)), f"captions of all {len(stimuli.image_id)} images are given"
    else:
        # Seconds of importing, which a data set with captions need not wait for.
        from spikevaediff.captioning import blip2, completed

        stages.check_options(blip2.describe, options, "captions", stage=["model"], passed=completed.GIVEN)
        found, says = completed.completed(given, stimuli, **options, **stages.compute())
    found.save("artifacts/captions.csv")
    stages.done(says)


if __name__ == "__main__":
    main()
