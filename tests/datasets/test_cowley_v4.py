"""Macaque V4 from a server on this machine: small files of the same layout, and the published ones where they are."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cowley_files
import numpy as np
import pytest
from bucket import Bucket, serving
from conftest import ROOT
from PIL import Image
from ruamel.yaml import YAML
from small_profile import checkout, edit, stage

from spikevaediff.datasets import cowley_v4
from spikevaediff.files import one_request
from spikevaediff.images import resize
from spikevaediff.records import Captions, Responses, Stimuli
from spikevaediff.report.read import order_unknown

OPTIONS: dict[str, Any] = {
    "sessions": [1],
    "trials": "means",
    "images": ["natural"],
    "n_images": 0,
    "seed": 0,
    "size_px": 32,
    "window_s": [0.05, 0.15],
    "captions": "none",
}
SEEDS = {1: list(range(10)), 2: [9, 3, 5, 7, 1, 20, 21], 3: list(range(40, 46))}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("published")
    return folder, [cowley_files.session(folder, number, seeds) for number, seeds in SEEDS.items()]


@pytest.fixture
def bucket(published: tuple[Path, list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)
    monkeypatch.delenv(cowley_v4.MIRROR, raising=False)
    with serving(published[0]) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/cowley_v4"


@pytest.fixture
def data(bucket: Bucket, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> Path:
    return cowley_files.write_manifest(tmp_path / "data", [f"{bucket.url}{{path}}"], published[1])


def change(data: Path, session: int, *path: str, value: Any) -> None:
    content = json.loads((data / "manifest.json").read_text())
    table = next(row for row in content["sessions"] if row["session_id"] == session)
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = value
    (data / "manifest.json").write_text(json.dumps(content))


def test_means_photographs_and_sources_arrive(
    data: Path, cache: Path, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path, capfd: Any
) -> None:
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    assert "session 1: units 6, images 10, image_order" in (said := capfd.readouterr().err)
    assert "as expected" in said
    responses = Responses.load(tmp_path / "out/sessions/1.npz")
    assert responses.image_id.tolist() == list(range(1, 11))
    assert responses.counts.dtype == np.float32
    counts = np.load(published[0] / "raw/1.npy")
    expected = [[np.mean([c for c in unit[i] if c == c]) for unit in counts] for i in range(10)]
    np.testing.assert_allclose(responses.counts[:, :, 0], expected, rtol=1e-6)
    assert responses.window_s.tolist() == [[0.05, 0.15]]
    assert set(responses.unit_area.tolist()) == {"V4"}
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    assert stimuli.source == "macaque V4, photographs"
    picture = Image.open(io.BytesIO(cowley_files.photographs([4])[0]))
    luma = np.asarray(picture.convert("L"))
    np.testing.assert_array_equal(stimuli.rows(np.array([5]))[0], resize(luma[None], 32)[0])
    sources = json.loads((tmp_path / "out/sessions/sources.json").read_text())
    assert sources["files"]["means/1.npy"]["git_sha1"] == published[1][0]["files"]["means"]["git_sha1"]
    captions = Captions.load(tmp_path / "out/captions_given.csv")
    assert captions.image_id.tolist() == list(range(1, 11))
    assert captions.sentences == ((),) * 10


def test_single_presentations_are_counts_repetition_by_repetition(
    data: Path, cache: Path, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS | {"trials": "single", "captions": "automatic"})
    responses = Responses.load(tmp_path / "out/sessions/1.npz")
    counts = np.load(published[0] / "raw/1.npy")
    rows = [(i, r) for r in range(4) for i in range(10) if not np.isnan(counts[0, i, r])]
    assert responses.image_id.tolist() == [i + 1 for i, _ in rows]
    assert responses.counts.dtype == np.uint16
    np.testing.assert_array_equal(responses.counts[:, :, 0], [counts[:, i, r] for i, r in rows])
    assert len(Captions.load(tmp_path / "out/captions_given.csv").image_id) == 0  # all are described later
    assert "ordered by repetition" in order_unknown(tmp_path / "out/sessions")
    cowley_v4.acquire(data, tmp_path / "means", **OPTIONS)
    assert order_unknown(tmp_path / "means/sessions") == ""


def test_a_second_run_asks_for_nothing_and_gives_the_same_bytes(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    results = []
    for name in ("one", "two"):
        cowley_v4.acquire(data, tmp_path / name, **OPTIONS)
        found = [path for path in sorted((tmp_path / name).rglob("*")) if path.is_file()]
        results.append({path.relative_to(tmp_path / name): path.read_bytes() for path in found})
        assert len(bucket.asked) == 2
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({"bashivan_2019": 10}, "macaque V4, rendered objects on photographs"),
        (
            {"natural": 4, "active_learning": 3, "gaudy": 3},
            "macaque V4, photographs, active learning images, gaudy images",
        ),
    ],
)
def test_pictures_are_called_what_they_are(
    data: Path, cache: Path, tmp_path: Path, kinds: dict[str, int], said: str
) -> None:
    change(data, 1, "kinds", value=kinds)
    cowley_v4.acquire(data, tmp_path / "out", **{**OPTIONS, "images": list(kinds)})
    assert Stimuli.load(tmp_path / "out/images.npz").source == said


def test_several_sessions_are_joined_over_the_photographs_that_both_show(
    data: Path, cache: Path, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS | {"sessions": [1, 2]})
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    assert stimuli.image_id.tolist() == [seed + 1 for seed in (1, 3, 5, 7, 9)]
    for number in (1, 2):
        responses = Responses.load(tmp_path / f"out/sessions/{number}.npz")
        means = np.load(published[0] / f"means/{number}.npy")
        columns = [SEEDS[number].index(image - 1) for image in responses.image_id.tolist()]
        np.testing.assert_allclose(responses.counts[:, :, 0], means[:, columns].T, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"sessions 1, 3 share 0 photographs, expected at least 4: .* show the same ones"
    ):
        cowley_v4.acquire(data, tmp_path / "other", **OPTIONS | {"sessions": [1, 3]})


def test_a_larger_draw_holds_a_smaller_one_and_another_seed_is_another_draw(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    def drawn(**options: int) -> set[int]:
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS | options)
        shown = Responses.load(tmp_path / "out/sessions/1.npz").image_id
        assert shown.tolist() == Stimuli.load(tmp_path / "out/images.npz").image_id.tolist() == sorted(shown.tolist())
        return set(shown.tolist())

    assert len(drawn(n_images=5)) == 5
    assert drawn(n_images=5) < drawn(n_images=8) < drawn(n_images=100) == set(range(1, 11))
    assert drawn(n_images=5) != drawn(n_images=5, seed=1)


def test_images_of_no_stated_kind_are_left_out(data: Path, cache: Path, tmp_path: Path) -> None:
    change(data, 1, "used", value=[[1, 3], [7, 10]])
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    assert Stimuli.load(tmp_path / "out/images.npz").image_id.tolist() == [1, 2, 3, 7, 8, 9, 10]


@pytest.mark.parametrize(
    ("name", "found", "expected"),
    [("units", 6, 7), ("images", 10, 11), ("repeats", "3 to 4", "4 to 4"), ("image_order", r"\w{64}", "0" * 64)],
)
def test_a_session_that_is_not_as_it_is_known_stops_and_writes_nothing(
    data: Path, cache: Path, tmp_path: Path, name: str, found: object, expected: object
) -> None:
    change(data, 1, "facts", name, value=expected)
    with pytest.raises(
        ValueError, match=f"session 1 differs from what is known: {name} is {found}, expected {expected}"
    ):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS | {"trials": "single"})
    assert not (tmp_path / "out").exists()


def test_a_broken_connection_is_gone_on_with(data: Path, bucket: Bucket, cache: Path, tmp_path: Path) -> None:
    bucket.faults["images/images_1.zip"] = "truncated"
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    asked = [wanted for name, wanted in bucket.asked if name.endswith("zip")]
    assert asked[0] is None
    assert asked[1] is not None
    assert int(asked[1].removeprefix("bytes=").rstrip("-")) > 0


def test_what_a_killed_run_left_is_gone_on_with_without_any_word_of_the_server(
    data: Path, bucket: Bucket, cache: Path, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Git's hash ties the part to the file."""
    part = cache / "images/images_1.zip.part"
    part.parent.mkdir(parents=True)
    part.write_bytes((published[0] / "images/images_1.zip").read_bytes()[:1000])
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    assert ("images/images_1.zip", "bytes=1000-") in bucket.asked


