"""Every optimisation of the VDVAE, one by one: exact to the bit, or to the rounding that its test states.

The yardstick is benchmarks/eager_vdvae.py, a second implementation without any of them.
"""

import weakref
from collections.abc import Iterable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.bench_vdvae import build, random_weights
from benchmarks.eager_vdvae import EagerVDVAE
from loading.noise import batch_noise, image_noise
from vdvae import layers as network
from vdvae import weights
from vdvae.config import CONFIGS, Config
from vdvae.memory import bytes_per_image, images_at_once
from vdvae.model import VDVAE

ROUNDING = 1e-5  # of the largest value: sums in another order, float32
SETTINGS: dict = {
    "enc_blocks": "16x2,16d2,8x2,8d2,4x1,4d4,1x1",
    "dec_blocks": "1x1,4m1,4x1,8m4,8x2,16m8,16x2",
    "image_size": 16,
    "width": 32,
    "zdim": 4,
    "no_bias_above": 8,
    "num_mixtures": 3,
    "shift": -120.0,
    "scale": 1 / 64,
}
KINDS = {
    "colour": Config(**SETTINGS),
    "grey": Config(**SETTINGS | {"image_channels": 1}),
    "widths": Config(**SETTINGS | {"custom_width": ((16, 16), (8, 24))}),
}
N = 3


def pair(kind: str) -> tuple[EagerVDVAE, VDVAE]:
    values = random_weights(KINDS[kind], 0)
    return build(EagerVDVAE, KINDS[kind], dict(values)), build(VDVAE, KINDS[kind], values)


def photographs(config: Config, n: int = N) -> np.ndarray:
    shape = (n, config.image_size, config.image_size, config.image_channels)
    return np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = ROUNDING) -> None:
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= tolerance * float(b.abs().max())


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_all_together_give_what_the_direct_implementation_gives(kind: str) -> None:
    eager, model = pair(kind)
    images = photographs(model.config)
    expected = eager.encode(model.network_input(images).contiguous())
    latents = model.encode(images)
    for a, b in zip(latents, expected, strict=True):
        close(a, b)
    for k in (0, 3, model.n_layers):
        close(model.pixel_parameters(latents[:k], N), eager.pixel_parameters(expected[:k], N))


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow) for name in ("cifar10", "ffhq256")])
def test_other_published_configurations_give_what_the_direct_implementation_gives(name: str) -> None:
    values = random_weights(CONFIGS[name], 0)
    eager, model = build(EagerVDVAE, CONFIGS[name], dict(values)), build(VDVAE, CONFIGS[name], values)
    image = photographs(model.config, 1)
    latents = model.encode(image, 12)
    close(model.pixel_parameters(latents, 1), eager.pixel_parameters(latents, 1), 1e-4)
    assert model.decode(latents).shape == image.shape
    assert np.isfinite(model.elbo(image)).all()


def test_blocks_after_the_last_latent_asked_for_are_not_run_and_the_rest_is_the_same_to_the_bit() -> None:
    _, model = pair("colour")
    images = photographs(model.config)
    every = model.encode(images)
    for block in model.decoder.blocks[3:]:
        for parameter in block.parameters():
            parameter.fill_(torch.nan)  # whoever ran these blocks would notice
    for a, b in zip(model.encode(images, 3), every, strict=False):
        assert torch.equal(a, b)


