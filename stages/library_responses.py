"""How units would answer the library: python -m stages.library_responses POPULATION"""

import sys

import stages
from spikevaediff.encoding import of_folds
from spikevaediff.records import ImageSplit, LibraryResponses, Stimuli


def main(population: str) -> None:
    """Write artifacts/library/responses_POPULATION.npz: by the models of each fold and by the model of all images."""
    seed = stages.section(stages.declared(f"library_responses@{population}"), "library", "seed")
    images = Stimuli.load("artifacts/library/images.npz")
    encoders = of_folds.load(f"artifacts/encoders/{population}", ImageSplit.load("artifacts/split.npz").n_folds)
    responses = of_folds.predict(encoders, images.pixels, stages.weights_path)
    for number, encoder in enumerate(encoders):
        responses[number] += of_folds.noise(encoder, images.image_id, seed=seed, number=number)
    LibraryResponses(images.image_id, responses).save(f"artifacts/library/responses_{population}.npz")
    stages.done(f"{population}: {responses.shape} (fold and all images, library image, column)")


if __name__ == "__main__":
    main(*sys.argv[1:])
