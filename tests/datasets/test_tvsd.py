"""The THINGS Ventral Stream Spiking Dataset from a server on this machine: small files of its layout."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tvsd_files
from bucket import Bucket, serving
from conftest import ROOT
from PIL import Image
from tvsd_files import AREAS, N_REPEATS, N_TEST, N_TRAIN, SILENT

from spikevaediff.datasets import tvsd
from spikevaediff.files import one_request, tables
from spikevaediff.images import resize
from spikevaediff.records import Captions, Responses, Stimuli

OPTIONS: dict[str, Any] = {"monkey": "F", "n_train": 0, "seed": 0, "size_px": 32, "captions": "concepts"}


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(one_request, "_PAUSE_S", 0.01)
    monkeypatch.delenv("SPIKEVAEDIFF_SOURCE_TVSD", raising=False)
    monkeypatch.setenv("SPIKEVAEDIFF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(tvsd.THINGS, str(tmp_path / "things"))
    tvsd_files.write(tmp_path / "published", tmp_path / "things")
    with serving(tmp_path / "published") as running:
        yield running


@pytest.fixture
def data(bucket: Bucket, tmp_path: Path) -> Path:
    return tvsd_files.write_manifest(tmp_path / "data", bucket.url)


@pytest.mark.parametrize("monkey", ["F", "N"])
def test_responses_areas_photographs_and_split_arrive(data: Path, bucket: Bucket, tmp_path: Path, monkey: str) -> None:
    tvsd.acquire(data, tmp_path / "out", **OPTIONS | {"monkey": monkey})
    session = "FN".index(monkey) + 1
    found, made = Responses.load(tmp_path / f"out/sessions/{session}.npz"), tvsd_files.responses(monkey)
    kept = [i for i in range(16) if monkey == "F" or i not in SILENT]
    assert found.units.unit_id.tolist() == [i + 1 for i in kept]
    areas = {i: name for name, (first, last) in AREAS[monkey].items() for i in range(first, last + 1)}
    assert found.units.area.tolist() == [areas[i + 1] for i in kept]
    np.testing.assert_allclose(found.units.snr, made["SNR_max"][kept, 0], rtol=1e-6)
    # Training photographs once, then each tested one with all its repeats, one after the other.
    ids = list(range(N_TRAIN)) + [N_TRAIN + i for i in range(N_TEST) for _ in range(N_REPEATS)]
    assert found.image_id.tolist() == ids
    wanted = [made["train_MUA"][i] for i in range(N_TRAIN)]
    wanted += [made["test_MUA_reps"][r, i] for i in range(N_TEST) for r in range(N_REPEATS)]
    np.testing.assert_array_equal(found.counts[:, :, 0], np.array(wanted, np.float32)[:, kept])
    np.testing.assert_allclose(
        found.counts[N_TRAIN:, :, 0].reshape(N_TEST, N_REPEATS, -1).mean(1), made["test_MUA"][:, kept], atol=1e-6
    )
    assert found.window_s.tolist() == [[0.025, 0.175]]
    stimuli = Stimuli.load(tmp_path / "out/images.npz")
    for name, pixels in zip([name for kind in tvsd_files.names() for name in kind], stimuli.pixels, strict=True):
        with Image.open(tmp_path / "things/object_images" / name) as picture:
            np.testing.assert_array_equal(pixels, resize(np.asarray(picture.convert("L"))[None], 32)[0])
    given = [row["fold"] for row in tables.read(tmp_path / "out/split_given.csv")]
    assert given == ["-1"] * N_TRAIN + ["0"] * N_TEST
    said = Captions.load(tmp_path / "out/captions_given.csv").sentences
    assert [said[0], said[8], said[-1]] == [("bat",), ("ice cream",), ("zebra",)]


def test_a_larger_draw_of_training_photographs_holds_a_smaller_one(data: Path, tmp_path: Path) -> None:
    drawn = []
    for n in (5, 9):
        tvsd.acquire(data, tmp_path / str(n), **OPTIONS | {"n_train": n, "captions": "none"})
        ids = Stimuli.load(tmp_path / f"{n}/images.npz").image_id
        found = Responses.load(tmp_path / f"{n}/sessions/1.npz")
        assert len(ids) == n + N_TEST == tvsd.n_images(data, n_train=n)
        np.testing.assert_array_equal(
            found.counts[:n, :, 0], tvsd_files.responses("F")["train_MUA"][ids[:n]].astype(np.float32)
        )
        assert Captions.load(tmp_path / f"{n}/captions_given.csv").sentences == ((),) * len(ids)
        drawn.append(set(ids.tolist()))
    assert drawn[0] < drawn[1]


def test_photographs_that_are_not_there_are_counted_and_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Bucket
) -> None:
    for name in ("tree/tree_03b.jpg", "zebra/zebra_00s.jpg"):
        (tmp_path / "things/object_images" / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tree/tree_03b.jpg, zebra/zebra_00s.jpg \(2 of 29 photographs"):
        tvsd.acquire(data, tmp_path / "out", **OPTIONS)
    asked = len(bucket.asked)
    monkeypatch.setenv(tvsd.THINGS, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere, which is not a folder"):
        tvsd.acquire(data, tmp_path / "out", **OPTIONS)
    monkeypatch.delenv(tvsd.THINGS)
    with pytest.raises(
        FileNotFoundError, match=r"are not part of the data set: ask for them at .*SPIKEVAEDIFF_THINGS="
    ):
        tvsd.acquire(data, tmp_path / "out", **OPTIONS)
    assert len(bucket.asked) == asked  # before anything is fetched
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [({"n_train": 25}, "n_train is 25, expected 2 to 24, or 0 for all"), ({"monkey": "X"}, "expected F or N")],
)
def test_options_that_cannot_be_meant_are_refused(
    data: Path, bucket: Bucket, tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        tvsd.acquire(data, tmp_path / "out", **OPTIONS | change)
    assert not bucket.asked


def test_axes_the_other_way_round_and_other_files_are_refused(data: Path, bucket: Bucket, tmp_path: Path) -> None:
    path = bucket.folder / "monkeyF/THINGS_normMUA.mat"
    with h5py.File(path, "a") as file:
        turned = file["train_MUA"][()].T
        del file["train_MUA"]
        file["train_MUA"] = turned
    with pytest.raises(ValueError, match=r"train_MUA is \(16, 24\), expected \(24, 16\) as h5py shows it"):
        tvsd.acquire(data, tmp_path / "out", **OPTIONS)
    (bucket.folder / "monkeyN/_logs/things_imgs.mat").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"is not things_imgs.mat, or damaged"):
        tvsd.acquire(data, tmp_path / "out", **OPTIONS | {"monkey": "N"})


def test_the_manifest_says_what_was_published() -> None:
    manifest = json.loads((ROOT / "vendor/data/tvsd/manifest.json").read_text())
    assert (manifest["n_train"], manifest["n_test"], manifest["n_repeats"]) == (22248, 100, 30)
    for areas in manifest["areas"].values():  # each electrode in one area
        spans = sorted(areas.values())
        assert spans[0][0] == 1
        assert spans[-1][1] == manifest["n_electrodes"] == 1024
        assert [last + 1 for _, last in spans[:-1]] == [first for first, _ in spans[1:]]
    assert all(round(stop - start, 9) == 0.1 for start, stop in manifest["windows_s"].values())
