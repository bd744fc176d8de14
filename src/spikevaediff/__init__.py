"""SpikeVAEDiff: natural images reconstructed from the spike counts of neurons.

`load(folder)` gives a finished run as arrays that are joined by id; docs/api.md shows the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikevaediff.api.apply import encode, reconstruct
    from spikevaediff.api.areas import activate
    from spikevaediff.api.figures import figure
    from spikevaediff.api.named import Named, join
    from spikevaediff.api.new_responses import make_responses
    from spikevaediff.api.run import Run, load

__version__ = "0.1.0"
_PLACES = {
    "Named": "named",
    "Run": "run",
    "activate": "areas",
    "encode": "apply",
    "figure": "figures",
    "join": "named",
    "load": "run",
    "make_responses": "new_responses",
    "reconstruct": "apply",
}
__all__ = ["Named", "Run", "activate", "encode", "figure", "join", "load", "make_responses", "reconstruct"]


def __getattr__(name: str) -> Any:
    """Imported on first use, so that `import spikevaediff` takes no time."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"spikevaediff.api.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
