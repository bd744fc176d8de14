"""Training of the VDVAE: resumed to the bit, averaged, warmed up, and never led by a gradient that explodes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.pretrain import train_vdvae
from vdvae.config import CONFIGS, Config
from vdvae.model import VDVAE

OPTIONS: dict = {
    "config": "tiny",
    "seed": 0,
    "n_steps": 6,
    "batch_size": 4,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "warm_up_steps": 3,
    "kl_start": 0.1,
    "kl_warm_up_steps": 4,
    "ema_decay": 0.9,
    "skip_gradient_norm": 1e6,
    "validation_every": 2,
    "n_validation": 2,
    "bfloat16": False,
}


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A configuration that trains in a second, and a cache of its own; flushing of denormals as it was."""
    config = Config(
        enc_blocks="16d2,8d2,4d4,1x1",
        dec_blocks="1x1,4m1,8m4,16m8",
        image_size=16,
        image_channels=1,
        width=12,
        zdim=2,
        bottleneck=0.5,
        no_bias_above=8,
        num_mixtures=2,
        shift=-115.0,
        scale=1 / 65,
    )
    monkeypatch.setitem(CONFIGS, "tiny", config)
    monkeypatch.setattr(train_vdvae, "user_cache_dir", lambda _: str(tmp_path))
    monkeypatch.setattr(torch, "set_flush_denormal", lambda _: True)


def crops() -> list[np.ndarray]:
    """Smooth squares, which can be learned."""
    y, x = np.mgrid[:24, :24] / 24
    return [(127 + 100 * np.sin(3 * x * k + k) * np.cos(2 * y)).astype(np.uint8) for k in range(1, 9)]


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, curve = train_vdvae.train(crops(), **OPTIONS)
    (checkpoint,) = (tmp_path / "pretrain").iterdir()
    checkpoint.unlink()

    evaluate, calls = train_vdvae.evaluate, []

    def killed(model: VDVAE, images: np.ndarray) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(model, images)

    monkeypatch.setattr(train_vdvae, "evaluate", killed)
    with pytest.raises(KeyboardInterrupt):
        train_vdvae.train(crops(), **OPTIONS)
    capsys.readouterr()
    monkeypatch.setattr(train_vdvae, "evaluate", evaluate)
    resumed, again = train_vdvae.train(crops(), **OPTIONS)
    assert "continuing from step 2" in capsys.readouterr().out
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    assert again == curve
    assert [row["step"] for row in curve] == [2, 4, 6]


def test_other_settings_or_crops_do_not_go_on_from_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    train_vdvae.train(crops(), **OPTIONS | {"n_steps": 2})
    train_vdvae.train(crops(), **OPTIONS | {"n_steps": 2, "seed": 1})
    train_vdvae.train(crops()[::-1], **OPTIONS | {"n_steps": 2})
    assert "continuing" not in capsys.readouterr().out
    train_vdvae.train(crops(), **OPTIONS | {"n_steps": 2})
    assert "continuing from step 2" in capsys.readouterr().out


def test_training_lowers_the_bound() -> None:
    _, curve = train_vdvae.train(crops(), **OPTIONS | {"n_steps": 30, "validation_every": 10, "kl_start": 1.0})
    for name, least in (("training_bits_per_dim", 0.5), ("validation_bits_per_dim", 0.1)):
        assert curve[-1][name] < curve[0][name] - least
    assert all(math.isfinite(value) for row in curve for value in row.values())


def test_updates_of_an_exploding_or_undefined_gradient_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(OPTIONS["seed"])
    first = VDVAE(CONFIGS["tiny"]).state_dict()
    weights, curve = train_vdvae.train(crops(), **OPTIONS | {"skip_gradient_norm": 1e-9})
    assert curve[-1]["skipped_updates"] == OPTIONS["n_steps"]
    assert all(torch.allclose(value, weights[name], rtol=1e-6, atol=0) for name, value in first.items())

    losses, steps = VDVAE.losses, []

    def undefined_once(self, images, noise):  # type: ignore[no-untyped-def]
        distortion, rates = losses(self, images, noise)
        steps.append(torch.is_grad_enabled())
        return (distortion * torch.nan if sum(steps) == 3 and steps[-1] else distortion), rates

    monkeypatch.setattr(VDVAE, "losses", undefined_once)
    weights, curve = train_vdvae.train(crops(), **OPTIONS)
    assert curve[-1]["skipped_updates"] == 1
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_the_result_is_the_moving_average_of_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    history = []
    step = torch.optim.AdamW.step

    def recorded(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        if not history:
            history.append([p.detach().clone() for group in self.param_groups for p in group["params"]])
        result = step(self, *args, **kwargs)
        history.append([p.detach().clone() for group in self.param_groups for p in group["params"]])
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    weights, _ = train_vdvae.train(crops(), **OPTIONS)
    average = [p.double() for p in history[0]]
    for number, after in enumerate(history[1:]):
        decay = min(OPTIONS["ema_decay"], (1 + number) / (10 + number))
        average = [decay * slow + (1 - decay) * fast.double() for slow, fast in zip(average, after, strict=True)]
    assert len(history) == OPTIONS["n_steps"] + 1
    for mine, theirs in zip(average, weights.values(), strict=True):
        assert torch.allclose(mine.float(), theirs, rtol=1e-4, atol=1e-6)
    assert any(not torch.allclose(last, value, rtol=1e-3) for last, value in zip(after, weights.values(), strict=True))


def test_the_rate_warms_up_and_cools_down() -> None:
    factors = [train_vdvae.learning_rate_factor(step, warm_up_steps=10, n_steps=100) for step in range(101)]
    np.testing.assert_allclose(factors[:3], [0.1, 0.2, 0.3], rtol=2e-3)  # the cosine has hardly begun
    assert np.argmax(factors) == 9
    assert factors[50] == pytest.approx(0.5)
    assert factors[100] == pytest.approx(0)
    assert (np.diff(factors[9:]) < 0).all()


def test_the_divergence_gains_weight_and_the_average_memory() -> None:
    weights = [train_vdvae.divergence_weight(step, kl_start=0.1, kl_warm_up_steps=10) for step in (0, 5, 10, 99)]
    np.testing.assert_allclose(weights, [0.1, 0.55, 1, 1])
    decays = [train_vdvae.average_decay(step, ema_decay=0.998) for step in (0, 90, 10**6)]
    np.testing.assert_allclose(decays, [0.1, 0.91, 0.998])


def test_crops_that_show_what_a_scene_shows_are_not_trained_on(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = np.asarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).repeat(40, 0).repeat(40, 1)
    other = np.asarray(np.random.default_rng(1).integers(0, 256, (8, 8), np.uint8)).repeat(40, 0).repeat(40, 1)
    roles = {"scene": [scene], "train": [np.clip(scene.astype(int) + 3, 0, 255).astype(np.uint8), other]}
    monkeypatch.setattr(train_vdvae.simulated, "crops", lambda _, role: (None, roles[role]))
    kept = train_vdvae.training_crops(Path())
    assert len(kept) == 1
    assert kept[0] is other
