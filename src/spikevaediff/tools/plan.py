"""What a run will take on this machine, before it begins: `spikevaediff plan`.

Downloads and disk follow from the table of assets, the manifests of data sets and the sizes of what stages write. Time
of the networks comes from a probe of this machine (probe.py) times how often each is applied; that of all other stages
from a recorded run of the embedded data set, times how much slower this machine multiplies matrices than the recorded
one, times how many images, folds or targets there are. Memory is what stages were measured to take there, and the
networks' own plans (vdvae.memory, versatile_diffusion.memory). It is an estimate: docs/plan.md says how far it was off.
"""

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loading.machine import free_memory, processors
from spikevaediff.decoders.second_stage.given import NO_SPIKES, PRIORS
from spikevaediff.files import assets
from spikevaediff.files.checksums import size_text
from spikevaediff.files.download import File
from spikevaediff.parameters.file import dataset
from spikevaediff.parameters.of_space import of_space, spaces
from spikevaediff.parameters.runs import CORE, wanted
from spikevaediff.side_by_side import workers
from spikevaediff.tools import probe
from spikevaediff.tools.disk import existing, free_bytes
from spikevaediff.tools.needs import Need, in_parts, needs
from vdvae import memory as of_vdvae
from vdvae.config import CONFIGS
from versatile_diffusion import memory as of_diffusion
from versatile_diffusion.config import AUTOENCODERS, UNETS

# The recorded run: 118 images, 418 units, ten folds, 1200 library images, two threads of one core of an Intel Xeon.
N_IMAGES, N_UNITS, N_FOLDS, N_LIBRARY = 118, 418, 10, 1200
MATRIX_S = 0.143  # of probe.matrix_s there
OVERHEAD_S = 0.1  # beside every stage: DVC looks at files and writes dvc.lock
START_S = 0.3  # of a stage, a fork of a process that has imported what it needs
LOADING_S = 0.5  # networks, in the stages that have some
# stage: seconds beside START_S, peak memory in MB, what both grow with
RECORDED: dict[str, tuple[float, int, str]] = {
    "start": (0.9, 120, "nothing"),
    "acquire": (4.9, 340, "images"),
    "captions": (0.0, 100, "images"),
    "responses": (0.0, 120, "sessions"),
    "quality": (5.2, 280, "sessions"),
    "split": (0.5, 130, "images"),
    "encode": (25.0, 1230, "encoders"),
    "library": (2.0, 360, "library"),
    "library_responses": (2.0, 680, "encoders"),
    "curves": (8.0, 460, "images"),
    "identify": (8.4, 780, "encoders"),
    "posterior_images": (0.2, 340, "tested"),
    "looks": (2.3, 1250, "images"),
    "evaluate": (2.3, 1250, "tested"),
    "halves": (4.4, 1210, "tested"),
    "baselines": (3.7, 2030, "tested"),
    "checks_posterior": (0.2, 400, "tested"),
    "checks": (0.6, 400, "tested"),
    "regions": (6.9, 500, "images"),
    "movies": (8.8, 1060, "nothing"),
    "report": (6.4, 390, "images"),  # with the page
}
SIDE_BY_SIDE = ("decode_posterior", "decode_diffusion")  # stages of networks whose batches do not share threads
BASE_MB = 370  # of a process that has imported torch or JAX
# Seconds of an image in features of the mini model, and of a million numbers that a regression predicts and keeps.
FEATURE_S = {"efficientnet": 0.015, "minilm": 0.02}
REGRESSION_S, COPIES = 0.21, 7  # copies of the targets of all rows in memory, measured
# Numbers of a context, and tokens of it, for each module of features.
TARGETS = {"efficientnet": (49, 1280), "minilm": (24, 384), "clip_vision": (257, 768), "clip_text": (77, 768)}


@dataclass(frozen=True)
class Speed:
    """Seconds as probe.py measures them: of an image, but for `matrix`."""

    matrix: float
    encode: float
    decode: float
    descend: float
    vision: float
    text: float
    denoise: float
    unguided: float
    coder: float


@dataclass(frozen=True)
class Stage:
    """What one stage, as dvc.yaml names it, takes.

    name : str; how : str, where the numbers come from; seconds : float; memory : int, bytes; cure : str, what to change
    where the memory does not suffice.
    """

    name: str
    seconds: float
    memory: int
    how: str
    cure: str = ""


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
        return sum(stage.seconds for stage in self.stages)


