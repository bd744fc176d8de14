"""The study of the VDVAE's layers: images of the first layers are those of the decoder, and the table counts right."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny_vdvae
from PIL import Image

from spikevaediff.analysis.layers import evenly, study
from spikevaediff.decoders import vdvae as decoder
from spikevaediff.features import vdvae as features
from spikevaediff.images import resize
from spikevaediff.records import Features, LayerStudy, Stimuli
from spikevaediff.report.figures import layer_plots
from vdvae import weights
from vdvae.config import CONFIGS

N_LAYERS, IDS = 3, np.array([8, 1, 40, 3, 12, 7, 0])


@pytest.fixture(scope="module", params=[1, 3], ids=["grey", "colour"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with tiny_vdvae.checkpoint(tmp_path_factory.mktemp("weights"), request.param) as path:
        yield path


def stimuli() -> Stimuli:
    pixels = np.random.default_rng(2).integers(0, 256, (len(IDS), 20, 24), dtype=np.uint8)
    return Stimuli("a simulated test", IDS, pixels)


@pytest.fixture
def options(checkpoint: Path) -> dict:
    return {"config": "tiny", "weights": checkpoint, "n_layers": N_LAYERS, "batch_size": 2, "device": "cpu"}


@pytest.fixture
def extracted(options: dict) -> Features:
    return features.extract(stimuli(), **options)


@pytest.fixture
def found(options: dict, extracted: Features) -> LayerStudy:
    return study(stimuli(), extracted, n_images=5, **options)


def test_images_of_the_first_layers_are_those_of_the_decoder(
    found: LayerStudy, extracted: Features, options: dict
) -> None:
    assert found.image_id.tolist() == [0, 3, 7, 8, 40]
    assert found.true.shape == (6, 5, 16, 16, 3)
    assert found.from_spikes.shape == (N_LAYERS + 1, 5, 16, 16, 3)
    rows = Features("vdvae", found.image_id, extracted.rows(found.image_id), extracted.group_name, extracted.group_size)
    decoded = decoder.decode(rows, temperature=0.0, seed=0, **options)
    # Predicted latents that are the true ones: both columns show what the decode stage shows.
    for stack in (found.true[N_LAYERS], found.from_spikes[N_LAYERS]):
        assert np.abs(stack.astype(int) - decoded.pixels).max() <= 1
    np.testing.assert_array_equal(found.true[: N_LAYERS + 1], found.from_spikes)
    assert len({stack.tobytes() for stack in found.true}) == 6  # every layer changes something
    assert (found.true[0] == found.true[0, :1]).all()  # without layers, all images are one


def test_bits_are_the_divergences_of_the_bound(found: LayerStudy, options: dict) -> None:
    model = weights.load(options["weights"], CONFIGS["tiny"])
    pixels = features.network_pixels(stimuli().rows(found.image_id), model.config)
    distortion, _ = model.losses(pixels, None)
    per_dim = (distortion.numpy() / np.log(2) + found.bits.sum(1)) / pixels[0].size
    np.testing.assert_allclose(per_dim, model.elbo(pixels), rtol=1e-5)


def test_a_study_is_kept_whole(found: LayerStudy, tmp_path: Path) -> None:
    found.save(tmp_path / "layers.npz")
    again = LayerStudy.load(tmp_path / "layers.npz")
    np.testing.assert_array_equal(found.true, again.true)
    np.testing.assert_array_equal(found.bits, again.bits)


def test_the_table_has_a_row_for_every_number_of_layers(found: LayerStudy) -> None:
    rows = layer_plots.table(found, stimuli())
    assert [row["n_layers"] for row in rows] == list(range(6))
    assert [row["layer"] for row in rows] == ["none", *found.layer_name.tolist()]
    assert [row["numbers"] for row in rows] == [0, 3, 51, 243, 1011, 1779]
    assert [row["psnr_from_spikes"] == "" for row in rows] == [False] * 4 + [True] * 2
    shown = resize(stimuli().rows(found.image_id), 16).astype(float)
    error = ((found.true[4] - shown[..., None]) ** 2).reshape(5, -1).mean(1)
    assert rows[4]["psnr"] == pytest.approx((10 * np.log10(255**2 / error)).mean())
    luma = found.true[4] @ [0.299, 0.587, 0.114]
    r = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(luma, shown, strict=True)]
    assert rows[4]["correlation"] == pytest.approx(np.mean(r))


def test_psnr_is_known_for_known_errors() -> None:
    a = np.full((2, 4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[1] += 16
    np.testing.assert_allclose(layer_plots.psnr(a, b), [99, 20 * np.log10(255 / 16)])


def test_the_picture_is_the_same_every_time_and_nothing_touches_its_edge(found: LayerStudy) -> None:
    predicted = {"vdvae": np.array([0.3, 0.2, 0.1]), "control": np.zeros(3)}
    pngs = {layer_plots.draw(found, stimuli(), predicted, "a simulated test " * 8) for _ in range(2)}
    assert len(pngs) == 1
    picture = np.asarray(Image.open(io.BytesIO(pngs.pop())).convert("RGB"))
    edge = [picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]]
    assert all((side == 255).all() for side in edge)
    assert picture.min() < 100


def test_the_picture_says_what_latents_are_predicted_from(found: LayerStudy) -> None:
    for predictors in ("spikes", "responses"):
        figure = layer_plots.draw.figure(found, stimuli(), {"vdvae": np.zeros(3)}, "a test", predictors=predictors)
        grid, psnr = figure.axes[:2]
        assert f"from {predictors}" in grid.get_yticklabels()[1].get_text()
        assert psnr.get_legend_handles_labels()[1][1] == f"predicted from {predictors}"


def test_images_of_a_study_are_spread_over_the_ids() -> None:
    assert evenly(np.array([5, 1, 9, 3, 7]), 3).tolist() == [1, 5, 9]
    assert evenly(np.arange(4), 99).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="n_images must be 1 or more, got 0"):
        evenly(np.arange(4), 0)


def test_what_cannot_be_studied_is_refused(options: dict, extracted: Features, found: LayerStudy) -> None:
    with pytest.raises(KeyError, match=r"VDVAE configuration 'tinny' is unknown; there are cifar10, .*tiny"):
        study(stimuli(), extracted, n_images=2, **options | {"config": "tinny"})
    with pytest.raises(ValueError, match=r"latents are \(2, 243\), expected \(image, 51\) for 2 layers"):
        study(stimuli(), extracted, n_images=2, **options | {"n_layers": 2})
    few = Stimuli("a simulated test", IDS[:2], stimuli().pixels[:2])
    with pytest.raises(KeyError, match="Stimuli lacks image_id 0, 40"):
        study(few, extracted, n_images=2, **options)
    parts = {name: getattr(found, name) for name in ("image_id", "layer_name", "layer_size", "bits", "true")}
    with pytest.raises(ValueError, match=r"from_spikes is uint8 \(4, 4, 16, 16, 3\), expected uint8 \(k, 5, row"):
        LayerStudy(**parts, from_spikes=found.from_spikes[:, :4])
    with pytest.raises(ValueError, match=r"bits is \(5, 5\), expected finite numbers \(5, 5\)"):
        LayerStudy(**parts | {"bits": found.bits * np.nan}, from_spikes=found.from_spikes)
