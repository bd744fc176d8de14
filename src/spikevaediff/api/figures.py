"""Figures of a run as matplotlib axes: for a notebook, or for a paper with text that stays text.

axes = spikevaediff.figure(run, "gallery", images=[3, 17])
axes[0].figure.savefig("fig.pdf")
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spikevaediff.api.run import Run, load
from spikevaediff.files import tables
from spikevaediff.files.atomic import replacing
from spikevaediff.files.left_out import is_left_out
from spikevaediff.parameters.runs import Runs, read_runs
from spikevaediff.records import Features, LayerStudy, Reconstructions, few
from spikevaediff.report import numbers
from spikevaediff.report.facts import short
from spikevaediff.report.figures import area_plots, encoding_plots, gallery, layer_plots, recording_plots
from spikevaediff.report.figures.picture import new_figure
from spikevaediff.report.ranks import ranked_groups
from spikevaediff.report.read import order_unknown, read_json

FORMATS = (".pdf", ".svg", ".png")
_FONTS: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "spikevaediff"}
_CELL_INCHES = 0.8


def figure(
    run: Run | str | Path, name: str, *, images: Sequence[int] | None = None, runs: Sequence[str] | None = None
) -> list[Axes]:
    """A figure of a finished run.

    Parameters
    ----------
    run : Run, str or Path
    name : str
        A key of FIGURES.
    images : sequence of image_id, optional
        Of the gallery, in this order; by default the best, the middle and the worst, as params.yaml's `report` says.
    runs : sequence of str, optional
        Rows of the gallery or columns of the scores; by default those of runs.yaml.

    Returns
    -------
    list of Axes
        All of one figure, axes[0].figure. Without pyplot: it shows nothing by itself and needs no closing.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        There is no such figure, image or run; a result is not there or is left out; an argument that the figure does
        not have, is empty or names something twice.
    """
    if name not in FIGURES:
        raise KeyError(f"there is no figure {name!r}; there are {', '.join(FIGURES)}")
    given = {key: value for key, value in (("images", images), ("runs", runs)) if value is not None}
    takes = {"gallery": ("images", "runs"), "scores": ("runs",)}.get(name, ())
    if wrong := [key for key in given if key not in takes]:
        raise ValueError(f"the figure {name} does not choose {wrong[0]}; those that do: gallery, scores (runs alone)")
    for key, value in given.items():
        if isinstance(value, str) or np.ndim(value) != 1 or not len(value) or len(set(value)) < len(value):
            raise ValueError(f"{key} is {value!r}, expected a list of at least one, each once")
    return FIGURES[name](run if isinstance(run, Run) else load(run), **given).axes


def save(axes: Sequence[Axes], path: str | Path) -> None:
    """Write the figure of some axes; in PDF and SVG letters stay letters. The same bytes for the same figure.

    Raises
    ------
    ValueError
        The name does not end with one of FORMATS.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} does not end with {', '.join(FORMATS)}")
    drawn = axes[0].get_figure(root=True)
    assert drawn is not None
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}, ".png": {"Software": None}}
    kind = path.suffix.lower()
    with mpl.rc_context(_FONTS), replacing(path) as temporary:
        drawn.savefig(temporary, format=kind[1:], metadata=dates.get(kind), dpi=300)


def _gallery(run: Run, images: Sequence[int] | None = None, runs: Sequence[str] | None = None) -> Figure:
    wanted = _wanted(run)
    control = short(run.params["areas"]["control"])
    labels = {name: label.format(control=control) for name, label in wanted.gallery.items()}
    rows = {labels.get(name, name): _reconstructions(run, name) for name in (list(labels) if runs is None else runs)}
    if images is None:
        metrics = read_json(str(run.artifacts / f"scores/{wanted.lead}.json"))["metrics"]
        _, groups = ranked_groups(metrics, **run.params["report"])
    else:
        groups = {"": list(images)}
        shared = set.intersection(*(set(one.image_id.tolist()) for one in rows.values()))
        trained = set(run.split.image_id[run.split.fold < 0].tolist())
        if absent := [image_id for image_id in images if image_id in trained - shared]:
            raise KeyError(
                f"there is no reconstruction of image_id {few(absent)}, used for training only; tested are "
                f"{few(run.split.test_ids.tolist())}"
            )
    return gallery.chosen(run.stimuli, rows, groups, cell_inches=_CELL_INCHES)


def _reconstructions(run: Run, name: str) -> Reconstructions:
    found = run.reconstructions[name]  # its KeyError lists those there are
    return Reconstructions(found.axes["image_id"], found.values)


