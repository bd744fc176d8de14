"""Text context of the mini model: what all-MiniLM-L6-v2 says at each token of a caption, 384 numbers per token.

A caption becomes [CLS] words [SEP], and the last hidden states of these tokens are its context, as they are (about 0.5
standard deviation, 6 to 12 the norm of a token). The positions that are left are exactly zero: they are hidden from
the network, so that the context of a caption does not depend on the length that it is padded to, and in attention a
zero row has a neutral key and nothing to add. A caption that is too long loses words before its [SEP].

The context of the empty caption, [CLS] [SEP] and zeros, is the unconditional one of guidance. Several captions of an
image are averaged, position by position, as Versatile Diffusion's users do with CLIP; an image without a caption has
the unconditional context.

The weights come with a pinned package as the zip that the model's authors published; its members are read from memory,
and nothing is looked up on a network. The network is torch's own encoder between embeddings and names of BERT:
transformers has it too, and takes 3 s to import, which each of the stages that read captions would wait for.
"""

import json
import re
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from tokenizers import Tokenizer
from torch import Tensor, nn

from loading import weights as files
from spikevaediff.networks import tokenizer
from spikevaediff.records import Captions, Features

WIDTH = 384
BATCH_SIZE = 32
# In the file and not in the network: the pooled output, which no token context passes through, and a count from 0.
UNUSED = {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}
# Modules by their names in the file; "layer.N." stands before those of a layer.
EMBEDDINGS = {
    "embeddings.word_embeddings": "word",
    "embeddings.position_embeddings": "position",
    "embeddings.token_type_embeddings": "segment",
    "embeddings.LayerNorm": "norm",
}
OF_LAYER = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}
QUERY_KEY_VALUE = ("query", "key", "value")  # one matrix, in this order


class Bert(nn.Module):
    """Hidden states of tokens after the last layer, as BERT computes them (Devlin et al. 2019, arXiv:1810.04805).

    x_i = norm(word_i + position_i + segment_0); in each layer x = norm(x + attention(x)), then
    x = norm(x + W_2 GELU(W_1 x)). All sentences are of the first segment.

    Parameters
    ----------
    config : mapping
        A config.json of transformers: vocab_size, max_position_embeddings, type_vocab_size, hidden_size,
        intermediate_size, num_attention_heads, num_hidden_layers and layer_norm_eps.

    Raises
    ------
    KeyError
        One of these is missing.
    ValueError
        The network has another activation, or positions of another kind.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        for name, known in (("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
            if config.get(name, known) != known:
                raise ValueError(f"config.json says {name} {config[name]!r}, expected {known!r}")
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.word = nn.Embedding(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position_embeddings"], width)
        self.segment = nn.Embedding(config["type_vocab_size"], width)
        self.norm = nn.LayerNorm(width, epsilon)
        layer = nn.TransformerEncoderLayer(
            width, config["num_attention_heads"], config["intermediate_size"], 0.0, "gelu", epsilon, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, config["num_hidden_layers"], enable_nested_tensor=False)

    def forward(self, ids: Tensor, shown: Tensor) -> Tensor:
        """int64 and bool (n, n_tokens), False for tokens that none may see -> float32 (n, n_tokens, width)."""
        x = self.norm(self.word(ids) + self.position.weight[: ids.shape[1]] + self.segment.weight[0])
        return self.encoder(x, src_key_padding_mask=~shown)


def named(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file of BERT by the names of `Bert`; what has no name there keeps its own."""
    found: dict[str, Tensor] = {}
    parts: defaultdict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in state.items():
        module, _, kind = name.rpartition(".")
        in_layer = re.fullmatch(r"encoder\.layer\.(\d+)\.(.*)", module)
        if not in_layer:
            found[f"{EMBEDDINGS.get(module, module)}.{kind}"] = tensor
            continue
        layer, of_layer = f"encoder.layers.{in_layer[1]}", in_layer[2]
        if (part := of_layer.removeprefix("attention.self.")) in QUERY_KEY_VALUE:
            parts[f"{layer}.self_attn.in_proj_{kind}"][part] = tensor
        else:
            found[f"{layer}.{OF_LAYER.get(of_layer, of_layer)}.{kind}"] = tensor
    for name, of_name in parts.items():
        if len(of_name) == len(QUERY_KEY_VALUE):
            found[name] = torch.cat([of_name[part] for part in QUERY_KEY_VALUE])
    return found


