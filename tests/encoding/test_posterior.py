"""Posterior samples: known answers, what they may depend on, and what is refused."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_vdvae
import torch
from conftest import close
from scipy import stats
from test_encoding import fitted, no_weights, photographs, tuned

from loading.noise import image_noise
from spikevaediff.encoding import encoder, likelihood, posterior
from spikevaediff.encoding.luminance import Luminance
from spikevaediff.encoding.photographs import Photographs
from spikevaediff.seeds import sample_seed
from vdvae import mixture, weights
from vdvae.config import CONFIGS
from vdvae.model import VDVAE, to_uint8

N_LAYERS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VDVAE]:
    with tiny_vdvae.checkpoint(tmp_path_factory.mktemp("weights"), 1) as path:
        yield weights.load(path, CONFIGS["tiny"])


@pytest.fixture(scope="module")
def units() -> encoder.Encoder:
    """An encoding model of six units, of images 0 to 39."""
    pixels = photographs(40)
    return fitted(pixels, tuned(pixels))


def drawn(units: encoder.Encoder, model: VDVAE, image_id: np.ndarray, **changes: object) -> np.ndarray:
    response = units.intercept + np.sin(np.outer(image_id, np.arange(1, 7)))
    return posterior_of(response, model, image_id, **{"encoder": units} | changes)


def posterior_of(response: np.ndarray, model: VDVAE, image_id: np.ndarray, **changes: Any) -> np.ndarray:
    options: dict[str, Any] = {
        "gain": np.full((6, model.n_numbers(N_LAYERS)), 1e-3, np.float32),
        "n_samples": 2,
        "shared_steps": 2,
        "steps": 3,
        "step_size": 0.1,
        "temperature": 1.0,
        "seed": 0,
    }
    options |= {"model": model, "n_layers": N_LAYERS, "weights_of": no_weights, "batch_size": "auto", "device": "cpu"}
    return posterior.samples(response, image_id[: len(response)], **options | changes)


def test_whitened_latents_are_standard_deviations_from_the_prior_and_give_the_same_picture(model: VDVAE) -> None:
    pixels = photographs(5, size=16)[..., None]
    latents = model.encode(pixels, N_LAYERS)
    whitened = model.whiten(latents)
    close(model.whiten(model.flatten(latents), N_LAYERS), whitened, 1e-6)
    with torch.no_grad():
        again = model.pixels_of_whitened(torch.from_numpy(whitened), N_LAYERS)
        mean = model.pixels_of_whitened(torch.zeros(5, whitened.shape[1]), N_LAYERS)
    expected = model.decode(latents, temperature=0.0)
    assert np.abs(to_uint8(again, round_up=True).astype(int) - expected).max() <= 1
    prior = model.pixel_parameters([], 5, temperature=0.0)
    close(mean.numpy(), mixture.mean(prior, 1).numpy(), 1e-4)


def test_pixels_have_a_gradient_in_whitened_latents(model: VDVAE) -> None:
    twice = model.double()
    try:
        e, direction = (
            torch.from_numpy(np.random.default_rng(seed).standard_normal((1, model.n_numbers(N_LAYERS))))
            for seed in (0, 1)
        )
        e.requires_grad_()
        twice.pixels_of_whitened(e, N_LAYERS).sum().backward()
        with torch.no_grad():
            ahead, behind = (twice.pixels_of_whitened(e + s * 1e-4 * direction, N_LAYERS).sum() for s in (1, -1))
        assert e.grad is not None
        slope = float((e.grad * direction).sum())
        assert slope == pytest.approx(float(ahead - behind) / 2e-4, rel=1e-2)
        assert slope != 0
    finally:
        model.float()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_without_an_encoding_model_samples_are_those_of_the_prior(
    units: encoder.Encoder, model: VDVAE, temperature: float
) -> None:
    """No unit responds to anything: no response moves the latents, whatever it is."""
    none = {"row_column": units.row_column[:0], "row_family": units.row_family[:0], "row_layer": units.row_layer[:0]}
    none |= {"row_window": units.row_window[:0], "row_start": np.zeros(1, np.int64), "weight": units.weight[:0]}
    silent = replace(units, **none, covariance=np.eye(6))
    ids = np.array([50, 51])
    gain = np.zeros((6, model.n_numbers(N_LAYERS)), np.float32)
    found = drawn(silent, model, ids, gain=gain, temperature=temperature)
    for row, image_id in enumerate(ids.tolist()):
        for k in range(2):
            noise = image_noise([sample_seed(0, image_id, 0)])
            noise((1, 6))
            e = temperature * (1, -1)[k] * noise((1, model.n_numbers(N_LAYERS)))  # an antithetic pair
            with torch.no_grad():
                pixels = (model.pixels_of_whitened(e, N_LAYERS)[..., 0] + 1) / 2
            large = torch.nn.functional.interpolate(pixels[None], size=(64, 64), mode="bilinear", antialias=True)[0, 0]
            close(found[row, k], large.clamp(0, 1).numpy(), 1e-5)


def test_what_says_next_to_nothing_moves_next_to_nothing(units: encoder.Encoder, model: VDVAE) -> None:
    """Steps of Adam have the same length however small gradients are, unless these are compared with something."""
    ids = np.array([50, 51])
    options = {"gain": np.zeros((6, model.n_numbers(N_LAYERS)), np.float32), "steps": 10}
    unmoved, faint, moved = (
        drawn(replace(units, weight=share * units.weight, covariance=np.eye(6)), model, ids, **options)
        for share in (0.0, 1e-4, 1.0)
    )
    assert np.abs(faint - unmoved).max() < 1e-2 * np.abs(moved - unmoved).max()


@pytest.fixture(params=["normal", "luminance", "photographs"])
def setting(request: pytest.FixtureRequest, units: encoder.Encoder, model: VDVAE) -> Callable[[np.ndarray], Any]:
    """What else is known of images 40 to 70: nothing, their luminance, or photographs."""
    rng = np.random.default_rng(0)
    light, covariance = rng.random((30, 64)), 0.01 * np.eye(64)
    known = Photographs(
        (units.intercept + rng.standard_normal((5, 6))).astype(np.float32),
        rng.standard_normal((5, model.n_numbers(N_LAYERS))).astype(np.float32),
    )

    def given(image_id: np.ndarray) -> dict[str, Any]:
        if request.param == "luminance":
            return {"luminance": Luminance(light[image_id - 40], covariance), "luminance_weight": 0.3}
        return {"photographs": known} if request.param == "photographs" else {}

    return given


def test_an_image_depends_on_its_id_and_response_alone(
    units: encoder.Encoder, model: VDVAE, setting: Callable[[np.ndarray], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, whatever the other images, the batch size and the number of threads."""
    ids = np.array([41, 55, 60, 61, 52])

    def of(chosen: np.ndarray, **changes: object) -> np.ndarray:
        return drawn(units, model, chosen, **setting(chosen), **changes)

    whole = of(ids)
    for rows in ([1], [2, 0], [4, 3, 1]):
        np.testing.assert_array_equal(of(ids[rows]), whole[rows])
    for batch_size in (1, 2, 3, 7):
        np.testing.assert_array_equal(of(ids, batch_size=batch_size), whole)
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        np.testing.assert_array_equal(of(ids), whole)
    np.testing.assert_array_equal(of(ids, n_samples=1)[:, 0], whole[:, 0])
    assert np.abs(whole[:, 0] - whole[:, 1]).max() > 1e-3, "samples are draws"
    assert np.abs(of(ids, seed=1) - whole).max() > 1e-3
    assert of(ids[:0]).shape == (0, *whole.shape[1:])


