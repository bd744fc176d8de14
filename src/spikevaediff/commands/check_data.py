"""`spikevaediff check-data`: what is wrong with a folder of your own recordings."""

import argparse
import math
import re
from pathlib import Path

from spikevaediff.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the arguments of `check-data`."""
    checking = commands.add_parser(
        "check-data",
        help="list everything that is wrong with a folder of your own recordings",
        description="Reads a folder of the plain format (docs/recordings.md) and lists every problem.",
    )
    checking.add_argument("folder", metavar="FOLDER", help="such as vendor/data/mine")
    checking.add_argument(
        "--write-params",
        action="store_true",
        help="when nothing is wrong: write its section, areas and window into params.yaml, and say what comes next",
    )
    checking.add_argument(
        "--window",
        metavar="START,STOP",
        type=_window,
        help="window in which tables were counted, in seconds after onset, such as 0.05,0.15 or -0.05,0.15",
    )
    checking._negative_number_matcher = re.compile(r"-\.?\d")  # a start before onset is a value, and no option
    checking.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print every problem, 1 where there is one; without any, what the folder holds."""
    from spikevaediff.datasets.plain_format import plain_folder

    folder = Path(chosen.folder)
    found = plain_folder.examine(folder, window_s=chosen.window)
    n = len(found.problems)
    for number, problem in enumerate(found.problems, start=1):
        print(f"{number}. {problem}")
    for note in found.notes:
        print(f"note: {note}")
    if n:
        print(f"\n{folder} has {n} problem{'s' * (n > 1)}. The format, by example:\n\n{plain_folder.FORMAT}")
        return 1
    print(plain_folder.summary(folder, found, chosen.window))
    if chosen.write_params:
        from spikevaediff.tools import own_data

        print(own_data.write_params(Path.cwd(), folder, found, window_s=chosen.window))
    return 0


def _window(text: str) -> tuple[float, float]:
    """Start and stop, for argparse."""
    try:
        start, stop = (float(one) for one in text.split(","))
    except ValueError:
        start = stop = math.nan
    if not start < stop:
        raise argparse.ArgumentTypeError(f"{text!r} is not a start and later stop in seconds, such as 0.05,0.15")
    return start, stop
