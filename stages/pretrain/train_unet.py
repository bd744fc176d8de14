"""Train the UNet of the mini Versatile Diffusion: python -m stages.pretrain.train_unet

Noise prediction (Ho et al. 2020) on the latents of the mini autoencoder with the published schedule, each time step
weighted by min(signal-to-noise ratio, 5) / ratio (Hang et al. 2023). Once the texture is learnt, times of much noise
count more: there the contexts decide, and with the plain weights this small budget ends before they are listened to.

What is peculiar to this project is in `disturbed`: the contexts that this UNet will be guided by are predicted by ridge
regression from spikes, which shrinks them to the mean and adds what it confuses them with. Half of the training sees
such contexts, so that they mean something to it.

Steps are cheap where nothing is wasted: latents and contexts are computed once a view, one context alone skips the
attention blocks of the other, and attention runs in float32 between layers in bfloat16 (the gradient of attention in
bfloat16 takes a processor five times as long).
"""

import hashlib
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from platformdirs import user_cache_dir
from ruamel.yaml import YAML
from safetensors.torch import load_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

import stages
from spikevaediff.features import efficientnet, minilm
from spikevaediff.files import assets
from stages.pretrain import checkpoint, photographs
from stages.pretrain.train_autoencoder import save, save_figures
from stages.pretrain.train_vdvae import training_crops, unlike_scenes
from stages.pretrain.views import Views, views
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.unet import UNet

HERE = Path(__file__).resolve().parent
N_TIMES = 1000


