"""The commands that are not stages of the pipeline; `spikevaediff --help` lists them."""

from spikevaediff import interrupts

interrupts.say_one_line()  # before what takes a second to import

# isort: split
import argparse
import io
import os
import sys
from collections.abc import Sequence

from spikevaediff import threads
from spikevaediff.commands import (
    assets,
    check_data,
    compare,
    doctor,
    encode,
    generate,
    init,
    paper,
    plan,
    predict,
    sweep,
)
from spikevaediff.commands.one_line import in_one_line

# In the order of the help
COMMANDS = (assets, init, plan, predict, encode, check_data, doctor, compare, sweep, paper, generate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 1 when it failed, which standard error says in one line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # what a terminal cannot show is no reason to fail
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["dvc"]:  # with all that follows, options included
        from spikevaediff.tools import quick_dvc

        return quick_dvc.main(words[1:])
    threads.set_once()
    try:
        chosen = _parser().parse_args(words)
        return chosen.run(chosen)
    except KeyboardInterrupt:
        print("interrupted; what has been downloaded so far is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `spikevaediff assets | head`: nobody reads on, which is not a failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        said = in_one_line(error)
        if said is None or os.environ.get("SPIKEVAEDIFF_TRACEBACK"):
            raise
        print(said, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spikevaediff", description="Commands around the pipeline, which itself is run by: dvc repro"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser(
        "dvc",
        help="DVC with a faster way to write its lock file: `spikevaediff dvc repro` for `dvc repro`",
        add_help=False,
    )
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
