"""How the cost of each stage grows with images, units, sessions: python benchmarks/bench_scale.py [STAGE ...]

Calls the function that a stage calls (scale_stages.py), with generated inputs of a few sizes along one axis; the others
are as in the embedded run, or smaller, in three folds. Every line is a process of its own with one thread. Processor
seconds, user and system, are those of the call alone, the least of two where it takes less than 1 s, and where JAX
compiles, which does not count. Memory is the peak of the process so far, sizes going up. The exponent is the
slope of a straight line through the logarithms of size and seconds, by least squares; the last one is that between the
two largest sizes. Sizes beyond them are continued with the larger of both exponents, 1 at least, and marked.

Takes five to ten minutes of one processor. Writes benchmarks/scale.csv, the picture docs/scale.svg and the table of
docs/speed.md; rows of stages that were not run stay. --tiny checks that everything fits together, and writes nothing.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")} | {
        "NPROC": "1",
        "JAX_PLATFORMS": "cpu",
    }
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "vendor")]

import numpy as np

from benchmarks.bench_nsd import put_into
from benchmarks.scale_stages import STAGES, TINY_SIZES, WANTED, Measured
from spikevaediff.files.atomic import replacing

TABLE, PICTURE, PAGE = ROOT / "benchmarks/scale.csv", ROOT / "docs/scale.svg", ROOT / "docs/speed.md"
AGAIN_S = 1.0  # a call that takes less is made twice
HEAD = "| stage, by | processor seconds | exponent | last | memory | why |"


class Point(NamedTuple):
    """A line of scale.csv: CPU seconds and peak memory in MB (NaN where extrapolated) at a size."""

    stage: str
    axis: str
    size: int
    cpu_s: float
    peak_mb: float
    measured: bool


def exponent(size: Sequence[float], cost: Sequence[float]) -> float:
    """b of cost = a size^b, by least squares of the logarithms."""
    x, y = np.log(size), np.log(cost)
    return float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())


def exponents(points: Sequence[Point]) -> tuple[float, float]:
    """Of all measured points of a stage and axis, and of the last two."""
    size, cost = zip(*[(point.size, point.cpu_s) for point in points if point.measured], strict=True)
    return exponent(size, cost), exponent(size[-2:], cost[-2:])


def continued(points: list[Point]) -> list[Point]:
    """The measured points, and larger sizes that are of interest, on a line through the last of them.

    Its slope is 1 at least: where what a call costs at any size hides what an image costs, that would be lost.
    """
    last, slope = points[-1], max(1.0, *exponents(points))
    wanted = [size for size in WANTED[last.axis] if size > last.size]
    return points + [
        last._replace(size=n, cpu_s=last.cpu_s * (n / last.size) ** slope, peak_mb=np.nan, measured=False)
        for n in wanted
    ]


def calls(stage: Measured, sizes: Sequence[int], *, tiny: bool = False) -> Iterator[Point]:
    """CPU seconds and peak memory of a stage at its sizes, in this process; from small to large, for memory's peak."""
    from benchmarks.bench_ridge import memory_mb

    for n in sorted(sizes):
        seconds: list[float] = []
        with TemporaryDirectory() as folder:
            call = stage.prepare(stage.at(n, tiny=tiny), Path(folder))
            while not seconds or (len(seconds) < 2 and (stage.compiled or seconds[0] < AGAIN_S)):
                started = time.process_time()
                call()
                seconds.append(time.process_time() - started)
        yield Point(stage.stage, stage.axis, n, min(seconds), memory_mb("VmHWM"), measured=True)


def measure(stage: Measured, *, tiny: bool = False) -> list[Point]:
    """A stage at its sizes, in a process of its own.

    Raises
    ------
    RuntimeError
        A call failed; what it said stands in the message.
    """
    command = [sys.executable, __file__, "--one", str(STAGES.index(stage))] + ["--tiny"] * tiny
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode:
        raise RuntimeError(f"{stage.stage}, {stage.axis}, failed:\n{done.stderr[-2000:]}")
    return [Point(*values) for values in json.loads(done.stdout.splitlines()[-1])]


