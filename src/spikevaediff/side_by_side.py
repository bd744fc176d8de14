"""Independent pieces of work side by side, each on one processor.

Two threads that share every product of one small network wait for each other half of the time: a step of the posterior
takes 12 ms per image and sample with two threads, and two steps side by side take 16 ms. Pieces that run side by side
have one thread each. With `one_thread` so does a single piece, and nothing depends on the number of processors.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from loading.machine import processors

T = TypeVar("T")
R = TypeVar("R")
_HERE = threading.local()


def workers(device: str = "cpu") -> int:
    """How many pieces run at the same time: OMP_NUM_THREADS, which `threads.set_once` sets; 1 on a GPU, and within a
    piece."""
    if device != "cpu" or getattr(_HERE, "is_piece", False):
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return int(asked) if asked.isdigit() and int(asked) > 0 else processors()


def side_by_side(
    function: Callable[[T], R], pieces: Sequence[T], *, at_once: int, one_thread: bool = False
) -> Iterator[R]:
    """function(piece) of every piece, in their order.

    Parameters
    ----------
    function : callable
        Whatever it shares with itself in other threads must not change.
    pieces : sequence
    at_once : int
        How many may run at the same time: `workers`, or less. With 1, or a single piece, all processors work on it.
    one_thread : bool
        Even then only one thread works on it, so that results do not depend on how many pieces there are.

    Yields
    ------
    As function returns. The first error ends it: pieces that have not begun are left out, running ones end first.
    """

    def one(piece: T) -> R:
        _HERE.is_piece = True
        return function(piece)

    alone = at_once == 1 or len(pieces) < 2
    torch = sys.modules.get("torch")  # pieces that need it have imported it
    before = torch.get_num_threads() if torch else at_once
    if torch and (one_thread or not alone):
        torch.set_num_threads(1)
    pool = ThreadPoolExecutor(at_once)  # whose threads start when they have something to do
    try:
        yield from map(function, pieces) if alone else pool.map(one, pieces)
    finally:
        pool.shutdown(cancel_futures=True)
        if torch:
            torch.set_num_threads(before)
