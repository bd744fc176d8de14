"""A finished run, as named arrays that are read when they are asked for."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from spikevaediff.api.named import Named
from spikevaediff.files.left_out import is_left_out
from spikevaediff.parameters.file import read
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, ImageSplit, Reconstructions, Responses, Samples, Stimuli
from spikevaediff.report.read import read_json

T = TypeVar("T")
_HALVES = "halves"  # artifacts/scores/halves.json compares halves of the responses and scores no run


class Results(Mapping[str, T], Generic[T]):
    """Results of one kind by name; each is read when it is asked for.

    Parameters
    ----------
    place : Path
        Folder of the results.
    suffix : str
        Of their files; nothing where each is a folder.
    read : callable
        What makes the result of a path.
    """

    def __init__(self, place: Path, suffix: str, read: Callable[[Path], T]) -> None:
        self._place, self._suffix, self._read = place, suffix, read

    def _names(self) -> list[str]:
        if not self._place.is_dir():
            return []
        paths = sorted(self._place.glob(f"*{self._suffix}"))
        paths = [path for path in paths if self._suffix or any(path.glob("*.png"))]
        names = [path.name.removesuffix(self._suffix) for path in paths if not is_left_out(path)]
        return [name for name in names if not name.startswith(".") and name != _HALVES]

    def __getitem__(self, name: str) -> T:
        path = self._place / f"{name}{self._suffix}"
        if name not in (there := self._names()):
            why = "; params.yaml leaves it out (parts)" if is_left_out(path) else ""
            raise KeyError(f"{self._place} has no {name!r}{why}; there are {', '.join(there) or 'none'}")
        return self._read(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"Results({', '.join(self._names())})"


@dataclass(frozen=True)
class Run:
    """A project folder in which the pipeline has run.

    root : Path; the folder of params.yaml, artifacts/ and vendor/.

    Ids of units are "session_id.unit_id"; those of latents "group.number", with group the name of a VDVAE layer or of a
    token. Everything is read from artifacts/ when it is asked for, and KeyError lists what there is.
    """

    root: Path

    @property
    def artifacts(self) -> Path:
        """The folder of results."""
        return self.root / "artifacts"

    @cached_property
    def params(self) -> dict[str, Any]:
        """params.yaml as it is now."""
        return read(self.root)

    @cached_property
    def stimuli(self) -> Stimuli:
        """The images that were shown, as a record, with the name of their source."""
        return Stimuli.load(self.artifacts / "images.npz")

    @property
    def shown(self) -> Named:
        """The images that were shown: uint8 (image_id, row, column), grey."""
        return _pictures(self.stimuli.image_id, self.stimuli.pixels)

    @cached_property
    def split(self) -> ImageSplit:
        """Which images are tested in which fold."""
        return ImageSplit.load(self.artifacts / "split.npz")

    @property
    def presentations(self) -> Results[Responses]:
        """Responses to single presentations, by population, as records."""
        return Results(self.artifacts / "responses", ".npz", Responses.load)

    @property
    def responses(self) -> Results[Named]:
        """Mean responses, by population: float64 (image_id, unit, window), label area. Windows are 0, 1, ... in order.

        Blanks are left out.
        """
        return Results(self.artifacts / "responses", ".npz", lambda path: mean_responses(Responses.load(path)))

    @property
    def features(self) -> Results[Named]:
        """What images or captions hold, by feature space: float32 (image_id, latent), label group."""
        return Results(self.artifacts / "features", ".npz", lambda path: named_features(Features.load(path)))

    @property
    def predictions(self) -> Results[Named]:
        """What was predicted out of fold, by regression: as `features`. Names with _raw are not renormalised."""
        return Results(self.artifacts / "predicted", ".npz", lambda path: named_features(Features.load(path)))

    @property
    def reconstructions(self) -> Results[Named]:
        """Reconstructed images, by run: uint8 (image_id, row, column, colour)."""
        return Results(self.artifacts / "decoded", "", lambda path: named_images(Reconstructions.load(path)))

    @property
    def samples(self) -> Results[Named]:
        """Samples of the posterior, by run: uint8 (image_id, sample, row, column), grey. Their spread says how sure a
        part of the picture is."""
        return Results(self.artifacts / "samples", ".npz", lambda path: _named_samples(Samples.load(path)))

    @property
    def scores(self) -> Results[Named]:
        """Scores of every image, by run: float64 (image_id, metric), label larger_is_better; without absent metrics."""
        return Results(self.artifacts / "scores", ".json", _scores)

    def __repr__(self) -> str:
        return f"Run({str(self.root)!r})"


def load(folder: str | Path = ".") -> Run:
    """A finished run.

    Parameters
    ----------
    folder : str or Path
        The project, or its artifacts/. A relative path is resolved once: a later os.chdir does not change the run.

    Raises
    ------
    FileNotFoundError
        The pipeline has not run there.
    """
    folder = Path(folder).resolve()
    root = folder.parent if folder.name == "artifacts" else folder
    for path in (root / "params.yaml", root / "artifacts/images.npz"):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist. Name a project in which the pipeline has run: dvc repro")
    return Run(root)


def mean_responses(responses: Responses) -> Named:
    """Mean response to every image, float64 (image_id, unit, window), without blanks."""
    image_id = np.unique(responses.image_id[responses.image_id != BLANK])
    n_units, n_windows = responses.counts.shape[1:]
    means = preprocessing.mean_responses(responses, image_id)
    values = means.reshape(len(image_id), n_windows, n_units).swapaxes(1, 2)
    labels = {"start_s": responses.window_s[:, 0], "stop_s": responses.window_s[:, 1]}
    return Named(
        values,
        {"image_id": image_id, "unit": unit_ids(responses.units), "window": np.arange(n_windows)},
        {"area": ("unit", responses.unit_area)} | {name: ("window", column) for name, column in labels.items()},
    )


def unit_ids(units: Any) -> np.ndarray:
    """The id of every unit of a record with unit_id and session_id: str "session_id.unit_id", (n_units,)."""
    return np.array([f"{s}.{u}" for s, u in zip(units.session_id.tolist(), units.unit_id.tolist(), strict=True)])


def named_features(features: Features) -> Named:
    """Features by id of image and name of latent."""
    groups = np.repeat(features.group_name, features.group_size)
    number = np.concatenate([np.arange(size) for size in features.group_size.tolist()])
    latent = np.char.add(np.char.add(groups.astype(str), "."), number.astype(str))
    return Named(features.values, {"image_id": features.image_id, "latent": latent}, {"group": ("latent", groups)})


def named_images(images: Reconstructions) -> Named:
    """Reconstructions by id of image."""
    return _pictures(images.image_id, images.pixels)


def _pictures(image_id: np.ndarray, pixels: np.ndarray) -> Named:
    names = ("image_id", "row", "column", "colour")[: pixels.ndim]
    colours = [np.array(["red", "green", "blue"])] * (pixels.ndim == 4)
    ids = [image_id, np.arange(pixels.shape[1]), np.arange(pixels.shape[2]), *colours]
    return Named(pixels, dict(zip(names, ids, strict=True)))


def _named_samples(samples: Samples) -> Named:
    axes = {name: np.arange(n) for name, n in zip(("sample", "row", "column"), samples.pixels.shape[1:], strict=True)}
    return Named(samples.pixels, {"image_id": samples.image_id} | axes)


def _scores(path: Path) -> Named:
    metrics = read_json(str(path))["metrics"]
    there = {name: metric for name, metric in metrics.items() if metric.get("scores")}
    if not there:
        raise ValueError(f"{path} has no scores of single images")
    image_id = sorted(map(int, next(iter(there.values()))["scores"]))
    values = np.array([[float(metric["scores"][str(i)]) for metric in there.values()] for i in image_id])
    senses = np.array([metric["larger_is_better"] for metric in there.values()])
    axes = {"image_id": np.array(image_id), "metric": np.array(list(there))}
    return Named(values, axes, {"larger_is_better": ("metric", senses)})
