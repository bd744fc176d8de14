"""How much memory tensors take at the same time, counted where they are made: the same on every machine and run.

The resident set of a process would also hold what was freed and not given back.
"""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Live(TorchDispatchMode):
    """Bytes of the tensors that exist at the same time, of those made inside the block; work space inside a kernel is
    not seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                storage = x.untyped_storage()
                key, n_bytes = storage._cdata, storage.nbytes()
                if key not in self.known and key not in given:
                    self.known.add(key)
                    self.now += n_bytes
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self._freed, key, n_bytes)
        return out

    def _freed(self, key: int, n_bytes: int) -> None:
        self.known.discard(key)
        self.now -= n_bytes
