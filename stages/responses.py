"""Count the spikes of one population of units: python -m stages.responses POPULATION"""

import sys
from pathlib import Path

import numpy as np

import stages
from spikevaediff.recordings import sessions
from spikevaediff.recordings.unit_filter import LIMITS, Limits


def main(population: str) -> None:
    """Read every session of artifacts/sessions and write artifacts/responses/POPULATION.npz."""
    params = stages.declared(f"responses@{population}")
    options, areas = stages.section(params, "responses"), stages.section(params, "areas")
    window = ("start_s", "duration_s", "n_bins")
    passed = ("areas", "windows_s", "limits")
    stages.check_options(sessions.read_population, options, "responses", stage=(*window, *LIMITS), passed=passed)
    paths = sessions.paths(Path("artifacts/sessions"))
    responses = sessions.read_population(
        paths,
        areas=sessions.areas_of(areas, population),
        windows_s=sessions.windows(paths, **{name: options[name] for name in window}),
        limits=Limits.of(options),
        min_units=options["min_units"],
    )
    unknown = [name for name in LIMITS if np.isnan(getattr(responses.units, name.rpartition("_")[0])).all()]
    if unknown:
        print(f"{', '.join(unknown)} of responses limit nothing: nobody measured that of these units")
    if areas[population] == sessions.SHUFFLED:
        responses = sessions.shuffled(responses)
    responses.save(f"artifacts/responses/{population}.npz")
    stages.done(sessions.report_line(responses, population, areas[population]))


if __name__ == "__main__":
    main(sys.argv[1])
