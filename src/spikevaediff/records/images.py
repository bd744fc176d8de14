"""Images: shown, drawn from a posterior, reconstructed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from PIL import Image

from spikevaediff.files.atomic import replacing
from spikevaediff.records.ids import few, rows_of
from spikevaediff.records.npz import Npz, require, same_length, unique


@dataclass(frozen=True)
class Stimuli(Npz):
    """The images that were shown.

    source : str; the data set, named in every title ("simulated session, photographs" and the like).
    image_id : int64, (n_images,), unique.
    pixels : uint8, (n_images, height, width), grey.
    """

    source: str
    image_id: np.ndarray
    pixels: np.ndarray

    def __post_init__(self) -> None:
        require(self.pixels.ndim == 3, f"Stimuli: pixels has shape {self.pixels.shape}, expected (image, row, column)")
        require(self.pixels.dtype == np.uint8, f"Stimuli: pixels is {self.pixels.dtype}, expected uint8 in 0..255")
        same_length("Stimuli", image_id=self.image_id, pixels=self.pixels)
        unique("Stimuli", "image_id", self.image_id)

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Pixels of these images, uint8 (n, height, width); KeyError names the ids that are not there."""
        return self.pixels[rows_of(image_ids, self.image_id, "Stimuli")]


@dataclass(frozen=True)
class Samples(Npz):
    """Samples of the posterior of every tested image.

    image_id : int64, (n_images,), unique.
    pixels : uint8, (n_images, n_samples, row, column), grey.
    """

    image_id: np.ndarray
    pixels: np.ndarray

    def __post_init__(self) -> None:
        require(
            self.pixels.ndim == 4 and self.pixels.dtype == np.uint8,
            f"Samples: pixels is {self.pixels.dtype} {self.pixels.shape}, expected uint8 (image, sample, row, column)",
        )
        same_length("Samples", image_id=self.image_id, pixels=self.pixels)
        unique("Samples", "image_id", self.image_id)

    @classmethod
    def rounded(cls, image_id: np.ndarray, samples: np.ndarray) -> Self:
        """Of samples in [0, 1], float (n_images, n_samples, row, column).

        Raises
        ------
        ValueError
            Some are not finite: as uint8 they would be black images.
        """
        if lost := np.asarray(image_id)[~np.isfinite(samples).all((1, 2, 3))].tolist():
            raise ValueError(
                f"samples for image_id {few(lost)} are not finite: the search for an image diverged. Responses to it "
                f"may lie far outside those to other images (an artefact, or another unit of measure): leave these "
                f"presentations out. Otherwise lower decode.posterior.step_size"
            )
        return cls(image_id, np.round(samples * 255).astype(np.uint8))


@dataclass(frozen=True)
class Reconstructions:
    """Images made from brain activity; on disk a folder with one PNG per image, 0042.png.

    image_id : int64, (n_images,), unique.
    pixels : uint8, (n_images, height, width, 3).
    """

    image_id: np.ndarray
    pixels: np.ndarray

    def __post_init__(self) -> None:
        require(
            self.pixels.ndim == 4 and self.pixels.shape[3] == 3 and self.pixels.dtype == np.uint8,
            f"Reconstructions: pixels is {self.pixels.dtype} {self.pixels.shape}, "
            f"expected uint8 (image, row, column, 3)",
        )
        same_length("Reconstructions", image_id=self.image_id, pixels=self.pixels)
        unique("Reconstructions", "image_id", self.image_id)

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Pixels of these images, uint8 (n, height, width, 3); KeyError names the ids that are not there."""
        return self.pixels[rows_of(image_ids, self.image_id, "Reconstructions")]

    def save(self, folder: str | Path) -> None:
        """Write one PNG per image; the folder is replaced whole."""
        with replacing(folder, folder=True) as temporary:
            for image_id, pixels in zip(self.image_id.tolist(), self.pixels, strict=True):
                Image.fromarray(pixels).save(temporary / f"{image_id:04d}.png")

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a folder of PNGs, sorted by image_id.

        Raises
        ------
        FileNotFoundError, ValueError
            There is no such folder, it holds no image, a file is damaged, or the sizes differ.
        """
        folder = Path(folder)
        paths = list(folder.glob("*.png"))
        if not paths:
            raise FileNotFoundError(f"{folder} holds no PNG. Make it with: dvc repro")
        for path in paths:
            require(path.stem.isdecimal(), f"{path} is not named after an image_id, as in 0042.png. Remove it")
        paths.sort(key=lambda path: int(path.stem))
        pixels = []
        for path in paths:
            try:
                with Image.open(path) as image:
                    pixels.append(np.asarray(image.convert("RGB")))
            except PermissionError:
                raise  # it is not damaged
            except (OSError, SyntaxError, ValueError) as error:
                raise ValueError(f"{path} is damaged ({error}). Delete {folder} and run: dvc repro") from error
        sizes = {p.shape for p in pixels}
        require(len(sizes) == 1, f"{folder} mixes image sizes {sorted(sizes)}")
        return cls(np.array([int(path.stem) for path in paths]), np.stack(pixels))
