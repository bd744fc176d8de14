"""The vocabulary of the project: what travels between stages, checked when it is made.

Every record is a frozen dataclass of NumPy arrays and strings. Most are kept as an uncompressed npz without pickle
(np.savez writes the same bytes for the same arrays, which is what lets DVC recognise a result), captions as CSV and
reconstructions as a folder of PNGs. Rows are found by id, never by position.
"""

import csv
import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Literal, Self
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image

from spikevaediff.files.atomic import replacing

BLANK = -1  # image_id of a presentation of the grey screen (the frame number that the recordings give it)
LONGEST_WINDOW_S = 60.0  # of a time window, from onset: a longer one is in milliseconds


# What NumPy raises for a damaged npz. RuntimeError, zlib.error: a changed byte can look like encryption or compression.
# TypeError: it is not an archive.
DAMAGED = (BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, TypeError)


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _same_length(record: str, **columns: np.ndarray) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    _require(len(set(lengths.values())) <= 1, f"{record}: columns differ in length: {lengths}")


def _unique(record: str, name: str, ids: np.ndarray) -> None:
    values, counts = np.unique(ids, axis=0, return_counts=True)
    repeated = values[counts > 1]
    _require(len(repeated) == 0, f"{record}: {name} must be unique, but {repeated[:5].tolist()} occur more than once")


def few(values: Sequence[object] | np.ndarray) -> str:
    """The first eight values of a list, for a message: "3, 8, 21"."""
    return ", ".join(map(str, list(values[:8]))) + (", ..." if len(values) > 8 else "")


def group_edges(group_size: np.ndarray) -> np.ndarray:
    """Where consecutive groups of columns begin and end, int64 (n_groups + 1,): group g has columns edges[g] to
    edges[g + 1], its last one not included.
    """
    return np.concatenate([[0], np.cumsum(group_size)])


def rows_of(wanted: np.ndarray, present: np.ndarray, what: str) -> np.ndarray:
    """Positions of `wanted` ids among the `present` ones.

    Parameters
    ----------
    wanted, present : int64, (n,) and (m,)
        Ids; those present are unique.
    what : str
        Named in the error: the file or record that is searched.

    Returns
    -------
    int64, (n,)

    Raises
    ------
    KeyError
        An id is not there; the message counts and names the missing ones.
    """
    wanted, present = np.asarray(wanted), np.asarray(present)
    missing = np.setdiff1d(wanted, present)
    if len(missing):
        raise KeyError(f"{what} lacks image_id {few(missing)} ({len(missing)} of {len(wanted)} asked for)")
    order = np.argsort(present)
    return order[np.searchsorted(present, wanted, sorter=order)]


