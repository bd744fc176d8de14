"""Checkpoints of the VDVAE: published .th files and safetensors, loaded strictly.

Nothing is renamed and nothing is skipped: every tensor of the file must be a tensor of the model, in name and shape,
and the other way round. The one exception is the prefix `module.`, which the non-EMA files carry on every name (they
were saved from inside a data-parallel wrapper); it is removed when all names have it.
"""

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vdvae.config import CONFIGS, Config
from vdvae.model import VDVAE


def read(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a checkpoint by name.

    Parameters
    ----------
    path : str or Path
        `.safetensors`, or a torch file (`.th`, `.pt`, `.pth`), which is read without executing pickled code.

    Raises
    ------
    FileNotFoundError, ValueError
        No such file, or one that is truncated or not a bare state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"weight file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (SafetensorError, RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"weight file {path} is damaged or of another format ({error}). Fetch or restore it again"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise ValueError(f"weight file {path} holds {type(tensors).__name__}, expected a bare state dict of tensors")
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def check(tensors: dict[str, Tensor], config: Config, source: str) -> None:
    """Refuse tensors that are not exactly those of a configuration.

    Raises
    ------
    ValueError
        Missing, unexpected or misshapen tensors, or a type that is not floating point. Where the names and shapes are
        those of another known configuration, the message says which.
    """
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in VDVAE(config).state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    if given != wanted:
        other = [name for name, known in CONFIGS.items() if known != config and given == _shapes(known)]
        missing, unexpected = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))
        shapes = [
            f"{name} {given[name]} instead of {wanted[name]}"
            for name in wanted
            if given.get(name, wanted[name]) != wanted[name]
        ]
        raise ValueError(
            f"{source} does not fit the configuration: {len(missing)} tensors missing {missing[:3]}, {len(unexpected)} "
            f"unexpected {unexpected[:3]}, {len(shapes)} of another shape {shapes[:3]}."
            + (
                f" It is a checkpoint of the configuration {other[0]}."
                if other
                else " Choose the configuration it was trained with."
            )
        )
    wrong = {name: value.dtype for name, value in tensors.items() if not value.is_floating_point()}
    if wrong:
        name, dtype = next(iter(wrong.items()))
        raise ValueError(f"{source}: {len(wrong)} tensors are not floating point, {name} is {dtype}")


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in VDVAE(config).state_dict().items()}


def load(path: str | Path, config: Config) -> VDVAE:
    """A model in evaluation mode, in float32, with the weights of a checkpoint.

    Kernels have their channels last in memory, as the tensors they meet (`VDVAE.network_input`): a few per cent faster.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read` and `check`; also where a weight is not finite.
    """
    tensors = read(path)
    check(tensors, config, str(path))
    bad = [name for name, value in tensors.items() if not torch.isfinite(value).all()]
    if bad:
        raise ValueError(f"{path}: {len(bad)} tensors hold NaN or infinity, first {bad[0]}. Restore the file")
    with torch.device("meta"):
        model = VDVAE(config)
    loaded = {name: _channels_last(value.float()) for name, value in tensors.items()}
    model.load_state_dict(loaded, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def convert(source: str | Path, target: str | Path, config: Config) -> None:
    """Write a checkpoint as safetensors, after the same checks as `load`; values and dtypes are kept."""
    tensors = read(source)
    check(tensors, config, str(source))
    save_file({name: value.contiguous() for name, value in tensors.items()}, target)
