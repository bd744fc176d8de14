"""The VDVAE against recorded outputs of the published implementation, against independent formulas, and its loader."""

import importlib.util
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MODEL_TOLERANCE
from safetensors.torch import save_file
from scipy.special import expit

from loading.noise import batch_noise, image_noise
from vdvae import mixture, weights
from vdvae.config import CONFIGS, Config, parse_blocks
from vdvae.model import VDVAE, draw_pixels, kl

TINY = Config(
    enc_blocks="32x2,32d2,16x2,16d2,8x2,8d2,4x2,4d4,1x1",
    dec_blocks="1x1,4m1,4x2,8m4,8x2,16m8,16x2,32m16,32x2",
    image_size=32,
    width=32,
    zdim=4,
    no_bias_above=16,
    num_mixtures=3,
    shift=CONFIGS["imagenet64"].shift,
    scale=CONFIGS["imagenet64"].scale,
)
# Latents to 1e-5 (drawn ones 5e-5), features before the pixels to 2e-4: ten times what float32 and float64 differ by.
LATENT, DRAWN, FEATURE = 1e-5, 5e-5, 2e-4


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_golden_weights(config: Config, shared: Path) -> VDVAE:
    """The model with weights that follow from the names of its parameters alone."""
    spec = importlib.util.spec_from_file_location("golden_fill", shared / "golden" / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.device("meta"):
        model = VDVAE(config)
    filled = {
        name: torch.from_numpy(module.fill(name, value.shape, 0, "vdvae")) for name, value in model.state_dict().items()
    }
    model.load_state_dict(filled, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def small(seed: int = 0, **changes: object) -> VDVAE:
    """A random model of a few thousand weights with 16 px images, all of whose parts matter."""
    settings: dict = {
        "enc_blocks": "16x1,16d2,8x1,8d2,4d4,1x1",
        "dec_blocks": "1x1,4m1,8m4,16m8,16x1",
        "image_size": 16,
        "width": 16,
        "zdim": 3,
        "no_bias_above": 8,
        "num_mixtures": 2,
        "shift": -120.0,
        "scale": 1 / 64,
    }
    torch.manual_seed(seed)
    model = VDVAE(Config(**settings | changes))
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval().requires_grad_(False)


def photographs(n: int, size: int, channels: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (n, size, size, channels), dtype=np.uint8)


def largest(actual: torch.Tensor | np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(np.asarray(actual) - expected).max())


@pytest.mark.parametrize("name", ["imagenet64", "imagenet32", "cifar10", "ffhq256"])
def test_names_shapes_and_order_of_all_weights_are_those_of_the_published_checkpoint(name: str, shared: Path) -> None:
    manifest = json.loads((shared / "golden" / "manifests" / f"vdvae_{name}.json").read_text())
    with torch.device("meta"):
        state = VDVAE(CONFIGS[name]).state_dict()
    assert [(key, list(value.shape)) for key, value in state.items()] == [
        (key, entry[0]) for key, entry in manifest.items()
    ]


@pytest.mark.parametrize(
    "name",
    ["cifar10", *(pytest.param(name, marks=pytest.mark.slow) for name in ("imagenet64", "imagenet32", "ffhq256"))],
)
def test_a_file_with_the_tensors_of_the_published_checkpoint_loads_strictly(
    name: str, shared: Path, tmp_path: Path
) -> None:
    manifest = json.loads((shared / "golden" / "manifests" / f"vdvae_{name}.json").read_text())
    path = tmp_path / f"{name}.th"
    # One number stands for all of a tensor: the file is small, its names and shapes are those of the manifest.
    torch.save({key: torch.full((), 0.5).expand(entry[0]) for key, entry in manifest.items()}, path)
    loaded = weights.load(path, CONFIGS[name]).state_dict()
    assert {key: list(value.shape) for key, value in loaded.items()} == {k: entry[0] for k, entry in manifest.items()}
    assert all((value == 0.5).all() for value in loaded.values())
    other = "imagenet32" if name != "imagenet32" else "imagenet64"
    with pytest.raises(ValueError, match=f"It is a checkpoint of the configuration {name}"):
        weights.load(path, CONFIGS[other])


@pytest.mark.parametrize(
    ("name", "n_tensors", "n_values"),
    [
        ("imagenet64", 2482, 125_005_860),
        ("cifar10", 1393, 39_145_700),
        ("ffhq256", 2272, 114_874_852),
        ("imagenet32", 2423, 119_280_868),
    ],
)
def test_configurations_have_the_published_number_of_weights(name: str, n_tensors: int, n_values: int) -> None:
    with torch.device("meta"):
        state = VDVAE(CONFIGS[name]).state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (n_tensors, n_values)


def test_imagenet64_has_75_latents_and_the_first_31_hold_91168_numbers() -> None:
    shapes = CONFIGS["imagenet64"].latent_shapes()
    assert len(shapes) == 75
    assert sum(math.prod(shape) for shape in shapes[:31]) == 91_168


def check_against(golden: dict[str, np.ndarray], model: VDVAE, n_given: int, step: int) -> None:
    """Every recorded array of one model: activations, latents, divergences, features, mixtures, pixels."""
    images = golden["x_uint8"]
    n = len(images)

    def thinned(features: torch.Tensor) -> torch.Tensor:
        return features[:, :, ::step, ::step]

    def features_of(
        latents: list[torch.Tensor], noise=None, temperature: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[no-untyped-def]
        kept: list[torch.Tensor] = []
        decoder = model.decoder

        def keeping(states: dict[int, torch.Tensor]) -> torch.Tensor:
            kept.append(type(decoder).features_of(decoder, states))
            return kept[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decoder, "features_of", keeping)
            parameters = model.pixel_parameters(latents, n, noise=noise, temperature=temperature)
        return thinned(kept[0]), parameters

    with torch.no_grad():
        activations = model.encoder(model.network_input(images))
    for resolution, activation in activations.items():
        if f"act_{resolution}" in golden:
            assert largest(activation, golden[f"act_{resolution}"]) < MODEL_TOLERANCE
        else:
            assert largest(activation.mean((2, 3)), golden[f"act_{resolution}_chan_mean"]) < MODEL_TOLERANCE

    means = model.encode(images, n_layers=model.n_layers)
    assert largest(model.flatten(means[:n_given]), golden["z_mean_flat"]) < LATENT
    sums = np.stack([z.double().sum((1, 2, 3)).numpy() for z in means], 1)
    assert np.abs(sums - golden["z_mean_layer_sum"]).max() < 1e-2
    distortion, rates = model.losses(images, None)
    dims = math.prod(images.shape[1:])
    np.testing.assert_allclose(distortion.numpy() / dims, golden["nll_mean"], rtol=1e-5)
    np.testing.assert_allclose(rates.numpy(), golden["kl_mean_layer_sum"], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(rates.sum(1).numpy(), golden["kl_mean_layer_sum"].sum(1), rtol=1e-4)
    features, parameters = features_of(means)
    assert largest(features, golden["px_z_mean_slice"]) < FEATURE
    assert largest(parameters[:, ::step, ::step], golden["dmol_params_mean_slice"]) < FEATURE

    drawn = model.encode(images, n_layers=model.n_layers, noise=batch_noise(generator(1234)))
    assert largest(model.flatten(drawn[:n_given]), golden["z_seed1234_flat"]) < DRAWN
    features, parameters = features_of(drawn)
    assert largest(features, golden["px_z_seed1234_slice"]) < FEATURE
    same = draw_pixels(parameters, model.config, generator(99)) == golden["sample_seed1234_99"]
    assert same.mean() > 0.999

    given = model.unflatten(golden["z_seed1234_flat"], n_given)
    features, parameters = features_of(given)
    assert largest(features, golden["px_z_manual_priormean_slice"]) < FEATURE
    assert (draw_pixels(parameters, model.config, generator(9)) == golden["sample_priormean_9"]).mean() > 0.999
    features, parameters = features_of(given, batch_noise(generator(7)))
    assert largest(features, golden["px_z_manual_seed7_slice"]) < FEATURE
    assert (draw_pixels(parameters, model.config, generator(8)) == golden["sample_manual_7_8"]).mean() > 0.999
    features, _ = features_of([], batch_noise(generator(5)), temperature=0.7)
    assert largest(features, golden["px_z_uncond_t07_seed5_slice"]) < FEATURE


def test_a_tiny_model_gives_all_recorded_numbers(shared: Path) -> None:
    with np.load(shared / "golden" / "arrays" / "vdvae_tiny.npz") as golden:
        check_against(dict(golden), with_golden_weights(TINY, shared), n_given=6, step=1)


@pytest.mark.slow
def test_the_published_configuration_gives_all_recorded_numbers(shared: Path) -> None:
    with np.load(shared / "golden" / "arrays" / "vdvae_imagenet64.npz") as golden:
        check_against(dict(golden), with_golden_weights(CONFIGS["imagenet64"], shared), n_given=31, step=8)


def test_the_low_bit_likelihood_is_the_recorded_one(shared: Path) -> None:
    with np.load(shared / "golden" / "arrays" / "vdvae_dmol.npz") as golden:
        parameters = torch.from_numpy(golden["params"])
        for target, nll, low_bit in (("target", "nll", False), ("target_5bit", "nll_5bit", True)):
            log_p = mixture.log_likelihood(parameters, torch.from_numpy(golden[target]), low_bit=low_bit)
            np.testing.assert_allclose(-log_p.sum((1, 2)).numpy() / (12 * 12 * 3), golden[nll], rtol=1e-5)
        choice, noise = torch.from_numpy(golden["u_mixture"]), torch.from_numpy(golden["u_logistic"])
        assert largest(mixture.sample(parameters, 3, choice, noise), golden["sample"]) < LATENT


def test_probabilities_of_all_256_grey_levels_add_up_to_one() -> None:
    parameters = torch.randn(1, 4, 4, mixture.n_parameters(3, 1), generator=generator(0), dtype=torch.float64)
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    total = sum(mixture.log_likelihood(parameters, level.expand(1, 4, 4, 1), low_bit=False).exp() for level in levels)
    np.testing.assert_allclose(np.asarray(total), 1, atol=1e-9)


def test_the_grey_likelihood_equals_a_difference_of_logistic_distribution_functions() -> None:
    k = 4
    values = np.random.default_rng(0).normal(size=(2, 5, 5, 3 * k))
    values[..., 2 * k :] -= 2
    x = np.random.default_rng(1).integers(1, 255, (2, 5, 5, 1)) / 127.5 - 1
    logits, means, log_scales = np.split(values, 3, -1)
    share = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    scale = np.exp(np.maximum(log_scales, -7))
    probability = expit((x + 1 / 255 - means) / scale) - expit((x - 1 / 255 - means) / scale)
    expected = np.log((share * probability).sum(-1))
    actual = mixture.log_likelihood(torch.from_numpy(values), torch.from_numpy(x), low_bit=False)
    np.testing.assert_allclose(
        actual.numpy(), expected, rtol=1e-4
    )  # the density stands in where the difference cancels


@pytest.mark.parametrize("channels", [1, 3])
def test_the_mean_of_the_mixture_is_the_average_of_many_draws(channels: int) -> None:
    parameters = 0.3 * torch.randn(1, 2, 2, mixture.n_parameters(2, channels), generator=generator(2))
    k = 2
    scales = slice(2 * k, 3 * k) if channels == 1 else None
    # Narrow distributions in the middle, so that clipping, which the mean leaves out, does not happen.
    if scales is not None:
        parameters[..., scales] -= 4
    else:
        for colour in range(3):
            parameters[..., k + colour * 3 * k + k : k + colour * 3 * k + 2 * k] -= 4
    n = 20_000
    many = parameters.expand(n, 2, 2, -1)
    uniform = [torch.empty(n, 2, 2, m).uniform_(1e-5, 1 - 1e-5, generator=generator(m)) for m in (k, channels)]
    average = mixture.sample(many, channels, *uniform).mean(0)
    assert largest(average, mixture.mean(parameters, channels)[0].numpy()) < 0.01


def test_the_divergence_of_normal_distributions_is_that_of_torch() -> None:
    a, b, c, d = torch.randn(4, 100, dtype=torch.float64, generator=generator(1))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(a, b.exp()), normal(c, d.exp()))
    np.testing.assert_allclose(kl(a, b, c, d).numpy(), expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("channels", [1, 3])
def test_encoding_and_decoding_an_image_do_not_depend_on_the_others_in_the_batch(channels: int) -> None:
    model = small(image_channels=channels)
    images = photographs(5, 16, channels)
    together = model.encode(images, n_layers=3)
    alone = [
        torch.cat(parts) for parts in zip(*(model.encode(images[i : i + 1], n_layers=3) for i in range(5)), strict=True)
    ]
    for a, b in zip(together, alone, strict=True):
        assert largest(a, b.numpy()) < LATENT
    seeds = [11, 12, 13, 14, 15]
    whole = model.decode(together, noise=image_noise(seeds))
    for i in (3, 0):
        single = model.decode([z[i : i + 1] for z in together], noise=image_noise(seeds[i : i + 1]))
        assert np.abs(single[0].astype(int) - whole[i]).max() <= 1  # rounding may tip a grey level


def test_fewer_layers_are_the_first_of_all_layers() -> None:
    model, images = small(), photographs(2, 16, 3)
    few, every = model.encode(images, n_layers=2), model.encode(images, n_layers=5)
    for a, b in zip(few, every, strict=False):
        assert torch.equal(a, b)


def test_unflatten_inverts_flatten() -> None:
    model = small()
    latents = model.encode(photographs(3, 16, 3), n_layers=4)
    for a, b in zip(latents, model.unflatten(model.flatten(latents), 4), strict=True):
        assert torch.equal(a, b)
    with pytest.raises(ValueError, match=r"latents are \(3, 7\), expected \(image, 51\) for 2 layers"):
        model.unflatten(np.zeros((3, 7), np.float32), 2)


def test_flat_latents_and_layers_decode_to_the_same_image() -> None:
    model = small()
    latents = model.encode(photographs(3, 16, 3))
    assert len(latents) == model.n_layers
    np.testing.assert_array_equal(model.decode(model.flatten(latents)), model.decode(latents))
    for n_layers in (1, 4):
        expected = model.decode(latents[:n_layers])
        np.testing.assert_array_equal(model.decode(latents, n_layers), expected)
        np.testing.assert_array_equal(model.decode(model.flatten(latents[:n_layers]), n_layers), expected)
    with pytest.raises(ValueError, match=r"latents are \(3, 51\), expected \(image, 3\) for 1 layers"):
        model.decode(model.flatten(latents[:2]), 1)


def test_posterior_draws_follow_the_seed_of_their_image_and_average_to_the_mean() -> None:
    model, image = small(), photographs(1, 16, 3)
    many = image.repeat(400, 0)
    drawn = model.encode(many, 1, noise=image_noise(range(400)))[0]
    single = model.encode(image, 1, noise=image_noise([7]))[0]
    assert largest(drawn[7:8], single.numpy()) < LATENT
    mean = model.encode(image, 1)[0]
    assert largest(drawn.mean(0, keepdim=True) - mean, np.zeros(1)) < 5 * float(drawn.std(0).max()) / 20
    assert float(drawn.std(0).min()) > 0


def test_a_higher_temperature_spreads_what_the_prior_draws() -> None:
    model = small()
    spread = [np.stack([model.sample(1, t, seed=k)[0] for k in range(8)]).std(0).mean() for t in (0.1, 1.0)]
    latents = model.encode(photographs(1, 16, 3), 2)
    decoded = [
        np.abs(
            model.decode(latents, noise=image_noise([1]), temperature=t).astype(float) - model.decode(latents)
        ).mean()
        for t in (0.1, 1.0)
    ]
    assert spread[0] < spread[1]
    assert decoded[0] < decoded[1]


def test_temperature_zero_is_the_mean_of_the_prior() -> None:
    model = small()
    a = model.pixel_parameters([], 2, noise=batch_noise(generator(0)), temperature=0.0)
    assert torch.equal(a, model.pixel_parameters([], 2))


def test_the_bound_in_bits_is_the_sum_of_both_losses() -> None:
    model, images = small(), photographs(3, 16, 3)
    distortion, rates = model.losses(images, None)
    expected = (distortion + rates.sum(1)).double().numpy() / math.log(2) / (16 * 16 * 3)
    np.testing.assert_allclose(model.elbo(images, noise=None), expected, rtol=1e-6)
    assert (rates > 0).all()


def test_samples_are_images_and_follow_the_seed() -> None:
    model = small()
    draws = [model.sample(2, 0.8, seed=3) for _ in range(2)]
    assert draws[0].shape == (2, 16, 16, 3)
    assert draws[0].dtype == np.uint8
    assert np.array_equal(*draws)
    assert not np.array_equal(draws[0], model.sample(2, 0.8, seed=4))
    assert not np.array_equal(draws[0][0], draws[0][1])
    # An image of a larger set is the same but for the rounding of another batch, which may tip single draws.
    assert (model.sample(5, 0.8, seed=3)[:2] == draws[0]).mean() > 0.99


def test_custom_widths_pad_on_the_way_up_and_cut_on_the_way_down() -> None:
    model = small(custom_width=((16, 8), (8, 12)))
    latents = model.encode(photographs(2, 16, 3), n_layers=5)
    assert model.decode(latents).shape == (2, 16, 16, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((1, 16, 16, 3), np.float32),
            r"float32 in \[0, 0\], expected uint8 in 0..255: multiply by 255, round",
        ),
        (np.full((1, 16, 16, 3), 0.5), r"float64 in \[0.5, 0.5\], expected uint8 in 0..255: multiply by 255, round"),
        (np.full((1, 16, 16, 3), -1.0), r"float64 in \[-1, -1\], expected uint8 in 0..255: bring them to that range"),
        (np.full((1, 16, 16, 3), 200, np.int64), r"int64 in \[200, 200\], expected uint8 in 0..255: bring them"),
        (
            np.eye(16, dtype=np.uint8)[None, ..., None].repeat(3, 3),
            r"uint8 in \[0, 1\], expected 0..255: multiply by 255",
        ),
        (np.zeros((16, 16, 3), np.uint8), r"\(16, 16, 3\), expected \(image, 16, 16, 3\): resize"),
        (np.zeros((1, 8, 8, 3), np.uint8), r"\(1, 8, 8, 3\), expected \(image, 16, 16, 3\): resize"),
        (np.zeros((1, 16, 16, 1), np.uint8), r"\(1, 16, 16, 1\), expected"),
    ],
)
def test_images_of_another_range_size_or_colour_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().encode(images, n_layers=1)


def test_impossible_requests_are_refused() -> None:
    model = small()
    with pytest.raises(ValueError, match="9 layers asked for, this configuration has 1 to 5"):
        model.encode(photographs(1, 16, 3), n_layers=9)
    with pytest.raises(ValueError, match=r"latent 0 is \(1, 2, 1, 1\), expected \(1, 3, 1, 1\)"):
        model.decode([torch.zeros(1, 2, 1, 1)])
    with pytest.raises(ValueError, match="latent 0 is not finite"):
        model.decode([torch.full((1, 3, 1, 1), math.nan)])
    with pytest.raises(ValueError, match="noise for 2 images asked for, 1 seeds given"):
        model.pixel_parameters([], 2, noise=image_noise([1]))
    with pytest.raises(ValueError, match=r"temperature is -1\.0, expected 0 or more"):
        model.sample(1, -1.0)
    with pytest.raises(ValueError, match="0 images asked for, expected 1 or more"):
        model.sample(0)
    with pytest.raises(ValueError, match="3 layers asked for, 1 latents given"):
        model.decode([torch.zeros(1, 3, 1, 1)], 3)
    with pytest.raises(ValueError, match=r"0 layers asked for, this configuration has 1 to 5"):
        model.decode([])
    with pytest.raises(ValueError, match="block '8y2' in '8y2' is not RxN, RdK or RmS"):
        parse_blocks("8y2")


def test_checkpoints_cannot_run_code(tmp_path: Path) -> None:
    class Command:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "run",))

    torch.save({"decoder.gain": Command()}, tmp_path / "a.th")
    with pytest.raises(ValueError, match=r"a.th holds more than tensors \(getattr\). It was not run; do not use it"):
        weights.read(tmp_path / "a.th")
    assert not (tmp_path / "run").exists()


