"""Schedules and trajectories against recorded ones, properties of the sampler, and what it refuses."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import arrays, largest
from test_versatile_diffusion_unet import golden_unet, inputs, small
from torch import Tensor

from loading.noise import image_noise
from versatile_diffusion.sampler import Schedule, Steps, denoise

SCHEDULE, TRAJECTORY = 2e-6, 2e-4  # float32 over five steps differs from float64 by 1.4e-5


def sample(*given: object, **options: object) -> Tensor:
    """The last latents."""
    return list(denoise(*given, **options))[-1][0]  # type: ignore[arg-type]


def steps_of(n: int = 10, eta: float = 0.0) -> Steps:
    return Steps.ddim(Schedule.published(), n, eta)


def run(n: int = 3, rows: slice = slice(None), **changes: object) -> Tensor:
    """Images of the small network, each with its own seed and contexts."""
    model, (x, vision, text) = small(), inputs(n)
    options: dict = {
        "noise": image_noise(list(range(n))[rows]),
        "start": x[rows],
        "steps": steps_of(),
        "strength": 0.5,
        "guidance": 2.0,
        "mixed_ratio": 0.6,
    }
    unconditional = model.contexts(torch.zeros(1, 7, 6), torch.zeros(1, 3, 5))
    return sample(model, model.contexts(vision[rows], text[rows]), unconditional, **options | changes)


def test_the_formula_gives_the_recorded_schedule(shared: Path) -> None:
    golden, _ = arrays(shared, "vd_schedule")
    found = torch.from_numpy(Schedule.published().alphas_cumprod)
    assert largest(found, golden["buf_alphas_cumprod"].double()) == 0


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(("n", "eta"), [(50, 0), (50, 1), (20, 0), (30, 0), (10, 0), (100, 0.5)])
def test_ddim_steps_are_the_recorded_ones(n: int, eta: float, half: bool, shared: Path) -> None:
    golden, _ = arrays(shared, "vd_schedule")
    buffer = golden["buf_alphas_cumprod"]
    steps = Steps.ddim(Schedule.from_buffer(buffer.half() if half else buffer), n, eta)
    prefix = f"ddim{n}_eta{eta}_" + ("fp16buf_" if half else "")
    assert np.array_equal(steps.times, golden[prefix + "timesteps"])
    for name in ("alphas", "alphas_prev", "sigmas"):
        assert largest(torch.from_numpy(getattr(steps, name)), golden[prefix + name]) < SCHEDULE
    assert np.abs(np.sqrt(1 - steps.alphas) - golden[prefix + "sqrt_one_minus_alphas"].numpy()).max() < SCHEDULE


def test_the_trajectory_of_image_to_image_is_the_recorded_one(shared: Path) -> None:
    golden, note = arrays(shared, "vd_traj_tiny")
    model = golden_unet(note, shared)
    steps = steps_of(note["steps"])
    assert np.array_equal(steps.times, golden["ddim_timesteps"])
    found = list(
        denoise(
            model,
            model.contexts(golden["cim"], golden["ctx"]),
            model.contexts(golden["uim"], golden["utx"]),
            noise=lambda _: golden["noise"],
            start=golden["x0"],
            steps=steps,
            strength=note["t_start"] / note["steps"],
            guidance=note["guidance"],
            mixed_ratio=note["mixed_ratio"],
            published_noising=True,
        )
    )
    assert len(found) == note["t_start"]
    for (x, x0), expected, expected_x0 in zip(found, golden["x_steps"], golden["pred_x0_steps"], strict=True):
        assert largest(x, expected) < TRAJECTORY
        assert largest(x0, expected_x0) < TRAJECTORY
    assert largest(found[-1][0], golden["x_final"]) < TRAJECTORY


def noised(strength: float, **changes: object) -> float:
    """The part of the start that is left in what the network sees first."""
    seen: list[Tensor] = []
    model, (x, vision, text) = small(), inputs(1)
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    options: dict = {"steps": steps_of(50), "strength": strength, "guidance": 1.0, "mixed_ratio": 0.5}
    zero = lambda shape: torch.zeros(shape)  # noqa: E731
    sample(model, model.contexts(vision, text), None, noise=zero, start=x, **options | changes)
    return float((seen[0] / x).mean())


def test_a_start_is_noised_as_much_as_its_first_step_wants(shared: Path) -> None:
    golden, note = arrays(shared, "vd_traj_tiny")
    left = torch.tensor(math.sqrt(steps_of(note["steps"]).alphas[note["t_start"]]))
    assert largest(left * golden["x0"] + torch.sqrt(1 - left**2) * golden["noise"], golden["z_enc"]) < 1e-5
    alphas_cumprod = Schedule.published().alphas_cumprod
    assert noised(0.75) == pytest.approx(math.sqrt(alphas_cumprod[721]), rel=1e-5)
    assert noised(0.75, published_noising=True) == pytest.approx(math.sqrt(alphas_cumprod[741]), rel=1e-5)
    assert noised(1.0) == pytest.approx(math.sqrt(alphas_cumprod[981]), rel=1e-5)


class Oracle:
    """A network that knows the noise exactly: every step must lead back to the latent it came from."""

    def __init__(self, truth: Tensor, schedule: Schedule) -> None:
        self.weight, self.truth, self.schedule = torch.zeros(1), truth, schedule
        self.config = small().config

    def __call__(self, x: Tensor, t: Tensor, contexts: object, *, mixed_ratio: float) -> Tensor:
        alpha = float(self.schedule.alphas_cumprod[int(t)])
        e = (x - math.sqrt(alpha) * self.truth) / math.sqrt(1 - alpha)
        return e.repeat(len(contexts) // len(x), 1, 1, 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("strength", [0.3, 0.75, 1.0])
def test_with_the_true_noise_every_estimate_is_the_truth(eta: float, strength: float) -> None:
    schedule, (truth, vision, text) = Schedule.published(), inputs(2)
    contexts = small().contexts(vision, text)
    found = list(
        denoise(
            Oracle(truth, schedule),  # type: ignore[arg-type]
            contexts,
            contexts,
            noise=image_noise([1, 2]),
            start=truth,
            steps=Steps.ddim(schedule, 50, eta),
            strength=strength,
            guidance=7.5,
            mixed_ratio=0.5,
        )
    )
    for _, x0 in found:
        assert largest(x0, truth) < 1e-4
    alpha = float(schedule.alphas_cumprod[0])
    assert float((found[-1][0] - math.sqrt(alpha) * truth).std()) < 2 * math.sqrt(1 - alpha)


def test_steps_with_full_noise_keep_the_variance_of_the_forward_process() -> None:
    schedule, truth = Schedule.published(), torch.zeros(1, 4, 64, 64)
    contexts = small().contexts(torch.zeros(1, 7, 6), None)
    steps = Steps.ddim(schedule, 20, 1.0)
    states = denoise(
        Oracle(truth, schedule),  # type: ignore[arg-type]
        contexts,
        None,
        noise=image_noise([3]),
        start=None,
        steps=steps,
        strength=1.0,
        guidance=1.0,
        mixed_ratio=1.0,
        size=(64, 64),
    )
    for (x, _), before in zip(states, reversed(steps.alphas_prev), strict=True):
        assert float(x.std()) == pytest.approx(math.sqrt(1 - before), rel=0.03)


@pytest.mark.parametrize("eta", [0.0, 0.8])
def test_an_image_does_not_depend_on_its_batch(eta: float) -> None:
    together = run(4, steps=steps_of(eta=eta))
    pair = run(4, slice(1, 3), steps=steps_of(eta=eta))
    assert largest(pair, together[1:3]) < 1e-5 * float(together.abs().max())
    again = run(4, steps=steps_of(eta=eta))
    assert largest(again, together) == 0


def test_seeds_change_the_image_and_noise_in_the_steps_does_too() -> None:
    one = run(1, noise=image_noise([5]))
    assert largest(run(1, noise=image_noise([6])), one) > 0.01
    assert largest(run(1, noise=image_noise([5]), steps=steps_of(eta=1.0)), one) > 0.01


def test_guidance_one_needs_no_unconditional_context_and_equals_it() -> None:
    model, (x, vision, text) = small(), inputs()
    contexts, options = model.contexts(vision, text), {"steps": steps_of(), "strength": 0.5, "mixed_ratio": 0.6}
    alone = sample(model, contexts, None, noise=image_noise([0, 1, 2]), start=x, guidance=1.0, **options)
    assert largest(run(guidance=1.0), alone) == 0
    almost = run(guidance=1 + 1e-7)
    assert largest(almost, alone) < 1e-4
    same = sample(model, contexts, contexts, noise=image_noise([0, 1, 2]), start=x, guidance=9.0, **options)
    assert largest(same, alone) < 1e-4


def test_strength_zero_returns_the_start_and_no_start_begins_with_noise() -> None:
    _, (x, _, _) = small(), inputs()
    assert largest(run(strength=0.0), x) == 0
    from_noise = run(start=None, strength=0.1)
    assert from_noise.shape == (3, 4, 8, 8)
    assert run(start=None, size=(4, 6)).shape == (3, 4, 4, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strength": 1.2}, r"strength is 1.2, expected 0 .* to 1"),
        ({"strength": -0.1}, r"strength is -0.1"),
        ({"strength": math.nan}, "strength is nan"),
        ({"strength": 0.05}, "less than one step: raise one of them"),
        ({"strength": 1.0, "published_noising": True}, "no step after the last one"),
        ({"mixed_ratio": 1.5}, r"mixed_ratio is 1.5"),
        ({"guidance": -1.0}, r"guidance is -1.0, expected 0 or more"),
        ({"guidance": math.inf}, "guidance is inf"),
        ({"start": torch.zeros(2, 4, 8, 8)}, r"start latents are \(2, 4, 8, 8\), expected \(3, 4, row, column\)"),
        ({"start": torch.full((3, 4, 8, 8), math.nan)}, "start latents hold NaN"),
        ({"noise": image_noise([1])}, "noise for 3 images asked for, 1 seeds given"),
    ],
)
def test_wrong_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**change)


@pytest.mark.parametrize("n_steps", [0, -3, 501, 2.5, True])
def test_wrong_numbers_of_steps_are_refused(n_steps: int) -> None:
    with pytest.raises(ValueError, match=r"expected a whole number from 1 to 500"):
        steps_of(n_steps)


def test_wrong_eta_and_damaged_schedules_are_refused() -> None:
    with pytest.raises(ValueError, match=r"eta is 1.5, expected 0"):
        steps_of(10, 1.5)
    with pytest.raises(ValueError, match="alphas_cumprod is damaged"):
        Schedule.from_buffer(torch.tensor([0.5, 0.7, 0.1]))
    with pytest.raises(ValueError, match="alphas_cumprod is damaged"):
        Schedule.from_buffer(torch.full((5,), math.nan))


def test_missing_or_wrong_unconditional_contexts_are_refused() -> None:
    model, (x, vision, text) = small(), inputs()
    contexts = model.contexts(vision, text)
    options: dict = {"noise": image_noise([0, 1, 2]), "start": x, "steps": steps_of(), "strength": 0.5}
    with pytest.raises(ValueError, match=r"guidance is 3.0 and there is no unconditional context"):
        sample(model, contexts, None, guidance=3.0, mixed_ratio=0.5, **options)
    two = model.contexts(vision[:2], text[:2])
    with pytest.raises(ValueError, match="unconditional contexts of 2 images, expected 1 or 3"):
        sample(model, contexts, two, guidance=3.0, mixed_ratio=0.5, **options)


def test_damaged_weights_are_noticed() -> None:
    model, (x, vision, text) = small(), inputs(1)
    model.unet_image.out["2"].bias[0] = math.nan
    with pytest.raises(ValueError, match="latents became NaN"):
        sample(
            model,
            model.contexts(vision, text),
            None,
            noise=image_noise([0]),
            start=x,
            steps=steps_of(),
            strength=0.5,
            guidance=1.0,
            mixed_ratio=0.5,
        )


def test_every_number_of_steps_has_times_of_the_schedule() -> None:
    for n in range(1, 501):
        times = steps_of(n).times
        assert len(times) >= n
        assert times[0] == 1
        assert times[-1] <= 999
        assert len(set(np.diff(times).tolist())) <= 1
    assert steps_of(9).times.tolist() == list(range(1, 1000, 111))  # a tenth one would be 1000
    assert len(steps_of(30).times) == 31
