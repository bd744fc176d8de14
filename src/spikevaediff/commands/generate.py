"""`spikevaediff generate`: pictures of the diffusion model, without spikes."""

import argparse
from pathlib import Path

from spikevaediff.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the arguments of `generate`."""
    generating = commands.add_parser(
        "generate",
        help="make pictures with the diffusion model, from an image, a caption or nothing",
        description="--image: variations of it; --text: text to image; both: guided by both; --start: image to image; "
        "nothing: the prior, a control for what the generator remembers. Options left out are those of params.yaml.",
    )
    generating.add_argument("out", metavar="OUT", type=Path, help="folder to write: samples, sheet.png, spread.png")
    generating.add_argument("--start", metavar="IMAGE", type=Path, help="picture to start from")
    generating.add_argument("--image", metavar="IMAGE", type=Path, help="picture whose vision context guides")
    generating.add_argument("--text", metavar="CAPTION", help="sentence that guides")
    generating.add_argument("--mean", action="store_true", help="guide by mean contexts: what mean spikes predict")
    generating.add_argument("--strength", type=float, help="how much of the start is noised away, 0 to 1")
    generating.add_argument(
        "--start-share", type=float, help="how much of the start's coarse luminance pictures keep, 0 to 1"
    )
    generating.add_argument("--mixing", type=float, help="weight of the image beside the text, 0 to 1")
    generating.add_argument("--guidance", type=float, help="1 follows the contexts, more exaggerates them")
    generating.add_argument("--steps", type=int, help="of denoising")
    generating.add_argument("--eta", type=float, help="noise added in the steps, 0 to 1")
    generating.add_argument("--samples", type=int, help="pictures that differ in their noise")
    generating.add_argument("--seed", type=int, help="of the noise")
    generating.add_argument(
        "--nearest",
        action="store_true",
        help="find the training crop most like each; squares of wallpapers, which the UNet also saw, are not searched",
    )
    generating.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Draw the pictures, and print what was drawn."""
    from dataclasses import fields

    from spikevaediff.files import project
    from spikevaediff.tools import generate

    wish = generate.Wish(**{field.name: getattr(chosen, field.name) for field in fields(generate.Wish)})
    print(generate.generate(wish, project.here(Path.cwd()), chosen.out))
    return 0
