"""Which images train and which test."""

from dataclasses import dataclass

import numpy as np

from spikevaediff.records.ids import BLANK, rows_of
from spikevaediff.records.npz import Npz, require, same_length, unique


@dataclass(frozen=True)
class ImageSplit(Npz):
    """Which images are tested in which fold.

    image_id : int64, (n_images,), sorted and unique.
    fold : int64, (n_images,); the fold that tests the image, or -1 for one that is only ever trained on.
    """

    image_id: np.ndarray
    fold: np.ndarray

    def __post_init__(self) -> None:
        same_length("ImageSplit", image_id=self.image_id, fold=self.fold)
        unique("ImageSplit", "image_id", self.image_id)
        require(np.array_equal(self.image_id, np.sort(self.image_id)), "ImageSplit: image_id must be sorted")
        require(not np.any(self.image_id == BLANK), "ImageSplit: the blank (-1) is not an image")
        folds = np.unique(self.fold[self.fold >= 0])
        require(
            len(folds) and np.array_equal(folds, np.arange(len(folds))),
            f"ImageSplit: folds must be 0, 1, ... without a gap, got {folds.tolist()}",
        )
        for k in range(self.n_folds):
            require(np.any(self.fold != k), f"ImageSplit: fold {k} leaves no image to train on")

    @property
    def n_folds(self) -> int:
        """Number of folds; 1 for a fixed hold-out."""
        return int(self.fold.max()) + 1

    @property
    def test_ids(self) -> np.ndarray:
        """All images that some fold tests, int64 (n_test,), sorted."""
        return self.image_id[self.fold >= 0]

    def fold_of(self, image_ids: np.ndarray) -> np.ndarray:
        """The fold that tests each of these images, int64 (n,); KeyError names the ids that are not there."""
        return self.fold[rows_of(image_ids, self.image_id, "the split")]

    def ids(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """(train_ids, test_ids) of a fold, int64, each sorted; together they are all images."""
        tested = self.fold == fold
        return self.image_id[~tested], self.image_id[tested]
