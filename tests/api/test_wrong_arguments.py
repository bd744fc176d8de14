"""Arguments of encode and reconstruct that would be taken for others are refused before a model is loaded."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import ROOT

import spikevaediff
from spikevaediff import Run
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli
from spikevaediff.tools import encode

NOWHERE = Run(Path("no such folder"))  # nothing of it is read


@pytest.mark.parametrize("image_id", [[3.7], ["3"], [True], 3, [[3, 17]], [], [float("nan")]])
def test_ids_that_are_no_whole_numbers_are_not_cut_off(image_id: Any) -> None:
    with pytest.raises(ValueError, match=r"image_id is .*, expected a row of whole numbers: \[3, 17\]"):
        spikevaediff.encode(run=NOWHERE, image_id=image_id)


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ("a.png", "pictures are 'a.png', expected a list of paths"),
        ([], r"pictures are \[\], expected a list of paths"),
        (Path("a.png"), "neither an array, uint8 .* nor a list of paths"),
        ([np.zeros((4, 4), np.uint8)], "neither an array, uint8 .* nor a list of paths"),
        (np.zeros((0, 4, 4), np.uint8), r"pictures are uint8 \(0, 4, 4\), expected uint8"),
        (np.zeros((1, 0, 0), np.uint8), r"pictures are uint8 \(1, 0, 0\), expected uint8"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"pictures are uint8 \(1, 4, 4, 3\), expected uint8"),
        (
            np.zeros((64, 48, 3), np.uint8),
            r"pictures are \(64, 48, 3\), 64 of 3 x 48 pixels, .* is pixels\[None\]; make",
        ),
    ],
)
def test_what_is_no_picture_is_refused(pictures: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        spikevaediff.encode(pictures, NOWHERE)


def test_an_image_is_asked_for_once() -> None:
    with pytest.raises(ValueError, match=r"image_id 3, 3 repeat: each can be asked for once"):
        spikevaediff.encode(run=NOWHERE, image_id=[3, 3])


@pytest.mark.parametrize("given", [{"images": 3}, {"images": []}, {"runs": "posterior"}, {"runs": ["vdvae", "vdvae"]}])
def test_a_figure_is_of_a_list_without_repeats(given: Any) -> None:
    (name, value), *_ = given.items()
    with pytest.raises(
        ValueError, match=f"{name} is {re.escape(repr(value))}, expected a list of at least one, each once"
    ):
        spikevaediff.figure(NOWHERE, "gallery", **given)


def test_the_gallery_says_that_an_image_is_only_trained_on(tmp_path: Path) -> None:
    for name in ("params.yaml", "runs.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    ids, tested = np.arange(13), np.arange(2, 12)
    Stimuli("", ids, np.zeros((13, 8, 8), np.uint8)).save(tmp_path / "artifacts/images.npz")
    ImageSplit(ids[:12], np.array([-1, -1, *[0, 1] * 5])).save(tmp_path / "artifacts/split.npz")
    Reconstructions(tested, np.zeros((10, 8, 8, 3), np.uint8)).save(tmp_path / "artifacts/decoded/posterior")
    said = "no reconstruction of image_id 1, 0, used for training only; tested are 2, 3, 4, 5, 6, 7, 8, 9, ..."
    with pytest.raises(KeyError, match=re.escape(said)):
        spikevaediff.figure(tmp_path, "gallery", images=[1, 5, 0], runs=["posterior"])
    with pytest.raises(KeyError, match="Reconstructions lacks image_id 12"):
        spikevaediff.figure(tmp_path, "gallery", images=[5, 12], runs=["posterior"])


def test_one_area_may_be_a_string(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = spikevaediff.make_responses([[1]], [3], unit_id=[7], area="VISp", window_s=[0.0, 0.25])  # type: ignore
    recorded.save(tmp_path / "artifacts/responses/visual.npz")
    with pytest.raises(KeyError, match="no unit is of area V4; there are VISp"):
        spikevaediff.activate(Run(tmp_path), areas="V4")
    with pytest.raises(FileNotFoundError, match=r"vdvae_all_images.npz does not exist"):  # what comes next
        spikevaediff.activate(Run(tmp_path), areas="VISp")


def test_an_array_is_no_record_of_responses() -> None:
    with pytest.raises(ValueError, match=r"responses are ndarray, expected a record: make_responses\(counts, "):
        spikevaediff.reconstruct(np.zeros((1, 2)), NOWHERE)  # type: ignore[arg-type]


def test_the_command_takes_images_and_models_of_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for project in ("here", "there"):
        (tmp_path / project / "artifacts/encoders/visual").mkdir(parents=True)
    (tmp_path / "here/params.yaml").write_text("seed: 0\n")
    (tmp_path / "here/artifacts/images.npz").touch()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(
        FileNotFoundError, match=r"encoders holds no encoding models .* such as artifacts/encoders/visual"
    ):
        encode.encode_unseen("../there/artifacts/encoders", [3], "table.csv")
    (tmp_path / "there/artifacts/encoders/visual/all_images.npz").touch()
    with pytest.raises(FileNotFoundError, match=r"there/params.yaml does not exist. Name a project in which the pipe"):
        encode.encode_unseen("../there/artifacts/encoders/visual", [3], "table.csv")


def test_a_folder_is_no_model_of_new_pictures(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a folder: for new pictures name all_images\.npz in it"):
        encode.encode(tmp_path, ["a.png"], "table.csv", tmp_path)
