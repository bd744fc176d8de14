"""Turn features into images: python -m stages.decode RUN DECODER FEATURES

DECODER is a section of params.yaml's `decode`, whose `module` makes the images; FEATURES a file of artifacts/.
"""

import sys
from dataclasses import replace

import numpy as np

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.records import Features, ImageSplit


def main(run: str, decoder: str, path: str) -> None:
    """Write artifacts/decoded/RUN with one PNG for every test image, or absent.txt where nothing was predicted."""
    decode = stages.decoder(stages.declared(f"decode@{run}"), decoder, other_noise=run == "half_b")
    split = ImageSplit.load("artifacts/split.npz")
    features = Features.load(path)
    if not len(features.image_id):  # halves of what was shown once
        with replacing(f"artifacts/decoded/{run}", folder=True) as temporary:
            (temporary / "absent.txt").write_text(f"{path} predicts no image.\n", encoding="utf-8")
        stages.done(f"{run}: {path} predicts no image, so that none is decoded")
        return
    wanted = replace(features, image_id=split.test_ids, values=features.rows(split.test_ids))
    images = decode(wanted)
    images.save(f"artifacts/decoded/{run}")
    stages.done(f"{run}: images {images.pixels.shape}, brightness {np.mean(images.pixels):.0f} of 255 on average")


if __name__ == "__main__":
    main(*sys.argv[1:])
