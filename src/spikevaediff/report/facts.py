"""What a run is of, as its data and parameters say: areas, units, images, repeats, sessions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spikevaediff.evaluation import statistics
from spikevaediff.files import tables
from spikevaediff.files.left_out import is_left_out
from spikevaediff.recordings.unit_filter import LIMITS
from spikevaediff.records import BLANK, Features, ImageSplit, Responses, Stimuli

OF_REPEATS = (
    *(f"quality.{name}" for name in ("n_draws", "seed", "n_blocks", "n_folds", "shrinkage", "running_cm_per_s")),
    *("curves.latency", "curves.counts.presentations", "noise_ceiling"),
)  # sections and keys that ask for several presentations of an image
Areas = Sequence[str] | str  # a population of params.yaml's `areas`: a list of areas, or "shuffled"


class Kind(NamedTuple):
    """What a data set has in the place of units, spike counts and sessions."""

    units: str
    responses: str
    session: str


OTHER_THAN_SPIKES = {
    "nsd": Kind("voxels", "responses to single trials from a general linear model (betas)", "subject"),
    "tvsd": Kind("electrodes", "multi-unit activity, the mean over 100 ms of each area", "monkey"),
}


@dataclass(frozen=True)
class Facts:
    """Sentences and numbers about the data of a run.

    source : str; what the images and responses are, as the data set says.
    n_images, n_tested : int; all images, and those that are tested.
    visual, control : str; the two populations: "89 units in V4"; no text for a control that is left out.
    responses : str; what was measured: "spike counts between 0.05 and 0.15 s after onset".
    repeats : str; how often: "50 presentations of each image".
    split : str; how images were held out.
    sessions : str; "session 12" or "3 sessions"; "one subject".
    alone : str; that there is one session, as a limit of what is shown; empty where there are several.
    averaged : bool; one response of each image is known, and nothing about its presentations.
    spikes : bool; responses are counts of spikes, or means of them.
    most_exchanged : int; images of the largest group in which pairings are exchanged; 0 where these are the folds.
    described : bool; some image has a caption, without which the second stage leaves the text context out.
    without_effect : tuple of str; paths of params.yaml that these data leave nothing to decide.
    """

    source: str
    n_images: int
    n_tested: int
    visual: str
    control: str
    responses: str
    repeats: str
    split: str
    sessions: str
    averaged: bool
    alone: str = ""
    spikes: bool = True
    most_exchanged: int = 0
    described: bool = True
    without_effect: tuple[str, ...] = ()


def of_run(dataset: str, areas: Mapping[str, Areas], method: str) -> Facts:
    """Facts of the run in artifacts/.

    Parameters
    ----------
    dataset : str
        Its name in params.yaml.
    areas : mapping of population to areas
        Section `areas` of params.yaml.
    method : str
        split.method of params.yaml.
    """
    shown, split = Stimuli.load("artifacts/images.npz"), ImageSplit.load("artifacts/split.npz")
    visual, of_control = Responses.load("artifacts/responses/visual.npz"), Path("artifacts/responses/control.npz")
    control = None if is_left_out(of_control) else Responses.load(of_control)
    text, movies = Path("artifacts/features/text.npz"), Path("artifacts/movies/gain.csv")
    described = is_left_out(text) or Features.load(text).varies
    filmed = is_left_out(movies) or bool(tables.read(movies))
    n, n_sessions = len(split.test_ids), len(visual.session_id)
    kind = OTHER_THAN_SPIKES.get(dataset)
    sessions = f"session {visual.session_id[0]}" if n_sessions == 1 else f"{n_sessions} sessions"
    recorded, session = ("recording", "session") if kind is None else (kind.session, kind.session)
    return Facts(
        source=shown.source,
        n_images=len(shown.image_id),
        n_tested=n,
        visual=population(areas["visual"], len(visual.units), kind),
        control="" if control is None else population(areas["control"], len(control.units), kind),
        responses=measured(visual) if kind is None else kind.responses,
        repeats=repeated(visual),
        split=f"{split.n_folds} folds by image" if method == "k_fold" else f"{n} images set aside",
        sessions=sessions if kind is None else f"one {kind.session}",
        alone=f"Whether another {recorded} would give the same: there is one {session}." if n_sessions == 1 else "",
        spikes=kind is None,
        averaged=is_averaged(visual),
        most_exchanged=most_exchanged(split),
        described=described,
        without_effect=without_effect(visual, described=described, filmed=filmed),
    )


def most_exchanged(split: ImageSplit) -> int:
    """Images of the largest group in which evaluation exchanges pairings; 0 where these are the folds."""
    fold = split.fold_of(split.test_ids)
    group = statistics.groups(fold, seed=0)  # of any seed: sizes are the same
    return 0 if group is fold else int(np.bincount(group).max())


def population(areas: Areas, n_units: int, kind: Kind | None = None) -> str:
    """A population: "89 units in V4"; of a shuffled one, what was done to it. What units are, if not neurons."""
    units = f"{n_units} unit{'s' * (n_units != 1)}" + (f" ({kind.units})" if kind else "")
    if isinstance(areas, str):
        return f"the same {units}, with the responses to each image assigned to another one"
    return f"{units} in {', '.join(areas)}"


def short(areas: Areas) -> str:
    """A population in few words: "CA1", "VISp, VISl and 6 more", "shuffled"."""
    if isinstance(areas, str):
        return areas
    return ", ".join(areas) if len(areas) < 4 else f"{', '.join(areas[:2])} and {len(areas) - 2} more"


def is_averaged(responses: Responses) -> bool:
    """Whether one response of each image is known that is not a count: a mean over presentations, or an activity."""
    times = times_shown(responses)
    return bool(times.max() == 1 and not np.issubdtype(responses.counts.dtype, np.integer))


def without_effect(responses: Responses, *, described: bool = True, filmed: bool = True) -> tuple[str, ...]:
    """Parameters that decide nothing here: limits of what was not measured, and what the data lack."""
    units = responses.units
    limits = [name for name in LIMITS if np.isnan(getattr(units, name.rpartition("_")[0])).all()]
    found = [f"responses.{name}" for name in limits]
    found += ["captions", "regress.text"] * (not described) + ["movies"] * (not filmed)
    return (*found, *OF_REPEATS) if is_averaged(responses) else tuple(found)


def times_shown(responses: Responses) -> np.ndarray:
    """Rows of each image, int64 (n_images,); blanks are left out."""
    return np.unique(responses.image_id[responses.image_id != BLANK], return_counts=True)[1]


def repeated(responses: Responses) -> str:
    """How many responses of an image there are."""
    if is_averaged(responses):
        return "one response of each image, a mean over presentations or a single one"
    least, most = int(times_shown(responses).min()), int(times_shown(responses).max())
    number = str(least) if least == most else f"{least} to {most}"
    return f"{number} presentation{'s' * (most != 1)} of each image"


def measured(responses: Responses) -> str:
    """What the responses are, and when they were measured."""
    kind = "spike counts" if np.issubdtype(responses.counts.dtype, np.integer) else "responses"
    start, stop = float(responses.window_s.min()), float(responses.window_s.max())
    bins = f", {len(responses.window_s)} bins" if len(responses.window_s) > 1 else ""
    return f"{kind} between {start:g} and {stop:g} s after onset{bins}"


def as_sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def listed(words: Sequence[Any]) -> str:
    """ "a, b and c" """
    names = [str(word) for word in words]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
