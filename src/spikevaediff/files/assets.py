"""Photographs and weights that come from elsewhere: one table (assets.toml), one fetcher, every byte checked.

A file is used only if its sha256 is the one in the table, so all machines compute with the same bytes, and a network
that cannot be fetched is reported, never replaced by another one. Where a publisher states no sha256, what the server
states is checked (see download), and the sha256 of the first use is noted and holds from then on.

Addresses can be exchanged: HF_ENDPOINT for the hub of Hugging Face, SPIKEVAEDIFF_SOURCE_<NAME> for one asset. The bytes
must be the same.

Files lie in the user's cache (`SPIKEVAEDIFF_CACHE`, or the cache directory of the platform), outside the pipeline:
DVC keeps what is computed from them. `python -m spikevaediff assets` lists them.
"""

import json
import os
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs

from spikevaediff.files import pip_archive
from spikevaediff.files.asset_table import Asset, read_table
from spikevaediff.files.atomic import alone, replacing
from spikevaediff.files.checksums import sha256_of, size_text
from spikevaediff.files.download import download
from spikevaediff.files.file_structure import fault
from spikevaediff.files.weights_used import is_path

ASSETS = read_table(Path(__file__).with_name("assets.toml"))
HUB = "https://huggingface.co"


def _known(name: str) -> Asset:
    if name not in ASSETS:
        raise KeyError(f"there is no asset {name!r}; there are {', '.join(sorted(ASSETS))}")
    return ASSETS[name]


def cache_dir() -> Path:
    """Where fetched files lie: $SPIKEVAEDIFF_CACHE, or the user's cache directory of the platform.

    Raises
    ------
    ValueError
        $SPIKEVAEDIFF_CACHE is relative: `dvc exp run --temp` runs elsewhere, and would find nothing there.
    """
    chosen = os.environ.get("SPIKEVAEDIFF_CACHE")
    if not chosen:
        return Path(platformdirs.user_cache_dir("spikevaediff"))
    folder = Path(chosen).expanduser()
    if not folder.is_absolute():
        raise ValueError(
            f"SPIKEVAEDIFF_CACHE is {chosen!r}, a relative path, which would be another folder in every place that "
            f"a command runs in. Make it whole: export SPIKEVAEDIFF_CACHE={shlex.quote(str(folder.absolute()))}"
        )
    return folder


def location(name: str) -> Path:
    """Where the file of an asset lies, or would lie once fetched; KeyError names the assets there are."""
    asset = _known(name)
    return cache_dir() / (asset.folder or asset.name) / Path(asset.file).name


def state(name: str) -> Literal["yes", "no", "damaged"]:
    """Whether the file is there and right, by its sha256 (which is computed once per process)."""
    asset, path = _known(name), location(name)
    if not path.is_file():
        return "no"
    return "damaged" if _wrong(asset, path) else "yes"


def expected_sha256(name: str) -> str | None:
    """The sha256 that the file of an asset must have, or its first digits; None: nothing is known yet."""
    asset = _known(name)
    return asset.sha256 if asset.is_pinned else _noted(asset).get("sha256") or asset.sha256


def note(name: str) -> None:
    """Note the sha256 of a file that was put into the cache and that nothing pins: later uses are compared with it."""
    _note(_known(name), location(name), {})


