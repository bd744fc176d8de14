"""The memory plan: what it says of common devices, that it holds on this one, and what it refuses."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.memory import Plan, plan

# One guided prediction and one decoded image; prints the growth of the resident set beyond the weights, in bytes.
MEASURE = """
import dataclasses, sys, torch
sys.path.insert(0, {vendor!r})
from pathlib import Path
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS
from versatile_diffusion.unet import Contexts, UNet
torch.set_num_threads(1)
unet = UNet(dataclasses.replace(UNETS["four_flow"], width=32)).to(memory_format=torch.channels_last)
autoencoder = Autoencoder(AUTOENCODERS["kl_f8"]).to(memory_format=torch.channels_last)
def peak_of(work):
    Path("/proc/self/clear_refs").write_text("5")
    before = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    work()
    return 1024 * (int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) - before)
def predict(size):
    pairs = [unet.contexts(torch.randn(1, 257, 768), torch.randn(1, 77, 768)) for _ in range(2)]
    unet(torch.randn(1, 4, size, size), torch.ones(1), Contexts.join(pairs), mixed_ratio=0.5)
with torch.no_grad():
    predict(8), autoencoder.pixels(torch.randn(1, 4, 8, 8))  # code and work space of the libraries
    print(peak_of(lambda: predict(64)), peak_of(lambda: autoencoder.pixels(torch.randn(1, 4, 32, 32))))
"""


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


def test_a_processor_takes_as_many_images_as_its_cache_holds() -> None:
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
    assert mini.n_images > mini.n_decoded > 1


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


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak can be reset on Linux alone")
def test_no_image_takes_more_than_planned() -> None:
    vendor = str(Path(__file__).resolve().parents[1] / "vendor")
    done = subprocess.run([sys.executable, "-c", MEASURE.format(vendor=vendor)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    image, decoded = (int(n) for n in done.stdout.split())
    options: dict = {"n_tokens": 334, "guided": True, "dtype": torch.float32, "batch_size": 1, "device": "cpu"}
    unet = dataclasses.replace(UNETS["four_flow"], width=32)
    planned = plan(unet, AUTOENCODERS["kl_f8"], size_px=512, **options).image
    planned_decoded = plan(unet, AUTOENCODERS["kl_f8"], size_px=256, **options).decoded
    # No lower bound for the small UNet: it finds room in what was freed before.
    assert image < 1.1 * planned
    assert planned_decoded / 3 < decoded < 1.1 * planned_decoded
