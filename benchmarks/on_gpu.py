"""A GPU beside the processor of its machine: are results equal, and how long does it take? See on_gpu.sh.

Workloads W1 to W6 of bench_ridge.py; the published VDVAE (latents of 31 layers, and images of them); a guided denoising
step of Versatile Diffusion in several types, compiled or not; a step of the search for latents that explain responses;
and a whole image of 512 px. Weights are random. The difference is that from float32 on the processor, or for the
regressions from float64 of 48 targets, over the largest value (half precision: over the standard deviation). Seconds
are the median of three runs after one that plans. A row whose difference is above its tolerance is marked, and the exit
status is then 1.
"""

import argparse
import dataclasses
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "vendor")]

from benchmarks import bench_vdvae, bench_versatile_diffusion
from loading.noise import image_noise
from spikevaediff.encoding import encoder as encoders
from spikevaediff.encoding import posterior
from vdvae.config import CONFIGS
from vdvae.memory import images_at_once
from vdvae.model import VDVAE
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.sampler import Schedule, Steps, denoise
from versatile_diffusion.unet import UNet

# By type, of the largest value or of the standard deviation, and in grey levels: bfloat16 keeps 8 bits, whose rounding
# guidance multiplies by 7.5.
TOLERANCES = {torch.float32: 1e-4, torch.float16: 0.1, torch.bfloat16: 0.2}
GREY_LEVELS = {torch.float32: 2, torch.float16: 2, torch.bfloat16: 8}
REGRESSION_SCALE = 0.02  # of --small
Row = tuple[str, str, float, float, float, float]  # task, type, seconds, peak GB, difference, tolerance


def rounds(task: Callable[[], Any], device: str, n: int) -> tuple[float, float, Any]:
    """Median seconds of n runs after a first one, peak memory in GB (of a GPU), and the result."""
    result, seconds = task(), []
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    for _ in range(n):
        started = time.perf_counter()
        result = task()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else 0.0, result


def regressions(device: str, small: bool) -> Iterator[Row]:
    """Each in a process of its own, since JAX and torch would share the memory of the GPU."""
    from benchmarks.bench_ridge import WORKLOADS  # which sets the environment that its own processes need

    for name, workload in WORKLOADS.items():
        n_targets = workload.sized(REGRESSION_SCALE if small else None).n_targets
        command = [sys.executable, str(ROOT / "benchmarks/bench_ridge.py"), "--one", name, "ours", str(n_targets)]
        command += ["--gpu"] * (device == "cuda") + ["--scale", str(REGRESSION_SCALE)] * small
        environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
        record = json.loads(done.stdout.splitlines()[-1])
        peak = 0.0 if device == "cuda" else record["peak_mb"] / 1e3  # that of the process, not of the GPU
        yield f"regression {name}", "float32", record["cpu_s"], peak, record["error"], TOLERANCES[torch.float32]


def difference(found: list[Tensor], expected: list[Tensor], half: bool) -> float:
    """The largest, over the largest value, or over the standard deviation."""
    pairs = zip(found, expected, strict=True)
    return max(float((a.cpu().float() - b).abs().max() / (b.std() if half else b.abs().max())) for a, b in pairs)


def kinds(device: str) -> list[tuple[str, torch.dtype, bool]]:
    plain = [(str(kind).removeprefix("torch."), kind, False) for kind in (torch.float32, torch.bfloat16, torch.float16)]
    return plain + [("bfloat16 compiled", torch.bfloat16, True)] * (device == "cuda")


