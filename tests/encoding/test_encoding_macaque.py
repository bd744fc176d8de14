"""Encoding models of macaque V4, from real spike counts: they identify photographs that they have not seen, and samples
of the posterior show what ridge regression misses. benchmarks/bench_v4.py measures both with more photographs."""

import io
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

from spikevaediff.datasets import simulated
from spikevaediff.decoders import vdvae as decoder
from spikevaediff.encoding import encoder, identification, library, of_folds, posterior, posterior_folds
from spikevaediff.evaluation import scores
from spikevaediff.features import vdvae as latents
from spikevaediff.files import assets
from spikevaediff.images import rgb
from spikevaediff.records import Features, ImageSplit, Reconstructions, Stimuli
from spikevaediff.regression import cross_validation
from spikevaediff.regression.methods import ridge
from vdvae import weights
from vdvae.config import CONFIGS

FAMILIES = ["luminance", "gabor", "alexnet", "efficientnet"]
N_TESTED, N_CANDIDATES, N_DRAWS = 240, 118, 20
N_DECODED, N_LIBRARY = 20, 300
VDVAE = {"config": "mini64", "weights": ROOT / "vendor/data/weights/vdvae_mini.safetensors", "n_layers": 10}
HERE = {"batch_size": "auto", "device": "cpu"}
Fitted = tuple[encoder.Encoder, np.ndarray]  # and the training images


@pytest.fixture(scope="module")
def recording(shared: Path) -> tuple[np.ndarray, np.ndarray]:
    """Photographs and mean counts of session 201025."""
    folder = shared / "data/cowley_macaque_v4"
    with zipfile.ZipFile(folder / "session_201025_images.zip") as archive:
        files = [archive.read(name) for name in sorted(archive.namelist())]
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files])
    with np.load(folder / "session_201025.npz") as session:
        return pixels, session["mean_counts"].astype(np.float64)


@pytest.fixture(scope="module")
def tested(recording: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.random.default_rng(0).permutation(len(recording[0]))[:N_TESTED]


@pytest.fixture(scope="module")
def fitted(recording: tuple[np.ndarray, np.ndarray]) -> Callable[[int], Fitted]:
    """The model of so many training images, fitted once."""
    pixels, x = recording

    @cache
    def fit(n_train: int) -> Fitted:
        trained = np.random.default_rng(0).permutation(len(x))[N_TESTED : N_TESTED + n_train]
        n_units = x.shape[1]
        units = {"unit_id": np.arange(n_units), "session_id": np.full(n_units, 201025), "area": np.full(n_units, "V4")}
        maps = encoder.maps_of(pixels[trained], FAMILIES, assets.fetch)
        return encoder.fit(maps, x[trained], families=FAMILIES, image_id=trained, units=units), trained

    return fit


@pytest.mark.slow
@pytest.mark.parametrize(("n_train", "least"), [(106, 0.50), (300, 0.72)])
def test_unseen_photographs_are_identified_among_118(
    recording: tuple[np.ndarray, np.ndarray],
    tested: np.ndarray,
    fitted: Callable[[int], Fitted],
    n_train: int,
    least: float,
) -> None:
    """As many candidates as Allen natural scenes; chance .0085. `pytest -s` prints the share."""
    pixels, x = recording
    model, _ = fitted(n_train)
    predicted = encoder.predict(model, pixels[tested], assets.fetch)
    likelihood = identification.log_likelihood(x[tested], predicted, model.covariance)
    found = []
    for draw in range(N_DRAWS):
        some = np.random.default_rng(draw).choice(N_TESTED, N_CANDIDATES, replace=False)
        found.append(np.mean(identification.rank(likelihood[np.ix_(some, some)], np.arange(N_CANDIDATES)) == 0))
    print(f"{n_train} training images: {np.mean(found):.3f} of unseen photographs identified")
    assert np.mean(found) >= least
    # Responses of other images identify nothing.
    turned = identification.log_likelihood(np.roll(x[tested], 1, axis=0), predicted, model.covariance)
    assert np.mean(identification.rank(turned, np.arange(N_TESTED)) == 0) < 0.03


@pytest.mark.slow
def test_a_sample_of_the_posterior_has_better_features_than_ridge_regression_to_latents(
    recording: tuple[np.ndarray, np.ndarray], tested: np.ndarray, fitted: Callable[[int], Fitted]
) -> None:
    """The sign, of a few unseen photographs, with 300 training images and a quarter of the library."""
    pixels, x = recording
    model, trained = fitted(300)
    ids = np.sort(tested[:N_DECODED])
    shown = Stimuli("V4", ids, pixels[ids])
    never = Stimuli(
        "views",
        library.FIRST_ID + np.arange(N_LIBRARY),
        library.views(simulated.crops(ROOT / "vendor/data/simulated", "train")[1], shown, N_LIBRARY, 0),
    )
    network = weights.load(VDVAE["weights"], CONFIGS["mini64"])
    whitened = posterior_folds.whitened_latents(network, latents.extract(never, **VDVAE, **HERE), 10)
    answers = of_folds.predict([model], never.pixels, assets.fetch)[0]
    answers = answers + of_folds.noise(model, never.image_id, seed=0, number=0)
    samples = posterior.samples(
        x[ids],
        ids,
        encoder=model,
        gain=posterior.gain(whitened, answers, model.covariance),
        model=network,
        n_layers=10,
        weights_of=assets.fetch,
        n_samples=1,
        steps=12,
        step_size=0.1,
        temperature=0.35,
        seed=0,
        **HERE,
    )[:, 0]
    every = np.sort(np.concatenate([trained, ids]))
    split = ImageSplit(every, np.where(np.isin(every, ids), 0, -1))
    y = latents.extract(Stimuli("V4", trained, pixels[trained]), **VDVAE, **HERE)
    values = np.zeros((len(every), y.values.shape[1]), np.float32)  # those of the tested ones are not read
    values[np.isin(every, trained)] = y.rows(np.sort(trained))
    options = {"group_size": y.group_size, "alphas": 10.0 ** np.arange(0, 5.5, 0.5), "alpha_scope": "target"}
    options |= {"folds": "image", "seed": 0}
    found = cross_validation.predict(x[every], values, split, ridge, options, renormalise="train").renormalised[0]
    by_ridge = decoder.decode(
        Features(y.space, ids, found, y.group_name, y.group_size), **VDVAE, **HERE, temperature=0.0, seed=0
    )
    by_sample = Reconstructions(ids, rgb(np.round(samples * 255).astype(np.uint8)))
    score = {"protocol": "strict", "size_px": 16, "metrics": ["alexnet2", "alexnet5"], "n_draws": 200, "seed": 0}
    sampled, regressed = (scores.score_run(shown, run, split, **score)["metrics"] for run in (by_sample, by_ridge))
    for name in ("alexnet2", "alexnet5"):
        print(f"{name}: sample {sampled[name]['mean']:.3f}, ridge {regressed[name]['mean']:.3f}")
        assert sampled[name]["mean"] > max(0.6, regressed[name]["mean"])
