"""Simulated units of the profile `network`: their features, normalisation and surround, and what they look like."""

import math

import numpy as np
import pytest
import torch
from conftest import close
from test_simulator import OPTIONS, _areas, _counts, _reliability, scenes

from spikevaediff.datasets import simulated
from spikevaediff.datasets.simulation import gabor, network
from spikevaediff.datasets.simulation.simulator import AREAS, simulate
from spikevaediff.files import assets
from spikevaediff.images import resize
from spikevaediff.networks.small import efficientnet_lite0


def _pixels(n: int) -> np.ndarray:
    coarse = np.random.default_rng(2).integers(0, 256, (n, 8, 8), np.uint8)
    return resize(coarse, 64)


def _field(n: int) -> np.ndarray:
    return np.linspace(0.7, 2.0, n)


@pytest.fixture(scope="module")
def stages() -> list[np.ndarray]:
    try:
        return network.activations(_pixels(6))
    except OSError as error:
        pytest.skip(f"EfficientNet-lite0 is not here: {error}")


def test_units_see_three_stages_of_the_network_standardised(stages: list[np.ndarray]) -> None:
    """By the network's own pass, in float32."""
    model, seen = efficientnet_lite0(assets.fetch("efficientnet_lite0")), []
    for number in (2, 4, 7):  # the last blocks of stages 2, 3 and 4: blocks 1, 2, 2 and 3 deep
        model.blocks[number].register_forward_hook(lambda module, given, made: seen.append(made.clone()))
    images = torch.from_numpy(_pixels(6).astype(np.float32))[:, None]
    large = torch.nn.functional.interpolate(images, size=(128, 128), mode="bilinear", align_corners=False)
    with torch.no_grad():
        model((large.expand(-1, 3, -1, -1) - 127.5) / 127.5)
    assert [x.shape[1:] for x in stages] == [(24, 32, 32), (40, 16, 16), (80, 8, 8)]
    for found, expected in zip(stages, seen, strict=True):
        z = expected.double().numpy()
        z = (z - z.mean((0, 2, 3), keepdims=True)) / z.std((0, 2, 3), keepdims=True)
        close(found, z, 1e-4)
        assert found.dtype == np.float64


def test_a_response_is_that_of_the_formula() -> None:
    """By loops over places, in float64."""
    x = np.random.default_rng(0).standard_normal((3, 5, 6, 6))
    weight = np.array([0.6, 0.0, -0.8, 0.0, 0.0])
    found = network.response(x, weight, np.array([0.3, 0.7]), 0.15, 1.5)

    def window(sigma: float) -> dict[tuple[int, int], float]:
        g = {
            (y, z): math.exp(-(((y + 0.5) / 6 - 0.3) ** 2 + ((z + 0.5) / 6 - 0.7) ** 2) / (2 * sigma**2))
            for y in range(6)
            for z in range(6)
        }
        return {place: value / sum(g.values()) for place, value in g.items()}

    centre, surround = window(0.15), window(0.45)
    for image in range(3):
        excited = pool = 0.0
        for (y, z), g in centre.items():
            excited += g * max(0.0, 0.6 * x[image, 0, y, z] - 0.8 * x[image, 2, y, z]) ** 2
            pool += (g + 1.5 * surround[y, z]) * sum(x[image, c, y, z] ** 2 for c in range(5)) / 5
        assert found[image] == pytest.approx(excited / (1 + pool), rel=1e-12)


def test_responses_saturate_with_contrast_and_what_lies_around_suppresses_them() -> None:
    x = np.abs(np.random.default_rng(1).standard_normal((1, 4, 16, 16)))
    weight, centre = np.full(4, 0.5), np.array([0.5, 0.5])
    one, two, far = (float(network.response(c * x, weight, centre, 0.05, 1.0)[0]) for c in (1, 2, 1e6))
    assert one < two < 4 * one
    assert far == pytest.approx(float(network.response(2e6 * x, weight, centre, 0.05, 1.0)[0]), rel=1e-6)
    around = x.copy()
    around[:, :, 4:12, 11:14] *= 4  # beside the field: from four deviations of it, or one of the surround, away
    assert network.response(around, weight, centre, 0.05, 1.0)[0] < 0.9 * one
    assert network.response(around, weight, centre, 0.05, 0.0)[0] == pytest.approx(
        float(network.response(x, weight, centre, 0.05, 0.0)[0]), rel=0.02
    )


def test_tuning_is_standardised_and_not_that_of_gabor_filters(stages: list[np.ndarray]) -> None:
    pixels = _pixels(8)
    like = network.tuning(pixels, np.random.default_rng(3), field=_field(30))
    np.testing.assert_allclose(like.mean(1), 0, atol=1e-12)
    np.testing.assert_allclose(like.std(1), 1, atol=1e-12)
    np.testing.assert_array_equal(like, network.tuning(pixels, np.random.default_rng(3), field=_field(30)))
    others = gabor.tuning(pixels, np.random.default_rng(3), field=_field(30))
    assert np.abs(like - others).max() > 1


def test_the_profile_decides_the_tuning_and_nothing_of_the_control() -> None:
    pixels, options = _pixels(5), {**OPTIONS, "n_repeats": 2, "spontaneous_s": 1.0}
    one, other = (simulate(pixels, np.arange(5), **{**options, "profile": name}) for name in ("gabor", "network"))
    assert np.array_equal(one.image_id, other.image_id)
    assert np.array_equal(_areas(one), _areas(other))
    assert not all(np.array_equal(a, b) for a, b in zip(one.spikes_s, other.spikes_s, strict=True))
    with pytest.raises(ValueError, match="profile is 'gabors', expected gabor or network"):
        simulate(pixels, np.arange(5), **{**options, "profile": "gabors"})


def test_a_plan_counts_the_network_where_units_are_of_it() -> None:
    assert simulated.assets_of(**OPTIONS) == ()
    assert simulated.assets_of(**{**OPTIONS, "profile": "network"}) == (network.ASSET,)


@pytest.mark.slow
def test_units_of_the_network_fire_and_repeat_themselves_as_gabor_units_do() -> None:
    """The published medians that hold for the Gabor units in test_simulator, and the same rates."""
    image_id, pixels = scenes()
    session = simulate(pixels, image_id, **{**OPTIONS, "profile": "network"})
    medians = {"VISp": 0.928, "VISl": 0.886, "VISal": 0.866, "VISpm": 0.850, "VISam": 0.819, "VISrl": 0.808}
    for area, median in medians.items():
        found = np.percentile(_reliability(_counts(session, area), session.image_id), [5, 25, 50, 75, 95])
        print(area, found.round(3))
        assert abs(found[2] - median) < 0.08
        if area == "VISp":
            error = np.abs(found - [0.64, 0.87, 0.928, 0.957, 0.982])
            assert np.all(error < [0.12, 0.06, 0.03, 0.02, 0.02])
        rate = session.units["firing_rate"][_areas(session) == area].mean()
        assert abs(rate / AREAS[area].rate_hz - 1) < 0.1
