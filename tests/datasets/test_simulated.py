"""The embedded data set: its tables, its photographs and what `acquire` writes."""

import csv
import hashlib
import io
import zipfile
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image
from ruamel.yaml import YAML

from spikevaediff.datasets.simulated import N_SCENES, acquire, crops, photographs, read_captions
from spikevaediff.files import assets
from spikevaediff.recordings.sessions import summary
from spikevaediff.recordings.unit_filter import Limits
from spikevaediff.records import Stimuli
from spikevaediff.regression.split import near_copies

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "vendor" / "data" / "simulated"
OPTIONS = dict(YAML(typ="safe").load(ROOT / "params.yaml")["datasets"]["simulated"])
CAT = ("scikit-image", "data/chelsea.png")


def _table(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, header: str, *lines: str) -> None:
    path.write_text("\n".join([header, *lines]) + "\n")


# ---- the tables of the repository


def test_training_boxes_overlap_neither_scenes_nor_one_another() -> None:
    by_file: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for row in _table("scene_boxes.csv"):
        box = (int(row["x"]), int(row["y"]), int(row["side"]))
        by_file.setdefault((row["package"], row["file"]), []).append(box)
    for boxes in by_file.values():
        for (x, y, side), (u, v, other) in combinations(boxes, 2):
            assert x + side <= u or u + other <= x or y + side <= v or v + other <= y


def test_every_photograph_of_a_box_has_a_hash_and_every_scene_a_caption() -> None:
    used = {(row["package"], row["file"]) for row in _table("scene_boxes.csv")}
    hashed = {(row["package"], row["file"]): row["sha256"] for row in _table("photographs.csv")}
    assert used == set(hashed)
    assert all(len(sha256) == 64 for sha256 in hashed.values())
    assert list(read_captions(DATA / "captions.csv")) == list(range(N_SCENES))


# ---- cutting


