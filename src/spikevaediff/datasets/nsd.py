"""Natural Scenes Dataset (Allen et al. 2022): 7 tesla fMRI of eight people who saw up to 10,000 photographs each.

The repository tracks what there is and where (manifest.json), nothing of the data. Its terms forbid passing it on: they
are accepted once (files.terms), and `recordings_remote` of params.yaml keeps what is made of it out of `dvc push`.
Files lie in the user's cache, `$SPIKEVAEDIFF_CACHE/nsd`, under the publisher's paths, or in a folder of the user's
(files.source). Photographs are read row by row from the one file that holds them all.

What the pipeline gets is one session per subject: a row per trial, a column per voxel, float16; the id of an image is
its row in nsd_stimuli.hdf5, from 0, and that of a voxel its position in the grid of the subject.
"""

import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from spikevaediff.datasets.nsd_parts import betas, clusters, coco, design, stimuli, voxels
from spikevaediff.files import json_file, terms
from spikevaediff.files.assets import cache_dir
from spikevaediff.files.atomic import replacing
from spikevaediff.files.download import File
from spikevaediff.files.file_part import read_part
from spikevaediff.files.manifest import manifest_of
from spikevaediff.files.remote_file import RemoteFile
from spikevaediff.files.source import Source
from spikevaediff.files.tables import write as write_table
from spikevaediff.images import check_size, rgb
from spikevaediff.recordings import facts
from spikevaediff.records import Captions, Responses, Stimuli, UnitTable

ASSETS = ("efficientnet_lite0",)  # whose features the clusters are of
PRIVATE = "its terms forbid passing it on"
COUNTED = True  # by its publishers, in fixed windows
TRIAL_S = (0.0, 4.0)  # a trial: a photograph for 3 s, and 1 s until the next; a beta is of the whole
_ENDING = {"nifti": "nii.gz", "hdf5": "hdf5"}


def acquire(
    data_dir: Path,
    out_dir: Path,
    *,
    subject: int,
    sessions: int | list[int] | str,
    rois: list[str],
    betas_version: str,
    betas_format: Literal["nifti", "hdf5"],
    z_score: Literal["session", "none"],
    test: Literal["shared1000", "brain_diffuser_2023", "clusters"],
    n_clusters: int,
    test_share: float,
    seed: int,
    size_px: int,
    captions: Literal["coco", "none", "automatic"],
) -> None:
    """Fetch what the user's cache lacks, check it, and write single-trial responses, photographs, captions and a split.

    Parameters
    ----------
    data_dir : Path
        Holds manifest.json.
    out_dir : Path
        Gets sessions/<subject>.npz (a records.Responses, float16) and sessions/sources.json, images.npz (grey),
        captions_given.csv and split_given.csv.
    subject : int
        1 to 8.
    sessions : "all", int, or list of int
        All, the first n, or these.
    rois : list of str
        nsdgeneral; or regions with labels (prf-visualrois, streams, floc-faces, Kastner2015, ...), whose names become
        the areas. A voxel of several belongs to the first.
    betas_version : str
        A folder of the publisher: betas_fithrf_GLMdenoise_RR, betas_fithrf or betas_assumehrf.
    betas_format : str
        nifti: compressed, 18 GB per subject; hdf5: 42 GB, of which only the voxels of the regions are read.
    z_score : str
        session: each voxel within each session, by mean and deviation of its training trials; none: percent signal
        change.
    test : str
        shared1000: all shared photographs that were shown, with all repeats. brain_diffuser_2023: the same within the
        first 37 sessions. clusters: whole clusters of photographs that look alike.
    n_clusters, test_share, seed : int, float, int
        Of clusters, see nsd_parts.clusters.
    size_px : int
        Side of the images, 425 as published, by the one resize rule.
    captions : str
        coco: five per photograph; none: the second stage works without; automatic: the stage `captions` describes them.

    Raises
    ------
    PermissionError
        The terms were not accepted.
    FileNotFoundError
        A file is neither in the cache nor to be had now; the message says what to do.
    ValueError
        The manifest or an option is wrong; a file is damaged, was altered, or holds other data than is known.
    OSError
        Too little space, or no right to write.
    """
    data_dir, out_dir = Path(data_dir), Path(out_dir)
    manifest = read_manifest(data_dir / "manifest.json")
    row = _subject(manifest, subject)
    numbers = _sessions(manifest, row, sessions, test)
    check_size(size_px)
    if not rois or len(set(rois)) < len(rois):
        raise ValueError(f"datasets.nsd.rois is {rois}, expected different regions: nsdgeneral, prf-visualrois, ...")
    if test == "clusters" and not 0 < test_share < 1:
        raise ValueError(f"datasets.nsd.test_share is {test_share}, expected a share of the images, between 0 and 1")
    terms.require("nsd", manifest["terms"]["address"], manifest["terms"]["points"])
    source = Source.of("nsd", manifest["base_url"])
    files = _files(manifest, source, row, numbers, rois, betas_version, betas_format, captions)
    sums = source.have([file for some in files.values() for file in some], "Its terms forbid passing it on.")
    paths = {name: [file.path for file in some] for name, some in files.items()}

    n_trials, of_images = manifest["trials_per_session"], manifest["images"]
    plan = design.read(paths["design"][0], subject, of_images["n"])
    trials = design.trials_of(plan, numbers, n_trials)
    shown = plan.image_id[trials]
    images = np.unique(shown)
    masks = dict(zip(rois, paths["roi"], strict=True))
    labels = dict(zip([roi for roi in rois if roi != voxels.GENERAL], paths["labels"], strict=True))
    chosen = voxels.chosen(masks, labels, row["grid"], rois=rois)
    found = design.facts(plan, trials) if len(numbers) == row["sessions"] else {}
    found |= {roi: n for roi, n in chosen.inside.items() if roi in row["facts"]}
    facts.check(f"subject {subject}", found, row["facts"])

    pixels = _pixels(manifest, source, images, size_px)
    if test == "clusters":
        looks = _looks(pixels)
        tested = clusters.hold_out(looks, n_clusters=n_clusters, test_share=test_share, seed=seed)
    else:
        tested = design.shared_test(plan, images)
    if test == "brain_diffuser_2023":
        published = {name: manifest[test][name] for name in ("n_test", "n_train")}
        facts.check(test, {"n_test": int(tested.sum()), "n_train": int((~tested).sum())}, published)
    given = coco.captions(paths["table"][0], paths["captions"][0], images) if captions == "coco" else None
    trained = np.isin(shown, images[~tested]).reshape(len(numbers), n_trials)
    with replacing(out_dir / "sessions", folder=True) as folder:
        scratch = folder / "betas.npy"
        responses, valid = betas.extract(
            paths["betas"],
            chosen,
            trained,
            scale=manifest["scale"],
            z_score=z_score == "session",
            empty=lambda shape: np.lib.format.open_memmap(scratch, "w+", np.float16, shape),
        )
        if not valid.all():
            print(f"{np.sum(~valid)} of {len(valid)} voxels are invalid in some session and left out", file=sys.stderr)
        record = _as_record(subject, responses, valid, chosen, shown, trials)
        record.save(folder / f"{subject}.npz")
        scratch.unlink()
        _write_sources(manifest, source, sums, folder / "sources.json")
    Stimuli(f"Natural Scenes Dataset, subject {subject}", images, pixels).save(out_dir / "images.npz")
    if given is None:
        without = images if captions == "none" else images[:0]  # an image that is left out is described later
        given = Captions(without, ((),) * len(without))
    given.save(out_dir / "captions_given.csv")
    write_table(
        out_dir / "split_given.csv",
        [{"image_id": i, "fold": 0 if t else -1} for i, t in zip(images.tolist(), tested.tolist(), strict=True)],
    )


