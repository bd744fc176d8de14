"""Which image was shown, and what does each unit respond to? From encoding models alone: python -m stages.identify"""

from pathlib import Path

import stages
from spikevaediff.encoding import identified, of_folds
from spikevaediff.files import json_file, tables
from spikevaediff.files.left_out import there
from spikevaediff.recordings import sessions, spike_counts
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import ImageSplit, Responses, Stimuli


def main() -> None:
    """Write artifacts/identification.json, sets of candidates; identification.csv, curves; encoding.csv, units."""
    params = stages.declared("identify")
    counts, seed, times = (stages.section(params, "curves", name) for name in ("counts", "seed", "latency"))
    areas, limits = stages.section(params, "areas"), stages.section(params, "responses")
    units = {"limits": Limits.of(limits), "min_units": limits["min_units"]}
    span = {name: times[name] for name in ("start_s", "stop_s", "step_s", "width_s")}
    windows_s = spike_counts.sliding_windows(**span)
    options = {name: counts[name] for name in ("units", "presentations", "n_draws")} | {"seed": seed}
    split = ImageSplit.load("artifacts/split.npz")
    stimuli, library = Stimuli.load("artifacts/images.npz"), Stimuli.load("artifacts/library/images.npz")
    paths, found = sessions.paths(Path("artifacts/sessions")), {}
    for name in there("artifacts/responses/{}.npz", ("visual", "control")):
        responses = Responses.load(f"artifacts/responses/{name}.npz")
        models = of_folds.load(f"artifacts/encoders/{name}", split.n_folds)
        short = sessions.counted_again(paths, areas, name, windows_s, **units)
        found[name] = identified.of_population(
            name, responses, models, stimuli, library, split, stages.weights_path, short=short, **options
        )
        stages.done(f"{name}: {identified.report_line(found[name].sets)}")
    json_file.write("artifacts/identification.json", {n: one.sets for n, one in found.items()}, digits=None, indent=2)
    tables.write("artifacts/identification.csv", [row for one in found.values() for row in one.curves])
    tables.write("artifacts/encoding.csv", [row for one in found.values() for row in one.units])


if __name__ == "__main__":
    main()
