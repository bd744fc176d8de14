"""Photographs that were never shown: python -m stages.library"""

import stages
from spikevaediff.encoding import library
from spikevaediff.records import Stimuli


def main() -> None:
    """Write artifacts/library/images.npz; refuse a library that shows what the data set shows."""
    options = dict(stages.section(stages.declared("library"), "library"))
    stages.check_options(library.make, options, "library", stage=("folder",))
    found = library.make(options.pop("folder"), Stimuli.load("artifacts/images.npz"), **options)
    found.save("artifacts/library/images.npz")
    stages.done(f"library of {len(found.image_id)} photographs ({found.source}), none of them shown")


if __name__ == "__main__":
    main()
