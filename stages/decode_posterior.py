"""Images that explain the responses: python -m stages.decode_posterior RUN POPULATION"""

import shutil
import sys
from pathlib import Path

import stages
from spikevaediff.encoding import of_folds, posterior, posterior_folds
from spikevaediff.records import Features, ImageSplit, LibraryResponses, Responses, Samples, Stimuli


def main(run: str, population: str) -> None:
    """Write artifacts/samples/RUN.npz, samples of the posterior of every test image."""
    params = stages.declared(f"decode_posterior@{run}")
    network = stages.section(params, "models", stages.section(params, "model"), "vdvae")
    options = stages.section(params, "decode", "posterior")
    stages.check_options(posterior.samples, options, "decode.posterior", stage=("prior",), passed=posterior_folds.GIVEN)
    split, of_shown = ImageSplit.load("artifacts/split.npz"), Features.load("artifacts/features/vdvae.npz")
    around = (Stimuli.load("artifacts/library/images.npz"), of_shown) if options.pop("prior") == "photographs" else None
    simulated = LibraryResponses.load(f"artifacts/library/responses_{population}.npz")
    samples = posterior_folds.samples(
        of_folds.load(f"artifacts/encoders/{population}", split.n_folds),
        Responses.load(f"artifacts/responses/{population}.npz"),
        split,
        (simulated, Features.load("artifacts/library/vdvae.npz")),
        **network | {"weights": stages.weights_path(network["weights"]), "weights_of": stages.weights_path},
        options=options | {"seed": stages.section(params, "seed")},
        compute=stages.compute(),
        kept=Path("artifacts/kept", run),
        code=Path("artifacts/code/decode_posterior"),
        around=around,
        shown=Stimuli.load("artifacts/images.npz"),
    )
    Samples.rounded(split.test_ids, samples).save(f"artifacts/samples/{run}.npz")
    shutil.rmtree(Path("artifacts/kept", run), ignore_errors=True)  # DVC keeps the whole result from here on
    stages.done(f"{run}: {options['n_samples']} samples of {len(samples)} images")


if __name__ == "__main__":
    main(*sys.argv[1:])
