"""What `spikevaediff predict FIT RESPONSES OUT` looks at before it computes."""

from pathlib import Path

import numpy as np

from spikevaediff.api import measure
from spikevaediff.records import DAMAGED, Responses
from spikevaediff.tools import kinds


def problem(fit: str | Path, responses: str | Path) -> str:
    """What is to be warned of, as `measure.problem`, by the responses of the run that a fit lies in.

    Parameters
    ----------
    fit : path
        artifacts/fits/<name>.npz of a run. Elsewhere, values below 0 are not refused. One that is not there or damaged
        is left to its reader, `fits.load`.
    responses : path
        New ones.

    Raises
    ------
    FileNotFoundError, ValueError
        Responses are not there, damaged, a table of the plain format, or fall below 0 where those of the run do not.
    """
    names = ("context_mean", "context_transform")
    try:
        with Path(fit).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            context = {name: file[f"parameter_{name}"] for name in names}
    except (KeyError, *DAMAGED):
        return ""
    kinds.refuse_table(responses)
    return measure.problem(
        context, Responses.load(responses), Path(fit).absolute().parent.parent / "responses/visual.npz"
    )
