"""`spikevaediff compare`: two commits on a page."""

import argparse
import sys
from pathlib import Path

from spikevaediff.commands.arguments import Commands
from spikevaediff.files.replaceable import check_file


def add(commands: Commands) -> None:
    """Add the arguments of `compare`."""
    comparing = commands.add_parser(
        "compare", help="compare two commits or experiments on a Markdown page: metrics, parameters, pictures"
    )
    comparing.add_argument("base", metavar="BASE", nargs="?", help="a revision, such as origin/main, or an experiment")
    comparing.add_argument("head", metavar="HEAD", nargs="?", default="HEAD", help="another one (default: HEAD)")
    comparing.add_argument("--url", help="where raw files are served: https://github.com/OWNER/NAME/raw")
    comparing.add_argument("--out", metavar="FILE", help="write there instead of printing")
    comparing.add_argument(
        "--stale", action="store_true", help="instead: exit 1 when dvc.lock is older than code or parameters"
    )
    comparing.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print or write the page; with --stale, 1 where results are older than the code."""
    from spikevaediff.files.atomic import replacing
    from spikevaediff.tools import compare

    if chosen.stale and chosen.base is not None:
        raise ValueError("--stale looks at dvc.lock of this checkout, and compares no commits: leave one of them out")
    if chosen.stale:
        stages = compare.stale(Path.cwd())
        if stages:
            print(
                f"dvc.lock is stale: {', '.join(stages)} would run. Run `make repro`, look at the results and "
                "commit dvc.lock, metrics/ and plots/ with your change.",
                file=sys.stderr,
            )
        return 1 if stages else 0
    if chosen.base is None:
        print("name the revision to compare with: spikevaediff compare origin/main", file=sys.stderr)
        return 2
    if chosen.out is not None:
        check_file(chosen.out, "compare.md", suffix=".md", first=compare.MARK)
    text = compare.page(chosen.base, chosen.head, Path.cwd(), url=chosen.url)
    if chosen.out is None:
        print(text, end="")
    else:
        with replacing(chosen.out) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(chosen.out)
    return 0
