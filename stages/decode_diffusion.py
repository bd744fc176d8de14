"""The second stage of decoding: python -m stages.decode_diffusion RUN [START VISION TEXT]

START is a folder of artifacts/decoded, VISION and TEXT are files of features. Without them nothing of an image is
known: `prior_no_spikes` draws from the generator with empty contexts, `prior_mean_spikes` with what the regression says
of mean spikes, the mean of the training images' contexts. What these show, no brain has said.

Where no image has a caption, the text context is left out: all of the guidance is by vision, whatever `mixing` says.
"""

import hashlib
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import stages
from spikevaediff.captioning.captions import Captions
from spikevaediff.decoders.versatile_diffusion import Guides, samples, spread
from spikevaediff.files import assets
from spikevaediff.records import Features, ImageSplit, Reconstructions

PRIORS = ("prior_no_spikes", "prior_mean_spikes")


def main(run: str, start: str = "", vision: str = "", text: str = "") -> None:
    """Write artifacts/decoded/RUN, the first sample of every test image."""
    params = stages.declared(f"{'prior' if run in PRIORS else 'decode_diffusion'}@{run}")
    model = stages.section(params, "model")
    options = stages.section(params, "models", model, "diffusion") | stages.section(params, "decode", "diffusion")
    given = ("seed", "batch_size", "device", "kept", "unconditional")
    stages.check_options(
        samples, options, f"models.{model}.diffusion with decode.diffusion", stage=("module",), passed=given
    )
    del options["module"]
    split = ImageSplit.load("artifacts/split.npz")
    if run == "prior_no_spikes":
        guides = Guides(split.test_ids, None, None, None)
    elif run == "prior_mean_spikes":
        guides = Guides(split.test_ids, None, mean_contexts("vision", split), mean_contexts("text", split))
    else:
        guides = Guides.predicted(
            split.test_ids,
            start=Reconstructions.load(start),
            vision=Features.load(vision),
            text=Features.load(text),
        )
    if not len(Captions.load("artifacts/captions.csv").described):
        guides, options["mixing"] = replace(guides, text=None), 1.0
        stages.done(f"{run}: no image has a caption, so the text context is left out (mixing 1)")
    options |= {"seed": stages.section(params, "seed"), "unconditional": unconditional(params, model)}
    for weights in ("unet_weights", "autoencoder_weights"):
        options[weights] = stages.weights_path(options[weights])
    kept = unfinished(run, guides, options)
    pixels = samples(guides, kept=kept, **options | stages.compute())
    Reconstructions(guides.image_id, pixels[:, 0]).save(f"artifacts/decoded/{run}")
    shutil.rmtree(kept, ignore_errors=True)  # DVC keeps the whole result from here on
    between = f", {np.mean(spread(pixels)):.1f} grey levels between samples" if pixels.shape[1] > 1 else ""
    stages.done(f"{run}: images {pixels.shape} (image, sample, row, column, colour){between}")


def unfinished(run: str, guides: Guides, options: dict[str, Any]) -> Path:
    """Where finished images of this run are kept until all are there.

    In the user's cache, since the folder of a queued experiment goes with it, and under a name of what decides them, so
    that two experiments do not meet: the same wherever the checkout is. Beside the results where the cache is not ours.
    """
    named = {name: value.name if isinstance(value, Path) else str(value) for name, value in options.items()}
    digest = hashlib.sha256(repr(sorted(named.items())).encode())
    for array in (guides.image_id, guides.start, guides.vision, guides.text):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    folder = assets.cache_dir() / "diffusion" / f"{run}-{digest.hexdigest()[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return Path("artifacts/kept") / run
    return folder if os.access(folder, os.W_OK) else Path("artifacts/kept") / run


def mean_contexts(space: str, split: ImageSplit) -> np.ndarray:
    """For every test image the mean context of the images that its fold trains on, float32 (n, token, width)."""
    features = Features.load(f"artifacts/features/{space}.npz")
    found = np.empty((len(split.test_ids), len(features.group_size), int(features.group_size[0])), np.float32)
    for fold in range(split.n_folds):
        train_ids, test_ids = split.ids(fold)
        mean = features.rows(train_ids).mean(0).reshape(found.shape[1:])
        found[np.isin(split.test_ids, test_ids)] = mean
    return found


def unconditional(params: dict[str, Any], model: str) -> Guides:
    """The contexts of no image and of the empty caption."""
    contexts = {}
    for space in ("vision", "text"):
        options = dict(stages.section(params, "models", model, space))
        module = stages.module("features", options.pop("module", space))
        options["weights"] = stages.weights_path(options["weights"])
        contexts[space] = module.unconditional(device=stages.compute()["device"], **options)[None]
    return Guides(np.array([0]), None, **contexts)


if __name__ == "__main__":
    main(*sys.argv[1:])
