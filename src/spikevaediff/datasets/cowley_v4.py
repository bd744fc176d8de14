"""Macaque V4 (Cowley et al. 2023): 50 sessions of spike counts, 21 to 89 units each, to photographs of 112 px.

The repository tracks what there is and where (manifest.json), nothing of the recordings. A session is two files of a
pinned commit of the publisher's repository, photographs as a zip of JPEG and spike counts as npy, 5 MB together. They
lie in the user's cache, `$SPIKEVAEDIFF_CACHE/cowley_v4`, under the paths that they have there. Every byte is checked:
by what Git calls a file in that commit, and by the sha256 of the first use.

Photographs are known by their number in the zip, from 1. Sessions that are joined must show the same ones, byte by
byte. Nobody has published when single presentations were shown, so their rows are ordered by repetition.
"""

import hashlib
import io
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from spikevaediff.files import first_use, json_file
from spikevaediff.files.assets import cache_dir
from spikevaediff.files.atomic import alone, replacing
from spikevaediff.files.checksums import git_sha1_of, sha256_of, size_text
from spikevaediff.files.download import File, download_all
from spikevaediff.files.manifest import manifest_of
from spikevaediff.images import check_size, resize
from spikevaediff.recordings import facts, precision
from spikevaediff.records import LONGEST_WINDOW_S, Captions, Responses, Stimuli, UnitTable, few

COUNTED = True  # by its publishers, in fixed windows
SOURCE = "macaque V4, photographs"  # of sessions that show nothing else
_SHOWN = {"natural": "photographs", "bashivan_2019": "rendered objects on photographs"}  # others: "gaudy images"
MIRROR = "SPIKEVAEDIFF_SOURCE_COWLEY_V4"  # an address below which the paths of the manifest lie
_FEWEST_IMAGES = 4  # shown in all sessions, to train on some and test others