def test_at_temperature_0_all_samples_are_the_mode(units: encoder.Encoder, model: VDVAE) -> None:
    ids = np.array([41, 55])
    mode = drawn(units, model, ids, temperature=0.0, n_samples=3)
    close(mode[:, 1:], mode[:, [0, 0]], 1e-4)
    spread = [np.ptp(drawn(units, model, ids, temperature=t), axis=1).mean() for t in (0.1, 0.5, 1.0)]
    assert spread == sorted(spread)
    assert spread[0] > 0


def test_the_search_lowers_what_it_minimises(units: encoder.Encoder, model: VDVAE) -> None:
    """With a noise of next to nothing the search may only move towards the response."""
    sharp = replace(units, covariance=1e-4 * np.eye(6))
    ids, gain = np.arange(50, 54), np.zeros((6, model.n_numbers(N_LAYERS)), np.float32)
    response = units.intercept + np.sin(np.outer(ids, np.arange(1, 7)))

    def misfit(steps: int) -> float:
        images = drawn(sharp, model, ids, gain=gain, steps=steps, n_samples=1)[:, 0]
        with torch.no_grad():
            predicted = encoder.Predictor(units, no_weights)(torch.from_numpy(images)).numpy()
        return float(((predicted - response) ** 2).sum())

    assert misfit(20) < misfit(0)


