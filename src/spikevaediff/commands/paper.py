"""`spikevaediff cards`, `crate` and `figure`: what a publication of a run needs."""

import argparse
from pathlib import Path

from spikevaediff.commands.arguments import Commands, ids
from spikevaediff.files.replaceable import check_file


def add(commands: Commands) -> None:
    """Add the arguments of `cards`, `crate` and `figure`."""
    carding = commands.add_parser("cards", help="write a data card and model cards of the run in artifacts/")
    carding.add_argument("--out", metavar="FILE", default="artifacts/cards.md", help="default: artifacts/cards.md")
    carding.set_defaults(run=run_cards)
    crating = commands.add_parser(
        "crate",
        help="write a committed run as a research object (RO-Crate): data, commit, parameters, results, licences",
        description="Writes a folder with ro-crate-metadata.json for a repository of data.",
    )
    crating.add_argument("out", metavar="OUT", type=Path, help="folder to write")
    crating.add_argument("--data-licence", metavar="TEXT", help="of your own data, such as: CC BY 4.0")
    crating.set_defaults(run=run_crate)
    drawing = commands.add_parser(
        "figure",
        help="draw a figure of the run in artifacts/ for a paper: PDF or SVG with text that stays text, or PNG",
        description="NAME: gallery, scores, latents, noise_ceiling, encoding, identification, layers, quality, curves, "
        "regions or areas. The same figures as matplotlib axes: docs/api.md.",
    )
    drawing.add_argument("name", metavar="NAME", help="which figure")
    drawing.add_argument("--images", metavar="IDS", type=ids, help="of the gallery, in this order: 3,17")
    drawing.add_argument("--runs", metavar="RUNS", help="of gallery and scores, in this order: posterior,diffusion")
    drawing.add_argument("--out", metavar="FILE", required=True, help="such as fig.pdf")
    drawing.set_defaults(run=run_figure)


def run_cards(chosen: argparse.Namespace) -> int:
    """Write the cards."""
    from spikevaediff.api.run import Run
    from spikevaediff.files.atomic import replacing
    from spikevaediff.records import few
    from spikevaediff.report.cards import FIRST, cards
    from spikevaediff.tools.since_run import since_run

    check_file(chosen.out, "cards.md", suffix=".md", first=FIRST)
    root = Path.cwd()
    params = Run(root).params
    if changed := since_run(root, params):
        raise ValueError(
            f"params.yaml has other values than the run in artifacts/, of {few(changed)}: the cards would say what did "
            f"not run. Run: dvc repro, or git checkout params.yaml"
        )
    text = cards(root, params)
    with replacing(chosen.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(chosen.out)
    return 0


def run_crate(chosen: argparse.Namespace) -> int:
    """Write the research object."""
    from spikevaediff.tools import crate

    n_files = crate.write(Path.cwd(), chosen.out, data_licence=chosen.data_licence)
    print(f"{chosen.out}: {n_files} files")
    return 0


def run_figure(chosen: argparse.Namespace) -> int:
    """Draw the figure."""
    from spikevaediff.api import figures
    from spikevaediff.api.run import load

    check_file(chosen.out, f"{chosen.name}.pdf")
    runs = None if chosen.runs is None else [name.strip() for name in chosen.runs.split(",")]
    figures.save(figures.figure(load(), chosen.name, images=chosen.images, runs=runs), chosen.out)
    print(chosen.out)
    return 0
