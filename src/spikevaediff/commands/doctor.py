"""`spikevaediff doctor`: what is wrong with a checkout and its machine."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spikevaediff.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the arguments of `doctor`."""
    examining = commands.add_parser(
        "doctor", help="find what is wrong with this checkout and this machine, and the cure"
    )
    examining.add_argument("--no-cache", action="store_true", help="do not hash the objects of the DVC cache again")
    examining.add_argument(
        "--remove-damaged",
        action="store_true",
        help="remove damaged objects and their links in the workspace; dvc pull or dvc repro brings them back",
    )
    examining.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what was found; 1 where something is broken."""
    from spikevaediff.tools import doctor, dvc_cache

    colour = {"fine": "green", "note": "yellow", "broken": "red"}
    table = Table(show_header=False, box=None)
    broken = False
    if chosen.remove_damaged:
        for path in dvc_cache.remove_damaged(Path.cwd()):
            print(f"removed {path}")
    for finding in doctor.examine(Path.cwd(), cache=not chosen.no_cache):
        broken |= finding.state == "broken"
        cure = f"\n[bold]{escape(finding.cure)}[/]" if finding.cure else ""
        table.add_row(finding.name, f"[{colour[finding.state]}]{finding.state}[/]", escape(finding.text) + cure)
    Console().print(table)
    return 1 if broken else 0