def read() -> list[Point]:
    """What scale.csv holds; nothing where it is not there."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        Point(
            row["stage"],
            row["axis"],
            int(row["size"]),
            float(row["cpu_s"]),
            float(row["peak_mb"] or "nan"),
            row["measured"] == "True",
        )
        for row in rows
    ]


def write(points: list[Point]) -> None:
    with replacing(TABLE) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(Point._fields)
        for point in points:
            memory = f"{point.peak_mb:.0f}" if point.measured else ""
            lines.writerow([*point[:3], f"{point.cpu_s:.4g}", memory, point.measured])


def seconds(value: float) -> str:
    """Processor seconds in two digits, from a minute on in minutes or hours."""
    for unit, name in ((3600, "h"), (60, "min")):
        if value >= 2 * unit:
            return f"{value / unit:,.0f} {name}" if value >= 10 * unit else f"{value / unit:.1f} {name}"
    return f"{value:.0f} s" if value >= 10 else f"{value:.2g} s"


def rows(points: list[Point]) -> dict[str, str]:
    """A line of Markdown for each stage and axis; sizes that were not measured are in italics."""
    found = {}
    why = {(stage.stage, stage.axis): stage.why for stage in STAGES}
    for key, of_key in groupby(points, lambda point: point[:2]):
        some = list(of_key)
        costs = "; ".join(
            f"{point.size:,}: {seconds(point.cpu_s)}" if point.measured else f"*{point.size:,}: {seconds(point.cpu_s)}*"
            for point in some
        )
        slope, last = exponents(some)
        memory = max(point.peak_mb for point in some if point.measured)
        name = f"{key[0]}, {key[1]}"
        found[name] = f"| {name} | {costs} | {slope:.2f} | {last:.2f} | {memory / 1000:.1f} GB | {why[key]} |"
    return found


def draw(points: list[Point]) -> None:
    """One panel for each axis, logarithmic in both directions; open symbols are not measured."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "scale", "svg.fonttype": "none", "font.size": 8}
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 6), sharey=True, width_ratios=[2, 1.3, 1])
    for axis, (title, names) in zip(axes, PANELS.items(), strict=True):
        curves = [list(one) for key, one in groupby(points, lambda point: point[:2]) if key[1] in names]
        for number, some in enumerate(curves):
            size, cost = [point.size for point in some], [point.cpu_s for point in some]
            n, style = sum(point.measured for point in some), {"color": f"C{number % 10}", "lw": 0.8}
            mark = MARKS[number // 10]
            axis.plot(size[:n], cost[:n], mark + "-", ms=4, label=f"{some[0].stage} {exponents(some)[0]:.2f}", **style)
            axis.plot(size[n - 1 :], cost[n - 1 :], "--", **style)
            axis.plot(size[n:], cost[n:], mark, ms=4, mfc="white", **style)
        axis.set(xscale="log", yscale="log", xlabel=title)
        axis.grid(alpha=0.3)
        if curves:
            axis.legend(fontsize=7, loc="upper left", title="fitted exponent")
    axes[0].set_ylabel("processor seconds of one thread (open: continued, not measured)")
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None})


# Title of a panel -> the axes that it shows.
PANELS = {
    "images, or photographs of the library": ("images", "library"),
    "units": ("units",),
    "sessions, or presentations of an image": ("sessions", "presentations"),
}
MARKS = "os^"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(dict.fromkeys(stage.stage.split()[0] for stage in STAGES))
    parser.add_argument("stages", nargs="*", help=f"all by default: {', '.join(names)}")
    parser.add_argument("--draw", action="store_true", help="nothing is measured: picture and page of scale.csv")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes; nothing is written")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        stage = STAGES[given.one]
        sizes = TINY_SIZES[stage.axis] if given.tiny else stage.sizes
        print(json.dumps([*calls(stage, sizes, tiny=given.tiny)]))
        return
    if unknown := {*given.stages} - {*names}:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(names)}")
    chosen = [stage for stage in STAGES if not given.stages or stage.stage.split()[0] in given.stages]
    if given.tiny:
        print(
            HEAD,
            *rows([point for stage in chosen for point in continued(measure(stage, tiny=True))]).values(),
            sep="\n",
        )
        return
    for stage in [] if given.draw else chosen:
        write(merged(read(), continued(measure(stage))))  # at once: an interrupted run keeps what it measured
        print(f"{stage.stage}, {stage.axis}", flush=True)
    points = read()  # rounded, so that table and page say the same
    draw(points)
    put_into(PAGE, "\n".join(rows(points).values()), head=HEAD, order=list(rows(points)))
    print(HEAD, *rows(points).values(), sep="\n")


def merged(old: list[Point], new: list[Point]) -> list[Point]:
    """New points in the place of old ones of the same stage and axis, in the order of STAGES."""
    order, measured = [(stage.stage, stage.axis) for stage in STAGES], {point[:2] for point in new}
    points = new + [point for point in old if point[:2] in order and point[:2] not in measured]
    return sorted(points, key=lambda point: (order.index(point[:2]), point.size))


if __name__ == "__main__":
    main()
