"""Train the mini VDVAE on the `train` crops: python -m stages.pretrain.train_vdvae

Objective and recipe of the paper (Child 2021): the variational bound on -log p(image), AdamW, linear warm-up, updates
with an exploding gradient skipped, an exponential moving average (EMA) of the weights kept as the result. A killed run
continues from its last checkpoint in the user's cache and ends with the weights it would have had.
"""

import csv
import hashlib
import json
import math
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from platformdirs import user_cache_dir
from ruamel.yaml import YAML
from safetensors.torch import save_file
from torch import Tensor

import stages
from loading.noise import batch_noise
from spikevaediff.datasets import simulated
from spikevaediff.files.atomic import replacing
from spikevaediff.images import resize
from spikevaediff.regression.split import near_copies
from stages.pretrain import checkpoint
from vdvae.config import CONFIGS
from vdvae.model import VDVAE

HERE = Path(__file__).resolve().parent


def training_crops(data_dir: Path) -> list[np.ndarray]:
    """Crops of role `train` without those that show what a scene shows (another photograph of the same view)."""
    _, crops = simulated.crops(data_dir, role="train")
    return unlike_scenes(crops, data_dir)


def unlike_scenes(crops: list[np.ndarray], data_dir: Path) -> list[np.ndarray]:
    """Squares without those that show what a scene shows."""
    _, scenes = simulated.crops(data_dir, role="scene")
    shown, whole = (np.concatenate([resize(crop[None], 256) for crop in some]) for some in (scenes, crops))
    alike = {crop: scene for scene, crop, _ in near_copies(shown, whole).tolist()}
    for crop, scene in alike.items():
        print(f"training crop {crop} shows what scene {scene} shows and is left out")
    return [crop for number, crop in enumerate(crops) if number not in alike]


