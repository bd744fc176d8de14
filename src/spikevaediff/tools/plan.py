"""What a run will take on this machine, before it begins: `spikevaediff plan`.

Downloads and disk follow from the table of assets, the manifests of data sets and the sizes of what stages write; time
and memory are those of the stages (stage_costs.py). It is an estimate: docs/plan.md says how far it was off.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loading.machine import free_memory
from spikevaediff.files import assets
from spikevaediff.files.checksums import size_text
from spikevaediff.files.download import File
from spikevaediff.parameters.file import dataset
from spikevaediff.parameters.runs import CORE, wanted
from spikevaediff.tools.disk import existing, free_bytes
from spikevaediff.tools.needs import Need, in_parts, needs
from spikevaediff.tools.recorded_run import BASE_MB, MATRIX_S, N_FOLDS, N_LIBRARY, OVERHEAD_S, START_S
from spikevaediff.tools.stage_costs import Counts, Speed, Stage, cost_of, counts_of
from versatile_diffusion.config import UNETS


@dataclass(frozen=True)
class Plan:
    """Files, disk, stages, and what does not fit with what would.

    parts : list of File; those that stay on their server, of which `about` estimates what is read.
    """

    files: list[Need]
    parts: list[File]
    disk: dict[str, tuple[Path, int, int]]  # what: (folder, bytes that will be written, bytes free)
    stages: list[Stage]
    memory_free: int
    problems: list[str]

    @property
    def seconds(self) -> float:
        """Of all stages, one after the other."""
        return sum(stage.seconds for stage in self.stages)


def stage_parts(root: Path) -> dict[str, str]:
    """Every stage of dvc.yaml by its whole name, as DVC sees them, and the part with which it is left out."""
    from dvc.repo import Repo  # half a second

    # Stages are the same without Git, which an unpacked archive lacks. With it, DVC passes over what Git ignores.
    with Repo(str(root), config=None if (root / ".git").exists() else {"core": {"no_scm": True}}) as repo:
        commands = {stage.addressing: stage.cmd for stage in repo.index.stages if stage.cmd}
    return {
        name: command.split()[3] if "stages.part" in command else CORE
        for name, command in commands.items()
        if not name.startswith("stages/")  # those of stages/pretrain
    }


def plan(params: Mapping[str, Any], root: Path, *, speed: Speed, device: str, memory: int | None = None) -> Plan:
    """What a run with these parameters will take.

    Parameters
    ----------
    params : mapping
        Of parameters.file.read.
    root : Path
        Top of the checkout.
    speed : Speed
        Of stage_costs.measured.
    device : str
    memory : int, optional
        Bytes that a stage may take; without it what is free now.
    """
    free = free_memory() if memory is None else memory
    counts = counts_of(params, root)
    stages = [
        cost_of(name, params, counts, speed, device, free)
        if wanted(part, params["parts"])
        else Stage(name, (OVERHEAD_S + START_S) * speed.matrix / MATRIX_S, BASE_MB * 10**6, "left out")
        for name, part in stage_parts(root).items()
    ]
    files, parts = needs(params, root), in_parts(params, root)
    disk = _disk(params, root, counts, files, parts)
    problems = [
        f"{stage.name} takes {size_text(stage.memory)} of memory, {size_text(free)} are free. {stage.cure}".strip()
        for stage in stages
        if stage.memory > free
    ]
    by_disk: dict[int, list[str]] = {}
    for what, (folder, n_bytes, _) in disk.items():
        if n_bytes:
            by_disk.setdefault(existing(folder).stat().st_dev, []).append(what)
    for names in by_disk.values():
        total, left = sum(disk[name][1] for name in names), min(disk[name][2] for name in names)
        if total > left:
            problems.append(
                f"{' and '.join(names)} take {size_text(total)}, {size_text(left)} are free. {_smaller(params)}"
            )
    return Plan(files, parts, disk, stages, free, problems)


def _smaller(params: Mapping[str, Any]) -> str:
    """What to change where the disk is too small."""
    sessions = dataset(params)[2].get("sessions")
    if sessions == "all" or (isinstance(sessions, Sequence) and len(sessions) > 1):
        return f"Fewer sessions need less: -S 'datasets.{params['dataset']}.sessions=[...]'"
    if params["model"] == "published":
        return (
            "The mini model needs less: -S model=mini. Or choose other disks: SPIKEVAEDIFF_CACHE, dvc cache dir --local"
        )
    return "Choose other disks: SPIKEVAEDIFF_CACHE, dvc cache dir --local"


def _disk(
    params: Mapping[str, Any], root: Path, counts: Counts, files: Sequence[Need], parts: Sequence[File]
) -> dict[str, tuple[Path, int, int]]:
    """Where how much will be written. Results are counted once: DVC's cache holds the same bytes, as links where the
    file system has them."""
    fetched = sum(need.n_bytes for need in files if need.required and need.state != "have")
    fetched += sum(file.about or 0 for file in parts)
    results = 10**6 * (40 + 52 * counts.sessions + 30 * counts.sessions * (counts.folds + 1) / (N_FOLDS + 1))
    results += 2.1e6 * counts.images  # what networks of metrics say of the images shown
    results += 27e6 * counts.library["images"] / N_LIBRARY + 22e6 * (counts.folds + 1) / (N_FOLDS + 1) * counts.sessions
    for space, n in counts.targets.items():
        rows = counts.images + counts.library[space]
        # Features, library, fits of all images for two populations, predictions raw and renormalised, halves of vdvae.
        results += (
            4 * n * (counts.images + counts.library[space] + 2 * rows + (4 + 2 * (space == "vdvae")) * counts.tested)
        )
    diffusion = params["models"][params["model"]]["diffusion"]
    side = UNETS[diffusion["unet"]].latent_size * 8 if diffusion["module"] == "versatile_diffusion" else 512
    results += counts.tested * 5 * side**2 * 1.2
    return {
        "downloads": (assets.cache_dir(), fetched, free_bytes(assets.cache_dir())),
        "results": (root, int(results), free_bytes(root)),
    }


def lines(found: Plan) -> Iterator[tuple[str, ...]]:
    """Stages of one name together, the slowest first: (stage, how many, time, memory, how)."""
    kinds: dict[str, list[Stage]] = {}
    for stage in found.stages:
        kinds.setdefault(stage.name.partition("@")[0], []).append(stage)
    for kind, some in sorted(kinds.items(), key=lambda item: -sum(stage.seconds for stage in item[1])):
        seconds, most = sum(stage.seconds for stage in some), max(stage.memory for stage in some)
        yield kind, str(len(some)), time_text(seconds), size_text(most), some[0].how


def grouped(some: Sequence[Need]) -> Iterator[tuple[str, str, str, str]]:
    """Files of one use and state together: (names, size, state, used for)."""
    kinds: dict[tuple[str, str], list[Need]] = {}
    for need in some:
        state: str = need.state if need.required or need.state == "have" else "absent, its metric too"
        kinds.setdefault((need.used_for, state), []).append(need)
    for (used_for, state), alike in kinds.items():
        more = f" and {len(alike) - 1} more" if len(alike) > 1 else ""
        yield alike[0].name + more, size_text(sum(need.n_bytes for need in alike)), state, used_for


def time_text(seconds: float) -> str:
    """A time for people, to two digits: "45 s", "12 min", "3.4 h", "5.1 days"."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit or (name == "min" and seconds >= 100):
            n = seconds / unit
            return f"{n:.0f} {name}" if n >= 10 else f"{n:.1f} {name}"
    return f"{seconds:.0f} s"
