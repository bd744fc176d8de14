"""How decoding depends on time, on the number of units and of presentations: python -m stages.curves"""

from pathlib import Path

import stages
from spikevaediff.analysis import curves, latency
from spikevaediff.files import tables
from spikevaediff.files.left_out import there
from spikevaediff.recordings import sessions
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import ImageSplit, Responses, Stimuli
from spikevaediff.regression import jax_cache


def main() -> None:
    """Write artifacts/curves/latency.csv and counts.csv."""
    params = stages.declared("curves")
    times, counts = (stages.section(params, "curves", name) for name in ("latency", "counts"))
    resampling = {name: stages.section(params, "curves", name) for name in ("n_resamples", "seed")}
    stages.check_options(latency.rows, times, "curves.latency", passed=("areas", "limits", *resampling))
    stages.check_options(curves.rows, counts, "curves.counts", passed=tuple(resampling))
    limits, areas = Limits.of(stages.section(params, "responses")), sessions.areas_of(stages.section(params, "areas"))
    paths = sessions.paths(Path("artifacts/sessions"))
    if not any(map(sessions.has_spike_times, paths)):
        print("curves.latency is not read: tables of responses have the windows that they were counted in, no others")
    rows = latency.rows(paths, areas=areas, limits=limits, **resampling, **times)
    tables.write("artifacts/curves/latency.csv", rows)
    stages.done(f"latency: {len(rows)} windows of {len({row['area'] for row in rows})} areas")
    stimuli, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    rows = []
    for name in there("artifacts/responses/{}.npz", ("visual", "control")):
        responses = Responses.load(f"artifacts/responses/{name}.npz")
        rows += curves.rows(name, responses, stimuli, split, **resampling, **counts)
    tables.write("artifacts/curves/counts.csv", rows)
    stages.done(f"counts: {len(rows)} numbers of units and presentations")


if __name__ == "__main__":
    jax_cache.keep()
    main()
