"""How units would answer the library: python -m stages.library_responses POPULATION"""

import sys

import stages
from spikevaediff.encoding import fit_folds, left_out, library_rows, of_folds
from spikevaediff.recordings import movies, preprocessing
from spikevaediff.records import ImageSplit, LibraryResponses, Responses, Stimuli


def main(population: str) -> None:
    """Write artifacts/library/responses_POPULATION.npz, by the models of each fold and by the model of all images, and
    left_out_POPULATION.npz, by models without some of these images, where they choose the weight of the library.
    """
    params = stages.declared(f"library_responses@{population}")
    seed, of_movies = stages.section(params, "library", "seed"), stages.section(params, "movies")
    images = Stimuli.load("artifacts/library/images.npz")
    split, without = ImageSplit.load("artifacts/split.npz"), left_out.none()
    encoders = of_folds.load(f"artifacts/encoders/{population}", split.n_folds)
    responses = of_folds.predict(encoders, images.pixels, stages.weights_path)
    for number, encoder in enumerate(encoders):
        responses[number] += of_folds.noise(encoder, images.image_id, seed=seed, number=number)
    found = LibraryResponses(images.image_id, responses)
    if of_movies["train"]:
        rows = movies.pictures(Stimuli.load("artifacts/movies.npz"), of_movies["frames_per_row"])
        measured = preprocessing.mean_responses(Responses.load(f"artifacts/movies/{population}.npz"), rows.image_id)
        expected = of_folds.predict(encoders, rows.pixels, stages.weights_path)
        found = library_rows.with_movies(found, rows.image_id, measured, expected)
    if stages.section(params, "regress", "common", "library_weights"):
        shown, families = Stimuli.load("artifacts/images.npz"), encoders[0].family_name.tolist()
        shown_to = Responses.load(f"artifacts/responses/{population}.npz")
        learn = fit_folds.learner(shown_to, shown, split, stages.weights_path, families=families)
        without = left_out.answers(learn, split, images, stages.weights_path, seed=seed)
    found.save(f"artifacts/library/responses_{population}.npz")
    without.save(f"artifacts/library/left_out_{population}.npz")
    stages.done(f"{population}: {found.values.shape} (fold and all images, image of the library or row, column)")


if __name__ == "__main__":
    main(*sys.argv[1:])
