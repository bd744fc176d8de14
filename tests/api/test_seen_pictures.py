"""Pictures on which an encoding model was trained are predicted with a warning, in Python and on the command line."""

import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_receptive_fields import IDS, model

import spikevaediff
from spikevaediff.__main__ import main
from spikevaediff.api.named import Named
from spikevaediff.records import ImageSplit, Stimuli

RNG = np.random.default_rng([6])
# Smooth, of all levels of grey, as photographs are; the model was trained on the ids up to 19.
COARSE = [Image.fromarray(RNG.integers(40, 215, (6, 6), dtype=np.uint8)) for _ in range(21)]
PIXELS = np.stack([np.asarray(coarse.resize((96, 96), Image.Resampling.BICUBIC)) for coarse in COARSE])
MODEL = "artifacts/encoders/visual/all_images.npz"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / MODEL).parent.mkdir(parents=True)
    model().save(tmp_path / MODEL)
    Stimuli("", np.append(IDS, 99), PIXELS).save(tmp_path / "artifacts/images.npz")
    ImageSplit(IDS, np.arange(len(IDS)) % 2).save(tmp_path / "artifacts/split.npz")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_pictures_that_trained_the_model_are_predicted_with_a_warning(project: Path) -> None:
    run = spikevaediff.load(project)
    said = r"2 of 3 pictures are images on which this model was trained.*: image_id 2, 7\. .*encode\(run=run, image_id="
    with pytest.warns(UserWarning, match=said):
        spikevaediff.encode(PIXELS[[7, 20, 2]], run)
    with pytest.warns(UserWarning, match="3 of 3 pictures .*: image_id 7. "):
        spikevaediff.encode(PIXELS[[7, 7, 7]], run)
    resized = np.asarray(Image.fromarray(PIXELS[4]).resize((80, 80)))
    stored = io.BytesIO()
    Image.fromarray(PIXELS[5]).save(stored, "JPEG")
    for image_id, picture in ((4, resized), (5, np.asarray(Image.open(stored)))):
        with pytest.warns(UserWarning, match=f"1 of 1 pictures .*: image_id {image_id}. "):
            spikevaediff.encode(picture[None], run)


def test_other_pictures_are_predicted_without_one(project: Path) -> None:
    run = spikevaediff.load(project)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spikevaediff.encode(PIXELS[20:], run)  # shown, but not in training
        spikevaediff.encode(PIXELS[:2, ::-1], run)
        # Pictures of little contrast differ by few grey levels from each other, and are no copies.
        dots = np.full((20, 96, 96), 127, np.uint8)
        for number, dot in enumerate(dots):
            dot[4 * number : 4 * number + 6, 30:36] = 255
        spikevaediff.encode(dots, run)
        faint = 127 + 0.05 * (PIXELS[:5, ::-1].astype(float) - 127)
        spikevaediff.encode(faint.astype(np.uint8), run)


def test_pictures_with_ids_keep_them(project: Path) -> None:
    run = spikevaediff.load(project)
    with pytest.warns(UserWarning, match="image_id 2, 7"):
        found = spikevaediff.encode(run.shown.sel(image_id=[7, 2]), run)
    assert found.sizes == {"image_id": 2, "unit": 3, "window": 1}
    assert found.axes["image_id"].tolist() == [7, 2]
    places = np.arange(96)
    samples = Named(PIXELS[20:], {"sample": np.zeros(1), "row": places, "column": places})
    assert list(spikevaediff.encode(samples, run).axes) == ["picture", "unit", "window"]


def test_the_command_names_them(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, pixels in (("seen", PIXELS[3]), ("new", PIXELS[20])):
        Image.fromarray(pixels).save(f"{name}.png")
    assert main(["encode", MODEL, "seen.png", "new.png", "--out", "out.csv"]) == 0
    assert capsys.readouterr().out == (
        "out.csv: pictures: 2, columns: 3; the model was trained on image_id 3, so that predictions for them look too "
        "good; by models that have not seen them: spikevaediff encode artifacts/encoders/visual --images 3 --out "
        "unseen.csv\n"
    )
    # An image that no fold tests has been seen by every model.
    ImageSplit(IDS, np.where(IDS == 3, -1, 0)).save("artifacts/split.npz")
    assert main(["encode", MODEL, "seen.png", "--out", "out.csv"]) == 0
    assert capsys.readouterr().out.endswith("so that predictions for them look too good\n")
    # A model of a fold has not seen what it tests.
    replace(model(), image_id=IDS[IDS != 3]).save("artifacts/encoders/visual/fold_00.npz")
    assert main(["encode", "artifacts/encoders/visual/fold_00.npz", "seen.png", "--out", "out.csv"]) == 0
    assert capsys.readouterr().out == "out.csv: pictures: 1, columns: 3\n"
