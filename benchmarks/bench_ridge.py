"""Ridge regression beside scikit-learn, himalaya and one Ridge per target: python benchmarks/bench_ridge.py

CPU seconds of one thread in a process of its own, the best call after the first (import is not counted; the first call
is reported apart, with the programs that JAX kept from an earlier process and without). Data are in memory before the
clock starts, random with the signal of repeated images; a package that would run for hours is measured at two small
numbers of targets and continued on a straight line ("est"). "roof" is the share of the processor's rate of float32
matrix products (measured in the same process) at which the least work a solver can do is done; "error" that of 48
targets, over the largest prediction, against float64 at the penalty chosen.

Sizes are multiplied by the scale of a workload, or by --scale: `bench_ridge.py --scale 0.1` is through in minutes, and
`bench_ridge.py --scale 1 W4` is the full size of the Natural Scenes Dataset (6 GB). OpenBLAS picks its kernels by
processor; the one at work is recorded, since OPENBLAS_CORETYPE, where it is set, can halve the speed of NumPy. --gpu
makes the same table on a GPU, in seconds of wall time (not measured so far).

Writes benchmarks/ridge.md, the table of docs/regression.md, and ridge.csv beside it; lines of workloads that were not
run stay.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
GPU = "--gpu" in sys.argv
if not GPU:
    os.environ["JAX_PLATFORMS"] = "cpu"
clock = time.perf_counter if GPU else time.process_time
sys.path[:0] = [str(HERE.parent / "src")]

import numpy as np


@dataclass(frozen=True)
class Workload:
    """What is fitted: n_images shown `repeats` times, n_units, n_targets; n_new rows are predicted."""

    text: str
    n_images: int
    repeats: int
    n_units: int
    n_targets: int
    n_new: int
    folds: str | int
    n_alphas: int
    peers: dict[str, tuple[int, ...]]  # solver -> numbers of targets to run it at; the full number if empty
    kernels: int = 0
    n_scored: int = 0  # the first n_scored images are left out, the others (a library) never; 0: all are
    scale: float = 1.0  # of presentations (images, where each is shown once), units, targets and predicted rows

    def sized(self, scale: float | None) -> "Workload":
        """The workload at its scale, or at another."""
        s = self.scale if scale is None else scale
        if s == 1:
            return self
        images = self.n_images if self.repeats > 1 else max(20, round(self.n_images * s))
        sizes = {"n_images": images, "repeats": max(1, round(self.repeats * s))}
        sizes |= {name: max(8, round(getattr(self, name) * s)) for name in ("n_units", "n_targets", "n_new")}
        sizes["n_scored"] = max(8, round(self.n_scored * s)) if self.n_scored else 0
        peers = {
            solver: points if not points or points[-1] < sizes["n_targets"] else ()
            for solver, points in self.peers.items()
        }
        return replace(self, peers=peers, scale=s, **sizes)

    @property
    def least_gflop(self) -> float:
        """Operations that no solver can do without: symmetric products once, 9 r^3 for eigenvectors, r^3 / 3 for
        Cholesky."""
        n, p, m, t = self.n_images * self.repeats, self.n_units, self.n_images, self.n_targets
        r, a, wide = min(n, p), self.n_alphas, 2 * self.n_new * m * t
        if self.folds == "none":
            return 1e-9 * (n * p * r + r**3 / 3 + 2 * self.n_new * r * (r + max(n, p)) + wide)
        if self.n_scored:  # through the units, which are fewer than the images: X'y once, then errors and predictions
            return 1e-9 * (n * p * p + 9 * p**3 + 2 * p * t * (m + a * self.n_scored + self.n_new))
        n_folds = m if self.folds == "image" else int(self.folds)
        b = n / n_folds
        once = n * p * r + 9 * r**3 + (2 * n * p * r if p < n else 0)
        if self.kernels:
            once, r = self.kernels * 9 * n**3, n
            a *= self.kernels
        folds = a * n_folds * (b * b * r + b**3 / 3 + 2 * b * r * m) if b > 1 else a * n * n * r
        return 1e-9 * (once + folds + a * m * m * t + wide)


HIMALAYA_CV = {"himalaya torch": (512, 6144)}
WORKLOADS = {
    "W1": Workload(
        "one penalty",
        94,
        1,
        1000,
        91168,
        24,
        "none",
        1,
        {"himalaya numpy": (), "himalaya torch": (), "sklearn": (), "sklearn per 768": (), "per target": (100, 300)},
    ),
    "W1cv": Workload(
        "5 folds, 10 penalties", 94, 1, 1000, 91168, 24, 5, 10, {"himalaya numpy": (), "himalaya torch": ()}
    ),
    "W1loo": Workload(
        "every image left out, 10 penalties",
        94,
        1,
        1000,
        91168,
        24,
        "image",
        10,
        {"himalaya numpy": (), "himalaya torch": (), "sklearn": (1000, 3000)},
    ),
    "W2": Workload("50 presentations per image, 5 folds", 94, 50, 2000, 91168, 1200, 5, 10, HIMALAYA_CV),
    "W2loio": Workload(
        "20 presentations, every image left out", 94, 50, 2000, 91168, 1200, "image", 10, HIMALAYA_CV, scale=0.4
    ),
    "W3": Workload("as W2, more targets", 94, 50, 2000, 197376, 1200, 5, 10, HIMALAYA_CV),
    "W4": Workload(
        "one penalty, many images",
        8859,
        1,
        15724,
        91168,
        982,
        "none",
        1,
        {"sklearn": (768, 6144), "sklearn per 768": (768, 1536)},
        scale=0.5,
    ),
    "W5": Workload(
        "8 RBF kernels, 10 penalties, 5 folds",
        94,
        50,
        2000,
        91168,
        1200,
        5,
        10,
        {"himalaya torch": (256, 1024)},
        kernels=8,
        scale=0.4,
    ),
    "W6": Workload(
        "106 images left out one by one beside a library",
        4000,
        1,
        333,
        91168,
        24,
        "image",
        10,
        {"himalaya torch": (256, 1024)},
        n_scored=106,
    ),
}
WIDTHS = [0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0]


def aligned(shape: tuple[int, int]) -> np.ndarray:
    """float32 at a multiple of 64 bytes, as np.load of a memory map gives it: JAX then works where the array lies."""
    size = shape[0] * shape[1] * 4
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(np.float32).reshape(shape)


def data(w: Workload) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x (n_rows, n_units) z-scored, distinct targets y, the row of y a row of x shows, and new responses; all
    float32."""
    rng = np.random.default_rng(0)
    latent = rng.standard_normal((w.n_images, 20), dtype=np.float32)
    y_row = np.repeat(np.arange(w.n_images), w.repeats)
    tuning = rng.standard_normal((20, w.n_units), dtype=np.float32) * 0.1
    x = (latent @ tuning)[y_row] + rng.standard_normal((len(y_row), w.n_units), dtype=np.float32)
    new = rng.standard_normal((w.n_new, 20), dtype=np.float32) @ tuning
    new += rng.standard_normal(new.shape, dtype=np.float32)
    y = aligned((w.n_images, w.n_targets))
    rng.standard_normal(out=y, dtype=np.float32)
    for start in range(0, w.n_targets, 8192):
        part = y[:, start : start + 8192]
        strength = rng.uniform(0, 0.6, (1, part.shape[1])).astype(np.float32)
        part += latent @ (strength * rng.standard_normal((20, part.shape[1]), dtype=np.float32))
    scale, centre = x.std(0), x.mean(0)
    return (x - centre) / scale, y, y_row, (new - centre) / scale


