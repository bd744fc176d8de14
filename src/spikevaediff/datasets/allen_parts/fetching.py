"""Files of the Allen data set: where each comes from, how it gets into the cache, and how it is checked there."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikevaediff.files import first_use
from spikevaediff.files.assets import cache_dir
from spikevaediff.files.atomic import alone
from spikevaediff.files.checksums import sha256_of, size_text
from spikevaediff.files.download import File, download_all
from spikevaediff.files.remote_file import RemoteError, RemoteFile
from spikevaediff.recordings import allen_movies, allensdk_environment


@dataclass(frozen=True)
class Item:
    """One file of the data set: a session (session_id), a scene (image_id) or a movie."""

    file: str
    path: Path
    url: str
    about: int  # bytes, to the precision that is known
    n_bytes: int | None
    sha256: str | None
    copy: str | None = None  # the address of a copy, whose size and sha256 these are
    session_id: int | None = None
    image_id: int | None = None
    movie: str = ""

    @property
    def others(self) -> tuple[str, ...]:
        """Further addresses of the same bytes."""
        return (self.copy,) if self.copy else ()

    @property
    def noted(self) -> Path:
        """Where its sha256 is noted when it is first used: not in the cache itself, which may be AllenSDK's."""
        return cache_dir() / "allen_sha256" / f"{self.file}.sha256"


def cache() -> Path:
    """Where files lie, under the names that AllenSDK gives them in its own cache."""
    return cache_dir() / "allen"


def wanted(manifest: dict[str, Any], chosen: list[dict[str, Any]], movies: Sequence[str] = ()) -> list[Item]:
    """The files of some sessions (rows of the manifest), of all scenes, and of some movies."""
    items, folder = [], cache()
    base, blobs = manifest["base_url"].rstrip("/"), manifest["dandi"]["blobs"].rstrip("/")
    for row in chosen:
        file, blob = manifest["session_file"].format(session_id=row["session_id"]), row["dandi_blob"]
        copy, url = f"{blobs}/{blob[:3]}/{blob[3:6]}/{blob}", f"{base}/{file}"
        known = {"about": row["bytes"], "n_bytes": row["bytes"], "sha256": row["sha256"]}
        items.append(Item(file, folder / file, url, **known, copy=copy, session_id=row["session_id"]))
    templates = manifest["templates"]
    for image_id in range(templates["n_images"]):
        file = templates["file"].format(image_id=image_id)
        sha256 = templates["sha256"].get(str(image_id))
        known = {"about": templates["approximate_bytes"], "n_bytes": None, "sha256": sha256}
        items.append(Item(file, folder / file, f"{base}/{file}", **known, image_id=image_id))
    for name in movies:
        template = allen_movies.TEMPLATES[name]
        known = {"about": template.about, "n_bytes": None, "sha256": None}
        items.append(Item(template.file, folder / template.file, f"{base}/{template.file}", **known, movie=name))
    return items


def have(manifest: dict[str, Any], items: Sequence[Item], way: str) -> None:
    """Fetch what is not there, and check all of it.

    Parameters
    ----------
    manifest : dict
    items : sequence of Item
    way : str
        "allensdk"; any other is over https.

    Raises
    ------
    FileNotFoundError
        A file is not there and cannot be fetched now; what has arrived is kept.
    ValueError
        A file is damaged, or was altered since it was fetched.
    OSError
        Too little space, or no right to write.
    """
    if not all(item.path.is_file() for item in items):
        with alone(cache_dir() / "allen.lock"):  # of two runs, the second waits and then finds the files
            cache().mkdir(exist_ok=True)
            _fetch(manifest, [item for item in items if not item.path.is_file()], way)
    for item in items:
        _check(item, manifest["dandi"]["name"])


def _fetch(manifest: dict[str, Any], lacking: list[Item], way: str) -> None:
    if not lacking:
        return
    folder = cache()
    numbers = [item.session_id for item in lacking if item.session_id is not None]
    parts = [f"session {', '.join(map(str, numbers))}"] * bool(numbers)
    n_scenes = sum(item.image_id is not None for item in lacking)
    parts += [f"{n_scenes} scenes"] * bool(n_scenes) + [item.movie.replace("_", " ") for item in lacking if item.movie]
    about, free = sum(item.about for item in lacking), shutil.disk_usage(folder).free
    what = f"{', '.join(parts[:-1])}{' and ' * (len(parts) > 1)}{parts[-1]} (about {size_text(about)})"
    if about > free + sum(part.stat().st_size for part in folder.rglob("*.part")):
        raise OSError(
            f"{what} would not fit into {folder}, which has only {size_text(free)} free. Choose fewer sessions, or "
            f"another folder: SPIKEVAEDIFF_CACHE"
        )
    for item in lacking:
        item.noted.unlink(missing_ok=True)  # of a file that was deleted since
    print(f"fetching {what} into {folder}. {manifest['licence']}", file=sys.stderr, flush=True)
    try:
        if way == "allensdk":
            by_allensdk(manifest, numbers, [item.movie for item in lacking if item.movie])
        else:
            download_all([File(item.url, item.path, item.n_bytes, item.sha256, others=item.others) for item in lacking])
    except ValueError as error:
        raise ValueError(f"{error}. Sizes and sha256 of sessions are those of {manifest['dandi']['name']}") from error
    except OSError as error:
        origin = "by allensdk" if way == "allensdk" else f"from {manifest['base_url']}"
        raise FileNotFoundError(
            f"{what} is not in {folder} and cannot be fetched {origin} now: {error}. With a network, run the same "
            f"command again: it continues with what has arrived; or put the files there yourself, as {lacking[0].file} "
            f"(a link to an AllenSDK cache will do), or choose the other way: -S datasets.allen.fetch="
            f"{'https' if way == 'allensdk' else 'allensdk'}"
        ) from error