def test_shared_steps_go_to_the_mode_and_are_worth_as_many_of_every_sample(
    units: encoder.Encoder, model: VDVAE
) -> None:
    ids = np.arange(50, 53)
    sharp = replace(units, covariance=1e-2 * np.eye(6))
    response = sharp.intercept + np.sin(np.outer(ids, np.arange(1, 7)))

    def misfit(shared_steps: int, steps: int) -> float:
        given = {"encoder": sharp, "temperature": 0.3, "shared_steps": shared_steps, "steps": steps, "n_samples": 4}
        images = drawn(sharp, model, ids, **given)
        with torch.no_grad():
            flat = torch.from_numpy(images.reshape(-1, *images.shape[2:]))
            predicted = encoder.Predictor(sharp, no_weights)(flat).numpy().reshape(3, 4, 6)
        return float(((predicted - response[:, None]) ** 2).sum())

    assert misfit(20, 2) < 0.8 * misfit(0, 2)
    assert misfit(20, 0) < misfit(0, 0)
    # From the mode, no step leads further: then samples at temperature 0 are where the shared steps ended.
    mode = drawn(units, model, ids, temperature=0.0, n_samples=1, shared_steps=5, steps=0)
    close(drawn(units, model, ids, temperature=0.0, n_samples=1, shared_steps=0, steps=5), mode, 1e-4)


def test_a_lighter_prior_lets_the_search_go_further(units: encoder.Encoder, model: VDVAE) -> None:
    ids = np.arange(50, 54)
    pictures = {weight: drawn(units, model, ids, steps=20, prior_weight=weight) for weight in (0.0, 0.5, 1.0)}
    close(pictures[1.0], drawn(units, model, ids, steps=20), 0)
    start = drawn(units, model, ids, steps=0)
    moved = [float(np.abs(pictures[weight] - start).mean()) for weight in (1.0, 0.5, 0.0)]
    assert moved == sorted(moved)
    assert moved[0] < moved[-1]


def test_around_photographs_a_sample_starts_from_one_that_explains_the_response(
    units: encoder.Encoder, model: VDVAE
) -> None:
    """One that explains it alone, here; without a gain and without steps it stays what it is."""
    ids, known = np.arange(50, 53), np.random.default_rng(0)
    whitened = known.standard_normal((5, model.n_numbers(N_LAYERS))).astype(np.float32)
    response = units.intercept + np.sin(np.outer(ids, np.arange(1, 7)))
    predicted = np.concatenate([response + 100, response[[2, 0]]]).astype(np.float32)
    options = {"gain": np.zeros((6, whitened.shape[1]), np.float32), "steps": 0, "temperature": 0.0, "n_samples": 1}
    options |= {"photographs": Photographs(predicted, whitened)}
    found = drawn(units, model, ids, **options)[:, 0]
    with torch.no_grad():
        pixels = (model.pixels_of_whitened(torch.from_numpy(whitened), N_LAYERS)[..., 0] + 1) / 2
    large = torch.nn.functional.interpolate(pixels[:, None], size=(64, 64), mode="bilinear", antialias=True)[:, 0]
    close(found[[0, 2]], large.clamp(0, 1).numpy()[[4, 3]], 1e-5)
    close(drawn(units, model, ids[2:], **options)[0, 0], found[2], 1e-5)
    # The prior holds the search to that photograph.
    searched = {weight: drawn(units, model, ids, **options | {"steps": 5, "prior_weight": weight}) for weight in (1, 0)}
    moved = {weight: float(np.abs(images[:, 0] - found).mean()) for weight, images in searched.items()}
    assert 0 < moved[1] < moved[0]


