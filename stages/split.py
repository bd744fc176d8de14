"""Decide which images are tested, and check that nothing leaks: python -m stages.split"""

import stages
from spikevaediff.files import tables
from spikevaediff.records import Stimuli
from spikevaediff.regression import split


def main() -> None:
    """Write artifacts/split.npz from the image ids and pixels, or from the split that the data set brings."""
    options = stages.section(stages.declared("split"), "split")
    stages.check_options(split.decide, options, "split")
    given = {int(row["image_id"]): row["fold"] == "0" for row in tables.read("artifacts/split_given.csv")}
    chosen, notes = split.decide(Stimuli.load("artifacts/images.npz"), given, **options)
    for note in notes:
        print(note)
    chosen.save("artifacts/split.npz")
    stages.done(f"{len(chosen.test_ids)} of {len(chosen.image_id)} images tested in {chosen.n_folds} fold(s)")


if __name__ == "__main__":
    main()