def cached(
    data_dir: Path,
    *,
    subject: int,
    sessions: int | list[int] | str,
    rois: list[str],
    betas_version: str,
    betas_format: str,
    test: str,
    captions: str,
    **others: Any,
) -> list[File]:
    """The files of the user's cache that `acquire` reads with these options, there or not."""
    manifest = read_manifest(data_dir / "manifest.json")
    row, source = _subject(manifest, subject), Source.of("nsd", manifest["base_url"])
    numbers = _sessions(manifest, row, sessions, test)
    files = _files(manifest, source, row, numbers, rois, betas_version, betas_format, captions)
    found = [file for some in files.values() for file in some]
    if source.url is None:
        return []
    size = n_images(data_dir, subject=subject, sessions=sessions, test=test) * manifest["images"]["size_px"] ** 2 * 3
    return [*found, File(f"{source.url}/{manifest['files']['stimuli']}", _blocks() / "blocks", about=size)]


def n_images(data_dir: Path, *, subject: int, sessions: int | list[int] | str, test: str, **others: Any) -> int:
    """About how many images there will be, before anything is fetched."""
    manifest = read_manifest(data_dir / "manifest.json")
    row = _subject(manifest, subject)
    n = len(_sessions(manifest, row, sessions, test))
    return row["facts"]["images"] if n == row["sessions"] else min(row["facts"]["images"], n * 700)


def lacks_captions(data_dir: Path, *, captions: str, **others: Any) -> bool:
    """Whether acquisition leaves images for the stage `captions` to describe."""
    return captions == "automatic"