def test_other_bytes_are_not_kept_and_a_mirror_is_asked(
    data: Path, bucket: Bucket, cache: Path, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path
) -> None:
    bucket.faults["means/1.npy"] = "altered"
    with pytest.raises(ValueError, match=r"means/1.npy sent a file with the Git hash \w{40}, expected \w{40}"):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    assert not (cache / "means/1.npy").exists()
    with serving(published[0]) as mirror:
        by_hash = mirror.folder / "by_hash"
        by_hash.mkdir()
        git_sha1 = published[1][0]["files"]["means"]["git_sha1"]
        (by_hash / git_sha1).write_bytes((published[0] / "means/1.npy").read_bytes())
        addresses = [f"{bucket.url}{{path}}", f"{mirror.url}by_hash/{{git_sha1}}"]
        cowley_files.write_manifest(data, addresses, published[1])
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
        assert [name for name, _ in mirror.asked] == [f"by_hash/{git_sha1}"]


def test_an_address_of_ones_own_goes_first(
    data: Path,
    bucket: Bucket,
    cache: Path,
    published: tuple[Path, list[dict[str, Any]]],
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    with serving(published[0]) as mirror:
        monkeypatch.setenv(cowley_v4.MIRROR, mirror.url)
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
        assert len(mirror.asked) == 2
    assert not bucket.asked


def test_without_a_network_one_line_says_what_to_do(data: Path, bucket: Bucket, cache: Path, tmp_path: Path) -> None:
    bucket.faults["images/images_1.zip"] = 404
    with pytest.raises(
        FileNotFoundError, match=r"of someone/V4 is not all in .* cannot be fetched now: .*\(404\)"
    ) as says:
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    assert f"put the files there yourself, as {cache / 'images/images_1.zip'}" in str(says.value)
    assert f"{cowley_v4.MIRROR}=https://..." in str(says.value)


def test_a_file_that_was_altered_since_is_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    path = cache / "means/1.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match=f"has {len(whole) - 1} bytes, expected {len(whole)}. Delete it"):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=r"has the Git hash \w{40}, expected \w{40}: it was altered"):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)
    change(data, 1, "files", "means", "git_sha1", value=None)
    with pytest.raises(ValueError, match=r"has sha256 \w{64}, when it was first used it had \w{64}"):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)