def by_allensdk(manifest: dict[str, Any], numbers: list[int], movies: Sequence[str]) -> None:
    """Have allensdk itself fill the cache with sessions, all scenes and movies.

    Raises
    ------
    OSError
        Its environment cannot be built, or it failed; the message has its last line.
    """
    of_movies = ",".join(str(allen_movies.TEMPLATES[name].number) for name in movies) or "-"
    words = ["fetch", str(cache()), str(manifest["templates"]["n_images"]), of_movies, *map(str, numbers)]
    command = allensdk_environment.command(*words)
    run = subprocess.run(command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace", check=False)
    if run.returncode:
        said = [line for line in run.stderr.strip().splitlines() if line.strip()]
        raise OSError(f"allensdk ended with {run.returncode} and said: {said[-1].strip() if said else 'nothing'}")


def _check(item: Item, dandi: str) -> None:
    """Compare a session with its copy in DANDI, and a scene with the sha256 that was noted when it was first used."""
    if not item.path.is_file():
        raise FileNotFoundError(f"{item.path} is not there though it was fetched; run the same command again")
    size = item.path.stat().st_size
    if item.n_bytes is not None and size != item.n_bytes:
        raise ValueError(
            f"{item.path} has {size} bytes, its copy in {dandi} {item.n_bytes}: it is not whole, or another file. "
            f"Delete it, and it is fetched again by the same command"
        )
    if item.sha256 is None:
        first_use.check(item.path, item.noted, since="when it was fetched")
    elif (found := sha256_of(item.path)) != item.sha256:
        known = f"its copy in {dandi}" if item.copy else "the manifest says"
        raise ValueError(
            f"{item.path} has sha256 {found}, {known} {item.sha256}: it was altered or is damaged. Delete it, and it "
            f"is fetched again by the same command"
        )


def blocks(item: Item, url: str) -> Path:
    """Where the parts of a session that came from one address are kept."""
    return cache_dir() / "allen_blocks" / item.file / hashlib.sha256(url.encode()).hexdigest()[:8]


def in_parts(manifest: dict[str, Any], item: Item, extract: Callable[[RemoteFile], None]) -> dict[str, Any]:
    """Read a session that stays on its server, from the first of its addresses that can be read.

    Parameters
    ----------
    manifest : dict
    item : Item
    extract : function of an open file
        Called anew for another address.

    Returns
    -------
    dict
        What sources.json says of the session.

    Raises
    ------
    FileNotFoundError
        No address can be read now; what has arrived is kept.
    """
    assert item.copy is not None
    assert item.n_bytes is not None
    failed = []
    with alone(cache_dir() / "allen_blocks.lock"):
        for url in (item.url, item.copy):
            print(f"reading parts of session {item.session_id} from {url}. {manifest['licence']}", file=sys.stderr)
            with RemoteFile(url, blocks(item, url), n_bytes=item.n_bytes) as remote:
                try:
                    extract(remote)
                except RemoteError as error:
                    print(f"{error}{'; its copy is tried' * (url == item.url)}", file=sys.stderr)
                    failed.append(str(error))
                    continue
                print(
                    f"session {item.session_id}: {size_text(remote.n_received)} of {size_text(item.n_bytes)} came now",
                    file=sys.stderr,
                )
                return {"url": url, "bytes": item.n_bytes, "sha256": None, "etag": remote.etag, "read": "in parts"}
    raise FileNotFoundError(
        f"session {item.session_id} cannot be read in parts now: {'; nor '.join(failed)}. With a network, run the same "
        f"command again, it continues with what has arrived; or fetch all of it ({size_text(item.n_bytes)}): "
        f"-S datasets.allen.fetch=https"
    )


def source_of(item: Item) -> dict[str, Any]:
    """What sources.json says of a file that is here as a whole."""
    source = {"url": item.url, "bytes": item.path.stat().st_size, "sha256": sha256_of(item.path)}
    return source | ({"same_bytes_at": item.copy} if item.copy else {})
