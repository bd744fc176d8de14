"""A data card and model cards of the run that lies in artifacts/: `spikevaediff cards` writes artifacts/cards.md.

docs/cards.md, which Git keeps, is of the run whose metrics it keeps, and is written only where --out says so.

A reader who finds a number in a figure may ask which units, presentations and weights are behind it. The cards are
made from the records themselves, so they cannot say anything but what ran.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

from spikevaediff.files import assets
from spikevaediff.files.checksums import size_text
from spikevaediff.files.left_out import there
from spikevaediff.files.weights_used import is_path
from spikevaediff.parameters.options import is_weights
from spikevaediff.recordings.unit_filter import LIMITS
from spikevaediff.records import BLANK, ImageSplit, Responses, Stimuli, UnitTable
from spikevaediff.report import facts

FIRST = "# Data card: "  # what a file of cards begins with
# The models of this project, and what they were trained on besides the training crops.
MORE = {
    "autoencoder_mini": "",
    "unet_mini": "and the photographs of stages/pretrain/photographs.csv ",
    "vdvae_mini": "",
}
MADE_HERE = """\
- Made by this project: stages/pretrain, on the training crops of the embedded photographs {more}\
(grey, none of them one of the scenes shown). It is small, to run anywhere, and its images are blurred.
- Use: reconstruction of natural grey images like those of the embedded data set. Not for anything else."""
MADE_ELSEWHERE = "- Not of this project: params.yaml names it by its path."


def cards(root: Path, params: Mapping[str, Any]) -> str:
    """Both cards as Markdown.

    Parameters
    ----------
    root : Path
        Top of a checkout in which the pipeline has run.
    params : mapping
        params.yaml.

    Raises
    ------
    FileNotFoundError
        The pipeline has not run here.
    """
    for name in ("images.npz", "split.npz", "responses/visual.npz"):
        if not (root / "artifacts" / name).is_file():
            raise FileNotFoundError(f"{root / 'artifacts' / name} does not exist. Run the pipeline first: make repro")
    return "\n".join([_data_card(root, params), _model_cards(root, params)])


def _data_card(root: Path, params: Mapping[str, Any]) -> str:
    shown, split = Stimuli.load(root / "artifacts/images.npz"), ImageSplit.load(root / "artifacts/split.npz")
    names = there(f"{root}/artifacts/responses/{{}}.npz", ("visual", "control"))
    populations = {name: Responses.load(root / f"artifacts/responses/{name}.npz") for name in names}
    visual = populations["visual"]
    repeats = np.unique(visual.image_id[visual.image_id != BLANK], return_counts=True)[1]
    windows = ", ".join(f"{start:g} to {stop:g} s" for start, stop in visual.window_s.tolist())
    counted = np.issubdtype(visual.counts.dtype, np.integer)
    said = f"{'spike counts' if counted else 'real numbers'} in {windows} after onset"
    if kind := facts.OTHER_THAN_SPIKES.get(params["dataset"]):
        said = f"{kind.responses}; units are {kind.units}"
    rate_of = " median rate, Hz |" if counted else ""
    lines = [
        f"{FIRST}{params['dataset']}",
        "",
        f"- Images: {len(shown.image_id)}, {shown.source}; {shown.pixels.shape[1]} x {shown.pixels.shape[2]} px.",
        f"- Sessions: {', '.join(map(str, visual.session_id.tolist()))}.",
        f"- Presentations: {len(visual.image_id)}, of which {int((visual.image_id == BLANK).sum())} are blanks; "
        f"{_span(repeats)} of each image.",
        f"- Responses: {said}.",
        f"- Split: {split.n_folds} folds by image; {len(split.test_ids)} images are tested.",
        f"- Quality of units: {_limits(visual.units, params['responses'])}.",
        *_origin(root / "artifacts/sessions/sources.json"),
        "",
        f"| population | area | units |{rate_of} mean response to an image |",
        f"|---|---|---|{'---|' * counted}---|",
    ]
    for name, responses in populations.items():
        counts = responses.counts[responses.image_id != BLANK].sum(2, dtype=np.float64).mean(0)  # of all windows
        for area in dict.fromkeys(responses.unit_area.tolist()):
            here = responses.unit_area == area
            known = responses.unit_firing_rate[here & np.isfinite(responses.unit_firing_rate)]
            rate = f" {np.median(known):.2f} |" if len(known) else " not known |"
            line = f"| {name} | {area} | {int(here.sum())} |{rate * counted} {_mean(counts[here])} |"
            lines.append(line)
    if params["dataset"] == "simulated":
        lines += [
            "",
            "The photographs are real, the spikes are **simulated**: they show that the pipeline works, not what mouse "
            "cortex encodes. They are calibrated to published rates, reliabilities and decoding accuracy; control "
            "units (CA1) are simulated without any tuning. Photographs come from pinned packages under their own "
            "licences (`spikevaediff assets`).",
        ]
    return "\n".join([*lines, ""])


def _limits(units: UnitTable, limits: Mapping[str, Any]) -> str:
    """The limits that units had to meet; those of what nobody measured limit nothing."""
    words = {"max": "up to", "min": "from"}
    parts = []
    for name in LIMITS:
        metric, _, kind = name.rpartition("_")
        if np.isnan(getattr(units, metric)).all():
            parts.append(f"{metric} not measured")
        else:
            parts.append(
                f"{metric} without limit" if limits[name] is None else f"{metric} {words[kind]} {limits[name]}"
            )
    return ", ".join(parts)


def _origin(sources: Path) -> list[str]:
    """Licence and citation of recordings that came from elsewhere."""
    if not sources.is_file():
        return []
    said = json.loads(sources.read_text(encoding="utf-8"))
    return (
        [f"- Licence: {said['licence']}.", *(f"- Cite: {one}" for one in said["citation"])] if "licence" in said else []
    )


def _mean(counts: np.ndarray) -> str:
    """Two decimals, or two significant digits of what is as small as activity in volts."""
    mean = float(counts.mean())
    return f"{mean:.2f}" if abs(mean) >= 0.005 else f"{mean:.2g}"


def _span(numbers: np.ndarray) -> str:
    least, most = int(numbers.min()), int(numbers.max())
    return str(least) if least == most else f"{least} to {most}"


def _own_weights(root: Path, model: Mapping[str, Any]) -> list[Path]:
    """The files with weights that a model names by a path, sorted."""
    named = [value for space in model.values() for key, value in space.items() if is_weights(key, value)]
    paths = {assets.weights(value, root) for value in named if is_path(value)}
    return sorted(path for path in paths if path.suffix == ".safetensors" and path.is_file())


def _model_cards(root: Path, params: Mapping[str, Any]) -> str:
    lines = [f"# Model cards: {params['model']}", ""]
    for path in _own_weights(root, params["models"][params["model"]]):
        with safe_open(path, framework="np") as file:
            shapes = [file.get_slice(key).get_shape() for key in file.keys()]  # noqa: SIM118 it is not a dict
        n_values = sum(int(np.prod(shape)) for shape in shapes)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines += [
            f"## {path.stem}",
            "",
            f"- {n_values:,} numbers in {len(shapes)} tensors, {size_text(path.stat().st_size)}, sha256 `{digest}`.",
            *(MADE_HERE.format(more=MORE[path.stem]).splitlines() if path.stem in MORE else [MADE_ELSEWHERE]),
        ]
        training = root / "stages/pretrain/metrics" / f"{path.stem.removesuffix('_mini')}.json"
        if training.is_file():
            figures = json.loads(training.read_text(encoding="utf-8"))
            lines += ["- At the end of training, on crops held back: "]
            lines[-1] += ", ".join(f"{name} {value:g}" for name, value in sorted(figures.items())) + "."
        lines += [""]
    lines += [
        "## Networks made by others",
        "",
        "| name | source | size | licence | used for |",
        "|---|---|---|---|---|",
    ]
    for asset in assets.ASSETS.values():
        source = asset.source.split("://")[-1]
        lines.append(f"| {asset.name} | {source} | {size_text(asset.bytes)} | {asset.licence} | {asset.used_for} |")
    return "\n".join([*lines, ""])
