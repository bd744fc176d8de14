"""`spikevaediff predict`: features, and images, of new responses."""

import argparse
import sys
from pathlib import Path

from spikevaediff.commands.arguments import Commands
from spikevaediff.files.replaceable import check_file, check_ours, mark

_DECODE = "predict --decode"


def add(commands: Commands) -> None:
    """Add the arguments of `predict`."""
    predicting = commands.add_parser("predict", help="apply a saved fit to new responses of the same units")
    predicting.add_argument(
        "fit",
        metavar="FIT",
        help="regression of a finished run, fitted to all of its images: artifacts/fits/vdvae_all_images.npz",
    )
    predicting.add_argument(
        "responses",
        metavar="RESPONSES",
        help="npz as in artifacts/responses/; of your own: make_responses(values, image_id, like=...).save(...) in "
        "Python, docs/api.md",
    )
    predicting.add_argument(
        "out", metavar="OUT", help="npz of features to write, renormalised as in artifacts/predicted/: latents.npz"
    )
    predicting.add_argument(
        "--decode",
        metavar="DIR",
        type=Path,
        help="also turn predicted latents into images with the VDVAE of params.yaml: one PNG per image_id, in a new "
        "folder, or one that this option wrote, which is replaced",
    )
    predicting.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Write the predicted features, and their images where they are wanted."""
    from spikevaediff.regression import (  # a second of importing JAX, which listing assets need not wait for
        jax_cache,
        new_responses,
    )
    from spikevaediff.tools import predict

    check_file(chosen.out, "latents.npz", suffix=".npz")
    if Path(chosen.out).resolve() in (Path(chosen.fit).resolve(), Path(chosen.responses).resolve()):
        raise ValueError(f"{chosen.out} is read as well, and would be replaced. Name a new file, such as latents.npz")
    if chosen.decode is not None:
        check_ours(chosen.decode, _DECODE, r"\d+\.png")
        from spikevaediff.api.apply import check_latents
        from spikevaediff.parameters.file import read

        read(Path.cwd())  # which name the decoder
        check_latents(chosen.fit)
    if said := predict.problem(chosen.fit, chosen.responses):
        print(f"warning: {said}", file=sys.stderr)
    jax_cache.keep()
    print(new_responses.predict_file(chosen.fit, chosen.responses, chosen.out))
    if chosen.decode is not None:
        from spikevaediff.api.apply import decode_latents
        from spikevaediff.api.run import Run
        from spikevaediff.records import Features

        images = decode_latents(Features.load(chosen.out), Run(Path.cwd()))
        images.save(chosen.decode)
        mark(chosen.decode, _DECODE)
        print(f"{chosen.decode}: images: {len(images.image_id)}")
    return 0
