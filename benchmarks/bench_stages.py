"""Where the time of a run goes: python benchmarks/bench_stages.py [--under CHECKOUT] [STAGE ...]

Runs the command of each stage of dvc.yaml once more in a checkout where `dvc repro` has finished, in DVC's order, and
prints a table: processor seconds (user and system, all threads and children) of all runs of a stage, and how many of
them one run takes to start, which is to import its module. Results are replaced by the same ones, except that scores,
pictures and page are withdrawn by `start` and written again by `report`. DVC itself comes on top: hashing, the cache,
and dvc.lock, which it reads and writes after every stage.
"""

import argparse
import os
import resource
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stages", nargs="*", help="all by default; `evaluate` stands for every evaluate@...")
    parser.add_argument("--under", type=Path, default=ROOT, help="the finished checkout; default: this one")
    given = parser.parse_args()
    os.chdir(given.under)
    spent: dict[str, list[float]] = defaultdict(list)
    for name, commands in commands_of(given.stages):
        seconds = sum(processor_seconds(command, name) for command in commands)
        print(f"{seconds:8.1f} s  {name}", file=sys.stderr, flush=True)
        spent[name.partition("@")[0]].append(seconds)
    print("| stage | runs | seconds of all | of each, to start |\n|---|---|---|---|")
    for stage, seconds in spent.items():
        started = processor_seconds(f"python -c 'import stages.{module_of(stage)}'", stage)
        print(f"| `{stage}` | {len(seconds)} | {sum(seconds):.1f} | {started:.1f} |", flush=True)
    print(f"| all | {sum(map(len, spent.values()))} | {sum(map(sum, spent.values())):.1f} | |")


def module_of(stage: str) -> str:
    return {"checks_posterior": "checks", "halves": "evaluate"}.get(stage, stage)


def commands_of(wanted: list[str]) -> list[tuple[str, list[str]]]:
    """Name and commands of each wanted stage, in the order in which `dvc repro` runs them."""
    import networkx
    from dvc.repo import Repo

    with Repo() as repo:
        ordered = list(networkx.dfs_postorder_nodes(repo.index.graph))
    stages = [stage for stage in ordered if stage.cmd and "/" not in stage.addressing]
    return [
        (stage.addressing, [stage.cmd] if isinstance(stage.cmd, str) else list(stage.cmd))
        for stage in stages
        if not wanted or {stage.addressing, stage.addressing.partition("@")[0]} & {*wanted}
    ]


def processor_seconds(command: str, name: str) -> float:
    """User and system seconds of a command of a stage.

    Raises
    ------
    subprocess.CalledProcessError
        It fails; what it says stands above.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"DVC_STAGE": name, "PATH": path}
    subprocess.run(command, shell=True, check=True, env=environment, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
