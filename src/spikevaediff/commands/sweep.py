"""`spikevaediff sweep`: a set of experiments, here or on a cluster."""

import argparse
import math
import shlex
import sys
from pathlib import Path

from spikevaediff.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Add the arguments of `sweep`."""
    sweeping = commands.add_parser("sweep", help="run a set of experiments of sweeps.yaml, here or on a cluster")
    sweeping.add_argument("name", nargs="?", metavar="NAME", help="which set; none: list them")
    sweeping.add_argument("--dry-run", action="store_true", help="print the commands and run nothing")
    sweeping.add_argument("--jobs", type=int, default=1, help="experiments at once on this machine (default: 1)")
    sweeping.add_argument("--cluster", metavar="ADDRESS", help="of a Dask scheduler, such as tcp://login-node:8786")
    sweeping.add_argument("--git-remote", default="origin", help="workers clone and push there (default: origin)")
    sweeping.add_argument("--tries", type=int, default=2, help="further workers that try a failed one (default: 2)")
    sweeping.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """List the sets of experiments, or run one of them."""
    from spikevaediff.parameters.file import read
    from spikevaediff.tools import sweep

    root = Path.cwd()
    grids = sweep.load(root / "sweeps.yaml")
    params = read(root)
    if chosen.name is None:
        for name, grid in grids.items():
            n = math.prod(map(len, sweep.with_values(grid, params).values()))
            print(f"{name}: {n} experiments over {', '.join(grid)}")
        return 0
    if chosen.name not in grids:
        raise ValueError(f"sweeps.yaml has no {chosen.name!r}; there are {', '.join(grids)}")
    sweep.refuse(chosen.name, grids[chosen.name], params, root)
    wanted = sweep.experiments(chosen.name, sweep.with_values(grids[chosen.name], params), params)
    if chosen.dry_run:
        for name, settings in wanted.items():
            print(f"dvc exp run --name {name} {' '.join(f'-S {shlex.quote(one)}' for one in settings)}")
        return 0
    if chosen.cluster:
        return _on_cluster(root, wanted, chosen)
    for name in sweep.run_here(root, wanted, jobs=chosen.jobs):
        print(f"{name}: queued, {' '.join(wanted[name])}", flush=True)
    print(f"{chosen.jobs} at a time now run in the background.")
    print("Follow them: dvc queue status, dvc queue logs NAME --follow. Stop them: dvc queue stop --kill.")
    print("Compare them: dvc exp show --only-changed. Take one over: dvc exp apply NAME.")
    return 0


def _on_cluster(root: Path, wanted: dict[str, list[str]], chosen: argparse.Namespace) -> int:
    try:
        from spikevaediff.tools import cluster
    except ModuleNotFoundError as error:
        raise ValueError(f"{error}. Install it: pip install -c constraints.txt -e '.[cluster]'") from error

    print(f"{len(wanted)} experiments for the workers of {chosen.cluster}, one at a time each", flush=True)
    failed = []
    ends = cluster.run(root, wanted, scheduler=chosen.cluster, git_remote=chosen.git_remote, tries=chosen.tries)
    for number, (name, why) in enumerate(ends, 1):
        print(f"{number}/{len(wanted)} {name}: {why or 'done, ' + ' '.join(wanted[name])}", flush=True)
        if why:
            failed.append(name)
    if failed:
        print(f"{len(failed)} failed; the same command runs them again: {' '.join(failed)}", file=sys.stderr)
    print(f"Fetch them: dvc exp pull {chosen.git_remote}. Compare them: dvc exp show --only-changed.")
    return 1 if failed else 0
