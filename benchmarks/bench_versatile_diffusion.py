"""Speed and memory of Versatile Diffusion beside a direct implementation.

    python benchmarks/bench_versatile_diffusion.py [--size 256] [--width 160] [--image]

One denoising step (vision and text contexts, with and without condition) of the published network with the same random
weights; `eager_versatile_diffusion.py` is the yardstick. Runs alternate, every number is the median. Time is that of
the processor with one thread, beside the wall clock: on a machine with other work only the first compares. Memory
beyond the weights is that of the tensors that exist at the same time. Speed is relative to the direct implementation
with as many bits: float32, or bfloat16 for half of them. Prints Markdown.

Fewer pixels or channels take less time and memory; --image makes one whole image instead (encode, denoise, decode).
"""

import argparse
import contextlib
import dataclasses
import math
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "vendor")]

from benchmarks.eager_versatile_diffusion import EagerUNet
from benchmarks.live_memory import Live
from loading.noise import image_noise
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS, UNetConfig
from versatile_diffusion.sampler import Schedule, Steps, denoise
from versatile_diffusion.unet import Contexts, UNet

N_VISION, N_TEXT = 257, 77  # tokens
MIXED_RATIO, GUIDANCE = 0.6, 7.5
TOLERANCE = 1e-4  # of the largest value, float32
HALF_TOLERANCE = 0.1  # of the standard deviation, bfloat16 and float16

Step = Callable[[], Tensor]


