"""Each protocol against the calls that its publication made, with scikit-image, Pillow and torchvision themselves."""

import numpy as np
import pytest
import torch
from conftest import close
from PIL import Image
from skimage import data
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity

from spikevaediff import images
from spikevaediff.evaluation import looking, protocols, scores
from spikevaediff.evaluation.protocols import PROTOCOLS

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def shown() -> np.ndarray:
    """Two photographs in colour, 425 px as in the publications."""
    pictures = (data.astronaut(), data.chelsea()[:300, :300])
    return np.stack([np.asarray(Image.fromarray(p).resize((425, 425))) for p in pictures])


@pytest.fixture(scope="module")
def reconstructed(shown: np.ndarray) -> np.ndarray:
    """Blurred, noisy and 512 px."""
    small = images.resize(images.resize(shown, 32), 512).astype(float)
    return np.clip(small + np.random.default_rng([0]).normal(0, 15, small.shape), 0, 255).astype(np.uint8)


def compared(name: str, shown: np.ndarray, reconstructed: np.ndarray) -> dict[str, np.ndarray]:
    options = {"size_px": 128, "metrics": ["pixcorr", "ssim"], "weights": {}}
    protocol = PROTOCOLS[name]
    looks = [looking.look(p, protocol, shown=k == 0, **options) for k, p in enumerate((shown, reconstructed))]
    return scores.compare(*looks, np.zeros(2, int), protocol, metrics=["pixcorr", "ssim"])


SSIM = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def test_brain_diffuser_compares_colours_at_425_px_and_columns(shown: np.ndarray, reconstructed: np.ndarray) -> None:
    found = compared("brain_diffuser_2023", shown, reconstructed)
    for i, j in np.ndindex(2, 2):
        gt = shown[i] / 255
        gen = np.asarray(Image.fromarray(reconstructed[j]).resize((425, 425))) / 255
        r = np.corrcoef(gt.reshape(1, -1), gen.reshape(1, -1))[0, 1]
        assert found["pixcorr"][i, j] == pytest.approx(r, abs=1e-9)
        # Channels are the columns: what multichannel=True meant for a grey image.
        columns = structural_similarity(rgb2gray(gen), rgb2gray(gt), channel_axis=-1, data_range=1.0, **SSIM)
        assert found["ssim"][i, j] == pytest.approx(columns, abs=1e-6)


def test_mindeye_compares_colours_at_425_px_by_way_of_256(shown: np.ndarray, reconstructed: np.ndarray) -> None:
    found = compared("mindeye", shown, reconstructed)

    def resized(pixels: np.ndarray) -> np.ndarray:
        x = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
        for side in (256, 425):
            x = torch.nn.functional.interpolate(x, size=(side, side), mode="bilinear")
        return x[0].permute(1, 2, 0).numpy().astype(float)

    for i, j in np.ndindex(2, 2):
        gt, gen = resized(shown[i]), resized(reconstructed[j])
        assert found["pixcorr"][i, j] == pytest.approx(np.corrcoef(gt.ravel(), gen.ravel())[0, 1], abs=1e-6)
        plane = structural_similarity(rgb2gray(gen), rgb2gray(gt), data_range=1.0, **SSIM)
        assert found["ssim"][i, j] == pytest.approx(plane, abs=1e-5)


def test_strict_compares_grey_at_the_size_asked_for(shown: np.ndarray, reconstructed: np.ndarray) -> None:
    found = compared("strict", shown, reconstructed)
    luma = np.array([0.299, 0.587, 0.114])
    x, y = (images.resize(p, 128) @ luma for p in (shown, reconstructed))
    for i, j in np.ndindex(2, 2):
        assert found["pixcorr"][i, j] == pytest.approx(np.corrcoef(x[i].ravel(), y[j].ravel())[0, 1], abs=1e-9)
        assert found["ssim"][i, j] == pytest.approx(structural_similarity(x[i], y[j], data_range=255, **SSIM), abs=1e-9)


def test_the_same_pictures_score_otherwise_by_every_protocol(shown: np.ndarray, reconstructed: np.ndarray) -> None:
    """A column-wise SSIM is higher than that of the plane, by 0.06 to 0.11 on photographs."""
    found = {name: compared(name, shown, reconstructed)["ssim"].diagonal().mean() for name in PROTOCOLS}
    assert len({round(float(value), 2) for value in found.values()}) == 3


