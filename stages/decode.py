"""Turn features into images: python -m stages.decode RUN FEATURES, FEATURES being a file of artifacts/"""

import sys
from dataclasses import replace

import numpy as np

import stages
from spikevaediff.files.atomic import replacing
from spikevaediff.records import Features, ImageSplit

DECODER = "vdvae"


def main(run: str, path: str) -> None:
    """Write artifacts/decoded/RUN with one PNG for every test image, or absent.txt where nothing was predicted."""
    params = stages.declared(f"decode@{run}")
    model = stages.section(params, "model")
    options = stages.section(params, "models", model, DECODER) | stages.section(params, "decode", DECODER)
    decode = stages.module("decoders", DECODER).decode
    section = f"models.{model}.{DECODER} with decode.{DECODER}"
    stages.check_options(decode, options, section, passed=("seed", "batch_size", "device"))
    options |= {"seed": stages.section(params, "seed")} | stages.compute()
    options["weights"] = stages.weights_path(options["weights"])
    split = ImageSplit.load("artifacts/split.npz")
    features = Features.load(path)
    if not len(features.image_id):  # halves of what was shown once
        with replacing(f"artifacts/decoded/{run}", folder=True) as temporary:
            (temporary / "absent.txt").write_text(f"{path} predicts no image.\n", encoding="utf-8")
        stages.done(f"{run}: {path} predicts no image, so that none is decoded")
        return
    wanted = replace(features, image_id=split.test_ids, values=features.rows(split.test_ids))
    images = decode(wanted, **options)
    images.save(f"artifacts/decoded/{run}")
    stages.done(f"{run}: images {images.pixels.shape}, brightness {np.mean(images.pixels):.0f} of 255 on average")


if __name__ == "__main__":
    main(*sys.argv[1:])
