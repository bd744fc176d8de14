"""The second stage of decoding: python -m stages.decode_diffusion RUN POPULATION [START VISION TEXT]"""

import shutil
import sys
from dataclasses import replace

import stages
from spikevaediff.decoders.second_stage import given, unfinished
from spikevaediff.decoders.versatile_diffusion import samples
from spikevaediff.records import Captions, ImageSplit


def main(run: str, population: str, *files: str) -> None:
    """Write artifacts/decoded/RUN, of every test image the sample that explains POPULATION's responses best."""
    params = stages.declared(f"decode_diffusion@{run}")
    name, compute = stages.section(params, "model"), stages.compute()
    model = stages.section(params, "models", name)
    options = model["diffusion"] | stages.section(params, "decode", "diffusion")
    section = f"models.{name}.diffusion with decode.diffusion"
    stages.check_options(samples, options, section, stage=("module",), passed=given.GIVEN)
    options |= {weights: stages.weights_path(options[weights]) for weights in ("unet_weights", "autoencoder_weights")}
    del options["module"]
    split = ImageSplit.load("artifacts/split.npz")
    guides = given.guides(run, split, "artifacts/features", *files)
    explained = given.explained(population, "artifacts", split, options, stages.weights_path)
    if not len(Captions.load("artifacts/captions.csv").described):
        guides, options["mixing"] = replace(guides, text=None), 1.0
        stages.done(f"{run}: no image has a caption, so the text context is left out (mixing 1)")
    options["unconditional"] = given.unconditional(model, stages.weights_path, compute["device"])
    options["seed"] = stages.section(params, "seed")
    kept = unfinished.folder(run, guides, options)
    pixels = samples(guides, kept=kept, explained=explained, **options, **compute)
    given.best(guides, pixels, explained).save(f"artifacts/decoded/{run}")
    shutil.rmtree(kept, ignore_errors=True)  # DVC keeps the whole result from here on
    stages.done(f"{run}: {given.report_line(pixels)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
