"""Get the recordings and images of the chosen data set: python -m stages.acquire"""

from pathlib import Path

import stages
from spikevaediff.files import tables
from spikevaediff.records import Stimuli


def main() -> None:
    """Fill artifacts/sessions, artifacts/images.npz, artifacts/captions_given.csv and artifacts/split_given.csv."""
    params = stages.declared("acquire")
    name = stages.section(params, "dataset")
    options = {"module": name} | stages.section(params, "datasets", name)
    dataset = stages.module("datasets", options["module"])
    stages.check_options(dataset.acquire, options, f"datasets.{name}", stage=("module",))
    del options["module"]
    tables.write("artifacts/split_given.csv", [])  # of a data set that brings none
    dataset.acquire(Path("vendor/data") / name, Path("artifacts"), **options)
    stimuli = Stimuli.load("artifacts/images.npz")
    sessions = sorted(path.name for path in Path("artifacts/sessions").iterdir() if path.suffix in (".nwb", ".npz"))
    stages.done(f"{stimuli.source}: {len(sessions)} session(s) {', '.join(sessions)}, images {stimuli.pixels.shape}")


if __name__ == "__main__":
    main()
