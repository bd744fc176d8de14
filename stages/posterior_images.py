"""The mean of the samples of the posterior, and one of them: python -m stages.posterior_images RUN REGRESSION"""

import sys
from pathlib import Path

import stages
from spikevaediff.encoding import with_regression
from spikevaediff.records import Reconstructions, Samples


def main(run: str, regression: str) -> None:
    """Write artifacts/decoded/RUN, the mean of the samples of every test image, and RUN_sample, the first of them."""
    options = stages.section(stages.declared(f"posterior_images@{run}"), "decode", "posterior_images")
    stages.check_options(with_regression.pictures, options, "decode.posterior_images")
    samples = Samples.load(f"artifacts/samples/{run}.npz")
    images = with_regression.pictures(samples, Reconstructions.load(regression), **options)
    for name, one in zip((run, f"{run}_sample"), images, strict=True):
        one.save(Path("artifacts/decoded", name))
    share = options["regression_share"]
    stages.done(f"{run}: mean of {samples.pixels.shape[1]} samples, share of the regression in it {share:g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
