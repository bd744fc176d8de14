"""The UNet of Versatile Diffusion against recorded outputs, an independent formula, and what it refuses."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import arrays, fill_in, largest
from torch import Tensor

from benchmarks.eager_versatile_diffusion import EagerUNet
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS, UNetConfig
from versatile_diffusion.unet import Contexts, GatedLinear, UNet, attention_blocks, mix, time_features

TOLERANCE = 5e-5  # float32; float64 differs from float32 by 3e-6
PREFIX = "model.diffusion_model."


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    """As every sampler runs: layers then write over tensors that nobody reads again."""
    with torch.no_grad():
        yield


def config_of(note: dict) -> UNetConfig:
    given = note["cfg"]
    return UNetConfig(
        width=given["model_channels"],
        multipliers=tuple(given["channel_mult"]),
        attention=tuple(given["with_attn"]),
        n_blocks=given["num_noattn_blocks"][0],
        n_heads=given["num_heads"],
        vision_width=given["context_dim"],
        text_width=given["context_dim"],
        latent_size=16,
    )


def golden_unet(note: dict, shared: Path) -> UNet:
    with torch.device("meta"):
        model = UNet(config_of(note))
    fill_in(model, shared, family=note["family"], published=lambda key: PREFIX + key)
    return model


def small(seed: int = 0, **changes: object) -> UNet:
    """A random network of a few thousand weights, all of whose parts matter."""
    torch.manual_seed(seed)
    settings: dict = {
        "width": 8,
        "multipliers": (1, 2),
        "attention": (True, False),
        "n_blocks": 1,
        "n_heads": 2,
        "vision_width": 6,
        "text_width": 5,
        "latent_size": 8,
        "groups": 4,
    }
    model = UNet(UNetConfig(**settings | changes))
    for parameter in model.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def inputs(n: int = 3, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, 4, 8, 8, generator=g),
        torch.randn(n, 7, 6, generator=g),
        torch.randn(n, 3, 5, generator=g),
    )


def test_names_and_shapes_of_all_weights_are_those_of_the_deprecated_checkpoint(shared: Path) -> None:
    manifest = json.loads((shared / "golden" / "manifests" / "vd_deprecated.json").read_text())
    with torch.device("meta"):
        state = UNet(UNETS["four_flow"]).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == {key: manifest[PREFIX + key][0] for key in state}


def test_the_published_network_reads_1102_tensors() -> None:
    with torch.device("meta"):
        model = UNet(UNETS["four_flow"])
    state = model.state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (1102, 1_126_760_324)
    assert len(attention_blocks(model.unet_image)) == len(attention_blocks(model.unet_text)) == 16


@pytest.mark.parametrize(
    "name", ["vd_unet_tiny", "vd_unet_tiny_low", pytest.param("vd_unet_real", marks=pytest.mark.slow)]
)
def test_noise_equals_the_recorded_one_for_every_mixing(name: str, shared: Path) -> None:
    golden, note = arrays(shared, name)
    model = golden_unet(note, shared)
    # Embeddings of the real network are compared as they enter it.
    assert largest(time_features(golden["t"], model.config.width), golden["t_emb"]) < TOLERANCE
    contexts = model.contexts(golden["vision"], golden["text"])
    ratios = {"eps_vision_only": 1.0, "eps_prompt_only": 0.0}
    recorded = [key for key in golden if key.startswith("eps_")]
    assert recorded
    for key in recorded:
        ratio = ratios.get(key) if key in ratios else float(key.removeprefix("eps_dc_mix"))
        found = model(golden["x"], golden["t"], contexts, mixed_ratio=ratio)
        limit = TOLERANCE * (golden[key].abs().max() if note["family"] == "vd_low" else 1)
        assert largest(found, golden[key]) < limit, key


def test_a_context_alone_equals_a_mixture_with_all_the_weight_on_it(shared: Path) -> None:
    golden, note = arrays(shared, "vd_unet_tiny")
    model = golden_unet(note, shared)
    vision_alone = model.contexts(golden["vision"], None)
    found = model(golden["x"], golden["t"], vision_alone, mixed_ratio=1.0)
    assert largest(found, golden["eps_vision_only"]) < TOLERANCE
    text_alone = model.contexts(None, golden["text"])
    found = model(golden["x"], golden["t"], text_alone, mixed_ratio=0.0)
    assert largest(found, golden["eps_prompt_only"]) < TOLERANCE


def test_half_precision_is_as_far_from_float32_as_in_the_published_network(shared: Path) -> None:
    golden, note = arrays(shared, "vd_unet_tiny")
    for dtype, limit in ((torch.float16, 2 * note["float16_vs_float32_maxabs"]), (torch.bfloat16, 0.1)):
        model = golden_unet(note, shared).to(dtype)
        contexts = model.contexts(golden["vision"], golden["text"])
        found = model(golden["x"], golden["t"], contexts, mixed_ratio=0.6)
        assert found.dtype is dtype
        assert largest(found.float(), golden["eps_dc_mix0.6"]) < limit


def attention_in_float64(block: torch.nn.Module, h: np.ndarray, context: np.ndarray, n_heads: int) -> np.ndarray:
    """A(h, context) of one image, (channel, pixel) -> (channel, pixel), by the formulas of the paper."""
    w = {name: value.double().numpy() for name, value in block.state_dict().items()}

    def layer_norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * w[name + ".weight"] + w[name + ".bias"]

    def attend(x: np.ndarray, y: np.ndarray, name: str) -> np.ndarray:
        q, k, v = x @ w[name + ".to_q.weight"].T, y @ w[name + ".to_k.weight"].T, y @ w[name + ".to_v.weight"].T
        size = q.shape[1] // n_heads
        parts = []
        for head in range(n_heads):
            of = slice(head * size, (head + 1) * size)
            scores = np.exp(q[:, of] @ k[:, of].T / math.sqrt(size))
            parts.append(scores / scores.sum(1, keepdims=True) @ v[:, of])
        return np.concatenate(parts, 1) @ w[name + ".to_out.0.weight"].T + w[name + ".to_out.0.bias"]

    groups = h.reshape(block.norm.num_groups, -1)
    centred = groups - groups.mean(1, keepdims=True)
    x = (centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-6)).reshape(h.shape)
    x = (x * w["norm.weight"][:, None] + w["norm.bias"][:, None]).T
    x = x @ w["proj_in.weight"][:, :, 0, 0].T + w["proj_in.bias"]
    t = "transformer_blocks.0."
    y = layer_norm(x, t + "norm1")
    x = x + attend(y, y, t + "attn1")
    x = x + attend(layer_norm(x, t + "norm2"), context, t + "attn2")
    inner = layer_norm(x, t + "norm3") @ w[t + "ff.net.0.proj.weight"].T + w[t + "ff.net.0.proj.bias"]
    value, gate = np.split(inner, 2, 1)
    erf = np.vectorize(math.erf)
    inner = value * gate * 0.5 * (1 + erf(gate / math.sqrt(2)))
    x = x + inner @ w[t + "ff.net.2.weight"].T + w[t + "ff.net.2.bias"]
    return (x @ w["proj_out.weight"][:, :, 0, 0].T + w["proj_out.bias"]).T


def test_an_attention_place_adds_both_blocks_as_the_formula_says() -> None:
    model = small()
    a, b = attention_blocks(model.unet_image)[1], attention_blocks(model.unet_text)[1]
    g = torch.Generator().manual_seed(5)
    h = torch.randn(1, len(a.norm.weight), 4, 4, generator=g)
    vision, text = torch.randn(1, 7, 6, generator=g), torch.randn(1, 3, 5, generator=g)
    found = mix(h.clone(), [(a, a.key_value(vision), 0.7), (b, b.key_value(text), 0.3)])
    flat = h[0].flatten(1).double().numpy()
    expected = (
        flat
        + 0.7 * attention_in_float64(a, flat, vision[0].double().numpy(), 2)
        + 0.3 * attention_in_float64(b, flat, text[0].double().numpy(), 2)
    )
    assert np.abs(found[0].flatten(1).numpy() - expected).max() < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("attention", [(True, False), (True, True)])
def test_the_network_equals_the_direct_implementation(attention: tuple[bool, bool]) -> None:
    model, (x, vision, text) = small(attention=attention), inputs()
    eager, t = EagerUNet(model.config, model.state_dict()), torch.tensor([1.0, 77.0, 901.0])
    found = model(x, t, model.contexts(vision, text), mixed_ratio=0.35)
    assert largest(found, eager(x, t, vision, text, 0.35)) < 1e-5 * float(found.abs().max())


def test_recorded_gradients_change_no_value_and_reach_every_weight() -> None:
    model, (x, vision, text) = small(), inputs()
    t = torch.tensor([3.0, 400.0, 999.0])
    written_over = model(x, t, model.contexts(vision, text), mixed_ratio=0.4)
    model.requires_grad_(True)
    with torch.enable_grad():
        recorded = model(x, t, model.contexts(vision, text), mixed_ratio=torch.full((3,), 0.4))
        recorded.square().sum().backward()
    assert largest(written_over, recorded.detach()) < 1e-5
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_every_image_may_have_its_own_mixing() -> None:
    model, (x, vision, text) = small(), inputs()
    contexts, t = model.contexts(vision, text), torch.tensor([10.0])
    ratios = [0.0, 0.3, 1.0]
    together = model(x, t, contexts, mixed_ratio=torch.tensor(ratios))
    for i, ratio in enumerate(ratios):
        one = model(x[i : i + 1], t, contexts.rows(torch.tensor([i])), mixed_ratio=ratio)
        assert largest(one[0], together[i]) < 1e-5


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, (x, vision, text) = small(), inputs(5)
    contexts, t = model.contexts(vision, text), torch.tensor([500.0])
    together = model(x, t, contexts, mixed_ratio=0.5)
    for i in range(5):
        alone = model(x[i : i + 1], t, model.contexts(vision[i : i + 1], text[i : i + 1]), mixed_ratio=0.5)
        assert largest(alone[0], together[i]) < 1e-5


@pytest.mark.parametrize("attention", [(True, False), (False, True), (False, False)])
def test_latents_that_meet_two_contexts_equal_two_calls(attention: tuple[bool, bool]) -> None:
    model, (x, vision, text) = small(attention=attention), inputs()
    unconditional = model.contexts(torch.zeros(1, 7, 6), torch.ones(1, 3, 5))
    conditional, t = model.contexts(vision, text), torch.tensor([40.0, 50.0, 60.0])
    both = model(x, t, Contexts.join([unconditional.expand(3), conditional]), mixed_ratio=0.6)
    assert largest(both[:3], model(x, t, unconditional.expand(3), mixed_ratio=0.6)) < 1e-5
    assert largest(both[3:], model(x, t, conditional, mixed_ratio=0.6)) < 1e-5


def test_the_given_latents_are_not_written_over() -> None:
    model, (x, vision, text) = small(), inputs()
    before = x.clone()
    model(x, torch.tensor([1.0]), model.contexts(vision, text), mixed_ratio=0.5)
    assert largest(x, before) == 0


def test_a_new_network_predicts_zero_until_it_is_trained() -> None:
    torch.manual_seed(0)
    model = UNet(UNETS["mini"])
    contexts = model.contexts(torch.randn(1, 49, 1280), torch.randn(1, 9, 384))
    found = model(torch.randn(1, 4, 16, 16), torch.tensor([7.0]), contexts, mixed_ratio=0.5)
    assert float(found.abs().max()) == 0


def test_the_mini_networks_are_below_40_megabytes_in_float16() -> None:
    with torch.device("meta"):
        models = [UNet(UNETS["mini"]), Autoencoder(AUTOENCODERS["mini"])]
    assert 2 * sum(p.numel() for model in models for p in model.parameters()) < 40e6


def test_the_gated_layer_is_the_same_in_one_product_and_in_two() -> None:
    torch.manual_seed(0)
    layer, x = GatedLinear(6, 10), torch.randn(2, 5, 6)
    two = layer(x)
    with torch.enable_grad():
        assert largest(two, layer(x).detach()) < 1e-6


@pytest.mark.parametrize(
    ("vision", "text", "message"),
    [
        (None, None, "neither a vision nor a text context"),
        (torch.zeros(1, 7, 5), None, r"vision context is \(1, 7, 5\), expected \(image, token, 6\)"),
        (torch.zeros(1, 42), None, r"vision context is \(1, 42\).*tail shape"),
        (None, torch.zeros(1, 0, 5), r"text context is \(1, 0, 5\)"),
        (torch.zeros(1, 7, 6), torch.zeros(2, 3, 5), "vision context has 1 images and text context 2"),
        (None, torch.full((1, 3, 5), math.nan), "text context holds NaN"),
    ],
)
def test_wrong_contexts_are_refused(vision: Tensor | None, text: Tensor | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().contexts(vision, text)


@pytest.mark.parametrize(
    ("x", "t", "ratio", "message"),
    [
        (torch.zeros(3, 3, 8, 8), torch.zeros(1), 0.5, r"latents are \(3, 3, 8, 8\), expected \(image, 4,"),
        (torch.zeros(3, 4, 7, 8), torch.zeros(1), 0.5, "multiples of 2"),
        (torch.zeros(2, 4, 8, 8), torch.zeros(1), 0.5, "2 latents with contexts of 3 images"),
        (torch.zeros(3, 4, 8, 8), torch.zeros(2), 0.5, r"expected .* \(1,\) or \(3,\) times"),
        (torch.zeros(3, 4, 8, 8), torch.zeros(1), 1.2, r"mixed_ratio is 1.2, expected 0"),
        (torch.zeros(3, 4, 8, 8), torch.zeros(1), math.nan, "mixed_ratio is nan"),
        (torch.zeros(3, 4, 8, 8), torch.zeros(1), torch.zeros(2), r"mixed_ratio is \(2,\), expected \(3,\)"),
    ],
)
def test_wrong_calls_are_refused(x: Tensor, t: Tensor, ratio: float | Tensor, message: str) -> None:
    model, (_, vision, text) = small(), inputs()
    with pytest.raises(ValueError, match=message):
        model(x, t, model.contexts(vision, text), mixed_ratio=ratio)


def test_a_missing_context_with_weight_is_refused() -> None:
    model, (x, vision, _) = small(), inputs()
    with pytest.raises(ValueError, match=r"mixed_ratio is 0.5, but the text context is missing"):
        model(x, torch.zeros(1), model.contexts(vision, None), mixed_ratio=0.5)
