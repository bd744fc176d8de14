"""Train the autoencoder of the mini Versatile Diffusion: python -m stages.pretrain.train_autoencoder

The loss of latent diffusion (Rombach et al. 2022) without its discriminator: mean absolute error, LPIPS distance and a
little divergence from N(0, 1). The divergence is there for its noise: latents that the decoder must read through noise
still decode well when a diffusion model gets them a little wrong. Most steps see patches of the images, which cost a
fraction of whole ones; the last ones see whole images, as the attention of the coarsest level will.

The latents that the diffusion works on should have mean 0 and variance 1. Both are measured on training images and
written into the 1x1 convolutions on both sides of the latent, channel by channel, so that the scale of this autoencoder
is 1. The file's metadata keeps the numbers.
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
from platformdirs import user_cache_dir
from ruamel.yaml import YAML
from safetensors.torch import save_file
from torch import Tensor, nn

import stages
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.networks.small import IMAGENET_MEAN, IMAGENET_STD, alexnet, lpips_heads
from stages.pretrain import checkpoint
from stages.pretrain.train_vdvae import draw_batch, psnr, training_crops, whole
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS

HERE = Path(__file__).resolve().parent


class Lpips(nn.Module):
    """LPIPS of pairs of grey images in [-1, 1], differentiable; the same distance as metrics/lpips.py at this size."""

    def __init__(self) -> None:
        super().__init__()
        self.network = alexnet(assets.fetch("alexnet_convolutions"))
        heads = lpips_heads(assets.fetch("lpips_heads"))
        self.heads = [torch.from_numpy(head)[:, None, None] for head in heads]
        self.requires_grad_(False)

    def activations(self, x: Tensor) -> list[Tensor]:
        mean, std = (torch.tensor(c)[:, None, None] for c in (IMAGENET_MEAN, IMAGENET_STD))
        found = self.network(((x + 1) / 2 - mean) / std)
        return [a / (a.square().sum(1, keepdim=True) + 1e-10).sqrt() for a in found]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Distance of every pair of two batches, (image,)."""
        with torch.no_grad():
            shown = self.activations(x)
        layers = zip(shown, self.activations(y), self.heads, strict=True)
        return sum(((a - b).square() * head).sum(1).mean((1, 2)) for a, b, head in layers)  # type: ignore[return-value]


def draw(crops: list[np.ndarray], n: int, size_px: int, patch_px: int, rng: np.random.Generator) -> np.ndarray:
    """Patches of random images, with other contrast and brightness: uint8 (n, patch_px, patch_px, 1)."""
    batch = draw_batch(crops, n, size_px, rng)
    patches = np.empty((n, patch_px, patch_px, 1), np.uint8)
    for image, patch in zip(batch, patches, strict=True):
        y, x = rng.integers(0, size_px - patch_px + 1, 2)
        gain, offset = math.exp(rng.normal(0, 0.15)), rng.normal(0, 12)
        changed = (image[y : y + patch_px, x : x + patch_px] - 127.5) * gain + 127.5 + offset
        patch[:] = np.clip(np.round(changed), 0, 255)
    return patches


def standardise(model: Autoencoder, crops: list[np.ndarray], seed: int) -> dict[str, list[float]]:
    """Give the latents mean 0 and variance 1 in every channel without changing what is decoded.

    Returns
    -------
    dict
        Mean and standard deviation of each channel before.
    """
    batches = [draw_batch(crops, 16, model.config.image_size, np.random.default_rng([seed, 1, i])) for i in range(24)]
    latents = torch.cat([model.encode(batch) for batch in batches]) / model.config.scale
    mean, std = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    n = model.config.latent_channels
    with torch.no_grad():
        before, after = model.quant_conv, model.post_quant_conv
        before.weight[:n] /= std[:, None, None, None]
        before.bias[:n] = (before.bias[:n] - mean) / std  # type: ignore[index]
        before.bias[n:] -= 2 * std.log()  # type: ignore[index]
        after.bias += after.weight[:, :, 0, 0] @ mean  # type: ignore[operator]
        after.weight *= std[:, None, None]
    return {"latent_mean": mean.tolist(), "latent_std": std.tolist()}


@torch.no_grad()
def evaluate(model: Autoencoder, images: np.ndarray, lpips: Lpips) -> dict[str, float]:
    """PSNR (dB) and LPIPS of images that come back from the means of their latents, and nats per image."""
    x = model.network_input(images)
    posterior = model.posterior(x)
    y = model.pixels(posterior.mean * model.config.scale)
    decoded = ((y.clamp(-1, 1) + 1) * 127.5).round().permute(0, 2, 3, 1).numpy()
    return {
        "psnr": psnr(decoded, images),
        "lpips": float(lpips(x, y.clamp(-1, 1)).mean()),
        "nats": float(posterior.divergence().mean()),
    }


