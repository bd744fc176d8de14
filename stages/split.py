"""Decide which images are tested, and check that nothing leaks: python -m stages.split"""

import stages
from spikevaediff.records import Stimuli
from spikevaediff.regression import split


def main() -> None:
    """Write artifacts/split.npz from the image ids and pixels alone."""
    options = stages.section(stages.declared("split"), "split")
    stages.check_options(split.split_by_image, options, "split", passed=["alike"])
    stimuli = Stimuli.load("artifacts/images.npz")
    alike = split.near_duplicates(stimuli)
    for a, b, bits in alike.tolist():
        print(f"images {a} and {b} look alike ({bits} of 256 hash bits differ) and stay in one fold")
    chosen = split.split_by_image(stimuli.image_id, **options, alike=alike)
    split.check(chosen, stimuli)
    chosen.save("artifacts/split.npz")
    tested = f"{len(chosen.test_ids)} of {len(chosen.image_id)} images tested in {chosen.n_folds} fold(s)"
    stages.done(f"{tested}, none alike across folds")


if __name__ == "__main__":
    main()
