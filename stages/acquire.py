"""Get the recordings and images of the chosen data set: python -m stages.acquire"""

from pathlib import Path

import stages
from spikevaediff.files import tables
from spikevaediff.recordings import movies
from spikevaediff.records import Stimuli


def main() -> None:
    """Fill artifacts/sessions, images.npz, movies.npz, captions_given.csv and split_given.csv of artifacts."""
    params = stages.declared("acquire")
    name = stages.section(params, "dataset")
    options = {"module": name} | stages.section(params, "datasets", name)
    dataset = stages.module("datasets", options["module"])
    stages.check_options(dataset.acquire, options, f"datasets.{name}", stage=("module",))
    del options["module"]
    # Of a data set that brings no split, and of one that shows no movie.
    tables.write("artifacts/split_given.csv", [])
    movies.no_frames(name).save("artifacts/movies.npz")
    dataset.acquire(Path("vendor/data") / name, Path("artifacts"), **options)
    stimuli = Stimuli.load("artifacts/images.npz")
    sessions = sorted(path.name for path in Path("artifacts/sessions").iterdir() if path.suffix in (".nwb", ".npz"))
    frames = Stimuli.load("artifacts/movies.npz")
    watched = f", movie frames {frames.pixels.shape}" * bool(len(frames.image_id))
    stages.done(
        f"{stimuli.source}: {len(sessions)} session(s) {', '.join(sessions)}, images {stimuli.pixels.shape}{watched}"
    )


if __name__ == "__main__":
    main()
