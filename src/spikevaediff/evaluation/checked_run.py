"""All checks of one run, from the results of earlier stages."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spikevaediff.evaluation import checks
from spikevaediff.evaluation.checks import Finding
from spikevaediff.files.left_out import is_left_out
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli, read_npz


def findings(
    folder: str | Path,
    run: str,
    ceiling: str,
    control: str,
    spaces: Sequence[str],
    *,
    halves: bool,
    as_published: bool = False,
) -> list[Finding]:
    """Check a run against the images, the split, its features and its ceilings.

    Parameters
    ----------
    folder : str or Path
        Where the results lie: artifacts.
    run, ceiling, control : str
        The run; the one that decodes true features in the same way; and the one from responses that know nothing,
        of which nothing is said where params.yaml leaves it out.
    spaces : sequence of str
        Feature spaces that the run is decoded from.
    halves : bool
        Whether the agreement of halves of the presentations bounds its PixCorr. It bounds no other score: all
        presentations together are less noisy than halves of them.
    as_published : bool
        Whether the split is that of a publication, which keeps training images that look like a tested one.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        A result is absent, damaged or lacks an image.
    """
    folder = Path(folder)
    split, stimuli = ImageSplit.load(folder / "split.npz"), Stimuli.load(folder / "images.npz")
    decoded, best = (Reconstructions.load(folder / "decoded" / name) for name in (run, ceiling))
    of_control = folder / "decoded" / control
    nothing = None if is_left_out(of_control) else Reconstructions.load(of_control)
    scores, generator = (_metrics(folder, name) for name in (run, ceiling))
    bounded = {name: metric for name, metric in scores.items() if metric.get("bounded", True)}
    limits = [("with true features", checks.beyond_chance(generator, scores))]
    if halves and "pixcorr" in (agreed := _metrics(folder, "halves")):
        limits.append(("its noise ceiling", {"pixcorr": agreed["pixcorr"]["ceiling"]}))
    return [
        checks.overlap(split, stimuli, decoded.image_id, as_published=as_published),
        checks.near_duplicates(split, stimuli, as_published=as_published),
        *(_renormalised(folder, space, split) for space in spaces),
        checks.memorised(decoded, stimuli, split, nothing),
        checks.collapsed(decoded, stimuli, best),
        checks.above_ceiling(bounded, limits, {name: metric["larger_is_better"] for name, metric in bounded.items()}),
    ]


def refuse(run: str, found: Sequence[Finding]) -> str:
    """Refuse a run of which a check failed.

    Returns
    -------
    str
        A line about the checks, for those who run them.

    Raises
    ------
    ValueError
        A check failed; the message says which and what it found.
    """
    if failed := [f"{finding.check}: {finding.says}" for finding in found if finding.status == "failed"]:
        raise ValueError(f"{run} is not reported, since a check failed. {' | '.join(failed)}")
    noted = sum(finding.status == "noted" for finding in found)
    return f"{len(found)} checks, none failed" + (f", {noted} noted" if noted else "")


def _renormalised(folder: Path, space: str, split: ImageSplit) -> Finding:
    """Whether the predictions of a feature space were renormalised as they say."""
    predicted, raw = (Features.load(folder / "predicted" / f"{space}{kind}.npz") for kind in ("", "_raw"))
    declared = str(read_npz(folder / "fits" / f"{space}.npz")["renormalise"][0])
    return checks.test_statistics(predicted, raw, Features.load(folder / "features" / f"{space}.npz"), split, declared)


def _metrics(folder: Path, run: str) -> dict[str, Any]:
    return json.loads((folder / "scores" / f"{run}.json").read_text(encoding="utf-8"))["metrics"]
