"""The Natural Scenes Dataset from a server on this machine: small files of its layout, and its design at full size."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import nibabel
import nsd_files
import numpy as np
import pytest
from bucket import Bucket, serving
from conftest import ROOT
from nsd_files import GRID, N_SESSIONS, N_TRIALS, SUBJECT
from PIL import Image
from scipy.io import savemat

from spikevaediff.datasets import nsd
from spikevaediff.datasets.nsd_parts import betas, clusters, design, voxels
from spikevaediff.files import one_request, tables, terms
from spikevaediff.images import resize
from spikevaediff.records import Captions, Responses, Stimuli
from spikevaediff.regression import split

OPTIONS: dict[str, Any] = {
    "subject": SUBJECT,
    "sessions": "all",
    "rois": ["nsdgeneral"],
    "betas_version": nsd_files.VERSION,
    "betas_format": "nifti",
    "z_score": "session",
    "test": "shared1000",
    "n_clusters": 8,
    "test_share": 0.2,
    "seed": 0,
    "size_px": 32,
    "captions": "coco",
}
MANIFEST = json.loads((ROOT / "vendor/data/nsd/manifest.json").read_text())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    nsd_files.write(folder)
    return folder


@pytest.fixture
def bucket(published: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)
    monkeypatch.delenv("SPIKEVAEDIFF_SOURCE_NSD", raising=False)
    with serving(published) as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(terms.ACCEPT, "nsd")
    return tmp_path / "cache"


@pytest.fixture
def data(bucket: Bucket, tmp_path: Path) -> Path:
    return nsd_files.write_manifest(tmp_path / "data", bucket.url)


def shown() -> np.ndarray:
    """image_id of every trial that took place, by plain counting."""
    made = nsd_files.design()
    order, mine = made["masterordering"][0], made["subjectim"][SUBJECT - 1]
    return np.array([int(mine[int(index) - 1]) - 1 for index in order[: N_SESSIONS * N_TRIALS]])


def expected(volume: np.ndarray, tested: set[int], *, z_score: bool = True) -> dict[int, np.ndarray]:
    """Responses of the valid voxels of a mask, by position in the grid: loops in float64 over the numbers."""
    raw = nsd_files.betas(nsd_files.photographs(), nsd_files.design())
    train = np.array([i not in tested for i in shown()]).reshape(N_SESSIONS, N_TRIALS)
    found = {}
    for x, y, z in np.argwhere(volume > 0).tolist():
        parts = []
        for session in range(N_SESSIONS):
            values = raw[session, x, y, z].astype(np.float64) / 300
            mean, deviation = values[train[session]].mean(), values[train[session]].std()
            if len(set(raw[session, x, y, z].tolist())) == 1:
                break
            parts.append((values - mean) / deviation if z_score else values)
        else:
            found[(x * GRID[1] + y) * GRID[2] + z] = np.concatenate(parts)
    return found


def shared() -> set[int]:
    return {int(i) - 1 for i in nsd_files.design()["sharedix"][0]}


@pytest.mark.parametrize("kind", ["nifti", "hdf5"])
def test_responses_are_z_scored_within_sessions_by_training_trials(
    data: Path, cache: Path, tmp_path: Path, kind: str, capfd: Any
) -> None:
    nsd.acquire(data, tmp_path / "out", **OPTIONS | {"betas_format": kind})
    found = Responses.load(tmp_path / f"out/sessions/{SUBJECT}.npz")
    reference = expected(nsd_files.masks()["nsdgeneral"], shared())
    assert "2 of 72 voxels are invalid in some session and left out" in capfd.readouterr().err
    assert found.units.unit_id.tolist() == sorted(reference)
    assert set(found.units.area.tolist()) == {"nsdgeneral"}
    assert found.counts.dtype == np.float16
    wanted = np.column_stack([reference[i] for i in sorted(reference)])
    np.testing.assert_array_equal(found.counts[:, :, 0], wanted.astype(np.float16))
    # What half precision costs: less than 1/2000 of a value, root mean square.
    assert np.sqrt(np.mean((found.counts[:, :, 0] - wanted) ** 2)) < 5e-4 * wanted.std()
    np.testing.assert_array_equal(found.image_id, shown())
    assert found.presentation_id[:, 0].tolist() == list(range(N_SESSIONS * N_TRIALS))
    assert found.session_id.tolist() == [SUBJECT]
    assert set(np.unique(shown(), return_counts=True)[1].tolist()) == {1, 2, 3}  # repeats differ


def test_photographs_captions_and_split_belong_to_what_was_shown(data: Path, cache: Path, tmp_path: Path) -> None:
    nsd.acquire(data, tmp_path / "out", **OPTIONS)
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    assert stimuli.image_id.tolist() == sorted(set(shown().tolist()))
    photographs = nsd_files.photographs()
    for i, pixels in zip(stimuli.image_id.tolist(), stimuli.pixels, strict=True):
        luma = np.asarray(Image.fromarray(photographs[i]).convert("L"))
        np.testing.assert_array_equal(pixels, resize(luma[None], 32)[0])
    captions = Captions.load(tmp_path / "out/captions_given.csv")
    assert captions.image_id.tolist() == stimuli.image_id.tolist()
    for i, sentences in zip(captions.image_id.tolist(), captions.sentences, strict=True):
        assert sentences == tuple(f"photograph {i}, said {k}" for k in range(5))  # of seven, in the val split
    given = {int(row["image_id"]): row["fold"] for row in tables.read(tmp_path / "out/split_given.csv")}
    assert given == {i: "0" if i in shared() else "-1" for i in stimuli.image_id.tolist()}
    assert len(shared() & set(given)) >= 4
    sources = json.loads((tmp_path / "out/sessions/sources.json").read_text())
    assert "passed on" in " ".join(sources["terms"]["points"])
    assert len(sources["sha256"]) == 7


def test_only_the_photographs_that_are_needed_are_read_and_nothing_twice(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    key = MANIFEST["files"]["stimuli"]
    nsd.acquire(data, tmp_path / "one", **OPTIONS | {"sessions": [2]})
    size = (bucket.folder / key).stat().st_size
    assert 0 < bucket.n_sent[key] < size
    asked = len(bucket.asked)
    nsd.acquire(data, tmp_path / "two", **OPTIONS | {"sessions": [2]})
    # The size of the file is asked for, and nothing else.
    assert [name for name, _ in bucket.asked[asked:]] == [key]
    for name in ("images.npz", f"sessions/{SUBJECT}.npz", "captions_given.csv", "split_given.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    found = Responses.load(tmp_path / f"one/sessions/{SUBJECT}.npz")
    assert found.presentation_id[:, 0].tolist() == list(range(N_TRIALS, 2 * N_TRIALS))
    np.testing.assert_array_equal(found.image_id, shown()[N_TRIALS : 2 * N_TRIALS])


def test_a_folder_of_the_users_is_read_in_place(
    data: Path, bucket: Bucket, cache: Path, published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nsd.acquire(data, tmp_path / "fetched", **OPTIONS)
    asked = len(bucket.asked)
    monkeypatch.setenv("SPIKEVAEDIFF_SOURCE_NSD", str(published))
    nsd.acquire(data, tmp_path / "local", **OPTIONS)
    assert len(bucket.asked) == asked
    assert nsd.cached(data, **OPTIONS) == []
    for name in ("images.npz", f"sessions/{SUBJECT}.npz", "captions_given.csv"):
        assert (tmp_path / "fetched" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
    monkeypatch.setenv("SPIKEVAEDIFF_SOURCE_NSD", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="which is neither a folder nor an address"):
        nsd.acquire(data, tmp_path / "none", **OPTIONS)


def test_regions_become_areas_and_the_first_in_the_list_has_a_voxel(data: Path, cache: Path, tmp_path: Path) -> None:
    nsd.acquire(data, tmp_path / "out", **OPTIONS | {"rois": ["prf-visualrois", "nsdgeneral"], "z_score": "none"})
    found, masks = Responses.load(tmp_path / f"out/sessions/{SUBJECT}.npz"), nsd_files.masks()
    visual, general = (masks[name].ravel() for name in ("prf-visualrois", "nsdgeneral"))
    areas = {
        i: nsd_files.ROIS[int(visual[i])] if visual[i] > 0 else "nsdgeneral"
        for i in range(visual.size)
        if visual[i] > 0 or general[i] > 0
    }
    reference = expected((visual + general).reshape(GRID) * 0 + 1, shared(), z_score=False)
    kept = sorted(set(areas) & set(reference))
    assert found.units.unit_id.tolist() == kept
    assert found.units.area.tolist() == [areas[i] for i in kept]
    wanted = np.column_stack([reference[i] for i in kept])
    np.testing.assert_allclose(found.counts[:, :, 0].astype(float), wanted, rtol=2**-11, atol=2**-25)


def test_the_split_of_brain_diffuser_is_of_its_first_sessions(data: Path, cache: Path, tmp_path: Path) -> None:
    nsd.acquire(data, tmp_path / "out", **OPTIONS | {"test": "brain_diffuser_2023", "captions": "none"})
    found = Responses.load(tmp_path / f"out/sessions/{SUBJECT}.npz")
    assert len(found.image_id) == 2 * N_TRIALS
    given = [row["fold"] for row in tables.read(tmp_path / "out/split_given.csv")]
    stated = json.loads((data / "manifest.json").read_text())["brain_diffuser_2023"]
    assert (given.count("0"), given.count("-1")) == (stated["n_test"], stated["n_train"])
    assert Captions.load(tmp_path / "out/captions_given.csv").sentences == ((),) * len(given)
    with pytest.raises(ValueError, match="sessions is 3, expected 2 or all: brain_diffuser_2023 is of the first 2"):
        nsd.acquire(data, tmp_path / "no", **OPTIONS | {"test": "brain_diffuser_2023", "sessions": 3})


def test_whole_clusters_are_tested_and_have_no_say_in_z_scores(data: Path, cache: Path, tmp_path: Path) -> None:
    real = Path.home() / ".cache/spikevaediff"
    (cache).mkdir(parents=True)
    weights = [path for path in real.rglob("*") if path.is_file() and "lite0" in path.name]
    for path in weights:
        (cache / path.relative_to(real)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, cache / path.relative_to(real))
    nsd.acquire(data, tmp_path / "out", **OPTIONS | {"test": "clusters"})
    tested = {int(row["image_id"]) for row in tables.read(tmp_path / "out/split_given.csv") if row["fold"] == "0"}
    found = Responses.load(tmp_path / f"out/sessions/{SUBJECT}.npz")
    assert 0.1 <= len(tested) / len(set(shown().tolist())) <= 0.3
    assert tested != shared()
    reference = expected(nsd_files.masks()["nsdgeneral"], tested)
    wanted = np.column_stack([reference[i] for i in sorted(reference)]).astype(np.float16)
    np.testing.assert_array_equal(found.counts[:, :, 0], wanted)


def test_a_cluster_is_tested_whole_or_not_at_all() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 10, 400)
    features = (rng.normal(size=(10, 5))[label] * 20 + rng.normal(size=(400, 5))).astype(np.float32)
    tested = clusters.hold_out(features, n_clusters=10, test_share=0.2, seed=3)
    for cluster in range(10):
        assert len(set(tested[label == cluster].tolist())) == 1
    assert 0.12 < tested.mean() < 0.28
    np.testing.assert_array_equal(tested, clusters.hold_out(features, n_clusters=10, test_share=0.2, seed=3))
    assert not np.array_equal(tested, clusters.hold_out(features, n_clusters=10, test_share=0.2, seed=4))
    with pytest.raises(ValueError, match="n_clusters is 401, expected 2 to 400"):
        clusters.hold_out(features, n_clusters=401, test_share=0.2, seed=0)


# ---- the published numbers


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("full") / "nsd_expdesign.mat"
    savemat(path, nsd_files.full_design())
    return path


@pytest.mark.parametrize("row", MANIFEST["subjects"], ids=lambda row: f"subject{row['subject']}")
def test_the_numbers_of_publications_come_out_at_full_size(full: Path, row: dict[str, Any], tmp_path: Path) -> None:
    """Trials, photographs, repeats and shared ones of every subject, from a design of the published size."""
    plan = design.read(full, row["subject"], MANIFEST["images"]["n"])
    trials = design.trials_of(plan, design.sessions_of(row, "all"), MANIFEST["trials_per_session"])
    found = design.facts(plan, trials)
    assert found == {name: value for name, value in row["facts"].items() if name != "nsdgeneral"}
    made = nsd_files.full_design()
    at = 12345  # by hand, from 1 to 0
    assert plan.image_id[at] == made["subjectim"][row["subject"] - 1, made["masterordering"][0, at] - 1] - 1
    # A mask of the subject's grid with as many voxels as published, among them values below 0.
    volume = np.full(row["grid"], -1, np.int16)
    volume.ravel()[np.random.default_rng(0).permutation(volume.size)[: row["facts"]["nsdgeneral"]]] = 1
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / "nsdgeneral.nii.gz")
    chosen = voxels.chosen({"nsdgeneral": tmp_path / "nsdgeneral.nii.gz"}, {}, row["grid"], rois=["nsdgeneral"])
    assert len(chosen.index) == chosen.inside["nsdgeneral"] == row["facts"]["nsdgeneral"]


def test_brain_diffuser_tests_982_and_trains_on_8859(full: Path) -> None:
    published = MANIFEST["brain_diffuser_2023"]
    assert (published["sessions"], published["n_test"], published["n_train"]) == (37, 982, 8859)
    for row in MANIFEST["subjects"]:
        if row["sessions"] < 37:
            with pytest.raises(
                ValueError, match=r"has \d\d sessions, and brain_diffuser_2023 .* take one of 1, 2, 5, 7"
            ):
                nsd._sessions(MANIFEST, row, "all", "brain_diffuser_2023")
            continue
        plan = design.read(full, row["subject"], 73000)
        trials = design.trials_of(plan, nsd._sessions(MANIFEST, row, "all", "brain_diffuser_2023"), 750)
        assert len(trials) == 27750
        tested = design.shared_test(plan, np.unique(plan.image_id[trials]))
        assert (int(tested.sum()), int((~tested).sum())) == (982, 8859)


# ---- what is refused


def test_terms_are_shown_and_must_be_accepted_once(
    data: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any, bucket: Bucket
) -> None:
    monkeypatch.delenv(terms.ACCEPT)
    with pytest.raises(PermissionError, match=f"terms of nsd were not accepted. Read https.*{terms.ACCEPT}=nsd"):
        nsd.acquire(data, tmp_path / "out", **OPTIONS)
    assert "neither the data nor any part of it may be passed on" in capfd.readouterr().err
    assert not bucket.asked
    monkeypatch.setenv(terms.ACCEPT, "other,nsd")
    nsd.acquire(data, tmp_path / "out", **OPTIONS)
    assert terms.marker("nsd").is_file()
    capfd.readouterr()
    monkeypatch.delenv(terms.ACCEPT)
    nsd.acquire(data, tmp_path / "again", **OPTIONS)
    assert "passed on\n" not in capfd.readouterr().err
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["terms"]["points"].append("a new one")
    (data / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PermissionError, match="were not accepted"):  # other terms are no longer what was agreed to
        nsd.acquire(data, tmp_path / "new", **OPTIONS)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"subject": 3}, "subject is 3, expected one of 2"),
        (
            {"sessions": [1, 4]},
            r"sessions is \[1, 4\], expected all, a number n .* of the 3 sessions of subject 2",
        ),
        ({"sessions": [1, 1]}, r"sessions is \[1, 1\]"),
        ({"sessions": 0}, "sessions is 0"),
        ({"rois": ["nsdgeneral", "nsdgeneral"]}, "expected different regions"),
        ({"test": "clusters", "test_share": 0.0}, "test_share is 0.0, expected a share of the images"),
        ({"size_px": 0}, "size_px must be at least 1"),
    ],
)
def test_options_that_cannot_be_meant_are_refused_before_anything_is_fetched(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        nsd.acquire(data, tmp_path / "out", **OPTIONS | change)
    assert not bucket.asked


def test_a_subject_of_other_numbers_is_refused_and_nothing_written(data: Path, cache: Path, tmp_path: Path) -> None:
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["subjects"][0]["facts"]["nsdgeneral"] += 1
    (data / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="subject 2 differs from what is known: nsdgeneral is 72, expected 73"):
        nsd.acquire(data, tmp_path / "out", **OPTIONS)
    assert not (tmp_path / "out").exists()


def test_a_broken_download_goes_on_and_an_altered_file_is_refused(
    data: Path, bucket: Bucket, cache: Path, tmp_path: Path
) -> None:
    key = MANIFEST["files"]["betas"].format(subject=SUBJECT, version=nsd_files.VERSION, session=2, ending="nii.gz")
    bucket.faults[key] = "truncated"
    nsd.acquire(data, tmp_path / "out", **OPTIONS)
    ranges = [wanted for name, wanted in bucket.asked if name == key]
    assert len(ranges) == 2  # and the second asked for the rest alone
    assert ranges[1] is not None
    path = cache / "nsd" / key
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=r"betas_session02.nii.gz has sha256 \w{64}, when it was first used it had"):
        nsd.acquire(data, tmp_path / "out", **OPTIONS)
    path.unlink()
    bucket.faults[key] = 404
    with pytest.raises(
        FileNotFoundError, match=r"betas_session02.nii.gz .* no such file \(404\).*SPIKEVAEDIFF_SOURCE_NSD"
    ):
        nsd.acquire(data, tmp_path / "out", **OPTIONS)


def test_files_of_another_layout_are_refused(tmp_path: Path) -> None:
    mine = voxels.Voxels(np.array([1, 7]), np.array(["a", "a"]), GRID, {})
    whole = nsd_files.betas(nsd_files.photographs(), nsd_files.design())[0]
    path = tmp_path / "betas_session01.nii.gz"
    nibabel.Nifti1Image(whole[..., 1:], np.eye(4)).to_filename(path)
    with pytest.raises(ValueError, match=r"is \(7, 5, 4, 35\), expected \(7, 5, 4, 36\) \(X, Y, Z, trial\)"):
        betas.read(path, mine, N_TRIALS)
    scaled = nibabel.Nifti1Image(whole / 300, np.eye(4))  # percent, which nibabel writes as int16 with a scale
    scaled.header.set_data_dtype(np.int16)
    scaled.to_filename(path)
    with pytest.raises(ValueError, match=r"states a scale factor of 0\.\d+.*whether to divide by 300 as well"):
        betas.read(path, mine, N_TRIALS)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is not a NIfTI volume or damaged"):
        betas.read(path, mine, N_TRIALS)
    with h5py.File(tmp_path / "betas.hdf5", "w") as file:
        file["betas"] = whole  # as Matlab would show it, not h5py
    with pytest.raises(ValueError, match=r"expected \(36, 4, 5, 7\) \(trial, Z, Y, X\)"):
        betas.read(tmp_path / "betas.hdf5", mine, N_TRIALS)
    nibabel.Nifti1Image(np.full(GRID, 9, np.int16), np.eye(4)).to_filename(tmp_path / "roi.nii.gz")
    (tmp_path / "roi.ctab").write_text("0 Unknown\n1 V1v\n")
    given = ({"roi": tmp_path / "roi.nii.gz"}, {"roi": tmp_path / "roi.ctab"})
    with pytest.raises(ValueError, match=r"holds the labels \[9.*\], expected those of roi: \[1\]"):
        voxels.chosen(*given, GRID, rois=["roi"])
    with pytest.raises(ValueError, match=r"is \(7, 5, 4\), expected the grid \(4, 5, 7\) of this subject"):
        voxels.chosen(*given, GRID[::-1], rois=["roi"])


def test_a_design_that_counts_from_0_or_contradicts_itself_is_refused(tmp_path: Path) -> None:
    made, path = nsd_files.design(), tmp_path / "nsd_expdesign.mat"
    for name, value, says in (
        ("masterordering", made["masterordering"] - 1, "masterordering spans 0 to 47, expected 1 to 48"),
        ("sharedix", made["sharedix"] % 89 + 1, "are not those of sharedix"),
        ("subjectim", made["subjectim"] * 0 + 1, "lists a photograph of subject 2 twice"),
    ):
        savemat(path, made | {name: value})
        with pytest.raises(ValueError, match=says):
            design.read(path, SUBJECT, nsd_files.N_IMAGES)
    path.write_bytes(b"nothing at all")
    with pytest.raises(ValueError, match=r"is no \.mat file up to version 7, or damaged"):
        design.read(path, SUBJECT, nsd_files.N_IMAGES)


# ---- the split that a data set brings


def test_training_images_that_look_like_a_tested_one_are_left_out_or_stay_as_published() -> None:
    pixels = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in nsd_files.photographs()[:12]])
    pixels[3] = pixels[9]
    stimuli = Stimuli("a data set", np.arange(100, 112), pixels)
    tested = {i: i < 104 for i in range(100, 112)}
    rest = {"n_folds": 2, "n_test": 1, "seed": 0}
    strict, notes = split.decide(stimuli, tested, method="given", **rest)
    assert strict.test_ids.tolist() == [100, 101, 102, 103]
    assert strict.image_id.tolist() == [i for i in range(100, 112) if i != 109]
    assert notes[0] == "1 pairs of a tested and a training image look alike; of the latter 1 are left out"
    published, notes = split.decide(stimuli, tested, method="as_published", **rest)
    assert published.image_id.tolist() == list(range(100, 112))
    assert "stay, as published" in notes[0]
    with pytest.raises(
        ValueError, match=r"a data set brings a split of its own, .* Set split.method to given, not k_fold"
    ):
        split.decide(stimuli, tested, method="k_fold", **rest)
    with pytest.raises(ValueError, match="a data set brings no split of its own"):
        split.decide(stimuli, {}, method="given", **rest)
