"""A finished run in a notebook: read, joined, drawn, and its models applied, against what the stages made."""

import doctest
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from small_profile import copied

import spikevaediff
from spikevaediff import __main__
from spikevaediff.api import figures
from spikevaediff.api.apply import decode_latents
from spikevaediff.encoding import encoder, luminance
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.encoding.with_regression import combined
from spikevaediff.files import assets, left_out
from spikevaediff.recordings import preprocessing
from spikevaediff.records import Features, ImageSplit, LibraryResponses, Reconstructions, Stimuli
from spikevaediff.regression import fits, new_responses

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(pristine: Path, tmp_path: Path) -> Path:
    return copied(pristine, tmp_path / "clone", ignore=("tmp", "cache"))


def test_the_page_shows_what_python_prints(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clone)
    page = (ROOT / "docs/api.md").read_text()
    examples = "\n".join(re.findall(r"^```pycon\n(.*?)^```", page, re.MULTILINE | re.DOTALL))
    assert examples.count(">>>") > 15
    options = doctest.ELLIPSIS | doctest.REPORT_ONLY_FIRST_FAILURE
    test = doctest.DocTestParser().get_doctest(examples, {}, "docs/api.md", "docs/api.md", 0)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=options)
    runner.run(test, out=said.append)
    assert runner.failures == 0, "".join(said)


def test_arrays_are_those_of_the_files(pristine: Path) -> None:
    run = spikevaediff.load(pristine / "artifacts")
    counts = run.presentations["visual"]
    named = run.responses["visual"].where(area="VISp").sel(image_id=[40, 4])
    here, rows = counts.unit_area == "VISp", counts.image_id == 40
    np.testing.assert_allclose(named.values[0, :, 0], counts.counts[rows][:, here, 0].mean(0), rtol=1e-14)
    assert named.axes["unit"][0] == f"{counts.unit_session_id[here][0]}.{counts.unit_unit_id[here][0]}"
    with Image.open(pristine / "artifacts/decoded/posterior/0040.png") as picture:
        np.testing.assert_array_equal(run.reconstructions["posterior"].sel(image_id=40), np.asarray(picture))
    written = json.loads((pristine / "artifacts/scores/vdvae.json").read_text())["metrics"]["pixcorr"]["scores"]
    assert run.scores["vdvae"].sel(image_id=40, metric="pixcorr").values == written["40"]
    latents, record = run.features["vdvae"], Features.load(pristine / "artifacts/features/vdvae.npz")
    np.testing.assert_array_equal(latents.sel(image_id=40), record.rows(np.array([40]))[0])
    group = record.group_name[1]
    assert latents.where(group=group).sizes["latent"] == record.group_size[1]
    assert latents.where(group=group).axes["latent"][0] == f"{group}.0"
    assert "halves" not in run.scores
    assert set(run.predictions) >= {"vdvae", "vdvae_raw", "text", "vision", "control"}
    with pytest.raises(KeyError, match=r"has no 'v'; there are control, visual"):
        run.responses["v"]


def test_predicted_latents_decode_to_the_images_of_the_stage(pristine: Path) -> None:
    run = spikevaediff.load(pristine)
    images = decode_latents(Features.load(pristine / "artifacts/predicted/vdvae.npz"), run)
    np.testing.assert_array_equal(images.pixels, Reconstructions.load(pristine / "artifacts/decoded/vdvae").pixels)


