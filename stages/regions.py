"""Compare areas at equal numbers of units: python -m stages.regions

What the numbers are: spikevaediff.analysis.regions.
"""

import stages
from spikevaediff.analysis import regions
from spikevaediff.files import tables
from spikevaediff.files.left_out import there
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.regression import jax_cache


def main() -> None:
    """Write artifacts/regions/curves.csv, tests.csv and bands.csv."""
    options = stages.section(stages.declared("regions"), "regions")
    stages.check_options(regions.compare, options, "regions")
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    names = there("artifacts/responses/{}.npz", ("visual", "control"))
    populations = {name: Responses.load(f"artifacts/responses/{name}.npz") for name in names}
    found = regions.compare(stimuli, split, populations, **options)
    for name, rows in found.items():
        tables.write(f"artifacts/regions/{name}.csv", rows)
    stages.done(f"regions: {len(found['curves'])} points, {len(found['tests'])} pairs of areas")


if __name__ == "__main__":
    jax_cache.keep()
    main()