def vdvae(device: str, small: bool) -> Iterator[Row]:
    config, n = CONFIGS["mini64" if small else "imagenet64"], 2 if small else 32
    n_layers = min(bench_vdvae.N_LAYERS, len(config.latent_shapes()))
    shape = (n, config.image_size, config.image_size, config.image_channels)
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    weights = bench_vdvae.random_weights(config, 0)

    def model_of(kind: torch.dtype, place: str) -> VDVAE:
        model = bench_vdvae.build(VDVAE, config, {name: value.to(place, kind) for name, value in weights.items()})
        assert isinstance(model, VDVAE)
        return model

    def tasks(model: VDVAE, place: str) -> dict[str, Callable[[], list[Tensor]]]:
        size = min(n, images_at_once("auto", config, place))
        parts = [slice(i, i + size) for i in range(0, n, size)]

        def encode() -> list[Tensor]:
            found = [model.encode(images[part], n_layers=n_layers) for part in parts]
            return [torch.cat(layer) for layer in zip(*found, strict=True)]

        def decode() -> list[Tensor]:
            of_device = [[z[part].to(place) for z in latents] for part in parts]
            return [torch.cat([model.pixel_parameters(z, len(z[0])) for z in of_device])]

        return {"VDVAE, latents": encode, "VDVAE, images": decode}

    reference = model_of(torch.float32, "cpu")
    latents: list[Tensor] = []
    on_cpu = tasks(reference, "cpu")
    latents += on_cpu["VDVAE, latents"]()
    expected = {name: task() for name, task in on_cpu.items()}
    for label, kind, compiled in kinds(device):
        if kind == torch.float16:
            continue  # its range is too small for the random VDVAE; it is published in float32
        model = model_of(kind, device)
        for name, task in tasks(bench_vdvae.compiled(model) if compiled else model, device).items():
            seconds, peak, found = rounds(task, device, 1 if small else 3)
            half = kind != torch.float32
            off = difference(found, expected[name], half)
            yield f"{name}, {n} images", label, seconds / n, peak, off, TOLERANCES[kind]


def diffusion(device: str, small: bool) -> Iterator[Row]:
    config, size = UNETS["four_flow"], 512
    if small:
        config, size = dataclasses.replace(config, width=64), 64
    weights = bench_versatile_diffusion.fill(bench_versatile_diffusion.on_meta(config), 0)
    expected = bench_versatile_diffusion.step_of(model_of_step(config, weights, torch.float32, "cpu"), size, "cpu")()
    for label, kind, compiled in kinds(device):
        model = model_of_step(config, weights, kind, device)
        if compiled:
            model.compile()
        step = bench_versatile_diffusion.step_of(model, size, device)
        seconds, peak, found = rounds(step, device, 1 if small else 3)
        half = kind != torch.float32
        off = difference([found], [expected], half)
        yield f"denoising step, {size} px", label, seconds, peak, off, TOLERANCES[kind]


def model_of_step(config: Any, weights: dict[str, Tensor], kind: torch.dtype, device: str) -> UNet:
    model = bench_versatile_diffusion.build(bench_versatile_diffusion.on_meta(config), weights, kind, device)
    assert isinstance(model, UNet)
    return model


def search(device: str, small: bool) -> Iterator[Row]:
    """encoding/posterior.py: two steps of one batch."""
    rng = np.random.default_rng(0)
    n, n_units = (4, 6) if small else (48, 200)
    config = CONFIGS["mini64"] if small else CONFIGS["imagenet64"]
    n_layers = 3 if small else 31
    coarse = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    pixels = coarse.repeat(16, 1).repeat(16, 2)
    # Responses follow the brightness of a place, so that there are encoding models to look through.
    places = rng.integers(0, 8, (n_units, 2))
    counts = coarse[:, places[:, 0], places[:, 1]] / 25 + rng.normal(0, 1, (len(coarse), n_units))
    model_weights = bench_vdvae.random_weights(config, 0)
    fit = fitted(pixels, counts)
    gains = np.zeros((n_units, sum(int(np.prod(s)) for s in config.latent_shapes()[:n_layers])), np.float32)
    found = {}
    for place in dict.fromkeys(["cpu", device]):
        model = bench_vdvae.build(VDVAE, config, dict(model_weights))
        given: dict[str, Any] = {"encoder": fit, "gain": gains, "model": model, "n_layers": n_layers, "seed": 0}
        given |= {
            "weights_of": Path,
            "n_samples": 1,
            "steps": 2,
            "step_size": 0.1,
            "temperature": 1.0,
            "batch_size": "auto",
            "device": place,
        }
        ids = np.arange(1000, 1000 + (n if place == device else 1))
        response = np.full((len(ids), n_units), 5.0)

        def task() -> np.ndarray:
            return posterior.samples(response, ids, **given)  # noqa: B023

        found[place] = rounds(task, device, 1) if place == device else (0.0, 0.0, task())
    seconds, peak, images = found[device]
    off = float(np.abs(images[:1] - found["cpu"][2][:1]).max())
    yield f"posterior, a step of {n} images", "float32", seconds / 2, peak, off, 0.01


def fitted(pixels: np.ndarray, counts: np.ndarray) -> encoders.Encoder:
    """Encoding models of random responses: what they predict does not matter, that they are looked through does."""
    n = counts.shape[1]
    units = {"unit_id": np.arange(n), "session_id": np.ones(n, np.int64), "area": np.repeat("V1", n)}
    maps = encoders.maps_of(pixels, ["luminance"], Path)
    return encoders.fit(maps, counts, families=["luminance"], image_id=np.arange(len(pixels)), units=units)


