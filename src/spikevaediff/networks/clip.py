"""CLIP ViT-L/14, loaded strictly into open_clip's network from any of the three layouts in which it is published.

The published Versatile Diffusion was trained on contexts of this network. open_clip's `ViT-L-14-quickgelu` is the same
function as the Hugging Face one that it used; plain `ViT-L-14` has another activation and would only warn.

| file                                        | layout                                                          |
|---------------------------------------------|-----------------------------------------------------------------|
| OpenAI's ViT-L-14.pt (asset clip_vit_l14)   | TorchScript archive with open_clip's names, half precision      |
| model.safetensors of the Hugging Face hub   | Hugging Face names                                              |
| a Versatile Diffusion checkpoint with CLIP  | Hugging Face names behind `clip.model.`, among its other parts  |

The first is the asset, because its publisher states its sha256 and it is half the size of the second and a seventh of
the third. It is an archive of code: torch.jit reads it in C++, where nothing of Python can be named or called, as the
pickle of an ordinary checkpoint can; its bytes were compared with the sha256 before; and of what it holds only the
tensors are kept. Other files must be safetensors or load with weights_only=True.
"""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import spikevaediff.networks.torchvision_ops  # noqa: F401, before open_clip imports torchvision
from loading import weights as files

# The shape of open_clip's network; quick_gelu, x sigmoid(1.702 x), is the activation of the published weights.
CONFIGS: dict[str, dict[str, Any]] = {
    "vit_l14": {
        "embed_dim": 768,
        "vision_cfg": {"image_size": 224, "layers": 24, "width": 1024, "head_width": 64, "patch_size": 14},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12},
    }
}
_VERSATILE_DIFFUSION = "clip.model."
# Known and left out: sizes that the configuration states, and the numbers 0, 1, 2, ... of positions.
_UNUSED = re.compile(r"input_resolution|context_length|vocab_size|(text|vision)_model\.embeddings\.position_ids")
# Hugging Face's names to open_clip's, outside of the blocks ...
_RENAMED = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",  # spelt like this in the published files
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
# ... those that are stored as the matrix of a linear layer there, and as what it is multiplied by here ...
_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
# ... and inside of the blocks, but for q, k and v, which are one matrix here.
_BLOCK = re.compile(r"(text|vision)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_IN_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def load(weights: str | Path, config: str) -> Any:
    """CLIP in evaluation mode and float32, with both of its towers.

    Parameters
    ----------
    weights : str or Path
        A file of the table above.
    config : str
        Name in CONFIGS.

    Returns
    -------
    open_clip.model.CLIP

    Raises
    ------
    KeyError
        There is no such configuration.
    FileNotFoundError, ValueError
        No file; one that is damaged or holds no CLIP; a tensor missing, left over or of another shape.
    """
    if config not in CONFIGS:
        raise KeyError(f"CLIP configuration {config!r} is unknown; there are {', '.join(CONFIGS)}")
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg  # 3 s, which listing modules need not wait for

    state = open_clip_names(_tensors(Path(weights)), str(weights))
    sizes = CONFIGS[config]
    with torch.device("meta"):  # no memory and no random numbers for 428 million parameters that are then replaced
        network = CLIP(
            embed_dim=sizes["embed_dim"],
            vision_cfg=CLIPVisionCfg(**sizes["vision_cfg"]),
            text_cfg=CLIPTextCfg(**sizes["text_cfg"]),
            quick_gelu=True,
        )
    files.fill(network, state, weights, f"CLIP {config}")
    # Not among the weights: a token sees those before it.
    length = network.context_length
    network.register_buffer("attn_mask", torch.full((length, length), -torch.inf).triu(1), persistent=False)
    return network.eval().requires_grad_(False)


def open_clip_names(state: Mapping[str, Tensor], source: str) -> dict[str, Tensor]:
    """The tensors of CLIP under open_clip's names, in float32.

    Parameters
    ----------
    state : mapping of str to tensor
        One of the three layouts; of a Versatile Diffusion checkpoint only what is behind `clip.model.` is looked at.
    source : str
        Named in errors.

    Raises
    ------
    ValueError
        A name that belongs to none of the layouts, q, k and v of which one is missing, or a tensor that is not floating
        point.
    """
    inside = {
        name.removeprefix(_VERSATILE_DIFFUSION): tensor
        for name, tensor in state.items()
        if name.startswith(_VERSATILE_DIFFUSION)
    }
    state = {name: tensor for name, tensor in (inside or state).items() if not _UNUSED.fullmatch(name)}
    is_open_clip = "visual.conv1.weight" in state
    if not is_open_clip and "vision_model.embeddings.patch_embedding.weight" not in state:
        raise ValueError(
            f"weight file {source} holds no CLIP: {', '.join(sorted(state)[:4])}, ... Expected the names of OpenAI, of "
            f"Hugging Face, or those behind {_VERSATILE_DIFFUSION} in a Versatile Diffusion checkpoint"
        )
    files.check_dtypes(state, f"weight file {source}")  # before they are float32; `fill` looks at the values
    if is_open_clip:
        return {name: tensor.float() for name, tensor in state.items()}
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}  # of joint matrices: their name, and which of q, k and v is what
    for name, tensor in state.items():
        block = _BLOCK.fullmatch(name)
        if name in _RENAMED:
            renamed[_RENAMED[name]] = tensor.float()
        elif name in _TRANSPOSED:
            renamed[_TRANSPOSED[name]] = tensor.float().T.contiguous()
        elif block is not None and block[3] in (*_IN_BLOCK, *_QKV):
            tower = {"text": "transformer", "vision": "visual.transformer"}[block[1]]
            prefix = f"{tower}.resblocks.{block[2]}."
            if block[3] in _QKV:
                parts.setdefault(f"{prefix}attn.in_proj_{block[4]}", {})[block[3]] = tensor.float()
            else:
                renamed[f"{prefix}{_IN_BLOCK[block[3]]}.{block[4]}"] = tensor.float()
        else:
            raise ValueError(f"weight file {source} holds {name}, which no part of CLIP is called")
    for name, three in parts.items():
        if set(three) != set(_QKV):
            raise ValueError(f"weight file {source} has only {', '.join(sorted(three))} for {name}")
        renamed[name] = torch.cat([three[part] for part in _QKV])
    return renamed


def _tensors(path: Path) -> Mapping[str, Tensor]:
    cure = "Get it again with: python -m spikevaediff assets fetch clip_vit_l14 --again"
    if not (path.is_file() and files.is_torchscript(path)):
        return files.read(path, cure=cure)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".*torch\.jit\.load. is deprecated", DeprecationWarning)
            return torch.jit.load(path, map_location="cpu").state_dict()
    except files.DAMAGED as error:
        raise ValueError(
            f"weight file {path} is damaged or of another format ({files.reason(error)}). {cure}"
        ) from error
