"""Speed and memory of the VDVAE beside a direct implementation: python benchmarks/bench_vdvae.py [--quick]

Both read the latents of the first 31 layers from 32 images and make images of them, with the imagenet64 configuration
and the same random weights. `eager_vdvae.py` is the yardstick: all blocks for the latents, all images in one batch;
with --batched also in batches of the size that ours chooses, which says what the size alone brings.
Every run on a processor is a process of its own, with one thread; runs of the implementations alternate, and every
number is the median of its runs. Time is that of the processor beside the wall clock: on a machine with other work only
the first compares. Peak memory is that of the process. Prints Markdown tables.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "vendor")]

import vdvae.layers
from benchmarks.eager_vdvae import EagerVDVAE
from vdvae.config import CONFIGS, BlockSpec, Config, parse_blocks
from vdvae.memory import images_at_once
from vdvae.mixture import n_parameters
from vdvae.model import VDVAE

N_LAYERS = 31
TOLERANCE = 1e-4  # of the largest value, float32
HALF_TOLERANCE = 0.1  # of the standard deviation, bfloat16


def random_weights(config: Config, seed: int) -> dict[str, Tensor]:
    """Weights that keep activations near 1 and make every part matter, the same for both models."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in VDVAE(config).state_dict().items()}
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in shapes.items():
        if name.endswith("gain"):
            values = np.ones(shape)
        elif not name.endswith("weight"):
            values = rng.normal(scale=0.1, size=shape)
        else:
            scale = 0.3 if "c4" in name or "z_proj" in name else 1.3
            values = rng.normal(scale=scale / np.sqrt(np.prod(shape[1:])), size=shape)
        weights[name] = torch.from_numpy(values.astype(np.float32))
    return weights


def build(kind: type[torch.nn.Module], config: Config, weights: dict[str, Tensor]) -> torch.nn.Module:
    """A model with these weights; the dictionary is used up."""
    with torch.device("meta"):
        model = kind(config)
    if kind is VDVAE:  # as vdvae.weights.load leaves them, one by one
        for name in [name for name, value in weights.items() if value.ndim == 4]:
            weights[name] = weights.pop(name).contiguous(memory_format=torch.channels_last)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def block_flop(n_in: int, n_inner: int, n_out: int, resolution: int) -> int:
    """Floating-point operations (a multiplication and an addition are two) of the convolutions of a block."""
    kernel = 9 if resolution > 2 else 1
    return 2 * resolution**2 * (n_in * n_inner + 2 * kernel * n_inner**2 + n_inner * n_out)


def flop(config: Config) -> dict[str, list[int]]:
    """Operations for an image: the encoder's blocks, and the posterior and the rest of every decoder block, the
    pixels."""

    def sizes(spec: BlockSpec) -> tuple[int, int, int]:
        width = config.width_at(spec.resolution)
        return width, int(width * config.bottleneck), spec.resolution

    size, z = config.image_size, config.zdim
    first = 2 * 9 * config.image_channels * config.width_at(size) * size**2
    encoder, posterior, rest = [first], [], []
    for spec in parse_blocks(config.enc_blocks):
        width, inner, r = sizes(spec)
        encoder.append(block_flop(width, inner, width, r))
    for spec in parse_blocks(config.dec_blocks):
        width, inner, r = sizes(spec)
        posterior.append(block_flop(2 * width, inner, 2 * z, r))
        prior = block_flop(width, inner, 2 * z + width, r)
        rest.append(prior + 2 * r**2 * z * width + block_flop(width, inner, width, r))
    pixels = 2 * size**2 * config.width_at(size) * n_parameters(config.num_mixtures, config.image_channels)
    return {"encoder": encoder, "posterior": posterior, "rest": rest, "pixels": [pixels]}


def gemm_peak() -> float:
    """Operations per second of a large float32 matrix product, by torch or NumPy, whichever is faster: what the machine
    could do. Torch's own product leaves half of some processors unused."""
    a = torch.randn(2048, 2048)
    seconds = []
    for b in [a, a.numpy()] * 7:
        started = time.process_time()
        b @ b
        seconds.append(time.process_time() - started)
    return 2 * 2048**3 / min(seconds)


Task = Callable[[], list[Tensor]]


