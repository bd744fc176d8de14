"""Checkpoints of Versatile Diffusion and of kl-f8, loaded strictly from every published layout.

layout     | holds                                                      | names
-----------|------------------------------------------------------------|------------------------------------------
own        | UNet or autoencoder, written by `convert`; `kl-f8.pth`     | those of the modules here
deprecated | the whole model: `vd-four-flow-v1-0[-fp16]-deprecated.pth` | `model.diffusion_model.`, `autokl.` + own
v1_0       | the UNets: `vd-four-flow-v1-0[-fp16].pth`                  | numbered data and context blocks
diffusers  | a folder with `image_unet/`, `text_unet/`, `vae/`          | down_blocks, mid_block, up_blocks

The maps are rules that walk the network, so they hold for every configuration. What a layout holds beyond the parts
that make images is listed in `UNUSED` with the reason; anything else that does not fit is an error. Optimus, the text
autoencoder, and the data layers of the text UNet write captions: they are never loaded.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from loading import weights
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AutoencoderConfig, UNetConfig
from versatile_diffusion.sampler import Schedule
from versatile_diffusion.unet import AttentionBlock, Down, ImageUNet, ResidualBlock, UNet, Up

UNET, AUTOENCODER, OPTIMUS, CLIP = "model.diffusion_model.", "autokl.", "optimus.", "clip.model."
BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)
TEXT_DATA = "data layers of the text UNet: they write captions"
_TEXT_LAYERS = (
    r"((input|output)_blocks\.\d+\.\d+\.(weight|bias|(in_layers|emb_layers|out_layers|skip_connection)\..+)"
    r"|middle_block\.[02]\..+|out\..+)"
)
_WHOLE = [
    (OPTIMUS, re.escape(OPTIMUS) + ".+", "text autoencoder Optimus: it writes captions"),
    (CLIP, re.escape(CLIP) + ".+", "CLIP: its features come through open_clip; position_ids are counting numbers"),
    ("schedule buffers", "|".join(BUFFERS), "twelve series that follow from the betas; see load_schedule"),
]
# Layout and part -> (what it is called in the report, pattern of whole names, why it is not loaded).
UNUSED: dict[tuple[str, str], list[tuple[str, str, str]]] = {
    ("deprecated", "unet"): [
        (
            f"{UNET}unet_text.",
            rf"{re.escape(UNET)}unet_text\.{_TEXT_LAYERS}",
            TEXT_DATA,
        ),
        (AUTOENCODER, re.escape(AUTOENCODER) + ".+", "autoencoder: see load_autoencoder"),
        *_WHOLE,
    ],
    ("deprecated", "autoencoder"): [(UNET, re.escape(UNET) + ".+", "UNets: see load_unet"), *_WHOLE],
    ("v1_0", "unet"): [("diffuser.text.data_blocks.", r"diffuser\.text\.data_blocks\.\d+\.0\..+", TEXT_DATA)],
    ("diffusers", "unet"): [
        ("text_unet. but attentions", r"text_unet\.(?!.*\.attentions\.)(?!time_embedding\.).+", TEXT_DATA),
        ("text_unet.time_embedding.", r"text_unet\.time_embedding\..+", "the same as that of the image UNet"),
    ],
}
_RESIDUAL = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {"norm": "group_norm", "q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}


@dataclass(frozen=True)
class Report:
    """What of a checkpoint was used.

    layout : str; see the module's docstring.
    n_tensors, n_values : int; that were loaded.
    unused : list of (what, why, number of tensors); that were knowingly left.
    """

    layout: str
    n_tensors: int
    n_values: int
    unused: list[tuple[str, str, int]]

    def __str__(self) -> str:
        left = [f"{n} tensors {what} ({why})" for what, why, n in self.unused]
        return f"layout {self.layout}: {self.n_tensors} tensors, {self.n_values:,} values used" + "".join(
            f"\n  not used: {line}" for line in left
        )


def _layers(unet: ImageUNet) -> Iterator[tuple[str, nn.Module, str, str]]:
    """(own name, layer, name in v1_0, name in diffusers) of every layer that is in a block, without outer prefix."""
    n_data = n_context = 0

    def in_v1_0(layer: nn.Module) -> str:
        nonlocal n_data, n_context
        if isinstance(layer, AttentionBlock):
            n_context += 1
            return f"context_blocks.{n_context - 1}.0"
        n_data += 1
        return f"data_blocks.{n_data - 1}.0"

    for ours, blocks, theirs in (
        ("input_blocks", unet.input_blocks, "down_blocks"),
        ("middle_block", [unet.middle_block], "mid_block"),
        ("output_blocks", unet.output_blocks, "up_blocks"),
    ):
        level, n_residual = 0, 0
        for i, layers in enumerate(cast(Iterable[nn.ModuleList], blocks)):
            for j, layer in enumerate(layers):
                own = f"{ours}.{j}" if ours == "middle_block" else f"{ours}.{i}.{j}"
                stage = theirs if ours == "middle_block" else f"{theirs}.{level}"
                if isinstance(layer, ResidualBlock):
                    name = f"{stage}.resnets.{n_residual}"
                    n_residual += 1
                elif isinstance(layer, AttentionBlock):
                    name = f"{stage}.attentions.{n_residual - 1}"
                elif isinstance(layer, Down | Up):
                    name = f"{stage}.{'downsamplers' if isinstance(layer, Down) else 'upsamplers'}.0"
                    level, n_residual = level + 1, 0
                else:
                    name = "conv_in"
                yield own, layer, in_v1_0(layer), name
    yield "out", unet.out, f"data_blocks.{n_data}.0", ""


def unet_names(unet: UNet, layout: str) -> dict[str, str]:
    """Name of every parameter of the UNet -> its name in a layout."""
    names = list(unet.state_dict())
    if layout == "own":
        return {name: name for name in names}
    if layout == "deprecated":
        return {name: UNET + name for name in names}
    found: dict[str, str] = {}
    time = {"time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2"}
    for own, other in time.items():
        for end in ("weight", "bias"):
            found[f"{own}.{end}"] = f"diffuser.image.{own}.{end}" if layout == "v1_0" else f"image_unet.{other}.{end}"
    for own, layer, v1_0, diffusers in _layers(unet.unet_image):
        for end in layer.state_dict():
            if layout == "v1_0":
                found[f"unet_image.{own}.{end}"] = f"diffuser.image.{v1_0}.{end}"
            else:
                found[f"unet_image.{own}.{end}"] = f"image_unet.{_in_diffusers(own, layer, diffusers, end)}"
            if isinstance(layer, AttentionBlock):
                inside = f"diffuser.text.{v1_0}" if layout == "v1_0" else f"text_unet.{diffusers}"
                found[f"unet_text.{own}.{end}"] = f"{inside}.{end}"
    return {name: found[name] for name in names}


def _in_diffusers(own: str, layer: nn.Module, name: str, end: str) -> str:
    """Name of one parameter of a layer."""
    if own == "out":
        number, kind = end.split(".")
        return f"{'conv_norm_out' if number == '0' else 'conv_out'}.{kind}"
    inside, kind = end.rsplit(".", 1) if "." in end else ("", end)
    if isinstance(layer, ResidualBlock):
        inside = _RESIDUAL[inside]
    elif isinstance(layer, Down):
        inside = "conv"
    return ".".join(part for part in (name, inside, kind) if part)


def autoencoder_names(model: Autoencoder, layout: str) -> dict[str, str]:
    """Name of every parameter of the autoencoder -> its name in a layout."""
    names = list(model.state_dict())
    if layout == "own":
        return {name: name for name in names}
    if layout == "deprecated":
        return {name: AUTOENCODER + name for name in names}
    n_levels = len(model.config.multipliers)

    def level(match: re.Match[str]) -> str:  # diffusers numbers the levels of the decoder in the order of running
        side, number = match[1], int(match[2])
        return f"down_blocks.{number}." if side == "down" else f"up_blocks.{n_levels - 1 - number}."

    found = {}
    for name in names:
        other = re.sub(r"\b(down|up)\.(\d+)\.", level, name)
        other = re.sub(r"\bblock\.(\d+)\.", r"resnets.\1.", other)
        other = re.sub(r"\b(down|up)sample\.", r"\1samplers.0.", other)
        other = re.sub(r"\bmid\.block_(\d)\.", lambda m: f"mid_block.resnets.{int(m[1]) - 1}.", other)
        other = re.sub(r"\bmid\.attn_1\.(\w+)\.", lambda m: f"mid_block.attentions.0.{_VAE_ATTENTION[m[1]]}.", other)
        found[name] = other.replace("nin_shortcut", "conv_shortcut").replace("norm_out", "conv_norm_out")
    return found


def layout_of(names: Iterable[str]) -> tuple[str, str]:
    """(layout, what it holds) of a checkpoint, from its names; ("", description) where it is of another model."""
    names = set(names)
    signs = [
        (UNET + "unet_image.", "deprecated", "the whole Versatile Diffusion, deprecated layout"),
        ("diffuser.image.", "v1_0", "the UNets of Versatile Diffusion, layout v1.0"),
        ("image_unet.", "diffusers", "the UNets of Versatile Diffusion, diffusers layout"),
        ("unet_image.", "own", "a UNet written by this module"),
        ("encoder.down_blocks.", "diffusers", "an autoencoder, diffusers layout"),
        ("encoder.down.", "own", "an autoencoder of the kl-f family"),
        ("encoder.enc_blocks.", "", "a VDVAE"),
        (UNET + "input_blocks.", "", "a Stable Diffusion"),
        ("text_model.", "", "a CLIP"),
        ("visual.", "", "a CLIP"),
        ("encoder.embeddings.", "", "an Optimus text autoencoder"),
    ]
    for sign, layout, what in signs:
        if any(name.startswith(sign) for name in names):
            return layout, what
    return "", "no model known here"


def read(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name; from a folder of diffusers with `image_unet.` and `text_unet.` before them.

    Raises
    ------
    FileNotFoundError, ValueError
        See `loading.weights.read`; a folder that lacks a part.
    """
    path = Path(path)
    if path.is_dir():
        parts = [part for part in ("image_unet", "text_unet") if (path / part).is_dir()]
        if not parts:
            return read(_weight_file(path))
        missing = {"image_unet", "text_unet"} - set(parts)
        if missing:
            raise FileNotFoundError(f"folder {path} holds {parts[0]} and lacks {missing.pop()}: both are needed")
        return {f"{part}.{name}": x for part in parts for name, x in read(_weight_file(path / part)).items()}
    return weights.read(path)


