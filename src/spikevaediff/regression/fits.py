"""What a regression learned: enough to predict from new responses, and how well held-out images were predicted.

Weights of all targets are never kept (units x targets: 365 MB for the latents of the published VDVAE). A prediction is
operator @ distinct targets, so a fit holds the small factors of the operator and the targets themselves: an array in
memory is saved inside the fit, which then stands alone; a memory map is saved as path, layout and SHA-256, and checked
when the fit is loaded.
"""

import hashlib
import itertools
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from spikevaediff.files.atomic import replacing
from spikevaediff.records import group_edges, read_npz
from spikevaediff.regression import blocks, components, designs, predictions, targets
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.designs import Design


@dataclass(frozen=True)
class Fit:
    """A fitted regression; made by `fit` of a module in spikevaediff.regression, used by its `predict`.

    method : name of that module.
    group_size : int64, (n_groups,), consecutive targets.
    alphas : float64, (n_alphas,), the penalties offered, ascending.
    candidate : int32, (n_targets,), smoother * n_alphas + penalty that was chosen; by alpha_scope component, that of
        the component which carries most of the target's variance.
    loo_r2, loo_correlation : (n_targets,), of left-out rows, at the chosen candidate; NaN for a constant target. The
        mean of the other images is a prediction, too: where nothing can be predicted R2 is about -2/n_images and the
        correlation goes to -1.
    group_r2 : float64, (n_groups, n_candidates), 1 - summed loss / summed squares of a group: the curve behind the
        choice; NaN for a group of constant targets. Where every group has a smoother of its own (banded), only its own
        candidates: (n_groups, n_alphas).
    dof : float64, (n_candidates,), effective degrees of freedom, trace of H, intercept included.
    gain : float64, (n_smoothers, n_alphas, r); coupling : float64, (n_smoothers, r, n_images), empty where
        coordinates are coupled already; share : float64, (n_images,), weight of an image in the mean of the targets.
        The prediction from coordinates c of a response is share'z + c gain coupling (z - share'z).
    parameters : the method's own arrays: how responses become coordinates.
    y : (n_rows_y, n_targets) targets as they were given; images : int64, (n_images,), the rows of y used.
    """

    method: str
    group_size: np.ndarray
    alphas: np.ndarray
    candidate: np.ndarray
    loo_r2: np.ndarray
    loo_correlation: np.ndarray
    group_r2: np.ndarray
    dof: np.ndarray
    gain: np.ndarray
    coupling: np.ndarray
    share: np.ndarray
    parameters: dict[str, np.ndarray]
    y: np.ndarray
    images: np.ndarray

    @property
    def alpha(self) -> np.ndarray:
        """The penalty of each target, float64 (n_targets,)."""
        return self.alphas[self.candidate % len(self.alphas)]

    @property
    def target_dof(self) -> np.ndarray:
        """Effective degrees of freedom of the fit of each target, float32 (n_targets,); of `dof`."""
        return self.dof[self.candidate].astype(np.float32)

    @property
    def precision(self) -> str:
        """Dtype that the factorisation was computed in, "float64" or "float32"; see solver.centred."""
        return str(self.coupling.dtype)

    @property
    def n_scored(self) -> int:
        """The first of `images`, which were left out in turn; the others only took part in the fit."""
        return int(self.parameters.get("n_scored", len(self.images)))

    @property
    def n_constant(self) -> int:
        """Units that never varied in the responses of the fit and were dropped."""
        return len(self.parameters.get("constant", ()))

    @property
    def library_weight(self) -> float:
        """Weight of a row that is never left out beside one that is; 0 where there are none."""
        return float(self.parameters.get("library_weight", self.n_scored < len(self.images)))

    @property
    def edge_share(self) -> dict[str, float]:
        """Share of targets whose penalty is the smallest or the largest one offered.

        Many at the largest are noise, by right; many at the smallest ask for a wider grid. Zero for a grid of one.
        """
        if len(self.alphas) == 1:
            return {"smallest": 0.0, "largest": 0.0}
        position = self.candidate % len(self.alphas)
        return {"smallest": float(np.mean(position == 0)), "largest": float(np.mean(position == len(self.alphas) - 1))}

    def summary(self) -> dict[str, np.ndarray]:
        """What reports need, without targets and factors: arrays by name, ready for np.savez.

        alpha, loo_r2, loo_correlation, target_dof (n_targets,); alphas (n_alphas,); dof (n_candidates,); group_size
        (n_groups,); group_r2 (n_groups, n_candidates); group_loo_correlation, group_loo_r2, group_log10_alpha
        (n_groups,), means over targets; n_constant; convergence; band_name and band_weight, or widths, where the method
        has them.
        """
        edges = group_edges(self.group_size)

        def by_group(values: np.ndarray) -> np.ndarray:
            means = []
            for start, stop in itertools.pairwise(edges):
                part = values[start:stop]
                part = part[np.isfinite(part)]
                means.append(part.mean(dtype=np.float64) if len(part) else np.nan)
            return np.array(means)

        return {
            "alpha": self.alpha,
            "loo_r2": self.loo_r2,
            "loo_correlation": self.loo_correlation,
            "target_dof": self.target_dof,
            "alphas": self.alphas,
            "dof": self.dof,
            "group_size": self.group_size,
            "group_r2": self.group_r2,
            "group_loo_r2": by_group(self.loo_r2),
            "group_loo_correlation": by_group(self.loo_correlation),
            "group_log10_alpha": by_group(np.log10(self.alpha)),
            "n_constant": np.array(self.n_constant),
            "convergence": self.convergence,
        } | {name: self.parameters[name] for name in ("band_name", "band_weight", "widths") if name in self.parameters}

    @property
    def convergence(self) -> np.ndarray:
        """The gradient search, float64 (n_searches, max_steps + 1, 2): 1 - R2 left out and largest derivative, by step.

        One search per group where groups have weights of their own; NaN after the last step; no search: (0, 0, 2).
        """
        return self.parameters.get("convergence", np.zeros((0, 0, 2)))

    def save(self, path: str | Path) -> None:
        """Write the fit to an uncompressed npz without pickle; see the module docstring for the targets."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("parameters", "y")}
        arrays |= {f"parameter_{name}": value for name, value in self.parameters.items()}
        if isinstance(self.y, np.memmap) and self.y.filename is not None:
            order = "C" if self.y.flags.c_contiguous else "F"
            arrays |= {
                "y_path": str(Path(self.y.filename).resolve()),
                "y_dtype": self.y.dtype.str,
                "y_shape": np.array(self.y.shape),
                "y_offset": self.y.offset,
                "y_order": order,
                "y_sha256": _sha256(self.y),
            }
        else:
            arrays["y"] = np.asarray(self.y)
        with replacing(path) as temporary:
            np.savez(temporary, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})


def _sha256(y: np.ndarray) -> str:
    """Of all values, row by row."""
    digest = hashlib.sha256()
    for row in y:
        digest.update(np.ascontiguousarray(row).data)
    return digest.hexdigest()


def load(path: str | Path) -> Fit:
    """Read a fit.

    Raises
    ------
    FileNotFoundError
        The fit, or the file of targets that it refers to, is not there.
    ValueError
        The fit is damaged, or the targets it refers to have changed.
    """
    path = Path(path)
    arrays = read_npz(path)
    if "y_path" in arrays:
        y_path = Path(str(arrays.pop("y_path")))
        if not y_path.is_file():
            raise FileNotFoundError(
                f"{path} refers to targets in {y_path}, which does not exist. Put them back or fit again."
            )
        shape = tuple(arrays.pop("y_shape").tolist())
        layout = {
            "dtype": str(arrays.pop("y_dtype")),
            "offset": int(arrays.pop("y_offset")),
            "order": str(arrays.pop("y_order")),
        }
        try:
            y: np.ndarray = np.memmap(y_path, mode="r", shape=shape, **layout)  # type: ignore[call-overload]
        except ValueError as error:
            raise ValueError(f"{y_path} is shorter than the targets that {path} was fitted to. Fit again.") from error
        if _sha256(y) != str(arrays.pop("y_sha256")):
            raise ValueError(f"{y_path} has changed since {path} was fitted to it. Fit again.")
    elif "y" in arrays:
        y = arrays.pop("y")
    else:
        raise ValueError(f"{path} is not a fit: it holds {sorted(arrays)[:6]}")
    parameters = {
        name.removeprefix("parameter_"): arrays.pop(name) for name in list(arrays) if name.startswith("parameter_")
    }
    expected = {f.name for f in fields(Fit)} - {"parameters", "y"}
    if set(arrays) != expected:
        raise ValueError(f"{path} is not a fit: it holds {sorted(arrays)}, expected {sorted(expected)}")
    method = str(arrays.pop("method"))
    return Fit(method=method, parameters=parameters, y=y, **arrays)


def from_scores(
    method: str,
    scores: targets.Scores,
    *,
    design: Design,
    y: np.ndarray,
    group_size: np.ndarray,
    alphas: np.ndarray,
    eigenvalue: np.ndarray,
    coupling: np.ndarray,
    parameters: dict[str, np.ndarray],
) -> Fit:
    """Put a fit together.

    Parameters
    ----------
    eigenvalue : float64, (n_smoothers, r)
    coupling : float64, (n_smoothers, r, n_images)
    scores, design, y, group_size, alphas, parameters
        As in Fit and where they come from.
    """
    gain = 1.0 / (eigenvalue[:, None, :] + alphas[None, :, None])
    constant = scores.squares == 0
    starts = group_edges(group_size)[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = np.where(constant, np.nan, 1.0 - scores.loss / scores.squares)
        of_group = np.add.reduceat(scores.squares, starts, dtype=np.float64)[:, None]
        group_r2 = np.where(of_group == 0, np.nan, 1.0 - scores.group_loss / of_group)
    if design.n_scored < len(design.images):
        parameters = parameters | {"n_scored": np.array(design.n_scored)}
    return Fit(
        method=method,
        group_size=group_size,
        alphas=alphas,
        candidate=scores.candidate,
        loo_r2=r2.astype(scores.correlation.dtype),
        loo_correlation=np.where(constant, np.nan, scores.correlation),
        group_r2=group_r2,
        dof=(1.0 + np.einsum("br,bar->ba", eigenvalue, gain)).ravel(),
        gain=gain,
        coupling=coupling,
        share=design.share,
        parameters=parameters,
        y=y,
        images=design.images,
    )


def without_scores(
    method: str,
    *,
    design: Design,
    y: np.ndarray,
    group_size: np.ndarray,
    alphas: np.ndarray,
    coupling: np.ndarray,
    parameters: dict[str, np.ndarray],
) -> Fit:
    """A fit with one penalty that was not chosen: scores are NaN.

    coupling : (r, n_images), or empty where coordinates are (n_new, n_images), coupled already; they hold the penalty.
    """
    n_targets = y.shape[1]
    unknown = np.full(n_targets, np.nan, blocks.working_dtype(y))
    return Fit(
        method=method,
        group_size=group_size,
        alphas=alphas,
        candidate=np.zeros(n_targets, np.int32),
        loo_r2=unknown,
        loo_correlation=unknown,
        group_r2=np.full((len(group_size), 1), np.nan),
        dof=np.full(1, np.nan),
        gain=np.ones((1, 1, len(coupling))),
        coupling=coupling[None],
        share=design.share,
        parameters=parameters,
        y=y,
        images=design.images,
    )


def check_new(fit: Fit, x: np.ndarray, *, n_units: int) -> np.ndarray:
    """New responses as float64; a unit that never varied in the fit is put on its mean there, so that it has no say.

    Raises
    ------
    ValueError
        Another number of units than the fit has, or values that are not finite.
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or x.shape[1] != n_units:
        raise ValueError(f"x has shape {x.shape}, expected (rows, {n_units} units) as in the {fit.method} fit")
    bad = np.flatnonzero(~np.isfinite(x).all(1))
    if len(bad):
        units = np.flatnonzero(~np.isfinite(x).all(0))
        raise ValueError(
            f"x is not finite in rows {bad[:8].tolist()} ({len(bad)} of {len(x)}), units {units[:8].tolist()}"
        )
    if fit.n_constant and "units" not in fit.parameters:  # banded takes the units that it drew
        x = x.copy()
        x[:, fit.parameters["constant"]] = fit.parameters["mean"][fit.parameters["constant"]]
    return x


