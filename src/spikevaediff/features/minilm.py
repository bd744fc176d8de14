"""Text context of the mini model: what all-MiniLM-L6-v2 says at each token of a caption, 384 numbers per token.

A caption becomes [CLS] words [SEP], and the last hidden states of these tokens are its context, as they are (about 0.5
standard deviation, 6 to 12 the norm of a token). The positions that are left are exactly zero: they are hidden from
the network, so that the context of a caption does not depend on the length that it is padded to, and in attention a
zero row has a neutral key and nothing to add. A caption that is too long loses words before its [SEP].

The context of the empty caption, [CLS] [SEP] and zeros, is the unconditional one of guidance. Several captions of an
image are averaged, position by position, as Versatile Diffusion's users do with CLIP; an image without a caption has
the unconditional context.

The weights come with a pinned package as the zip that the model's authors published; transformers and tokenizers read
its members from memory, and nothing is looked up on a network.
"""

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from tokenizers import Tokenizer
from torch import Tensor, nn

import spikevaediff.networks.torchvision_ops  # noqa: F401, before transformers imports torchvision
from loading import weights as files
from spikevaediff.networks import tokenizer
from spikevaediff.records import Captions, Features

WIDTH = 384
BATCH_SIZE = 32
# In the file and not in the network: the pooled output, which no token context passes through, and a count from 0.
UNUSED = {"pooler.dense.weight", "pooler.dense.bias", "embeddings.position_ids"}


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
            shown: Tensor = torch.tensor([encoding.attention_mask for encoding in batch], device=device)
            tokens = network(input_ids=ids, attention_mask=shown).last_hidden_state * shown[:, :, None]
            found[start : start + size] = tokens.cpu().numpy()
    if n_cut:
        print(f"{n_cut} of {len(sentences)} captions are longer than {n_tokens} tokens and lose their last words")
    return found


def unconditional(*, weights: str | Path, n_tokens: int, device: str) -> np.ndarray:
    """Context of the empty caption, float32 (n_tokens, 384)."""
    return contexts([""], weights=weights, n_tokens=n_tokens, batch_size=1, device=device)[0]


def _load(weights: str | Path, n_tokens: int) -> tuple[Tokenizer, nn.Module]:
    """Tokenizer, padding and cutting to n_tokens, and network in evaluation mode."""
    from transformers import BertConfig, BertModel  # 3 s, which listing modules need not wait for

    path = Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"weight file {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            config = BertConfig(**json.loads(archive.read("config.json")))
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
    if not 2 <= n_tokens <= config.max_position_embeddings:
        raise ValueError(f"n_tokens is {n_tokens}, expected 2 ([CLS] and [SEP]) to {config.max_position_embeddings}")
    words.enable_truncation(n_tokens)
    words.enable_padding(length=n_tokens, pad_id=words.token_to_id("[PAD]"))
    network = BertModel(config, add_pooling_layer=False)
    kept = {name: tensor for name, tensor in state.items() if name not in UNUSED}
    files.fill(network, kept, path, "the network of its config.json")
    if config.hidden_size != WIDTH:
        raise ValueError(f"weight file {path} has {config.hidden_size} numbers per token, expected {WIDTH}")
    return words, network.eval()