def draw_batch(crops: list[np.ndarray], n: int, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Random squares of random crops, mirrored half of the time: uint8 (n, size_px, size_px, 1).

    Sides are drawn log-uniformly from size_px to the whole crop, so that the model sees scenes and details.
    """
    batch = np.empty((n, size_px, size_px, 1), np.uint8)
    for row in batch:
        crop = crops[rng.integers(len(crops))]
        side = round(math.exp(rng.uniform(math.log(size_px), math.log(len(crop)))))
        y, x = rng.integers(0, len(crop) - side + 1, 2)
        square = Image.fromarray(crop[y : y + side, x : x + side]).resize((size_px, size_px), Image.Resampling.BICUBIC)
        pixels = np.asarray(square)
        row[..., 0] = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    return batch


def whole(crops: list[np.ndarray], size_px: int) -> np.ndarray:
    """Whole crops resized: uint8 (n, size_px, size_px, 1)."""
    squares = [Image.fromarray(crop).resize((size_px, size_px), Image.Resampling.BICUBIC) for crop in crops]
    return np.stack([np.asarray(square) for square in squares])[..., None]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Mean over images of 10 log10(255^2 / mean squared error), dB."""
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    return float((10 * np.log10(255**2 / np.maximum(error, 1e-9))).mean())


def evaluate(model: VDVAE, images: np.ndarray) -> dict[str, float]:
    """Bits per dimension (posterior sample) and PSNR of reconstructions from latents up to each resolution."""
    result = {"bits_per_dim": float(model.elbo(images, noise=batch_noise(torch.Generator().manual_seed(0))).mean())}
    latents = model.encode(images, n_layers=model.n_layers)
    resolutions = [shape[1] for shape in model.config.latent_shapes()]
    for resolution in sorted(set(resolutions)):
        kept = [z for z, r in zip(latents, resolutions, strict=True) if r <= resolution]
        result[f"psnr_to_{resolution}"] = psnr(model.decode(kept), images)
    return result


def learning_rate_factor(step: int, *, warm_up_steps: int, n_steps: int) -> float:
    """Linear warm-up, then half a cosine to zero: with a small budget the last steps should be small ones."""
    return min(1.0, (step + 1) / warm_up_steps) * 0.5 * (1 + math.cos(math.pi * step / n_steps))


def divergence_weight(step: int, *, kl_start: float, kl_warm_up_steps: int) -> float:
    """How much the divergence counts in the loss, from kl_start to 1.

    With its full weight from the first step the fine latents of this small model stay at their prior for good
    (measured: no bit in 1,000 steps, 22 dB), since the coarse ones learn faster.
    """
    return min(1.0, kl_start + (1 - kl_start) * step / kl_warm_up_steps)


def average_decay(step: int, *, ema_decay: float) -> float:
    """Share of the old value in the moving average of the weights; small at first, when the old value is noise."""
    return min(ema_decay, (1 + step) / (10 + step))


def train(
    crops: list[np.ndarray],
    *,
    config: str,
    seed: int,
    n_steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    warm_up_steps: int,
    kl_start: float,
    kl_warm_up_steps: int,
    ema_decay: float,
    skip_gradient_norm: float,
    validation_every: int,
    n_validation: int,
    bfloat16: bool,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train, or continue training, and return (EMA weights, one row per validation)."""
    settings = {name: value for name, value in locals().items() if name != "crops"}
    pixels = hashlib.sha256(b"".join(np.ascontiguousarray(crop).tobytes() for crop in crops)).hexdigest()
    key = hashlib.sha256(json.dumps([settings, asdict(CONFIGS[config]), pixels]).encode()).hexdigest()[:16]
    path = Path(user_cache_dir("spikevaediff")) / "pretrain" / f"vdvae-{key}.pt"

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(seed)
    torch.set_flush_denormal(True)  # the tails of GELU are denormal numbers, which processors handle slowly
    model = VDVAE(CONFIGS[config]).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = VDVAE(CONFIGS[config]).to(device).requires_grad_(False)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.9), weight_decay=weight_decay)
    parts: checkpoint.Parts = {"model": model, "average": average, "optimiser": optimiser}
    state = checkpoint.resume(path, parts, device=device)
    step, curve = state.get("step", 0), state.get("curve", [])
    loss_sum, skipped = state.get("loss_sum", 0.0), state.get("skipped", 0)

    validation = whole(crops[:: max(1, len(crops) // n_validation)][:n_validation], model.config.image_size)
    held_out = {id(crop) for crop in crops[:: max(1, len(crops) // n_validation)][:n_validation]}
    training = [crop for crop in crops if id(crop) not in held_out]
    dims = math.prod(validation.shape[1:])
    began, first = time.monotonic(), step
    while step < n_steps:
        # Everything random depends on (seed, step) alone, so that a resumed run draws what an uninterrupted one does.
        batch = draw_batch(training, batch_size, model.config.image_size, np.random.default_rng([seed, step]))
        noise = batch_noise(torch.Generator().manual_seed(seed * 2**32 + step))
        rate = learning_rate_factor(step, warm_up_steps=warm_up_steps, n_steps=n_steps)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * rate
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            distortion, rates = model.losses(batch, noise)
            divergence = rates.sum(1)
        weight = divergence_weight(step, kl_start=kl_start, kl_warm_up_steps=kl_warm_up_steps)
        loss = (distortion + weight * divergence).mean() / dims
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 200.0))
        if math.isfinite(norm) and norm < skip_gradient_norm:
            optimiser.step()
        else:
            skipped += 1
        decay = average_decay(step, ema_decay=ema_decay)
        for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast.detach(), 1 - decay)
        step += 1
        loss_sum += (distortion + divergence).mean().item() / dims / math.log(2)
        if step % validation_every == 0 or step == n_steps:
            row = {"step": step, "training_bits_per_dim": loss_sum / (step - (curve[-1]["step"] if curve else 0))}
            row |= {f"validation_{name}": value for name, value in evaluate(average, validation).items()}
            row |= {"skipped_updates": skipped}
            curve.append(row)
            loss_sum = 0.0
            checkpoint.keep(path, parts, step=step, curve=curve, loss_sum=loss_sum, skipped=skipped)
            checkpoint.report(row, began=began, n_done=step - first, n_left=n_steps - step)
    return {name: tensor.contiguous() for name, tensor in average.state_dict().items()}, curve


def main() -> None:
    options = YAML(typ="safe").load(HERE / "params.yaml")["vdvae"]
    torch.set_num_threads(options.pop("threads"))
    weights, curve = train(training_crops(stages.ROOT / "vendor" / "data" / "simulated"), **options)
    with replacing(HERE / "artifacts" / "vdvae_mini.safetensors") as temporary:
        save_file({name: tensor.half() for name, tensor in weights.items()}, temporary)
    with replacing(HERE / "plots" / "vdvae.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, curve[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in curve)
    with replacing(HERE / "metrics" / "vdvae.json") as temporary:
        temporary.write_text(
            json.dumps({name: float(f"{value:.5g}") for name, value in curve[-1].items()}, indent=2) + "\n"
        )


if __name__ == "__main__":
    main()
