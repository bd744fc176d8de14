"""Text context of the published model: CLIP ViT-L/14 at the 77 tokens of a caption, as Versatile Diffusion has it.

All tokens pass the last layer norm and the projection into the space that text and images share, and are divided by
the norm of the projected end-of-text token, the one that CLIP compares with images.

Token ids are <start> words <end> and then <end> again up to 77. The padding matters: no position is masked, in the
diffusion model neither, and open_clip's own padding with 0 would change each of these tokens by about their own size.
Longer captions are cut, with <end> last. The empty caption gives the unconditional context; several captions of an
image are averaged, and an image without a caption has the unconditional context.

Xu et al. 2023, arXiv:2211.08332; what its published code computes was recorded and is compared in the tests.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from spikevaediff.networks import clip
from spikevaediff.records import Captions, Features

BATCH_SIZE = 32


def extract(captions: Captions, *, weights: str | Path, config: str, batch_size: int | str, device: str) -> Features:
    """Contexts of the captions of images.

    Parameters
    ----------
    captions : Captions
    weights : str or Path
        The asset clip_vit_l14, or another file that spikevaediff.networks.clip reads.
    config : str
        Name in spikevaediff.networks.clip.CONFIGS.
    batch_size, device : int or "auto", str
        How it is computed; results agree to rounding.

    Returns
    -------
    Features
        values float32 (n_images, 77 * 768), token after token; a group is a token.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        Unknown configuration; a weight file that is missing, damaged or of another network.
    """
    tokens = captions.mean_context(
        lambda sentences: contexts(sentences, weights=weights, config=config, batch_size=batch_size, device=device)
    )
    return Features.of_tokens("text", captions.image_id, tokens)


def contexts(
    sentences: Sequence[str], *, weights: str | Path, config: str, batch_size: int | str, device: str
) -> np.ndarray:
    """Contexts of sentences.

    Parameters
    ----------
    sentences : sequence of str
    weights, config, batch_size, device
        As in extract.

    Returns
    -------
    float32, (n_sentences, 77, 768)

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As extract.
    """
    network = clip.load(weights, config).to(device)
    ids = token_ids(sentences)
    last = len(network.transformer.resblocks) - 1
    size = BATCH_SIZE if batch_size == "auto" else int(batch_size)
    found = np.empty((*ids.shape, network.text_projection.shape[1]), np.float32)
    with torch.inference_mode():
        for start in track(range(0, len(ids), size), "CLIP text"):
            batch = ids[start : start + size].to(device)
            hidden = network.forward_intermediates(
                text=batch, text_indices=[last], normalize_intermediates=True, intermediates_only=True
            )["text_intermediates"][-1]
            projected = hidden @ network.text_projection
            # <end> has the largest id, and padding has it too: argmax gives the first.
            pooled = projected[torch.arange(len(batch), device=device), batch.argmax(dim=1)]
            found[start : start + size] = (projected / pooled.norm(dim=1)[:, None, None]).cpu().numpy()
    return found


def unconditional(*, weights: str | Path, config: str, device: str) -> np.ndarray:
    """Context of the empty caption, float32 (77, 768)."""
    return contexts([""], weights=weights, config=config, batch_size=1, device=device)[0]


def token_ids(sentences: Sequence[str]) -> Tensor:
    """Byte pair codes of sentences, int64 (n_sentences, 77), padded with the end-of-text token."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    ids = tokenizer(list(sentences))
    n_cut = sum(len(tokenizer.encode(sentence)) + 2 > ids.shape[1] for sentence in sentences)  # <start> and <end>
    if n_cut:
        print(f"{n_cut} of {len(sentences)} captions are longer than {ids.shape[1]} tokens and lose their last words")
    end = (ids == tokenizer.eot_token_id).int()
    return ids.masked_fill(end.cumsum(dim=1) > 0, tokenizer.eot_token_id)