def acquire(
    data_dir: Path,
    out_dir: Path,
    *,
    sessions: list[int],
    trials: Literal["means", "single"],
    images: list[str],
    n_images: int,
    seed: int,
    size_px: int,
    window_s: list[float],
    captions: Literal["none", "automatic"],
) -> None:
    """Fetch what the user's cache lacks, check it, and write responses, photographs and captions.

    Parameters
    ----------
    data_dir : Path
        Holds manifest.json.
    out_dir : Path
        Gets sessions/<session_id>.npz (a records.Responses of all units) and sessions/sources.json, images.npz (grey)
        and captions_given.csv.
    sessions : list of int
        One; or several that show the same photographs, whose units are then joined as if recorded at once.
    trials : str
        means: one row per image, the mean count of its presentations. single: one row per presentation.
    images : list of str
        Kinds of images; a session must show no other kind, since which image is of which kind is not published.
    n_images : int
        At most so many, drawn by `seed`; a larger number holds the images of a smaller one. 0: all.
    seed : int
    size_px : int
        Side of the images, by the one resize rule; they are published at 112 px.
    window_s : two of float
        In which spikes were counted, seconds after onset.
    captions : str
        none: no image has one, and the second stage works without. automatic: the stage `captions` has BLIP-2 describe
        them.

    Raises
    ------
    FileNotFoundError
        A file is neither in the cache nor to be had now; the message says what to do.
    KeyError
        The manifest lacks a fact.
    ValueError
        The manifest or an option is wrong; a file is damaged, was altered, or holds another session than is known.
    OSError
        Too little space, or no right to write.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    manifest = read_manifest(data_dir / "manifest.json")
    chosen = choose(manifest, sessions, images)
    window = np.asarray(window_s, np.float64)
    if window.shape != (2,) or not window[0] < window[1] or np.abs(window).max() > LONGEST_WINDOW_S:
        raise ValueError(
            f"datasets.cowley_v4.window_s is {window_s}, expected a start and a later stop in seconds after onset, up "
            f"to {LONGEST_WINDOW_S:g}"
        )
    if n_images < 0 or 0 < n_images < _FEWEST_IMAGES:
        raise ValueError(f"datasets.cowley_v4.n_images is {n_images}, expected {_FEWEST_IMAGES} or more, or 0 for all")
    if seed < 0:
        raise ValueError(f"datasets.cowley_v4.seed is {seed}, expected 0 or more")
    check_size(size_px)
    cache = cache_dir() / "cowley_v4"
    kinds = ("images", trials)
    wanted = [_item(manifest, row, kind, cache) for row in chosen for kind in kinds]
    if not all(item.path.is_file() for item in wanted):
        with alone(cache_dir() / "cowley_v4.lock"):  # of two runs, the second waits and then finds the files
            _fetch(manifest, [item for item in wanted if not item.path.is_file()], cache)
    for item in wanted:
        _check(item)
    read = {}
    for row in chosen:
        pictures = _pictures(_item(manifest, row, "images", cache).path)
        responses = _responses(_item(manifest, row, trials, cache).path, trials)
        _check_facts(row, trials, pictures, responses)
        used = _used(row, len(pictures))
        read[row["session_id"]] = ({number: pictures[number - 1] for number in used}, responses)
    number_in = _shared(manifest, {session: of[0] for session, of in read.items()})
    kept = np.array(sorted(number_in), np.int64)
    if n_images:
        kept = np.sort(np.random.default_rng([seed]).permutation(kept)[:n_images])
    first = read[chosen[0]["session_id"]][0]
    pixels = np.stack([_grey(first[number], number, manifest["size_px"]) for number in kept.tolist()])
    with replacing(out_dir / "sessions", folder=True) as folder:
        for position, (session_id, (_, responses)) in enumerate(read.items()):
            rows = [number_in[number][position] for number in kept.tolist()]
            _as_record(session_id, manifest["area"], responses, kept, rows, window).save(folder / f"{session_id}.npz")
        _write_sources(manifest, wanted, folder / "sources.json", single=trials == "single")
    Stimuli(_source(chosen), kept, resize(pixels, size_px)).save(out_dir / "images.npz")
    given = kept if captions == "none" else kept[:0]  # an image that is left out is described later
    Captions(given, ((),) * len(given)).save(out_dir / "captions_given.csv")


def _source(chosen: Sequence[Mapping[str, Any]]) -> str:
    """What was recorded, and which kinds of images were shown."""
    kinds = dict.fromkeys(kind for row in chosen for kind in row["kinds"])
    shown = [_SHOWN.get(kind, f"{kind.replace('_', ' ')} images") for kind in kinds]
    return f"macaque V4, {', '.join(shown)}"


def cached(data_dir: Path, *, sessions: list[int], images: list[str], trials: str, **others: Any) -> list[File]:
    """The files of the user's cache that `acquire` reads with these options, there or not."""
    manifest = read_manifest(data_dir / "manifest.json")
    cache, found = cache_dir() / "cowley_v4", []
    for row in choose(manifest, sessions, images):
        for item in (_item(manifest, row, kind, cache) for kind in ("images", trials)):
            url, *more = _addresses(manifest, item)
            found.append(File(url, item.path, item.n_bytes, others=tuple(more), git_sha1=item.git_sha1))
    return found


def lacks_captions(data_dir: Path, *, captions: str, **others: Any) -> bool:
    """Whether acquisition leaves images for the stage `captions` to describe."""
    return captions == "automatic"


