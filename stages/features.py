"""Extract one feature space from the images that were shown or their captions: python -m stages.features SPACE"""

import inspect
import sys

import numpy as np

import stages
from spikevaediff.captioning.captions import Captions
from spikevaediff.records import Features, Stimuli
from spikevaediff.regression import split

TOLERANCE = 1e-4  # of the largest value: another batch size changes the rounding, nothing else


def main(space: str) -> None:
    """Write artifacts/features/SPACE.npz; refuse targets that a second extraction does not give again."""
    params = stages.declared(f"features@{space}")
    model = stages.section(params, "model")
    options = {"module": space} | stages.section(params, "models", model, space)
    extract = stages.module("features", options["module"]).extract
    stages.check_options(
        extract, options, f"models.{model}.{space}", stage=("module",), passed=("batch_size", "device")
    )
    del options["module"]
    options |= stages.compute()
    stimuli = Stimuli.load("artifacts/images.npz")
    if reads_words := "captions" in inspect.signature(extract).parameters:
        captions = Captions.load("artifacts/captions.csv").of(stimuli.image_id)
    options["weights"] = stages.weights_path(options["weights"])

    def extracted(ids: np.ndarray, **changes: int) -> Features:
        given = captions.of(ids) if reads_words else Stimuli(stimuli.source, ids, stimuli.rows(ids))
        return extract(given, **options | changes)

    features = extracted(stimuli.image_id)
    stages.done(f"{space}: {features.values.shape} (image, dim) in {len(features.group_name)} groups")
    path = f"artifacts/features/{space}.npz"
    described = captions.described if reads_words else stimuli.image_id
    if not len(described):
        features.save(path)
        stages.done(f"{space}: no image has a caption, so that its context is that of the empty one and tells nothing")
        return
    # Some images again, in another batch: a network that is not loaded, or that draws its latents, is found here.
    bare = np.setdiff1d(stimuli.image_id, described)
    few = np.sort([*np.sort(described)[:: max(1, len(described) // 8)], *bare[:1]])
    again = extracted(few, batch_size=3)
    first = Features(space, few, features.rows(few), features.group_name, features.group_size)
    found = split.check_repeatable(first, again, tolerance=TOLERANCE)
    features.save(path)
    stages.done(
        f"{space}: extracted again, largest difference {found.difference:.1e}, {found.n_constant} constant dims"
    )


if __name__ == "__main__":
    main(sys.argv[1])
