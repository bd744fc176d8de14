"""Which image was shown, and what does each unit respond to? From encoding models alone: python -m stages.identify"""

import json
from typing import Any

import numpy as np

import stages
from spikevaediff.encoding import identification, identification_curves, of_folds, receptive_fields
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.files import tables
from spikevaediff.files.atomic import replacing
from spikevaediff.recordings import preprocessing
from spikevaediff.records import ImageSplit, Responses, Stimuli, rows_of

POPULATIONS = ("visual", "control")


def main() -> None:
    """Write artifacts/identification.json, three sets of candidates; identification.csv, curves; units.csv."""
    counts, seed = (stages.section(stages.declared("identify"), "curves", name) for name in ("counts", "seed"))
    numbers = {name: counts[name] for name in ("units", "presentations", "n_draws")}
    split = ImageSplit.load("artifacts/split.npz")
    stimuli, library = Stimuli.load("artifacts/images.npz"), Stimuli.load("artifacts/library/images.npz")
    found: dict[str, Any] = {}
    curves: list[dict[str, Any]] = []
    units: list[dict[str, Any]] = []
    for population in POPULATIONS:
        responses = Responses.load(f"artifacts/responses/{population}.npz")
        x = preprocessing.response_matrix(responses, transform="none")
        mean = preprocessing.mean_over_presentations(x, responses.image_id, split.test_ids)
        models = [Encoder.load(f"artifacts/encoders/{population}/fold_{k:02d}.npz") for k in range(split.n_folds)]
        of_shown = of_folds.predict(models, stimuli.rows(split.image_id), stages.weights_path)
        of_library = of_folds.predict(models, library.pixels, stages.weights_path)
        fold, own = split.fold_of(split.test_ids), rows_of(split.test_ids, split.image_id, "the split")
        noise = [model.covariance for model in models]
        found[population] = identification.of_sets(noise, mean, fold, own, split.fold, of_shown, of_library)

        unit = np.tile(np.arange(len(responses.units)), len(responses.window_s))
        task = identification_curves.Task(noise, of_shown, fold, own, unit)
        drawn = {"n_draws": numbers["n_draws"], "seed": seed}
        train = [split.ids(k)[0] for k in range(split.n_folds)]
        trained = np.stack([preprocessing.mean_over_presentations(x, responses.image_id, ids).mean(0) for ids in train])
        curve = {
            "units": identification_curves.over_units(task, mean, numbers["units"], **drawn),
            "presentations": identification_curves.over_presentations(
                task,
                x,
                responses.image_id,
                split.test_ids,
                train,
                preprocessing.mean_over_presentations,
                numbers["presentations"],
                **drawn,
            ),
        }
        chance = found[population]["all"]["chance"]
        for of, successes in curve.items():
            curves += identification_curves.rows(population, of, successes, fold, chance)
        rows = receptive_fields.table(
            Encoder.load(f"artifacts/encoders/{population}/all_images.npz"),
            of_shown[fold, own],
            mean,
            trained[fold],
            x,
            responses.image_id,
            **drawn,
        )
        units += [{"population": population} | row for row in rows]
    with replacing("artifacts/identification.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    tables.write("artifacts/identification.csv", curves)
    tables.write("artifacts/encoding.csv", units)
    for population, sets in found.items():
        told = ", ".join(f"{name} {one['top1']:.2f} (chance {one['chance']:.4f})" for name, one in sets.items())
        stages.done(f"{population}: identified among {told}")


if __name__ == "__main__":
    main()
