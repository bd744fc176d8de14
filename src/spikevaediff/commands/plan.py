"""`spikevaediff plan`: what a run will take."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loading.machine import processors
from spikevaediff.commands.arguments import Commands, add_settings
from spikevaediff.files.checksums import size_text


def add(commands: Commands) -> None:
    """Add the arguments of `plan`."""
    planning = commands.add_parser(
        "plan",
        help="before a run: what it will download and write, and how long it will take here",
        description="Downloads, disk, memory and time of a run with params.yaml of this checkout, and what would fit "
        "where something does not (exit status 1). Probes this machine for some seconds, and downloads nothing.",
    )
    add_settings(planning)
    planning.add_argument("--all", action="store_true", help="also list files that are there")
    planning.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the plan; 1 where something does not fit."""
    from spikevaediff.parameters import check, compute, of_folder, own
    from spikevaediff.parameters.file import read
    from spikevaediff.tools import needs, plan, stage_costs  # seconds of importing torch

    root = Path.cwd()
    params = read(root, chosen.settings)
    check.refuse([*check.of_sections(params), *check.of_choices(params), *own.problems(params)])  # as the first stage
    check.refuse(of_folder.problems(params, Path("vendor/data")))
    device = compute.device(params["compute"]["device"])
    wanted = needs.needs(params, root)  # refused before the probe, where parameters name what does not exist
    with Console(stderr=True).status("probing this machine"):
        found = plan.plan(params, root, speed=stage_costs.measured(params, device), device=device)
    console = Console()
    table = Table(title=f"files of dataset={params['dataset']}, model={params['model']}", title_justify="left")
    for column in ("file", "size", "state", "used for"):
        table.add_column(column, overflow="fold")
    for file in plan.grouped(wanted if chosen.all else [need for need in wanted if need.state != "have"]):
        table.add_row(*map(escape, file))
    if table.row_count:
        console.print(table)
    for state in ("have", "need", "damaged"):
        some = [need for need in wanted if need.required and need.state == state]
        if some or state != "damaged":
            print(f"{state} {len(some)} files, {size_text(sum(need.n_bytes for need in some))}")
    if found.parts:
        about = size_text(sum(file.about or 0 for file in found.parts))
        print(f"parts of {len(found.parts)} files that stay on their server, about {about} still to come, an estimate")
    for what, (folder, n_bytes, left) in found.disk.items():
        print(f"{what}: {size_text(n_bytes)} to {folder}, {size_text(left)} free")
    table = Table(title=f"stages on {device}, {processors()} processors", title_justify="left")
    for column in ("stage", "runs", "time", "memory at most", "known from"):
        table.add_column(column)
    for row in plan.lines(found):
        table.add_row(*row)
    console.print(table)
    print(f"about {plan.time_text(found.seconds)} in all, when nothing comes from the cache and nothing else runs here")
    most = size_text(max(stage.memory for stage in found.stages))
    print(f"{most} of memory at most, {size_text(found.memory_free)} free")
    for problem in found.problems:
        print(f"does not fit: {problem}", file=sys.stderr)
    return 1 if found.problems else 0
