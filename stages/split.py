"""Decide which images are tested, and check that nothing leaks: python -m stages.split"""

import stages
from spikevaediff.files import tables
from spikevaediff.recordings import movies
from spikevaediff.records import Stimuli
from spikevaediff.regression import split


def main() -> None:
    """Write artifacts/split.npz from the image ids and pixels, or from the split that the data set brings."""
    params = stages.declared("split")
    options = stages.section(params, "split")
    stages.check_options(split.decide, options, "split")
    stimuli, frames = Stimuli.load("artifacts/images.npz"), Stimuli.load("artifacts/movies.npz")
    rows = movies.pictures(frames, stages.section(params, "movies", "frames_per_row"))
    for pictures in (frames, rows):
        movies.refuse_shown(pictures, stimuli, split.near_copies(pictures.pixels, stimuli.pixels))
    given = {int(row["image_id"]): row["fold"] == "0" for row in tables.read("artifacts/split_given.csv")}
    chosen, notes = split.decide(stimuli, given, **options)
    for note in notes:
        print(note)
    chosen.save("artifacts/split.npz")
    stages.done(f"{len(chosen.test_ids)} of {len(chosen.image_id)} images tested in {chosen.n_folds} fold(s)")


if __name__ == "__main__":
    main()