def measured(params: Mapping[str, Any], device: str) -> Speed:
    """Probe this machine, in seconds to half a minute."""
    model = params["models"][params["model"]]
    vdvae, diffusion = model["vdvae"], model["diffusion"]
    of_images = probe.vdvae_s(vdvae["config"], vdvae["n_layers"], device)
    matrix = probe.matrix_s()
    slower = matrix / MATRIX_S
    contexts = {space: FEATURE_S.get(model[space]["module"], 0.0) * slower for space in ("vision", "text")}
    if clip := [model[space] for space in contexts if model[space]["module"].startswith("clip_")]:
        contexts = probe.clip_s(clip[0]["config"], device)
    step = alone = coder = 0.0
    if _is_known(model):
        tokens = [TARGETS[model[space]["module"]][0] for space in ("vision", "text")]
        step = probe.unet_s(diffusion["unet"], *tokens, guided=diffusion["guidance"] != 1, device=device)
        alone = step / 2 if diffusion["guidance"] != 1 else step
        coder = probe.autoencoder_s(diffusion["autoencoder"], device)
    return Speed(matrix, **of_images, **contexts, denoise=step, unguided=alone, coder=coder)


def _is_known(model: Mapping[str, Any]) -> bool:
    """Whether the second stage and its contexts are made by modules of this project, which can be timed."""
    known = model["diffusion"]["module"] == "versatile_diffusion"
    return known and all(model[space]["module"] in TARGETS for space in ("vision", "text"))


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


def n_images_of(params: Mapping[str, Any], root: Path) -> int:
    """Images of the data set, before it is there: as its options, its tables or those of Allen's scenes say."""
    name, module, options = dataset(params)
    if hasattr(module, "n_images"):
        return int(module.n_images(root / "vendor/data" / name, **options))
    table = root / "vendor/data" / params["dataset"] / "images.csv"
    if table.is_file():
        return sum(1 for line in table.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line) - 1
    return int(options.get("n_images") or 0) or N_IMAGES


