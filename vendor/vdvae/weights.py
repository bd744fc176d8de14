"""Checkpoints of the VDVAE: published .th files and safetensors, loaded strictly.

Nothing is renamed and nothing is skipped: every tensor of the file must be a tensor of the model, in name and shape,
and the other way round. The one exception is the prefix `module.`, which the non-EMA files carry on every name (they
were saved from inside a data-parallel wrapper); it is removed when all names have it. `python -m vdvae.weights SOURCE
TARGET` writes a published file as safetensors.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from loading import weights
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
        See `loading.weights.read`.
    """
    tensors = weights.read(path)
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def check(tensors: dict[str, Tensor], config: Config, source: str) -> None:
    """Refuse tensors that are not exactly those of a configuration.

    Raises
    ------
    ValueError
        Missing, unexpected or misshapen tensors, a type that is not floating point, or values that are not finite.
        Where the names and shapes are those of another known configuration, the message says which; where they are not
        those of a VDVAE at all, it says so.
    """
    wanted, given = _shapes(config), {name: tuple(value.shape) for name, value in tensors.items()}
    if given != wanted:
        if not set(given) & set(wanted):
            raise ValueError(
                f"{source} is not a checkpoint of a VDVAE: none of its {len(given)} tensors ({sorted(given)[:3]}) is "
                f"one of this model ({sorted(wanted)[:3]}). Choose the file of openai/vdvae that ends in -model-ema.th"
            )
        other = fitting(tensors)
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
                f" It is a checkpoint of the configuration {other}."
                if other
                else " Choose the configuration it was trained with."
            )
        )
    weights.check(tensors, source)


def fitting(tensors: dict[str, Tensor]) -> str | None:
    """The name of the known configuration that has exactly these names and shapes, None where there is none."""
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    return next((name for name, known in CONFIGS.items() if given == _shapes(known)), None)


@cache
def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in VDVAE(config).state_dict().items()}


def load(path: str | Path, config: Config) -> VDVAE:
    """A model in evaluation mode, in float32, with the weights of a checkpoint.

    Kernels have their channels last in memory, as the tensors they meet (`VDVAE.network_input`): a few per cent faster.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read` and `check`.
    """
    tensors = read(path)
    check(tensors, config, str(path))
    with torch.device("meta"):
        model = VDVAE(config)
    # Popped, so that the two layouts of a tensor are never all there at once.
    loaded = {name: _channels_last(tensors.pop(name).float()) for name in list(tensors)}
    model.load_state_dict(loaded, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _channels_last(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def convert(source: str | Path, target: str | Path, config: str | None = None) -> str:
    """Write a checkpoint as safetensors; values and dtypes are kept, a prefix `module.` is dropped.

    Parameters
    ----------
    source, target : str or Path
        A file as `read` takes it, and the one to be made, which is there whole or not at all.
    config : str, optional
        A name of CONFIGS that the checkpoint must fit. Without one it is found by names and shapes.

    Returns
    -------
    str
        The name of the configuration.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        Unknown configuration, see `read` and `check`, or a target that is not called `.safetensors`.
    """
    target = Path(target)
    if target.suffix != ".safetensors":
        raise ValueError(f"{target} is not called .safetensors; other programs know the format by its name")
    if config is not None and config not in CONFIGS:
        raise KeyError(f"VDVAE configuration {config!r} is unknown; there are {', '.join(CONFIGS)}")
    tensors = read(source)
    name = config or fitting(tensors) or "imagenet64"  # which `check` then says it is not
    check(tensors, CONFIGS[name], str(source))
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as folder:
        whole = Path(folder) / target.name
        save_file({key: value.contiguous() for key, value in tensors.items()}, whole, {"config": name})
        whole.replace(target)
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status is 1 when the file was refused, and nothing is written then."""
    parser = argparse.ArgumentParser(
        prog="python -m vdvae.weights", description="Write a checkpoint of the VDVAE as safetensors"
    )
    parser.add_argument("source", metavar="SOURCE", help=".th file as published, or .pt, .pth, .safetensors")
    parser.add_argument("target", metavar="TARGET", help=".safetensors file to write")
    parser.add_argument("--config", choices=list(CONFIGS), help="that it must fit (default: found by its tensors)")
    chosen = parser.parse_args(arguments)
    try:
        name = convert(chosen.source, chosen.target, chosen.config)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{chosen.target}: configuration {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