def test_weights_that_blow_up_are_noticed_when_latents_are_read() -> None:
    model = small()
    model.decoder.dec_blocks[1].enc.c4.bias.data[:] = math.inf
    with pytest.raises(ValueError, match="latent 1 is not finite: the weights are damaged"):
        model.encode(photographs(1, 16, 3), n_layers=2)


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_checkpoint_loads_as_it_was_saved(tmp_path: Path, suffix: str, prefix: str) -> None:
    model = small()
    path = tmp_path / f"model{suffix}"
    tensors = {prefix + name: value for name, value in model.state_dict().items()}
    if suffix == ".th":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    loaded = weights.load(path, model.config).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())


def test_files_of_torch_before_zip_archives_load_too(tmp_path: Path) -> None:
    model = small()
    path = tmp_path / "old.th"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    loaded = weights.load(path, model.config).state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items())
    whole = path.read_bytes()
    for kept in (100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match=r"old\.th is damaged or of another format"):
            weights.load(path, model.config)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_computed_with_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    model, path = small(), tmp_path / "a.safetensors"
    save_file({name: value.to(dtype) for name, value in model.state_dict().items()}, path)
    loaded = weights.load(path, model.config).state_dict()
    for name, value in model.state_dict().items():
        assert loaded[name].dtype == torch.float32
        assert torch.equal(loaded[name], value.to(dtype).float())


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> VDVAE:
    """A small model whose configuration is known as `small`."""
    model = small()
    monkeypatch.setitem(CONFIGS, "small", model.config)
    return model