def test_what_nothing_pins_must_come_over_https(data: Path, cache: Path, tmp_path: Path, monkeypatch: Any) -> None:
    change(data, 1, "files", "images", "git_sha1", value=None)
    monkeypatch.setenv(cowley_v4.MIRROR, "http://198.51.100.1/v4")
    with pytest.raises(ValueError, match=r"images_1.zip has no known hash, so its address must be https"):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)


def test_kinds_of_images_that_cannot_be_told_apart_are_named_together_or_not_at_all(data: Path) -> None:
    change(data, 1, "kinds", value={"natural": 6, "gaudy": 4})
    manifest = cowley_v4.read_manifest(data / "manifest.json")
    with pytest.raises(ValueError, match=r"session 1 shows natural \(6\), gaudy \(4\), and which image is") as says:
        cowley_v4.choose(manifest, [1], ["natural"])
    assert "-S 'datasets.cowley_v4.images=[natural,gaudy]'" in str(says.value)
    assert str(says.value).endswith("or take sessions of natural alone: 2, 3")
    assert [row["session_id"] for row in cowley_v4.choose(manifest, [1, 2], ["natural", "gaudy"])] == [1, 2]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sessions": []}, "sessions is [], expected different ones of 1, 2, 3"),
        ({"sessions": [1, 1]}, "sessions is [1, 1], expected different ones of 1, 2, 3"),
        ({"sessions": [4]}, "sessions: 4 is not among 1, 2, 3"),
        ({"images": ["normal"]}, "images is ['normal'], expected kinds of images: natural"),
        ({"n_images": 3}, "n_images is 3, expected 4 or more, or 0 for all"),
        ({"seed": -1}, "seed is -1, expected 0 or more"),
        ({"size_px": 0}, "size_px must be at least 1, got 0"),
        ({"window_s": [50, 150]}, "window_s is [50, 150], expected a start and a later stop in seconds after onset"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_fetched(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError) as error:
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS | options)
    assert says in str(error.value)
    assert not bucket.asked