def test_new_responses_are_reconstructed_as_the_stages_reconstruct_a_fold(clone: Path) -> None:
    """With the models of fold 0 in the place of those of all images, its test images are new ones."""
    artifacts = clone / "artifacts"
    split = ImageSplit.load(artifacts / "split.npz")
    trained, tested = split.ids(0)
    model, library = artifacts / "encoders/visual/all_images.npz", artifacts / "library/responses_visual.npz"
    answers = LibraryResponses.load(library)
    replaced = {name: fits.load(artifacts / f"fits/{name}_all_images.npz") for name in ("vdvae", "vision", "text")}
    for path in (model, library, *(artifacts / f"fits/{name}_all_images.npz" for name in replaced)):
        path.unlink()
    shutil.copy(artifacts / "encoders/visual/fold_00.npz", model)
    LibraryResponses(answers.image_id, answers.values[:1]).save(library)
    for name, fit in replaced.items():
        fit.parameters["context_image_id"] = trained
        fit.save(artifacts / f"fits/{name}_all_images.npz")
    run = spikevaediff.load(clone)
    known = run.presentations["visual"]
    chosen = np.isin(known.image_id, tested)
    of_images = partial(preprocessing.mean_over_presentations, known.counts.sum(2, dtype=np.float64), known.image_id)
    new = spikevaediff.make_responses(known.counts[chosen], known.image_id[chosen], like=known)
    for by in ("posterior", "posterior_sample"):
        made = spikevaediff.reconstruct(new, run, by=by)
        of_stage = run.reconstructions[by].sel(image_id=tested).values
        np.testing.assert_array_equal(made.values, of_stage)
    # What a regression expects of luminance, and its picture in the mean, are those of these models as well.
    plain, by_regression = spikevaediff.reconstruct(new, run), spikevaediff.reconstruct(new, run, by="vdvae")
    run.params["decode"]["posterior_images"]["regression_share"] = 0.6
    mixed = combined(plain.values[..., 0].astype(np.float32) / 255, by_regression.values, share=0.6)
    assert np.abs(spikevaediff.reconstruct(new, run).values[..., 0] - 255 * mixed).max() < 1.5  # both are rounded
    run.params["decode"]["posterior_images"]["regression_share"] = 0.0
    run.params["decode"]["posterior"]["luminance_weight"] = 1.0  # in the two steps of this profile
    lit = spikevaediff.reconstruct(new, run)
    light = luminance.expected(of_images(trained), run.shown.sel(image_id=trained).values, of_images(tested))
    off = [np.abs(luminance.of_pictures(encoder.seen(one.values[..., 0])).numpy() - light.mean) for one in (plain, lit)]
    assert off[1].mean() < 0.98 * off[0].mean()
    run.params["decode"]["posterior"]["luminance_weight"] = 0.0
    # The second stage begins at these images: with strength 0 only the autoencoder lies between.
    run.params["models"]["mini"]["diffusion"]["strength"] = 0.0
    start, second = spikevaediff.reconstruct(new, run), spikevaediff.reconstruct(new, run, by="diffusion")
    found = []
    for image_id in tested.tolist():
        small = Image.fromarray(second.sel(image_id=image_id).values).resize((64, 64), Image.Resampling.BOX)
        found.append(np.corrcoef(np.asarray(small).ravel(), start.sel(image_id=image_id).values.ravel())[0, 1])
    assert np.median(found) > 0.9
    with pytest.raises(ValueError, match=r"trained these models, so that a reconstruction would look better"):
        spikevaediff.reconstruct(known, run)
    with pytest.raises(KeyError, match=r"there is no method 'best'; there are posterior, posterior_sample, vdvae"):
        spikevaediff.reconstruct(new, run, by="best")
    (artifacts / "unconditional").rename(artifacts / "of_before")
    with pytest.raises(FileNotFoundError, match=r"unconditional/vision.npz does not exist. Make it with: dvc repro"):
        spikevaediff.reconstruct(new, run, by="diffusion")
    left_out.mark(artifacts / "unconditional", "parts.second_stage")
    for function in (partial(spikevaediff.reconstruct, new), spikevaediff.activate):
        with pytest.raises(ValueError, match=r"without its second stage. Set parts.second_stage"):
            function(run, by="diffusion")


def test_an_area_is_decoded_as_a_recording_in_which_it_alone_is_active(pristine: Path) -> None:
    run = spikevaediff.load(pristine)
    known, fit = run.presentations["visual"], fits.load(pristine / "artifacts/fits/vdvae_all_images.npz")
    mean, deviation = fit.parameters["context_mean"], fit.parameters["context_deviation"]
    areas = ["VISp", "LGd"]
    active = np.array([np.zeros(len(mean)), *(known.unit_area == name for name in areas)])
    recorded = spikevaediff.make_responses(mean + active * deviation, np.arange(3) + 5000, like=known)
    latents = new_responses.predict_features(fit, recorded).values
    usual = np.sqrt(run.features["vdvae"].values.var(0, dtype=np.float64).sum())
    length = np.linalg.norm(latents[1:] - latents[0], axis=1, keepdims=True)
    latents[1:] = latents[0] + (latents[1:] - latents[0]) * usual / length
    record = Features.load(pristine / "artifacts/predicted/vdvae.npz")
    expected = decode_latents(replace(record, image_id=np.arange(3), values=latents), run).pixels
    found = spikevaediff.activate(run, areas=areas)
    assert found.axes["area"].tolist() == ["mean response", *areas]
    apart = np.abs(found.values.astype(int) - expected)
    assert apart.max() <= 1  # a sum in another order
    assert np.abs(found.values[1].astype(int) - found.values[2]).mean() > 2
    assert np.abs(found.values[1].astype(int) - spikevaediff.activate(run, areas=areas, deviations=-1.0)).mean() > 2
    second = spikevaediff.activate(run, areas=areas, by="diffusion")
    assert second.axes["area"].tolist() == found.axes["area"].tolist()
    assert second.values.dtype == np.uint8
    assert second.values.std() > 0
    with pytest.raises(KeyError, match="no unit is of area V4; there are LGd, LP, VISal"):
        spikevaediff.activate(run, areas=["V4"])
    with pytest.raises(KeyError, match="there is no method 'posterior'; there are vdvae, diffusion"):
        spikevaediff.activate(run, by="posterior")


