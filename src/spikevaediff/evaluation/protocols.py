"""Named ways to compare images. The name of a score ("SSIM", "EffNet-B") says too little: papers differ in
how they resize and count ties, and in the weights they take. A protocol fixes all of it; no table mixes two of them.

| | strict | brain_diffuser_2023 | mindeye |
|---|---|---|---|
| images first | as they are | shown to 425 px | all to 256 px, bilinear, in [0, 1] |
| pixels | `size_px`, Pillow bicubic | 425 px, Pillow bicubic | 425 px, bilinear |
| PixCorr | grey | red, green and blue | red, green and blue |
| SSIM | two-dimensional | one-dimensional, of columns | two-dimensional |
| networks see | their own size, Pillow bicubic | 224 px, Pillow bilinear | one size per network, bilinear |
| ties in identification | count one half | fail | fail |
| EfficientNet-B1 weights | ImageNet V2 | ImageNet V1 | ImageNet V2 |

`strict` is the headline: it compares what is grey in grey, and a reconstruction that says nothing scores one half.
The others follow the evaluation code of Brain-Diffuser (Ozcelik & VanRullen 2023; environment: scikit-image 0.17, whose
SSIM takes the columns of a grey image for channels) and MindEye (Scotti et al. 2023, 2024; scikit-image 0.20 or later,
torchvision 0.15, whose bilinear resize of tensors has no antialiasing). They are for comparison with numbers printed
there. Their images were colour, 425 px, another data set: what can be compared is the order of magnitude.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from spikevaediff import images
from spikevaediff.images import GREY_RULE

if TYPE_CHECKING:
    from torch import Tensor

# Where pixels are all that is compared, torch is not imported: a second in every stage that scores a run.
_LUMA = np.array([0.2125, 0.7154, 0.0721])  # rgb2gray of scikit-image


@dataclass(frozen=True)
class Protocol:
    """How images are compared.

    name : str
    resize : "pillow_bicubic", "pillow_bilinear" or "bilinear" (of tensors, without antialiasing); for networks.
    shown_px, first_px : int or None; the size that shown images, or all of them, are brought to before anything else.
    pixels_px : int or None; side at which pixels are compared; None is chosen by the user (`evaluate.size_px`).
    colour : bool; PixCorr over red, green and blue; SSIM in the grey of scikit-image.
    column_ssim : bool; the mean of one-dimensional SSIMs of the columns.
    ties : float; what a tie in identification counts.
    input_px : dict of network to the side that it sees; 224 px where it is not named.
    weights : dict of network to the asset of its weights, where they are not the usual ones.
    metrics : tuple of str; those that the protocol defines; empty: all.
    """

    name: str
    resize: str
    shown_px: int | None
    first_px: int | None
    pixels_px: int | None
    colour: bool
    column_ssim: bool
    ties: float
    input_px: dict[str, int] = field(hash=False)
    weights: dict[str, str] = field(default_factory=dict, hash=False)
    metrics: tuple[str, ...] = ()

    def side(self, network: str) -> int:
        """The side of the square images that a network sees, in px."""
        from spikevaediff.networks import small

        return self.input_px.get(network, small.INPUT_PX)

    def grey(self, pixels: np.ndarray) -> np.ndarray:
        """Grey images from those of `pixels_of`, float64 (n_images, size, size), in [0, 255]."""
        return 255 * (pixels @ _LUMA) if self.colour else pixels

    def rules(self, size_px: int) -> dict[str, str | float]:
        """What a score of this protocol depends on besides networks, as names and numbers."""
        steps = [f"shown to {self.shown_px} px"] * bool(self.shown_px) + [f"all to {self.first_px} px"] * bool(
            self.first_px
        )
        return {
            "resize_rule": images.RESIZE_RULE if self.resize == "pillow_bicubic" else self.resize,
            "resized_first": ", ".join(steps) or "no",
            "size_px": self.pixels_px or size_px,
            "grey_rule": "0.2125 R + 0.7154 G + 0.0721 B for SSIM, none for PixCorr" if self.colour else GREY_RULE,
            "ssim": "mean over columns of one-dimensional indices" if self.column_ssim else "two-dimensional",
            "tie": self.ties,
        }


# The metrics that both publications print.
_LITERATURE = ("pixcorr", "ssim", "alexnet2", "alexnet5", "inception", "clip", "efficientnet_b1", "swav")
PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="strict",
            resize="pillow_bicubic",
            shown_px=None,
            first_px=None,
            pixels_px=None,
            colour=False,
            column_ssim=False,
            ties=0.5,
            input_px={
                "alexnet": 224,
                "efficientnet_lite0": 224,
                "inception": 299,
                "clip": 224,
                "efficientnet_b1": 240,
                "swav": 224,
            },
        ),
        Protocol(
            name="brain_diffuser_2023",
            resize="pillow_bilinear",
            shown_px=425,
            first_px=None,
            pixels_px=425,
            colour=True,
            column_ssim=True,
            ties=0.0,
            input_px=dict.fromkeys(("alexnet", "inception", "clip", "efficientnet_b1", "swav"), 224),
            weights={"efficientnet_b1": "efficientnet_b1_v1"},
            metrics=_LITERATURE,
        ),
        Protocol(
            name="mindeye",
            resize="bilinear",
            shown_px=None,
            first_px=256,
            pixels_px=425,
            colour=True,
            column_ssim=False,
            ties=0.0,
            input_px={"alexnet": 256, "inception": 342, "clip": 224, "efficientnet_b1": 255, "swav": 224},
            metrics=_LITERATURE,
        ),
    )
}


def named(name: str) -> Protocol:
    """The protocol of this name; KeyError lists those there are."""
    if name not in PROTOCOLS:
        raise KeyError(f"there is no protocol {name!r}; there are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def pixels_of(pixels: np.ndarray, protocol: Protocol, *, shown: bool, size_px: int) -> np.ndarray:
    """Images at the size at which pixels are compared.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    protocol : Protocol
    shown : bool
        Whether they are the shown images, which some protocols store at another size.
    size_px : int
        Used where the protocol leaves it open.

    Returns
    -------
    float64, (n_images, size, size, 3) in [0, 1] where the protocol compares colours, else (n_images, size, size), grey
    in [0, 255].
    """
    side = protocol.pixels_px or size_px
    if protocol.resize == "bilinear":
        return _bilinear(_first(pixels, protocol), side).permute(0, 2, 3, 1).numpy().astype(np.float64)
    resized = images.resize(_stored(pixels, protocol, shown=shown), side)
    return resized / 255 if protocol.colour else images.grey(resized)


def network_input(pixels: np.ndarray, protocol: Protocol, network: str, *, shown: bool) -> "Tensor":
    """What a network sees of images.

    Parameters
    ----------
    pixels : uint8, (n_images, height, width, 3)
    protocol : Protocol
    network : str
        A key of its `input_px`, or another one, which sees 224 px.
    shown : bool
        As in `pixels_of`.

    Returns
    -------
    float32, (n_images, 3, side, side), scaled as the network wants

    Raises
    ------
    ValueError
        The pixels are not uint8 images with three channels.
    """
    import torch

    images.check_rgb(pixels)
    side = protocol.side(network)
    if protocol.resize == "bilinear":
        x = _bilinear(_first(pixels, protocol), side)
    else:
        stored = _stored(pixels, protocol, shown=shown)
        if protocol.resize == "pillow_bilinear":
            bilinear = Image.Resampling.BILINEAR
            stored = np.stack([np.asarray(Image.fromarray(p).resize((side, side), bilinear)) for p in stored])
        x = torch.tensor(images.resize(stored, side)).permute(0, 3, 1, 2).float() / 255
    shift, scale = (torch.tensor(c)[:, None, None] for c in _scaling(network))
    return (x - shift) / scale


def _scaling(network: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What a network wants of pixels in [0, 1]: subtract, divide. Most want the numbers of ImageNet."""
    from spikevaediff.networks import small

    if network == "efficientnet_lite0":
        return (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
    return (small.CLIP_MEAN, small.CLIP_STD) if network == "clip" else (small.IMAGENET_MEAN, small.IMAGENET_STD)


def _stored(pixels: np.ndarray, protocol: Protocol, *, shown: bool) -> np.ndarray:
    return images.resize(pixels, protocol.shown_px) if shown and protocol.shown_px else pixels


def _first(pixels: np.ndarray, protocol: Protocol) -> "Tensor":
    import torch

    x = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255
    return _bilinear(x, protocol.first_px) if protocol.first_px else x


def _bilinear(x: "Tensor", side: int) -> "Tensor":
    from torch.nn import functional

    if x.shape[2:] == (side, side):
        return x
    return functional.interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=False)