def fetch(name: str, *, again: bool = False) -> Path:
    """The file of an asset: from the cache, or fetched into it first.

    The sha256 is computed once per process and file. A cached file with another sha256 is fetched again.

    Parameters
    ----------
    name : str
        A key of ASSETS.
    again : bool
        Fetch it although it is there, and where no sha256 is published take what comes as the right one from now on.

    Returns
    -------
    Path
        A file whose sha256 is that of the table, or of its first use here.

    Raises
    ------
    KeyError
        There is no such asset.
    FileNotFoundError
        It is not in the cache and cannot be fetched now; the message names the asset, its size, the reason, where to
        put it by hand and the command that gets it.
    OSError
        It is not in the cache, and this user cannot write there.
    ValueError
        What was served is not the file in the table, or of its first use; or the environment has no pip to fetch it
        with.
    """
    asset, path = _known(name), location(name)
    if not again and path.is_file() and not _wrong(asset, path):
        _note(asset, path, {})
        return path  # without a lock, so that a cache will do which this user may only read
    # Stages run side by side: the second one waits here and then finds the file.
    with alone(path.parent / ".lock"):
        wrong = _wrong(asset, path) if path.is_file() else None
        if not again and path.is_file() and not wrong:
            return path
        try:
            _get(asset, path, again)
        except OSError as error:
            where = f"is not in {cache_dir()}"
            if path.is_file():
                where = f"in {cache_dir()} is damaged ({wrong})" if wrong else f"stays in {cache_dir()} as it is,"
            raise FileNotFoundError(
                f"asset {asset.name} ({size_text(asset.bytes)}; {asset.used_for}) {where} and cannot be fetched from "
                f"{' or '.join(_addresses(asset))} now. Put it there by hand, as {path}; or name another address: "
                f"{_mirror_variable(asset)}=https://...; or with a network: "
                f"python -m spikevaediff assets fetch {asset.name}\nThe reason: {error}"
            ) from error
    return path


def _get(asset: Asset, path: Path, again: bool) -> None:
    """Fetch a file from the first of its addresses that has it."""
    earlier = {} if again else _noted(asset)
    reasons: list[OSError | ValueError] = []
    for address in _addresses(asset):
        try:
            if not address.startswith(("https://", "http://")):
                pip_archive.fetch(asset, path, wrong=partial(_wrong, asset))
            else:
                _fetch_address(asset, path, address, earlier)
            return
        except (OSError, ValueError) as error:
            reasons.append(error)
    for reason in reasons:
        if isinstance(reason, ValueError):
            raise reason
    raise OSError("; ".join(dict.fromkeys(map(str, reasons)))) from reasons[-1]


def _mirror_variable(asset: Asset) -> str:
    return f"SPIKEVAEDIFF_SOURCE_{asset.name.upper()}"


def _addresses(asset: Asset) -> list[str]:
    """Where to look for an asset, in this order: the user's own address, the source, its mirrors.

    Raises
    ------
    ValueError
        The user's address cannot be fetched from, or would let anybody alter a file that nothing pins.
    """
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    addresses = [endpoint + a.removeprefix(HUB) if a.startswith(HUB) else a for a in (asset.source, *asset.mirrors)]
    if own := os.environ.get(_mirror_variable(asset)):
        addresses = [own, *addresses]
    for address in addresses:
        scheme, host = urlsplit(address).scheme, urlsplit(address).hostname
        if scheme == "http" and not (asset.is_pinned or host in ("localhost", "127.0.0.1", "::1")):
            raise ValueError(f"{address}: {asset.name} has no known sha256, so its address must be https")
        if scheme not in ("https", "http") and address != asset.source:
            raise ValueError(f"{address} is not an address of {asset.name}, expected https://...")
    return addresses


def weights(value: str, root: Path) -> Path:
    """The weight file or folder that params.yaml names: a path, or an asset, which is fetched first.

    Parameters
    ----------
    value : str
        A path below the checkout, such as vendor/data/weights/mine.safetensors; an absolute one, or one that begins
        with "~"; or the name of an asset.
    root : Path
        Top of the checkout.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As `fetch`.
    """
    if not is_path(value):
        return fetch(value)
    return root / Path(value).expanduser()  # whoever loads it says that it is not there


