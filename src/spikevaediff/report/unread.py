"""Parameters that a run does not read, given the others: shown beside results, they would seem to have counted.

params.yaml holds the options of every choice side by side, so that one word switches from one to another. What belongs
to a choice that was not made is listed here, for the first stage to say and for the page to leave out.
"""

from collections.abc import Mapping
from typing import Any

from spikevaediff.parameters.of_space import COMMON, of_space, spaces

# What each method of a split does not read.
SPLIT: dict[str, tuple[str, ...]] = {"k_fold": ("n_test",), "hold_out": ("n_folds",)}
SPLIT |= dict.fromkeys(("given", "as_published"), ("n_folds", "n_test", "seed"))
# What is read for a part alone, and not by the others.
OF_PARTS = {
    "second_stage": ("captions", "regress.text", "regress.vision", "decode.diffusion"),
    "analyses": (
        *("quality", "curves.latency", "curves.n_resamples", "layers", "regions", "known_mistakes"),
        *("movies.n_blocks", "movies.encoder_folds", "movies.size_px", "movies.alphas"),
    ),
}
OWN_SIZE = ("mindeye", "brain_diffuser_2023")  # protocols that compare pixels at a size of their own


def unread(params: Mapping[str, Any]) -> list[str]:
    """Paths of params.yaml that have a value and no effect.

    Parameters
    ----------
    params : mapping
        Sections areas, quality, split, regress and evaluate of params.yaml; parts and model where something is left
        out.

    Returns
    -------
    list of str
        In the order of the sections: split.n_test, regress.common.banded (with all that is in it), ...
    """
    parts = params.get("parts", {})
    whole = [path for part, paths in OF_PARTS.items() if not parts.get(part, True) for path in paths]
    if not parts.get("second_stage", True):
        whole += [f"models.{params['model']}.{space}" for space in ("vision", "text", "diffusion")]
    areas = [area for listed in params["areas"].values() if isinstance(listed, list) for area in listed]
    anchor = [name for name in params["quality"] if name.startswith("anchor_")]
    found = [f"quality.{name}" for name in anchor if params["quality"]["anchor_area"] not in areas]
    found += [f"split.{name}" for name in SPLIT.get(params["split"].get("method", ""), ()) if name in params["split"]]
    regress = params["regress"]
    read = {space: {of_space(regress, space)["method"]} for space in spaces(regress)}
    read[COMMON] = set().union(*read.values())
    for name, options in regress.items():
        others = [key for key, value in options.items() if isinstance(value, Mapping) and key not in read[name]]
        found += [f"regress.{name}.{key}" for key in others]
    if params["evaluate"].get("protocol") in OWN_SIZE:
        found.append("evaluate.size_px")
    if not parts.get("controls", True) and not parts.get("analyses", True):
        found.append("areas.control")  # whose units the recording's quality and curves show as well
    return [path for path in found if not path.startswith(tuple(f"{above}." for above in whole))] + whole


def without(params: Mapping[str, Any], paths: list[str]) -> dict[str, Any]:
    """A copy of nested parameters that lacks these paths."""
    return {
        key: without(value, [path.partition(".")[2] for path in paths if path.startswith(f"{key}.")])
        if isinstance(value, Mapping)
        else value
        for key, value in params.items()
        if key not in paths
    }
