"""Speed and memory of a step of the posterior's search beside plain autograd: python benchmarks/bench_posterior.py

A step goes from whitened latents through the VDVAE to images, through an encoding model to responses, and back to the
gradient of the squared misfit in the latents. `vdvae` is what `encoding.posterior` runs. `plain` is `eager_vdvae.py`
and `EagerPredictor` below, written directly: weights require a gradient as those of a new module do, AlexNet sees three
colours, and a layer's matrix has a row for every unit. Both have the same random weights.

Every run is a process of its own, with one thread; runs alternate, and numbers are medians: processor seconds of a step
after a first one, and the peak memory of the process. Prints a Markdown table.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src"), str(ROOT / "vendor")]

from benchmarks.bench_vdvae import TOLERANCE, build, flop, gemm_peak, peak_of_this_process, random_weights
from benchmarks.eager_vdvae import EagerVDVAE
from spikevaediff.encoding import windows
from spikevaediff.encoding.encoder import Encoder, Predictor, family
from spikevaediff.encoding.families import IMAGE_PX, alexnet, gabor
from spikevaediff.files import assets
from spikevaediff.networks import small
from vdvae.config import CONFIGS
from vdvae.model import VDVAE

N_LAYERS = {"mini64": 10, "imagenet64": 31}
N_UNITS, WINDOWS_OF_UNIT = 333, 3
CHANNELS = {"gabor": [40] * 5, "alexnet": [64, 192, 384, 256, 256]}


def population() -> Encoder:
    """Units of random weights, each of which reads three windows of a family, as those of the embedded session."""
    rng = np.random.default_rng(0)
    names = list(CHANNELS)
    of_unit = rng.integers(0, 2, N_UNITS)
    column = np.repeat(np.arange(N_UNITS), WINDOWS_OF_UNIT)
    # The embedded units read the first two layers of AlexNet, and all of the Gabors.
    layer = np.where(of_unit[column] == 0, rng.integers(0, 5, len(column)), rng.integers(0, 2, len(column)))
    row_window, weight = [], []
    for unit, index in zip(column, layer, strict=True):
        name = names[of_unit[unit]]
        grid = windows.grid(family(name).WINDOWS[index])
        row_window.append(grid[rng.integers(len(grid))])
        weight.append(rng.normal(size=CHANNELS[name][index]) / 10)
    empty = np.zeros(0)
    return Encoder(
        family_name=np.array(names),
        family=of_unit,
        row_column=column,
        row_family=of_unit[column],
        row_layer=layer,
        row_window=np.array(row_window),
        row_start=np.cumsum([0, *map(len, weight)]),
        weight=np.concatenate(weight).astype(np.float32),
        intercept=np.ones(N_UNITS),
        covariance=np.eye(N_UNITS),
        shrinkage=np.array(0.0),
        image_id=empty.astype(np.int64),
        left_out=np.zeros((0, N_UNITS)),
        r2=np.zeros(N_UNITS),
        n_best=np.array(WINDOWS_OF_UNIT),
        unit_id=np.arange(N_UNITS),
        session_id=np.zeros(N_UNITS, np.int64),
        area=np.array(["VISp"] * N_UNITS),
    )


class EagerPredictor(nn.Module):
    """The encoding model as its formula stands: normalise, AlexNet, Gabors, a matrix for each layer."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.network, self.gabors = small.alexnet(assets.fetch("alexnet_convolutions")), gabor.build()
        self.intercept = torch.from_numpy(encoder.intercept.astype(np.float32))
        images = torch.zeros(1, IMAGE_PX, IMAGE_PX)
        self.dense = []
        for index, maps in enumerate((self.gabors(images), self.alexnet(images))):
            for layer, values in enumerate(maps):
                _, channels, *shape = values.shape
                matrix = np.zeros((N_UNITS, channels, shape[0] * shape[1]), np.float32)
                for row in np.flatnonzero((encoder.row_family == index) & (encoder.row_layer == layer)):
                    place = windows.weights(encoder.row_window[row : row + 1], *shape)[0]
                    own = encoder.weight[encoder.row_start[row] : encoder.row_start[row + 1]]
                    matrix[encoder.row_column[row]] += own[:, None] * place.astype(np.float32)
                self.dense.append(torch.from_numpy(matrix).flatten(1))

    def alexnet(self, images: Tensor) -> list[Tensor]:
        size = (alexnet.SEEN_PX, alexnet.SEEN_PX)
        large = nn.functional.interpolate(images[:, None], size=size, mode="bilinear", align_corners=False)
        mean, deviation = (torch.tensor(c)[:, None, None] for c in (small.IMAGENET_MEAN, small.IMAGENET_STD))
        return self.network((large.expand(-1, 3, -1, -1) - mean) / deviation)

    def forward(self, images: Tensor) -> Tensor:
        maps = [*self.gabors(images), *self.alexnet(images)]
        return self.intercept + sum(x.flatten(1) @ matrix.T for x, matrix in zip(maps, self.dense, strict=True))


