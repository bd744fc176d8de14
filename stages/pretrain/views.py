"""What the mini UNet is trained on: views of photographs, with the contexts that a picture of each would have.

A view is a random square of a training crop or of another photograph, mirrored half of the time, with other contrast
and brightness. Contexts cost a hundred times what a view does, so a fixed number of views is made once and kept, with
EfficientNet-lite0's tokens, and MiniLM's of an automatic caption (the names of the three classes that it finds
likeliest: no one has described these pictures). The cache fills in pieces; a killed run continues from the last one.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from platformdirs import user_cache_dir

from spikevaediff.captioning.class_captions import captions_of
from spikevaediff.encoding.library import draw_view
from spikevaediff.features import efficientnet, minilm
from spikevaediff.files import assets
from spikevaediff.files.atomic import replacing
from spikevaediff.images import resize, rgb

SIZE_PX = 256  # of a scene; the vision context is taken from this size
PIECE = 64


@dataclass(frozen=True)
class Views:
    """Views and their contexts.

    pixels : uint8, (n_views, size, size, 1); vision : float16, (n_views, 49, 1280); text : float16, (n_views, n_tokens,
    384); captions : list of str.
    """

    pixels: np.ndarray
    vision: np.ndarray
    text: np.ndarray
    captions: list[str]

    def __add__(self, others: "Views") -> "Views":
        """All views of both."""
        return Views(
            np.concatenate([self.pixels, others.pixels]),
            np.concatenate([self.vision, others.vision]),
            np.concatenate([self.text, others.text]),
            self.captions + others.captions,
        )


def views(crops: list[np.ndarray], n_views: int, *, seed: int, size_px: int, n_tokens: int, least_side: float) -> Views:
    """The first n views of these crops, from the cache or made now; view i is of crop i modulo their number."""
    settings = [n_views, seed, size_px, n_tokens, least_side]
    pixels_hash = hashlib.sha256(b"".join(np.ascontiguousarray(crop).tobytes() for crop in crops)).hexdigest()
    key = hashlib.sha256(json.dumps([settings, pixels_hash]).encode()).hexdigest()[:16]
    folder = Path(user_cache_dir("spikevaediff")) / "pretrain" / f"views-{key}"
    path = assets.fetch("efficientnet_lite0")
    starts = range(0, n_views, PIECE)
    for start in starts:
        piece = folder / f"{start:06d}.npz"
        if piece.exists():
            continue
        drawn = [
            draw_view(crops[i % len(crops)], np.random.default_rng([seed, i]), least_side=least_side, size_px=SIZE_PX)
            for i in range(start, min(start + PIECE, n_views))
        ]
        large = np.stack(drawn)
        vision = efficientnet.contexts(rgb(large), weights=path, batch_size="auto", device="cpu")
        captions = captions_of(vision)
        text = minilm.contexts(
            captions, weights=assets.fetch("all_minilm_l6_v2"), n_tokens=n_tokens, batch_size="auto", device="cpu"
        )
        with replacing(piece) as temporary:
            np.savez(
                temporary,
                pixels=resize(large, size_px)[..., None],
                vision=vision.astype(np.float16),
                text=text.astype(np.float16),
                captions=np.array(captions),
            )
        print(f"views: {min(start + PIECE, n_views)} of {n_views}", flush=True)
    found: dict[str, list[np.ndarray]] = {"pixels": [], "vision": [], "text": [], "captions": []}
    for start in starts:
        with np.load(folder / f"{start:06d}.npz", allow_pickle=False) as piece_file:
            for name, arrays in found.items():
                arrays.append(piece_file[name])
    whole = {name: np.concatenate(arrays) for name, arrays in found.items()}
    return Views(whole["pixels"], whole["vision"], whole["text"], whole["captions"].tolist())
