"""The Allen data set against a server on this machine: what is fetched, what is refused, and what the pipeline gets."""

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import allen_files
import numpy as np
import pytest
from bucket import Bucket, serving
from conftest import ROOT
from PIL import Image

from spikevaediff.datasets import allen
from spikevaediff.datasets.allen_parts import fetching
from spikevaediff.files import one_request
from spikevaediff.files.checksums import size_text
from spikevaediff.images import resize
from spikevaediff.recordings import facts
from spikevaediff.recordings.behaviour import read_pupil
from spikevaediff.recordings.pseudo_population import concatenate
from spikevaediff.recordings.spike_counts import read_responses
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import Captions, Stimuli

N_IMAGES = 6
SESSIONS = [700000001, 700000002]
NWB = "session_700000001/session_700000001.nwb"
OPTIONS: dict[str, Any] = {
    **{"sessions": [700000001], "fetch": "https", "margin_s": 0.5, "size_px": 32},
    **{"movies": [], "movie_rows": [22.8, 281.2], "movie_columns": [118.1, 489.9]},
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    for number, pupil in zip(SESSIONS, (True, False), strict=True):
        path = folder / f"session_{number}" / f"session_{number}.nwb"
        allen_files.session(path, number, n_images=N_IMAGES, n_repeats=3, units_per_area=5, pupil=pupil)
    allen_files.templates(folder / "natural_scene_templates", N_IMAGES)
    return folder


@pytest.fixture
def bucket(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)
    monkeypatch.setattr(one_request, "_TIMEOUT_S", 2)
    with serving(published) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "allen"


@pytest.fixture
def data(bucket: Bucket, tmp_path: Path) -> Path:
    content = allen_files.manifest(bucket.url, bucket.folder, SESSIONS, N_IMAGES)
    return allen_files.write_manifest(tmp_path / "data", content)


def change(data: Path, *path: str | int, value: Any) -> None:
    content = json.loads((data / "manifest.json").read_text())
    table = content
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    (data / "manifest.json").write_text(json.dumps(content))


def test_sessions_images_and_sources_arrive(data: Path, cache: Path, published: Path, tmp_path: Path) -> None:
    allen.acquire(data, tmp_path / "out", **OPTIONS | {"sessions": SESSIONS})
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "sessions").iterdir()) == [
        "700000001.nwb",
        "700000002.nwb",
        "sources.json",
    ]
    limits = Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95)
    options = {"areas": ["VISp", "CA1"], "windows_s": [[0.04, 0.29]], "min_units": 1, "limits": limits}
    for number in SESSIONS:
        whole = read_responses(published / f"session_{number}/session_{number}.nwb", **options)
        part = read_responses(out / f"sessions/{number}.nwb", **options)
        np.testing.assert_array_equal(part.counts, whole.counts)
    joined = concatenate([read_responses(path, **options) for path in sorted((out / "sessions").glob("*.nwb"))])
    assert set(joined.unit_session_id.tolist()) == set(SESSIONS)
    assert read_pupil(out / "sessions/700000001.nwb") is not None
    assert read_pupil(out / "sessions/700000002.nwb") is None

    stimuli = Stimuli.load(out / "images.npz")
    assert stimuli.image_id.tolist() == list(range(N_IMAGES))
    with Image.open(published / "natural_scene_templates/natural_scene_4.tiff") as image:
        whole_image = np.asarray(image)
    assert whole_image.shape == (allen_files.HEIGHT, allen_files.WIDTH)
    np.testing.assert_array_equal(stimuli.pixels[4], resize(whole_image[None], 32)[0])

    sources = json.loads((out / "sessions/sources.json").read_text())
    assert sources["licence"]
    assert sources["citation"]
    assert len(sources["files"]) == len(SESSIONS) + N_IMAGES
    assert sources["files"][NWB]["bytes"] == (published / NWB).stat().st_size
    assert len(Captions.load(out / "captions_given.csv").image_id) == 0