@pytest.mark.parametrize("config", [None, "small"])
def test_conversion_keeps_every_value_and_finds_the_configuration(
    tmp_path: Path, known: VDVAE, config: str | None
) -> None:
    torch.save({f"module.{name}": value for name, value in known.state_dict().items()}, tmp_path / "a.th")
    assert weights.convert(tmp_path / "a.th", tmp_path / "new" / "a.safetensors", config) == "small"
    converted = weights.read(tmp_path / "new" / "a.safetensors")
    assert converted.keys() == known.state_dict().keys()
    assert all(torch.equal(value, converted[name]) for name, value in known.state_dict().items())
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_the_converter_is_a_command(
    tmp_path: Path, known: VDVAE, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "a.th", tmp_path / "a.safetensors"
    torch.save(known.state_dict(), source)
    assert weights.main([str(source), str(target)]) == 0
    assert capsys.readouterr().out == f"{target}: configuration small\n"
    assert weights.load(target, known.config).n_layers == 5
    target.unlink()
    assert weights.main([str(source), str(target), "--config", "cifar10"]) == 1
    assert "It is a checkpoint of the configuration small" in capsys.readouterr().err
    assert weights.main([str(tmp_path / "none.th"), str(target)]) == 1
    assert "none.th does not exist" in capsys.readouterr().err
    source.write_bytes(source.read_bytes()[:999])
    assert weights.main([str(source), str(target)]) == 1
    assert "a.th is damaged or of another format" in capsys.readouterr().err
    torch.save({"first_stage_model.encoder.weight": torch.ones(2)}, source)
    assert weights.main([str(source), str(target)]) == 1
    assert "is not a checkpoint of a VDVAE" in capsys.readouterr().err
    assert not target.exists()
    with pytest.raises(SystemExit):
        weights.main([str(source), str(target), "--config", "imagenet"])
    assert "invalid choice: 'imagenet'" in capsys.readouterr().err
    with pytest.raises(KeyError, match="VDVAE configuration 'imagenet' is unknown; there are cifar10, imagenet32"):
        weights.convert(source, target, "imagenet")
    with pytest.raises(ValueError, match=r"a\.bin is not called \.safetensors"):
        weights.convert(source, tmp_path / "a.bin")
    with pytest.raises(SystemExit) as ended:
        weights.main(["--help"])
    assert ended.value.code == 0


def test_checkpoints_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    model = small()
    state = dict(model.state_dict())
    path = tmp_path / "a.th"

    torch.save({k: v for k, v in state.items() if k != "decoder.gain"} | {"decoder.gian": state["decoder.gain"]}, path)
    with pytest.raises(ValueError, match=r"1 tensors missing \['decoder.gain'\], 1 unexpected \['decoder.gian'\]"):
        weights.load(path, model.config)
    torch.save(state | {"decoder.gain": torch.ones(1, 4, 1, 1)}, path)
    with pytest.raises(ValueError, match=r"decoder.gain \(1, 4, 1, 1\) instead of \(1, 16, 1, 1\)"):
        weights.load(path, model.config)
    torch.save(state | {"decoder.gain": torch.ones(1, 16, 1, 1, dtype=torch.int64)}, path)
    with pytest.raises(ValueError, match=r"1 tensors are not floating point .*, decoder.gain is torch.int64"):
        weights.load(path, model.config)
    torch.save(state | {"decoder.gain": torch.full((1, 16, 1, 1), math.nan)}, path)
    with pytest.raises(ValueError, match=r"1 tensors hold NaN or infinity, first decoder\.gain"):
        weights.load(path, model.config)
    torch.save({f"vae.{name}": value for name, value in state.items()}, path)
    with pytest.raises(ValueError, match=r"a\.th is not a checkpoint of a VDVAE: none of its \d+ tensors"):
        weights.load(path, model.config)
    torch.save({"model": state}, path)
    with pytest.raises(ValueError, match="expected a bare state dict of tensors"):
        weights.load(path, model.config)
    with pytest.raises(FileNotFoundError, match=r"none.th does not exist"):
        weights.load(tmp_path / "none.th", model.config)


@pytest.mark.parametrize("suffix", [".th", ".safetensors"])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, suffix: str) -> None:
    model, path = small(), tmp_path / f"a{suffix}"
    torch.save(model.state_dict(), path) if suffix == ".th" else save_file(dict(model.state_dict()), path)
    whole = path.read_bytes()
    for kept in (0, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="is damaged or of another format"):
            weights.load(path, model.config)


def test_a_checkpoint_of_another_family_member_is_called_by_its_name(tmp_path: Path) -> None:
    with torch.device("meta"):
        state = VDVAE(CONFIGS["mini64"]).state_dict()
    save_file(
        {name: torch.zeros(value.shape, dtype=torch.float16) for name, value in state.items()},
        tmp_path / "m.safetensors",
    )
    with pytest.raises(ValueError, match="It is a checkpoint of the configuration mini64"):
        weights.load(tmp_path / "m.safetensors", CONFIGS["cifar10"])
