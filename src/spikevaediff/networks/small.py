"""The two pretrained networks that scores and features look through, written out and loaded strictly.

AlexNet's convolutions are torchvision's (published as NumPy arrays for LPIPS); its fully connected layers come with no
package, so it ends at the fifth convolution. EfficientNet-lite0 is a small classifier of the 1000 ImageNet classes.
They are written out though torchvision and timm have them, whose outputs are the same to rounding: importing those
takes 4.5 s (this module 0.06 s), which each of the twenty stages that look through a network would wait for.

Both look at 224 px: every image is resized once, from its own size, with the one rule of `images`. They want different
numbers: AlexNet the ImageNet mean and standard deviation, EfficientNet-lite0 (x - 127.5) / 127.5. With the wrong ones
lite0 still works, 10 points less accurate (0.80 instead of 0.90 on 250 ImageNet photographs), so nothing would tell.
"""

import io
import pickle
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from loading import weights
from spikevaediff import images

INPUT_PX = 224
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of red, green, blue in [0, 1]
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def scaled(pixels: np.ndarray, mean: Sequence[float], deviation: Sequence[float]) -> Tensor:
    """(x / 255 - mean) / deviation with constants for red, green and blue, as networks want their input.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    mean, deviation : three of float
        IMAGENET_MEAN and IMAGENET_STD (which the input scaling of LPIPS is too, written for [-1, 1]), or those of CLIP.

    Returns
    -------
    float32, (n_images, 3, height, width)
    """
    shift, scale = (torch.tensor(constants)[:, None, None] for constants in (mean, deviation))
    return (torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255 - shift) / scale


def lite0_input(pixels: np.ndarray) -> Tensor:
    """What EfficientNet-lite0 wants: 224 px, (x - 127.5) / 127.5.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)

    Returns
    -------
    float32, (n_images, 3, 224, 224), in [-1, 1]

    Raises
    ------
    ValueError
        The pixels are not uint8 images with three channels.
    """
    if pixels.ndim != 4:
        raise ValueError(
            f"images must be (image, row, column, 3), got {pixels.shape}; for grey ones use images.rgb first"
        )
    return (torch.tensor(images.resize(pixels, INPUT_PX)).permute(0, 3, 1, 2).float() - 127.5) / 127.5


class AlexNet(nn.Module):
    """The convolutions of AlexNet, numbered as torchvision's `alexnet().features`.

    Krizhevsky 2014, arXiv:1404.5997 ("one weird trick"), one column.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The five rectified convolutions, `features` 1, 4, 7, 9, 11: at 224 px (n, 64, 55, 55) to (n, 256, 13, 13)."""
        activations = []
        for module in self.features:
            x = module(x)
            if isinstance(module, nn.ReLU):
                activations.append(x)
        return activations