# ---- the manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """manifest.json, checked.

    Raises
    ------
    FileNotFoundError, ValueError
        It is absent or not JSON, lacks a key, or lists a subject twice.
    """
    keys = {
        "": {
            "base_url",
            "captions_url",
            "licence",
            "terms",
            "citation",
            "files",
            "about",
            "scale",
            "trials_per_session",
            "images",
            "brain_diffuser_2023",
            "subjects",
        },
        "terms": {"address", "points"},
        "files": {"design", "table", "stimuli", "betas", "roi", "labels"},
        "images": {"n", "size_px"},
        "subjects": {"subject", "grid", "sessions", "facts"},
    }
    return manifest_of(path, keys, lists={"subjects": "subject"})


def _subject(manifest: dict[str, Any], subject: int) -> dict[str, Any]:
    rows = {row["subject"]: row for row in manifest["subjects"]}
    if subject not in rows:
        raise ValueError(f"datasets.nsd.subject is {subject}, expected one of {', '.join(map(str, rows))}")
    return rows[subject]


def _sessions(manifest: dict[str, Any], row: dict[str, Any], sessions: Any, test: str) -> list[int]:
    """The sessions that are used; those of brain_diffuser_2023 are fixed."""
    published = manifest["brain_diffuser_2023"]["sessions"]
    if test != "brain_diffuser_2023":
        return design.sessions_of(row, sessions)
    if row["sessions"] < published:
        able = [str(one["subject"]) for one in manifest["subjects"] if one["sessions"] >= published]
        raise ValueError(
            f"subject {row['subject']} has {row['sessions']} sessions, and brain_diffuser_2023 is of the first "
            f"{published}: take one of {', '.join(able)}, or test: shared1000"
        )
    if sessions not in ("all", published):
        raise ValueError(
            f"datasets.nsd.sessions is {sessions!r}, expected {published} or all: brain_diffuser_2023 is of the first "
            f"{published}"
        )
    return design.sessions_of(row, published)


def _files(
    manifest: dict[str, Any],
    source: Source,
    row: dict[str, Any],
    numbers: list[int],
    rois: list[str],
    version: str,
    kind: str,
    captions: str,
) -> dict[str, list[File]]:
    """What is fetched whole, by what it is."""
    names, about, subject = manifest["files"], manifest["about"], row["subject"]
    size = about.get("betas")
    if size is not None and kind == "hdf5":  # not compressed
        size = 2 * int(np.prod(row["grid"])) * manifest["trials_per_session"]

    def one(name: str, size: int | None = None, **given: Any) -> File:
        return source.file(names[name].format(**given), about=size)

    ending = _ENDING[kind]
    found = {
        "design": [one("design")],
        "roi": [one("roi", subject=subject, roi=roi) for roi in rois],
        "labels": [one("labels", roi=roi) for roi in rois if roi != voxels.GENERAL],
        "betas": [
            one("betas", size, subject=subject, version=version, session=number, ending=ending) for number in numbers
        ],
    }
    if captions == "coco":
        url = manifest["captions_url"]
        found["table"] = [one("table", about.get("table"))]
        found["captions"] = [source.file(url.rpartition("/")[2], about=about.get("captions"), url=url)]
    return found


# ---- what the pipeline gets


def _blocks() -> Path:
    """Where parts of the file of photographs are kept."""
    return cache_dir() / "nsd_blocks"


def _pixels(manifest: dict[str, Any], source: Source, images: np.ndarray, size_px: int) -> np.ndarray:
    """The photographs, grey, from a folder or from the server."""
    key = manifest["files"]["stimuli"]
    known = {"n": manifest["images"]["n"], "side_px": manifest["images"]["size_px"], "size_px": size_px}
    path = source.folder / key
    if path.is_file():
        return stimuli.read(path, images, **known, ahead=None)
    if source.url is None:
        raise FileNotFoundError(f"{path} does not exist")
    url = f"{source.url}/{key}"
    _, stated = read_part(url, 0, 8, None)
    assert stated.total is not None
    with RemoteFile(url, _blocks(), n_bytes=stated.total) as remote:
        return stimuli.read(remote, images, **known, ahead=remote.fetch)


def _looks(pixels: np.ndarray) -> np.ndarray:
    """What EfficientNet-lite0 sees in the images, float32 (n_images, 1280): the mean over its positions."""
    from spikevaediff.features import efficientnet  # which imports torch
    from spikevaediff.files import assets

    weights = assets.fetch("efficientnet_lite0")
    parts = np.array_split(pixels, max(1, len(pixels) // 256))  # 49 times as much before the mean
    found = [
        efficientnet.contexts(rgb(part), weights=weights, batch_size="auto", device="cpu").mean(1) for part in parts
    ]
    return np.concatenate(found)


def _as_record(
    subject: int,
    responses: np.ndarray,
    valid: np.ndarray,
    chosen: voxels.Voxels,
    shown: np.ndarray,
    trials: np.ndarray,
) -> Responses:
    """The valid voxels, moved together in place: a copy would need the memory that the mapped file saves."""
    n = int(valid.sum())
    if n < len(valid):
        for start in range(0, len(responses), 1000):
            responses[start : start + 1000, :n] = responses[start : start + 1000][:, valid]
    return Responses.make(
        counts=responses[:, :n, None],
        image_id=shown,
        presentation_id=trials[:, None],
        session_id=np.array([subject]),
        window_s=np.array([TRIAL_S]),
        units=UnitTable.make(chosen.index[valid], subject, chosen.area[valid]),
    )


def _write_sources(manifest: dict[str, Any], source: Source, sums: dict[str, str], path: Path) -> None:
    """Where every byte came from, beside the responses."""
    content = {
        "address": source.url or "a folder",
        "licence": manifest["licence"],
        "terms": manifest["terms"],
        "citation": manifest["citation"],
        "sha256": sums,
    }
    json_file.write(path, content, digits=None, indent=2)
