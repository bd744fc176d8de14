"""Learn what each unit responds to: python -m stages.encode POPULATION"""

import sys

import stages
from spikevaediff.encoding import fit_folds
from spikevaediff.recordings import movies
from spikevaediff.records import ImageSplit, Responses, Stimuli


def main(population: str) -> None:
    """Write artifacts/encoders/POPULATION: one encoding model per fold, and all_images.npz of all images."""
    params = stages.declared(f"encode@{population}")
    options = stages.section(params, "encoding")
    stages.check_options(fit_folds.fit, options, "encoding", passed=("movie",))
    train, n = (stages.section(params, "movies", name) for name in ("train", "frames_per_row"))
    rows = movies.pictures(Stimuli.load("artifacts/movies.npz"), n)
    movie = movies.for_training(rows, Responses.load(f"artifacts/movies/{population}.npz"), train=train)
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    folder = f"artifacts/encoders/{population}"
    model = fit_folds.fit(folder, responses, stimuli, split, stages.weights_path, movie=movie, **options)
    learnt = f", from {len(rows.image_id)} rows of movies as well" if movie else ""
    stages.done(f"{population}: {fit_folds.report_line(model)}{learnt}")


if __name__ == "__main__":
    main(*sys.argv[1:])
