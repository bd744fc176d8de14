"""The last state of a training, from which a later call continues after a kill."""

import time
from pathlib import Path
from typing import Any, TypedDict

import torch
from torch import nn

from spikevaediff.files.atomic import replacing


class Parts(TypedDict):
    """What a training changes: the model, the moving average of its weights, and the optimiser."""

    model: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer


def resume(path: Path, parts: Parts, device: str = "cpu") -> dict[str, Any]:
    """Load what `keep` wrote into the parts of a training; what else it kept, empty where there is no such file."""
    if not path.exists():
        return {}
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])  # type: ignore[attr-defined]
    print(f"continuing from step {state['step']} ({path})")
    return state


def keep(path: Path, parts: Parts, **others: object) -> None:
    """Write the parts and whatever else decides how the training continues; the file appears whole or not at all."""
    state = {name: part.state_dict() for name, part in parts.items()}  # type: ignore[attr-defined]
    with replacing(path) as temporary:
        torch.save(state | others, temporary)


def report(row: dict[str, float], *, began: float, n_done: int, n_left: int) -> None:
    """Print the figures of a validation and the pace since `began`, a time.monotonic(), in which n_done steps ran."""
    pace = (time.monotonic() - began) / n_done
    figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
    print(f"{figures}; {pace:.2f} s per step, {n_left * pace / 60:.0f} min to go", flush=True)