def test_a_photograph_is_grey_and_the_one_that_was_hashed() -> None:
    (grey,) = photographs(DATA, {CAT}).values()
    colour = skimage.data.chelsea().astype(float)
    luma = colour @ [0.299, 0.587, 0.114]
    assert grey.dtype == np.uint8
    assert np.abs(grey - luma).max() <= 1


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of tables and a stand-in for mvtb-data with one picture, 30 x 20, whose pixel (y, x) is 8 y + x."""
    picture = (8 * np.arange(20)[:, None] + np.arange(30)).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG")
    wheel = tmp_path / "mvtb.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mvtbdata/images/a.png", content.getvalue())
    monkeypatch.setattr(assets, "fetch", lambda name: {"mvtb_data": wheel}[name])
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    _write(tmp_path / "photographs.csv", "package,file,sha256", f"mvtb-data,images/a.png,{sha256}")
    _boxes(tmp_path, "train,,mvtb-data,images/a.png,3,5,10", "train,,mvtb-data,images/a.png,13,5,4")
    return tmp_path


def _boxes(folder: Path, *lines: str) -> None:
    _write(folder / "scene_boxes.csv", "role,scene,package,file,x,y,side", *lines)


def test_a_box_is_cut_where_it_was_drawn(packages: Path) -> None:
    ids, cut = crops(packages, "train")
    assert ids.tolist() == [0, 1]
    assert [c.shape for c in cut] == [(10, 10), (4, 4)]
    assert cut[0][0, 0] == 8 * 5 + 3
    assert cut[0][9, 9] == 8 * 14 + 12
    assert cut[1][0, 0] == 8 * 5 + 13


def test_another_version_of_a_photograph_is_refused(packages: Path) -> None:
    _write(packages / "photographs.csv", "package,file,sha256", "mvtb-data,images/a.png,00")
    with pytest.raises(ValueError, match=r"images/a\.png of the package mvtb-data has sha256 .*, expected 00"):
        crops(packages, "train")


def test_a_photograph_without_a_hash_is_refused(packages: Path) -> None:
    _boxes(packages, "train,,mvtb-data,images/b.png,0,0,5")
    with pytest.raises(ValueError, match=r"photographs\.csv lacks the sha256 of images/b\.png of mvtb-data"):
        crops(packages, "train")


@pytest.mark.parametrize(
    ("package", "file", "says"),
    [
        ("mvtb-data", "images/b.png", "asset mvtb_data has no file mvtbdata/images/b.png"),
        ("numpy", "a.png", "photographs come from scikit-image, mvtb-data and scikit-learn; not from 'numpy'"),
    ],
)
def test_a_photograph_that_no_package_has_is_refused(packages: Path, package: str, file: str, says: str) -> None:
    _write(packages / "photographs.csv", "package,file,sha256", f"{package},{file},00")
    _boxes(packages, f"train,,{package},{file},0,0,5")
    with pytest.raises(ValueError, match=says):
        crops(packages, "train")


def test_a_scikit_image_without_the_photograph_is_named(packages: Path) -> None:
    _write(packages / "photographs.csv", "package,file,sha256", "scikit-image,data/gone.png,00")
    _boxes(packages, "train,,scikit-image,data/gone.png,0,0,5")
    with pytest.raises(FileNotFoundError, match=r"scikit-image has no data/gone\.png; install the one in constraints"):
        crops(packages, "train")


@pytest.mark.parametrize("box", ["25,0,6", "0,15,6", "-1,0,5", "0,0,0"])
def test_a_box_outside_its_photograph_is_refused(packages: Path, box: str) -> None:
    _boxes(packages, f"train,,mvtb-data,images/a.png,{box}")
    with pytest.raises(ValueError, match=r"leaves images/a\.png of mvtb-data, which is 30 x 20"):
        crops(packages, "train")


def test_an_unknown_role_is_refused(packages: Path) -> None:
    with pytest.raises(ValueError, match="no box of role 'test', expected 'scene' or 'train'"):
        crops(packages, "test")


def test_missing_and_repeated_scenes_are_named(packages: Path) -> None:
    lines = [f"scene,{max(i, 1)},mvtb-data,images/a.png,0,0,5" for i in range(N_SCENES)]
    _boxes(packages, *lines)
    with pytest.raises(ValueError, match=r"must hold each scene 0\.\.117 once; see \[0, 1\]"):
        crops(packages, "scene")


def test_a_missing_table_or_another_one_is_refused(packages: Path) -> None:
    (packages / "photographs.csv").write_text("name,sha256\n")
    with pytest.raises(ValueError, match=r"photographs\.csv has the columns .*, expected package, file, sha256"):
        crops(packages, "train")
    (packages / "scene_boxes.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"scene_boxes\.csv does not exist\. Bring the data back"):
        crops(packages, "train")


def test_a_line_of_another_length_is_refused(packages: Path) -> None:
    _boxes(packages, "train,,mvtb-data,images/a.png,0,0,5", "train,,mvtb-data,images/a.png,0,0")
    with pytest.raises(ValueError, match=r"scene_boxes\.csv, line 3: expected 7 values"):
        crops(packages, "train")


# ---- captions


def _captions(path: Path, *, without: int = -1, empty: int = -1, more: str = "") -> Path:
    lines = [f"{i},{'' if i == empty else f'Scene {i}.'}" for i in range(N_SCENES) if i != without]
    _write(path / "captions.csv", "image_id,caption", *lines, *([more] if more else []))
    return path / "captions.csv"


def test_captions_come_in_the_order_of_the_scenes_with_commas(tmp_path: Path) -> None:
    path = _captions(tmp_path, without=3, more='3," Grass, and a stone. "')
    captions = read_captions(path)
    assert list(captions) == list(range(N_SCENES))
    assert captions[3] == "Grass, and a stone."


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"without": 7}, r"lacks \[7\]"),
        ({"more": "5,Again."}, r"too many, or unknown ones, of \[5\]"),
        ({"more": "200,Nobody."}, r"too many, or unknown ones, of \[200\]"),
        ({"empty": 9}, "the caption of scene 9 is empty"),
    ],
)
def test_captions_that_do_not_fit_the_scenes_are_refused(tmp_path: Path, changes: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_captions(_captions(tmp_path, **changes))  # type: ignore[arg-type]


# ---- the whole


@pytest.mark.slow
def test_acquire_writes_the_same_session_images_and_captions_twice(tmp_path: Path) -> None:
    try:
        acquire(DATA, tmp_path / "one", **OPTIONS)
    except FileNotFoundError as error:
        pytest.skip(f"the photographs are not here: {error}")
    acquire(DATA, tmp_path / "two", **OPTIONS)
    one, two = [sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("one", "two")]
    assert [p.name for p in one] == ["captions_given.csv", "images.npz", "movies.npz", "999000118.nwb"]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(one, two, strict=True))
    stimuli = Stimuli.load(tmp_path / "one" / "images.npz")
    assert stimuli.image_id.tolist() == list(range(N_SCENES))
    assert stimuli.pixels.shape[1:] == (256, 256)
    assert stimuli.pixels.reshape(N_SCENES, -1).std(1).min() > 10
    assert one[-1].stat().st_size < 100e6
    left = summary(one[-1], Limits(isi_violations_max=0.5, amplitude_cutoff_max=0.1, presence_ratio_min=0.95))
    assert sum(list(area.values())[-1] for area in left.values()) == 418
    acquire(DATA, tmp_path / "other", **{**OPTIONS, "seed": 1})
    assert (tmp_path / "other" / "sessions" / "999000118.nwb").read_bytes() != one[-1].read_bytes()
    assert (tmp_path / "other" / "images.npz").read_bytes() == one[1].read_bytes()
    frames = Stimuli.load(tmp_path / "one/movies.npz")
    assert frames.pixels.shape == (900, 128, 128)
    assert not len(near_copies(frames.pixels[::10], stimuli.pixels))
    assert np.mean(np.abs(np.diff(frames.pixels.astype(float), axis=0)), axis=(1, 2)).min() > 0  # it moves