def test_the_search_goes_to_the_luminance_that_is_expected(units: encoder.Encoder, model: VDVAE) -> None:
    ids, rng = np.arange(50, 54), np.random.default_rng(0)
    mean = np.clip(0.5 + 0.2 * rng.standard_normal((4, 64)), 0, 1)
    options = {"luminance": Luminance(mean, 1e-3 * np.eye(64)), "steps": 20, "n_samples": 1}

    def distance(weight: float) -> float:
        images = drawn(units, model, ids, luminance_weight=weight, **options)[:, 0]
        return float(((images.reshape(4, 8, 8, 8, 8).mean((2, 4)).reshape(4, 64) - mean) ** 2).mean())

    apart = [distance(weight) for weight in (0.0, 0.1, 1.0)]
    assert apart == sorted(apart, reverse=True)
    assert apart[-1] < 0.9 * apart[0]
    plain = drawn(units, model, ids, steps=20, n_samples=1)
    np.testing.assert_array_equal(drawn(units, model, ids, luminance_weight=0.0, **options), plain)
    # Each image has its own, whatever the batch.
    one = {"luminance": Luminance(mean[2:3], 1e-3 * np.eye(64)), "luminance_weight": 0.5, "n_samples": 1}
    whole = drawn(units, model, ids, **one | {"luminance": options["luminance"]})
    close(drawn(units, model, ids[2:3], **one), whole[2:3], 1e-4)


def test_what_cannot_be_is_refused(units: encoder.Encoder, model: VDVAE) -> None:
    with pytest.raises(ValueError, match=r"image_id \[3\] were used to train the encoding model"):
        drawn(units, model, np.array([3, 50]))
    for name, value, message in (
        ("n_samples", 0, "decode.posterior.n_samples is 0, expected a whole number from 1"),
        ("steps", 2.5, "decode.posterior.steps is 2.5, expected a whole number from 0"),
        ("shared_steps", -1, "decode.posterior.shared_steps is -1, expected a whole number from 0"),
        ("step_size", 0.0, "decode.posterior.step_size is 0.0, expected a number above 0"),
        ("temperature", 1.5, "decode.posterior.temperature is 1.5, expected a number from 0 to 1"),
        ("luminance_weight", 2.0, "decode.posterior.luminance_weight is 2.0, expected a number from 0 to 1"),
        ("luminance_weight", 0.3, "luminance_weight is 0.3, which needs the luminance that is expected"),
        ("prior_weight", -0.1, "decode.posterior.prior_weight is -0.1, expected a number from 0 to 1"),
        ("likelihood", "laplace", "decode.posterior.likelihood is 'laplace', expected gaussian or poisson"),
        ("likelihood", "poisson", "likelihood is poisson, which needs n_presentations of each image"),
    ):
        with pytest.raises(ValueError, match=message):
            drawn(units, model, np.array([50]), **{name: value})


