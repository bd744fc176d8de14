"""Makes `import torchvision` possible where its compiled operators cannot be loaded: import this module first.

open_clip and transformers import torchvision, and need nothing of it that is compiled. The wheels of torchvision 0.28
are built for CUDA; beside a CPU build of torch 2.13 their library does not load, and the import then stops at the two
operators that torchvision describes to torch without looking whether they exist. It goes through once these have a
schema (nms alone is not enough). Nobody can run them, which torchvision says where it needs them.

Where the library loads, as beside a CUDA build of torch, nothing is defined here: the operators are the real ones.
"""

import importlib.util
from pathlib import Path

import torch

_BOXES_TO_KEEP = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _lacks_operators() -> bool:
    """Whether torchvision is installed and its library does not load beside this torch."""
    package = importlib.util.find_spec("torchvision")
    if package is None or package.origin is None:
        return False
    libraries = [path for path in Path(package.origin).parent.glob("_C*") if path.suffix in (".so", ".pyd")]
    try:
        for path in libraries:
            torch.ops.load_library(path)
    except OSError:
        return True
    return not libraries


if _lacks_operators():
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", _BOXES_TO_KEEP)