def test_a_second_run_asks_the_server_for_nothing_and_gives_the_same_bytes(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    results = []
    for name in ("one", "two"):
        allen.acquire(data, tmp_path / name, **OPTIONS)
        results.append(
            {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        )
        asked = len(bucket.asked)
    assert asked == 1 + N_IMAGES
    assert results[0] == results[1]
    assert len(results[0]) == 5


def test_what_arrived_before_a_break_is_not_fetched_again(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    last = "natural_scene_templates/natural_scene_5.tiff"
    half = (bucket.folder / NWB).stat().st_size // 2
    part = cache / f"{NWB}.part"

    def refused_when_the_others_have_come() -> int:
        others = [cache / f"natural_scene_templates/natural_scene_{image_id}.tiff" for image_id in range(5)]
        while not (all(path.is_file() for path in others) and part.exists() and part.stat().st_size == half):
            time.sleep(0.001)
        return 404

    bucket.faults |= {NWB: "silent", last: refused_when_the_others_have_come}
    with pytest.raises(FileNotFoundError, match="no such file"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()
    bucket.faults, bucket.asked = {}, []
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert sorted(bucket.asked, key=str) == [(last, None), (NWB, f"bytes={half}-")]


BLOB = "blobs/abc/def/abcdef-700000001"


@pytest.mark.parametrize("fault", [404, 503, "html", "altered", "another_size"])
def test_a_session_that_the_institute_does_not_give_comes_from_dandi(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path, fault: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.copies[BLOB] = NWB
    bucket.faults[NWB] = fault
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert (cache / NWB).read_bytes() == (bucket.folder / NWB).read_bytes()
    assert f"{bucket.url}{NWB} fails (" in capsys.readouterr().err
    sources = json.loads((tmp_path / "out/sessions/sources.json").read_text())["files"]
    assert sources[NWB]["same_bytes_at"] == bucket.url + BLOB
    assert "same_bytes_at" not in sources["natural_scene_templates/natural_scene_0.tiff"]


def test_a_session_that_breaks_off_at_the_institute_is_gone_on_with_at_dandi(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    bucket.copies[BLOB] = NWB
    half = (bucket.folder / NWB).stat().st_size // 2
    bucket.faults[NWB] = "truncated"
    bucket.then[NWB] = 403
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert [ask for ask in bucket.asked if "scene" not in ask[0]] == [
        (NWB, None),
        (NWB, f"bytes={half}-"),
        (BLOB, f"bytes={half}-"),
    ]
    assert (cache / NWB).read_bytes() == (bucket.folder / NWB).read_bytes()


FAULTS: dict[str, tuple[int | str, str]] = {
    "forbidden": (403, r"refuses access \(403\): .*; nor from http.*/blobs/abc/def/abcdef-700000001: .*no such file"),
    "moved": (404, r"no such file \(404\)"),
    "busy": (503, "503, it is busy or down: try again later"),
    "a page": ("html", "web page in place of the file"),
    "cut off": ("truncated", None),  # type: ignore[dict-item]
    "no ranges": ("no_ranges", None),  # type: ignore[dict-item]
    "silent": ("silent", None),  # type: ignore[dict-item]
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_server_that_misbehaves_is_survived_or_reported_with_what_to_do(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path, case: str
) -> None:
    fault, says = FAULTS[case]
    bucket.faults[NWB] = fault
    if says is None:
        allen.acquire(data, tmp_path / "out", **OPTIONS)
        assert (tmp_path / "out/images.npz").exists()
        return
    with pytest.raises(FileNotFoundError) as caught:
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    text = str(caught.value)
    assert caught.match(says)
    about = (bucket.folder / NWB).stat().st_size + N_IMAGES * 3000
    for part in (
        f"session 700000001 and 6 scenes (about {size_text(about)}) is not in",
        bucket.url,
        "run the same command again",
        f"put the files there yourself, as {NWB}",
        "-S datasets.allen.fetch=allensdk",
    ):
        assert part in text
    assert "\n" not in text
    assert not (tmp_path / "out").exists()


def test_altered_bytes_are_refused_and_not_kept(data: Path, bucket: Bucket, cache: Path, tmp_path: Path) -> None:
    bucket.faults[NWB] = "altered"
    bucket.faults[BLOB], bucket.copies[BLOB] = "altered", NWB
    with pytest.raises(
        ValueError,
        match=r"sent a file with sha256 .*; nor from .*Sizes and sha256 of sessions are those of DANDI 000021",
    ):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert not list((cache / "session_700000001").iterdir())


def test_altered_scenes_are_refused_and_not_kept(data: Path, bucket: Bucket, cache: Path, tmp_path: Path) -> None:
    bucket.faults["natural_scene_templates/natural_scene_1.tiff"] = "altered"
    with pytest.raises(ValueError, match="does not have the checksum which Amazon S3 states"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert not (cache / "natural_scene_templates/natural_scene_1.tiff").exists()


def test_no_network_is_named(data: Path, cache: Path, tmp_path: Path) -> None:
    change(data, "base_url", value="https://absent.invalid/cache/")
    with pytest.raises(
        FileNotFoundError, match=r"cannot be fetched from https://absent.invalid/cache/ now: no connection"
    ):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_a_cached_file_that_was_altered_since_is_found(data: Path, cache: Path, tmp_path: Path) -> None:
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    path = cache / NWB
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"its copy in DANDI 000021 [0-9a-f]{64}: it was altered or is damaged. Delete"
    ):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    path.unlink()
    allen.acquire(data, tmp_path / "out", **OPTIONS)  # as the message says
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=r"bytes, its copy in DANDI 000021 \d+: it is not whole, or another file. Delete"
    ):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    path.unlink()
    scene = cache / "natural_scene_templates/natural_scene_1.tiff"
    scene.write_bytes(scene.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"when it was fetched it had .* altered or is damaged. Delete it"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_a_size_and_a_sha256_in_the_manifest_are_enforced(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    bucket.copies[BLOB] = NWB
    right = json.loads((data / "manifest.json").read_text())["sessions"][0]
    change(data, "sessions", 0, "bytes", value=17)
    with pytest.raises(
        ValueError, match=r"expected 17: it is not the file that was meant; nor .* those of DANDI 000021"
    ):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    change(data, "sessions", 0, "bytes", value=right["bytes"])
    change(data, "sessions", 0, "sha256", value="0" * 64)
    with pytest.raises(ValueError, match=r"sent a file with sha256 .*, expected 0000.* those of DANDI 000021"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    change(data, "sessions", 0, "sha256", value=right["sha256"])
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    change(data, "templates", "sha256", "3", value="0" * 64)
    with pytest.raises(ValueError, match=r"natural_scene_3.tiff has sha256 .*, the manifest says 0000"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_files_that_a_user_has_already_are_taken_as_they_are(
    data: Path, bucket: Bucket, cache: Path, published: Path, tmp_path: Path
) -> None:
    cache.parent.mkdir(parents=True)
    cache.symlink_to(published)  # AllenSDK's cache has the same names
    before = sorted(published.rglob("*"))
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert bucket.asked == []
    assert sorted(published.rglob("*")) == before


def test_files_of_a_folder_without_locks_in_which_nothing_can_be_noted_are_used(
    data: Path,
    cache: Path,
    published: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(published, cache)
    (cache.parent / "allen_sha256").write_text("a file, so that nothing can be put below it")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert Stimuli.load(tmp_path / "out/images.npz").image_id.tolist() == list(range(N_IMAGES))
    assert "so its next use is not compared with this one" in capsys.readouterr().err
    (cache / NWB).unlink()
    with pytest.raises(OSError, match=rf"^{cache.parent} is not a place where this user can put files \(.*No locks"):
        allen.acquire(data, tmp_path / "again", **OPTIONS)


def uv_that_makes(python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program uv whose environments have a shell script for their python."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "python").write_text(f"#!/bin/sh\n{python}")
    (tmp_path / "python").chmod(0o755)
    uv = f'for last; do :; done\n[ "$1" = pip ] || {{ mkdir -p "$last/bin"; cp {tmp_path}/python "$last/bin"; }}\n'
    (tmp_path / "bin/uv").write_text(f"#!/bin/sh\n{uv}")
    (tmp_path / "bin/uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")


def test_what_allensdk_brings_is_compared_with_dandi_as_well(
    data: Path, cache: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an environment that copies files in place of allensdk, one of them altered."""
    uv_that_makes(f"cp -r {published}/* {cache}\nprintf x >> {cache / NWB}\n", tmp_path, monkeypatch)
    with pytest.raises(ValueError, match=r"bytes, its copy in DANDI 000021 \d+: it is not whole, or another file"):
        allen.acquire(data, tmp_path / "out", **OPTIONS | {"fetch": "allensdk"})
    content = (published / NWB).read_bytes()
    (cache / NWB).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"its copy in DANDI 000021 [0-9a-f]{64}: it was altered or is damaged"):
        allen.acquire(data, tmp_path / "out", **OPTIONS | {"fetch": "allensdk"})
    assert not (tmp_path / "out").exists()


def test_a_refusal_of_allensdk_is_reported_with_its_last_words(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv_that_makes('echo Traceback >&2\necho "ConnectionError: $*" >&2\nexit 3\n', tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError) as caught:
        allen.acquire(data, tmp_path / "out", **OPTIONS | {"fetch": "allensdk"})
    assert caught.match("cannot be fetched by allensdk now: allensdk ended with 3 and said: ConnectionError: /")
    assert caught.match(f"by_allensdk.py fetch {cache} 6 - 700000001. With a network, run the same command")
    assert caught.match("or choose the other way: -S datasets.allen.fetch=https")


def test_uv_that_is_not_installed_is_named(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match=r"uv, which builds the environment of allensdk, is not installed"):
        allen.acquire(data, tmp_path / "out", **OPTIONS | {"fetch": "allensdk"})


@pytest.mark.slow
def test_allensdks_own_cache_gives_the_same_results_as_the_download(
    data: Path, bucket: Bucket, cache: Path, published: Path, tmp_path: Path
) -> None:
    """allensdk's EcephysProjectCache, templates, tables and sessions, on files that it finds in its cache."""
    shutil.copytree(published, cache)
    allen_files.project_tables(cache, 700000001)
    try:
        fetching.by_allensdk(allen.read_manifest(data / "manifest.json"), [700000001], [])
    except OSError as error:
        if "allensdk ended" in str(error):
            raise
        pytest.skip(str(error))
    allen.acquire(data, tmp_path / "by_allensdk", **OPTIONS | {"fetch": "allensdk"})
    assert bucket.asked == []
    shutil.rmtree(cache)
    allen.acquire(data, tmp_path / "by_https", **OPTIONS)
    assert len(bucket.asked) == 1 + N_IMAGES
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / way).rglob("*.*")} for way in ("by_allensdk", "by_https")
    )
    assert one == other
    assert set(one) == {"700000001.nwb", "sources.json", "images.npz", "movies.npz", "captions_given.csv"}


STREAM = OPTIONS | {"fetch": "stream"}


def test_a_session_that_stays_on_its_server_gives_the_same_extract(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allen.acquire(data, tmp_path / "parts", **STREAM | {"sessions": SESSIONS})
    assert not (cache / NWB).exists()
    whole = (bucket.folder / NWB).stat().st_size
    assert 0 < bucket.n_sent[NWB] < 0.95 * whole  # a small session, of which most are tables
    assert f"{size_text(bucket.n_sent[NWB])} of {size_text(whole)} came now" in capsys.readouterr().err
    sent, asked = bucket.n_sent.copy(), len(bucket.asked)
    allen.acquire(data, tmp_path / "again", **STREAM | {"sessions": SESSIONS})
    assert len(bucket.asked) == asked
    assert bucket.n_sent == sent
    allen.acquire(data, tmp_path / "whole", **OPTIONS | {"sessions": SESSIONS})
    made = [
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.*") if path.name != "sources.json"}
        for name in ("parts", "again", "whole")
    ]
    assert made[0] == made[1] == made[2]
    assert set(made[0]) == {"700000001.nwb", "700000002.nwb", "images.npz", "movies.npz", "captions_given.csv"}
    source = json.loads((tmp_path / "parts/sessions/sources.json").read_text())["files"][NWB]
    assert source["url"] == bucket.url + NWB
    assert (source["bytes"], source["sha256"], source["read"]) == (whole, None, "in parts")
    assert source["etag"] == f'"{hashlib.md5((bucket.folder / NWB).read_bytes()).hexdigest()}"'
    asked = len(bucket.asked)
    allen.acquire(data, tmp_path / "from_cache", **STREAM)  # the whole session is here by now
    assert len(bucket.asked) == asked
    assert json.loads((tmp_path / "from_cache/sessions/sources.json").read_text())["files"][NWB]["sha256"]


@pytest.mark.parametrize("fault", ["no_ranges", 403, "another_size", "html"])
def test_parts_that_the_institute_does_not_give_come_from_dandi(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path, fault: int | str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.copies[BLOB], bucket.faults[NWB] = NWB, fault
    allen.acquire(data, tmp_path / "out", **STREAM)
    assert bucket.n_sent[BLOB] > bucket.n_sent[NWB] * (fault != "no_ranges")
    assert "; its copy is tried" in capsys.readouterr().err
    sources = json.loads((tmp_path / "out/sessions/sources.json").read_text())["files"]
    assert sources[NWB]["url"] == bucket.url + BLOB


def test_parts_that_nobody_gives_end_in_one_line(data: Path, bucket: Bucket, cache: Path, tmp_path: Path) -> None:
    bucket.faults[NWB] = "no_ranges"
    with pytest.raises(FileNotFoundError) as caught:
        allen.acquire(data, tmp_path / "out", **STREAM)
    assert caught.match(
        "session 700000001 cannot be read in parts now: http.*: the server sends the whole file where a part"
    )
    assert caught.match(
        rf"; nor {bucket.url}{BLOB}: the server has no such file \(404\).* With a network, run the same"
    )
    assert caught.match(r"or fetch all of it \(.*\): -S datasets.allen.fetch=https$")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/images.npz").exists()
    assert not list((tmp_path / "out").glob("sessions/*"))


def test_files_that_a_run_needs_are_those_that_it_reads_as_a_whole(
    data: Path, bucket: Bucket, cache: Path, published: Path, tmp_path: Path
) -> None:
    scenes = {cache / f"natural_scene_templates/natural_scene_{image_id}.tiff" for image_id in range(N_IMAGES)}
    of_https, of_stream = (allen.cached(data, **options) for options in (OPTIONS, STREAM))
    assert {file.path for file in of_https} == scenes | {cache / NWB}
    (session,) = (file for file in of_https if file.path == cache / NWB)
    assert (session.url, session.others) == (bucket.url + NWB, (bucket.url + BLOB,))
    assert {file.path for file in of_stream} == scenes
    (part,) = allen.in_parts(data, **STREAM)
    assert (part.path, part.about) == (cache / NWB, int(allen.PARTS * (bucket.folder / NWB).stat().st_size))
    assert allen.in_parts(data, **OPTIONS) == []
    allen.acquire(data, tmp_path / "out", **STREAM)
    (read,) = allen.in_parts(data, **STREAM)
    assert 0 <= cast(int, read.about) < cast(int, part.about), "parts that have arrived are not to come"
    shutil.rmtree(cache)
    shutil.copytree(published, cache)
    assert {file.path for file in allen.cached(data, **STREAM)} == scenes | {cache / NWB}
    assert allen.in_parts(data, **STREAM) == []


def test_a_session_replaced_while_it_is_read_is_read_from_dandi(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    bucket.copies[BLOB] = NWB

    class Changing(dict[str, str]):
        def get(self, name: str, default: str) -> str:  # type: ignore[override]
            return '"another"' if name == NWB and bucket.n_sent[NWB] > 200_000 else default

    bucket.etags = Changing()
    allen.acquire(data, tmp_path / "out", **STREAM)
    sources = json.loads((tmp_path / "out/sessions/sources.json").read_text())["files"]
    assert sources[NWB]["url"] == bucket.url + BLOB
    bucket.etags = {}
    allen.acquire(data, tmp_path / "whole", **OPTIONS)
    one, other = ((tmp_path / name / "sessions/700000001.nwb").read_bytes() for name in ("out", "whole"))
    assert one == other


FACTS = {"presentations": 21, "images": 6, "repeats": "3 to 3", "blanks": 3, "recorded units": 20, "units": 16}
# Of each area, one unit in five fails: by violations, by its cutoff, by its presence, or as noise.
AREAS = "CA1 4, LGd 4, VISl 4, VISp 4"


@pytest.mark.parametrize("fetch", ["https", "stream"])
def test_what_is_known_of_sessions_and_scenes_is_compared_and_printed(
    data: Path, cache: Path, published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], fetch: str
) -> None:
    change(data, "facts", value=FACTS)
    change(data, "sessions", 0, "facts", value={"areas": AREAS})
    scenes = [Image.open(published / f"natural_scene_templates/natural_scene_{n}.tiff") for n in range(N_IMAGES)]
    known = facts.fingerprints(np.stack([np.asarray(scene.resize((31, 31))) for scene in scenes]))  # another copy
    change(data, "templates", "fingerprints", value=known)
    allen.acquire(data, tmp_path / "out", **OPTIONS | {"fetch": fetch, "sessions": SESSIONS})
    said = capsys.readouterr().err
    assert "natural scenes: in their places 6 as expected\n" in said
    held = "presentations 21, images 6, repeats 3 to 3, blanks 3, recorded units 20, units 16"
    assert f"session 700000001: number 700000001, {held}, areas {AREAS} as expected\n" in said
    assert f"session 700000002: number 700000002, {held} as expected; areas {AREAS} not known before\n" in said


@pytest.mark.parametrize(("name", "value", "found"), [("units", 17, 16), ("repeats", "50 to 50", "3 to 3")])
def test_a_session_that_is_not_as_it_is_known_stops_before_anything_is_written(
    data: Path, cache: Path, tmp_path: Path, name: str, value: int | str, found: int | str
) -> None:
    change(data, "facts", value=FACTS | {name: value})
    message = (
        f"session 700000001 differs from what is known: {name} is {found}, expected {value}. Its files were altered"
    )
    with pytest.raises(ValueError, match=message):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert not list((tmp_path / "out").rglob("*.*"))


def test_scenes_in_another_order_are_found_out(data: Path, cache: Path, published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, cache)
    scenes = cache / "natural_scene_templates"
    pixels = [np.asarray(Image.open(scenes / f"natural_scene_{n}.tiff")) for n in range(N_IMAGES)]
    change(data, "templates", "fingerprints", value=facts.fingerprints(np.stack(pixels)))
    (scenes / "natural_scene_2.tiff").rename(tmp_path / "2")
    (scenes / "natural_scene_4.tiff").rename(scenes / "natural_scene_2.tiff")
    (tmp_path / "2").rename(scenes / "natural_scene_4.tiff")
    with pytest.raises(ValueError, match="natural scenes differs from what is known: in their places is 4, expected 6"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_the_fingerprints_of_the_project_know_the_scenes_in_their_order() -> None:
    """35 scenes, cut from figures of another publication."""
    path = ROOT.parent / "shared/data/allen_natural_scenes/scenes35_216px.npz"
    if not path.is_file():
        pytest.skip("the scenes are not in this repository")
    with np.load(path) as tiles:
        pixels, frame = tiles["images"], tiles["frame"]
    known = allen.read_manifest(ROOT / "vendor/data/allen/manifest.json")["templates"]["fingerprints"]
    assert len(known) == len(set(known)) == 118
    shown = pixels[np.arange(118) % len(pixels)]  # in the other places, a picture that belongs elsewhere
    shown[frame] = pixels
    assert facts.n_in_order(shown, known) == 35
    shown[frame] = np.roll(pixels, 1, axis=0)
    assert facts.n_in_order(shown, known) == 0


def test_captions_that_the_user_wrote_are_passed_on(data: Path, cache: Path, tmp_path: Path) -> None:
    (data / "captions.csv").write_text('image_id,caption\n2,"A dog, asleep."\n0,Trees.\n')
    allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert (tmp_path / "out/captions_given.csv").read_text() == 'image_id,caption\n0,Trees.\n2,"A dog, asleep."\n'
    (data / "captions.csv").write_text("image_id,caption\n99,Nothing.\n")
    with pytest.raises(ValueError, match="has a caption for image 99, but the scenes are 0 to 5"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_a_session_at_chance_is_left_out_of_all_and_pointed_out_when_asked_for(
    data: Path, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(data, "sessions", 1, "at_chance", value=True)
    allen.acquire(data, tmp_path / "out", **OPTIONS | {"sessions": "all"})
    assert [path.name for path in (tmp_path / "out/sessions").glob("*.nwb")] == ["700000001.nwb"]
    allen.acquire(data, tmp_path / "out", **OPTIONS | {"sessions": 700000002})
    assert "session 700000002 is known to decode at chance" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out/sessions").glob("*.nwb")] == ["700000002.nwb"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sessions": []}, r"sessions is \[\], expected numbers of sessions, or all"),
        ({"sessions": "every"}, "sessions is 'every', expected"),
        ({"sessions": ["700000001"]}, "expected numbers of sessions"),
        ({"sessions": [700000001, 700000001]}, "names one twice"),
        ({"sessions": [5]}, r"5 is not among the 2 sessions that show natural scenes: 700000001, 700000002"),
        ({"fetch": "ftp"}, "fetch is 'ftp', expected https, stream or allensdk"),
        ({"margin_s": -1}, "margin_s is -1, expected seconds, 0 or more"),
        ({"size_px": 0}, "size_px must be at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(
    data: Path, cache: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        allen.acquire(data, tmp_path / "out", **OPTIONS | options)
    assert not (tmp_path / "out" / "images.npz").exists()
    assert not list(tmp_path.glob("out/sessions/*"))


def test_a_manifest_that_is_wrong_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    good = (data / "manifest.json").read_text()
    cases = [
        (good[:50], "is not JSON"),
        (good.replace('"base_url"', '"url"'), "lacks base_url"),
        (good.replace('"height"', '"rows"'), "lacks height in templates"),
        (good.replace("700000002", "700000001"), r"lists sessions more than once: \[700000001\]"),
        (good.replace('"http://127.0.0.1', '"http://example.org', 1), "base_url is .*, expected an https address"),
        (
            good.replace('"blobs": "http://127.0.0.1', '"blobs": "http://e'),
            "dandi.blobs is .*, expected an https address",
        ),
        (good.replace('"blobs"', '"blob"'), "lacks blobs in dandi"),
        (
            re.sub('"sha256": "[0-9a-f]*"', '"sha256": null', good),
            "has bytes .* and sha256 None, expected a whole number",
        ),
    ]
    for text, message in cases:
        (data / "manifest.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            allen.acquire(data, tmp_path / "out", **OPTIONS)
    (data / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"manifest.json does not exist. Bring the data back with: dvc repro"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_a_template_of_another_kind_is_refused(data: Path, cache: Path, published: Path, tmp_path: Path) -> None:
    shutil.copytree(published, cache)
    path = cache / "natural_scene_templates/natural_scene_2.tiff"
    Image.new("RGB", (59, 46)).save(path)
    with pytest.raises(ValueError, match=r"natural_scene_2.tiff is 59 x 46 of mode RGB, expected 59 x 46 grey"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    (tmp_path / "cache/allen_sha256/natural_scene_templates/natural_scene_2.tiff.sha256").unlink()
    path.write_bytes((cache / "natural_scene_templates/natural_scene_3.tiff").read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"natural_scene_2.tiff is not an image or damaged"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_a_session_that_shows_other_images_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    change(data, "templates", "n_images", value=N_IMAGES - 1)
    with pytest.raises(ValueError, match="shows image 5, of which there is no template"):
        allen.acquire(data, tmp_path / "out", **OPTIONS)


def test_a_disk_that_is_too_small_is_found_before_the_first_byte(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    change(data, "sessions", 0, "bytes", value=10**15)
    with pytest.raises(
        OSError, match=r"would not fit into .*, which has only .* free. Choose fewer sessions, or anoth"
    ):
        allen.acquire(data, tmp_path / "out", **OPTIONS)
    assert bucket.asked == []


def test_the_manifest_of_the_project_lists_the_sessions_and_scenes_that_there_are() -> None:
    manifest = allen.read_manifest(ROOT / "vendor/data/allen/manifest.json")
    assert len(manifest["sessions"]) == 32
    assert [row["session_id"] for row in manifest["sessions"] if row["at_chance"]] == [754312389]
    assert len(allen.choose(manifest, "all")) == 31
    assert sum(row["eye_tracking"] for row in manifest["sessions"]) == 26
    assert sum(row["bytes"] for row in manifest["sessions"]) == 80_462_809_684
    assert (
        len({row["sha256"] for row in manifest["sessions"]} | {row["dandi_blob"] for row in manifest["sessions"]}) == 64
    )
    known = {row["session_id"]: row for row in manifest["sessions"]}
    assert known[721123822]["sha256"] == "4e284295a1be5c6cca49df84fab52ad38b4749d2361b2edebeb676051cf09921"
    # As AllenSDK's notebooks log the downloads, MiB.
    for number, mib in ((791319847, 2210.106), (715093703, 2723.916), (759883607, 1775.991)):
        assert round(known[number]["bytes"] / 2**20, 3) == mib
    (item,) = [item for item in fetching.wanted(manifest, allen.choose(manifest, 791319847)) if item.copy]
    assert item.copy.startswith("https://dandiarchive.s3.amazonaws.com/blobs/")
    assert [len(part) for part in item.copy.split("/")[-3:]] == [3, 3, 36]
    templates = manifest["templates"]
    assert (templates["n_images"], templates["height"], templates["width"]) == (118, 918, 1174)
    assert manifest["base_url"].startswith("https://")
    assert manifest["facts"] == {"presentations": 119 * 50, "images": 118, "repeats": "50 to 50", "blanks": 50}
    areas = known[791319847]["facts"]["areas"].split(", ")
    assert areas == sorted(areas)
    assert sum(int(area.split()[1]) for area in areas) == known[791319847]["facts"]["units"] == 555
    assert "terms-of-use" in manifest["licence"]
    assert any("Siegle" in text for text in manifest["citation"])
