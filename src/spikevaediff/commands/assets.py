"""`spikevaediff assets`: list, fetch or pack photographs and weights made by others."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from spikevaediff.commands.arguments import Commands, add_settings
from spikevaediff.commands.one_line import in_one_line
from spikevaediff.files import assets
from spikevaediff.files.checksums import size_text
from spikevaediff.files.replaceable import check_file


def add(commands: Commands) -> None:
    """Add the arguments of `assets` and its actions."""
    listing = commands.add_parser(
        "assets",
        help="list, fetch or pack photographs and weights made by others",
        description=f"Without an action: list the assets. They lie in {assets.cache_dir()}.",
    )
    listing.set_defaults(run=run_list)
    actions = listing.add_subparsers(metavar="[fetch | bundle | unbundle]", title="actions")
    fetching = actions.add_parser("fetch", help="fetch some of them into the user's cache, checked by sha256")
    fetching.add_argument(
        "name", nargs="*", metavar="NAME", help="assets of the list (default: all that the default run needs)"
    )
    fetching.add_argument(
        "--again",
        action="store_true",
        help="fetch it even if it is there; where no sha256 is published, the file that arrives is right from now on",
    )
    fetching.set_defaults(run=run_fetch)
    packing = actions.add_parser(
        "bundle", help="fetch all files of a run and pack them, for a machine without a network"
    )
    packing.add_argument("file", metavar="FILE", type=Path, help="archive to write, such as bundle.tar")
    add_settings(packing)
    packing.set_defaults(run=run_bundle)
    unpacking = actions.add_parser("unbundle", help="put the files of such an archive into the user's cache, checked")
    unpacking.add_argument("file", metavar="FILE", type=Path, help="as written by bundle")
    unpacking.set_defaults(run=run_unbundle)


def run_list(chosen: argparse.Namespace) -> int:
    """Print the table of assets."""
    table = Table(caption=f"in {assets.cache_dir()}; * the default run needs it", caption_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("size", no_wrap=True, justify="right")
    for column in ("here", "licence", "used for"):
        table.add_column(column)
    for name, asset in assets.ASSETS.items():
        here = assets.state(name)
        mark = "*" if asset.embedded else ""
        table.add_row(name + mark, size_text(asset.bytes), here, asset.licence, asset.used_for)
    Console().print(table)
    return 0


def run_fetch(chosen: argparse.Namespace) -> int:
    """Fetch assets one after the other; 1 where one failed."""
    failed = 0
    for name in chosen.name or [name for name, asset in assets.ASSETS.items() if asset.embedded]:
        try:
            print(assets.fetch(name, again=chosen.again))
        except Exception as error:  # the others are fetched all the same
            if (said := in_one_line(error)) is None:
                raise
            print(said, file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def run_bundle(chosen: argparse.Namespace) -> int:
    """Pack the files of a run, fetched where they are not there."""
    from spikevaediff.parameters.file import read
    from spikevaediff.tools import bundle, needs

    check_file(chosen.file, "bundle.tar")
    params = read(Path.cwd(), chosen.settings)
    wanted = needs.needs(params, Path.cwd())
    needs.fetch(need for need in wanted if need.required)
    packed = [need for need in wanted if need.required or need.state == "have"]
    size = sum(entry.bytes for entry in bundle.bundle(packed, chosen.file))
    print(f"{chosen.file}: {len(packed)} files, {size_text(size)}. On the other machine:")
    print(f"spikevaediff assets unbundle {chosen.file.name}")
    if absent := [need.name for need in wanted if need not in packed]:
        print(f"not included, since a run can do without (its metrics are then absent): {', '.join(absent)}")
    return 0


def run_unbundle(chosen: argparse.Namespace) -> int:
    """Put packed files into the user's cache."""
    from spikevaediff.tools import bundle

    for path, what in bundle.unbundle(chosen.file):
        print(f"{what}: {path}", flush=True)
    return 0
