"""Encoding models of macaque V4, from real spike counts: they identify photographs that they have not seen, and lead to
pictures that resemble them. benchmarks/bench_v4.py measures both with more photographs."""

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
from spikevaediff.encoding import encoder, identification, library, luminance, of_folds, posterior, posterior_folds
from spikevaediff.evaluation import scores
from spikevaediff.features import vdvae as latents
from spikevaediff.files import assets
from spikevaediff.images import rgb
from spikevaediff.records import ImageSplit, Reconstructions, Stimuli
from vdvae import weights
from vdvae.config import CONFIGS

FAMILIES = ["luminance", "gabor", "alexnet", "efficientnet"]
N_TESTED, N_CANDIDATES, N_DRAWS = 240, 118, 20
N_DECODED, N_LIBRARY = 24, 300
VDVAE = {"config": "mini64", "weights": ROOT / "vendor/data/weights/vdvae_mini.safetensors", "n_layers": 10}
HERE = {"batch_size": "auto", "device": "cpu"}


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
def fitted(recording: tuple[np.ndarray, np.ndarray]) -> Callable[[int], encoder.Encoder]:
    """The model of so many training images, fitted once."""
    pixels, x = recording

    @cache
    def fit(n_train: int) -> encoder.Encoder:
        trained = np.random.default_rng(0).permutation(len(x))[N_TESTED : N_TESTED + n_train]
        n_units = x.shape[1]
        units = {"unit_id": np.arange(n_units), "session_id": np.full(n_units, 201025), "area": np.full(n_units, "V4")}
        maps = encoder.maps_of(pixels[trained], FAMILIES, assets.fetch)
        return encoder.fit(maps, x[trained], families=FAMILIES, image_id=trained, units=units)

    return fit


@pytest.mark.slow
@pytest.mark.parametrize(("n_train", "least"), [(106, 0.50), (300, 0.72)])
def test_unseen_photographs_are_identified_among_118(
    recording: tuple[np.ndarray, np.ndarray],
    tested: np.ndarray,
    fitted: Callable[[int], encoder.Encoder],
    n_train: int,
    least: float,
) -> None:
    """As many candidates as Allen natural scenes; chance .0085. `pytest -s` prints the share."""
    pixels, x = recording
    model = fitted(n_train)
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
def test_a_sample_of_the_posterior_looks_more_like_its_photograph_than_like_others(
    recording: tuple[np.ndarray, np.ndarray], tested: np.ndarray, fitted: Callable[[int], encoder.Encoder]
) -> None:
    """A few unseen photographs, with 300 training images and a quarter of the library; chance 0.5."""
    pixels, x = recording
    model = fitted(300)
    ids = np.sort(tested[:N_DECODED])
    shown = Stimuli("V4", ids, pixels[ids])
    never = Stimuli(
        "views",
        library.FIRST_ID + np.arange(N_LIBRARY),
        library.views(simulated.crops(ROOT / "vendor/data/simulated", "train")[1], shown, N_LIBRARY, 0),
    )
    network = weights.load(VDVAE["weights"], CONFIGS["mini64"])
    whitened = posterior_folds.whitened_latents(network, latents.extract(never, **VDVAE, **HERE), 10)
    known = Stimuli("V4", model.image_id, pixels[model.image_id])
    around = never, latents.extract(known, **VDVAE, **HERE)
    prior = posterior_folds.priors([model], around, whitened, never.image_id, network, 10, assets.fetch)
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
        prior_weight=0.03,
        luminance_weight=0.1,
        photographs=prior(0),
        luminance=luminance.expected(x[model.image_id], pixels[model.image_id], x[ids]),
        seed=0,
        **HERE,
    )[:, 0]
    reconstructed = Reconstructions(ids, rgb(np.round(samples * 255).astype(np.uint8)))
    split = ImageSplit(np.append(ids, ids[-1] + 1), np.append(np.zeros(len(ids), int), -1))
    score = {"protocol": "strict", "size_px": 16, "metrics": ["alexnet2", "alexnet5"], "n_draws": 1000, "seed": 0}
    for name, found in scores.score_run(shown, reconstructed, split, **score)["metrics"].items():
        print(f"{name}: {found['mean']:.3f}, p = {found['p']:.4f}")
        assert found["mean"] >= {"alexnet2": 0.75, "alexnet5": 0.69}[name]
        assert found["p"] < 0.05
