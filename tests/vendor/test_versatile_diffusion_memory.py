"""The memory plan: what it says of common devices, that it holds on this one, and what it refuses."""

import dataclasses

import pytest
import torch

from benchmarks.live_memory import Live
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.memory import KEPT, Plan, plan, sparing
from versatile_diffusion.unet import Contexts, UNet


def published(free_gb: float, dtype: torch.dtype = torch.float16, **changes: object) -> Plan:
    options: dict = {"size_px": 512, "n_tokens": 334, "guided": True, "batch_size": "auto", "device": "cuda"}
    free = int(free_gb * 2**30)
    return plan(UNETS["four_flow"], AUTOENCODERS["kl_f8"], dtype=dtype, free=free, **options | changes)


@pytest.mark.parametrize("gigabytes", [8, 16, 24])
def test_the_published_size_fits_common_gpus_in_float16(gigabytes: int) -> None:
    found = published(0.95 * gigabytes)
    assert found.n_images >= 16
    assert found.n_decoded >= 6
    assert found.weights + found.n_images * found.image <= 0.8 * 0.95 * gigabytes * 2**30
    assert found.weights == pytest.approx(2 * 1.24e9, rel=0.01)


def test_a_larger_device_takes_no_fewer_images_and_half_precision_takes_half() -> None:
    counts = [published(gigabytes).n_images for gigabytes in (4, 6, 8, 16, 24, 80)]
    assert counts == sorted(counts)
    half, full = published(24), published(24, torch.float32)
    assert full.image == 2 * half.image
    assert full.weights == 2 * half.weights
    assert published(24, guided=False).image < half.image


def test_a_processor_takes_as_many_images_as_its_cache_holds_and_never_many() -> None:
    assert published(24, torch.float32, device="cpu").n_images == 1
    mini = plan(
        UNETS["mini"],
        AUTOENCODERS["mini"],
        size_px=128,
        n_tokens=81,
        guided=True,
        dtype=torch.float32,
        batch_size="auto",
        device="cpu",
    )
    assert mini.n_images == 8
    assert mini.n_decoded > 1


def test_without_a_number_the_free_memory_of_the_device_counts() -> None:
    options: dict = {"size_px": 128, "n_tokens": 73, "guided": True, "dtype": torch.float32}
    found = plan(UNETS["mini"], AUTOENCODERS["mini"], **options, batch_size="auto", device="cpu")
    assert found.least < 0.1e9


def test_a_given_number_of_images_is_taken() -> None:
    found = published(8, batch_size=3)
    assert (found.n_images, found.n_decoded) == (3, 3)


@pytest.mark.parametrize(
    ("gigabytes", "change", "message"),
    [
        (6, {"dtype": torch.float32}, r"float32 need 7\.\d GB .*What fits: bfloat16 \(or float16 on a GPU\), 3\.\d GB"),
        (3.2, {}, r"512 px .* in float16 need 3\.\d GB.* What fits: images of \d+ px, 3\.\d GB"),
        (5, {"dtype": torch.float32, "size_px": 2048}, r"What fits: bfloat16 .* and images of \d+ px"),
        (2, {}, "Nothing fits: the smallest images in float16 take 3.* Free memory or take another device"),
        (8, {"batch_size": 64}, r"64 x 512 px .* cuda has 8.6 GB free. Set batch_size to 26, or to auto"),
    ],
)
def test_too_little_memory_is_answered_with_what_would_fit(gigabytes: float, change: dict, message: str) -> None:
    with pytest.raises(MemoryError, match=message):
        published(gigabytes, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0, expected auto"),
        ({"batch_size": "all"}, "batch_size is 'all'"),
        ({"size_px": 500}, "images of 500 px, expected a multiple of 64"),
        ({"size_px": 0}, "images of 0 px"),
    ],
)
def test_wrong_requests_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        published(8, **change)


@pytest.mark.parametrize("guided", [False, True])
def test_an_image_takes_no_more_than_planned_nor_much_less(guided: bool) -> None:
    config = dataclasses.replace(UNETS["four_flow"], width=32)
    torch.manual_seed(0)
    unet = UNet(config).to(memory_format=torch.channels_last)
    options: dict = {"n_tokens": 26, "guided": guided, "dtype": torch.float32, "batch_size": 1, "device": "cpu"}
    planned = plan(config, AUTOENCODERS["kl_f8"], size_px=256, **options).image
    x, vision, text = torch.randn(1, 4, 32, 32), torch.randn(1, 17, 768), torch.randn(1, 9, 768)
    with torch.no_grad(), Live() as live:
        contexts = unet.contexts(vision, text)
        if guided:
            contexts = Contexts.join([unet.contexts(vision, text), contexts])
        unet(x, torch.ones(1), contexts, mixed_ratio=0.5)
    assert 0.6 * planned < live.peak < planned


def test_decoding_and_encoding_take_no_more_than_planned_nor_much_less() -> None:
    config = dataclasses.replace(AUTOENCODERS["kl_f8"], width=32)
    torch.manual_seed(0)
    autoencoder = Autoencoder(config).to(memory_format=torch.channels_last)
    options: dict = {"n_tokens": 26, "guided": False, "dtype": torch.float32, "batch_size": 1, "device": "cpu"}
    planned = plan(UNETS["mini"], config, size_px=256, **options).decoded
    with torch.no_grad(), Live() as live:
        image = autoencoder.pixels(torch.randn(1, 4, 32, 32))
    assert 0.6 * planned < live.peak < planned
    with torch.no_grad(), Live() as live:
        autoencoder.moments(image)
    assert live.peak < planned


def test_small_batches_run_side_by_side_where_memory_allows_and_large_ones_do_not() -> None:
    options: dict = {"size_px": 128, "n_tokens": 73, "guided": True, "dtype": torch.float32, "device": "cpu"}
    options |= {"batch_size": "auto", "descends": True}
    mini = plan(UNETS["mini"], AUTOENCODERS["mini"], **options, free=8 << 30)
    assert mini.side_by_side(2) == 2
    assert mini.side_by_side(1) == 1
    assert plan(UNETS["mini"], AUTOENCODERS["mini"], **options, free=1 << 30).side_by_side(2) == 1
    assert published(64, torch.float32, device="cpu").side_by_side(2) == 1


def test_a_gradient_keeps_all_maps_of_small_images_and_the_plan_counts_them() -> None:
    config = AUTOENCODERS["mini"]
    assert not sparing(config, 128)
    assert sparing(config, 256)
    assert sparing(AUTOENCODERS["kl_f8"], 512)
    model = Autoencoder(config).requires_grad_(False)
    weights = {value.untyped_storage()._cdata for value in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        kept[value.untyped_storage()._cdata] = value
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model.pixels(torch.zeros(1, 4, 16, 16, requires_grad=True))
    counted = sum(value.untyped_storage().nbytes() for place, value in kept.items() if place not in weights)
    options: dict = {"size_px": 128, "n_tokens": 73, "guided": True, "dtype": torch.float32, "batch_size": 1}
    planned = plan(UNETS["mini"], config, **options, device="cpu", descends=True).decoded
    assert 0.8 * planned < counted <= planned < KEPT
