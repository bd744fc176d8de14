"""Captions by BLIP-2, for images that nobody has described.

A frozen image encoder and a small transformer turn an image into a few embeddings, which a language model
continues. Greedy or beam search, never sampled, so that the same images get the same captions. Networks and words are
read from one folder in the format of transformers: config.json, tokenizer.json and safetensors.

Images are squashed to the square that the encoder takes by the project's one resize rule (bicubic, as in BLIP-2's own
preprocessing) and normalised by the mean and deviation of CLIP's training images, as there.

Source: Li et al. 2023, BLIP-2: Bootstrapping Language-Image Pre-training with Frozen Image Encoders and Large Language
Models.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from safetensors import SafetensorError
from tokenizers import Tokenizer
from torch import Tensor

# isort: split
import spikevaediff.networks.torchvision_ops  # noqa: F401, before transformers imports torchvision

# isort: split
from transformers import Blip2Config, Blip2ForConditionalGeneration

from loading import weights
from spikevaediff.images import resize, rgb
from spikevaediff.networks import tokenizer
from spikevaediff.networks.small import CLIP_MEAN, CLIP_STD, scaled
from spikevaediff.records import Stimuli

BATCH_SIZE = 8


def describe(
    stimuli: Stimuli,
    *,
    folder: str | Path,
    unfinished: str | Path,
    prompt: str,
    max_new_tokens: int,
    num_beams: int,
    dtype: str,
    batch_size: int | str,
    device: str,
) -> dict[int, str]:
    """One sentence for every image.

    Parameters
    ----------
    stimuli : Stimuli
    folder : str or Path
        Holds config.json, tokenizer.json and the weights as safetensors, of Blip2ForConditionalGeneration.
    unfinished : str or Path
        A folder that keeps what is done, batch by batch, in a file for each network and choice of options: a call that
        was interrupted continues from there. The file is removed at the end.
    prompt : str
        The beginning of the sentence that the network continues, "a photo of" and the like; it is not part of the
        caption. Empty: none.
    max_new_tokens, num_beams : int
        Longest caption in tokens; beams of the search, 1 is greedy.
    dtype : str
        float32, float16 or bfloat16: of weights and arithmetic.
    batch_size : int or "auto"
        Images at once.
    device : str

    Returns
    -------
    dict
        image_id -> caption, white space made single; "" where the network ended at once.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or damaged, or of another network; an option is out of range.
    """
    folder = Path(folder)
    if dtype not in ("float32", "float16", "bfloat16"):
        raise ValueError(f"captions.dtype is {dtype!r}, expected float32, float16 or bfloat16")
    if max_new_tokens < 1 or num_beams < 1:
        raise ValueError(f"captions: max_new_tokens is {max_new_tokens}, num_beams {num_beams}, expected 1 or more")
    journal = Path(unfinished) / f"{_key(folder, prompt, max_new_tokens, num_beams, dtype)}.jsonl"
    done = _read_journal(journal)
    digests = {
        image_id: hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()
        for image_id, pixels in zip(stimuli.image_id.tolist(), stimuli.pixels, strict=True)
    }
    left = np.array([image_id for image_id in sorted(digests) if digests[image_id] not in done], np.int64)
    if len(left):
        model, tokens_of, before = _load(folder, prompt, dtype, device)
        size = BATCH_SIZE if batch_size == "auto" else int(batch_size)
        journal.parent.mkdir(parents=True, exist_ok=True)
        with journal.open("w", encoding="utf-8") as file:
            file.writelines(_line(image, caption) for image, caption in done.items())
            for batch in track(_batches(left, size), description="describing images", total=-(-len(left) // size)):
                found = _sentences(model, tokens_of, before, stimuli.rows(batch), max_new_tokens, num_beams)
                for image_id, sentence in zip(batch.tolist(), found, strict=True):
                    done[digests[image_id]] = sentence
                    file.write(_line(digests[image_id], sentence))
                file.flush()
                os.fsync(file.fileno())
    journal.unlink(missing_ok=True)
    return {image_id: done[digest] for image_id, digest in digests.items()}


def _batches(ids: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (ids[first : first + size] for first in range(0, len(ids), size))


def _key(folder: Path, *options: object) -> str:
    """What the captions depend on beside the images; large files go by size and time, since hashing takes a minute."""
    files = sorted(folder.glob("*.json")) + sorted(folder.glob("*.safetensors"))
    if not (folder / "config.json").is_file() or not (folder / "tokenizer.json").is_file():
        raise FileNotFoundError(
            f"{folder} holds no config.json with tokenizer.json. Expected the files of a BLIP-2 as transformers saves "
            f"them"
        )
    known = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((known, options)).encode()).hexdigest()


def _line(image: str, caption: str) -> str:
    return json.dumps({"image": image, "caption": caption}) + "\n"


def _read_journal(path: Path) -> dict[str, str]:
    """Captions by digest of the image, up to the line in which a process was killed."""
    done: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else ():
        try:
            entry = json.loads(line)
            done[entry["image"]] = entry["caption"]
        except (ValueError, KeyError, TypeError):
            break
    return done


def _load(folder: Path, prompt: str, dtype: str, device: str) -> tuple[Any, Tokenizer, list[int]]:
    """The network, its tokenizer, and the tokens before a caption: a place for each embedding, then the prompt."""
    try:
        words = tokenizer.read((folder / "tokenizer.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder}: {error}. Fetch or restore it again") from error
    try:
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = written.get("model_type")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{folder}/config.json is damaged ({error}). Fetch or restore it again") from error
    if "auto_map" in written:  # transformers would ask whether to run it
        raise ValueError(
            f"{folder}/config.json names code of its own (auto_map). It was not run; do not use this folder"
        )
    if kind != "blip-2":
        raise ValueError(f"{folder}/config.json is of model_type {kind!r}, expected blip-2 with an image_token_index")
    config: Any = Blip2Config.from_pretrained(folder, local_files_only=True)
    if config.image_token_index is None:
        raise ValueError(
            f"{folder}/config.json is of model_type {config.model_type!r}, expected blip-2 with an image_token_index"
        )
    try:
        for file in sorted(folder.glob("*.safetensors")):
            weights.check_header(file)
        loaded: Any = Blip2ForConditionalGeneration.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ValueError(f"the weights of {folder} cannot be loaded ({error}). Fetch or restore them again") from error
    model, loading = loaded
    # What is missing would be drawn at random.
    wrong = {name: sorted(map(str, loading[name])) for name in ("missing_keys", "mismatched_keys") if loading[name]}
    if wrong:
        raise ValueError(f"the weights of {folder} do not fit its config.json: {wrong}. Fetch or restore them again")
    weights.check(model.state_dict(), f"the weights of {folder} as {dtype}")
    words.no_padding()
    words.no_truncation()
    before = words.encode(prompt).ids if prompt else [config.text_config.bos_token_id]
    return model.to(device).eval(), words, [config.image_token_index] * config.num_query_tokens + before


def prepared(pixels: np.ndarray, size_px: int) -> Tensor:
    """What the encoder takes: (n, height, width) uint8 -> float32 (n, 3, size_px, size_px)."""
    return scaled(rgb(resize(pixels, size_px)), CLIP_MEAN, CLIP_STD)


@torch.inference_mode()
def _sentences(
    model: Any,
    tokens_of: Tokenizer,
    before_caption: list[int],
    pixels: np.ndarray,
    max_new_tokens: int,
    num_beams: int,
) -> list[str]:
    before = torch.tensor([before_caption] * len(pixels), device=model.device)
    tokens = model.generate(
        pixel_values=prepared(pixels, model.config.vision_config.image_size).to(model.device, model.dtype),
        input_ids=before,
        attention_mask=torch.ones_like(before),
        do_sample=False,
        num_beams=num_beams,
        max_new_tokens=max_new_tokens,
        min_new_tokens=0,
    )
    if not model.config.text_config.is_encoder_decoder:
        tokens = tokens[:, before.shape[1] :]
    texts = tokens_of.decode_batch(tokens.tolist(), skip_special_tokens=True)
    return [" ".join(text.split()) for text in texts]