def _scores(run: Run, runs: Sequence[str] | None = None) -> Figure:
    there = list(_wanted(run).scored) if runs is None else list(runs)
    for name in there:
        run.scores[name]  # its KeyError lists those there are
    scores = {name: read_json(str(run.artifacts / f"scores/{name}.json")) for name in there}
    return numbers.draw_scores.figure(scores, run.stimuli.source)


def _latents(run: Run) -> Figure:
    layers = Features.load(run.artifacts / "features/vdvae.npz").group_name.tolist()
    return numbers.draw_latents.figure(layers, numbers.correlations(_wanted(run), run.artifacts), _predicted(run))


def _noise_ceiling(run: Run) -> Figure:
    ceiling = read_json(str(run.artifacts / "noise_ceiling/vdvae.json"))
    return recording_plots.draw_ceiling.figure(ceiling, _predicted(run))


def _encoding(run: Run) -> Figure:
    return encoding_plots.draw_encoding.figure(_table(run, "encoding.csv"), run.stimuli.source)


def _identification(run: Run) -> Figure:
    which = read_json(str(run.artifacts / "identification.json"))
    rows = encoding_plots.identification_rows(which, _table(run, "identification.csv"))
    return encoding_plots.draw_identification.figure(rows, _of(run, "Unseen images"))


def _layers(run: Run) -> Figure:
    study = LayerStudy.load(_there(run, "layers.npz"))
    predicted = numbers.correlations(_wanted(run), run.artifacts)
    return layer_plots.draw.figure(study, run.stimuli, predicted, run.stimuli.source)


def _quality(run: Run) -> Figure:
    judged = read_json(str(_there(run, "quality/quality.json")))
    ordered = not order_unknown(run.artifacts / "sessions")
    units = _table(run, "quality/units.csv")
    return recording_plots.draw_quality.figure(judged, units, run.stimuli.source, ordered=ordered)


def _curves(run: Run) -> Figure:
    latency, counts = (_table(run, f"curves/{name}.csv") for name in ("latency", "counts"))
    return recording_plots.draw_curves.figure(latency, counts, run.stimuli.source)


def _regions(run: Run) -> Figure:
    areas, pairs, bands = (_table(run, f"regions/{name}.csv") for name in ("curves", "tests", "bands"))
    return area_plots.draw.figure(areas, pairs, bands, title=_of(run, "Areas compared fairly"))


def _areas(run: Run) -> Figure:
    """A row per stage of decoding, a column per area."""
    from spikevaediff.api.areas import activate  # PyTorch and JAX, which no other figure needs

    methods = {"VDVAE": "vdvae"} | ({"second stage": "diffusion"} if run.params["parts"]["second_stage"] else {})
    rows = {label: activate(run, by=by) for label, by in methods.items()}
    names = rows["VDVAE"].axes["area"].tolist()
    drawn = new_figure(figsize=(1.2 + _CELL_INCHES * len(names), 0.5 + _CELL_INCHES * len(rows)), layout="constrained")
    drawn.suptitle(_of(run, "One area active at a time"), size=8)
    for of_row, (label, pictures) in zip(
        drawn.subplots(len(rows), len(names), squeeze=False), rows.items(), strict=True
    ):
        of_row[0].set_ylabel(label, rotation=0, ha="right", va="center", size=8)
        for axis, name, picture in zip(of_row, names, pictures.values, strict=True):
            axis.imshow(picture, interpolation="none")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            axis.set_title(name.replace(" ", "\n"), size=8)
    return drawn


FIGURES: dict[str, Callable[..., Figure]] = {
    "gallery": _gallery,
    "scores": _scores,
    "latents": _latents,
    "noise_ceiling": _noise_ceiling,
    "encoding": _encoding,
    "identification": _identification,
    "layers": _layers,
    "quality": _quality,
    "curves": _curves,
    "regions": _regions,
    "areas": _areas,
}


def _of(run: Run, what: str) -> str:
    return f"{what}: {run.stimuli.source}"


def _predicted(run: Run) -> str:
    counted = np.issubdtype(run.presentations["visual"].counts.dtype, np.integer)
    return _of(run, f"Latents predicted from {'spikes' if counted else 'responses'}")


def _wanted(run: Run) -> Runs:
    return read_runs(run.root / "runs.yaml", run.params["parts"])


def _there(run: Run, name: str) -> Path:
    """A result, which params.yaml may leave out."""
    path = run.artifacts / name
    if is_left_out(path):
        raise FileNotFoundError(f"{path} is left out by `parts` of params.yaml")
    return path


def _table(run: Run, name: str) -> list[dict[str, Any]]:
    return tables.read(_there(run, name))
