"""Which image was shown? Identification of unseen images from encoding models: python -m stages.identify"""

import json

import stages
from spikevaediff import preprocessing
from spikevaediff.atomic import replacing
from spikevaediff.encoding import identification, of_folds
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.records import ImageSplit, Responses, Stimuli, rows_of

POPULATIONS = ("visual", "control")


def main() -> None:
    """Write artifacts/identification.json: both populations, three sets of candidates."""
    split = ImageSplit.load("artifacts/split.npz")
    stimuli, library = Stimuli.load("artifacts/images.npz"), Stimuli.load("artifacts/library/images.npz")
    found = {}
    for population in POPULATIONS:
        responses = Responses.load(f"artifacts/responses/{population}.npz")
        x = preprocessing.response_matrix(responses, transform="none")
        mean = preprocessing.mean_over_presentations(x, responses.image_id, split.test_ids)
        models = [Encoder.load(f"artifacts/encoders/{population}/fold_{k:02d}.npz") for k in range(split.n_folds)]
        of_shown = of_folds.predict(models, stimuli.rows(split.image_id), stages.weights_path)
        of_library = of_folds.predict(models, library.pixels, stages.weights_path)
        fold, own = split.fold_of(split.test_ids), rows_of(split.test_ids, split.image_id, "the split")
        found[population] = identification.of_sets(
            [model.covariance for model in models], mean, fold, own, split.fold, of_shown, of_library
        )
    with replacing("artifacts/identification.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    for population, sets in found.items():
        told = ", ".join(f"{name} {one['top1']:.2f} (chance {one['chance']:.4f})" for name, one in sets.items())
        stages.done(f"{population}: identified among {told}")


if __name__ == "__main__":
    main()
