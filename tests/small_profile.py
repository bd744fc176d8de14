"""A small profile of the pipeline, and checkouts in which tests run it: the same DAG with other parameters.

The simulated session has ten repeats of each image, 24 tested images, four layers of latents and one metric, so that
most of the time of a run is Python starting up. The tuning is three times stronger, to be read from so few.
"""

import hashlib
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from spikevaediff.files import assets

ROOT = Path(__file__).resolve().parents[1]

SMALL: dict[str, Any] = {
    "datasets.simulated.n_repeats": 10,
    "datasets.simulated.log_gain": 1.0,
    "split.method": "hold_out",  # one fold of 24 images; `make repro` has folds that test every image
    # Draws images 0, 3, 17, 40 and 42, which docs/ and tests name.
    "split.seed": 20539,
    "models.mini.vdvae.n_layers": 4,
    "regress.common.alphas": [10.0, 100.0, 1000.0, 10000.0],
    "encoding.families": ["luminance"],
    "library.n_images": 360,  # more than units, as the posterior's regression wants
    "regress.vdvae.library": 360,
    "regress.text.library": 6,
    "regress.vision.library": 4,
    "decode.posterior.n_samples": 2,
    "decode.posterior.steps": 2,
    "decode.posterior.shared_steps": 1,
    "layers.n_images": 4,
    "models.mini.diffusion.steps": 4,
    "models.mini.diffusion.guidance_likelihood": 0.0,  # 3 s of processor time for every image; `make repro` has it
    "evaluate.size_px": 32,
    "evaluate.metrics": ["pixcorr"],
    "curves.latency.step_s": 0.1,
    "movies.n_blocks": 2,
    "curves.counts.n_draws": 1,
    "curves.counts.units": [20],
    "curves.counts.presentations": [2],
    "evaluate.n_draws": 200,
    "regions.counts": [8],
    "regions.n_draws": 1,
    "regions.n_resamples": 200,
    "regions.max_steps": 3,
    "known_mistakes.n_draws": 200,
}
_RUNS: dict[str, Any] = YAML(typ="safe").load(ROOT / "runs.yaml")
_SPACES = ("vdvae", "text", "vision")
# Stages by what they iterate over; a section of runs.yaml by its name.
_GROUPS: dict[str, Iterable[str]] = {
    "responses": _RUNS["populations"],
    "features": _SPACES,
    "encode": _RUNS["populations"],
    "library_features": _SPACES,
    "library_responses": _RUNS["populations"],
    "regress": _RUNS["regressions"],
    "noise_ceiling": ["vdvae"],
    "decode": _RUNS["decoded"],
    "decode_posterior": _RUNS["posteriors"],
    "posterior_images": _RUNS["posteriors"],
    "decode_diffusion": _RUNS["generated"],
    "evaluate": _RUNS["scored"],
    "checks": _RUNS["checked"],
    "checks_posterior": _RUNS["checked_posteriors"],
}
STAGES = {f"{stage}@{name}" for stage, names in _GROUPS.items() for name in names} | {
    "start",
    "acquire",
    "captions",
    "split",
    "library",
    "quality",
    "curves",
    "identify",
    "unconditional",
    "looks",
    "layers",
    "halves",
    "baselines",
    "regions",
    "known_mistakes",
    "movies",
    "report",
}


def environment(scratch: Path) -> dict[str, str]:
    """That of the tests, with DVC's state in `scratch` and without what would change a run."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "DVC_", "XLA_", "JAX_"))}
    # Without the second, every process would compile the modules of its checkout again.
    for name in ("SPIKEVAEDIFF_TRACEBACK", "PYTHONDONTWRITEBYTECODE"):
        kept.pop(name, None)
    return kept | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_SITE_CACHE_DIR": str(scratch / "site"),
        "DVC_NO_ANALYTICS": "1",
        "JAX_PLATFORMS": "cpu",
        "OMP_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
        "COLUMNS": "200",
        **{f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }


def edit(params: Path, changes: dict[str, Any]) -> None:
    """Other values for keys of params.yaml, given as paths; a new file, since the old one may be a link."""
    yaml = YAML()
    content = yaml.load(params)
    for path, value in changes.items():
        *above, key = path.split(".")
        section = content
        for name in above:
            section = section[name]
        section[key] = value
    params.unlink()
    yaml.dump(content, params)


def checkout(folder: Path) -> Path:
    """The working tree, uncommitted changes included, as a repository of its own with small parameters."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    # Results of the full parameters would only be in the way.
    for path in ("dvc.lock", "metrics", "plots"):
        shutil.rmtree(folder / path) if (folder / path).is_dir() else (folder / path).unlink(missing_ok=True)
    edit(folder / "params.yaml", SMALL)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    commit(folder, "A checkout")
    return folder


