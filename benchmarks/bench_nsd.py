"""The regressions at the size of the Natural Scenes Dataset beside scikit-learn: python benchmarks/bench_nsd.py

Makes responses, split and features of subject 1 as the pipeline keeps them (8,859 photographs to train on and 982 to
test, 27,750 trials, 15,724 voxels in float16; features are random with a signal), and runs the stage `regress` on them
as docs/brain-diffuser.md sets it: one penalty per feature space, predictions of the tested photographs, and a second
fit to all of them for new responses. Seconds of the processor, of the clock, and the peak of memory, mapped files
included, are those of the whole stage, which reads and writes up to 24 GB beside what it computes. One thread.

scikit-learn is called as Brain-Diffuser does it: a Ridge of all latents, and one per token of a context. It runs here
at 768 and 6,144 targets of the same responses, and is continued since it would take hours: for latents on the straight
line through both, for a context as the seconds of a token times their number. Only the fit and the prediction count.
How far both predictions are apart, over the largest value, is printed.

--small is through in seconds and checks that everything fits together; --share 0.3 keeps every size but the number of
targets; --spaces vdvae measures one feature space. The full size needs 16 GB of memory and 40 GB of disk below
--folder, and replaces the rows of what it measured in the table of docs/nsd.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
sys.path[:0] = [str(ROOT / "src")]

import numpy as np

from spikevaediff.records import Features, ImageSplit, Responses, UnitTable

PAGE = ROOT / "docs/nsd.md"
HEAD = "| feature space | targets | penalty | this project: CPU, clock | memory | scikit-learn, CPU | times |"
N_SIGNALS = 20


@dataclass(frozen=True)
class Size:
    """Of a subject, and of each feature space: consecutive targets that belong together, as (name, sizes)."""

    n_train: int
    n_test: int
    n_trials: int
    n_voxels: int
    groups: dict[str, list[int]]
    points: tuple[int, int]  # targets at which scikit-learn is measured; the first are those of a token


LAYERS = [16] * 2 + [256] * 4 + [1024] * 8 + [4096] * 16 + [16384]  # of the VDVAE, coarse to fine: 91,168
TOKENS = {"text": [768] * 77, "vision": [768] * 257}
FULL = Size(8859, 982, 27750, 15724, {"vdvae": LAYERS} | TOKENS, (768, 6144))
SMALL = Size(60, 12, 150, 40, {"vdvae": [16, 16, 64], "text": [24] * 3, "vision": [24] * 4}, (24, 48))
PENALTY = {"vdvae": 50000.0, "text": 100000.0, "vision": 60000.0}


def write_inputs(folder: Path, size: Size) -> None:
    """Parameters, responses and split, as the stages before `regress` leave them."""
    from ruamel.yaml import YAML

    for name in ("dvc.yaml", "runs.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    yaml = YAML()
    params = yaml.load(ROOT / "params.yaml")
    params["regress"]["common"] |= {"folds": "none", "renormalise": "test_legacy"}
    for space, penalty in PENALTY.items():
        params["regress"][space] |= {"library": 0, "alphas": [penalty]}
    yaml.dump(params, folder / "params.yaml")

    rng = np.random.default_rng(0)
    n_images = size.n_train + size.n_test
    tested = np.isin(np.arange(n_images), rng.choice(n_images, size.n_test, replace=False))
    ImageSplit(np.arange(n_images), np.where(tested, 0, -1)).save(folder / "artifacts/split.npz")
    again = rng.permutation(np.repeat(np.arange(n_images), 2))[: size.n_trials - n_images]
    image_id = rng.permutation(np.concatenate([np.arange(n_images), again]))
    tuning = rng.standard_normal((N_SIGNALS, size.n_voxels), np.float32) * 0.1
    shape = (size.n_trials, size.n_voxels, 1)
    counts = np.lib.format.open_memmap(folder / "scratch.npy", "w+", np.float16, shape)
    signal = signals(n_images)
    for first in range(0, size.n_trials, 500):
        rows = image_id[first : first + 500]
        noise = rng.standard_normal((len(rows), size.n_voxels), np.float32)
        counts[first : first + 500, :, 0] = signal[rows] @ tuning + noise
    unknown = np.full(size.n_voxels, np.nan)
    voxels = UnitTable(
        np.arange(size.n_voxels), np.ones(size.n_voxels, np.int64), np.full(size.n_voxels, "nsdgeneral"), *[unknown] * 5
    )
    trial, session, window = np.arange(size.n_trials)[:, None], np.array([1]), np.array([[0.0, 1.0]])
    Responses.make(
        counts=counts, image_id=image_id, presentation_id=trial, session_id=session, window_s=window, units=voxels
    ).save(folder / "artifacts/responses/visual.npz")
    (folder / "scratch.npy").unlink()


def signals(n_images: int) -> np.ndarray:
    """What responses and features of an image have in common, float32 (n_images, N_SIGNALS)."""
    return np.random.default_rng(1).standard_normal((n_images, N_SIGNALS), np.float32)


def write_features(folder: Path, size: Size, space: str, share: float) -> int:
    """Features of all images, block by block; how many there are of each."""
    groups = size.groups[space]
    groups = groups[: max(1, round(share * len(groups)))]
    signal = signals(size.n_train + size.n_test)
    rng = np.random.default_rng([2, *space.encode()])
    weight = rng.standard_normal((N_SIGNALS, sum(groups)), np.float32) * 0.1
    values = np.lib.format.open_memmap(folder / "scratch.npy", "w+", np.float32, (len(signal), sum(groups)))
    for first in range(0, len(signal), 250):
        rows = signal[first : first + 250]
        values[first : first + 250] = rows @ weight + rng.standard_normal((len(rows), sum(groups)), np.float32)
    names = np.array([f"{group:03d}" for group in range(len(groups))])
    features = Features(space, np.arange(len(signal)), values, names, np.array(groups))
    features.save(folder / f"artifacts/features/{space}.npz")
    (folder / "scratch.npy").unlink()
    return sum(groups)


def run(folder: Path, command: list[str]) -> dict[str, float]:
    """CPU seconds, seconds of the clock and peak memory in GB of a command, which must succeed."""
    started = time.monotonic()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen([sys.executable, *command], cwd=folder, env=os.environ | {"PYTHONPATH": path})
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}; what it said stands above")
    used_kb = used.ru_maxrss
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "clock_s": time.monotonic() - started,
        "peak_gb": used_kb * 1024 / 1e9,
    }


def as_brain_diffuser(folder: Path, space: str, n_targets: int) -> dict[str, float]:
    """CPU seconds of a Ridge of scikit-learn with that many targets, and how far its predictions are from ours."""
    os.chdir(folder)
    from sklearn.linear_model import Ridge

    from spikevaediff.recordings import preprocessing
    from spikevaediff.regression import folds, task
    from spikevaediff.regression.methods import ridge

    section = {"method": "ridge", "transform": "none", "renormalise": "none", "library": 0, "library_weights": []}
    job = task.load("artifacts", space, "visual", section, ridge)
    train = folds.trained(job.split, 0)
    z = preprocessing.standardise(job.x, folds.standardisation(job.x, job.split, 0))
    y = job.y[train, :n_targets].copy()
    del job.__dict__["x"]
    z_train, z_test = z[train], z[~train]
    started = time.process_time()
    model = Ridge(alpha=PENALTY[space], max_iter=50000, fit_intercept=True).fit(z_train, y)
    found = model.predict(z_test)
    seconds = time.process_time() - started
    ours = Features.load(f"artifacts/predicted/{space}_raw.npz").values[:, :n_targets]
    return {"cpu_s": seconds, "difference": float(np.abs(found - ours).max() / np.abs(found).max())}


def measure(folder: Path, size: Size, share: float, spaces: Sequence[str]) -> list[dict]:
    """One row per feature space; scikit-learn runs beside the first, since it matters little what the numbers are."""
    for name in ("features", "responses", "predicted", "fits"):
        (folder / "artifacts" / name).mkdir(parents=True, exist_ok=True)
    write_inputs(folder, size)
    rows, peers = [], {}
    for space in spaces:
        n_targets = write_features(folder, size, space, share)
        row = {"space": space, "n_targets": n_targets}
        row |= run(folder, ["-m", "stages.regress", space, space, "visual"])
        print(json.dumps(row), flush=True)
        rows.append(row)
        if space == spaces[0]:
            for n in size.points:
                command = [sys.executable, __file__, "--peer", str(folder), space, str(n)]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8").stdout
                print(f"scikit-learn, {n} targets: {said}", flush=True)
                measured = json.loads(said)
                peers[n], row["difference"] = measured["cpu_s"], measured["difference"]
        for path in (*(folder / "artifacts").glob(f"*/{space}*.npz"),):
            path.unlink()
    (few, at_few), (many, at_many) = peers.items()
    per_target = (at_many - at_few) / (many - few)
    for row in rows:
        n_tokens = row["n_targets"] / few
        row["peer_s"] = at_few + per_target * (row["n_targets"] - few) if row["space"] == "vdvae" else at_few * n_tokens
    return sorted(rows, key=lambda row: list(PENALTY).index(row["space"]))


def table(rows: list[dict]) -> str:
    """Rows in Markdown, below HEAD."""

    def minutes(seconds: float) -> str:
        return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"

    return "".join(
        f"| {row['space']} | {row['n_targets']:,} | {PENALTY[row['space']]:,.0f} "
        f"| {minutes(row['cpu_s'])}, {minutes(row['clock_s'])} | {row['peak_gb']:.1f} GB "
        f"| {minutes(row['peer_s'])} | {row['peer_s'] / row['cpu_s']:.0f} |\n"
        for row in rows
    )


def put_into(page: Path, new: str, *, head: str = HEAD, order: Iterable[str] = tuple(PENALTY)) -> None:
    """Replace rows of the table that begins with `head`, known by their first cell, and put them in order."""
    text = page.read_text(encoding="utf-8")
    before, found, after = text.partition(head + "\n")
    if not found:
        raise ValueError(f"{page} has no table that begins with: {head}")
    lines = after.split("\n")
    end = next((i for i, line in enumerate(lines) if not line.startswith("|")), len(lines))
    rows = {line.split(" | ")[0]: line for line in lines[1:end] + new.splitlines()}
    ordered = [rows[f"| {name}"] for name in order if f"| {name}" in rows]
    page.write_text(before + "\n".join([head, lines[0], *ordered, *lines[end:]]), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny sizes; the page stays as it is")
    parser.add_argument("--share", type=float, default=1.0, help="of the layers and tokens; the page stays as it is")
    parser.add_argument("--folder", type=Path, help="where a folder for the data is made; default: that of TMPDIR")
    parser.add_argument("--spaces", nargs="+", choices=[*PENALTY], default=["text", "vdvae", "vision"])
    parser.add_argument("--peer", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        where, space, n_targets = given.peer
        print(json.dumps(as_brain_diffuser(Path(where), space, int(n_targets))))
        return
    if not 0 < given.share <= 1:
        parser.error("expected a share above 0, at most 1")
    with TemporaryDirectory(dir=given.folder) as folder:
        rows = measure(Path(folder), SMALL if given.small else FULL, given.share, given.spaces)
    print(HEAD, table(rows), sep="\n")
    if not given.small and given.share == 1:
        put_into(PAGE, table(rows))


if __name__ == "__main__":
    main()