def _weight_file(folder: Path) -> Path:
    stem = "diffusion_pytorch_model"
    wanted = [f"{stem}{half}.{kind}" for kind in ("safetensors", "bin") for half in ("", ".fp16")]
    for name in wanted:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"folder {folder} holds none of {', '.join(wanted)}")


def select(tensors: Mapping[str, Tensor], model: UNet | Autoencoder, source: str) -> tuple[dict[str, Tensor], Report]:
    """The tensors of a model, under its own names, from a checkpoint of any layout.

    Raises
    ------
    ValueError
        A checkpoint of another model; missing, unexpected or misshapen tensors; a type that is not one of DTYPES.
    """
    part = "unet" if isinstance(model, UNet) else "autoencoder"
    layout, what = layout_of(tensors)
    own_part = {
        "own": "unet" if any(name.startswith("unet_image.") for name in tensors) else "autoencoder",
        "diffusers": "unet" if any(name.startswith("image_unet.") for name in tensors) else "autoencoder",
        "v1_0": "unet",
    }
    if not layout or own_part.get(layout, part) != part:
        wanted = "a UNet of Versatile Diffusion" if part == "unet" else "an autoencoder of the kl-f family"
        raise ValueError(f"{source} holds {what} (first name {next(iter(tensors), 'none')!r}), expected {wanted}")
    names = unet_names(model, layout) if isinstance(model, UNet) else autoencoder_names(model, layout)
    unused = [(label, re.compile(pattern), why) for label, pattern, why in UNUSED.get((layout, part), [])]
    wanted_names = set(names.values())
    counts = dict.fromkeys((label, why) for label, _, why in unused)
    unexpected = []
    for name in tensors:
        if name in wanted_names:
            continue
        for label, pattern, why in unused:
            if pattern.fullmatch(name):
                counts[label, why] = (counts[label, why] or 0) + 1
                break
        else:
            unexpected.append(name)
    missing = [other for other in names.values() if other not in tensors]
    found, shapes = {}, []
    for name, value in model.state_dict().items():
        given = tensors.get(names[name])
        if given is None:
            continue
        # The only other shape: diffusers keeps the 1x1 convolutions of the autoencoder's attention as matrices.
        if (layout, part) == ("diffusers", "autoencoder") and ".attn_1." in name and given.ndim == 2:
            given = given[:, :, None, None]
        if given.shape != value.shape:
            shapes.append(f"{names[name]} {tuple(given.shape)} instead of {tuple(value.shape)}")
        found[name] = given
    if missing or unexpected or shapes:
        raise ValueError(
            f"{source} ({what}) does not fit the configuration: {len(missing)} tensors missing {missing[:3]}, "
            f"{len(unexpected)} unexpected {sorted(unexpected)[:3]}, {len(shapes)} of another shape {shapes[:3]}. "
            "Choose the configuration it was trained with, or restore the file"
        )
    weights.check_dtypes({names[name]: value for name, value in found.items()}, source, dtypes=DTYPES)
    n_values = sum(value.numel() for value in found.values())
    left = [(label, why, n) for (label, why), n in counts.items() if n]
    return found, Report(layout, len(found), n_values, left)


