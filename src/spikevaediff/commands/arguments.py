"""Arguments that several commands have, for argparse."""

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # to which `add` of a command adds


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add -S, with which `dvc exp run` sets parameters."""
    parser.add_argument(
        "-S",
        dest="settings",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a parameter, as in dvc exp run: -S model=published",
    )


def ids(text: str) -> list[int]:
    """Whole numbers with commas between them, for argparse."""
    try:
        if "_" in text:  # which int reads past
            raise ValueError
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of image ids, such as 3,17") from None