def fill(model: nn.Module, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random weights that keep activations near 1, by name; the model stays on the meta device."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, value in model.state_dict().items():
        if value.ndim == 1:
            named = "norm" in name and name.endswith("weight")
            weights[name] = torch.full(value.shape, 1.0 if named else 0.01, dtype=dtype)
        else:
            bound = math.sqrt(3 / math.prod(value.shape[1:]))
            weights[name] = torch.empty(value.shape).uniform_(-bound, bound, generator=generator).to(dtype)
    for name in weights:  # normalisations that are numbered instead of named
        if name.endswith(("in_layers.0.weight", "out_layers.0.weight", "out.0.weight")):
            weights[name].fill_(1.0)
    return weights


def build(model: nn.Module, weights: dict[str, Tensor], dtype: torch.dtype, device: str) -> nn.Module:
    """As versatile_diffusion.weights leaves a model: kernels with their channels last in memory."""
    last = torch.channels_last
    loaded = {
        name: value.to(device, dtype).contiguous(memory_format=last if value.ndim == 4 else torch.contiguous_format)
        for name, value in weights.items()
    }
    model.load_state_dict(loaded, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def on_meta(config: UNetConfig) -> UNet:
    with torch.device("meta"):
        return UNet(config)


def inputs(config: UNetConfig, size_px: int, device: str) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Latents, and unconditional and conditional contexts as (vision, text)."""
    g = torch.Generator().manual_seed(1)
    shapes = [(1, N_VISION, config.vision_width), (1, N_TEXT, config.text_width)] * 2
    a, b, c, d = (torch.randn(shape, generator=g).to(device) for shape in shapes)
    return torch.randn(1, 4, size_px // 8, size_px // 8, generator=g).to(device), [(a, b), (c, d)]


def step_of(model: UNet | EagerUNet, size_px: int, device: str) -> Step:
    """Both predictions of a guided step. The keys and values of the contexts are ready, as in all steps of an image but
    for the first; the yardstick computes them, and makes a pass for each prediction."""
    x, given = inputs(model.config, size_px, device)
    t = torch.tensor([721.0], device=device)
    if isinstance(model, EagerUNet):
        weight = model.w["time_embed.0.weight"]
        x, given = x.to(weight), [(vision.to(weight), text.to(weight)) for vision, text in given]
        return lambda: torch.cat([model(x, t, vision, text, MIXED_RATIO) for vision, text in given])
    contexts = Contexts.join([model.contexts(*pair) for pair in given])
    return lambda: model(x, t, contexts, mixed_ratio=MIXED_RATIO)


def peak_of_this_process() -> float:
    """Bytes. Not ru_maxrss where it can be avoided: on Linux a child starts with that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * float(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0])
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def model_of(kind: str, config: UNetConfig, weights: dict[str, Tensor], device: str) -> UNet | EagerUNet:
    """kind: a dtype of ours, or "eager" and one."""
    dtype = getattr(torch, kind.removeprefix("eager "))
    if kind.startswith("eager"):
        return EagerUNet(config, {name: value.to(device, dtype) for name, value in weights.items()})
    model = build(on_meta(config), weights, dtype, device)
    assert isinstance(model, UNet)
    return model


def timed(step: Step, gpu: bool) -> tuple[float, float, Tensor]:
    """(processor or, on a GPU, wall; wall; result)"""
    cpu, wall = time.process_time(), time.perf_counter()
    result = step()
    if gpu:
        torch.cuda.synchronize()
    wall = time.perf_counter() - wall
    return (wall if gpu else time.process_time() - cpu), wall, result.float()


def compare(config: UNetConfig, options: argparse.Namespace, device: str) -> None:
    """Print the table of a device."""
    gpu = device == "cuda"
    kinds = ["eager float32", "float32", "eager bfloat16", "bfloat16"]
    kinds += ["float16", "bfloat16 compiled"] if gpu else []
    if gpu:  # float32 is float32
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    weights = fill(on_meta(config), 0)
    n_values = sum(value.numel() for value in weights.values())
    steps: dict[str, Step] = {}
    memory: dict[str, float] = {}
    runs: dict[str, list[tuple[float, float, Tensor]]] = {kind: [] for kind in kinds}
    for kind in kinds:
        model = model_of(kind.removesuffix(" compiled"), config, weights, device)
        if "compiled" in kind:
            model.compile()
        with Live() if "compiled" not in kind else contextlib.nullcontext() as live:
            steps[kind] = step_of(model, options.size, device)
            steps[kind]()  # the first one also plans and compiles
        memory[kind] = math.nan if live is None else live.peak / 1e9
    for _ in range(options.runs):
        for kind in kinds:
            runs[kind].append(timed(steps[kind], gpu))
    name = torch.cuda.get_device_name() if gpu else f"{platform.machine()}, one thread"
    print(f"\n{name}, torch {torch.__version__}, {n_values:,} weights, {options.size} px, median of {options.runs}\n")
    seconds = "s" if gpu else "processor s"
    print(f"| implementation | {seconds} | wall s | speed | weights | beyond them | difference |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    truth = runs["eager float32"][0][2]
    failed = []
    for kind in kinds:
        own, wall = (statistics.median(run[i] for run in runs[kind]) for i in (0, 1))
        half = "float32" not in kind
        base = statistics.median(run[0] for run in runs[f"eager {'bfloat16' if half else 'float32'}"])
        error = float((runs[kind][-1][2] - truth).abs().max() / (truth.std() if half else truth.abs().max()))
        print(
            f"| {kind} | {own:.2f} | {wall:.2f} | {base / own:.2f} x | {n_values * (2 if half else 4) / 1e9:.2f} GB | "
            f"{memory[kind]:.2f} GB | {error:.1e} |"
        )
        if error > (HALF_TOLERANCE if half else TOLERANCE):
            failed.append(kind)
    if failed:
        raise SystemExit(f"{failed} and eager disagree by more than {TOLERANCE:g} (half: {HALF_TOLERANCE:g})")


def whole_image(config: UNetConfig, options: argparse.Namespace) -> None:
    """One image of the given size with random weights: encode, denoise, decode; one line per stage."""
    dtype = getattr(torch, options.dtype)
    cpu = time.process_time()
    unet = build(on_meta(config), fill(on_meta(config), 0, dtype), dtype, "cpu")
    with torch.device("meta"):
        autoencoder: nn.Module = Autoencoder(AUTOENCODERS["kl_f8"])
    autoencoder = build(autoencoder, fill(autoencoder, 1, dtype), dtype, "cpu")
    assert isinstance(unet, UNet)
    assert isinstance(autoencoder, Autoencoder)
    print(f"random weights in {options.dtype}: {time.process_time() - cpu:.0f} processor s", flush=True)

    def report(what: str, start: tuple[float, float]) -> None:
        own, wall = time.process_time() - start[0], time.perf_counter() - start[1]
        print(
            f"{what}: {own:.1f} processor s, {wall:.1f} wall s, peak {peak_of_this_process() / 1e9:.1f} GB", flush=True
        )

    pixels = np.random.default_rng(0).integers(0, 256, (1, options.size, options.size, 3), dtype=np.uint8)
    _, (unconditional, conditional) = inputs(config, options.size, "cpu")
    first = start = time.process_time(), time.perf_counter()
    latents = autoencoder.encode(pixels)
    report("encode", start)
    start = time.process_time(), time.perf_counter()
    with torch.no_grad():
        contexts = [unet.contexts(*pair) for pair in (unconditional, conditional)]
    report("keys and values of the contexts", start)
    states = denoise(
        unet,
        contexts[1],
        contexts[0],
        noise=image_noise([0]),
        start=latents,
        steps=Steps.ddim(Schedule.published(), options.steps, 0.0),
        strength=options.strength,
        guidance=GUIDANCE,
        mixed_ratio=MIXED_RATIO,
    )
    start = time.process_time(), time.perf_counter()
    for n_steps, (x, _) in enumerate(states, 1):
        report(f"step {n_steps}", start)
        start, latents = (time.process_time(), time.perf_counter()), x
    images = autoencoder.decode(latents.clamp(-4, 4))
    report("decode", start)
    report(f"image {images.shape[1:]} in all", first)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="pixels of a side")
    parser.add_argument("--width", type=int, default=320, help="channels of the finest level; 320 is published")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--image", action="store_true", help="one whole image instead of single steps")
    parser.add_argument("--dtype", default="bfloat16", choices=["float32", "bfloat16"], help="of --image")
    parser.add_argument("--steps", type=int, default=50, help="of --image; strength is taken of them")
    parser.add_argument("--strength", type=float, default=0.75, help="of --image")
    options = parser.parse_args()
    config = dataclasses.replace(UNETS["four_flow"], width=options.width)
    torch.set_num_threads(1)
    with torch.no_grad():
        if options.image:
            whole_image(config, options)
        else:
            compare(config, options, "cpu")
            if torch.cuda.is_available():
                compare(config, options, "cuda")
            else:
                print("\nGPU rows (float32, bfloat16, float16, compiled) are left out: torch sees no GPU here.")


if __name__ == "__main__":
    main()
