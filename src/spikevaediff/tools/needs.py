"""Which files made by others a run reads, given its parameters: for plans (plan.py) and for bundles (bundle.py)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from spikevaediff.evaluation import looking, protocols
from spikevaediff.files import assets
from spikevaediff.files.download import File, download_all
from spikevaediff.files.weights_used import is_path
from spikevaediff.parameters.file import dataset, model
from spikevaediff.parameters.options import is_weights


@dataclass(frozen=True)
class Need:
    """One file of the user's cache that a run reads.

    name : str; of the asset, or of the file below the cache.
    path : Path; where it lies or would lie.
    n_bytes : int; its size, or about it where `exact` is False.
    exact : bool
    used_for : str
    required : bool; without it the run ends; otherwise a metric is absent.
    file : File or None; where a file of a data set comes from; None: an asset.
    """

    name: str
    path: Path
    n_bytes: int
    exact: bool
    used_for: str
    required: bool
    file: File | None = None

    @property
    def state(self) -> Literal["have", "need", "damaged"]:
        """By the size alone, in no time; the run itself compares the sha256. A size of 0 is not known."""
        if not self.path.is_file():
            return "need"
        if not self.n_bytes:
            return "have"
        status = self.path.stat()
        size = status.st_size if self.exact else min(status.st_size, 512 * status.st_blocks)  # less its holes
        fits = size == self.n_bytes if self.exact else self.n_bytes / 2 <= size <= 2 * self.n_bytes
        return "have" if fits else "damaged"


def needs(params: Mapping[str, Any], root: Path) -> list[Need]:
    """Every file of the user's cache that a run with these parameters reads, each once, required ones first.

    Raises
    ------
    FileNotFoundError, KeyError, ValueError
        Parameters that name what does not exist.
    """
    required = [*_of_dataset(params), *_of_model(params), *_of_encoding(params), *_of_library(params)]
    required += _of_captions(params, root)
    metrics = list(_of_metrics(params))
    embedded = [name for name in metrics if assets.ASSETS[name].embedded]
    found = {name: _need(name, required=True) for name in dict.fromkeys([*required, *embedded])}
    found |= {name: _need(name, required=False) for name in metrics if name not in found}
    name, module, options = dataset(params)
    files = module.cached(root / "vendor/data" / name, **options) if hasattr(module, "cached") else []
    of_data = [
        Need(
            name=str(file.path.relative_to(assets.cache_dir())),
            path=file.path,
            n_bytes=file.n_bytes or file.about or 0,
            exact=file.n_bytes is not None,
            used_for=f"data set {name}",
            required=True,
            file=file,
        )
        for file in files
    ]
    return sorted([*of_data, *found.values()], key=lambda need: not need.required)


def in_parts(params: Mapping[str, Any], root: Path) -> list[File]:
    """Files that stay on their server, of which a run reads parts; `about` estimates how many bytes are to come."""
    name, module, options = dataset(params)
    return list(module.in_parts(root / "vendor/data" / name, **options)) if hasattr(module, "in_parts") else []


def fetch(some: Iterable[Need]) -> None:
    """Fetch those that are not there; each is checked as by the run.

    Raises
    ------
    OSError, ValueError
        As assets.fetch and download.download_all.
    """
    files = []
    for need in some:
        if need.file is None:
            assets.fetch(need.name)
        elif need.state != "have":
            files.append(need.file)
    if files:
        download_all(files)


def _need(name: str, *, required: bool) -> Need:
    asset = assets.ASSETS[name]
    return Need(name, assets.location(name), asset.bytes, asset.exact, asset.used_for, required)


def _of_dataset(params: Mapping[str, Any]) -> tuple[str, ...]:
    _, module, options = dataset(params)
    chosen = module.assets_of(**options) if hasattr(module, "assets_of") else ()
    return (*getattr(module, "ASSETS", ()), *chosen)


def _of_model(params: Mapping[str, Any]) -> list[str]:
    """Values of models.<model> that are names of assets, not paths."""
    read = [options for space, options in model(params).items() if space == "vdvae" or _second_stage(params)]
    values = [value for options in read for key, value in options.items() if is_weights(key, value)]
    return [value for value in values if not is_path(value)]


def _second_stage(params: Mapping[str, Any]) -> bool:
    """Whether contexts and the diffusion model are wanted."""
    return params["parts"]["second_stage"]


def _of_encoding(params: Mapping[str, Any]) -> list[str]:
    from spikevaediff.encoding.encoder import family

    return [name for kind in params["encoding"]["families"] for name in family(kind).ASSETS]


def _of_library(params: Mapping[str, Any]) -> list[str]:
    """The photographs whose crops are its default, and the networks that describe them where texts are learnt from."""
    from spikevaediff.datasets import simulated

    crops = (Path(params["library"]["folder"]) / "scene_boxes.csv").is_file()
    described = _second_stage(params) and params["regress"].get("text", {}).get("library", 0) > 0
    return [*simulated.ASSETS] * crops + ["efficientnet_lite0", "imagenet_class_names"] * described


def _of_captions(params: Mapping[str, Any], root: Path) -> list[str]:
    """The network that describes images, where the data set leaves some to it and params.yaml names no folder."""
    folder = params["captions"]["model"]
    name, module, options = dataset(params)
    lacks = hasattr(module, "lacks_captions") and module.lacks_captions(root / "vendor/data" / name, **options)
    if not lacks or not _second_stage(params) or Path(folder).expanduser().is_dir():
        return []
    names = [asset.name for asset in assets.ASSETS.values() if asset.folder == folder]
    if not names:
        raise ValueError(f"params.yaml: captions.model is {folder!r}, which is neither a folder nor known here")
    return names


def _of_metrics(params: Mapping[str, Any]) -> Iterable[str]:
    protocol = protocols.named(params["evaluate"]["protocol"])
    for metric in params["evaluate"]["metrics"]:
        if not protocol.metrics or metric in protocol.metrics:
            yield from looking.weights_of(metric, protocol)