class _SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's "SAME", whose odd row and column go to the bottom and right.

    With stride 2 on an even side that is not torch's symmetric padding: every later position would shift.
    """

    def forward(self, x: Tensor) -> Tensor:
        padding = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            padding += [total // 2, total - total // 2]
        # A kernel of one number has nothing to dilate. That it is said to be makes torch take the same routine for one
        # thread and few images as for many of both, so that neither changes a bit of the result.
        dilation = 2 if self.kernel_size == (1, 1) else 1
        if padding[::2] != padding[1::2]:
            x, padding = functional.pad(x, padding), [0] * 4
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding[::-2], dilation, self.groups)


class _InvertedResidual(nn.Module):
    """Widen (1 x 1), filter each channel (k x k), narrow (1 x 1); added to its input where the shapes agree."""

    def __init__(self, n_in: int, n_out: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        n_mid = n_in * widening
        self.adds = stride == 1 and n_in == n_out
        self.expand_conv = _SameConv2d(n_in, n_mid, 1, bias=False) if widening > 1 else None
        self.bn0 = nn.BatchNorm2d(n_mid, eps=1e-3) if widening > 1 else None
        self.depthwise_conv = _SameConv2d(n_mid, n_mid, kernel, stride, groups=n_mid, bias=False)
        self.bn1 = nn.BatchNorm2d(n_mid, eps=1e-3)
        self.project_conv = _SameConv2d(n_mid, n_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        if self.expand_conv is not None and self.bn0 is not None:
            y = functional.relu6(self.bn0(self.expand_conv(y)), inplace=True)
        y = functional.relu6(self.bn1(self.depthwise_conv(y)), inplace=True)
        y = self.bn2(self.project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6 and a fixed stem and head.

    Tan & Le 2019, arXiv:1905.11946; the lite variant is TensorFlow's of 2020. 4.65 million parameters.
    """

    # (blocks, kernel, stride of the first block, widening, channels out)
    STAGES = (
        (1, 3, 1, 1, 16),
        (2, 3, 2, 6, 24),
        (2, 5, 2, 6, 40),
        (3, 3, 2, 6, 80),
        (3, 5, 1, 6, 112),
        (4, 5, 2, 6, 192),
        (1, 3, 1, 6, 320),
    )

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SameConv2d(3, 32, 3, stride=2, bias=False)
        self.bn0 = nn.BatchNorm2d(32, eps=1e-3)
        blocks, n_in = [], 32
        for n_blocks, kernel, first_stride, widening, n_out in self.STAGES:
            for stride in [first_stride] + [1] * (n_blocks - 1):
                blocks.append(_InvertedResidual(n_in, n_out, kernel, stride, widening))
                n_in = n_out
        self.blocks = nn.ModuleList(blocks)
        self.conv_head = _SameConv2d(n_in, 1280, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(1280, eps=1e-3)
        self.fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """The grid before pooling, (n, 1280, height / 32, width / 32): (n, 1280, 7, 7) at 224 px."""
        x = functional.relu6(self.bn0(self.conv_stem(x)), inplace=True)
        for block in self.blocks:
            x = block(x)
        return functional.relu6(self.bn1(self.conv_head(x)), inplace=True)

    def logits(self, grid: Tensor) -> Tensor:
        """Unnormalised log probability of the 1000 ImageNet classes, (n, 1000), from the grid."""
        return self.fc(grid.mean(dim=(2, 3)))


class _ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and nothing else: a pickle can call any name it resolves, and these three are harmless."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise ValueError(f"the weight file names {module}.{name}, expected NumPy arrays only; do not use this file")
        return allowed[module, name]


def alexnet(path: str | Path) -> AlexNet:
    """AlexNet's convolutions from the asset `alexnet_convolutions`, in evaluation mode, channels last in memory.

    Parameters
    ----------
    path : str or Path
        A pickled dict of NumPy arrays, kernels as (row, column, in, out).

    Raises
    ------
    FileNotFoundError, ValueError
        No file; one that is damaged, asks for anything but NumPy arrays, or holds other ones than these convolutions.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"weight file {path} does not exist")
    content = io.BytesIO(Path(path).read_bytes())
    state = {}
    try:
        arrays = _ArraysOnly(content).load()["AlexNet_0"]
        for i, position in enumerate((0, 3, 6, 8, 10)):
            state[f"features.{position}.weight"] = torch.tensor(arrays[f"Conv_{i}"]["kernel"]).permute(3, 2, 0, 1)
            state[f"features.{position}.bias"] = torch.tensor(arrays[f"Conv_{i}"]["bias"])
    except weights.DAMAGED as error:
        if str(error).startswith("the weight file names"):
            raise
        raise ValueError(
            f"weight file {path} is damaged or holds no convolutions of AlexNet ({weights.reason(error)}). "
            f"Get it again with: python -m spikevaediff assets fetch alexnet_convolutions --again"
        ) from error
    network = AlexNet()
    weights.fill(network, state, path, "AlexNet")
    return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def efficientnet_lite0(path: str | Path) -> EfficientNetLite0:
    """EfficientNet-lite0 from the asset `efficientnet_lite0`, in evaluation mode.

    Parameters
    ----------
    path : str or Path
        A torch state dict. Its names are those of the modules here, each with a leading underscore.

    Raises
    ------
    FileNotFoundError, ValueError
        As loading.weights.read and fill.
    """
    network = EfficientNetLite0()
    state = {re.sub(r"(^|\.)_", r"\1", name): tensor for name, tensor in weights.read(path).items()}
    weights.fill(network, state, path, "EfficientNet-lite0")
    return network.eval()


def fused(network: EfficientNetLite0) -> EfficientNetLite0:
    """The same network in half the time: normalisations become part of the convolutions before them, w x + b with

        w' = w g / sqrt(v + eps),    b' = (0 - m) g / sqrt(v + eps) + s,

    m and v the running mean and variance, g and s scale and shift; and channels are last in memory. Equal to rounding.

    Parameters
    ----------
    network : EfficientNetLite0
        In evaluation mode; it is changed, and returned.
    """
    joined: list[tuple[nn.Module, str, str]] = [(network, "conv_stem", "bn0"), (network, "conv_head", "bn1")]
    for block in cast(Iterable[_InvertedResidual], network.blocks):
        pairs = (("expand_conv", "bn0"), ("depthwise_conv", "bn1"), ("project_conv", "bn2"))
        joined += [(block, conv, norm) for conv, norm in pairs if getattr(block, conv) is not None]
    for module, conv, norm in joined:
        setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
        setattr(module, norm, nn.Identity())
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def lpips_heads(path: str | Path) -> list[np.ndarray]:
    """The weights of LPIPS 0.1 for the five rectified convolutions of AlexNet, from the asset `lpips_heads`.

    Parameters
    ----------
    path : str or Path
        A torch state dict of five 1 x 1 convolutions to one channel.

    Returns
    -------
    five of float32, (n_channels,): 64, 192, 384, 256, 256; none is negative.

    Raises
    ------
    FileNotFoundError, ValueError
        As loading.weights.read and check; the file holds other tensors.
    """
    state = weights.read(path)
    shapes = {f"lin{i}.model.1.weight": (1, n, 1, 1) for i, n in enumerate((64, 192, 384, 256, 256))}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if found != shapes:
        raise ValueError(f"{path} holds {found}, expected the linear heads of LPIPS with AlexNet: {shapes}")
    weights.check(state, f"weight file {path}")
    return [state[name].float().flatten().numpy() for name in shapes]


def run(
    network: Callable[[Tensor], list[Tensor]],
    prepare: Callable[[np.ndarray], Tensor],
    pixels: np.ndarray,
    batch_size: int,
) -> list[np.ndarray]:
    """Outputs of a network for all images; each array is filled in place, since AlexNet's are large.

    Parameters
    ----------
    network : callable
        Of what `prepare` makes of some images; gives tensors with one image per row.
    prepare : callable
    pixels : uint8, (n_images, height, width, 3)
    batch_size : int
        Images seen at a time; results do not depend on it beyond rounding.

    Returns
    -------
    list of arrays, (n_images, ...)
    """
    outputs: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(pixels), batch_size):
            batch = [tensor.numpy() for tensor in network(prepare(pixels[start : start + batch_size]))]
            outputs = outputs or [np.empty((len(pixels), *array.shape[1:]), array.dtype) for array in batch]
            for output, array in zip(outputs, batch, strict=True):
                output[start : start + batch_size] = array
    return outputs
