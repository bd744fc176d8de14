"""`spikevaediff assets`: what others made, here or to be fetched; `spikevaediff predict`: a saved fit applied."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from spikevaediff import assets
from spikevaediff.download import size_text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 1 when an asset could not be fetched."""
    parser = argparse.ArgumentParser(prog="spikevaediff", description="All else is a stage: dvc repro")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser(
        "assets",
        help="list the photographs and weights made by others",
        description=f"Without an action: list the assets. They lie in {assets.cache_dir()}.",
    )
    listing.set_defaults(run=_list)
    actions = listing.add_subparsers(metavar="[fetch]", title="actions")
    fetching = actions.add_parser("fetch", help="fetch some of them into the user's cache, checked by sha256")
    fetching.add_argument(
        "name", nargs="*", metavar="NAME", help="an asset of the list; none given: all that the default run needs"
    )
    fetching.set_defaults(run=_fetch)
    predicting = commands.add_parser("predict", help="apply a saved fit to new responses of the same units")
    predicting.add_argument("fit", metavar="FIT", help="npz of spikevaediff.new_responses.with_context(...).save")
    predicting.add_argument("responses", metavar="RESPONSES", help="npz of Responses, as in artifacts/responses/")
    predicting.add_argument("out", metavar="OUT", help="npz of Features to write, as in artifacts/predicted/")
    predicting.set_defaults(run=_predict)
    chosen = parser.parse_args(arguments)
    return chosen.run(chosen)


def _list(chosen: argparse.Namespace) -> int:
    table = Table(caption=f"in {assets.cache_dir()}; * the default run needs it", caption_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("size", no_wrap=True, justify="right")
    for column in ("here", "licence", "used for"):
        table.add_column(column)
    for name, asset in assets.ASSETS.items():
        here = "yes" if assets.is_present(name) else "no"
        mark = "*" if asset.embedded else ""
        table.add_row(name + mark, size_text(asset.bytes), here, asset.licence, asset.used_for)
    Console().print(table)
    return 0


def _fetch(chosen: argparse.Namespace) -> int:
    failed = 0
    for name in chosen.name or [name for name, asset in assets.ASSETS.items() if asset.embedded]:
        try:
            print(assets.fetch(name))
        except (KeyError, FileNotFoundError, ValueError) as error:
            print(error.args[0] if isinstance(error, KeyError) else error, file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def _predict(chosen: argparse.Namespace) -> int:
    from spikevaediff import new_responses  # a second of importing JAX, which listing assets need not wait for

    try:
        print(new_responses.predict_file(chosen.fit, chosen.responses, chosen.out))
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
