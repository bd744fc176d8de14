"""`spikevaediff encode` and `preferred`: what saved encoding models expect."""

import argparse
from pathlib import Path

from spikevaediff.commands.arguments import Commands, ids
from spikevaediff.files.replaceable import check_file


def add(commands: Commands) -> None:
    """Add the arguments of `encode` and `preferred`."""
    encoding = commands.add_parser(
        "encode",
        help="predict responses to pictures by saved encoding models",
        description="Mean responses of the units of an encoding model to pictures, as a table: one row per picture, "
        "one column per unit (session_id.unit_id, and .window where a unit has several).",
    )
    encoding.add_argument(
        "encoder",
        metavar="ENCODER",
        help="npz such as artifacts/encoders/visual/all_images.npz; with --images its folder",
    )
    encoding.add_argument("pictures", metavar="PICTURE", nargs="*", help="files of any format that Pillow reads")
    encoding.add_argument(
        "--images",
        metavar="IDS",
        type=ids,
        help="instead of pictures: images of the run, each by the model of the fold that has not seen it: 3,17",
    )
    encoding.add_argument("--out", metavar="FILE", required=True, help="table to write, CSV")
    encoding.set_defaults(run=run_encode)
    preferring = commands.add_parser(
        "preferred",
        help="find the photographs to which each unit would respond most strongly",
        description="Writes a table of the images with the largest predicted response of each unit of an encoding "
        "model, and next to it a picture for the units that are predicted best.",
    )
    preferring.add_argument("encoder", metavar="ENCODER", help="npz such as artifacts/encoders/visual/all_images.npz")
    preferring.add_argument(
        "--images",
        metavar="FILE",
        default="artifacts/library/images.npz",
        help="to choose from (default: %(default)s, photographs that were never shown)",
    )
    preferring.add_argument("--each", metavar="N", type=int, default=6, help="images per unit (default: %(default)s)")
    preferring.add_argument("--out", metavar="FILE", required=True, help="table to write, CSV")
    preferring.set_defaults(run=run_preferred)


def run_encode(chosen: argparse.Namespace) -> int:
    """Write the table of expected responses."""
    from spikevaediff.files import project
    from spikevaediff.tools import encode  # seconds of importing torch, which listing assets need not wait for

    check_file(chosen.out, "responses.csv", suffix=".csv", first="image_id," if chosen.images else "picture,")
    if bool(chosen.pictures) == bool(chosen.images):
        raise ValueError("name the pictures to encode, or images of the run: --images 3,17")
    if chosen.images:
        print(encode.encode_unseen(chosen.encoder, chosen.images, chosen.out))
    else:
        print(encode.encode(chosen.encoder, chosen.pictures, chosen.out, project.here(Path.cwd())))
    return 0


def run_preferred(chosen: argparse.Namespace) -> int:
    """Write the table of preferred images, and its picture."""
    from spikevaediff.tools import preferred

    check_file(chosen.out, "preferred.csv", first="session_id,unit_id,area,r2,rank,")
    print(preferred.preferred(chosen.encoder, chosen.images, chosen.out, chosen.each, Path.cwd()))
    return 0
