"""Which metrics there are: the names that the modules of evaluation/metrics declare."""

import importlib
from types import ModuleType
from typing import NamedTuple

from spikevaediff.evaluation.looks import Look
from spikevaediff.parameters.options import modules


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
    for file in modules("evaluation/metrics"):
        module = importlib.import_module(f"spikevaediff.evaluation.metrics.{file}")
        for name, look in module.LOOKS_AT.items():
            if name in found:
                other = found[name].module.__name__.rpartition(".")[2]
                raise ValueError(f"the metric {name} is declared twice, by {other}.py and by {file}.py")
            found[name] = Metric(module, look)
    return found


METRICS = find()
