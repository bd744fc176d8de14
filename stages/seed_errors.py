"""Make known mistakes on purpose and score them: python -m stages.seed_errors

Writes artifacts/seed_errors.csv, a row a mistake. What they are: spikevaediff.analysis.seed_errors.
"""

from functools import partial
from typing import Any

import numpy as np
from rich.progress import track

import stages
from spikevaediff import images
from spikevaediff.analysis import seed_errors
from spikevaediff.decoders import vdvae
from spikevaediff.evaluation import statistics
from spikevaediff.evaluation.metrics import pixcorr, two_way
from spikevaediff.files import tables
from spikevaediff.recordings import preprocessing
from spikevaediff.records import Features, ImageSplit, Responses, Stimuli
from stages import regress


def main() -> None:
    """Predict, decode and score once for every mistake."""
    params = stages.declared("seed_errors")
    options, seed = stages.section(params, "seed_errors"), stages.section(params, "seed")
    stages.check_draws("seed_errors", n_draws=options["n_draws"], seed=options["seed"])
    model = stages.section(params, "models", stages.section(params, "model"), "vdvae")
    how = regress.options_of(params, "vdvae")["renormalise"]
    method, transform, fitting = regress.method_of(params, "vdvae")
    shown, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    responses, features = (
        Responses.load("artifacts/responses/visual.npz"),
        Features.load("artifacts/features/vdvae.npz"),
    )
    fitting |= regress.bands(method, responses, fitting)
    x = preprocessing.response_matrix(responses, transform=transform)

    def fit(z: np.ndarray, y: np.ndarray, **changed: Any) -> Any:
        given = {"y_row": np.arange(len(z)), "group_size": features.group_size} | fitting | changed
        return method.fit(z, y, **given)

    right = partial(seed_errors.image_rows, x, responses)
    wrong = partial(seed_errors.misaligned_rows, x, responses, every_id=split.image_id)
    nsd = partial(fit, alphas=[seed_errors.NSD_ALPHA])
    noise = seed_errors.noise_targets(features, seed=seed)
    runs: dict[str, tuple[Any, ...]] = {
        "none": (seed_errors.out_of_fold, right, features, fit, how),
        "noise_targets": (seed_errors.out_of_fold, right, noise, fit, how),
        "training_rows_predicted": (seed_errors.fitted_to_themselves, right, features, fit, how),
        "misaligned_rows": (seed_errors.out_of_fold, wrong, features, fit, how),
        "nsd_alphas": (seed_errors.out_of_fold, right, features, nsd, "none"),
        "test_renormalisation": (seed_errors.out_of_fold, right, features, fit, "test_legacy"),
        "nsd_alphas_and_test_renormalisation": (seed_errors.out_of_fold, right, features, nsd, "test_legacy"),
    }
    compute = stages.compute()
    decoding = {
        "config": model["config"],
        "weights": stages.weights_path(model["weights"]),
        "n_layers": model["n_layers"],
        "temperature": stages.section(params, "decode", "vdvae", "temperature"),
        "seed": seed,
        "batch_size": compute["batch_size"],
        "device": compute["device"],
    }
    fold = split.fold_of(split.test_ids)
    drawn = statistics.pairings(fold, n_draws=options["n_draws"], seed=options["seed"])
    truth = images.resize(images.rgb(shown.rows(split.test_ids)), options["size_px"])
    rows = []
    for name in track(seed_errors.possible(split), "mistakes"):
        run, taken, targets, fitted, renormalised = runs[name]
        predicted = run(taken, targets, split, fit=fitted, predict=method.predict, how=renormalised)
        record = Features("vdvae", split.test_ids, predicted, features.group_name, features.group_size)
        pixels = images.resize(vdvae.decode(record, **decoding).pixels, options["size_px"])
        matrix = pixcorr.pairwise(truth, pixels)
        rows.append(
            {
                "mistake": name,
                "what": seed_errors.ERRORS[name],
                "pixcorr": float(matrix.diagonal().mean()),
                "pixcorr_chance": statistics.chance(matrix, fold),
                "p": statistics.p_value(matrix, fold, drawn, larger_is_better=True),
                "two_way": float(two_way.identification(matrix).mean()),
                "contrast": float(pixels.std((1, 2, 3)).mean() / truth.std((1, 2, 3)).mean()),
            }
        )
    tables.write("artifacts/seed_errors.csv", rows)
    stages.done(f"{len(rows)} runs with and without mistakes")


if __name__ == "__main__":
    main()