class InFloat32(TorchFunctionMode):
    """Attention and group normalisation in float32, whatever autocast says."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (F.scaled_dot_product_attention, F.group_norm):
            with torch.autocast("cpu", enabled=False):
                return func(*[a.float() if isinstance(a, Tensor) else a for a in args], **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def signal() -> Tensor:
    """alphas_cumprod of the published schedule, float32 (1000,)."""
    betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), N_TIMES, dtype=np.float64) ** 2
    return torch.from_numpy(np.cumprod(1 - betas).astype(np.float32))


def disturbed(contexts: Tensor, mean: Tensor, generator: torch.Generator) -> Tensor:
    """Contexts as a regression from noisy spikes would give them.

    A ridge prediction is the mean plus a weighted sum of what the training images differ from it by: of the right
    image less than it should, of the others a little each. So for image i

        mean + a_i (c_i - mean) + s_i sum_j g_ij (c_j - mean) / sqrt(n),

    j over the batch, g standard normal, for half of the images a in [0.1, 1] and s in [0, 0.8], else a = 1 and s = 0.
    """
    n = len(contexts)
    clean = torch.rand(n, generator=generator) < 0.5
    a = torch.where(clean, 1.0, 0.1 + 0.9 * torch.rand(n, generator=generator))
    s = torch.where(clean, 0.0, 0.8 * torch.rand(n, generator=generator))
    mixing = torch.diag(a) + s[:, None] * torch.randn(n, n, generator=generator) / math.sqrt(n)
    return mean + torch.einsum("ij,jkl->ikl", mixing, contexts - mean)


def ratios(n: int, generator: torch.Generator) -> float | Tensor:
    """Weights of the vision context for a batch: vision alone, text alone (both cheaper), or any mixture."""
    kind = float(torch.rand((), generator=generator))
    if kind < 0.4:
        return 1.0
    if kind < 0.5:
        return 0.0
    return 0.2 + 0.8 * torch.rand(n, generator=generator)


def noise_error(
    model: UNet,
    latents: Tensor,
    vision: Tensor,
    text: Tensor,
    ratio: float | Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    emphasis: bool,
) -> Tensor:
    """Weighted squared error of the predicted noise, (image,); with emphasis the noisy times count up to ten times."""
    alpha = signal()[t][:, None, None, None]
    ratio_of_signal = (alpha / (1 - alpha)).flatten()
    x = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
    one_only = isinstance(ratio, float)
    contexts = model.contexts(None if one_only and ratio == 0 else vision, None if one_only and ratio == 1 else text)
    error = (model(x, t, contexts, mixed_ratio=ratio).float() - noise).square().mean((1, 2, 3))
    weight = ratio_of_signal.clamp(max=5) / ratio_of_signal
    return error * (weight * (1 + 1 / ratio_of_signal).clamp(max=10) if emphasis else weight)


def unconditional(n_tokens: int) -> tuple[Tensor, Tensor]:
    """The contexts of no image and no caption."""
    vision = efficientnet.unconditional(weights=assets.fetch("efficientnet_lite0"), device="cpu")
    text = minilm.unconditional(weights=assets.fetch("all_minilm_l6_v2"), n_tokens=n_tokens, device="cpu")
    return torch.from_numpy(vision), torch.from_numpy(text)


@torch.no_grad()
def evaluate(model: UNet, latents: Tensor, of: Views, nothing: tuple[Tensor, Tensor]) -> dict[str, float]:
    """Error on views that were not trained on: with their contexts, with those of other views, and with none."""
    generator = torch.Generator().manual_seed(0)
    n = len(latents)
    t, noise = torch.arange(n) * 379 % N_TIMES, torch.randn(latents.shape, generator=generator)
    vision, text = torch.from_numpy(of.vision).float(), torch.from_numpy(of.text).float()
    contexts = {
        "own": (vision, text),
        "others": (vision.roll(n // 2, 0), text.roll(n // 2, 0)),
        "none": (nothing[0].expand_as(vision), nothing[1].expand_as(text)),
    }
    found = {}
    for name, (v, w) in contexts.items():
        rows = [slice(start, start + 32) for start in range(0, n, 32)]
        ratio = torch.full((n,), 0.6)
        errors = [noise_error(model, latents[r], v[r], w[r], ratio[r], t[r], noise[r], emphasis=True) for r in rows]
        found[f"error_{name}"] = float(torch.cat(errors).mean())
    return found


def train(
    crops: list[np.ndarray],
    more: list[np.ndarray],
    autoencoder: Autoencoder,
    *,
    config: str,
    seed: int,
    n_views: int,
    n_more_views: int,
    n_validation: int,
    n_tokens: int,
    least_side: float,
    n_steps: int,
    emphasis_from: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    warm_up_steps: int,
    drop_both: float,
    drop_one: float,
    ema_decay: float,
    validation_every: int,
    bfloat16: bool,
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train, or continue training, and return (EMA weights, one row per validation).

    Some of `crops` are validated on; `more` are squares that are only trained on.
    """
    settings = {name: value for name, value in locals().items() if name not in ("crops", "more", "autoencoder")}
    decisive = [tensor.numpy() for tensor in autoencoder.state_dict().values()] + [*crops, *more]
    key = hashlib.sha256(json.dumps([settings, asdict(UNETS[config])]).encode())
    for array in decisive:
        key.update(array.tobytes())
    path = Path(user_cache_dir("spikevaediff")) / "pretrain" / f"unet-{key.hexdigest()[:16]}.pt"

    held_out = range(0, len(crops), max(1, len(crops) // n_validation))[:n_validation]
    size: dict[str, Any] = {"size_px": autoencoder.config.image_size, "n_tokens": n_tokens, "least_side": least_side}
    validation = views([crops[i] for i in held_out], 4 * len(held_out), seed=seed + 1, **size)
    trained_on = [crop for i, crop in enumerate(crops) if i not in held_out]
    training = views(trained_on, n_views, seed=seed, **size) + views(more, n_more_views, seed=seed + 2, **size)
    latents, validation_latents = (
        torch.cat([autoencoder.encode(of.pixels[i : i + 32]) for i in range(0, len(of.pixels), 32)])
        for of in (training, validation)
    )
    mean_vision = torch.from_numpy(training.vision.mean(0, dtype=np.float32))
    mean_text = torch.from_numpy(training.text.mean(0, dtype=np.float32))
    nothing = unconditional(n_tokens)

    torch.manual_seed(seed)
    torch.set_flush_denormal(True)
    model = UNet(UNETS[config]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = UNet(UNETS[config]).requires_grad_(False)
    average.load_state_dict(model.state_dict())
    optimiser = torch.optim.AdamW(model.parameters(), learning_rate, betas=(0.9, 0.99), weight_decay=weight_decay)
    parts: checkpoint.Parts = {"model": model, "average": average, "optimiser": optimiser}
    loss_sum = 0.0
    state = checkpoint.resume(path, parts)
    step, curve = state.get("step", 0), state.get("curve", [])

    began, first = time.monotonic(), step
    while step < n_steps:
        # Everything random depends on (seed, step) alone, so that a resumed run draws what an uninterrupted one does.
        generator = torch.Generator().manual_seed(seed * 2**32 + step)
        chosen = torch.randint(len(latents), (batch_size,), generator=generator)
        vision, text = (torch.from_numpy(of[chosen.numpy()]).float() for of in (training.vision, training.text))
        vision, text = disturbed(vision, mean_vision, generator), disturbed(text, mean_text, generator)
        dropped = torch.rand(batch_size, generator=generator)
        no_vision = dropped < drop_both + drop_one
        no_text = (dropped < drop_both) | ((dropped >= drop_both + drop_one) & (dropped < drop_both + 2 * drop_one))
        vision[no_vision], text[no_text] = nothing
        t = torch.randint(N_TIMES, (batch_size,), generator=generator)
        noise = torch.randn(batch_size, *latents.shape[1:], generator=generator)
        ratio = ratios(batch_size, generator)
        rate = min(1.0, (step + 1) / warm_up_steps) * 0.5 * (1 + math.cos(math.pi * step / n_steps))
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16), InFloat32():
            emphasis = step >= emphasis_from
            loss = noise_error(model, latents[chosen], vision, text, ratio, t, noise, emphasis=emphasis).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if math.isfinite(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))):
            optimiser.step()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        step += 1
        loss_sum += loss.item()
        if step % validation_every == 0 or step == n_steps:
            row = {"step": step, "training_error": loss_sum / (step - max(first, curve[-1]["step"] if curve else 0))}
            evaluated = evaluate(average, validation_latents, validation, nothing)
            row |= {f"validation_{name}": value for name, value in evaluated.items()}
            curve.append(row)
            loss_sum = 0.0
            checkpoint.keep(path, parts, step=step, curve=curve)
            checkpoint.report(row, began=began, n_done=step - first, n_left=n_steps - step)
    return dict(average.state_dict()), curve


def main() -> None:
    params = YAML(typ="safe").load(HERE / "params.yaml")
    options = params["unet"]
    torch.set_num_threads(options.pop("threads"))
    # As it is in the file, in half precision: the latents that the decoder will meet.
    file = HERE / "artifacts" / "autoencoder_mini.safetensors"
    autoencoder = Autoencoder(AUTOENCODERS[params["autoencoder"]["config"]])
    autoencoder.load_state_dict({name: tensor.float() for name, tensor in load_file(file).items()})
    data = stages.ROOT / "vendor" / "data" / "simulated"
    more = unlike_scenes(photographs.squares(), data)
    weights, curve = train(training_crops(data), more, autoencoder, **options)
    made_for = {"autoencoder_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    save(HERE / "artifacts" / "unet_mini.safetensors", weights, made_for)
    save_figures("unet", curve)


if __name__ == "__main__":
    main()
