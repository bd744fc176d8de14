"""Learn what each unit responds to: python -m stages.encode POPULATION"""

import sys

import stages
from spikevaediff.encoding import fit_folds
from spikevaediff.records import ImageSplit, Responses, Stimuli


def main(population: str) -> None:
    """Write artifacts/encoders/POPULATION: one encoding model per fold, and all_images.npz of all images."""
    options = stages.section(stages.declared(f"encode@{population}"), "encoding")
    stages.check_options(fit_folds.fit, options, "encoding")
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    folder = f"artifacts/encoders/{population}"
    model = fit_folds.fit(folder, responses, stimuli, split, stages.weights_path, **options)
    stages.done(f"{population}: {fit_folds.report_line(model)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
