"""Get the recordings and images of the chosen data set: python -m stages.acquire"""

from pathlib import Path

import stages
from spikevaediff.records import Stimuli


def main() -> None:
    """Fill artifacts/sessions, artifacts/images.npz and artifacts/captions_given.csv."""
    params = stages.declared("acquire")
    name = stages.section(params, "dataset")
    dataset = stages.module("datasets", name)
    options = stages.section(params, "datasets", name)
    stages.check_options(dataset.acquire, options, f"datasets.{name}")
    dataset.acquire(Path("data") / name, Path("artifacts"), **options)
    stimuli = Stimuli.load("artifacts/images.npz")
    sessions = sorted(path.name for path in Path("artifacts/sessions").glob("*.nwb"))
    stages.done(f"{stimuli.source}: {len(sessions)} session(s) {', '.join(sessions)}, images {stimuli.pixels.shape}")


if __name__ == "__main__":
    main()
