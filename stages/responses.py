"""Count the spikes of one population of units: python -m stages.responses POPULATION"""

import sys
from pathlib import Path

import numpy as np

import stages
from spikevaediff.recordings import movie_presentations, sessions
from spikevaediff.recordings.unit_filter import LIMITS, Limits
from spikevaediff.records import Stimuli


def main(population: str) -> None:
    """Read every session; write artifacts/responses/POPULATION.npz and, of rows of movies, artifacts/movies/ ..."""
    params = stages.declared(f"responses@{population}")
    options, areas = stages.section(params, "responses"), stages.section(params, "areas")
    window = ("start_s", "duration_s", "n_bins")
    passed = ("areas", "windows_s", "limits", "shown")
    stages.check_options(sessions.read_population, options, "responses", stage=(*window, *LIMITS), passed=passed)
    paths, chosen = sessions.paths(Path("artifacts/sessions")), sessions.areas_of(areas, population)
    asked = {"areas": chosen, "limits": Limits.of(options), "min_units": options["min_units"]}
    windows_s = sessions.windows(paths, **{name: options[name] for name in window})
    responses = sessions.read_population(paths, windows_s=windows_s, **asked)
    frames = Stimuli.load("artifacts/movies.npz").image_id
    rows = {name: stages.section(params, "movies", name) for name in ("frames_per_row", "start_s")}
    of_movies = movie_presentations.responses(paths, frames, responses, asked=asked, **rows)
    unknown = [name for name in LIMITS if np.isnan(getattr(responses.units, name.rpartition("_")[0])).all()]
    if unknown:
        print(f"{', '.join(unknown)} of responses limit nothing: nobody measured that of these units")
    if areas[population] == sessions.SHUFFLED:
        responses, of_movies = sessions.shuffled(responses), sessions.shuffled(of_movies)
    responses.save(f"artifacts/responses/{population}.npz")
    of_movies.save(f"artifacts/movies/{population}.npz")
    stages.done(sessions.report_line(responses, population, areas[population]))


if __name__ == "__main__":
    main(sys.argv[1])
