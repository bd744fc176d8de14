"""Denoising by DDIM (Song, Meng and Ermon 2021, arXiv 2010.02502) with classifier-free guidance (Ho and Salimans 2022,
arXiv 2207.12598), from noise or from the noised latent of an image (SDEdit, Meng et al. 2022, arXiv 2108.01073).

symbol           | variable
-----------------|------------------------------------------------------------
alpha-bar_t      | Schedule.alphas_cumprod[t]
tau_i, S         | Steps.times[i], len(Steps.times)
sigma_tau_i      | Steps.sigmas[i]; eta scales it, 0 takes the noise out of the steps
e(x, c)          | the UNet's prediction of the noise

The published code starts image to image one step too early: it noises the latent as much as step k wants, and denoises
from step k - 1. Here the latent is noised as much as its first step wants, and strength 1 is possible;
`published_noising=True` repeats the published behaviour.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from loading.noise import Noise
from versatile_diffusion.unet import Contexts, UNet


@dataclass(frozen=True)
class Schedule:
    """How much of an image is left at every time.

    alphas_cumprod : float64, (time,)
        alpha-bar_t: the noised latent is sqrt(alpha-bar_t) x0 + sqrt(1 - alpha-bar_t) noise.
    """

    alphas_cumprod: np.ndarray

    @classmethod
    def published(cls) -> "Schedule":
        """Betas linear in their square roots, from sqrt 0.00085 to sqrt 0.012 in 1000 times; rounded to float32 as in
        the published code."""
        betas = np.linspace(math.sqrt(0.00085), math.sqrt(0.012), 1000) ** 2
        return cls(np.cumprod(1 - betas).astype(np.float32).astype(np.float64))

    @classmethod
    def from_buffer(cls, alphas_cumprod: Tensor) -> "Schedule":
        """The schedule that a checkpoint holds: in a float16 file it is rounded to float16, and the published pipeline
        then works with that (7 % in the noise of the last step).

        Raises
        ------
        ValueError
            Not one falling sequence in (0, 1].
        """
        values = alphas_cumprod.detach().cpu().double().numpy()
        falls = values.ndim == 1 and len(values) > 1 and bool((np.diff(values) <= 0).all())
        if not (falls and values[-1] > 0 and values[0] <= 1):
            raise ValueError(
                f"the schedule has the shape {values.shape} and does not fall from 1 towards 0: the checkpoint's "
                "alphas_cumprod is damaged"
            )
        return cls(values)


@dataclass(frozen=True)
class Steps:
    """The times at which the network is asked, from little noise to much; denoising runs through them backwards.

    times : int64, (step,)
    alphas, alphas_prev : float64, (step,); alpha-bar at the time of a step, and at the time where it arrives.
    sigmas : float64, (step,); deviation of the noise that a step adds.
    """

    times: np.ndarray
    alphas: np.ndarray
    alphas_prev: np.ndarray
    sigmas: np.ndarray

    @classmethod
    def ddim(cls, schedule: Schedule, n_steps: int, eta: float) -> "Steps":
        """Evenly spaced times 1, 1 + d, 1 + 2 d, ... below 1000, with d = 1000 // n_steps.

        Where n_steps does not divide 1000 there may be more steps than asked for, as in the published code (30 gives
        31). That code fails where one of the times would be 1000 (3, 9, 27, 36, 37 steps and some above 100); here it
        is left out.

        Raises
        ------
        ValueError
            n_steps is not a whole number from 1 to half the number of times, or eta is not in [0, 1].
        """
        n_times = len(schedule.alphas_cumprod)
        if isinstance(n_steps, bool) or not isinstance(n_steps, int) or not 1 <= n_steps <= n_times // 2:
            raise ValueError(f"steps is {n_steps!r}, expected a whole number from 1 to {n_times // 2}; 50 is usual")
        if not 0 <= eta <= 1:
            raise ValueError(f"eta is {eta}, expected 0 (no noise in the steps) to 1 (as much as the forward process)")
        times = np.arange(1, n_times, n_times // n_steps)
        alphas = schedule.alphas_cumprod[times]
        before = np.concatenate([schedule.alphas_cumprod[:1], alphas[:-1]])
        # Equation 16; two times of a float16 schedule can have the same alpha, and the root of -1e-17 is not a number.
        variance = (1 - before) / (1 - alphas) * (1 - alphas / before)
        return cls(times, alphas, before, eta * np.sqrt(np.maximum(variance, 0)))

    def n_taken(self, strength: float) -> int:
        """How many steps a strength takes: the nearest whole number not above strength * number of steps.

        Raises
        ------
        ValueError
            strength is not in [0, 1], or above zero and yet less than one step.
        """
        if not 0 <= strength <= 1:
            raise ValueError(f"strength is {strength}, expected 0 (the start image stays) to 1 (all steps)")
        taken = math.floor(strength * len(self.times) + 1e-9)
        if strength > 0 and taken == 0:
            raise ValueError(
                f"strength {strength} of {len(self.times)} steps is less than one step: raise one of them, or set "
                "strength to 0 to keep the start image"
            )
        return taken


@torch.no_grad()
def denoise(
    unet: UNet,
    contexts: Contexts,
    unconditional: Contexts | None,
    *,
    noise: Noise,
    start: Tensor | None,
    steps: Steps,
    strength: float,
    guidance: float,
    mixed_ratio: float,
    size: tuple[int, int] | None = None,
    published_noising: bool = False,
    corrected: Callable[[Tensor, float], Tensor] | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Latents that fit the contexts, step by step; the last ones are the result.

    Every step, with both contexts in one pass of the network,

        e  = e(x, unconditional) + guidance (e(x, contexts) - e(x, unconditional))
        x0 = (x - sqrt(1 - alpha) e) / sqrt(alpha)
        x  = sqrt(alpha_prev) x0 + sqrt(1 - alpha_prev - sigma^2) e + sigma noise        (equation 12)

    The results of an image do not depend on its batch but for the rounding of the kernels, which sum in another order
    for other sizes.

    Parameters
    ----------
    unet : UNet
    contexts : Contexts
        Keys and values for n images: `unet.contexts(vision, text)`.
    unconditional : Contexts, optional
        Those of an empty caption and a grey image, for one image or for n; needed where guidance is not 1.
    noise : Noise
        Asked once for the noising, then once per step where sigma is above zero: `image_noise(seeds)`.
    start : float32, (n, latent channel, row, column), optional
        Scaled latents of the start images; without them all starts from noise, whatever the strength.
    steps : Steps
    strength : float
        Part of the steps that is taken, in [0, 1]; 0 returns the start.
    guidance : float
        1 follows the contexts, more exaggerates them; 7.5 is usual.
    mixed_ratio : float
        Weight of the vision context, 1 - mixed_ratio that of text.
    size : (rows, columns), optional
        Of the latents where there is no start; without it those that the network was trained on.
    published_noising : bool
        Noise for one step more than is taken, as the published code does.
    corrected : callable, optional
        x0 of a step, and the variance (1 - alpha) / alpha that noise leaves each of its numbers -> another x0, which
        takes its place: what is known of the image from elsewhere. It is asked without gradients being recorded.

    Yields
    ------
    (x, x0) after every step: the latents and their estimate without noise, float32 (n, latent channel, row, column).
    With no step to take, the start alone.

    Raises
    ------
    ValueError
        Wrong shapes or values, or latents that are not finite.
    """
    n = len(contexts)
    if guidance != 1 and unconditional is None:
        raise ValueError(f"guidance is {guidance} and there is no unconditional context: give one, or guidance 1")
    if not math.isfinite(guidance) or guidance < 0:
        raise ValueError(f"guidance is {guidance}, expected 0 or more; 1 follows the contexts, 7.5 is usual")
    if unconditional is not None and len(unconditional) not in (1, n):
        raise ValueError(f"unconditional contexts of {len(unconditional)} images, expected 1 or {n}")
    taken = steps.n_taken(1.0 if start is None else strength)
    device, channels = unet.weight.device, unet.config.latent_channels
    if start is None:
        x = noise((n, channels, *(size or (unet.config.latent_size,) * 2))).to(device, torch.float32)
    else:
        if start.ndim != 4 or start.shape[:2] != (n, channels):
            raise ValueError(f"start latents are {tuple(start.shape)}, expected ({n}, {channels}, row, column)")
        if not torch.isfinite(start).all():
            raise ValueError("start latents hold NaN or infinity: encode the start images again")
        x = start.to(device, torch.float32)
        if taken == 0:
            yield x, x
            return
        alpha = _alpha_of_noising(steps, taken, published_noising)
        x = math.sqrt(alpha) * x + math.sqrt(1 - alpha) * noise(x.shape).to(x)
    guided = unconditional is not None and guidance != 1
    if guided:
        assert unconditional is not None
        contexts = Contexts.join([unconditional if len(unconditional) == n else unconditional.expand(n), contexts])
    for i in reversed(range(taken)):
        alpha, before, sigma = (float(values[i]) for values in (steps.alphas, steps.alphas_prev, steps.sigmas))
        e = unet(x, torch.tensor([float(steps.times[i])]), contexts, mixed_ratio=mixed_ratio).float()
        if guided:
            without, with_contexts = e.chunk(2)
            e = torch.lerp(without, with_contexts, guidance)
        x0 = (x - math.sqrt(1 - alpha) * e) / math.sqrt(alpha)
        if corrected is not None:
            x0 = corrected(x0, (1 - alpha) / alpha)
        x = math.sqrt(before) * x0 + math.sqrt(1 - before - sigma**2) * e
        if sigma > 0:
            x = x + sigma * noise(x.shape).to(x)
        yield x, x0
    if not torch.isfinite(x).all():
        raise ValueError(
            "latents became NaN or infinite: the weights are damaged, or float16 overflowed (use bfloat16 or float32)"
        )


def _alpha_of_noising(steps: Steps, taken: int, published: bool) -> float:
    if not published:
        return float(steps.alphas[taken - 1])
    if taken == len(steps.times):
        raise ValueError(
            f"published_noising with all {taken} steps: there is no step after the last one to noise for. Lower "
            "strength, or leave published_noising off"
        )
    return float(steps.alphas[taken])