def child(name: str, config: str, n_images: int, n_steps: int, results: Path) -> None:
    """Run one implementation; print seconds of a step and bytes as JSON, and leave the gradient in a file."""
    kind = VDVAE if name == "vdvae" else EagerVDVAE
    model = build(kind, CONFIGS[config], random_weights(CONFIGS[config], 0))
    predictor: nn.Module = Predictor(population(), assets.fetch) if name == "vdvae" else EagerPredictor(population())
    if name == "plain":
        model.requires_grad_(True)
    n_layers = N_LAYERS[config]
    n_numbers = sum(int(np.prod(shape)) for shape in CONFIGS[config].latent_shapes()[:n_layers])
    e = torch.randn(n_images, n_numbers, generator=torch.Generator().manual_seed(0)).requires_grad_()
    seconds = []
    for _ in range(1 + n_steps):
        for tensor in (e, *model.parameters(), *predictor.parameters()):
            tensor.grad = None
        started = time.process_time()
        images = (model.pixels_of_whitened(e, n_layers).mean(3) + 1) / 2
        predictor(images).square().sum().backward()
        seconds.append(time.process_time() - started)
    torch.save(e.grad, results)
    print(json.dumps({"seconds": statistics.median(seconds[1:]), "peak": peak_of_this_process()}))


def operations(config: str) -> float:
    """Multiplications and additions that an image needs: convolutions and matrix products, and their gradients in the
    latents alone, which are as many."""
    work = flop(CONFIGS[config])
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        EagerPredictor(population())(torch.zeros(1, IMAGE_PX, IMAGE_PX))
    return 2 * (sum(work["rest"]) + sum(work["pixels"]) + counted.get_total_flops())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", choices=list(N_LAYERS), default="mini64")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="of each run, after a first one")
    parser.add_argument("--child", choices=["plain", "vdvae"], help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.child:
        child(options.child, options.config, options.images, options.steps, options.out / f"{options.child}.pt")
        return
    runs: dict[str, list[dict]] = {"plain": [], "vdvae": []}
    with tempfile.TemporaryDirectory() as folder:
        asked = ["--config", options.config, "--images", str(options.images), "--steps", str(options.steps)]
        for _ in range(options.runs):
            for name, own in runs.items():
                command = [sys.executable, __file__, "--child", name, *asked, "--out", folder]
                done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8", errors="replace")
                own.append(json.loads(done.stdout))
        expected, found = (torch.load(Path(folder) / f"{name}.pt") for name in runs)
    peak, work = gemm_peak(), options.images * operations(options.config)
    print(
        f"{platform.machine()}, torch {torch.__version__}, float32, one thread, {options.config}, {options.images} "
        f"images, median of {options.runs}, load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores. A step needs "
        f"{work / 1e9:.0f} Gflop; matrix products of 2048 x 2048 reach {peak / 1e9:.0f} Gflop/s.\n"
    )
    print("| implementation | processor s | speed | of that product's rate | peak memory |")
    print("| --- | ---: | ---: | ---: | ---: |")
    middle = {n: {key: statistics.median(run[key] for run in own) for key in own[0]} for n, own in runs.items()}
    for name, own in middle.items():
        seconds, memory = own["seconds"], own["peak"] / 1e9
        share = work / seconds / peak
        speed = middle["plain"]["seconds"] / seconds
        print(f"| {name} | {seconds:.2f} | {speed:.2f} x | {share:.0%} | {memory:.2f} GB |")
    # Where the input of a rectifier is 0 but for rounding, either derivative is right; this befalls single images.
    apart = (found - expected).abs().amax(1) / expected.abs().max()
    kinked = int((apart > TOLERANCE).sum())
    print(
        f"\nGradient: difference {apart.median():.1e} of the largest value (median of images), more than {TOLERANCE:g} "
        f"in {kinked}"
    )
    if kinked > 0.1 * options.images:
        raise SystemExit(f"the two implementations disagree by more than {TOLERANCE:g}")


if __name__ == "__main__":
    main()
