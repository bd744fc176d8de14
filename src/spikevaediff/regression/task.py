"""One regression of the pipeline: which features from which units by which method, and the rows that it learns from."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from spikevaediff.parameters.options import modules
from spikevaediff.recordings import preprocessing
from spikevaediff.records import BLANK, Features, ImageSplit, LibraryResponses, Responses, few, rows_of
from spikevaediff.regression import folds
from spikevaediff.regression.cross_validation import Prediction, Weights
from spikevaediff.regression.fits import Fit
from spikevaediff.regression.parts import parts
from spikevaediff.regression.renormalise import unusual_factors

# Keys of a section regress.<space> that are not for the fit, and what a fit is given besides.
OWN = ("method", "transform", "renormalise", "library", "library_weights")
GIVEN = ("y_row", "group_size", "n_scored", "library_weight")
BLOCK_BYTES = 1 << 28  # of presentations in float64 at a time


@dataclass(frozen=True)
class Task:
    """What one regression predicts, from what, and how.

    space, population : str.
    responses : Responses, of the population, presentation by presentation.
    split : ImageSplit.
    features : Features, the true ones, of all images of the split.
    library : LibraryResponses and Features of the same images, or None.
    weights : list of float, of rows of the library, that are offered; none: they count as real ones do.
    left_out : LibraryResponses of models without some of the training images, which choose between these; or None.
    method : module of spikevaediff.regression.methods.
    transform, renormalise : str, as preprocessing.response_matrix and regression.renormalise take them.
    options : keyword arguments of method.fit, but y_row and n_scored.
    """

    space: str
    population: str
    responses: Responses
    split: ImageSplit
    features: Features
    library: tuple[LibraryResponses, Features] | None
    weights: list[float]
    left_out: LibraryResponses | None
    method: ModuleType
    transform: str
    renormalise: str
    options: dict[str, Any]

    @cached_property
    def presentations(self) -> np.ndarray:
        """Responses, float64 (n_presentations, n_columns)."""
        return preprocessing.response_matrix(self.responses, transform=self.transform)

    @cached_property
    def x(self) -> np.ndarray:
        """Mean responses to images, float64 (n_images, n_columns), in the order of split.image_id.

        A few units at a time: in float64, single trials of thousands of voxels may not fit into memory.
        """
        responses, wanted = self.responses, self.split.image_id
        n_presentations, n_units, n_windows = responses.counts.shape
        width = max(1, BLOCK_BYTES // (8 * n_presentations * n_windows))
        means = []
        for first in range(0, n_units, width):
            some = slice(first, first + width)
            columns = {name: getattr(responses, name)[some] for name in vars(responses) if name.startswith("unit_")}
            part = replace(responses, counts=responses.counts[:, some], **columns)
            mean = preprocessing.mean_responses(part, wanted, transform=self.transform)
            means.append(mean.reshape(len(wanted), n_windows, -1))
        return np.concatenate(means, axis=2).reshape(len(wanted), -1)

    @cached_property
    def y(self) -> np.ndarray:
        """Features of the images, then of the library, float32 (n_images + n_library, n_dims)."""
        features, wanted = self.features, self.split.image_id
        # Without a copy where there is nothing to choose: of 10,000 images they may fill half the memory.
        real = features.values if np.array_equal(features.image_id, wanted) else features.rows(wanted)
        return real if self.library is None else np.concatenate([real, self.library[1].values])

    @property
    def context(self) -> dict[str, Any]:
        """What a fit needs besides its scale to be applied to other responses: of new_responses.with_context."""
        return {
            "transform": self.transform,
            "space": self.space,
            "group_name": self.features.group_name,
            "responses": self.responses,
            "how": self.renormalise,
            "image_id": self.split.image_id,
        }

    def record(self, values: np.ndarray) -> Features:
        """Values (n_test, n_dims) as features of the test images."""
        return replace(self.features, image_id=self.split.test_ids, values=values)

    def report_line(self, found: Prediction, fit: Fit) -> str:
        """A line about a prediction and the fit to all images, for those who run it."""
        # Many at the largest are noise, by right; many at the smallest ask for a wider grid.
        edges = ", ".join(f"{share:.0%} of targets at the {edge} penalty" for edge, share in fit.edge_share.items())
        chosen = [float(of_fold["library_weight"]) for of_fold in found.choices if "library_weight" in of_fold]
        weights = f", at weights of {', '.join(f'{w:g}' for w in chosen)} in the folds" if chosen else ""
        constant = f" ({fit.n_constant} that never vary are dropped)" if fit.n_constant else ""
        nothing = (
            ""
            if self.features.varies
            else f"; {self.space} is the same for every image, which leaves nothing to predict"
        )
        factors = np.stack([chosen["renormalise_factor"] for chosen in found.choices])
        spread = unusual_factors(factors, self.features.group_name) if self.renormalise == "train" else ""
        and_library = (
            f" and {len(self.library[1].image_id)} images of library and movies{weights}" if self.library else ""
        )
        shape = (len(self.responses.image_id), self.x.shape[1])
        return (
            f"responses {shape} of {self.population} units{constant}{and_library} predict "
            f"{found.raw[0].shape} of {self.space}, small matrices in {fit.precision}; {edges}{nothing}{spread}"
        )

    @cached_property
    def simulated(self) -> np.ndarray | None:
        """Responses to the library, float32 (n_folds + 1, n_library, n_columns); None without one."""
        if self.library is None:
            return None
        responses, features = self.library
        return responses.values[:, rows_of(features.image_id, responses.image_id, "the library's responses")]

    @cached_property
    def library_weights(self) -> Weights | None:
        """What chooses the weight of the library; None where its rows count as real ones do, or there are none."""
        if self.library is None or self.left_out is None:
            return None
        rows = rows_of(self.library[1].image_id, self.left_out.image_id, "the library's responses")
        sets = [folds.trained(self.split, fold) for fold in [*range(self.split.n_folds), None]]
        ends = np.cumsum([len(parts(train)) for train in sets])
        if ends[-1] != len(self.left_out.values):
            raise ValueError(
                f"{len(self.left_out.values)} models without some training images answered the library, expected "
                f"{ends[-1]}. Ask them again with: dvc repro library_responses@{self.population}"
            )
        return Weights(self.weights, np.split(self.left_out.values[:, rows], ends[:-1]))


def options_of(regress: Mapping[str, Any]) -> dict[str, Any]:
    """A section regress.<space> with the options of its method alone.

    Options of all methods stand side by side there, so that the name alone switches from one to another.

    Raises
    ------
    KeyError
        The section does not name a method.
    """
    methods = modules("regression/methods")
    if "method" not in regress:
        raise KeyError(f"params.yaml: a section of regress lacks method; choose one of {', '.join(methods)}")
    options = {name: value for name, value in regress.items() if name not in methods}
    return options | (regress.get(regress["method"]) or {})


def load(
    folder: str | Path,
    space: str,
    population: str,
    regress: Mapping[str, Any],
    method: ModuleType,
    *,
    with_library: bool = True,
) -> Task:
    """A regression from the results of earlier stages.

    Parameters
    ----------
    folder : str or Path
        Where these lie: artifacts.
    space, population : str
    regress : mapping
        Section regress.<space> of params.yaml.
    method : module
        The one that the section names.
    with_library : bool
        False: real images alone, whatever the section says.

    Raises
    ------
    FileNotFoundError, ValueError
        A record is absent or damaged, or they are not of one set of images, units and dims.
    """
    folder = Path(folder)
    responses = Responses.load(folder / "responses" / f"{population}.npz")
    split = ImageSplit.load(folder / "split.npz")
    features = Features.load(folder / "features" / f"{space}.npz")
    check_same_images(responses, split, features, population)
    options = {name: value for name, value in options_of(regress).items() if name not in OWN}
    if "bands" in inspect.signature(method.fit).parameters:
        options["bands"] = bands_of(responses, options["bands"])
    n_columns = responses.counts.shape[1] * responses.counts.shape[2]
    library = library_of(folder, space, population, regress, features, n_columns) if with_library else None
    weights = list(regress["library_weights"])
    return Task(
        space,
        population,
        responses,
        split,
        features,
        library,
        weights,
        LibraryResponses.load(folder / "library" / f"left_out_{population}.npz") if library and weights else None,
        method,
        regress["transform"],
        regress["renormalise"],
        options | {"group_size": features.group_size},
    )


def library_of(
    folder: Path, space: str, population: str, regress: Mapping[str, Any], features: Features, n_columns: int
) -> tuple[LibraryResponses, Features] | None:
    """The rows that regress.<space>.library asks for; None where that is 0, or nothing can be learnt of the space.

    Parameters
    ----------
    folder : Path
        As in `load`.
    space, population, regress
        As in `load`.
    features : Features
        The true ones of real images.
    n_columns : int
        Of the responses, (unit, window).

    Raises
    ------
    ValueError
        A transform that cannot take them, or rows of other features or units.
    """
    if not regress["library"]:
        return None
    if regress["transform"] != "none":
        raise ValueError(
            f"regress.{space}.transform must be none: encoding models, which answer the library, predict counts"
        )
    if not features.varies:
        return None
    found = Features.load(folder / "library" / f"{space}.npz")
    responses = LibraryResponses.load(folder / "library" / f"responses_{population}.npz")
    if not np.array_equal(found.group_size, features.group_size) or responses.values.shape[2] != n_columns:
        raise ValueError(
            f"the library has {found.values.shape[1]} dims of {space} and {responses.values.shape[2]} columns of "
            f"{population}, expected {features.values.shape[1]} and {n_columns}. Make it again with: dvc repro library"
        )
    return responses, found


def bands_of(responses: Responses, kind: str) -> np.ndarray:
    """The band of every column of the response matrix (all units of the first window, then of the next).

    Parameters
    ----------
    responses : Responses
    kind : "area" or "time_bin"

    Returns
    -------
    str, (n_windows * n_units,)

    Raises
    ------
    ValueError
        Bands are neither areas nor time bins.
    """
    n_windows = len(responses.window_s)
    if kind == "area":
        return np.tile(responses.units.area, n_windows)
    if kind == "time_bin":
        names = [f"{start:.3f} to {stop:.3f} s" for start, stop in responses.window_s.tolist()]
        return np.repeat(names, len(responses.units))
    raise ValueError(f"params.yaml: bands are {kind!r}, expected area or time_bin")


def check_same_images(responses: Responses, split: ImageSplit, features: Features, population: str) -> None:
    """Refuse records that are not of one set of images: those left out would go unnoticed.

    Parameters
    ----------
    responses, split, features
        Of one run.
    population : str
        Names the file of the responses.

    Raises
    ------
    ValueError
        Names the images that were shown but are not split, and those that are split but have no response or feature.
    """
    shown = np.setdiff1d(responses.image_id, [BLANK])
    there = np.union1d(split.image_id, features.image_id)  # a split may leave images out that look like a tested one
    for what, present, cure, wanted, where in (
        ("artifacts/images.npz", there, "acquire", shown, "the sessions show"),
        (f"artifacts/responses/{population}.npz", shown, "acquire", split.image_id, "artifacts/images.npz holds"),
        (
            f"feature space {features.space}",
            features.image_id,
            "features",
            split.image_id,
            "artifacts/images.npz holds",
        ),
    ):
        missing = np.setdiff1d(wanted, present)
        if len(missing):
            names = few(missing)
            raise ValueError(
                f"{what} lacks image_id {names} ({len(missing)} of {len(wanted)} that {where}). "
                f"Make it again with: dvc repro {cure}"
            )
