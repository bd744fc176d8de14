"""Sentences about images."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from spikevaediff.files.atomic import replacing
from spikevaediff.records.ids import rows_of
from spikevaediff.records.npz import require


@dataclass(frozen=True)
class Captions:
    """Sentences about images; on disk a captions.csv (image_id,caption), with one line per sentence.

    An image that several observers described has several lines. A caption may be empty: nothing is known of the image,
    and a text feature space gives the context that guidance takes as unconditional. Where all of them are empty,
    nothing can be learnt of texts, and the second stage is guided by vision alone.

    image_id : int64, (n_images,), unique.
    sentences : tuple (n_images,) of tuples of str; not one is empty, but an image may have none.
    """

    image_id: np.ndarray
    sentences: tuple[tuple[str, ...], ...]

    def __post_init__(self) -> None:
        n_images, n_lists = len(self.image_id), len(self.sentences)
        require(n_images == n_lists, f"Captions: {n_images} image_id, {n_lists} lists of sentences")
        require(
            len(np.unique(self.image_id)) == n_images,
            "Captions: image_id must be unique; several sentences of an image stand together",
        )

    @property
    def described(self) -> np.ndarray:
        """The images that have a sentence, int64 (n_described,)."""
        return self.image_id[[bool(of_image) for of_image in self.sentences]]

    def of(self, image_ids: np.ndarray) -> Self:
        """The captions of these images, in their order; KeyError names the ids that are not there."""
        rows = rows_of(image_ids, self.image_id, "captions.csv")
        return type(self)(np.asarray(image_ids), tuple(self.sentences[row] for row in rows.tolist()))

    def mean_context(self, contexts: Callable[[list[str]], np.ndarray]) -> np.ndarray:
        """The mean over the sentences of each image of what a text network says of them.

        Parameters
        ----------
        contexts : function of a list of sentences
            Gives float32 (n_sentences, n_tokens, width). An image without a sentence counts as an empty one. Each
            distinct sentence is asked for once, so images with the same sentences get identical contexts.

        Returns
        -------
        float32, (n_images, n_tokens, width)
        """
        sentences = [of_image or ("",) for of_image in self.sentences]
        place = {one: row for row, one in enumerate(dict.fromkeys(one for of_image in sentences for one in of_image))}
        found = contexts(list(place))
        means = np.zeros((len(sentences), *found.shape[1:]), np.float32)
        for mean, of_image in zip(means, sentences, strict=True):
            for one in of_image:
                mean += found[place[one]]
            mean /= np.float32(len(of_image))
        return means

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a captions.csv.

        Parameters
        ----------
        path : str or Path
            UTF-8, with the header image_id,caption; captions with commas in double quotes.

        Returns
        -------
        Captions
            Images in the order of their first line; white space at the ends of captions is gone.

        Raises
        ------
        FileNotFoundError, ValueError
            No file, another header, a line without exactly two values, an image_id that is not a whole number, or bytes
            that are not UTF-8; the message names the line.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro acquire")
        found: dict[int, list[str]] = {}
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = csv.reader(file, strict=True)
                if (header := next(lines, [])) != ["image_id", "caption"]:
                    raise ValueError(f"{path} begins with {','.join(header)!r}, expected image_id,caption")
                for values in lines:
                    where = f"{path}, line {lines.line_num}"
                    if len(values) != 2:
                        raise ValueError(
                            f"{where} has {len(values)} values, expected image_id,caption. Put a caption that holds "
                            f'commas in "double quotes"'
                        )
                    if not values[0].strip().isdecimal():
                        raise ValueError(f"{where}: image_id is {values[0]!r}, expected a whole number")
                    sentence = values[1].strip()
                    found.setdefault(int(values[0]), []).extend([sentence] * bool(sentence))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} is not UTF-8 ({error}). Save it as UTF-8") from error
        except csv.Error as error:
            raise ValueError(f"{path}, line {lines.line_num} cannot be read ({error}): check its quotes") from error
        return cls(np.array(list(found), np.int64), tuple(map(tuple, found.values())))

    def save(self, path: str | Path) -> None:
        """Write a captions.csv by image_id; the file appears whole or not at all."""
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            lines = csv.writer(file, lineterminator="\n")
            lines.writerow(["image_id", "caption"])
            for row in np.argsort(self.image_id).tolist():
                lines.writerows([self.image_id[row], sentence] for sentence in self.sentences[row] or ("",))