def predict_from_coordinates(
    fit: Fit,
    coordinates: np.ndarray,
    *,
    budget: Budget,
) -> np.ndarray:
    """share'z + (coordinates x gain) coupling (z - share'z) for the chosen candidate of every target z.

    coordinates : float32 or float64, (n_smoothers, n_new, r).
    """
    by_component = "component_candidate" in fit.parameters
    if by_component:
        used, candidate = components.candidates(fit.parameters), np.zeros_like(fit.candidate)
    elif fit.gain.shape[:2] == (1, 1):
        used, candidate = np.zeros(1, int), fit.candidate  # all zero
    else:
        count = np.bincount(fit.candidate)
        used, candidate = np.flatnonzero(count), (np.cumsum(count > 0) - 1)[fit.candidate]
    operators = np.empty((len(used), coordinates.shape[1], len(fit.images)), coordinates.dtype)
    for operator, c in zip(operators, used.tolist(), strict=True):
        b, a = divmod(c, len(fit.alphas))
        if fit.coupling.size:
            weighted = coordinates[b] * fit.gain[b, a].astype(coordinates.dtype)
            np.matmul(weighted, fit.coupling[b].astype(coordinates.dtype, copy=False), out=operator)
        else:
            operator[:] = coordinates[b]
        # The mean is part of the operator, whose rows then add up to one: the targets are read once.
        rest = 1.0 - operator.sum(1, keepdims=True, dtype=np.float64)
        operator += (rest * fit.share).astype(operator.dtype, copy=False)
    if by_component:
        operators = components.mixed(fit.parameters, dict(zip(used.tolist(), operators, strict=True)))[None]
    out = predictions.apply(fit.y, fit.images, operators, candidate, budget=budget)
    # A target that is not finite in one image is so in every prediction: one row of them tells, and saves reading all
    # targets once more.
    if len(designs.not_finite(out[:1])):
        blocks.check_finite(fit.y, fit.images, budget)
    return out
