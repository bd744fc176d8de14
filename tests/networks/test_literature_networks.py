"""The networks of the literature with random weights: what is read of them is what a hook on the whole network sees."""

from pathlib import Path

import pytest
import torch

import spikevaediff.networks.torchvision_ops  # noqa: F401, before torchvision
from spikevaediff.networks import published

models = pytest.importorskip("torchvision.models")

SIDE, DIMS = {"inception": 299, "efficientnet_b1": 96, "swav": 96}, {"efficientnet_b1": 1280}
WHOLE = {"inception": "inception_v3", "efficientnet_b1": "efficientnet_b1", "swav": "resnet50"}


def whole(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    options = {"transform_input": True, "init_weights": False} if name == "inception" else {}
    return getattr(models, WHOLE[name])(weights=None, **options).eval()


def saved(name: str, network: torch.nn.Module, folder: Path) -> Path:
    """As its publisher saved it."""
    state = network.state_dict()
    if name == "swav":
        state = {f"module.{key}": value for key, value in state.items() if not key.startswith("fc.")}
        state |= {"module.projection_head.0.weight": torch.zeros(1), "module.prototypes.weight": torch.zeros(1)}
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


@pytest.mark.parametrize("name", list(WHOLE))
def test_what_is_compared_is_the_global_average_of_the_published_network(name: str, tmp_path: Path) -> None:
    network, seen = whole(name), []
    extract = published.load(name, saved(name, network, tmp_path))
    network.avgpool.register_forward_hook(lambda module, given, output: seen.append(output.flatten(1)))
    x = torch.randn(2, 3, SIDE[name], SIDE[name], generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = extract(x)
        network(x)
    assert found.shape == (2, DIMS.get(name, 2048))
    torch.testing.assert_close(found, seen[0], rtol=1e-5, atol=1e-5)
    assert found.std() > 0


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other.pth is not swav as published: .*Missing key"):
        published.load("swav", tmp_path / "other.pth")


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page.pth is not efficientnet_b1 as published"):
        published.load("efficientnet_b1", tmp_path / "page.pth")


def test_an_unknown_network_is_answered_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="no network 'vgg'; there are inception, efficientnet_b1, swav, clip"):
        published.load("vgg", tmp_path)
