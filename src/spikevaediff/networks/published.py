"""The networks through which the literature looks, and whose weights must be downloaded: Inception v3, CLIP ViT-L/14,
EfficientNet-B1 and SwAV's ResNet-50.

The architectures are torchvision's and open_clip's, so that the published weights mean what they meant; here they are
built, filled strictly and cut where the metrics read them. Their weights are assets that no default run downloads:
`spikevaediff assets fetch NAME` gets one, and without it its metric is reported as absent.
"""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

import spikevaediff.networks.torchvision_ops  # noqa: F401, before torchvision, which the functions below import
from loading import weights

# Where a file has tensors that the cut network lacks, they are these and no others.
_UNUSED = {"swav": ("projection_head.", "prototypes.")}
# torchvision's Inception turns the normalisation of ImageNet into that of [-1, 1] itself when its weights are the
# published ones; without that step the features are others.
_TRANSFORM_INPUT = True

Extractor = Callable[[Tensor], Tensor]


def load(name: str, path: str | Path) -> Extractor:
    """A network that turns a prepared batch into the feature vectors that metrics compare.

    Parameters
    ----------
    name : str
        "inception" (pooled, 2048), "efficientnet_b1" (pooled, 1280), "swav" (pooled, 2048) or "clip" (the projected
        image embedding, 768).
    path : str or Path
        Its weights, as published.

    Returns
    -------
    callable, float32 (n, 3, side, side) -> (n, n_dims)

    Raises
    ------
    ModuleNotFoundError
        torchvision or open_clip is not installed; `make` installs both.
    FileNotFoundError, ValueError
        As loading.weights.read and fill: the file is not there, damaged, holds code or other tensors.
    """
    if name == "clip":
        from spikevaediff.networks import clip

        return clip.load(path, "vit_l14").encode_image
    network = architecture(name)
    what = f"{name} as published"
    try:
        state = weights.read(path)
    except ValueError as error:
        raise ValueError(f"weight file {path} is not {what}: {error}") from error
    if name == "swav":
        state = {key.removeprefix("module."): value for key, value in state.items()}
    state = {key: value for key, value in state.items() if not key.startswith(_UNUSED.get(name, ()))}
    weights.fill(network, state, path, what)
    return cut(name, network)


def architecture(name: str) -> nn.Module:
    """The network with the names of its published weights, not initialised by them, in evaluation mode.

    Raises
    ------
    KeyError
        There is no such network; the message lists those there are.
    """
    from torchvision import models

    if name == "inception":
        network = models.inception_v3(weights=None, transform_input=_TRANSFORM_INPUT, init_weights=False)
    elif name == "efficientnet_b1":
        network = models.efficientnet_b1(weights=None)
    elif name == "swav":
        network = models.resnet50(weights=None)
        network.fc = nn.Identity()  # the file ends at the pooled grid; what follows it there is SwAV's own
    else:
        raise KeyError(f"there is no network {name!r}; there are inception, efficientnet_b1, swav, clip")
    return network.eval().requires_grad_(False)


def cut(name: str, network: nn.Module) -> Extractor:
    """The network up to its global average, flattened."""
    if name == "efficientnet_b1":
        return lambda x: network.avgpool(network.features(x)).flatten(1)  # type: ignore[operator]
    network.fc = nn.Identity()
    return network