@pytest.mark.parametrize(
    ("name", "network", "side"),
    [
        ("strict", "alexnet", 224),
        ("strict", "inception", 299),
        ("strict", "efficientnet_b1", 240),
        ("brain_diffuser_2023", "inception", 224),
        ("brain_diffuser_2023", "swav", 224),
        ("mindeye", "alexnet", 256),
        ("mindeye", "inception", 342),
        ("mindeye", "efficientnet_b1", 255),
        ("mindeye", "clip", 224),
    ],
)
def test_every_network_sees_the_size_of_its_protocol(name: str, network: str, side: int) -> None:
    pixels = np.random.default_rng([1]).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)
    x = protocols.network_input(pixels, PROTOCOLS[name], network, shown=False)
    assert x.shape == (2, 3, side, side)
    assert x.dtype == torch.float32


def test_brain_diffuser_resizes_for_networks_by_pillow_bilinear(reconstructed: np.ndarray) -> None:
    x = protocols.network_input(reconstructed, PROTOCOLS["brain_diffuser_2023"], "alexnet", shown=False).numpy()
    mean, deviation = (np.array(c) for c in IMAGENET)
    for row, pixels in zip(x, reconstructed, strict=True):
        small = np.asarray(Image.fromarray(pixels).resize((224, 224), Image.Resampling.BILINEAR)) / 255
        close(row.astype(np.float64), ((small - mean) / deviation).transpose(2, 0, 1), 1e-6)


def test_mindeye_resizes_as_torchvision_does_without_antialiasing(reconstructed: np.ndarray) -> None:
    import spikevaediff.networks.torchvision_ops  # noqa: F401

    functional = pytest.importorskip("torchvision.transforms.functional")
    x = protocols.network_input(reconstructed, PROTOCOLS["mindeye"], "inception", shown=True)
    y = torch.tensor(reconstructed).permute(0, 3, 1, 2).float() / 255
    for side in (256, 342):
        y = functional.resize(y, [side, side], antialias=False)
    y = functional.normalize(y, *IMAGENET)
    close(x.numpy(), y.numpy(), 1e-5)


def test_shown_images_are_stored_at_425_px_first_where_they_were() -> None:
    pixels = np.random.default_rng([1]).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    protocol = PROTOCOLS["brain_diffuser_2023"]
    first, second = (protocols.network_input(pixels, protocol, "clip", shown=shown) for shown in (True, False))
    assert not torch.equal(first, second)
    stored = images.resize(pixels, 425)
    assert torch.equal(first, protocols.network_input(stored, protocol, "clip", shown=False))


def test_scaling_is_that_of_each_network() -> None:
    white = np.full((1, 8, 8, 3), 255, np.uint8)
    for network, expected in (
        ("alexnet", (1 - np.array(IMAGENET[0])) / np.array(IMAGENET[1])),
        ("efficientnet_lite0", np.ones(3)),
        ("clip", (1 - np.array([0.48145466, 0.4578275, 0.40821073])) / [0.26862954, 0.26130258, 0.27577711]),
    ):
        x = protocols.network_input(white, PROTOCOLS["strict"], network, shown=False)[0, :, 3, 3]
        close(x.numpy().astype(np.float64), expected, 1e-6)


def test_ties_fail_where_they_were_published_to_fail() -> None:
    flat = {"alexnet_1": np.zeros((3, 4), np.float32)}
    for name, expected in (("strict", 0.5), ("brain_diffuser_2023", 0.0), ("mindeye", 0.0)):
        found = scores.compare(flat, flat, np.zeros(3, int), PROTOCOLS[name], metrics=["alexnet2"])
        assert found["alexnet2"].tolist() == [[expected] * 3] * 3


def test_weights_of_efficientnet_b1_are_those_of_the_protocol() -> None:
    names = {name: looking.weights_of("efficientnet_b1", protocol) for name, protocol in PROTOCOLS.items()}
    assert names["brain_diffuser_2023"] == ("efficientnet_b1_v1",)
    assert names["strict"] == names["mindeye"] == ("efficientnet_b1_v2",)


def test_pixels_in_0_to_1_are_refused() -> None:
    with pytest.raises(ValueError, match=r"images must be uint8 \(image, row, column, 3\), got float64"):
        protocols.network_input(np.zeros((1, 8, 8, 3)), PROTOCOLS["strict"], "clip", shown=False)
