"""The autoencoder of Versatile Diffusion against recorded outputs, known answers, and what it refuses."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_weights import arrays, fill_in, largest

from versatile_diffusion.autoencoder import Autoencoder, Posterior, Up, to_uint8
from versatile_diffusion.config import AUTOENCODERS, AutoencoderConfig

TOLERANCE = 5e-5  # float32; float64 differs from float32 by 3e-6


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    """As every sampler runs: layers then write over tensors that nobody reads again."""
    with torch.no_grad():
        yield


def small(seed: int = 0) -> Autoencoder:
    torch.manual_seed(seed)
    config = AutoencoderConfig(width=8, multipliers=(1, 2, 2), n_blocks=1, image_size=16, scale=0.5, groups=4)
    return Autoencoder(config).eval().requires_grad_(False)


def photographs(n: int, side: int, colours: int = 3) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (n, side, side, colours), dtype=np.uint8)


def test_names_shapes_and_order_of_all_weights_are_those_of_kl_f8(shared: Path) -> None:
    manifest = json.loads((shared / "golden" / "manifests" / "kl_f8.json").read_text())
    with torch.device("meta"):
        state = Autoencoder(AUTOENCODERS["kl_f8"]).state_dict()
    assert [(key, list(value.shape)) for key, value in state.items()] == [
        (key, entry[0]) for key, entry in manifest.items()
    ]


def test_kl_f8_has_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        state = Autoencoder(AUTOENCODERS["kl_f8"]).state_dict()
    assert (len(state), sum(value.numel() for value in state.values())) == (248, 83_653_863)


@pytest.mark.parametrize("name", ["kl_tiny", "kl_tiny_low", "kl_f8"])
def test_latents_and_images_equal_the_recorded_ones(name: str, shared: Path) -> None:
    golden, note = arrays(shared, name)
    config = AutoencoderConfig(
        width=note["dd"]["ch"],
        multipliers=tuple(note["dd"]["ch_mult"]),
        n_blocks=note["dd"]["num_res_blocks"],
        image_size=64,
        scale=AUTOENCODERS["kl_f8"].scale,
    )
    with torch.device("meta"):
        model = Autoencoder(config)
    fill_in(model, shared, family=note["family"], published=lambda key: f"autokl.{key}")
    posterior = model.posterior(golden["x"].contiguous(memory_format=torch.channels_last))
    drawn = posterior.sample(torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(3)))
    found = {
        "moments": model.moments(golden["x"]),
        "mean_scaled": config.scale * posterior.mean,
        "sample_scaled_seed3": config.scale * drawn,
        "decoded_mean": model.pixels(config.scale * posterior.mean),
        "decoded_random": model.pixels(golden["z_random"]),
    }
    for key, value in found.items():
        # With activations near zero the epsilons decide the result: relative to the largest value there.
        limit = TOLERANCE * (golden[key].abs().max() if note["family"] == "vd_low" else 1)
        assert largest(value, golden[key]) < limit, key


def test_gradients_change_no_value() -> None:
    model = small()
    x = model.network_input(photographs(2, 16))
    written_over = model.moments(x), model.pixels(model.posterior(x).mean)
    model.requires_grad_(True)
    with torch.enable_grad():
        recorded = model.moments(x), model.pixels(model.posterior(x).mean)
        recorded[1].sum().backward()
    for a, b in zip(written_over, recorded, strict=True):
        assert largest(a, b.detach()) == 0
    assert all(p.grad is not None for n, p in model.named_parameters() if "decoder" in n)


def test_an_image_does_not_depend_on_its_batch() -> None:
    model, images = small(), photographs(5, 16)
    together, alone = model.encode(images), torch.cat([model.encode(images[i : i + 1]) for i in range(5)])
    assert largest(together, alone) < 1e-6
    assert np.abs(model.decode(together).astype(int) - model.decode(together[2:3]).astype(int)[0])[2].max() <= 1


def test_latents_are_smaller_by_the_factor_and_rectangles_are_welcome() -> None:
    model = small()
    images = np.zeros((1, 16, 24, 3), np.uint8)
    assert model.config.factor == 4
    assert model.encode(images).shape == (1, 4, 4, 6)
    assert model.decode(torch.zeros(1, 4, 4, 6)).shape == (1, 16, 24, 3)


def test_the_mini_configuration_makes_16_by_16_latents_of_grey_128_px_images() -> None:
    torch.manual_seed(0)
    model = Autoencoder(AUTOENCODERS["mini"]).eval()
    latents = model.encode(photographs(1, 128, 1))
    assert latents.shape == (1, 4, 16, 16)
    assert model.decode(latents).shape == (1, 128, 128, 1)


def test_divergence_is_that_of_a_normal_distribution() -> None:
    mean, log_variance = torch.randn(2, 3, 4, 4).double(), torch.randn(2, 3, 4, 4).double()
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, torch.exp(log_variance / 2)), normal(0.0, 1.0))
    assert largest(Posterior(mean, log_variance).divergence().double(), expected.sum((1, 2, 3))) < 1e-4


def test_a_sample_has_the_posterior_mean_and_deviation() -> None:
    posterior = Posterior(torch.full((1, 1, 200, 200), 3.0), torch.full((1, 1, 200, 200), math.log(4.0)))
    drawn = posterior.sample(torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(0)))
    assert abs(float(drawn.mean()) - 3) < 0.03
    assert abs(float(drawn.std()) - 2) < 0.03


def test_pixels_are_rounded_or_cut_off() -> None:
    levels = torch.tensor([0.0, 100.4, 100.6, 255.0, 300.0, -9.0])
    pixels = (levels / 127.5 - 1)[None, None, None]
    assert to_uint8(pixels, round_up=True).ravel().tolist() == [0, 100, 101, 255, 255, 0]
    assert to_uint8(pixels, round_up=False).ravel().tolist() == [0, 100, 100, 255, 255, 0]


def test_every_grey_level_survives_the_way_to_the_network_and_back() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, 3)
    assert np.array_equal(to_uint8(small().network_input(images), round_up=True), images)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 16, 16, 3)), r"images are float64 in \[0, 0\], expected uint8"),
        (np.zeros((1, 16, 16, 1), np.uint8), r"expected \(image, row, column, 3\)"),
        (np.zeros((1, 16, 18, 3), np.uint8), "multiples of 4: resize them first, to 16"),
        (np.zeros((16, 16, 3), np.uint8), r"expected \(image, row, column, 3\)"),
    ],
)
def test_wrong_images_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small().encode(images)


def test_wrong_noise_and_latents_are_refused() -> None:
    model = small()
    with pytest.raises(ValueError, match=r"noise is \(2, 4, 4, 4\), expected \(1, 4, 4, 4\)"):
        model.encode(photographs(1, 16), noise=torch.zeros(2, 4, 4, 4))
    with pytest.raises(ValueError, match=r"latents are \(1, 3, 4, 4\), expected \(image, 4, row, column\)"):
        model.decode(torch.zeros(1, 3, 4, 4))
    with pytest.raises(ValueError, match="latents are not finite"):
        model.decode(torch.full((1, 4, 4, 4), torch.nan))


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 2)])
def test_the_step_up_is_every_pixel_repeated_and_then_a_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer, x = Up(6).double(), torch.randn(2, 6, *size, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        repeated = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
        expected = torch.nn.functional.conv2d(repeated, layer.conv.weight, layer.conv.bias, padding=1)
    with torch.enable_grad():
        found = layer(x)
    # The kernel is summed in float32, whatever the weights are.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    upstream = torch.randn_like(expected)
    slopes = [torch.autograd.grad(y, x, upstream, retain_graph=True)[0] for y in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)