def rewritten(data: Path, cache: Path, kind: str, write: Any) -> None:
    """A file of session 1 with other contents, which the manifest takes for right."""
    path = cache / cowley_files.PATHS[kind].format(session_id=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    change(data, 1, "files", kind, value=cowley_files.pinned(path))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (np.ones((6, 10, 2)), r"is float64 \(6, 10, 2\), expected float64 \(unit, image\)"),
        (np.ones((6, 10), np.float32), r"is float32 \(6, 10\), expected float64"),
        (np.full((6, 10), -1.0), "holds -1 and more that are not spike counts"),
        (np.full((6, 10), np.nan), "image 1, 2, 3, 4, 5, 6, 7, 8, ... has no response"),
        (np.where(np.eye(6, 10, dtype=bool), np.nan, 1.0), "units differ in which presentations"),
        (np.ones((6, 9)), "session 1 has responses to 9 images, and 10 pictures"),
    ],
)
def test_arrays_that_are_no_responses_are_refused(
    data: Path, cache: Path, tmp_path: Path, values: np.ndarray, says: str
) -> None:
    rewritten(data, cache, "means", lambda path: np.save(path, values))
    with pytest.raises(ValueError, match=says):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"image0002.jpg": b""}, "holds image0002.jpg, expected image0001.jpg, image0002.jpg, ... without a gap"),
        (None, "is not a zip or damaged"),
    ],
)
def test_zips_that_are_no_photographs_in_order_are_refused(
    data: Path, cache: Path, tmp_path: Path, members: dict[str, bytes] | None, says: str
) -> None:
    def write(path: Path) -> None:
        path.write_bytes(b"no zip")
        if members is not None:
            with zipfile.ZipFile(path, "w") as archive:
                for name, content in members.items():
                    archive.writestr(name, content)

    rewritten(data, cache, "images", write)
    with pytest.raises(ValueError, match=says):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)


def test_photographs_of_another_size_are_refused(data: Path, cache: Path, tmp_path: Path) -> None:
    def write(path: Path) -> None:
        small = io.BytesIO()
        Image.new("RGB", (64, 64)).save(small, "JPEG")
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(10):
                archive.writestr(f"image{i + 1:04d}.jpg", small.getvalue())

    rewritten(data, cache, "images", write)
    change(data, 1, "facts", "image_order", value=None)
    with pytest.raises(ValueError, match=r"photograph 1 is JPEG \(64, 64\) of mode RGB, expected JPEG of 112 x 112"):
        cowley_v4.acquire(data, tmp_path / "out", **OPTIONS)


def test_the_manifest_lists_fifty_sessions_and_agrees_with_itself() -> None:
    manifest = cowley_v4.read_manifest(ROOT / "vendor/data/cowley_v4/manifest.json")
    rows = {row["session_id"]: row for row in manifest["sessions"]}
    assert len(rows) == 50
    for number, row in rows.items():
        known = row["facts"]
        assert row["files"]["means"]["bytes"] == 128 + 8 * known["units"] * known["images"]
        if number != 201017:  # whose kinds the publisher's table does not count right
            assert sum(row["kinds"].values()) == len(cowley_v4._used(row, known["images"]))
        assert all(file["git_sha1"] for kind, file in row["files"].items() if kind != "images")
    assert [n for n, row in rows.items() if row["files"]["images"]["git_sha1"] is None] == list(range(201016, 201021))
    alike = [rows[number]["files"]["images"]["git_sha1"] for number in (210312, 210315)]
    assert alike[0] == alike[1]


