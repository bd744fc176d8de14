import numpy as np
import pytest
from conftest import close

from spikevaediff.evaluation.metrics import lpips

SHAPES = [(8, 5, 7), (12, 3, 3), (4, 1, 1)]


def activations(n: int, *, seed: int = 0) -> list[np.ndarray]:
    """Rectified like those of a network, so that some positions are zero in every channel."""
    rng = np.random.default_rng(seed)
    layers = [np.maximum(rng.normal(size=(n, *shape)), 0).astype(np.float32) for shape in SHAPES]
    layers[0][:, :, 2, 3] = 0
    return layers


HEADS = [np.random.default_rng(9).gamma(1, size=shape[0]).astype(np.float32) for shape in SHAPES]


def of_one_pair(x: list[np.ndarray], y: list[np.ndarray]) -> float:
    """The distance as the paper writes it, layer by layer and position by position."""
    total = 0.0
    for a, b, w in zip(x, y, HEADS, strict=True):
        per_position = []
        for row, column in np.ndindex(a.shape[1:]):
            u, v = (z[:, row, column].astype(np.float64) for z in (a, b))
            u, v = u / (np.linalg.norm(u) + 1e-10), v / (np.linalg.norm(v) + 1e-10)
            per_position.append(float(w.astype(np.float64) @ (u - v) ** 2))
        total += float(np.mean(per_position))
    return total


@pytest.mark.parametrize("block", [1, 20, 1 << 14])
def test_every_pair_equals_the_direct_formula_for_every_block_size(monkeypatch, block):
    monkeypatch.setattr(lpips, "_BLOCK", block)
    shown, reconstructed = activations(3), activations(4, seed=1)
    expected = [
        [of_one_pair([layer[i] for layer in shown], [layer[j] for layer in reconstructed]) for j in range(4)]
        for i in range(3)
    ]
    close(lpips.distance(shown, reconstructed, heads=HEADS), np.array(expected))


def test_the_distance_of_an_image_to_itself_is_0_and_symmetric_between_images():
    layers = activations(5)
    distance = lpips.distance(layers, layers, heads=HEADS)
    assert distance.min() >= 0
    assert distance.diagonal().max() < 1e-14
    close(distance, distance.T)


def test_the_brightness_of_a_position_does_not_matter():
    shown = activations(3)
    brighter = [3 * layer for layer in shown]
    assert lpips.distance(shown, brighter, heads=HEADS).diagonal().max() < 1e-12


def test_layers_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="layers must agree, got"):
        lpips.distance(activations(2), activations(2)[:2], heads=HEADS)


def test_heads_of_another_network_are_refused():
    with pytest.raises(ValueError, match=r"heads for \[12, 8, 4\] channels do not fit the layers"):
        lpips.distance(activations(2), activations(2), heads=[HEADS[1], HEADS[0], HEADS[2]])