def fetch_folder(folder: str) -> Path:
    """The folder of all assets that name it, each fetched first where it is not there.

    Raises
    ------
    KeyError
        No asset names it; the message lists the folders there are.
    FileNotFoundError, ValueError
        As `fetch`.
    """
    names = [asset.name for asset in ASSETS.values() if asset.folder == folder]
    if not names:
        there = ", ".join(sorted({asset.folder for asset in ASSETS.values() if asset.folder}))
        raise KeyError(f"there is no folder of assets {folder!r}; there are {there}")
    for name in names:
        try:
            fetch(name)
        except FileNotFoundError as error:
            whole = size_text(sum(ASSETS[each].bytes for each in names))
            raise FileNotFoundError(f"{folder} ({len(names)} files, {whole}) is not all there: {error}") from error
    return cache_dir() / folder


def _noted(asset: Asset) -> dict[str, Any]:
    """What was noted of a file when it was first used: sha256, bytes, url, commit; empty where nothing was."""
    try:
        found = json.loads(_note_path(asset).read_text(encoding="utf-8"))
        return found if isinstance(found["sha256"], str) else {}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


def _note_path(asset: Asset) -> Path:
    # Not beside the file, which may lie in a folder that another program reads.
    return cache_dir() / "noted" / f"{asset.name}.json"


def _note(asset: Asset, path: Path, origin: dict[str, str]) -> None:
    """Note what came, of a file that the table does not pin: later uses are compared with it."""
    if asset.is_pinned or (not origin and _noted(asset)):
        return
    found = {"sha256": sha256_of(path), "bytes": path.stat().st_size, **origin}
    try:
        with replacing(_note_path(asset)) as temporary:
            temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        print(
            f"the sha256 of {path} cannot be noted ({error}), so its next use is not compared with this one",
            file=sys.stderr,
        )


def _wrong(asset: Asset, path: Path) -> str | None:
    """How a file differs from the table, or from its first use; None: it does not."""
    size = path.stat().st_size
    if asset.exact and size != asset.bytes:
        return f"{size} bytes, expected {asset.bytes}"
    if not asset.exact and not asset.bytes / 2 <= size <= 2 * asset.bytes:
        return f"{size} bytes, expected about {size_text(asset.bytes)}"
    noted = {} if asset.is_pinned else _noted(asset)
    for expected in (asset.sha256, noted.get("sha256")):
        if expected is not None and not sha256_of(path).startswith(expected):
            return f"sha256 {sha256_of(path)}, expected {expected}"
    # What nothing pins is looked into once; from then on its sha256 is known.
    return None if asset.is_pinned or noted else fault(path)


def _fetch_address(asset: Asset, path: Path, address: str, earlier: dict[str, Any]) -> None:
    """Fetch from an address; where the table pins nothing, compare with the first use and note it."""
    if asset.is_pinned:
        download(
            address,
            path,
            n_bytes=asset.bytes if asset.exact else None,
            sha256=asset.sha256,
            about=None if asset.exact else asset.bytes,
        )
        return
    if commit := earlier.get("commit"):
        address = address.replace("/resolve/main/", f"/resolve/{commit}/")
    try:
        stated = download(
            address,
            path,
            n_bytes=earlier.get("bytes") or (asset.bytes if asset.exact else None),
            sha256=earlier.get("sha256") or asset.sha256,
            about=None if asset.exact else asset.bytes,
        )
    except ValueError as error:
        if not earlier:
            raise
        raise ValueError(
            f"{error}. It has been replaced since its first use here; if that is right: "
            f"python -m spikevaediff assets fetch {asset.name} --again"
        ) from error
    if wrong := fault(path):
        path.unlink()
        raise ValueError(f"{address} sent a {asset.file} that is not whole: {wrong}. It was not kept")
    _note(asset, path, {"url": address, "commit": stated.commit})
    if not earlier:
        known = "the server's checksum was right" if stated.is_checkable else "the server states no checksum"
        print(
            f"{asset.name}: {path.stat().st_size} bytes with sha256 {sha256_of(path)}. None is published, {known}; "
            f"noted in {_note_path(asset)}, and later uses are compared with it",
            file=sys.stderr,
        )