def test_counts_are_explained_under_their_own_likelihood(units: encoder.Encoder, model: VDVAE) -> None:
    """From one presentation each; an image still depends on its id and counts alone, and the search lowers the sum."""
    ids, gain = np.arange(50, 54), np.zeros((6, model.n_numbers(N_LAYERS)), np.float32)
    counts = np.random.default_rng(0).poisson(np.maximum(units.intercept, 1), (4, 6)).astype(np.float64)
    lively = replace(units, weight=20 * units.weight)
    common = {"likelihood": "poisson", "n_presentations": np.ones(4, np.int64), "gain": gain, "temperature": 0.0}

    def explained(steps: int, **changes: object) -> tuple[np.ndarray, float]:
        options = common | {"encoder": lively, "steps": steps, "n_samples": 1} | changes
        images = posterior_of(counts[: len(options["n_presentations"])], model, ids, **options)[:, 0]
        with torch.no_grad():
            predicted = encoder.Predictor(lively, no_weights)(torch.from_numpy(images)).double().numpy()
        rate = np.maximum(predicted, likelihood.FLOOR)
        return images, float(-stats.poisson.logpmf(counts[: len(rate)], rate).sum())

    images, last = explained(20)
    assert last < explained(0)[1]
    close(explained(3, batch_size=1)[0], explained(3)[0], 1e-3)
    drawn_ones = explained(20, temperature=1.0)[0]
    assert np.abs(drawn_ones - images).max() > 1e-3


def test_what_is_no_count_is_refused_before_anything_is_searched(units: encoder.Encoder, model: VDVAE) -> None:
    ids, n = np.array([50, 51]), np.array([4, 1])
    whole = np.array([[0.25] * 6, [3.0] * 6])  # one spike in four presentations is a count, too
    options = {"encoder": units, "likelihood": "poisson", "n_presentations": n, "steps": 0}
    gain = np.zeros((6, model.n_numbers(N_LAYERS)), np.float32)
    assert posterior_of(whole, model, ids, gain=gain, **options).shape == (2, 2, 64, 64)
    with pytest.raises(ValueError, match=r"responses are not counts: 3\.5 in column 0 .* no means, z-scores or norm"):
        posterior_of(whole + np.array([[0.0], [0.5]]), model, ids, gain=gain, **options)


def test_the_gain_is_the_regression_from_responses_to_latents() -> None:
    rng = np.random.default_rng(0)
    r, weight = rng.standard_normal((80, 5)).astype(np.float32), rng.standard_normal((5, 7)).astype(np.float32)
    e = r @ weight + 0.1 * rng.standard_normal((80, 7)).astype(np.float32)
    design = np.column_stack([np.ones(80), r.astype(np.float64)])
    expected = np.linalg.lstsq(design, e.astype(np.float64), rcond=None)[0][1:]
    close(posterior.gain(e, r, 1e-9 * np.eye(5)), expected, 1e-4)


def test_without_a_library_nothing_is_known_of_the_start() -> None:
    found = posterior.gain(np.zeros((0, 3), np.float32), np.zeros((0, 6), np.float32), np.eye(6))
    np.testing.assert_array_equal(found, np.zeros((6, 3), np.float32))


def test_a_small_library_does_not_amplify_noise() -> None:
    """With as many images as columns the plain regression is as large as noise makes it; the known noise bounds it."""
    rng = np.random.default_rng(0)
    r, e = rng.standard_normal((40, 39)).astype(np.float32), rng.standard_normal((40, 7)).astype(np.float32)
    centred = (r - r.mean(0)).astype(np.float64)
    plain = np.linalg.lstsq(centred, (e - e.mean(0)).astype(np.float64), rcond=None)[0]
    found = posterior.gain(e, r, np.eye(39))
    expected = np.linalg.solve(centred.T @ centred + 39 * np.eye(39), centred.T @ (e - e.mean(0)).astype(np.float64))
    close(found, expected, 1e-4)
    assert np.linalg.norm(found) < 0.1 * np.linalg.norm(plain)


def test_finished_samples_are_kept_and_damaged_ones_made_again(tmp_path: Path) -> None:
    made = []

    def make() -> np.ndarray:
        made.append(1)
        return np.arange(3.0)

    path = tmp_path / f"{posterior.key(np.zeros(2), 'a', 1.5)}.npz"
    for _ in range(2):
        np.testing.assert_array_equal(posterior.kept(path, make), np.arange(3.0))
    assert len(made) == 1
    path.write_bytes(path.read_bytes()[:-20])
    np.testing.assert_array_equal(posterior.kept(path, make), np.arange(3.0))
    assert len(made) == 2
    assert posterior.key(np.zeros(2)) != posterior.key(np.zeros(3)) != posterior.key(np.zeros(2, np.float32))
