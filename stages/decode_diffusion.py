"""The second stage of decoding: python -m stages.decode_diffusion RUN ENCODERS RESPONSES [START VISION TEXT]"""

import shutil
import sys
from dataclasses import replace

import stages
from spikevaediff.decoders.second_stage import given, unfinished
from spikevaediff.records import Captions, ImageSplit


def main(run: str, encoders: str, responses: str, *files: str) -> None:
    """Write artifacts/decoded/RUN, one PNG for every test image, guided by what ENCODERS say of RESPONSES."""
    params = stages.declared(f"decode_diffusion@{run}")
    name, compute = stages.section(params, "model"), stages.compute()
    model = stages.section(params, "models", name)
    decode = stages.module("decoders", model["diffusion"]["module"]).decode
    options = model["diffusion"] | stages.asked(decode, stages.section(params, "decode", "diffusion"))
    section = f"models.{name}.diffusion with decode.diffusion"
    stages.check_options(decode, options, section, stage=("module",), passed=given.GIVEN)
    options, split = stages.with_weights(options), ImageSplit.load("artifacts/split.npz")
    guides = given.guides(run, split, "artifacts/features", *files)
    if not len(Captions.load("artifacts/captions.csv").described):
        guides = replace(guides, text=None)
        options |= stages.asked(decode, {"mixing": 1.0})
        stages.done(f"{run}: no image has a caption, so the text context is left out (mixing 1)")
    options["seed"] = stages.section(params, "seed")
    if stages.asked(decode, {"unconditional": None}):
        options["unconditional"] = given.nothing_of("artifacts/unconditional")
    kept = unfinished.folder(run, guides, options, decode)
    if stages.asked(decode, {"explained": None}):
        options["explained"] = given.explained(encoders, responses, split, options, stages.weights_path)
    images = decode(guides, **stages.asked(decode, options | {"kept": kept} | compute))
    images.save(f"artifacts/decoded/{run}")
    shutil.rmtree(kept, ignore_errors=True)  # DVC keeps the whole result from here on
    stages.done(f"{run}: images {images.pixels.shape}")


if __name__ == "__main__":
    main(*sys.argv[1:])
