"""Weight files of every network: read without running what they hold, and checked before a number of them is used.

A file may hold code (a pickle can call what it names), the weights of another network, half of its tensors, or numbers
that no network computes with. Each of these would otherwise end far away: as a program that ran, or as images that are
grey or NaN and blamed on the recording. `read` opens a file, `fill` puts its tensors into a network, `check` looks at
the values alone.
"""

import pickle
import re
import struct
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# What readers of tensors raise for damaged files: the unpickler whatever the changed bytes lead to.
DAMAGED = (
    *(SafetensorError, zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError),
    *(LookupError, AttributeError, TypeError, AssertionError, struct.error),
)
_RESTORE = "Fetch or restore it again"
# How the unpickler that runs nothing says that it was asked to run something.
_CODE = re.compile(
    r"GLOBAL ([\w.]+)|unrecognized function <?(?:[\w-]+ )*([\w.]+)"
    r"|Can only (?:create|build) .* but got <?(?:class )?'?([\w.]+)",
    re.DOTALL,
)


def read(path: str | Path, *, cure: str = _RESTORE) -> dict[str, Tensor]:
    """Tensors of a file by name, on the processor; no code in it is run.

    Parameters
    ----------
    path : str or Path
        Safetensors, or a file of `torch.save` (of any version) with a bare state dict. Archives are mapped into memory,
        so that tensors that nobody looks at are not read.
    cure : str
        What the user can do about a damaged file, for the message.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    PermissionError
        It may not be read.
    ValueError
        It is damaged, cut off, empty, a web page or a pointer of Git LFS; it holds code; it is not a state dict.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"weight file {path} is a folder, expected a file")
    if not path.is_file():
        raise FileNotFoundError(f"weight file {path} does not exist")
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"weight file {path} is a pointer of Git LFS and not the weights: git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise ValueError(f"weight file {path} is a web page, damaged or of another format. {cure}")
    if is_torchscript(path):
        raise ValueError(f"weight file {path} holds more than tensors (TorchScript). It was not run")
    try:
        if path.suffix == ".safetensors" or head[8:9] == b"{":
            with safe_open(path, "pt") as named:
                tensors = {name: named.get_tensor(name) for name in named.keys()}  # noqa: SIM118
        else:
            # Files of torch before 1.6 are not archives and cannot be mapped.
            tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except DAMAGED as error:
        if isinstance(error, pickle.UnpicklingError) and (code := _CODE.search(str(error))):
            named_there = next(filter(None, code.groups()))
            raise ValueError(
                f"weight file {path} holds more than tensors ({named_there}). It was not run; do not use it"
            ) from error
        raise ValueError(f"weight file {path} is damaged or of another format ({reason(error)}). {cure}") from error
    if not isinstance(tensors, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in tensors.items()
    ):
        kind = type(tensors).__name__
        inside = f" of {', '.join(map(str, list(tensors)[:4]))}" if isinstance(tensors, dict) else ""
        raise ValueError(f"weight file {path} holds {kind}{inside}, expected a bare state dict of tensors")
    return tensors


def is_torchscript(path: str | Path) -> bool:
    """Whether a file is an archive of TorchScript, which is a program with its tensors."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (*DAMAGED, NotImplementedError):
        return False  # no archive, or a damaged one, which its reader will say


def reason(error: BaseException) -> str:
    """What a reader said, in a line, without torch's advice to switch its safety off."""
    said = " ".join(str(error).rsplit("WeightsUnpickler error:", 1)[-1].split())[:200]
    return said if said and "weights_only" not in said else type(error).__name__


def check_dtypes(tensors: Mapping[str, Tensor], source: str, *, dtypes: Collection[torch.dtype] = FLOATS) -> None:
    """Refuse tensors of another type than floating point: they would be converted without a word.

    Raises
    ------
    ValueError
        Names the first tensor whose type is not one of `dtypes`.
    """
    wrong = {name: value.dtype for name, value in tensors.items() if value.dtype not in dtypes}
    if wrong:
        name, dtype = next(iter(wrong.items()))
        kinds = ", ".join(str(kind).removeprefix("torch.") for kind in dtypes)
        raise ValueError(
            f"{source}: {len(wrong)} tensors are not floating point ({kinds}), {name} is {dtype}. Convert the original "
            "file anew"
        )


def check(tensors: Mapping[str, Tensor], source: str, *, dtypes: Collection[torch.dtype] = FLOATS) -> None:
    """Refuse tensors that no network computes with; a NaN in one weight makes every image NaN.

    Raises
    ------
    ValueError
        As `check_dtypes`; a tensor without values (of the meta device, or sparse), or a value that is not finite in
        float32.
    """
    check_dtypes(tensors, source, dtypes=dtypes)
    hollow = [name for name, value in tensors.items() if value.is_meta or value.layout != torch.strided]
    if hollow:
        raise ValueError(f"{source}: {len(hollow)} tensors are sparse or without values, first {hollow[0]}. {_RESTORE}")
    bad = [name for name, value in tensors.items() if not torch.isfinite(value.float()).all()]
    if bad:
        raise ValueError(f"{source}: {len(bad)} tensors hold NaN or infinity, first {bad[0]}. {_RESTORE}")


def check_header(path: str | Path) -> None:
    """The dtype of every tensor of a safetensors file, by its header alone, for files that another library reads.

    Raises
    ------
    ValueError
        A tensor is not floating point of 16 to 64 bits.
    """
    with safe_open(path, "pt") as named:
        kinds = {name: named.get_slice(name).get_dtype() for name in named.keys()}  # noqa: SIM118
    wrong = {name: kind for name, kind in kinds.items() if kind not in ("F16", "BF16", "F32", "F64")}
    if wrong:
        name, kind = next(iter(wrong.items()))
        raise ValueError(f"{path}: {len(wrong)} tensors are not floating point (16 to 64 bits), {name} is {kind}")


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: str | Path, what: str) -> None:
    """Put all tensors of a file into a network that has exactly these, computing in float32.

    Parameters
    ----------
    network : nn.Module
        May lie on the meta device: its tensors are replaced.
    tensors : mapping of str to tensor
    path, what : str
        The file and the name of the network, for messages.

    Raises
    ------
    ValueError
        As `check`; or a tensor is missing, left over, or of another shape.
    """
    wanted = network.state_dict()
    floating = {name for name, value in wanted.items() if value.is_floating_point()}
    check({name: value for name, value in tensors.items() if name in floating}, f"weight file {path}")
    for name in wanted.keys() - floating & tensors.keys():
        if tensors[name].dtype != wanted[name].dtype:
            raise ValueError(f"weight file {path}: {name} is {tensors[name].dtype}, expected {wanted[name].dtype}")
    given = {name: value.float() if name in floating else value for name, value in tensors.items()}
    try:
        network.load_state_dict(given, strict=True, assign=True)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:400]
        raise ValueError(f"weight file {path} is not {what}: {said}") from error