def tasks(model: torch.nn.Module, images: np.ndarray, latents: list[Tensor], batch: int) -> tuple[Task, Task]:
    """(encode, decode) of all images, `batch` at once; decode goes as far as the parameters of the pixels."""
    device = next(model.parameters()).device
    starts = range(0, len(images), batch)
    if isinstance(model, VDVAE):

        def encode() -> list[Tensor]:
            parts = [model.encode(images[i : i + batch], n_layers=N_LAYERS) for i in starts]
            return [torch.cat(layer) for layer in zip(*parts, strict=True)]
    else:
        config = model.config

        def encode() -> list[Tensor]:
            parts = []
            for i in starts:
                pixels = torch.from_numpy(images[i : i + batch]).to(device)
                x = (pixels.float() + config.shift) * config.scale
                parts.append(model.encode(x.permute(0, 3, 1, 2).contiguous())[:N_LAYERS])
            return [torch.cat(layer) for layer in zip(*parts, strict=True)]

    def decode() -> list[Tensor]:
        given = [[z[i : i + batch] for z in latents] for i in starts]
        return [torch.cat([model.pixel_parameters(z, len(z[0])) for z in given])]

    return encode, decode


def seconds_of(task: Task, gpu: bool) -> tuple[float, float, list[Tensor]]:
    """(processor, wall, result); on a GPU both are the wall clock until its work is done."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = task()
    if gpu:
        torch.cuda.synchronize()
    wall = time.perf_counter() - wall
    return (wall if gpu else time.process_time() - cpu), wall, result


def difference(a: list[Tensor], b: list[Tensor], relative_to: Callable[[Tensor], Tensor]) -> float:
    """Largest difference of two lists of tensors, in units of what a tensor of the second list says."""
    return max(float((x.float() - y).abs().max() / relative_to(y)) for x, y in zip(a, b, strict=True))


def peak_of_this_process() -> float:
    """Bytes. Not ru_maxrss where it can be avoided: on Linux a child starts with that of its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return 1024 * float(status.read_text(encoding="utf-8").split("VmHWM:")[1].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def batch_of(name: str, config: Config, n_images: int) -> int:
    """Images at once of an implementation on a processor."""
    return n_images if name == "eager" else min(n_images, images_at_once("auto", config, "cpu"))


def child(name: str, config: Config, images: np.ndarray, results: Path) -> None:
    """Run one implementation once; print seconds and bytes as JSON, and leave what it computed in a file."""
    model = build(VDVAE if name == "vdvae" else EagerVDVAE, config, random_weights(config, 0))
    batch = batch_of(name, config, len(images))
    measured: dict[str, object] = {}
    encode, _ = tasks(model, images, [], batch)
    *measured["encode"], latents = seconds_of(encode, gpu=False)  # type: ignore[misc]
    _, decode = tasks(model, images, latents, batch)
    *measured["decode"], parameters = seconds_of(decode, gpu=False)  # type: ignore[misc]
    measured["peak"] = peak_of_this_process()
    torch.save([latents, parameters], results)
    print(json.dumps(measured))


def on_processor(config: Config, images: np.ndarray, n_runs: int, *, batched: bool) -> None:
    """Print the table of the processor."""
    names = {"eager": "eager", "eager-batched": "eager, batches of ours", "vdvae": "vdvae"}
    if not batched:
        del names["eager-batched"]
    runs: dict[str, list[dict]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(n_runs):
            for name in names:
                command = [sys.executable, __file__, "--child", name, "--images", str(len(images)), "--out", folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
                runs[name].append(json.loads(done.stdout))
        expected, found = (torch.load(Path(folder) / f"{name}.pt") for name in ("eager", "vdvae"))
    for run in (run for own in runs.values() for run in own):  # the sum of both tasks, as a third one
        run["both"] = [a + b for a, b in zip(run["encode"], run["decode"], strict=True)]
    work = flop(config)
    all_blocks = sum(work["encoder"]) + sum(work["posterior"]) + sum(work["rest"])
    needed = sum(work["encoder"]) + sum(work["posterior"][:N_LAYERS]) + sum(work["rest"][: N_LAYERS - 1])
    through = sum(work["rest"]) + sum(work["pixels"])
    torch.set_num_threads(1)
    n, peak = len(images), gemm_peak()
    print(
        f"{platform.machine()}, torch {torch.__version__}, float32, one thread, median of {n_runs}, load "
        f"{os.getloadavg()[0]:.0f} on {os.cpu_count()} cores. {n} images at once (eager) or "
        f"{batch_of('vdvae', config, n)}. Matrix products of 2048 x 2048 reach {peak / 1e9:.0f} Gflop/s.\n"
    )
    print("| task | implementation | processor s | wall s | speed | Gflop | of that product's rate | peak memory |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for task in ("encode", "decode", "both"):
        middle = {name: [statistics.median(run[task][i] for run in runs[name]) for i in (0, 1)] for name in names}
        for name, label in names.items():
            own, clock = middle[name]
            each = {"encode": needed if name == "vdvae" else all_blocks, "decode": through}
            done_flop = n * each.get(task, sum(each.values()))
            memory = statistics.median(run["peak"] for run in runs[name]) / 1e9
            print(
                f"| {task} | {label} | {own:.1f} | {clock:.1f} | {middle['eager'][0] / own:.2f} x | "
                f"{done_flop / 1e9:.0f} | {done_flop / own / peak:.0%} | {memory:.2f} GB |"
            )
    for ours, theirs, what in zip(found, expected, ("latents", "parameters of the pixels"), strict=True):
        off = difference(ours, theirs, lambda y: y.abs().max())
        print(f"\n{what}: largest difference {off:.1e} of the largest value")
        if off > TOLERANCE:
            raise SystemExit(f"the two implementations disagree by more than {TOLERANCE:g}")


def compiled(model: VDVAE) -> VDVAE:
    """The blocks compiled one by one: blocks of one shape share the result, the whole network would take an hour."""
    torch._dynamo.config.cache_size_limit = 256
    vdvae.layers.plus_convolution = torch.compile(vdvae.layers.plus_convolution, dynamic=False)
    for module in model.modules():
        if isinstance(module, vdvae.layers.Block):
            module.inner = torch.compile(module.inner, dynamic=False)  # type: ignore[method-assign]
    return model


def on_gpu(config: Config, images: np.ndarray, n_runs: int) -> None:
    """Print the table of the GPU. Float32 is float32: TensorFloat-32 is off for both."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    weights = {name: value.cuda() for name, value in random_weights(config, 0).items()}
    eager, plain = build(EagerVDVAE, config, dict(weights)), build(VDVAE, config, dict(weights))
    half = build(VDVAE, config, {name: value.bfloat16() for name, value in weights.items()})
    batch = min(len(images), images_at_once("auto", config, "cuda"))
    latents = tasks(plain, images, [], batch)[0]()
    truth = tasks(eager, images, latents, len(images))
    expected = [task() for task in truth]
    unit = {False: lambda y: y.abs().max(), True: lambda y: y.std()}
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}, {len(images)} images, median of {n_runs}\n")
    print("| task | implementation | s | speed | peak memory | difference |\n| --- | --- | ---: | ---: | ---: | ---: |")
    # One after the other: `compiled` replaces a function of the module, so its rows come last.
    base: dict[int, float] = {}
    for name, make in {
        "eager float32": lambda: truth,
        "vdvae float32": lambda: tasks(plain, images, latents, batch),
        "vdvae bfloat16": lambda: tasks(half, images, latents, batch),
        "vdvae float32 compiled": lambda: tasks(compiled(plain), images, latents, batch),
        "vdvae bfloat16 compiled": lambda: tasks(compiled(half), images, latents, batch),
    }.items():
        for i, (task_name, task) in enumerate(zip(("encode", "decode"), make(), strict=True)):
            for _ in range(2):  # plans of cuDNN, and compilation
                task()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            runs = [seconds_of(task, gpu=True) for _ in range(n_runs)]
            seconds = statistics.median(run[0] for run in runs)
            base.setdefault(i, seconds)
            is_half = "bfloat16" in name
            found = difference(runs[-1][2], expected[i], unit[is_half])
            memory = torch.cuda.max_memory_allocated() / 1e9
            print(
                f"| {task_name} | {name} | {seconds:.3f} | {base[i] / seconds:.2f} x | {memory:.2f} GB | {found:.1e} |"
            )
            if found > (HALF_TOLERANCE if is_half else TOLERANCE):
                print(f"the difference is larger than {HALF_TOLERANCE if is_half else TOLERANCE:g}", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="4 images, one run")
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--batched", action="store_true", help="also the direct implementation in our batches")
    parser.add_argument("--child", choices=["eager", "eager-batched", "vdvae"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    config = CONFIGS["imagenet64"]
    n_images, n_runs = (4, 1) if options.quick else (options.images, options.runs)
    images = np.random.default_rng(1).integers(0, 256, (n_images, 64, 64, 3), dtype=np.uint8)
    if options.child:
        torch.set_num_threads(1)
        child(options.child, config, images, options.out / f"{options.child}.pt")
        return
    on_processor(config, images, n_runs, batched=options.batched)
    if torch.cuda.is_available():
        on_gpu(config, images, max(n_runs, 5))
    else:
        print("\nGPU rows (float32, bfloat16, compiled) are left out: torch sees no GPU here.")


if __name__ == "__main__":
    main()