def test_decoding_reads_neither_the_encoder_nor_a_posterior_nor_the_spread_of_an_unused_prior() -> None:
    _, model = pair("colour")
    latents = model.encode(photographs(model.config), 3)
    expected = model.pixel_parameters(latents, N)
    unread = [*model.encoder.parameters()]
    for block in model.decoder.blocks:
        unread += [*block.enc.parameters(), block.prior.c4.weight[4:8], block.prior.c4.bias[4:8]]
    for block in model.decoder.blocks[:3]:
        unread += [block.prior.c4.weight[:8], block.prior.c4.bias[:8]]
    for parameter in unread:
        parameter.fill_(torch.nan)
    assert torch.equal(model.pixel_parameters(latents, N), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_number_of_layers_share_blocks_and_are_the_same_to_the_bit(kind: str) -> None:
    _, model = pair(kind)
    latents = model.encode(photographs(model.config), 4)
    for k, images in enumerate(model.decode_each(latents, N)):
        expected = model.decode(latents, k) if k else None
        if expected is not None:
            np.testing.assert_array_equal(images, expected)
    assert k == 4
    assert sum(1 for _ in model.decode_each([], N)) == 1


def test_writing_over_tensors_changes_no_bit() -> None:
    x, y = torch.randn(2, 2, 8, 5, 5, generator=generator(0))
    expected = F.gelu(x), x + y
    with torch.no_grad():
        assert torch.equal(network.gelu(x.clone()), expected[0])
        assert torch.equal(network.plus(x.clone(), y), expected[1])
    assert torch.equal(network.gelu(x), expected[0])  # and with gradients nothing is written over
    assert torch.equal(network.plus(x, y), expected[1])


def test_nothing_that_is_given_is_written_over() -> None:
    _, model = pair("colour")
    images = photographs(model.config)
    before, state = images.copy(), {name: value.clone() for name, value in model.state_dict().items()}
    latents = model.encode(images)
    kept = [z.clone() for z in latents]
    first = model.decode(latents)
    np.testing.assert_array_equal(images, before)
    assert all(torch.equal(a, b) for a, b in zip(latents, kept, strict=True))
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    np.testing.assert_array_equal(model.decode(latents), first)


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("pixels", [1, 4, 17])
def test_convolutions_by_onednn_are_convolutions(size: int, pixels: int) -> None:
    x = torch.randn(2, 24, pixels, pixels, generator=generator(1)).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(40, 24, size, size, generator=generator(2)) / 5
    bias = torch.randn(40, generator=generator(3))
    exact = F.conv2d(x.double(), weight.double(), bias.double(), padding=size // 2).float()
    with torch.no_grad():
        close(network.convolution(x, weight, bias), exact, 1e-6)
        close(network.convolution(x.double(), weight.double(), bias.double()).float(), exact, 1e-7)
        y = torch.randn(2, 40, pixels, pixels, generator=generator(4)).contiguous(memory_format=torch.channels_last)
        if size == 1:
            close(network.plus_convolution(y.clone(), x, weight, bias), y + exact, 1e-6)


def test_features_and_projected_latent_in_one_convolution_are_the_sum_of_two() -> None:
    _, model = pair("colour")
    block = model.decoder.blocks[4]
    x, z = torch.randn(N, 32, 8, 8, generator=generator(1)), torch.randn(N, 4, 8, 8, generator=generator(2))
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        h = block.prior.inner(x)
        both = F.conv2d(h, *block.prior.last())
        expected = block.resnet(x + both[:, 8:] + block.z_proj(z))
        close(block.merge(x.clone(), h, z), expected)
        expected = block.resnet(x + both[:, 8:] + block.z_proj(both[:, :4]))
        close(block.merge_mean(x.clone(), h), expected)


def test_kernels_with_channels_last_differ_by_rounding_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    _, model = pair("colour")
    torch.save({name: value.contiguous() for name, value in model.state_dict().items()}, tmp_path / "a.th")
    loaded = weights.load(tmp_path / "a.th", model.config)
    plain = VDVAE(model.config).eval().requires_grad_(False)
    plain.load_state_dict({name: value.contiguous() for name, value in model.state_dict().items()})
    assert loaded.decoder.blocks[4].prior.c2.weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(loaded.encode(photographs(model.config)), plain.encode(photographs(model.config)), strict=True):
        close(a, b)


def test_the_path_with_gradients_gives_the_same_numbers() -> None:
    _, model = pair("colour")
    images = photographs(model.config)
    with torch.no_grad():
        fast = model.losses(images, batch_noise(generator(5)))
    model.requires_grad_(True)
    slow = model.losses(images, batch_noise(generator(5)))
    for a, b in zip(fast, slow, strict=True):
        close(a, b.detach(), 1e-4)
    (slow[0] + slow[1].sum(1)).mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def gradient(model: torch.nn.Module, e: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of a weighted sum of pixels in the whitened latents of three layers."""
    e = e.clone().requires_grad_()
    (model.pixels_of_whitened(e, 3) * weight).sum().backward()
    assert e.grad is not None
    return e.grad


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_with_fixed_weights_is_that_of_the_direct_implementation(kind: str) -> None:
    eager, model = pair(kind)
    e = torch.randn(N, model.n_numbers(3), generator=generator(0))
    weight = torch.randn(N, 16, 16, model.config.image_channels, generator=generator(1))
    expected = gradient(eager.double().requires_grad_(True), e.double(), weight.double()).float()
    found = gradient(model, e, weight)
    close(found, expected)
    alone = torch.cat([gradient(model, e[i : i + 1], weight[i : i + 1]) for i in range(N)])
    close(alone, found)
    close(gradient(model.requires_grad_(True), e, weight), expected)  # the way of training, which keeps everything
    assert all(p.grad is not None for p in model.decoder.blocks[4].resnet.parameters())
    close(gradient(model.double().requires_grad_(False), e.double(), weight.double()).float(), expected, 1e-6)


@pytest.mark.parametrize("resolution", [1, 5])
def test_gradients_past_fixed_weights_are_finite_differences(resolution: int) -> None:
    torch.manual_seed(0)
    block = network.Block(4, 3, 4, resolution=resolution, residual=True).double().requires_grad_(False)
    x, h = (torch.randn(2, n, resolution, resolution, dtype=torch.float64, requires_grad=True) for n in (4, 3))
    assert torch.autograd.gradcheck(block.inner, x)
    assert torch.autograd.gradcheck(lambda h: network.convolution(h, *block.last()), h)
    assert torch.autograd.gradcheck(lambda x, h: network.plus_convolution(x, h, *block.last()), (x, h))
    assert torch.autograd.gradcheck(block, x)


@pytest.mark.parametrize("trained", ["c1.weight", "c2.bias", "c3.weight", "c4.bias"])
def test_a_single_weight_that_is_trained_gets_its_gradient(trained: str) -> None:
    torch.manual_seed(0)
    block = network.Block(8, 4, 8, resolution=4, residual=True).requires_grad_(False)
    x = torch.randn(2, 8, 4, 4)
    block.get_parameter(trained).requires_grad_()
    block(x).square().sum().backward()
    found = {name: value.grad for name, value in block.named_parameters() if value.grad is not None}
    assert found.keys() == {trained}
    block = block.double().requires_grad_(True)
    h = x.double()
    for layer in (block.c1, block.c2, block.c3, block.c4):
        h = layer(F.gelu(h))
    (x.double() + h).square().sum().backward()
    expected = block.get_parameter(trained).grad
    assert expected is not None
    close(found[trained], expected.float())


@pytest.mark.parametrize("name", ["mini64", "imagenet64"])
def test_with_fixed_weights_half_the_memory_of_plain_autograd_is_kept(name: str) -> None:
    """Counted on tensors without values."""
    kept = {}
    with torch.device("meta"):
        e = torch.empty(1, VDVAE(CONFIGS[name]).n_numbers(10), requires_grad=True)
        for model in (EagerVDVAE(CONFIGS[name]), VDVAE(CONFIGS[name]).requires_grad_(False)):
            own: dict[int, torch.UntypedStorage] = {}

            def keep(value: torch.Tensor, own: dict[int, torch.UntypedStorage] = own) -> torch.Tensor:
                own[value.untyped_storage()._cdata] = value.untyped_storage()
                return value

            with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
                result = model.pixels_of_whitened(e, 10)
            for parameter in model.parameters():
                own.pop(parameter.untyped_storage()._cdata, None)
            kept[type(model)] = sum(storage.nbytes() for storage in own.values())
            del result
    assert 0 < kept[VDVAE] <= 0.5 * kept[EagerVDVAE]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_batch_of_any_size_gives_the_same_image(temperature: float) -> None:
    _, model = pair("grey")
    latents = model.encode(photographs(model.config, 5), 3)
    whole = model.decode(latents, noise=image_noise(range(5)), temperature=temperature)
    parts = [
        model.decode([z[i:j] for z in latents], noise=image_noise(range(i, j)), temperature=temperature)
        for i, j in ((0, 1), (1, 4), (4, 5))
    ]
    assert np.abs(np.concatenate(parts).astype(int) - whole).max() <= 1  # rounding may tip a grey level


@pytest.mark.parametrize(("free", "expected"), [(10**15, 2), (1, 1), (4 * bytes_per_image(CONFIGS["imagenet64"]), 2)])
def test_the_batch_on_a_processor_follows_cache_and_memory(
    monkeypatch: pytest.MonkeyPatch, free: int, expected: int
) -> None:
    monkeypatch.setattr("vdvae.memory.free_bytes", lambda _: free)
    assert images_at_once("auto", CONFIGS["imagenet64"], "cpu") == expected
    assert images_at_once(7, CONFIGS["imagenet64"], "cpu") == 7


def test_the_batch_on_a_gpu_follows_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    one = bytes_per_image(CONFIGS["imagenet64"])
    for free, expected in ((2 * 10 * one, 10), (10**15, 256), (0, 1)):
        monkeypatch.setattr("vdvae.memory.free_bytes", lambda _, free=free: free)
        assert images_at_once("auto", CONFIGS["imagenet64"], "cuda") == expected


@pytest.mark.parametrize("size", [0, -1, 1.5, "all", None])
def test_a_batch_of_another_kind_is_refused(size: object) -> None:
    with pytest.raises(ValueError, match=rf"batch_size is {size!r}, expected auto or a number of images, 1 or more"):
        images_at_once(size, CONFIGS["imagenet64"], "cpu")  # type: ignore[arg-type]


class _Counting(TorchDispatchMode):
    """Bytes of the memory that results of operations hold, those of `ignored` tensors left out; `peak` is the most."""

    def __init__(self, ignored: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.ignored = {tensor.untyped_storage().data_ptr() for tensor in ignored}
        self.alive: dict[int, tuple[int, list[weakref.ref]]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, list | tuple) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self.ignored:
                storage = tensor.untyped_storage()
                _, holders = self.alive.get(storage.data_ptr(), (0, []))
                self.alive[storage.data_ptr()] = storage.nbytes(), [*holders, weakref.ref(tensor)]
        self.alive = {key: one for key, one in self.alive.items() if any(ref() is not None for ref in one[1])}
        self.peak = max(self.peak, sum(n for n, _ in self.alive.values()))
        return result


@pytest.mark.parametrize("kind", KINDS)
def test_images_never_take_more_memory_than_is_counted_for_them(kind: str) -> None:
    _, model = pair(kind)
    n = 8
    images = photographs(model.config, n)
    for task in (lambda: model.encode(images), lambda: model.pixel_parameters([], n), lambda: model.elbo(images)):
        with _Counting(model.parameters()) as counted:
            task()
        assert 0.2 * n * bytes_per_image(model.config) < counted.peak <= n * bytes_per_image(model.config)