def train(
    crops: list[np.ndarray],
    *,
    config: str,
    seed: int,
    n_steps: int,
    batch_size: int,
    patch_px: int,
    whole_from: float,
    learning_rate: float,
    weight_decay: float,
    warm_up_steps: int,
    lpips_weight: float,
    divergence_weight: float,
    ema_decay: float,
    validation_every: int,
    n_validation: int,
    bfloat16: bool,
) -> tuple[Autoencoder, list[dict[str, float]], dict[str, list[float]]]:
    """Train, or continue training; return the model with EMA weights, one row per validation, and its scales."""
    settings = {name: value for name, value in locals().items() if name != "crops"}
    pixels = hashlib.sha256(b"".join(np.ascontiguousarray(crop).tobytes() for crop in crops)).hexdigest()
    key = hashlib.sha256(json.dumps([settings, asdict(AUTOENCODERS[config]), pixels]).encode()).hexdigest()[:16]
    path = Path(user_cache_dir("spikevaediff")) / "pretrain" / f"autoencoder-{key}.pt"

    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    model, average = Autoencoder(AUTOENCODERS[config]), Autoencoder(AUTOENCODERS[config]).requires_grad_(False)
    with torch.no_grad():
        # Latents that begin with little noise: with the noise of a new network, standard deviation 1, the decoder
        # learns to do without a channel before the encoder has learnt to use it (measured: one of four, for good).
        n = model.config.latent_channels
        model.quant_conv.weight[n:] *= 0.1
        model.quant_conv.bias[n:] = -6  # type: ignore[index]
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
    parts: checkpoint.Parts = {"model": model, "average": average, "optimiser": optimiser}
    state = checkpoint.resume(path, parts)
    step, curve = state.get("step", 0), state.get("curve", [])

    size_px = model.config.image_size
    held_out = range(0, len(crops), max(1, len(crops) // n_validation))[:n_validation]
    validation = whole([crops[i] for i in held_out], size_px)
    training = [crop for i, crop in enumerate(crops) if i not in held_out]
    lpips = Lpips()
    began, first = time.monotonic(), step
    while step < n_steps:
        # Everything random depends on (seed, step) alone, so that a resumed run draws what an uninterrupted one does.
        side = patch_px if step < whole_from * n_steps else size_px
        n = max(1, batch_size * patch_px**2 // side**2)
        x = model.network_input(draw(training, n, size_px, side, np.random.default_rng([seed, step])))
        x = x.contiguous()  # on processors half precision is faster this way round (a third here) than channels last
        noise = torch.Generator().manual_seed(seed * 2**32 + step)
        rate = min(1.0, (step + 1) / warm_up_steps) * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            posterior = model.posterior(x)
            sample = posterior.sample(torch.randn(posterior.mean.shape, generator=noise))
            y = model.pixels(sample * model.config.scale)
            perceived = lpips(x, y).mean()
        error = (y.float() - x).abs().mean()
        loss = error + lpips_weight * perceived + divergence_weight * posterior.divergence().mean() / side**2
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        if math.isfinite(norm):
            optimiser.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        step += 1
        if step % validation_every == 0 or step == n_steps:
            row = {"step": step, "training_loss": float(loss.detach())}
            row |= {f"validation_{name}": value for name, value in evaluate(average, validation, lpips).items()}
            curve.append(row)
            checkpoint.keep(path, parts, step=step, curve=curve)
            checkpoint.report(row, began=began, n_done=step - first, n_left=n_steps - step)
    return average, curve, standardise(average, training, seed)


def save(path: Path, weights: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Half-precision weights with what was measured about them."""
    with replacing(path) as temporary:
        save_file({name: tensor.half().contiguous() for name, tensor in weights.items()}, temporary, metadata)


def save_figures(name: str, curve: list[dict[str, float]]) -> None:
    """The curve as plots/NAME.csv and its last row as metrics/NAME.json."""
    with replacing(HERE / "plots" / f"{name}.csv") as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, curve[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in curve)
    with replacing(HERE / "metrics" / f"{name}.json") as temporary:
        last = {name: float(f"{value:.5g}") for name, value in curve[-1].items()}
        temporary.write_text(json.dumps(last, indent=2) + "\n")


def main() -> None:
    options = YAML(typ="safe").load(HERE / "params.yaml")["autoencoder"]
    torch.set_num_threads(options.pop("threads"))
    model, curve, scales = train(training_crops(stages.ROOT / "vendor" / "data" / "simulated"), **options)
    path = HERE / "artifacts" / "autoencoder_mini.safetensors"
    save(path, dict(model.state_dict()), {name: json.dumps(values) for name, values in scales.items()})
    save_figures("autoencoder", curve)


if __name__ == "__main__":
    main()