def n_tested_of(params: Mapping[str, Any], root: Path, n_images: int) -> int:
    """Images that are tested. Of a split that the data set brings and no table names, a tenth, at most a thousand."""
    split, table = params["split"], root / "vendor/data" / params["dataset"] / "images.csv"
    known = {"k_fold": n_images, "hold_out": split["n_test"]}
    if split["method"] in known:
        return int(known[split["method"]])
    if table.is_file():
        with table.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = csv.DictReader(file)
            if "split" in (rows.fieldnames or ()):
                return sum(row["split"] == "test" for row in rows)
    return min(1000, n_images // 10)


def plan(params: Mapping[str, Any], root: Path, *, speed: Speed, device: str, memory: int | None = None) -> Plan:
    """What a run with these parameters will take.

    Parameters
    ----------
    params : mapping
        Of parameters.file.read.
    root : Path
        Top of the checkout.
    speed : Speed
        Of `measured`.
    device : str
    memory : int, optional
        Bytes that a stage may take; without it what is free now.
    """
    free = free_memory() if memory is None else memory
    counts = _counts(params, root)
    stages = [
        _stage(name, params, counts, speed, device, free)
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


@dataclass(frozen=True)
class _Counts:
    images: int
    tested: int
    folds: int
    sessions: int
    library: Mapping[str, int]
    targets: Mapping[str, int]

    def times(self, of: str) -> float:
        """How much more than in the recorded run there is of something."""
        folds = (self.folds + 1) / (N_FOLDS + 1)
        return {
            "nothing": 1.0,
            "images": self.images / N_IMAGES,
            "tested": self.tested / N_IMAGES,
            "sessions": float(self.sessions),
            "library": self.library["images"] / N_LIBRARY,
            "encoders": folds * self.sessions * self.images / N_IMAGES,
        }[of]


def _counts(params: Mapping[str, Any], root: Path) -> _Counts:
    model, split = params["models"][params["model"]], params["split"]
    config = CONFIGS[model["vdvae"]["config"]]
    shapes = config.latent_shapes()[: model["vdvae"]["n_layers"]]
    targets = {"vdvae": sum(math.prod(shape) for shape in shapes)}
    contexts = {space: model[space]["module"] for space in ("vision", "text")}
    targets |= {space: math.prod(TARGETS[module]) for space, module in contexts.items() if module in TARGETS}
    images, folded = n_images_of(params, root), split["method"] == "k_fold"
    library = {"images": params["library"]["n_images"]}
    library |= {space: of_space(params["regress"], space)["library"] for space in spaces(params["regress"])}
    sessions = dataset(params)[2].get("sessions", 1)
    n_sessions = len(sessions) if isinstance(sessions, Sequence) and not isinstance(sessions, str) else 1
    if sessions == "all":
        paths = [need.path for need in needs(params, root)] + [file.path for file in in_parts(params, root)]
        n_sessions = sum(path.suffix == ".nwb" for path in paths) or 1
    return _Counts(
        images=images,
        tested=n_tested_of(params, root, images),
        folds=split["n_folds"] if folded else 1,
        sessions=n_sessions,
        library=library,
        targets=targets,
    )


def _stage(whole: str, params: Mapping[str, Any], counts: _Counts, speed: Speed, device: str, free: int) -> Stage:
    """Seconds and memory of one stage."""
    name, _, run = whole.partition("@")
    slower, network = speed.matrix / MATRIX_S, _network(name, run, params, counts, speed, device, free)
    start = (OVERHEAD_S + START_S) * slower
    if network is not None:
        seconds, n_bytes, cure = network
        # Two threads do 1.5 times the work of one, or 1.85 times where they do not share batches, both measured; a GPU
        # is timed by the clock.
        power = 0.9 if name in SIDE_BY_SIDE else 0.6
        threads = processors() ** power if device == "cpu" else 1.0
        return Stage(whole, start + LOADING_S * slower + seconds / threads, n_bytes + BASE_MB * 10**6, "probe", cure)
    space = {"control": "vdvae"}.get(run, run.removeprefix("control_"))
    if name in ("regress", "noise_ceiling") and space in counts.targets:
        rows = counts.images + counts.library[space]
        numbers = rows * counts.targets[space] / 1e6
        folds = counts.folds / N_FOLDS
        seconds = REGRESSION_S * numbers * folds * slower * (1.3 if name == "noise_ceiling" else 1)
        cure = f"A smaller library needs less: -S regress.{space}.library=0" if counts.library[space] else ""
        return Stage(whole, start + seconds, int((BASE_MB + 4 * COPIES * numbers) * 1e6), "recorded", cure)
    recorded, mb, of = RECORDED.get(name, (10.0, 1000, "images"))
    how = "recorded" if name in RECORDED else "a guess: this stage was not recorded"
    more = counts.times(of)
    grown = BASE_MB + max(0, mb - BASE_MB) * max(1.0, more)
    return Stage(whole, start + recorded * more * slower, int(max(mb, grown) * 1e6), how)


def _network(
    name: str, run: str, params: Mapping[str, Any], counts: _Counts, speed: Speed, device: str, free: int
) -> tuple[float, int, str] | None:
    """Seconds of one thread, bytes and cure of a stage that is a network's; None for others."""
    model = params["models"][params["model"]]
    vdvae, diffusion, posterior = model["vdvae"], model["diffusion"], params["decode"]["posterior"]
    config, n_layers = CONFIGS[vdvae["config"]], vdvae["n_layers"]
    size = params["compute"]["batch_size"]
    weights = 4 * sum(shape.numel() for shape in probe.shapes(vdvae["config"]).values())
    at_once = of_vdvae.images_at_once(size, config, device)
    passing = 2 * weights + at_once * of_vdvae.bytes_per_image(config)
    held = 4 * (counts.images + counts.library["vdvae"]) * counts.targets["vdvae"]
    known = {
        "encode": ("features", "vdvae", speed.encode, passing + held),
    }
    for space, seconds in (("vision", speed.vision), ("text", speed.text)):
        if space in counts.targets:
            known[space] = ("features", space, seconds, _contexts_bytes(params, counts, space))
    for stage, space, seconds, n_bytes in known.values():
        if name == stage and run == space:
            return seconds * (counts.images + 10), n_bytes, ""
        if name == f"library_{stage}" and run == space:
            return seconds * counts.library[space], n_bytes, f"-S regress.{space}.library=0"
    if name == "unconditional" and {"vision", "text"} <= counts.targets.keys():
        # Loading the networks takes as long as ten images each.
        modules = [model[space]["module"] for space in ("vision", "text")]
        return 10 * (speed.vision + speed.text), max(map(_network_bytes, modules)), ""
    own = params["decode"]["vdvae"]["module"] != "vdvae"  # which nobody has timed
    if name == "decode" and not own:
        return speed.decode * counts.tested, passing + held, ""
    if name == "layers":
        n = len(config.latent_shapes())
        return speed.decode * params["layers"]["n_images"] * n, passing, ""
    if name == "known_mistakes" and not own:
        return 7 * speed.decode * counts.tested + 3 * speed.matrix / MATRIX_S, passing + 3 * held, ""
    if name == "decode_posterior":
        look = _look_s(run, counts, speed)
        shared = posterior["shared_steps"] if posterior["prior"] == "normal" else 0
        passes = counts.tested * (posterior["n_samples"] * posterior["steps"] + shared)
        at_once = workers(device)
        n = at_once * of_vdvae.images_to_descend(size, config, n_layers, device, most=48, at_once=at_once)
        each, kept = of_vdvae.bytes_of_descent(config, n_layers), 2 * weights + 2 * held + 400 * 10**6
        fits = int((free - kept) // each)
        cure = f"Set -S compute.batch_size={fits}" if fits >= 1 else "The mini model needs less: -S model=mini"
        return passes * (speed.descend + look) + speed.decode * counts.library["vdvae"], kept + n * each, cure
    if name == "decode_diffusion" and _is_known(model):
        taken = diffusion["steps"] if run in PRIORS else int(diffusion["steps"] * diffusion["strength"])
        step = speed.unguided if run == NO_SPIKES else speed.denoise
        n = counts.tested * params["decode"]["diffusion"]["n_samples"]
        n_bytes, cure = _diffusion_bytes(diffusion, model, device, size, free)
        if diffusion["guidance_likelihood"] and run not in PRIORS:
            # A gradient through the decoder, and a picture beside.
            step += 2 * speed.coder + 2 * _look_s(run, counts, speed)
        return n * (taken * step + speed.coder), n_bytes, cure
    return None


def _look_s(run: str, counts: _Counts, speed: Speed) -> float:
    """Seconds of a look through the encoding models and back: measured, 4.5 ms and 2 microseconds per unit."""
    units = counts.sessions * (85 if run.endswith("control") else 333)
    return (0.0045 + 2e-6 * units) * speed.matrix / MATRIX_S


def _network_bytes(module: str) -> int:
    """CLIP lies in memory in half and in single precision while it is loaded, 0.9 and 1.7 GB; the mini model's are
    small."""
    return 2_700_000_000 if module.startswith("clip_") else 340_000_000


def _contexts_bytes(params: Mapping[str, Any], counts: _Counts, space: str) -> int:
    rows = counts.images + counts.library[space]
    module = params["models"][params["model"]][space]["module"]
    return _network_bytes(module) + 2 * 4 * rows * counts.targets[space]


def _diffusion_bytes(
    diffusion: Mapping[str, Any], model: Mapping[str, Any], device: str, size: int | str, free: int
) -> tuple[int, str]:
    unet, autoencoder = UNETS[diffusion["unet"]], AUTOENCODERS[diffusion["autoencoder"]]
    given: dict[str, Any] = {
        "size_px": unet.latent_size * autoencoder.factor,
        "n_tokens": sum(TARGETS[model[space]["module"]][0] for space in ("vision", "text")),
        "guided": diffusion["guidance"] != 1,
        "dtype": torch.float32,
        "device": device,
        "descends": diffusion["guidance_likelihood"] > 0,
    }
    plenty = of_diffusion.plan(unet, autoencoder, **given, batch_size=1, free=10**15)
    try:
        fits = of_diffusion.plan(unet, autoencoder, **given, batch_size=size, free=free)
    except MemoryError:
        needed = int(plenty.least / of_diffusion.SHARE)
        if size != "auto" and needed <= free:
            return plenty.weights + int(size) * plenty.image, "Set -S compute.batch_size=auto"
        return needed, "The mini model needs less: -S model=mini"
    return fits.weights + max(fits.n_images * fits.image, fits.n_decoded * fits.decoded), ""


def _disk(
    params: Mapping[str, Any], root: Path, counts: _Counts, files: Sequence[Need], parts: Sequence[File]
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
