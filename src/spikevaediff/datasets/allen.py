"""Allen Brain Observatory, Visual Coding Neuropixels: sessions in which a mouse saw 118 natural scenes.

The repository tracks what there is and where (manifest.json), nothing of the recordings. Session files of 1.7 to 3.2 GB
and the scenes lie in the user's cache, `$SPIKEVAEDIFF_CACHE/allen`, out of reach of `dvc gc`, under the names that
AllenSDK gives them in its own cache, so that a link to such a cache saves a download. DVC keeps what the pipeline
needs: an extract of each session (nwb_extract), the scenes at one size, and where everything came from.

They are fetched directly over https, or by allensdk itself in an environment of its own (by_allensdk.py). Both fill the
same cache with the same files, so nothing after them can tell the difference. Or a session is not fetched: the extract
is made from the file on the server, of which only what it needs is read (remote_file). Sessions must have the size and
sha256 of their copies in DANDI 000021, which are also where they come from when the Institute's own address fails.
Nobody states checksums of the scenes: the sha256 of one is noted when it arrives and compared at every later use.
"""

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from spikevaediff.datasets.allen_parts import fetching
from spikevaediff.files import json_file
from spikevaediff.files.atomic import replacing
from spikevaediff.files.download import File
from spikevaediff.files.manifest import manifest_of
from spikevaediff.files.remote_file import RemoteFile
from spikevaediff.images import check_size, resize
from spikevaediff.recordings import allen_movies, facts, nwb_extract, session_file, unit_filter
from spikevaediff.recordings import movies as recorded_movies
from spikevaediff.recordings.nwb import read_presentations, read_units
from spikevaediff.recordings.session_file import Source
from spikevaediff.records import BLANK, Captions, Stimuli, few

SOURCE = "Allen Visual Coding Neuropixels"
_ALLENSDK = unit_filter.Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
_WAYS = ("https", "stream", "allensdk")
# The share of a session that its extract needs. Nearly all of it are spike times: 131 million of 8 bytes in session
# 715093703, the one of which their number is known. Of a generated session of 2.08 GB it was 0.34.
PARTS = 8 * 131e6 / 2_856_232_912


def acquire(
    data_dir: Path,
    out_dir: Path,
    *,
    sessions: Sequence[int] | int | str,
    fetch: str,
    margin_s: float,
    size_px: int,
    movies: Sequence[str],
    movie_rows: Sequence[float],
    movie_columns: Sequence[float],
) -> None:
    """Fetch what the user's cache lacks, and write extracts of the sessions, the scenes and captions that are given.

    Parameters
    ----------
    data_dir : Path
        Holds manifest.json and, where somebody wrote or made one, captions.csv.
    out_dir : Path
        Gets sessions/<session_id>.nwb and sessions/sources.json, images.npz (grey), movies.npz and captions_given.csv.
    sessions : sequence of int, or "all"
        One session; or several, whose units are then joined as if recorded at once (a pseudo-population, see
        pseudo_population). "all" leaves out those that the manifest marks as at chance.
    fetch : str
        "https"; "stream": of sessions, only what the extract needs, by ranges over https, to the same bytes; or
        "allensdk": allensdk itself in its own environment, which uv builds.
    margin_s : float
        Spikes are kept from this long before each presentation to as long after it; windows of counts must lie within.
    size_px : int
        Side of the images, by the one resize rule.
    movies : sequence of str
        natural_movie_one, natural_movie_three, or none: frames and responses to them, for training.
    movie_rows, movie_columns : sequence of float
        The part of a frame that falls where scenes are shown, see allen_movies.

    Raises
    ------
    FileNotFoundError
        A file is neither in the cache nor to be had now; the message says what to do.
    ValueError
        The manifest or an option is wrong; a file is damaged, was altered since it was fetched, or is not what the
        manifest says it is.
    OSError
        Too little space, or no right to write.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    manifest = read_manifest(data_dir / "manifest.json")
    chosen = choose(manifest, sessions)
    if fetch not in _WAYS:
        raise ValueError(f"datasets.allen.fetch is {fetch!r}, expected {', '.join(_WAYS[:-1])} or {_WAYS[-1]}")
    nwb_extract.check_margin(margin_s)
    check_size(size_px)
    shown = recorded_movies.chosen(movies, "datasets.allen.movies")
    allen_movies.check_part(movie_rows, movie_columns)
    given = _given_captions(data_dir / "captions.csv", manifest)
    for session in chosen:
        if session["at_chance"]:
            print(
                f"session {session['session_id']} is known to decode at chance (see manifest.json); it is used anyway",
                file=sys.stderr,
            )
    wanted = fetching.wanted(manifest, chosen, shown)
    in_parts = [item for item in wanted if fetch == "stream" and item.session_id and not item.path.is_file()]
    whole = [item for item in wanted if item not in in_parts]
    fetching.have(manifest, whole, fetch)
    templates = [item for item in wanted if item.image_id is not None]
    stimuli = read_templates(manifest, templates, size_px)
    if known := manifest["templates"]["fingerprints"]:
        n = facts.n_in_order(stimuli.pixels, known)
        facts.check("natural scenes", {"in their places": n}, {"in their places": len(known)})
    templates_of_movies = {item.movie: item.path for item in wanted if item.movie}
    frames = allen_movies.frames(templates_of_movies, SOURCE, movie_rows, movie_columns)
    sources = {}
    with replacing(out_dir / "sessions", folder=True) as folder:
        for item in wanted:
            if item.session_id is not None:
                path = folder / f"{item.session_id}.nwb"
                extract = partial(_extract, path, item.session_id, stimuli, margin_s, shown)
                if item in in_parts:
                    sources[item.file] = fetching.in_parts(manifest, item, extract)
                else:
                    extract(item.path)
                _check_facts(path, item.session_id, manifest, shown)
            if item not in in_parts:
                sources[item.file] = fetching.source_of(item)
        _write_sources(manifest, sources, folder / "sources.json")
    stimuli.save(out_dir / "images.npz")
    frames.save(out_dir / "movies.npz")
    given.save(out_dir / "captions_given.csv")


def cached(
    data_dir: Path, *, sessions: Sequence[int] | int | str, fetch: str, movies: Sequence[str], **others: Any
) -> list[File]:
    """The files of the user's cache that `acquire` reads with these options, there or not."""
    manifest = read_manifest(Path(data_dir) / "manifest.json")
    items = fetching.wanted(manifest, choose(manifest, sessions), movies)
    # A session that is read in parts has no file here, unless all of it is here anyway.
    items = [item for item in items if fetch != "stream" or item.session_id is None or item.path.is_file()]
    return [File(item.url, item.path, item.n_bytes, item.sha256, item.about, item.others) for item in items]


