"""The second stage asks measured responses: ranking and guidance against formulas in float64, and what they rest on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_versatile_diffusion_decoder as decoder_tests
import torch
from conftest import close
from scipy import stats
from test_encoding import fitted, no_weights, photographs, tuned
from test_versatile_diffusion_decoder import IDS, ROUNDING, grey_levels, guides

from spikevaediff.decoders.second_stage import explained as module
from spikevaediff.decoders.second_stage import given
from spikevaediff.decoders.second_stage.explained import Explained, Guide
from spikevaediff.decoders.versatile_diffusion import best as likeliest
from spikevaediff.encoding import encoder
from spikevaediff.encoding.encoder import Encoder
from spikevaediff.images import luma
from spikevaediff.records import ImageSplit, Stimuli
from versatile_diffusion import memory
from versatile_diffusion.autoencoder import Autoencoder
from versatile_diffusion.config import AUTOENCODERS, UNETS, AutoencoderConfig

Generate = Callable[..., np.ndarray]
files, generate = decoder_tests.files, decoder_tests.generate  # fixtures


@pytest.fixture(scope="module")
def units() -> Encoder:
    """An encoding model of six units, of images 100 to 139."""
    pixels = photographs(40)
    return replace(fitted(pixels, tuned(pixels)), image_id=np.arange(100, 140))


@pytest.fixture(scope="module")
def coder() -> Autoencoder:
    torch.manual_seed(0)
    model = Autoencoder(AutoencoderConfig(8, (1, 2), 1, 16, 1.0, image_channels=3, groups=4)).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=float(parameter[0].numel() ** -0.5))
    return model


def asked(units: Encoder, ids: np.ndarray = IDS, scale: float = 1.0) -> Explained:
    """Responses to images of two folds, whose models differ in their noise."""
    response = units.intercept + scale * np.sin(np.outer(ids, np.arange(1, 7)))
    models = [units, replace(units, covariance=2 * units.covariance)]
    return Explained(models, ids % 2, ids, response, no_weights)


def silent(units: Encoder) -> Encoder:
    """A model by which no unit responds to anything."""
    none = {"row_column": units.row_column[:0], "row_family": units.row_family[:0], "row_layer": units.row_layer[:0]}
    none |= {"row_window": units.row_window[:0], "row_start": np.zeros(1, np.int64), "weight": units.weight[:0]}
    return replace(units, **none)


def test_the_likeliest_sample_is_that_of_the_normal_density_under_the_model_of_the_fold(units: Encoder) -> None:
    ask = asked(units)
    colours = np.random.default_rng(0).integers(0, 256, (5, 4, 64, 64, 3), np.uint8)
    expected = np.empty((5, 4))
    for row in range(5):
        model = ask.models[ask.fold[row]]
        predicted = encoder.predict(model, luma(colours[row]), no_weights)
        density = stats.multivariate_normal(ask.response[row], model.covariance)
        expected[row] = density.logpdf(predicted) - density.logpdf(ask.response[row])
    close(ask.likelihoods(colours), expected, 1e-6)
    best = likeliest(guides(), colours, ask)
    np.testing.assert_array_equal(best.pixels, colours[np.arange(5), expected.argmax(1)])
    np.testing.assert_array_equal(likeliest(guides(), colours, None).pixels, colours[:, 0])
    np.testing.assert_array_equal(ask.likeliest(colours[:, :1]), np.zeros(5))


def test_a_model_that_saw_an_image_may_not_judge_it(units: Encoder) -> None:
    with pytest.raises(
        ValueError, match=r"image_id \[101\] were used to train the encoding model that is to judge them"
    ):
        asked(units, np.array([7, 101]))


def test_a_ceiling_is_given_what_the_model_of_the_fold_expects_of_the_shown_image(
    units: Encoder, tmp_path: Path
) -> None:
    ids, pixels = np.array([7, 3, 5, 9, 1]), photographs(5, seed=3)
    shown = Stimuli("a test", ids, pixels)
    split = ImageSplit(np.arange(1, 10, 2), np.array([0, 1, 0, -1, 1]))  # 7 is trained on
    models = [units, replace(units, intercept=units.intercept + 1)]
    ask = Explained.expected(models, shown, split, no_weights)
    assert ask.image_id.tolist() == [1, 3, 5, 9]
    for row, (image, fold) in enumerate(((1, 0), (3, 1), (5, 0), (9, 1))):
        alone = encoder.predict(models[fold], pixels[ids == image], no_weights)[0]
        close(ask.response[row], alone, 1e-6)
    own = np.repeat(pixels[[4, 1, 2, 3]][:, None, :, :, None], 3, axis=4)
    close(ask.likelihoods(own), np.zeros((4, 1)), 1e-6)  # the shown image misses nothing
    with pytest.raises(ValueError, match=r"image_id \[5\] were used to train"):
        Explained.expected([replace(units, image_id=np.array([5])), units], shown, split, no_weights)

    for name, model in zip(("fold_00", "fold_01", "all_images"), [*models, units], strict=True):
        model.save(tmp_path / f"encoders/{name}.npz")
    shown.save(tmp_path / "images.npz")
    options = {"n_samples": 1, "guidance_likelihood": 1.0}
    read = given.explained(tmp_path / "encoders", tmp_path / "images.npz", split, options, no_weights)
    assert read is not None
    np.testing.assert_array_equal(read.response, ask.response)
    assert given.explained("artifacts/split.npz", "artifacts/split.npz", split, options, no_weights) is None
    options["guidance_likelihood"] = 0.0
    assert given.explained(tmp_path / "encoders", tmp_path / "images.npz", split, options, no_weights) is None


def test_a_step_goes_down_the_gradient_as_far_as_the_line_asks(
    units: Encoder, coder: Autoencoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of w = 1 in float64: direction and J g by central differences, the length by its formula."""
    monkeypatch.setattr(module, "REACH", 1e-5)
    guide = Guide(units, coder.double(), 1.0, no_weights)
    guide.predictor.double()
    guide.whitener = guide.whitener.double()
    x0 = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 8, 8)))
    response = torch.from_numpy(units.intercept + np.random.default_rng(1).standard_normal((2, 6)))
    variance, step = 0.3, 1e-5
    try:
        moved = (guide.corrected(x0, variance, response) - x0).flatten(1).numpy()

        def missed(direction: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return guide.missed(x0 + torch.from_numpy(direction).reshape(x0.shape), response).numpy()

        root = np.linalg.inv(np.linalg.cholesky(units.covariance)).T
        with torch.no_grad():
            expected = (response - guide.predictor(guide.seen(x0))).numpy() @ root
        close(missed(np.zeros_like(moved)), expected, 1e-5)
        for direction in (moved, np.random.default_rng(2).standard_normal(moved.shape)):
            u = direction / np.linalg.norm(direction, axis=1, keepdims=True)
            change = (missed(step * u) - missed(-step * u)) / (2 * step)
            slope, bend = (missed(0 * u) * change).sum(1), (change**2).sum(1) + 1 / variance
            if direction is moved:  # L falls by its gradient's length for a step of one, and the parabola ends here
                steepest = -slope
                np.testing.assert_allclose(np.linalg.norm(moved, axis=1), steepest / bend, rtol=1e-3)
            else:  # the slope along any other direction is the gradient's share of it
                share = (u * moved / np.linalg.norm(moved, axis=1, keepdims=True)).sum(1)
                np.testing.assert_allclose(-slope, steepest * share, rtol=1e-2, atol=1e-3 * steepest.max())
    finally:
        coder.float()


def test_a_model_that_knows_nothing_moves_nothing(units: Encoder, coder: Autoencoder) -> None:
    guide = Guide(silent(units), coder, 1.0, no_weights)
    x0 = torch.randn(2, 4, 8, 8)
    found = guide.corrected(x0, 0.5, torch.from_numpy(units.intercept + 1).float().expand(2, -1))
    assert torch.equal(found, x0)


def test_guided_pixels_depend_on_the_image_alone_and_explain_its_response(generate: Generate, units: Encoder) -> None:
    ask = asked(units)
    plain = generate(guides(), explained=ask)
    np.testing.assert_array_equal(plain, generate(guides()))  # off by default
    whole = generate(guides(), explained=ask, guidance_likelihood=1.0)
    assert grey_levels(whole, plain) > 20
    assert ask.likelihoods(whole).mean() > ask.likelihoods(plain).mean()
    # With noise that leaves the search steps of a usual size: else random weights pass rounding on enlarged.
    some, noisy = np.array([3, 1]), replace(units, covariance=10 * units.covariance)
    whole = generate(guides(), explained=asked(noisy), guidance_likelihood=1.0)
    assert grey_levels(whole, plain) > 5
    one_by_one = generate(guides(), explained=asked(noisy), guidance_likelihood=1.0, batch_size=1)
    assert grey_levels(one_by_one, whole) <= ROUNDING
    of_some = generate(guides(IDS[some]), explained=asked(noisy, IDS[some]), guidance_likelihood=1.0)
    assert grey_levels(of_some, whole[some]) <= ROUNDING
    quiet = replace(ask, models=[silent(units)] * 2)
    assert grey_levels(generate(guides(), explained=quiet, guidance_likelihood=1.0), plain) <= ROUNDING


def test_finished_guided_images_are_kept_by_what_guided_them(
    generate: Generate, units: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options: dict[str, Any] = {"kept": tmp_path, "guidance_likelihood": 1.0}
    first = generate(guides(), explained=asked(units), **options)
    n = len(list(tmp_path.iterdir()))
    np.testing.assert_array_equal(generate(guides(), explained=asked(units), **options), first)
    assert "5 of 5 images were finished before" in capsys.readouterr().out
    generate(guides(), explained=asked(units, scale=2.0), **options)  # other responses
    generate(guides(), explained=asked(units), **options | {"guidance_likelihood": 0.5})
    generate(guides(), explained=asked(units), **options | {"guidance_likelihood": 0.0})
    assert len(list(tmp_path.iterdir())) == 4 * n


def test_what_cannot_guide_is_refused(generate: Generate, units: Encoder) -> None:
    with pytest.raises(ValueError, match=r"guidance_likelihood is 1\.5, expected 0 to 1"):
        generate(guides(), explained=asked(units), guidance_likelihood=1.5)
    with pytest.raises(ValueError, match="the guiding responses are not those to the images of the guides"):
        generate(guides(), explained=asked(units, IDS[::-1].copy()), guidance_likelihood=1.0)


def test_the_memory_of_a_gradient_is_planned_for() -> None:
    given = {"size_px": 512, "n_tokens": 334, "guided": True, "dtype": torch.float32, "device": "cpu"}
    kinds = UNETS["four_flow"], AUTOENCODERS["kl_f8"]
    plain = memory.plan(*kinds, **given, batch_size="auto", free=40 * 2**30)
    descends = memory.plan(*kinds, **given, batch_size="auto", free=40 * 2**30, descends=True)
    assert descends.n_images == plain.n_images
    assert 2 * plain.decoded < descends.decoded < 4 * plain.decoded
    least = int(descends.least / memory.SHARE)
    assert memory.plan(*kinds, **given, batch_size="auto", free=least + 2**20, descends=True).n_decoded == 1
    with pytest.raises(MemoryError, match="1 x 512 px at once in float32 need"):
        memory.plan(*kinds, **given, batch_size=1, free=least - 2**20, descends=True)


def test_the_sparing_gradient_is_the_gradient(coder: Autoencoder) -> None:
    z = torch.randn(2, 4, 8, 8)
    found = []
    for sparing in (False, True):
        at = z.clone().requires_grad_(True)
        pixels = coder.pixels(at, sparing=sparing)
        (pixels**2).sum().backward()
        found.append((pixels.detach().numpy(), at.grad.numpy()))  # type: ignore[union-attr]
    close(found[1][0], found[0][0], 1e-6)
    close(found[1][1], found[0][1], 1e-5)
