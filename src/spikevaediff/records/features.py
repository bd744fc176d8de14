"""Features of images, measured or predicted, and what each layer of the VDVAE carries."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from spikevaediff.records.ids import rows_of
from spikevaediff.records.npz import Npz, require, same_length, unique


@dataclass(frozen=True)
class Features(Npz):
    """One feature space of a set of images, measured or predicted.

    space : str; vdvae, vision or text: what was measured, or is predicted.
    image_id : int64, (n_images,), unique.
    values : float32, (n_images, n_dims).
    group_name, group_size : str and int64, (n_groups,); consecutive dims that belong together: a VDVAE layer, a token.
    """

    space: str
    image_id: np.ndarray
    values: np.ndarray
    group_name: np.ndarray
    group_size: np.ndarray

    def __post_init__(self) -> None:
        require(self.values.ndim == 2, f"Features: values has shape {self.values.shape}, expected (image, dim)")
        require(self.values.dtype == np.float32, f"Features: values is {self.values.dtype}, expected float32")
        same_length("Features", image_id=self.image_id, values=self.values)
        same_length("Features", group_name=self.group_name, group_size=self.group_size)
        unique("Features", "image_id", self.image_id)
        require(
            int(self.group_size.sum()) == self.values.shape[1],
            f"Features: groups add up to {self.group_size.sum()} dims, values has {self.values.shape[1]}",
        )
        bad = self.image_id[~np.isfinite(self.values).all(1)]
        require(len(bad) == 0, f"Features: {self.space} is not finite for image_id {bad[:8].tolist()}")

    @classmethod
    def of_tokens(cls, space: str, image_id: np.ndarray, tokens: np.ndarray) -> Self:
        """A space made of tokens, float32 (n_images, n_tokens, width): token after token, one group per token."""
        n_images, n_tokens, width = tokens.shape
        names, sizes = np.array([f"{token:02d}" for token in range(n_tokens)]), np.full(n_tokens, width)
        return cls(space, image_id, tokens.reshape(n_images, n_tokens * width), names, sizes)

    @property
    def varies(self) -> bool:
        """Whether any dim differs between images; texts do not where no image has a caption."""
        return bool(np.any(self.values != self.values[:1]))

    def tokens(self, image_ids: np.ndarray) -> np.ndarray:
        """Values of these images by token, float32 (n, n_tokens, width); ValueError where groups differ in size."""
        sizes = set(self.group_size.tolist())
        require(len(sizes) == 1, f"feature space {self.space} has groups of {sorted(sizes)} dims, not tokens")
        return self.rows(image_ids).reshape(len(image_ids), len(self.group_size), -1)

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Values of these images, float32 (n, n_dims); KeyError names the ids that are not there."""
        return self.values[rows_of(image_ids, self.image_id, f"feature space {self.space}")]


@dataclass(frozen=True)
class LayerStudy(Npz):
    """What each layer of the VDVAE carries, on some images; k counts the layers that are given, from the coarsest.

    image_id : int64, (n_images,), unique.
    layer_name, layer_size : str and int64, (n_layers,); numbers per image.
    bits : float64, (n_images, n_layers); information in a latent, the divergence of posterior from prior.
    true : uint8, (n_layers + 1, n_images, size, size, 3); from the first k latents of the image itself.
    from_spikes : uint8, (n_predicted + 1, n_images, size, size, 3); from the first k predicted ones.
    """

    image_id: np.ndarray
    layer_name: np.ndarray
    layer_size: np.ndarray
    bits: np.ndarray
    true: np.ndarray
    from_spikes: np.ndarray

    def __post_init__(self) -> None:
        n_images, n_layers = len(self.image_id), len(self.layer_name)
        unique("LayerStudy", "image_id", self.image_id)
        same_length("LayerStudy", layer_name=self.layer_name, layer_size=self.layer_size)
        require(
            self.bits.shape == (n_images, n_layers) and np.isfinite(self.bits).all(),
            f"LayerStudy: bits is {self.bits.shape}, expected finite numbers ({n_images}, {n_layers})",
        )
        for name, pixels in (("true", self.true), ("from_spikes", self.from_spikes)):
            right = pixels.ndim == 5 and pixels.shape[1] == n_images and pixels.shape[4] == 3
            require(
                right and pixels.dtype == np.uint8 and len(pixels) <= n_layers + 1,
                f"LayerStudy: {name} is {pixels.dtype} {pixels.shape}, expected uint8 (k, {n_images}, row, column, 3) "
                f"with at most {n_layers + 1} k",
            )
