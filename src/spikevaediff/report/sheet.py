"""Pictures as data inside the page: figures without loss, the many small ones with some."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

GALLERY_PX = 96  # of a picture of the gallery
SIZES_PX = (96, 80, 64, 48, 32)  # of small pictures, tried in turn until all fit
BYTES = 1_500_000  # for all small pictures, so that the page stays below 4 MB


def lossless(png: bytes) -> str:
    """A PNG as a WebP of the same pixels where that is smaller, by a third as a rule, as an address of its own data."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "webp", lossless=True, quality=60, method=3)
    kinds = {"webp": buffer.getvalue(), "png": png}
    kind = min(kinds, key=lambda kind: len(kinds[kind]))
    return _address(kinds[kind], kind)


def small(pixels: np.ndarray, size_px: int) -> str:
    """uint8, (height, width, 3), scaled to a square of `size_px`, as an address of its own data."""
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels).resize((size_px, size_px), Image.Resampling.LANCZOS)
    picture.save(buffer, "webp", quality=70, method=4)
    return _address(buffer.getvalue(), "webp")


def cards(
    image_ids: Sequence[int], pictures: Mapping[str, np.ndarray], *, n_bytes: int = BYTES
) -> tuple[int, list[list[tuple[str, str]]]]:
    """Every image with its reconstructions side by side, as large as fits.

    Parameters
    ----------
    image_ids : sequence of int
    pictures : mapping of name to uint8, (n_images, height, width, 3)
        In the order of `image_ids`; the first are the images shown.
    n_bytes : int
        That all may take.

    Returns
    -------
    size_px : int
    cards : list of list of (name, address)
        One per image. Where not even the smallest fit, the last pictures of each are left out.
    """
    names = list(pictures)
    # A sample tells the size of all; what is drawn in the end is what was measured.
    some = np.unique(np.linspace(0, len(image_ids) - 1, min(24, len(image_ids))).round().astype(int))
    for size_px in SIZES_PX:
        made = {(name, i): small(stack[i], size_px) for name, stack in pictures.items() for i in some.tolist()}
        of_one = {name: np.mean([len(made[name, i]) for i in some.tolist()]) for name in names}
        if len(image_ids) * sum(of_one.values()) <= n_bytes:
            break
    while len(names) > 2 and len(image_ids) * sum(of_one[name] for name in names) > n_bytes:
        names.pop()
    return size_px, [
        [(name, made.get((name, k)) or small(pictures[name][k], size_px)) for name in names]
        for k in range(len(image_ids))
    ]


def gallery(groups: Mapping[str, Sequence[int]], pictures: Mapping[str, Any]) -> dict[str, Any]:
    """A row of pictures for what was shown and for each kind of reconstruction.

    Parameters
    ----------
    groups : mapping of label to image ids
    pictures : mapping of name to uint8, (n_images, height, width, 3)
        In the order of the groups; the first are the images shown.
    """
    ids = [image_id for group in groups.values() for image_id in group]
    first = {group[0] for group in list(groups.values())[1:]}
    return {
        "groups": [{"name": name, "ids": list(of)} for name, of in groups.items()],
        "rows": [
            {
                "name": " ".join(name.split()),
                "shown": place == 0,
                "cells": [
                    {"id": i, "first": i in first, "src": small(stack[k], GALLERY_PX)} for k, i in enumerate(ids)
                ],
            }
            for place, (name, stack) in enumerate(pictures.items())
        ],
    }


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