# ---- the manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """manifest.json, checked.

    Raises
    ------
    FileNotFoundError, ValueError
        It is absent or not JSON, lacks a key, lists a session twice, or would fetch what nothing pins over a connection
        that anybody can alter.
    """
    keys = {
        "": {"repository", "commit", "addresses", "paths", "area", "size_px", "licence", "citation", "sessions"},
        "sessions": {"session_id", "kinds", "facts", "files"},
    }
    return manifest_of(path, keys, lists={"sessions": "session_id"})


def choose(manifest: dict[str, Any], sessions: Sequence[int], images: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of the manifest that the options `sessions` and `images` ask for; see `acquire`.

    Raises
    ------
    ValueError
        None is asked for, one twice, one that the manifest does not list, or one that shows other kinds of images.
    """
    rows = {row["session_id"]: row for row in manifest["sessions"]}
    there = ", ".join(map(str, rows))
    if not sessions or len(set(sessions)) < len(sessions):
        raise ValueError(f"datasets.cowley_v4.sessions is {list(sessions)}, expected different ones of {there}")
    if unknown := [number for number in sessions if number not in rows]:
        raise ValueError(f"datasets.cowley_v4.sessions: {', '.join(map(str, unknown))} is not among {there}")
    known = list(dict.fromkeys(kind for row in rows.values() for kind in row["kinds"]))
    if not images or not set(images) <= set(known):
        raise ValueError(f"datasets.cowley_v4.images is {list(images)}, expected kinds of images: {', '.join(known)}")
    for number in sessions:
        if other := [kind for kind in rows[number]["kinds"] if kind not in images]:
            shows = ", ".join(f"{kind} ({n})" for kind, n in rows[number]["kinds"].items())
            fitting = [str(session) for session, row in rows.items() if set(row["kinds"]) <= set(images)]
            raise ValueError(
                f"session {number} shows {shows}, and which image is of which kind is not published, so that "
                f"{', '.join(other)} cannot be left out. Name them as well: "
                f"-S 'datasets.cowley_v4.images=[{','.join([*images, *other])}]'; or take sessions of "
                f"{', '.join(images)} alone: {', '.join(fitting) or 'there is none'}"
            )
    return [rows[number] for number in sessions]


def _used(row: dict[str, Any], n_images: int) -> list[int]:
    """Numbers of the images of a session that are of a stated kind."""
    spans = row.get("used", [[1, n_images]])
    return [number for first, last in spans for number in range(first, last + 1)]


@dataclass(frozen=True)
class _Item:
    """One file of the data set.

    path : Path; where it lies in the cache.
    inside : str; its path in the publisher's repository.
    n_bytes, git_sha1 : int and str, or None where they are not known.
    """

    path: Path
    inside: str
    n_bytes: int | None
    git_sha1: str | None

    @property
    def noted(self) -> Path:
        """Where its sha256 is noted when it is first used."""
        return cache_dir() / "noted" / "cowley_v4" / f"{self.inside.replace('/', '_')}.sha256"


def _item(manifest: dict[str, Any], row: dict[str, Any], kind: str, cache: Path) -> _Item:
    inside = manifest["paths"][kind].format(session_id=row["session_id"])
    file = row["files"][kind]
    return _Item(cache / inside, inside, file["bytes"], file["git_sha1"])


# ---- fetching


def _addresses(manifest: dict[str, Any], item: _Item) -> list[str]:
    """Where to look for a file, in this order: the user's own address, the publisher's, its mirrors.

    Of a file that nothing pins, the first alone: nothing would tell that another has the same bytes.
    """
    own = os.environ.get(MIRROR)
    forms = [f"{own.rstrip('/')}/{{path}}"] if own else []
    found = []
    for form in [*forms, *manifest["addresses"]]:
        if "{git_sha1}" in form and item.git_sha1 is None:
            continue
        url = form.format(
            repository=manifest["repository"], commit=manifest["commit"], path=item.inside, git_sha1=item.git_sha1
        )
        scheme, host = urlsplit(url).scheme, urlsplit(url).hostname
        if scheme not in ("https", "http"):
            raise ValueError(f"{url} is not an address of {item.inside}, expected https://...")
        if scheme == "http" and item.git_sha1 is None and host not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError(f"{url}: {item.inside} has no known hash, so its address must be https")
        found.append(url)
    return found if item.git_sha1 else found[:1]