def _load(path: str | Path, model: UNet | Autoencoder, device: str | torch.device) -> Report:
    found, report = select(read(path), model, str(path))
    weights.check(found, str(path))
    loaded = {}
    for name, value in found.items():
        value = value.to(device, torch.float32)
        # Kernels have their channels last in memory, as the tensors they meet.
        loaded[name] = value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value.contiguous()
    model.load_state_dict(loaded, strict=True, assign=True)
    model.eval().requires_grad_(False)
    return report


def load_unet(path: str | Path, config: UNetConfig, *, device: str | torch.device = "cpu") -> tuple[UNet, Report]:
    """The UNet in float32 and evaluation mode from a checkpoint of any layout, and what of the checkpoint was used.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read` and `select`; also where a weight is not finite.
    """
    with torch.device("meta"):
        model = UNet(config)
    return model, _load(path, model, device)


def load_autoencoder(
    path: str | Path, config: AutoencoderConfig, *, device: str | torch.device = "cpu"
) -> tuple[Autoencoder, Report]:
    """The autoencoder, otherwise as `load_unet`; a folder is the `vae/` of diffusers."""
    with torch.device("meta"):
        model = Autoencoder(config)
    return model, _load(path, model, device)


def load_schedule(path: str | Path) -> Schedule:
    """The schedule that a whole checkpoint holds, with its rounding.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read`; also where the checkpoint holds none: use `Schedule.published()`.
    """
    tensors = read(path)
    if "alphas_cumprod" not in tensors:
        raise ValueError(
            f"{path} holds no schedule (alphas_cumprod): use the formula, Schedule.published() (protocol: strict), or "
            "a whole checkpoint, vd-four-flow-v1-0[-fp16]-deprecated.pth"
        )
    return Schedule.from_buffer(tensors["alphas_cumprod"])


def convert(
    source: str | Path, target: str | Path, config: UNetConfig | AutoencoderConfig, *, dtype: torch.dtype
) -> Report:
    """Write the used part of a checkpoint of any layout as safetensors: 2.3 GB of the 6.7 GB that the whole model takes
    in float16. The file appears whole or not at all.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read` and `select`; also where a weight is not finite after rounding to `dtype`.
    """
    with torch.device("meta"):
        model = UNet(config) if isinstance(config, UNetConfig) else Autoencoder(config)
    found, report = select(read(source), model, str(source))
    rounded = {name: value.to(dtype).contiguous() for name, value in found.items()}
    bad = [name for name, value in rounded.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"{len(bad)} tensors hold NaN or infinity as {dtype}, first {bad[0]}: {target} is not written")
    target = Path(target)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        save_file(rounded, part, metadata={"format": "pt"})
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return report
