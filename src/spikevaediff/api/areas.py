"""Pictures of what each area says to the decoders of a run: docs/questions.md."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spikevaediff.api import area_activation
from spikevaediff.api.apply import contexts_of_nothing, decode_latents, second_stage
from spikevaediff.api.named import Named
from spikevaediff.api.run import Run, load, named_images
from spikevaediff.records import Reconstructions
from spikevaediff.regression import fits

REFERENCE = "mean response"
ACTIVATED_BY = ("vdvae", "diffusion")


def activate(
    run: Run | str | Path = ".", *, areas: str | Sequence[str] | None = None, by: str = "vdvae", deviations: float = 1.0
) -> Named:
    """A picture for each area, decoded from a response in which this area alone is active.

    Nobody saw these pictures, and they are no reconstructions: they show what the weights of an area add up to. See
    api/area_activation.py for how their strength is set.

    Parameters
    ----------
    run : Run, str or Path
        A finished run, or its folder.
    areas : str or sequence of str, optional
        Of the visual population; all by default.
    by : str
        vdvae (regression to latents), or diffusion (second stage, which begins with that picture and follows the
        contexts that the area predicts; the responses themselves have no say).
    deviations : float
        By how many standard deviations the units of the area exceed their mean; below 0: by how many they fall short.

    Returns
    -------
    Named
        uint8 (area, row, column, colour). The first area is "mean response": all units at their mean.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        There is no such method or area, or a model is not there; deviations are 0.
    """
    if by not in ACTIVATED_BY:
        raise KeyError(f"there is no method {by!r}; there are {', '.join(ACTIVATED_BY)}")
    run = run if isinstance(run, Run) else load(run)
    empty = contexts_of_nothing(run) if by == "diffusion" else None
    recorded = run.presentations["visual"]
    areas = np.unique(recorded.unit_area).tolist() if areas is None else areas
    wanted = [areas] if isinstance(areas, str) else list(areas)
    z = area_activation.responses(recorded.unit_area, len(recorded.window_s), wanted, deviations=deviations)

    spaces = ("vdvae",) if by == "vdvae" else ("vdvae", "vision", "text")
    found = {
        space: area_activation.features(fits.load(run.artifacts / f"fits/{space}_all_images.npz"), z)
        for space in spaces
    }
    pictures: Reconstructions = decode_latents(found.pop("vdvae"), run)
    if empty is not None:
        pictures = second_stage(found, pictures, run, empty=empty, explained=None)
    named = named_images(pictures)
    rest = {name: ids for name, ids in named.axes.items() if name != "image_id"}
    return Named(named.values, {"area": np.array([REFERENCE, *wanted])} | rest)