def _fetch(manifest: dict[str, Any], lacking: list[_Item], cache: Path) -> None:
    if not lacking:
        return
    for item in lacking:
        item.noted.unlink(missing_ok=True)  # of a file that was deleted since
    what = ", ".join(item.inside for item in lacking)
    known = [item.n_bytes for item in lacking if item.n_bytes is not None]
    about = size_text(sum(known)) if len(known) == len(lacking) else f"more than {size_text(sum(known))}"
    print(f"fetching {what} ({about}) into {cache}. {manifest['licence']}", file=sys.stderr, flush=True)
    files = []
    for item in lacking:
        url, *others = _addresses(manifest, item)
        files.append(File(url, item.path, item.n_bytes, others=tuple(others), git_sha1=item.git_sha1))
    try:
        download_all(files)
    except OSError as error:
        if error.errno is not None:
            raise  # of the disk
        left = next(item for item in lacking if not item.path.is_file())
        raise FileNotFoundError(
            f"{what} of {manifest['repository']} is not all in {cache} and cannot be fetched now: {error}. With a "
            f"network, run the same command again: it continues with what has arrived; or put the files there "
            f"yourself, as {left.path}; or name a folder that has them, by address: {MIRROR}=https://..."
        ) from error


def _check(item: _Item) -> None:
    """Compare a file with the manifest, and with the sha256 that was noted when it was first used."""
    again = "Delete it, and it is fetched again by the same command"
    size = item.path.stat().st_size
    if item.n_bytes is not None and size != item.n_bytes:
        raise ValueError(f"{item.path} has {size} bytes, expected {item.n_bytes}. {again}")
    if item.git_sha1 is not None and (git := git_sha1_of(item.path)) != item.git_sha1:
        raise ValueError(f"{item.path} has the Git hash {git}, expected {item.git_sha1}: it was altered. {again}")
    first_use.check(item.path, item.noted)


# ---- what the pipeline gets


def _pictures(path: Path) -> list[bytes]:
    """The JPEG files of a session in the order of its responses.

    Raises
    ------
    ValueError
        The zip is damaged, or its members are not image0001.jpg, image0002.jpg, ... without a gap.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = sorted(name for name in archive.namelist() if not name.endswith("/"))
            contents = [archive.read(name) for name in names]
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path} is not a zip or damaged ({error}). Delete it, and it is fetched again") from error
    expected = [f"image{number:04d}.jpg" for number in range(1, len(names) + 1)]
    if [Path(name).name for name in names] != expected:
        odd = next(name for name, one in zip(names, expected, strict=True) if Path(name).name != one)
        raise ValueError(f"{path} holds {odd}, expected image0001.jpg, image0002.jpg, ... without a gap")
    return contents


def _responses(path: Path, trials: str) -> np.ndarray:
    """Spike counts of a session, float64 (unit, image, repeat), NaN where an image had fewer repeats.

    Raises
    ------
    ValueError
        The file is not such an array, holds values that are not counts, or an image has no presentation.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is not an array or damaged ({error}). Delete it, and it is fetched again") from error
    n_axes = 2 if trials == "means" else 3
    if values.ndim != n_axes or values.dtype != np.float64:
        axes = "(unit, image)" if trials == "means" else "(unit, image, repeat)"
        raise ValueError(f"{path} is {values.dtype} {values.shape}, expected float64 {axes}")
    values = values.reshape(*values.shape[:2], -1)
    shown = np.isfinite(values)
    if not (shown == shown[:1]).all():
        raise ValueError(f"{path}: units differ in which presentations they were recorded in")
    if never := (np.flatnonzero(~shown[0].any(1)) + 1).tolist():
        raise ValueError(f"{path}: image {few(never)} has no response")
    counts = values[shown]
    if counts.min() < 0 or (trials == "single" and np.any(counts != np.round(counts))):
        raise ValueError(f"{path} holds {counts.min():g} and more that are not spike counts")
    return values


