"""One feature space of the first images of the library: python -m stages.library_features SPACE

Only as many as `regress.SPACE.library` asks for, then rows of movies. Texts are automatic; movies get none.
"""

import sys

import stages
from spikevaediff.captioning import class_captions
from spikevaediff.encoding import library_rows
from spikevaediff.recordings import movies
from spikevaediff.records import Captions, Features, Stimuli
from spikevaediff.regression import repeatable


def main(space: str) -> None:
    """Write artifacts/library/SPACE.npz."""
    params = stages.declared(f"library_features@{space}")
    options = {"module": space} | stages.section(params, "models", stages.section(params, "model"), space)
    extract = stages.module("features", options.pop("module")).extract
    n, of_movies = stages.section(params, "regress", space, "library"), stages.section(params, "movies")
    images = library_rows.first(Stimuli.load("artifacts/library/images.npz"), n, space)
    if n and of_movies["train"] and not repeatable.reads_captions(extract):
        frames = Stimuli.load("artifacts/movies.npz")
        images = library_rows.joined(images, movies.pictures(frames, of_movies["frames_per_row"]))
    features = library_rows.no_features(space)
    if n:
        options = stages.with_weights(options) | stages.asked(extract, stages.compute())
        given: Captions | Stimuli = images
        if repeatable.reads_captions(extract):
            vision = Features.load("artifacts/library/vision.npz")
            sentences = class_captions.describe(images, vision, **stages.compute())
            given = Captions(images.image_id, tuple((sentence,) for sentence in sentences))
        features = extract(given, **options)
    features.save(f"artifacts/library/{space}.npz")
    stages.done(f"{space} of {len(features.values)} images of library and movies: {features.values.shape}")


if __name__ == "__main__":
    main(sys.argv[1])
