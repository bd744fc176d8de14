"""One feature space of the first images of the library: python -m stages.library_features SPACE

Only as many as `regress.SPACE.library` asks for. Texts are automatic, since no one has described these photographs.
"""

import inspect
import sys

import numpy as np

import stages
from spikevaediff.captioning import class_captions
from spikevaediff.captioning.captions import Captions
from spikevaediff.features import efficientnet
from spikevaediff.files import assets
from spikevaediff.images import rgb
from spikevaediff.records import Features, Stimuli


def main(space: str) -> None:
    """Write artifacts/library/SPACE.npz."""
    params = stages.declared(f"library_features@{space}")
    n = stages.section(params, "regress", space, "library")
    model = stages.section(params, "model")
    options = {"module": space} | stages.section(params, "models", model, space)
    extract = stages.module("features", options.pop("module")).extract
    images = Stimuli.load("artifacts/library/images.npz")
    if not 0 <= n <= len(images.image_id):
        raise ValueError(
            f"params.yaml: regress.{space}.library is {n}, expected 0 to {len(images.image_id)}, the number of images "
            f"in the library ({images.source}; library.n_images)"
        )
    ids = images.image_id[:n]
    if n:
        options["weights"] = stages.weights_path(options["weights"])
        if "captions" in inspect.signature(extract).parameters:
            given: Captions | Stimuli = Captions(ids, tuple((sentence,) for sentence in _sentences(images.rows(ids))))
        else:
            given = Stimuli(images.source, ids, images.rows(ids))
        features = extract(given, **options, **stages.compute())
    else:
        features = Features(space, ids, np.empty((0, 0), np.float32), np.empty(0, str), np.empty(0, np.int64))
    features.save(f"artifacts/library/{space}.npz")
    stages.done(f"{space} of {n} library images: {features.values.shape}")


def _sentences(pixels: np.ndarray) -> list[str]:
    """Automatic captions; from the vision contexts of the same images, where these are of the same network."""
    vision = Features.load("artifacts/library/vision.npz")
    n = len(vision.image_id) if vision.group_size.tolist() == [efficientnet.WIDTH] * efficientnet.N_TOKENS else 0
    n = min(n, len(pixels))
    grids = [vision.tokens(vision.image_id[:n])] if n else []
    if n < len(pixels):
        weights = assets.fetch("efficientnet_lite0")
        grids.append(efficientnet.contexts(rgb(pixels[n:]), weights=weights, **stages.compute()))
    return class_captions.captions_of(np.concatenate(grids))


if __name__ == "__main__":
    main(sys.argv[1])
