"""What metrics compare: pixels, or what a network says about images. Data only; scores.look does the looking.

A look is named by the module of a metric (LOOKS_AT), so that metrics which look at the same output of the same network
share one look at each image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Look:
    """One or several outputs of a network, or pixels.

    network : str or None
        Its name: in networks.of_metrics, for its weights; in the protocol, for the side and scaling of its input (224
        px and ImageNet's where the protocol does not name it). None: pixels, as protocols.pixels_of gives them.
    outputs : tuple of int
        Which of its outputs. With one, `pairwise` is given an array, one image per row; with several, a list of them.
    words : str or None
        What stands beside the scores.
    assets, load : tuple of str and callable, or None
        Of a network that is not in networks.of_metrics: its weight files, and what makes of their paths a function from
        float32 (n, 3, side, side) to a list of tensors with one image per row.
    """

    network: str | None = None
    outputs: tuple[int, ...] = (0,)
    words: str | None = None
    assets: tuple[str, ...] | None = None
    load: Callable[..., Callable[[Any], list[Any]]] | None = None

    @property
    def keys(self) -> list[str]:
        """The names of its arrays among all that was looked at."""
        return ["pixels"] if self.network is None else [f"{self.network}_{output}" for output in self.outputs]


PIXELS = Look()
Weights = dict[str, Path]  # asset to the file that holds it