def _check_facts(row: dict[str, Any], trials: str, pictures: list[bytes], responses: np.ndarray) -> None:
    session = f"session {row['session_id']}"
    if len(pictures) != responses.shape[1]:
        raise ValueError(f"{session} has responses to {responses.shape[1]} images, and {len(pictures)} pictures")
    found: dict[str, facts.Fact] = {"units": len(responses), "images": len(pictures)}
    if trials == "single":
        n = np.isfinite(responses[0]).sum(1)
        found["repeats"] = f"{n.min()} to {n.max()}"
    facts.check(session, found | {"image_order": facts.order_of(pictures)}, row["facts"])


def _shared(manifest: dict[str, Any], shown: dict[int, dict[int, bytes]]) -> dict[int, list[int]]:
    """For each image that all sessions show, by its number in the first, its number in each.

    Raises
    ------
    ValueError
        Sessions share too few images; the message says how many, and which sessions of the manifest share all.
    """
    if len(shown) == 1:
        return {number: [number] for pictures in shown.values() for number in pictures}
    by_content = [
        {
            hashlib.sha256(content).digest(): number for number, content in reversed(pictures.items())
        }  # the first of equals
        for pictures in shown.values()
    ]
    alike = set.intersection(*(set(each) for each in by_content))
    if len(alike) < _FEWEST_IMAGES:
        same: dict[str, list[str]] = {}
        for row in manifest["sessions"]:
            if (name := row["files"]["images"]["git_sha1"]) is not None:
                same.setdefault(name, []).append(str(row["session_id"]))
        groups = "; ".join(" and ".join(group) for group in same.values() if len(group) > 1)
        raise ValueError(
            f"sessions {', '.join(map(str, shown))} share {len(alike)} photographs, expected at least "
            f"{_FEWEST_IMAGES}: the units of several sessions are joined over the images that all of them show. Those "
            f"that show the same ones: {groups or 'none'}; otherwise take one session"
        )
    return {by_content[0][content]: [each[content] for each in by_content] for content in alike}


def _grey(content: bytes, number: int, size_px: int) -> np.ndarray:
    """A photograph as grey levels (ITU-R 601 luma), uint8 (size_px, size_px)."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind, mode, size = image.format, image.mode, image.size
            grey = np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"photograph {number} is damaged ({error})") from error
    if kind != "JPEG" or mode not in ("RGB", "L") or size != (size_px, size_px):
        expected = f"JPEG of {size_px} x {size_px}"
        raise ValueError(f"photograph {number} is {kind} {size} of mode {mode}, expected {expected}")
    return grey


def _as_record(
    session_id: int, area: str, responses: np.ndarray, image_id: np.ndarray, numbers: Sequence[int], window: np.ndarray
) -> Responses:
    """The responses to some images, each of which has another number in this session, repetition by repetition."""
    chosen = responses[:, np.array(numbers) - 1]
    of_repeat, of_image = np.nonzero(np.isfinite(chosen[0]).T)
    return Responses.make(
        counts=precision.kept(chosen[:, of_image, of_repeat].T[:, :, None]),
        image_id=image_id[of_image],
        presentation_id=np.arange(len(of_image))[:, None],
        session_id=np.array([session_id]),
        window_s=window[None],
        units=UnitTable.make(np.arange(len(chosen)), session_id, area),
    )


def _write_sources(manifest: dict[str, Any], items: Sequence[_Item], path: Path, *, single: bool) -> None:
    """Where every byte came from, beside the sessions."""
    files = {
        item.inside: {
            "bytes": item.path.stat().st_size,
            "git_sha1": git_sha1_of(item.path),
            "sha256": sha256_of(item.path),
        }
        for item in items
    }
    content = {name: manifest[name] for name in ("repository", "commit", "licence", "citation")} | {"files": files}
    if single:
        content["order_unknown"] = "when presentations were shown is not published; they are ordered by repetition"
    json_file.write(path, content, digits=None, indent=2)