def test_new_pictures_are_encoded_as_the_command_does(
    clone: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(clone)
    run = spikevaediff.load()
    photographs = Stimuli.load("artifacts/library/images.npz").pixels[:2]
    pictures = [tmp_path / f"{k}.png" for k in (0, 1)]
    for path, pixels in zip(pictures, photographs, strict=True):
        Image.fromarray(pixels).save(path)
    found = spikevaediff.encode(pictures, run)
    command = ["encode", "artifacts/encoders/visual/all_images.npz", *map(str, pictures), "--out", "table.csv"]
    assert __main__.main(command) == 0
    header, *rows = Path("table.csv").read_text().splitlines()
    assert header.split(",")[1:] == found.axes["unit"].tolist()
    np.testing.assert_allclose([list(map(float, row.split(",")[1:])) for row in rows], found.values[:, :, 0], atol=1e-5)
    np.testing.assert_allclose(spikevaediff.encode(photographs, run), found, rtol=1e-5)
    with pytest.raises(ValueError, match=r"pictures are float64 \(2, 4, 4\), expected uint8"):
        spikevaediff.encode(np.zeros((2, 4, 4)), run)


def test_an_image_of_the_run_is_encoded_by_the_model_that_has_not_seen_it(
    clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clone)
    run = spikevaediff.load()
    ids = [17, 3, 40]
    found = spikevaediff.encode(run=run, image_id=ids)
    for image_id in ids:
        fold = int(run.split.fold_of(np.array([image_id]))[0])
        model = Encoder.load(clone / f"artifacts/encoders/visual/fold_{fold:02d}.npz")
        pixels = run.shown.sel(image_id=[image_id]).values
        alone = encoder.predict(model, pixels, partial(assets.weights, root=clone))
        np.testing.assert_allclose(found.sel(image_id=image_id).values[:, 0], alone[0], rtol=1e-5, atol=1e-6)
    assert __main__.main(["encode", "artifacts/encoders/visual", "--images", "17,3,40", "--out", "t.csv"]) == 0
    header, *rows = Path("t.csv").read_text().splitlines()
    assert header.split(",") == ["image_id", *found.axes["unit"].tolist()]
    written = [list(map(float, row.split(",")))[1:] for row in rows]
    np.testing.assert_allclose(written, found.values[:, :, 0], rtol=0, atol=5.1e-6)  # five decimals
    with pytest.raises(ValueError, match=r"image_id 2: for training only, so that every model has seen them"):
        spikevaediff.encode(run=run, image_id=[17, 2])
    with pytest.raises(ValueError, match="pictures, or the image_id of images of the run, and not both"):
        spikevaediff.encode(run=run)
    with pytest.raises(KeyError, match="3000"):
        spikevaediff.encode(run=run, image_id=[3000])


@pytest.mark.parametrize("name", figures.FIGURES)
def test_every_figure_is_written_with_letters(name: str, pristine: Path, tmp_path: Path) -> None:
    figures.save(spikevaediff.figure(spikevaediff.load(pristine), name), tmp_path / "a.svg")
    assert "<text" in (tmp_path / "a.svg").read_text()


def test_a_figure_has_the_same_bytes_each_time(pristine: Path, tmp_path: Path) -> None:
    run = spikevaediff.load(pristine)
    for kind in ("svg", "pdf", "png"):
        for name in ("a", "b"):
            figures.save(spikevaediff.figure(run, "latents"), tmp_path / f"{name}.{kind}")
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes(), kind


def test_the_gallery_shows_the_images_that_were_chosen(
    pristine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = spikevaediff.load(pristine)
    axes = spikevaediff.figure(run, "gallery", images=[17, 3], runs=["diffusion"])
    assert len(axes) == 4
    (shown,) = axes[1].get_images()
    np.testing.assert_array_equal(np.asarray(shown.get_array())[..., 0], run.shown.sel(image_id=3).values)
    (drawn,) = axes[2].get_images()
    np.testing.assert_array_equal(np.asarray(drawn.get_array()), run.reconstructions["diffusion"].sel(image_id=17))
    monkeypatch.chdir(pristine)
    out = tmp_path / "fig.pdf"
    assert __main__.main(["figure", "gallery", "--images", "3,17", "--out", str(out)]) == 0
    assert b"/Type /Font" in out.read_bytes()
    for words, said in (
        (["nothing"], "there is no figure 'nothing'; there are gallery, scores"),
        (["gallery", "--images", "999"], "Stimuli lacks image_id 999"),
        (["gallery", "--runs", "best"], "has no 'best'; there are ceiling"),
        (["curves", "--images", "3"], "the figure curves does not choose images"),
    ):
        assert __main__.main(["figure", *words, "--out", str(out)]) == 1
        assert said in capsys.readouterr().err
    assert __main__.main(["figure", "scores", "--out", str(tmp_path / "fig.doc")]) == 1
    assert "does not end with .pdf, .svg" in capsys.readouterr().err