def in_parts(data_dir: Path, *, sessions: Sequence[int] | int | str, fetch: str, **others: Any) -> list[File]:
    """The sessions of which `acquire` reads only parts; `about` estimates how many bytes are still to come."""
    manifest = read_manifest(Path(data_dir) / "manifest.json")
    items = fetching.wanted(manifest, choose(manifest, sessions))
    found = []
    for item in items:
        if fetch == "stream" and item.session_id is not None and not item.path.is_file():
            kept = fetching.blocks(item, item.url) / "blocks"  # with holes where nothing has arrived
            n_kept = 512 * kept.stat().st_blocks if kept.is_file() else 0
            found.append(File(item.url, item.path, sha256=item.sha256, about=max(0, int(PARTS * item.about) - n_kept)))
    return found


def lacks_captions(data_dir: Path, **others: Any) -> bool:
    """Whether acquisition leaves images for the stage `captions` to describe."""
    return not (data_dir / "captions.csv").is_file()


# ---- the manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """manifest.json, checked.

    Raises
    ------
    FileNotFoundError, ValueError
        It is absent or not JSON, lacks a key, lists a session twice, or would fetch over a connection that anybody can
        alter.
    """
    keys = {
        "": {"base_url", "dandi", "facts", "session_file", "sessions", "templates", "licence", "citation"},
        "dandi": {"name", "blobs"},
        "templates": {"file", "n_images", "height", "width", "approximate_bytes", "sha256", "fingerprints"},
        "sessions": {"session_id", "bytes", "sha256", "dandi_blob", "at_chance"},
    }
    manifest = manifest_of(path, keys, lists={"sessions": "session_id"})
    for row in manifest["sessions"]:
        if type(row["bytes"]) is not int or not re.fullmatch("[0-9a-f]{64}", str(row["sha256"])):
            raise ValueError(
                f"{path}: session {row['session_id']} has bytes {row['bytes']} and sha256 {row['sha256']}, expected a "
                f"whole number and 64 hexadecimal digits"
            )
    for name, url in (("base_url", manifest["base_url"]), ("dandi.blobs", manifest["dandi"]["blobs"])):
        address = urlsplit(url)
        if address.scheme != "https" and address.hostname not in ("localhost", "127.0.0.1"):
            raise ValueError(f"{path}: {name} is {url}, expected an https address")
    return manifest


def choose(manifest: dict[str, Any], sessions: Sequence[int] | int | str) -> list[dict[str, Any]]:
    """The rows of the manifest that the option `sessions` asks for, in its order; see `acquire`.

    Raises
    ------
    ValueError
        None is asked for, one twice, or one that the manifest does not list.
    """
    rows = {row["session_id"]: row for row in manifest["sessions"]}
    if sessions == "all":
        return [row for row in rows.values() if not row["at_chance"]]
    if isinstance(sessions, int):
        sessions = [sessions]
    if isinstance(sessions, str) or not sessions or not all(isinstance(number, int) for number in sessions):
        raise ValueError(f"datasets.allen.sessions is {sessions!r}, expected numbers of sessions, or all")
    if len(set(sessions)) < len(sessions):
        raise ValueError(f"datasets.allen.sessions names one twice: {list(sessions)}")
    if unknown := [number for number in sessions if number not in rows]:
        raise ValueError(
            f"datasets.allen.sessions: {', '.join(map(str, unknown))} is not among the {len(rows)} sessions that show "
            f"natural scenes: {', '.join(map(str, rows))}"
        )
    return [rows[number] for number in sessions]


# ---- what the pipeline gets


def read_templates(manifest: dict[str, Any], items: Sequence[fetching.Item], size_px: int) -> Stimuli:
    """The scenes, squashed to squares by the one resize rule, under the frame numbers that the sessions use.

    Raises
    ------
    ValueError
        A file is not an image, damaged, or of another size or kind than the manifest says.
    """
    height, width = manifest["templates"]["height"], manifest["templates"]["width"]
    pixels = []
    for item in items:
        try:
            with Image.open(item.path) as image:
                mode, size, whole = image.mode, image.size, np.asarray(image)
        except PermissionError:
            raise  # it is not damaged
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(
                f"{item.path} is not an image or damaged ({error}). Delete it, and the same command fetches it again"
            ) from error
        if mode != "L" or size != (width, height):
            raise ValueError(
                f"{item.path} is {size[0]} x {size[1]} of mode {mode}, expected {width} x {height} grey in 8 bit (L)"
            )
        pixels.append(resize(whole[None], size_px)[0])
    return Stimuli(SOURCE, np.array([item.image_id for item in items]), np.stack(pixels))


def _extract(
    path: Path, session_id: int, stimuli: Stimuli, margin_s: float, movies: Sequence[str], source: Path | RemoteFile
) -> None:
    """Write to `path` what the pipeline needs of a session."""
    _check_session(source, session_id, stimuli)
    ahead = source.fetch if isinstance(source, RemoteFile) else None
    nwb_extract.extract(source, path, margin_s=margin_s, movies=movies, ahead=ahead)


def _check_session(path: Source, session_id: int, stimuli: Stimuli) -> None:
    shown = np.unique(read_presentations(path).image_id)
    if unknown := np.setdiff1d(shown, [BLANK, *stimuli.image_id]).tolist():
        raise ValueError(f"{path} shows image {few(unknown)}, of which there is no template")
    if lacking := np.setdiff1d(stimuli.image_id, shown).tolist():
        raise ValueError(
            f"session {session_id} does not show image {few(lacking)} ({len(lacking)} of "
            f"{len(stimuli.image_id)} scenes); leave the session out"
        )


def _check_facts(path: Path, session_id: int, manifest: dict[str, Any], movies: Sequence[str]) -> None:
    """Compare the extract of a session with what is known of all sessions, and of this one."""
    units, criteria = read_units(path)
    passes = np.logical_and.reduce([*criteria.values(), *unit_filter.met(units, _ALLENSDK).values()])
    areas, n = np.unique(units.area[passes], return_counts=True)
    with session_file.opened(path) as file:
        image_id = session_file.whole(file, session_file.PRESENTATIONS, "frame")
        shown = {name: session_file.whole(file, session_file.presentations_table(name), "frame") for name in movies}
    images, repeats = np.unique(image_id[image_id != BLANK], return_counts=True)
    found: dict[str, facts.Fact] = {
        "number": int(units.session_id[0]),
        "presentations": len(image_id),
        "images": len(images),
        "repeats": f"{repeats.min()} to {repeats.max()}",
        "blanks": int(np.sum(image_id == BLANK)),
        "recorded units": len(units),
        "units": int(passes.sum()),
        "areas": ", ".join(f"{area} {count}" for area, count in zip(areas.tolist(), n.tolist(), strict=True)),
    }
    (row,) = (row for row in manifest["sessions"] if row["session_id"] == session_id)
    known = dict.fromkeys(found) | {"number": session_id} | manifest["facts"] | row.get("facts", {})
    for name, frame in shown.items():
        _, repeats = np.unique(frame, return_counts=True)
        template = allen_movies.TEMPLATES[name]
        found[name] = f"{len(repeats)} frames, {repeats.min()} to {repeats.max()} times each"
        known[name] = f"{template.n_frames} frames, {template.n_repeats} to {template.n_repeats} times each"
    facts.check(f"session {session_id}", found, known)


def _given_captions(path: Path, manifest: dict[str, Any]) -> Captions:
    if not path.is_file():
        return Captions(np.empty(0, np.int64), ())
    given = Captions.load(path)
    n_images = manifest["templates"]["n_images"]
    if unknown := [image_id for image_id in given.image_id.tolist() if image_id >= n_images]:
        raise ValueError(f"{path} has a caption for image {unknown[0]}, but the scenes are 0 to {n_images - 1}")
    return given


def _write_sources(manifest: dict[str, Any], files: dict[str, dict[str, Any]], path: Path) -> None:
    """Where every byte came from, beside the sessions."""
    content = {"licence": manifest["licence"], "citation": manifest["citation"], "files": files}
    json_file.write(path, content, digits=None, indent=2)
