"""Which metrics there are: the names that the modules of evaluation/metrics declare."""

import importlib
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from spikevaediff.evaluation import metrics as folder
from spikevaediff.evaluation.looks import Look


class Metric(NamedTuple):
    """The module that computes a metric, and what it looks at."""

    module: ModuleType
    look: Look


def find() -> dict[str, Metric]:
    """Every metric of the folder, by its name.

    Raises
    ------
    ValueError
        Two modules declare one name.
    """
    found: dict[str, Metric] = {}
    for path in sorted(Path(str(folder.__file__)).parent.glob("[!_]*.py")):
        module = importlib.import_module(f"{folder.__name__}.{path.stem}")
        for name, look in module.LOOKS_AT.items():
            if name in found:
                other = found[name].module.__name__.rpartition(".")[2]
                raise ValueError(f"the metric {name} is declared twice, by {other}.py and by {path.name}")
            found[name] = Metric(module, look)
    return found


METRICS = find()
