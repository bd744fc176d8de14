"""How well a feature space could be predicted at most: python -m stages.noise_ceiling RUN SPACE POPULATION

Writes artifacts/predicted/RUN_half_a.npz and RUN_half_b.npz, predictions from the halves of the first draw, as decoders
take them, for the noise ceiling of image scores; and artifacts/noise_ceiling/RUN.json, to compare a score
with what noise allows:

    {"space", "population", "source", "n_images", "n_draws", "presentations": [fewest, most of an image],
     "absent": null, or why there is no ceiling (a data set with one presentation an image has none),
     "mean": {"half_correlation", "reliability", "ceiling", "correlation", "share_of_ceiling"} over all groups,
     "groups": [the same with "group", one a VDVAE layer or token]}

What the numbers are: spikevaediff.evaluation.noise_ceiling.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.progress import track

import stages
from spikevaediff.evaluation import noise_ceiling
from spikevaediff.files.atomic import replacing
from spikevaediff.recordings import preprocessing, reliability
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, Stimuli, rows_of
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.renormalise import renormalise
from stages import regress


def main(run: str, space: str, population: str) -> None:
    """Predict every test image from halves of its presentations and write what the predictions share."""
    params = stages.declared(f"noise_ceiling@{run}")
    ceiling = stages.section(params, "noise_ceiling")
    stages.check_options(predicted_from_halves, ceiling, "noise_ceiling")
    stages.check_positive("noise_ceiling", n_draws=ceiling["n_draws"])
    how = regress.options_of(params, space)["renormalise"]
    method, transform, options = regress.method_of(params, space)
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    split = ImageSplit.load("artifacts/split.npz")
    features = Features.load(f"artifacts/features/{space}.npz")
    regress.check_same_images(responses, split, features, population)
    options |= regress.bands(method, responses, options)

    n_shown = np.unique(responses.image_id[responses.image_id != BLANK], return_counts=True)[1]
    result: dict[str, Any] = {
        "space": space,
        "population": population,
        "source": Stimuli.load("artifacts/images.npz").source,
        "n_images": len(split.test_ids),
        "n_draws": ceiling["n_draws"],
        "presentations": [int(n_shown.min()), int(n_shown.max())],
        "absent": None,
        "mean": None,
        "groups": [],
    }
    if n_shown.min() < 2:
        result["absent"] = "images were shown once, or only the mean over presentations is known: no two halves"
        says = f"absent: {result['absent']}"
        # Of no image: nothing must be decoded and shown as if it came from a half.
        none = np.empty((0, features.values.shape[1]), np.float32)
        no_image = Features(space, split.test_ids[:0], none, features.group_name, features.group_size)
        decodable = [no_image, no_image]
    else:
        x = preprocessing.response_matrix(responses, transform=transform)
        library = regress.library_of(params, space, population, features, x.shape[1])
        fitted_to = regress.fitter(x, responses, split, features, library, method, options)
        pairs, of_all, true, decodable = predicted_from_halves(
            x, responses.image_id, split, features, fitted_to, method, run, how, **ceiling
        )
        groups = noise_ceiling.by_group(pairs, of_all, true)
        means = [float(np.mean([g[name] for g in groups])) for name in ("half_correlation", "correlation")]
        mean = noise_ceiling.summary("mean", *means)
        result |= {"mean": rounded(mean), "groups": [rounded(group) for group in groups]}
        says = f"halves agree at {mean['half_correlation']:.3f}, so at most {mean['ceiling']:.3f}; reached "
        says += f"{mean['correlation']:.3f} (mean over {len(groups)} groups)"
    for name, half in zip("ab", decodable, strict=True):
        half.save(f"artifacts/predicted/{run}_half_{name}.npz")
    with replacing(f"artifacts/noise_ceiling/{run}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    stages.done(f"{run}: {says}")


def predicted_from_halves(
    x: np.ndarray,
    image_id: np.ndarray,
    split: ImageSplit,
    features: Features,
    fitted_to: Callable[[int | None], tuple[Fit, preprocessing.Scale]],
    method: Any,
    run: str,
    how: str,
    *,
    n_draws: int,
    seed: int,
) -> tuple[list[tuple[Features, Features]], Features, Features, list[Features]]:
    """Out-of-fold predictions, less the training mean of their fold: from halves (a pair a draw), from all, and the
    true features; then those from the halves of the first draw, as decoders take them.
    """
    drawn = [reliability.halves(image_id, seed=seed, draw=draw) for draw in range(n_draws)]
    shape = (len(split.test_ids), features.values.shape[1])
    of_halves = np.empty((n_draws, 2, *shape), np.float32)
    of_all, true = np.empty(shape, np.float32), np.empty(shape, np.float32)
    decodable = np.empty((2, *shape), np.float32)
    for fold in track(range(split.n_folds), f"{run}: folds"):
        train_ids, test_ids = split.ids(fold)
        rows = rows_of(test_ids, split.test_ids, "the split")
        fit, scale = fitted_to(fold)
        mean = features.rows(train_ids).mean(0, keepdims=True, dtype=np.float64)
        means = [preprocessing.mean_over_presentations(x, image_id, test_ids)]
        for half in drawn:
            means += reliability.half_means(x, image_id, half, test_ids)
        # One prediction of all means: one shape to compile for.
        found = method.predict(fit, preprocessing.standardise(np.concatenate(means), scale))
        found = found.reshape(1 + 2 * n_draws, len(test_ids), -1)
        for which in range(2):
            decodable[which, rows] = renormalise(found[1 + which], fit, how=how)[0]
        found = found - mean
        of_all[rows], true[rows] = found[0], features.rows(test_ids) - mean
        of_halves[:, :, rows] = found[1:].reshape(n_draws, 2, len(test_ids), -1)

    def record(values: np.ndarray) -> Features:
        return Features(features.space, split.test_ids, values, features.group_name, features.group_size)

    pairs = [(record(a), record(b)) for a, b in of_halves]
    return pairs, record(of_all), record(true), [record(half) for half in decodable]


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Digits on which machines agree."""
    return {name: round(v, 5) if isinstance(v, float) else v for name, v in values.items()}


if __name__ == "__main__":
    main(*sys.argv[1:])