@dataclass(frozen=True)
class Run:
    """A finished command: which stages it ran, which it took from the cache, and what lies there afterwards."""

    code: int
    output: str
    seconds: float
    files: dict[str, str]
    cpu_s: float = 0.0  # of the processor, which other programs hardly change

    @property
    def ran(self) -> set[str]:
        return set(re.findall(r"Running stage '([^']+)'", self.output))

    @property
    def restored(self) -> set[str]:
        return set(re.findall(r"Stage '([^']+)' is cached - skipping run", self.output))


_DIGESTS: dict[tuple[int, int, int, int], str] = {}


def digest(path: Path) -> str:
    """The sha256 of a file, once for all its links: a copied checkout mostly has links to the results of the first."""
    about = path.stat()
    key = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    if key not in _DIGESTS:
        _DIGESTS[key] = hashlib.sha256(path.read_bytes()).hexdigest()
    return _DIGESTS[key]


def results(clone: Path) -> dict[str, str]:
    """The sha256 of every result, by path."""
    found = {}
    for folder in ("artifacts", "metrics", "plots"):
        for path in sorted((clone / folder).rglob("*")):
            if path.is_file():
                found[path.relative_to(clone).as_posix()] = digest(path)
    return found


def dvc(clone: Path, *words: str, quick: bool = True) -> Run:
    """DVC as `make repro` runs it, or as it is without `spikevaediff dvc`."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "spikevaediff", "dvc", *words] if quick else ["dvc", *words],
        cwd=clone,
        env=environment(clone.parent),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Run(done.returncode, done.stdout, seconds, results(clone), cpu_s)


def succeeded(clone: Path, *words: str, quick: bool = True) -> Run:
    run = dvc(clone, *words, quick=quick)
    assert run.code == 0, run.output
    return run


def commit(clone: Path, message: str) -> None:
    for words in (["add", "--all"], ["commit", "--quiet", "--message", message]):
        subprocess.run(["git", *words], cwd=clone, env=environment(clone.parent), check=True)


def cloned(source: Path, folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", source, folder / "clone"], env=environment(folder), check=True)
    return folder / "clone"


def copied(pristine: Path, folder: Path, ignore: tuple[str, ...] = ("tmp",)) -> Path:
    """A copy to be changed. What DVC and Git protect from being written is links, as they make them themselves."""

    def copy(source: str, target: str) -> None:
        (shutil.copy2 if os.stat(source).st_mode & 0o222 else os.link)(source, target)

    return Path(shutil.copytree(pristine, folder, ignore=shutil.ignore_patterns(*ignore), copy_function=copy))


def stage(clone: Path, command: str, under: tuple[str, ...] = (), **options: Any) -> subprocess.CompletedProcess[str]:
    name, *words = command.split()
    return subprocess.run(
        [*under, sys.executable, "-m", f"stages.{name}", *words],
        cwd=clone,
        env=environment(clone.parent),
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def cache_with_networks(folder: Path) -> Path:
    """A user's cache that has the networks of this machine's and nothing else: no recordings, terms or noted hashes."""
    for name in assets.ASSETS:
        if assets.state(name) == "yes":
            (folder / assets.location(name).parent.name).symlink_to(assets.location(name).parent)
    compiled = assets.cache_dir() / "compiled"  # by JAX, which takes a quarter of a small run
    compiled.mkdir(parents=True, exist_ok=True)
    (folder / "compiled").symlink_to(compiled)
    return folder
