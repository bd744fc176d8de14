"""What rows of movies add to the training images: python -m stages.movies"""

import stages
from spikevaediff.analysis import movies as study
from spikevaediff.encoding import of_folds
from spikevaediff.files import tables
from spikevaediff.recordings import movies
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.regression import jax_cache


def main() -> None:
    """Write artifacts/movies/gain.csv; without a row where the data set shows no movie."""
    params = stages.declared("movies")
    options = dict(stages.section(params, "movies"))
    own = ("train", "frames_per_row", "start_s", "encoder_folds")
    stages.check_options(study.rows, options, "movies", stage=own, passed=("movie", "encoder_r"))
    train, n, _, n_folds = (options.pop(name) for name in own)
    pictures = movies.pictures(Stimuli.load("artifacts/movies.npz"), n)
    movie, table = (pictures, Responses.load("artifacts/movies/visual.npz")), []
    if len(pictures.image_id):
        responses, stimuli = Responses.load("artifacts/responses/visual.npz"), Stimuli.load("artifacts/images.npz")
        split = ImageSplit.load("artifacts/split.npz")
        models = of_folds.load("artifacts/encoders/visual", split.n_folds)
        given = (responses, stimuli, split, movie)
        learn = {"families": stages.section(params, "encoding", "families"), "n_folds": n_folds}
        r = study.of_encoders(*given, models, stages.weights_path, stored_learnt_from_movies=train, **learn)
        table = list(study.rows(*given, r, **options))
    tables.write("artifacts/movies/gain.csv", table)
    told = "; ".join(f"{row['tested']} from {row['learnt_from']}: {row['correlation']:.3f}" for row in table)
    stages.done(f"pixel correlation of {told}" if told else "no movie is shown")


if __name__ == "__main__":
    jax_cache.keep()
    main()