def image(device: str, small: bool) -> Iterator[Row]:
    """Encode, denoise, decode: strength 0.75 of 50 steps; differences of two steps, in grey levels."""
    config, coder_config = UNETS["four_flow"], AUTOENCODERS["kl_f8"]
    size, steps = 512, 50
    if small:
        config, coder_config = dataclasses.replace(config, width=64), dataclasses.replace(coder_config, width=32)
        size, steps = 64, 4
    weights = bench_versatile_diffusion.fill(bench_versatile_diffusion.on_meta(config), 0)
    with torch.device("meta"):
        unfilled = Autoencoder(coder_config)
    coder_weights = bench_versatile_diffusion.fill(unfilled, 1)
    pixels = (
        np.random.default_rng(0)
        .integers(0, 256, (1, 8, 8, 3), dtype=np.uint8)
        .repeat(size // 8, 1)
        .repeat(size // 8, 2)
    )

    def made(kind: torch.dtype, place: str, n_steps: int) -> np.ndarray:
        unet, coder = networks[kind, place]
        _, (empty, given) = bench_versatile_diffusion.inputs(config, size, place)
        with torch.no_grad():
            contexts = [unet.contexts(*pair) for pair in (given, empty)]
            grid = Steps.ddim(Schedule.published(), n_steps, 0.0)
            options: dict[str, Any] = {"noise": image_noise([0]), "start": coder.encode(pixels), "steps": grid}
            *_, (last, _) = denoise(unet, *contexts, **options, strength=0.75, guidance=7.5, mixed_ratio=0.6)
            return coder.decode(last)

    networks: dict[tuple[torch.dtype, str], tuple[UNet, Autoencoder]] = {}

    def build(kind: torch.dtype, place: str) -> None:
        with torch.device("meta"):
            coder: nn.Module = Autoencoder(coder_config)
        coder = bench_versatile_diffusion.build(coder, coder_weights, kind, place)
        assert isinstance(coder, Autoencoder)
        networks[kind, place] = model_of_step(config, weights, kind, place), coder

    build(torch.float32, "cpu")
    expected = made(torch.float32, "cpu", 2)
    for label, kind, _ in [one for one in kinds(device) if not one[2]]:
        build(kind, device)
        off = np.abs(made(kind, device, 2).astype(int) - expected)
        whole = rounds(lambda: made(kind, device, steps), device, 1)  # noqa: B023
        # Of half precision the mean: single pixels at an edge may differ by much.
        found = float(off.max() if kind == torch.float32 else off.mean())
        yield f"image of {size} px, {round(0.75 * steps)} steps", label, whole[0], whole[1], found, GREY_LEVELS[kind]
        if (kind, device) != (torch.float32, "cpu"):
            del networks[kind, device]


SECTIONS = {"regressions": regressions, "vdvae": vdvae, "diffusion": diffusion, "search": search, "image": image}


def heading(device: str, arguments: list[str]) -> str:
    from importlib.metadata import version

    name = (
        torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    cuda = f", CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}" if device == "cuda" else ""
    jax = ", ".join(f"{package} {version(package)}" for package in ("jax", "jaxlib"))
    command = " ".join(["benchmarks/on_gpu.sh", *map(shlex.quote, arguments)])
    return (
        f"{name}; torch {torch.__version__}{cuda}, {jax}, Python {platform.python_version()}; `{command}`\n\n"
        "| task | type | seconds | peak memory, GB | difference | tolerance |\n|---|---|---:|---:|---:|---:|\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to try the script")
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/gpu.md")
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no GPU here; --device cpu --small tries the script on a processor")
    # Float32 is float32.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    text, failed = heading(chosen.device, sys.argv[1:]), False
    for name in chosen.only:
        for task, kind, seconds, peak, off, tolerance in SECTIONS[name](chosen.device, chosen.small):
            wrong = not off <= tolerance
            failed |= wrong
            memory = f"{peak:.2f}" if peak else ""
            said = f"{off:.1e}" + " **too large**" * wrong
            text += f"| {task} | {kind} | {seconds:.4g} | {memory} | {said} | {tolerance:g} |\n"
            chosen.out.write_text(text, encoding="utf-8")  # what is measured stays, if the time is up
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