def image_folds(w: Workload) -> np.ndarray:
    """The folds that our fit with seed 0 uses, for each image; -1 for one that is never left out."""
    if w.folds == "image":
        fold = np.arange(w.n_images)
        return np.where(fold < w.n_scored, fold, -1) if w.n_scored else fold
    return np.random.default_rng([0, int(w.folds)]).permutation(np.arange(w.n_images) % int(w.folds))


def alphas(w: Workload) -> np.ndarray:
    """The grid; kernels that are at most one want smaller penalties."""
    if w.n_alphas == 1:
        return np.array([1000.0])
    return np.logspace(-3, 2, w.n_alphas) if w.kernels else np.logspace(0, 5, w.n_alphas)


def ours(
    w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """This project; (predictions, alpha of each target, kernel of each target)."""
    from spikevaediff.regression.methods import kernel_ridge, ridge

    options = {"y_row": y_row, "group_size": [y.shape[1]], "alphas": alphas(w), "alpha_scope": "target", "seed": 0}
    if w.kernels:
        search = {"kernel": "rbf", "degree": 1, "widths": WIDTHS, "width_search": "grid", "max_steps": 0}
        fit = kernel_ridge.fit(x, y, folds=w.folds, **search, **options)
        return kernel_ridge.predict(fit, new), fit.alpha, fit.candidate // w.n_alphas
    fit = ridge.fit(x, y, folds=w.folds, n_scored=w.n_scored or None, **options)
    return ridge.predict(fit, new), fit.alpha


def himalaya(
    w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray, *, backend: str
) -> tuple[np.ndarray, np.ndarray]:
    """himalaya with one of its backends; batches as it advises."""
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import KernelRidge, MultipleKernelRidgeCV
    from himalaya.ridge import RidgeCV
    from sklearn.model_selection import PredefinedSplit

    backend = set_backend("torch_cuda" if GPU and backend == "torch" else backend)
    if backend.__name__.endswith("torch"):
        import torch

        torch.set_num_threads(1)
    y, mean = y[y_row], y[y_row].mean(0)
    if w.folds == "none":
        fit = KernelRidge(alpha=float(alphas(w)[0]), kernel="linear").fit(x, y - mean)
        return backend.to_numpy(fit.predict(new)) + mean, np.full(y.shape[1], alphas(w)[0])
    split = PredefinedSplit(image_folds(w)[y_row])
    grid = alphas(w).astype(np.float32)
    batch = 512 if len(x) < 500 else 4096  # each the fastest of 512, 4096 and all, tried on W1cv and W1loo
    if w.kernels:
        from scipy.spatial.distance import pdist
        from sklearn.metrics.pairwise import euclidean_distances

        median = np.median(pdist(x[::4]))
        kernels = np.stack([np.exp(-euclidean_distances(x, squared=True) / (2 * (s * median) ** 2)) for s in WIDTHS])
        across = np.stack(
            [np.exp(-euclidean_distances(new, x, squared=True) / (2 * (s * median) ** 2)) for s in WIDTHS]
        )
        parameters = {"alphas": grid, "n_iter": np.eye(w.kernels, dtype=np.float32), "progress_bar": False}
        parameters["n_targets_batch"] = 1024
        model = MultipleKernelRidgeCV(kernels="precomputed", cv=split, solver_params=parameters)
        model.fit(kernels.astype(np.float32), y - mean)
        return backend.to_numpy(model.predict(across.astype(np.float32))), backend.to_numpy(model.best_alphas_)
    model = RidgeCV(alphas=grid, fit_intercept=True, cv=split, solver_params={"warn": False, "n_targets_batch": batch})
    model.fit(x, y)
    return backend.to_numpy(model.predict(new)), backend.to_numpy(model.best_alphas_)


def sklearn(
    w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn: Ridge for one penalty, RidgeCV for leave-one-out with one penalty per target."""
    from sklearn.linear_model import Ridge, RidgeCV

    if w.folds == "none":
        return Ridge(alpha=alphas(w)[0]).fit(x, y[y_row]).predict(new), np.full(y.shape[1], alphas(w)[0])
    model = RidgeCV(alphas=alphas(w), alpha_per_target=True).fit(x, y[y_row])
    return model.predict(new), model.alpha_


def sklearn_blocks(
    w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One Ridge of scikit-learn per token of 768 targets, as brain-diffuser does."""
    parts = [sklearn(w, x, y[:, start : start + 768], y_row, new)[0] for start in range(0, y.shape[1], 768)]
    return np.concatenate(parts, 1), np.full(y.shape[1], alphas(w)[0])


def per_target(
    w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One Ridge of scikit-learn per target in float64, as the scripts that this project began with do."""
    from sklearn.linear_model import Ridge

    x, new = x.astype(np.float64), new.astype(np.float64)
    columns = [Ridge(alpha=alphas(w)[0]).fit(x, y[y_row, t]).predict(new) for t in range(y.shape[1])]
    return np.stack(columns, 1), np.full(y.shape[1], alphas(w)[0])


SOLVERS: dict[str, Callable] = {
    "ours": ours,
    "himalaya numpy": partial(himalaya, backend="numpy"),
    "himalaya torch": partial(himalaya, backend="torch"),
    "sklearn": sklearn,
    "sklearn per 768": sklearn_blocks,
    "per target": per_target,
}


def gflop_rate() -> float:
    """float32 matrix products per second, the best of five."""
    if GPU:
        import jax

        a = jax.numpy.ones((8192, 8192), jax.numpy.float32)
        product = jax.jit(lambda a: jax.numpy.dot(a, a, precision="highest"))
        product(a).block_until_ready()
        rates = []
        for _ in range(5):
            start = clock()
            product(a).block_until_ready()
            rates.append(2e-9 * 8192**3 / (clock() - start))
        return max(rates)
    a = np.random.default_rng(0).random((2000, 2000), dtype=np.float32)
    rates = []
    for _ in range(5):
        start = clock()
        a @ a
        rates.append(16.0 / (clock() - start))
    return max(rates)


def memory_mb(field: str) -> float:
    """VmRSS or VmHWM of this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return int(lines[field].split()[0]) / 1024


def blas_kernel() -> str:
    """The architecture that OpenBLAS chose its kernels for."""
    from threadpoolctl import threadpool_info

    return "/".join(sorted({i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"}))


def kernel_error(w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray, out: tuple) -> float:
    """As largest_error, for the RBF kernel whose width was chosen, centred in its feature space."""
    from scipy.spatial.distance import cdist

    columns = np.linspace(0, y.shape[1] - 1, 48).astype(int)
    x, new = x.astype(np.float64), new.astype(np.float64)
    within, across = cdist(x, x), cdist(new, x)
    median = np.median(within[y_row[:, None] != y_row[None, :]])
    target, expected = y[:, columns].astype(np.float64)[y_row], np.empty((len(new), 48))
    mean = target.mean(0)
    for width, alpha in {(int(out[2][c]), float(out[1][c])) for c in columns}:
        chosen = (out[2][columns] == width) & (out[1][columns] == alpha)
        k, k_new = (np.exp(-(d**2) / (2 * (WIDTHS[width] * median) ** 2)) for d in (within, across))
        column_mean = k.mean(0)
        centred = k - column_mean - column_mean[:, None] + column_mean.mean()
        solved = np.linalg.solve(centred + alpha * np.eye(len(k)), (target - mean)[:, chosen])
        k_new = k_new - column_mean
        expected[:, chosen] = (k_new - k_new.mean(1, keepdims=True)) @ solved + mean[chosen]
    return float(np.abs(out[0][:, columns] - expected).max() / np.abs(expected).max())


def largest_error(w: Workload, x: np.ndarray, y: np.ndarray, y_row: np.ndarray, new: np.ndarray, out: tuple) -> float:
    """Of 48 targets, over the largest prediction, against float64 at the penalty that the solver chose."""
    columns = np.linspace(0, y.shape[1] - 1, 48).astype(int)
    x, centre = x.astype(np.float64), x.mean(0, dtype=np.float64)
    centred, target = x - centre, y[:, columns].astype(np.float64)[y_row]
    mean, expected = target.mean(0), np.empty((len(new), 48))
    primal = x.shape[1] < len(x)
    gram = centred.T @ centred if primal else centred @ centred.T
    for alpha in np.unique(out[1][columns]):
        chosen = out[1][columns] == alpha
        solved = np.linalg.solve(
            gram + float(alpha) * np.eye(len(gram)), (centred.T @ target if primal else target - mean)[:, chosen]
        )
        expected[:, chosen] = (new - centre) @ (solved if primal else centred.T @ solved) + mean[chosen]
    return float(np.abs(out[0][:, columns] - expected).max() / np.abs(expected).max())


def one(name: str, solver: str, n_targets: int, scale: float | None) -> dict:
    """Time one solver in this process."""
    w = WORKLOADS[name].sized(scale)
    x, y, y_row, new = data(w)
    y = y if n_targets == w.n_targets else np.ascontiguousarray(y[:, :n_targets])
    rate = gflop_rate()
    if solver == "ours":
        from spikevaediff.regression import jax_cache
        from spikevaediff.regression.methods import kernel_ridge, ridge  # noqa: F401  imports are not counted

        jax_cache.keep()
    before, seconds, out = memory_mb("VmRSS"), [], None
    small = w.repeats == 1 and w.n_images < 1000 and n_targets == w.n_targets
    # Milliseconds are soon disturbed: many calls, the same number for every solver.
    for _ in range((20 if w.folds == "none" else 6) if small else 3 if solver == "ours" else 1):
        out = None  # not kept beside the next one
        start = clock()
        out = SOLVERS[solver](w, x, y, y_row, new)
        seconds.append(clock() - start)
    record = {"workload": name, "solver": solver, "n_targets": n_targets, "first": seconds[0], "rate": rate}
    record["cpu_s"] = min(seconds[1:] or seconds)
    record["peak_mb"] = memory_mb("VmHWM") - before
    record["output_mb"] = out[0].nbytes / 2**20
    record["kernel"] = blas_kernel()
    record["alpha"] = [float(a) for a in out[1][:256]]
    if not w.kernels:
        record["error"] = largest_error(w, x, y, y_row, new, out)
    elif solver == "ours":
        record["error"] = kernel_error(w, x, y, y_row, new, out)
    return record


@cache  # W3 uses what W2 measured of himalaya
def measure(name: str, solver: str, n_targets: int, scale: float | None, kept: str = "") -> dict:
    """Time one solver in a fresh process; `kept` is a folder of programs that JAX compiled before."""
    command = [sys.executable, __file__, "--one", name, solver, str(n_targets)]
    command += ([] if scale is None else ["--scale", str(scale)]) + ["--gpu"] * GPU
    environment = os.environ | ({"JAX_COMPILATION_CACHE_DIR": kept} if kept else {})
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=environment
    )
    if done.returncode:
        raise RuntimeError(f"{name} with {solver} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(name: str, scale: float | None) -> list[dict]:
    """All solvers of a workload; peers at few targets are continued on a line."""
    w = WORKLOADS[name].sized(scale)
    with TemporaryDirectory() as kept:
        compiling = measure(name, "ours", w.n_targets, scale, kept)
        mine = dict(measure(name, "ours", w.n_targets, scale, kept + "/."))
    mine["compiling"] = compiling["first"]
    mine["cpu_s"] = min(mine["cpu_s"], compiling["cpu_s"])
    mine["roof"] = w.least_gflop / mine["rate"] / mine["cpu_s"]
    rows = [mine]
    for solver, sizes in w.peers.items():
        # W3 differs from W2 in the number of targets alone: one line serves both.
        points = [measure(name if name != "W3" else "W2", solver, n, scale) for n in sizes or (w.n_targets,)]
        row = dict(points[-1], workload=name, n_targets=w.n_targets, estimated=bool(sizes))
        if sizes:
            slope = (points[1]["cpu_s"] - points[0]["cpu_s"]) / (sizes[1] - sizes[0])
            row["cpu_s"] = points[0]["cpu_s"] + max(slope, 0.0) * (w.n_targets - sizes[0])
        n = min(len(row["alpha"]), len(mine["alpha"]))
        if name != "W3":
            row["same_alpha"] = float(np.mean(np.isclose(row["alpha"][:n], mine["alpha"][:n], rtol=1e-4)))
        row["ratio"] = row["cpu_s"] / mine["cpu_s"]
        rows.append(row)
    for row in rows:
        print({k: round(v, 7) if isinstance(v, float) else v for k, v in row.items() if k != "alpha"}, flush=True)
    return rows


def digits(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def table(rows: list[dict], scale: float | None) -> str:
    """Markdown, one line per workload."""
    lines = [
        "| workload | rows x units -> targets, predicted | ours, CPU s (first call: programs kept / compiled) | roof "
        "| error | peak, MB (output) "
        "| others, CPU s: times ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["workload"] for row in rows):
        w = WORKLOADS[name].sized(scale)
        mine, *others = [row for row in rows if row["workload"] == name]
        peers = "; ".join(
            f"{r['solver']} {digits(r['cpu_s'])}{' est' if r['estimated'] else ''}: **{digits(r['ratio'])}x**"
            for r in others
        )
        first = f"{digits(mine['first'])} / {digits(mine['compiling'])}"
        lines.append(
            f"| {name}: {w.text} | {w.n_images * w.repeats:,} x {w.n_units:,} -> {w.n_targets:,}, {w.n_new:,} "
            f"| {digits(mine['cpu_s'])} ({first}) | {mine['roof']:.2f} | {mine['error']:.0e} "
            f"| {mine['peak_mb']:.0f} ({mine['output_mb']:.0f}) | {peers} |"
        )
    return "\n".join(lines) + "\n"


COLUMNS = ["workload", "solver", "n_targets", "cpu_s", "first", "compiling", "estimated", "ratio", "roof", "error"]
COLUMNS += ["same_alpha", "peak_mb", "output_mb", "rate", "kernel"]


def keep(rows: list[dict]) -> None:
    """Put what was measured into ridge.csv and ridge.md, in the place of what stood there of the same workloads."""
    path, new = HERE / "ridge.csv", {row["workload"] for row in rows}
    words = {"workload", "solver", "kernel"}
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            old = [row for row in csv.DictReader(file) if row["workload"] not in new]
        for row in old:
            numbers = {k: float(v) for k, v in row.items() if v and k not in words | {"estimated"}}
            rows.append(row | numbers | {"estimated": row["estimated"] == "True"})
    rows.sort(key=lambda row: list(WORKLOADS).index(row["workload"]))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items() if k in COLUMNS} for row in rows
        )
    (HERE / "ridge.md").write_text(table(rows, None), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), help=", ".join(WORKLOADS))
    parser.add_argument("--scale", type=float, help="of all sizes, instead of the scale of each workload")
    parser.add_argument("--gpu", action="store_true", help="JAX and torch on the GPU, seconds of wall time")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(json.dumps(one(chosen.one[0], chosen.one[1], int(chosen.one[2]), chosen.scale)))
        return
    unknown = [name for name in chosen.workloads if name not in WORKLOADS]
    if unknown or (chosen.scale is not None and not 0 < chosen.scale <= 1):
        parser.error(f"expected workloads of {', '.join(WORKLOADS)} and a scale above 0, at most 1")
    rows = [row for name in chosen.workloads for row in compare(name, chosen.scale)]
    print(table(rows, chosen.scale))
    if chosen.scale is None and not GPU:
        keep(rows)


if __name__ == "__main__":
    main()