def same_windows(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether windows, (n_windows, 2) in seconds, are the same but for rounding, 1e-6 s: 0.05 + 0.1 is not 0.15."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=1e-6))


def read_npz(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of an npz without pickle, by name.

    Numbers of 16 bit, which only recordings of gigabytes have, stay in the file and are mapped into memory.

    Raises
    ------
    FileNotFoundError, ValueError
        The file is absent, a folder, or damaged (npz carries a checksum for each array).
    """
    path = Path(path)
    _require(not path.is_dir(), f"{path} is a folder, expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. Make it with: dvc repro")
    with path.open("rb") as raw:
        try:
            with np.load(raw, allow_pickle=False) as file, ZipFile(raw) as archive:
                half = {name: _mapped(path, archive, name) for name in file.files if _is_half(archive, name)}
                return {name: half[name] if name in half else file[name] for name in file.files}
        except DAMAGED as error:
            raise ValueError(f"{path} is damaged ({error}). Delete it and run: dvc repro") from error


def _is_half(archive: ZipFile, name: str) -> bool:
    if f"{name}.npy" not in archive.namelist():
        return False  # a damaged name, of which NumPy says more
    with archive.open(f"{name}.npy") as member:
        return _header(member)[2] == np.float16


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns lie together, and type of an npy whose numbers follow."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _mapped(path: Path, archive: ZipFile, name: str) -> np.ndarray:
    """An array that stays in its npz, in which np.savez does not compress it; writing to it changes no file."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as member:
        while member.read(1 << 24):  # compares the checksum
            pass
    with path.open("rb") as raw:
        raw.seek(info.header_offset + 26)  # lengths of name and extra field, before the content: zip's local header
        raw.seek(sum(struct.unpack("<HH", raw.read(4))), os.SEEK_CUR)
        shape, by_column, kind = _header(raw)
        order: Literal["F", "C"] = "F" if by_column else "C"
        return np.memmap(path, kind, "c", raw.tell(), shape, order).view(np.ndarray)


class _Npz:
    """Save and load for the records below: one array per field, names and dtypes kept."""

    def save(self, path: str | Path) -> None:
        """Write all fields to an npz that is there whole or not at all."""
        arrays = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a record.

        Raises
        ------
        FileNotFoundError, ValueError
            The file is absent, damaged or holds other fields.
        """
        arrays = read_npz(path)
        names = {f.name: f.type for f in fields(cls)}  # type: ignore[arg-type]
        _require(
            set(arrays) == set(names),
            f"{path} holds {sorted(arrays)}, expected the fields of {cls.__name__}: {sorted(names)}. Run: dvc repro",
        )
        return cls(**{name: array.item() if names[name] in (str, "str") else array for name, array in arrays.items()})


@dataclass(frozen=True)
class UnitTable:
    """The units (sorted single cells) of one or several sessions.

    unit_id, session_id : int64, (n_units,); a pair names a unit.
    area : str, (n_units,); acronym of the Allen Common Coordinate Framework without sub-structure ("LGd-sh" is "LGd").
    snr, isi_violations, amplitude_cutoff, presence_ratio, firing_rate : float64, (n_units,); as in the recording
        (firing_rate in Hz over the whole session), NaN where it has none.
    """

    unit_id: np.ndarray
    session_id: np.ndarray
    area: np.ndarray
    snr: np.ndarray
    isi_violations: np.ndarray
    amplitude_cutoff: np.ndarray
    presence_ratio: np.ndarray
    firing_rate: np.ndarray

    def __post_init__(self) -> None:
        _same_length("UnitTable", **{f.name: getattr(self, f.name) for f in fields(self)})
        _unique("UnitTable", "(session_id, unit_id)", np.column_stack([self.session_id, self.unit_id]))

    def __len__(self) -> int:
        return len(self.unit_id)

    def take(self, chosen: np.ndarray) -> Self:
        """The units at these positions, int64 (n,), or where this mask, bool (n_units,), is true."""
        return type(self)(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


@dataclass(frozen=True)
class Responses(_Npz):
    """Spike counts of every unit to every presentation, in one or several time windows.

    counts : uint16, (n_presentations, n_units, n_windows); float32 or float64 where responses are not counts (the
        activity of two-photon imaging, a mean count over presentations); float16, mapped from the file, where these
        would take gigabytes (single trials of thousands of voxels).
    image_id : int64, (n_presentations,); BLANK (-1) is the grey screen.
    presentation_id : int64, (n_presentations, n_sessions); row of the stimulus table of each session. With several
        sessions a row pairs presentations of the same image (a pseudo-population).
    session_id : int64, (n_sessions,).
    window_s : float64, (n_windows, 2); half-open [start, stop), seconds after onset.
    unit_* : the columns of UnitTable, (n_units,).
    """

    counts: np.ndarray
    image_id: np.ndarray
    presentation_id: np.ndarray
    session_id: np.ndarray
    window_s: np.ndarray
    unit_unit_id: np.ndarray
    unit_session_id: np.ndarray
    unit_area: np.ndarray
    unit_snr: np.ndarray
    unit_isi_violations: np.ndarray
    unit_amplitude_cutoff: np.ndarray
    unit_presence_ratio: np.ndarray
    unit_firing_rate: np.ndarray

    def __post_init__(self) -> None:
        _require(self.counts.ndim == 3, f"Responses: counts has shape {self.counts.shape}, expected 3 axes")
        _require(
            np.issubdtype(self.counts.dtype, np.integer) or self.counts.dtype.kind == "f",
            f"Responses: counts is {self.counts.dtype}, not whole numbers (floating-point ones for other responses)",
        )
        bad = np.flatnonzero(~np.isfinite(self.counts).all((1, 2)))
        _require(
            len(bad) == 0, f"Responses: counts are not finite in {len(bad)} presentations (rows {bad[:5].tolist()})"
        )
        _same_length("Responses", counts=self.counts, image_id=self.image_id, presentation_id=self.presentation_id)
        n_units, n_windows = self.counts.shape[1:]
        _require(
            self.presentation_id.shape[1:] == self.session_id.shape,
            f"Responses: presentation_id {self.presentation_id.shape} does not match {len(self.session_id)} sessions",
        )
        _require(
            self.window_s.shape == (n_windows, 2),
            f"Responses: window_s {self.window_s.shape} does not match {n_windows} windows of counts",
        )
        _require(
            bool(np.all(np.abs(self.window_s) <= LONGEST_WINDOW_S)),
            f"Responses: window_s is {self.window_s.tolist()}, expected seconds, up to {LONGEST_WINDOW_S:g} from onset",
        )
        _require(len(self.units) == n_units, f"Responses: {len(self.units)} units listed, {n_units} counted")

    @property
    def units(self) -> UnitTable:
        """The unit table, (n_units,) rows."""
        return UnitTable(**{f.name: getattr(self, f"unit_{f.name}") for f in fields(UnitTable)})

    @classmethod
    def make(
        cls,
        *,
        counts: np.ndarray,
        image_id: np.ndarray,
        presentation_id: np.ndarray,
        session_id: np.ndarray,
        window_s: np.ndarray,
        units: UnitTable,
    ) -> Self:
        """A record from its parts, with the unit table as one."""
        columns = {f"unit_{f.name}": getattr(units, f.name) for f in fields(UnitTable)}
        return cls(counts, image_id, presentation_id, session_id, window_s, **columns)


@dataclass(frozen=True)
class Stimuli(_Npz):
    """The images that were shown.

    source : str; the data set, named in every title ("simulated session, photographs" and the like).
    image_id : int64, (n_images,), unique.
    pixels : uint8, (n_images, height, width), grey.
    """

    source: str
    image_id: np.ndarray
    pixels: np.ndarray

    def __post_init__(self) -> None:
        _require(self.pixels.ndim == 3, f"Stimuli: pixels has shape {self.pixels.shape}, expected (image, row, column)")
        _require(self.pixels.dtype == np.uint8, f"Stimuli: pixels is {self.pixels.dtype}, expected uint8 in 0..255")
        _same_length("Stimuli", image_id=self.image_id, pixels=self.pixels)
        _unique("Stimuli", "image_id", self.image_id)

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Pixels of these images, uint8 (n, height, width); KeyError names the ids that are not there."""
        return self.pixels[rows_of(image_ids, self.image_id, "Stimuli")]


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
        if len(self.image_id) != len(self.sentences):
            raise ValueError(f"Captions: {len(self.image_id)} image_id, {len(self.sentences)} lists of sentences")
        if len(np.unique(self.image_id)) != len(self.image_id):
            raise ValueError("Captions: image_id must be unique; several sentences of an image stand together")

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


@dataclass(frozen=True)
class ImageSplit(_Npz):
    """Which images are tested in which fold.

    image_id : int64, (n_images,), sorted and unique.
    fold : int64, (n_images,); the fold that tests the image, or -1 for one that is only ever trained on.
    """

    image_id: np.ndarray
    fold: np.ndarray

    def __post_init__(self) -> None:
        _same_length("ImageSplit", image_id=self.image_id, fold=self.fold)
        _unique("ImageSplit", "image_id", self.image_id)
        _require(np.array_equal(self.image_id, np.sort(self.image_id)), "ImageSplit: image_id must be sorted")
        _require(not np.any(self.image_id == BLANK), "ImageSplit: the blank (-1) is not an image")
        folds = np.unique(self.fold[self.fold >= 0])
        _require(
            len(folds) and np.array_equal(folds, np.arange(len(folds))),
            f"ImageSplit: folds must be 0, 1, ... without a gap, got {folds.tolist()}",
        )
        for k in range(self.n_folds):
            _require(np.any(self.fold != k), f"ImageSplit: fold {k} leaves no image to train on")

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


@dataclass(frozen=True)
class Features(_Npz):
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
        _require(self.values.ndim == 2, f"Features: values has shape {self.values.shape}, expected (image, dim)")
        _require(self.values.dtype == np.float32, f"Features: values is {self.values.dtype}, expected float32")
        _same_length("Features", image_id=self.image_id, values=self.values)
        _same_length("Features", group_name=self.group_name, group_size=self.group_size)
        _unique("Features", "image_id", self.image_id)
        _require(
            int(self.group_size.sum()) == self.values.shape[1],
            f"Features: groups add up to {self.group_size.sum()} dims, values has {self.values.shape[1]}",
        )
        bad = self.image_id[~np.isfinite(self.values).all(1)]
        _require(len(bad) == 0, f"Features: {self.space} is not finite for image_id {bad[:8].tolist()}")

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
        _require(len(sizes) == 1, f"feature space {self.space} has groups of {sorted(sizes)} dims, not tokens")
        return self.rows(image_ids).reshape(len(image_ids), len(self.group_size), -1)

    def rows(self, image_ids: np.ndarray) -> np.ndarray:
        """Values of these images, float32 (n, n_dims); KeyError names the ids that are not there."""
        return self.values[rows_of(image_ids, self.image_id, f"feature space {self.space}")]


@dataclass(frozen=True)
class LibraryResponses(_Npz):
    """How encoding models would answer the images of the library, with a draw of their noise.

    image_id : int64, (n_images,), unique.
    values : float32, (n_models, n_images, n_columns); of the model of each fold, the last one of all images. Columns as
        in `preprocessing.response_matrix`.
    """

    image_id: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        _unique("LibraryResponses", "image_id", self.image_id)
        _require(
            self.values.ndim == 3 and self.values.shape[1] == len(self.image_id) and self.values.dtype == np.float32,
            f"LibraryResponses: values is {self.values.dtype} {self.values.shape}, expected float32 "
            f"(model, {len(self.image_id)} images, column)",
        )
        _require(np.isfinite(self.values).all(), "LibraryResponses: values are not finite")


@dataclass(frozen=True)
class LayerStudy(_Npz):
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
        _unique("LayerStudy", "image_id", self.image_id)
        _same_length("LayerStudy", layer_name=self.layer_name, layer_size=self.layer_size)
        _require(
            self.bits.shape == (n_images, n_layers) and np.isfinite(self.bits).all(),
            f"LayerStudy: bits is {self.bits.shape}, expected finite numbers ({n_images}, {n_layers})",
        )
        for name, pixels in (("true", self.true), ("from_spikes", self.from_spikes)):
            right = pixels.ndim == 5 and pixels.shape[1] == n_images and pixels.shape[4] == 3
            _require(
                right and pixels.dtype == np.uint8 and len(pixels) <= n_layers + 1,
                f"LayerStudy: {name} is {pixels.dtype} {pixels.shape}, expected uint8 (k, {n_images}, row, column, 3) "
                f"with at most {n_layers + 1} k",
            )


@dataclass(frozen=True)
class Samples(_Npz):
    """Samples of the posterior of every tested image.

    image_id : int64, (n_images,), unique.
    pixels : uint8, (n_images, n_samples, row, column), grey.
    """

    image_id: np.ndarray
    pixels: np.ndarray

    def __post_init__(self) -> None:
        _require(
            self.pixels.ndim == 4 and self.pixels.dtype == np.uint8,
            f"Samples: pixels is {self.pixels.dtype} {self.pixels.shape}, expected uint8 (image, sample, row, column)",
        )
        _same_length("Samples", image_id=self.image_id, pixels=self.pixels)
        _unique("Samples", "image_id", self.image_id)

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
        _require(
            self.pixels.ndim == 4 and self.pixels.shape[3] == 3 and self.pixels.dtype == np.uint8,
            f"Reconstructions: pixels is {self.pixels.dtype} {self.pixels.shape}, "
            f"expected uint8 (image, row, column, 3)",
        )
        _same_length("Reconstructions", image_id=self.image_id, pixels=self.pixels)
        _unique("Reconstructions", "image_id", self.image_id)

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
            _require(path.stem.isdecimal(), f"{path} is not named after an image_id, as in 0042.png. Remove it")
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
        _require(len(sizes) == 1, f"{folder} mixes image sizes {sorted(sizes)}")
        return cls(np.array([int(path.stem) for path in paths]), np.stack(pixels))