def extract(captions: Captions, *, weights: str | Path, n_tokens: int, batch_size: int | str, device: str) -> Features:
    """Contexts of the captions of images.

    Parameters
    ----------
    captions : Captions
    weights : str or Path
        The asset all_minilm_l6_v2.
    n_tokens : int
        Length of every context, [CLS] and [SEP] included.
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding.

    Returns
    -------
    Features
        values float32 (n_images, n_tokens * 384), token after token; a group is a token.

    Raises
    ------
    FileNotFoundError, ValueError
        The weight file is missing, damaged or of another network; n_tokens is out of range.
    """
    tokens = captions.mean_context(
        lambda sentences: contexts(sentences, weights=weights, n_tokens=n_tokens, batch_size=batch_size, device=device)
    )
    return Features.of_tokens("text", captions.image_id, tokens)


def contexts(
    sentences: Sequence[str], *, weights: str | Path, n_tokens: int, batch_size: int | str, device: str
) -> np.ndarray:
    """Contexts of sentences.

    Parameters
    ----------
    sentences : sequence of str
    weights, n_tokens, batch_size, device
        As in extract.

    Returns
    -------
    float32, (n_sentences, n_tokens, 384); zero behind the [SEP] of a sentence.

    Raises
    ------
    FileNotFoundError, ValueError
        As extract.
    """
    words, network = _load(weights, n_tokens)
    network.to(device)
    size = BATCH_SIZE if batch_size == "auto" else int(batch_size)
    found = np.zeros((len(sentences), n_tokens, WIDTH), np.float32)
    n_cut = 0
    with torch.inference_mode():
        for start in track(range(0, len(sentences), size), "MiniLM"):
            batch = words.encode_batch(list(sentences[start : start + size]))
            n_cut += sum(bool(encoding.overflowing) for encoding in batch)
            ids: Tensor = torch.tensor([encoding.ids for encoding in batch], device=device)
            shown: Tensor = torch.tensor([encoding.attention_mask for encoding in batch], device=device).bool()
            tokens = network(ids, shown) * shown[:, :, None]
            found[start : start + size] = tokens.cpu().numpy()
    if n_cut:
        print(f"{n_cut} of {len(sentences)} captions are longer than {n_tokens} tokens and lose their last words")
    return found


def unconditional(*, weights: str | Path, n_tokens: int, device: str) -> np.ndarray:
    """Context of the empty caption, float32 (n_tokens, 384)."""
    return contexts([""], weights=weights, n_tokens=n_tokens, batch_size=1, device=device)[0]


def _load(weights: str | Path, n_tokens: int) -> tuple[Tokenizer, nn.Module]:
    """Tokenizer, padding and cutting to n_tokens, and network in evaluation mode."""
    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"weight file {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
            with torch.device("meta"):
                network = Bert(config)
            words = tokenizer.read(archive.read("tokenizer.json").decode())
            state = tensors_of(archive.read("model.safetensors"))
    except PermissionError:
        raise  # says enough, and the file may be whole
    # First what zipfile says of changed bytes; KeyError: a member is not there; the rest: it is not a network.
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError),
        *(KeyError, ValueError, TypeError, SafetensorError),
    ) as error:
        raise ValueError(
            f"weight file {path} is damaged or is not all-MiniLM-L6-v2: {error}. "
            f"Get it with: python -m spikevaediff assets fetch all_minilm_l6_v2"
        ) from error
    longest, width = network.position.weight.shape
    if not 2 <= n_tokens <= longest:
        raise ValueError(f"n_tokens is {n_tokens}, expected 2 ([CLS] and [SEP]) to {longest}")
    words.enable_truncation(n_tokens)
    words.enable_padding(length=n_tokens, pad_id=words.token_to_id("[PAD]"))
    kept = {name: tensor for name, tensor in state.items() if name not in UNUSED}
    files.fill(network, named(kept), path, "the network of its config.json")
    if width != WIDTH:
        raise ValueError(f"weight file {path} has {width} numbers per token, expected {WIDTH}")
    return words, network.eval()