@pytest.fixture(scope="module")
def original(shared: Path) -> Iterator[Bucket]:
    folder = shared / "data/cowley_v4_original"
    if not folder.is_dir():
        pytest.skip("the published files of macaque V4 are not in the folder of real recordings (../shared)")
    with serving(folder) as running:
        yield running


def options_of(**changes: Any) -> dict[str, Any]:
    params = YAML(typ="safe").load(ROOT / "params.yaml")
    return params["datasets"]["cowley_v4"] | changes


def test_the_published_session_comes_as_params_yaml_asks(
    original: Bucket, cache: Path, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    monkeypatch.setenv(cowley_v4.MIRROR, original.url)
    cowley_v4.acquire(ROOT / "vendor/data/cowley_v4", tmp_path / "out", **options_of())
    assert "session 201025: units 89, images 1200, image_order 19542e78" in capfd.readouterr().err
    responses = Responses.load(tmp_path / "out/sessions/201025.npz")
    assert responses.counts.shape == (118, 89, 1)
    means = np.load(original.folder / "data_V4_responses/responses_repeat_averaged/responses_201025.npy")
    np.testing.assert_allclose(responses.counts[:, :, 0], means[:, responses.image_id - 1].T, rtol=1e-6)
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    assert stimuli.pixels.shape == (118, 112, 112)
    number = int(stimuli.image_id[17])
    with zipfile.ZipFile(original.folder / "data_V4_responses/images/images_201025.zip") as archive:
        picture = Image.open(io.BytesIO(archive.read(f"image{number:04d}.jpg")))
        np.testing.assert_array_equal(stimuli.pixels[17], np.asarray(picture.convert("L")))


def test_single_presentations_of_the_published_session_average_to_its_means(
    original: Bucket, cache: Path, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    monkeypatch.setenv(cowley_v4.MIRROR, original.url)
    options = options_of(sessions=[210325], images=["bashivan_2019"], trials="single", n_images=0)
    cowley_v4.acquire(ROOT / "vendor/data/cowley_v4", tmp_path / "out", **options)
    assert "session 210325: units 50, images 640, repeats 6 to 10, image_order 63da57d7" in capfd.readouterr().err
    responses = Responses.load(tmp_path / "out/sessions/210325.npz")
    assert responses.counts.shape[1:] == (50, 1)
    assert responses.counts.dtype == np.uint16
    means = np.load(original.folder / "data_V4_responses/responses_repeat_averaged/responses_210325.npy")
    averaged = [responses.counts[responses.image_id == number, :, 0].mean(0) for number in range(1, 641)]
    np.testing.assert_allclose(averaged, means.T, rtol=1e-12)


@pytest.mark.slow
def test_stages_take_the_data_set_as_the_makefile_asks(
    bucket: Bucket, published: tuple[Path, list[dict[str, Any]]], tmp_path: Path, monkeypatch: Any
) -> None:
    clone = checkout(tmp_path / "clone")
    cowley_files.write_manifest(clone / "vendor/data/cowley_v4", [f"{bucket.url}{{path}}"], published[1])
    edit(
        clone / "params.yaml",
        {
            "dataset": "cowley_v4",
            "datasets.cowley_v4.sessions": [1],
            "areas.visual": ["V4"],
            "areas.control": "shuffled",
            "responses.start_s": 0.05,
            "responses.duration_s": 0.1,
        },
    )
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    for command in ("acquire", "responses visual", "responses control", "quality"):
        done = stage(clone, command)
        assert done.returncode == 0, done.stderr
    visual, control = (Responses.load(clone / f"artifacts/responses/{name}.npz") for name in ("visual", "control"))
    np.testing.assert_array_equal(visual.counts, control.counts)
    assert not np.any(visual.image_id == control.image_id)
