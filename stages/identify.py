"""Which image was shown, and what does each unit respond to? From encoding models alone: python -m stages.identify"""

import stages
from spikevaediff.encoding import identified, of_folds
from spikevaediff.files import json_file, tables
from spikevaediff.files.left_out import there
from spikevaediff.records import ImageSplit, Responses, Stimuli


def main() -> None:
    """Write artifacts/identification.json, sets of candidates; identification.csv, curves; encoding.csv, units."""
    counts, seed = (stages.section(stages.declared("identify"), "curves", name) for name in ("counts", "seed"))
    options = {name: counts[name] for name in ("units", "presentations", "n_draws")} | {"seed": seed}
    split = ImageSplit.load("artifacts/split.npz")
    stimuli, library = Stimuli.load("artifacts/images.npz"), Stimuli.load("artifacts/library/images.npz")
    found = {}
    for name in there("artifacts/responses/{}.npz", ("visual", "control")):
        responses = Responses.load(f"artifacts/responses/{name}.npz")
        models = of_folds.load(f"artifacts/encoders/{name}", split.n_folds)
        found[name] = identified.of_population(
            name, responses, models, stimuli, library, split, stages.weights_path, **options
        )
        stages.done(f"{name}: {identified.report_line(found[name].sets)}")
    sets = {name: one.sets for name, one in found.items()}
    json_file.write("artifacts/identification.json", sets, digits=None, indent=2)
    tables.write("artifacts/identification.csv", [row for one in found.values() for row in one.curves])
    tables.write("artifacts/encoding.csv", [row for one in found.values() for row in one.units])


if __name__ == "__main__":
    main()
