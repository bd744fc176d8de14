"""What the second stage is given for each image: one to start from, and contexts."""

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from spikevaediff.records import Features, Reconstructions, few


@dataclass(frozen=True)
class Guides:
    """What the generator is given for each image. Whatever is None is not given.

    image_id : int64, (n_images,), unique.
    start : uint8, (n_images, height, width, 3), or None: from noise.
    vision, text : float32, (n_images, n_tokens, width), or None: the context of no image, or of the empty caption.
    """

    image_id: np.ndarray
    start: np.ndarray | None
    vision: np.ndarray | None
    text: np.ndarray | None

    @classmethod
    def predicted(
        cls,
        image_ids: np.ndarray,
        *,
        start: Reconstructions | None,
        vision: Features | None,
        text: Features | None,
    ) -> Self:
        """The guides of some images out of records, joined by id; a group of features is a token.

        Raises
        ------
        KeyError, ValueError
            A record lacks an image, or is of another space, or its tokens differ in width.
        """

        def context(name: str, features: Features | None) -> np.ndarray | None:
            if features is not None and features.space != name:
                raise ValueError(f"the {name} context is of the feature space {features.space}")
            return None if features is None else features.tokens(image_ids)

        started = None if start is None else start.rows(image_ids)
        return cls(np.asarray(image_ids), started, context("vision", vision), context("text", text))

    def take(self, rows: np.ndarray) -> Self:
        """Some of the images, by position."""
        rest = [None if a is None else a[rows] for a in (self.start, self.vision, self.text)]
        return type(self)(self.image_id[rows], *rest)

    def check(self, unconditional: Self) -> None:
        """Refuse what the networks would stumble over, or turn into a wrong image.

        Parameters
        ----------
        unconditional : Guides
            One row: the contexts of no image and of the empty caption, of the shapes that the networks take.

        Raises
        ------
        ValueError
            Contexts or start images have another shape or type, or hold NaN or infinity.
        """
        n = len(self.image_id)
        for name in ("vision", "text"):
            context, empty = getattr(self, name), getattr(unconditional, name)
            if empty is None or empty.ndim != 3 or len(empty) != 1:
                raise ValueError(f"the unconditional {name} context must be one context (1, token, width)")
            if context is None:
                continue
            if context.ndim != 3 or context.shape != (n, *empty.shape[1:]):
                raise ValueError(
                    f"{name} contexts are {context.shape}, expected {(n, *empty.shape[1:])} (image, token, width): "
                    f"features of another model? Make them again with: dvc repro features regress"
                )
            bad = self.image_id[~np.isfinite(context).all((1, 2))]
            if len(bad):
                raise ValueError(
                    f"{name} contexts of image_id {few(bad)} hold NaN or infinity "
                    f"({len(bad)} of {n}). Predict them again with: dvc repro regress"
                )
        start = self.start
        if start is not None and (start.dtype != np.uint8 or start.ndim != 4 or start.shape[3] != 3 or len(start) != n):
            raise ValueError(f"start images are {start.dtype} {start.shape}, expected uint8 ({n}, row, column, 3)")

    def hashes(self) -> list[str]:
        """SHA-256 of image_id, start, vision and text with their shapes; empty for what is not given."""
        arrays = (self.image_id, self.start, self.vision, self.text)
        return [
            "" if a is None else hashlib.sha256(str(a.shape).encode() + np.ascontiguousarray(a).tobytes()).hexdigest()
            for a in arrays
        ]
