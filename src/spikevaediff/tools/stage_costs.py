"""What each stage will take here: seconds and memory.

Time of the networks comes from a probe of this machine (probe.py) times how often each is applied; that of all other
stages from a recorded run (recorded_run.py), times how much slower this machine multiplies matrices than the recorded
one, times how many images, folds or targets there are. Memory is what stages were measured to take there, and the
networks' own plans (vdvae.memory, versatile_diffusion.memory).
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loading.machine import processors
from spikevaediff.decoders.second_stage.given import NO_SPIKES, PRIORS
from spikevaediff.encoding.posterior import BATCH_SIZE
from spikevaediff.parameters.file import dataset
from spikevaediff.parameters.of_space import of_space, spaces
from spikevaediff.side_by_side import workers
from spikevaediff.tools import probe
from spikevaediff.tools.needs import in_parts, needs
from spikevaediff.tools.recorded_run import (
    BASE_MB,
    COPIES,
    FEATURE_S,
    LOADING_S,
    MATRIX_S,
    N_FOLDS,
    N_IMAGES,
    N_LIBRARY,
    OVERHEAD_S,
    RECORDED,
    REGRESSION_S,
    SIDE_BY_SIDE,
    START_S,
    TARGETS,
)
from vdvae import memory as of_vdvae
from vdvae.config import CONFIGS
from versatile_diffusion import memory as of_diffusion
from versatile_diffusion.config import AUTOENCODERS, UNETS


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
class Counts:
    """How many of what a run has.

    images, tested, folds, sessions : int.
    library : mapping; "images" it has, and how many of them the regression of a space learns from.
    targets : mapping; numbers of a feature space, where they are known.
    """

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


def counts_of(params: Mapping[str, Any], root: Path) -> Counts:
    """The counts of a run with these parameters."""
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
    return Counts(
        images=images,
        tested=n_tested_of(params, root, images),
        folds=split["n_folds"] if folded else 1,
        sessions=n_sessions,
        library=library,
        targets=targets,
    )


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


def cost_of(whole: str, params: Mapping[str, Any], counts: Counts, speed: Speed, device: str, free: int) -> Stage:
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
    name: str, run: str, params: Mapping[str, Any], counts: Counts, speed: Speed, device: str, free: int
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
    spaces_s = {"vdvae": speed.encode, "vision": speed.vision, "text": speed.text}
    if name in ("features", "library_features") and run in spaces_s and run in counts.targets:
        n_bytes = passing + held if run == "vdvae" else _contexts_bytes(params, counts, run)
        if name == "features":
            return spaces_s[run] * (counts.images + 10), n_bytes, ""
        return spaces_s[run] * counts.library[run], n_bytes, f"-S regress.{run}.library=0"
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
        n = at_once * of_vdvae.images_to_descend(size, config, n_layers, device, most=BATCH_SIZE, at_once=at_once)
        each, kept = of_vdvae.bytes_of_descent(config, n_layers), 2 * weights + 2 * held + 400 * 10**6
        fits = int((free - kept) // each) // at_once
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


def _is_known(model: Mapping[str, Any]) -> bool:
    """Whether the second stage and its contexts are made by modules of this project, which can be timed."""
    known = model["diffusion"]["module"] == "versatile_diffusion"
    return known and all(model[space]["module"] in TARGETS for space in ("vision", "text"))


def _look_s(run: str, counts: Counts, speed: Speed) -> float:
    """Seconds of a look through the encoding models and back: measured, 4.5 ms and 2 microseconds per unit."""
    units = counts.sessions * (85 if run.endswith("control") else 333)
    return (0.0045 + 2e-6 * units) * speed.matrix / MATRIX_S


def _network_bytes(module: str) -> int:
    """CLIP lies in memory in half and in single precision while it is loaded, 0.9 and 1.7 GB; the mini model's are
    small."""
    return 2_700_000_000 if module.startswith("clip_") else 340_000_000


def _contexts_bytes(params: Mapping[str, Any], counts: Counts, space: str) -> int:
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
