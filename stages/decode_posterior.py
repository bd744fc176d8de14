"""Images that explain the responses: python -m stages.decode_posterior RUN POPULATION

Writes artifacts/decoded/RUN, the mean of the samples of every test image, and RUN_sample, the first of them.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
from rich.progress import track

import stages
from spikevaediff.encoding import posterior
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.images import rgb
from spikevaediff.recordings import preprocessing
from spikevaediff.records import Features, ImageSplit, LibraryResponses, Reconstructions, Responses, rows_of
from vdvae import weights as checkpoints
from vdvae.config import CONFIGS

# Options of the samples that do not come from params.yaml's decode.posterior.
GIVEN = ("encoder", "gain", "model", "n_layers", "weights_of", "seed", "batch_size", "device")


def main(run: str, population: str) -> None:
    """Write the mean and the first of the samples of every test image; finished folds of a killed run are kept."""
    params = stages.declared(f"decode_posterior@{run}")
    network = stages.section(params, "models", stages.section(params, "model"), "vdvae")
    options = stages.section(params, "decode", "posterior")
    stages.check_options(posterior.samples, options, "decode.posterior", passed=GIVEN)
    options |= {"seed": stages.section(params, "seed")}
    responses = Responses.load(f"artifacts/responses/{population}.npz")
    split = ImageSplit.load("artifacts/split.npz")
    library = Features.load("artifacts/library/vdvae.npz")
    simulated = LibraryResponses.load(f"artifacts/library/responses_{population}.npz")
    rows = rows_of(library.image_id, simulated.image_id, "the library's responses")
    path = stages.weights_path(network["weights"])
    model = checkpoints.load(path, CONFIGS[network["config"]])
    pieces = [library.values[i : i + 32] for i in range(0, len(library.values), 32)]
    nothing = np.empty((0, model.n_numbers(network["n_layers"])), np.float32)
    whitened = np.concatenate([nothing, *(model.whiten(piece, network["n_layers"]) for piece in pieces)])
    x = preprocessing.response_matrix(responses, transform="none")
    folder = Path("artifacts/kept") / run

    def drawn(fold: int) -> np.ndarray:
        ids = split.ids(fold)[1]
        encoder = Encoder.load(f"artifacts/encoders/{population}/fold_{fold:02d}.npz")
        response = preprocessing.mean_over_presentations(x, responses.image_id, ids)
        gain = posterior.gain(whitened, simulated.values[fold][rows], encoder.covariance)
        given = options | {"model": model, "n_layers": network["n_layers"], "weights_of": stages.weights_path}
        decisive = (response, ids, gain, encoder.weight, encoder.intercept, encoder.covariance, options, network, path)
        return posterior.kept(
            folder / f"{posterior.key(*decisive)}.npz",
            lambda: posterior.samples(response, ids, encoder=encoder, gain=gain, **given | stages.compute()),
        )

    samples = np.concatenate([drawn(fold) for fold in track(range(split.n_folds), f"{run}: folds")])
    samples = samples[np.argsort(np.concatenate([split.ids(fold)[1] for fold in range(split.n_folds)]))]
    for name, images in ((run, samples.mean(1)), (f"{run}_sample", samples[:, 0])):
        Reconstructions(split.test_ids, rgb(np.round(images * 255).astype(np.uint8))).save(f"artifacts/decoded/{name}")
    shutil.rmtree(folder, ignore_errors=True)  # DVC keeps the whole result from here on
    stages.done(f"{run}: {options['n_samples']} samples of {len(samples)} images")


if __name__ == "__main__":
    main(*sys.argv[1:])
