"""The project's split, preprocessing, regression and scores on recordings from monkeys and mice.

The bars are numbers measured on the same recordings with other code. None of them may be published, so the tests are
skipped where they are not.
"""

import io
import zipfile

import jax
import numpy as np
import pytest
from PIL import Image

from spikevaediff.evaluation.correlation import correlation
from spikevaediff.evaluation.metrics.two_way import identification
from spikevaediff.images import resize
from spikevaediff.recordings.preprocessing import scale_of, standardise
from spikevaediff.records import Stimuli
from spikevaediff.regression.blocks import Budget
from spikevaediff.regression.methods import ridge
from spikevaediff.regression.split import check, near_duplicates, split_by_image


def fold_by_fold(x, y, split):
    """Every image predicted by the fold that does not train on it, and the mean picture of that fold's training."""
    prediction, training_mean = np.full(y.shape, np.nan), np.full(y.shape, np.nan)
    for fold in range(split.n_folds):
        train, test = (np.searchsorted(split.image_id, ids) for ids in split.ids(fold))
        scale = scale_of(x[train])
        fit = ridge.fit(
            standardise(x[train], scale),
            y[train],
            y_row=np.arange(len(train)),
            group_size=np.array([y.shape[1]]),
            alphas=[30.0, 100.0, 300.0, 1000.0],
            alpha_scope="global",
            folds="image",
            seed=0,
            budget=Budget(devices=jax.devices()[:1]),
        )
        prediction[test] = ridge.predict(fit, standardise(x[test], scale))
        training_mean[test] = y[train].mean(0)
    return prediction, training_mean


def two_way(shown, prediction, training_mean):
    """Two-way identification by the cosine of what is predicted beyond the mean picture.

    With few images the training mean itself is a prediction of sorts: it is dark where the image left out is bright, so
    that with it in place even shuffled responses score 0.43 instead of 0.5.
    """
    shown, prediction = shown - shown.mean(0), prediction - training_mean
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (shown, prediction)]
    return identification(unit[0] @ unit[1].T).mean()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("session", "expected_correlation"), [("201025", 0.33), ("210325", 0.48)], ids=["89 units", "50 units"]
)
def test_photographs_are_identified_from_the_spike_counts_of_macaque_v4(shared, session, expected_correlation):
    folder = shared / "data/cowley_macaque_v4"
    x = np.load(folder / f"session_{session}.npz")["mean_counts"]
    with zipfile.ZipFile(folder / f"session_{session}_images.zip") as images:
        grey = [np.asarray(Image.open(io.BytesIO(images.read(n))).convert("L")) for n in sorted(images.namelist())]
    stimuli = Stimuli("photographs", np.arange(len(grey)), np.stack(grey))
    alike = near_duplicates(stimuli)
    split = split_by_image(stimuli.image_id, method="k_fold", n_folds=5, n_test=0, seed=0, alike=alike)
    check(split, stimuli)
    y = resize(stimuli.pixels, 16).reshape(len(grey), -1).astype(np.float32)
    prediction, training_mean = fold_by_fold(x, y, split)
    assert correlation(y, prediction).diagonal().mean() == pytest.approx(expected_correlation, abs=0.04)
    assert two_way(y, prediction, training_mean) >= 0.75


@pytest.fixture(scope="module")
def mouse_v1(shared):
    region = np.load(shared / "data/antolik2016_mouse_v1/region1.npz")
    images = region["images"]
    split = split_by_image(np.arange(len(images)), method="k_fold", n_folds=10, n_test=0, seed=0)
    return region["responses"].mean(0), images.reshape(len(images), -1).astype(np.float32), split


def test_images_are_identified_from_the_responses_of_mouse_v1(mouse_v1):
    x, y, split = mouse_v1
    assert two_way(y, *fold_by_fold(x, y, split)) >= 0.60


def test_images_are_not_identified_when_the_responses_of_mouse_v1_are_shuffled(mouse_v1):
    x, y, split = mouse_v1
    shuffles = [np.random.default_rng(seed).permutation(len(x)) for seed in range(8)]
    assert np.mean([two_way(y, *fold_by_fold(x[s], y, split)) for s in shuffles]) == pytest.approx(0.5, abs=0.1)


# Session 791319847, natural movie one: the share of one-second segments (of 30) that are recognised, by the nearest
# mean response and by a ridge classifier.
MOVIE = {
    "VISp": (0.89, 0.88),
    "VISl": (0.53, 0.58),
    "VISal": (0.66, 0.61),
    "VISpm": (0.45, 0.40),
    "VISam": (0.68, 0.61),
    "VISrl": (0.53, 0.52),
    "LGd": (0.29, 0.25),
    "LP": (0.13, 0.14),
    "CA1": (0.055, 0.053),
}


IN_EVERY_RUN = ("VISp", "LGd", "CA1")  # JAX compiles anew for every number of units, 2 s per area


@pytest.mark.parametrize("area", [a if a in IN_EVERY_RUN else pytest.param(a, marks=pytest.mark.slow) for a in MOVIE])
def test_segments_of_a_movie_are_recognised_from_each_area_of_an_allen_session_as_well_as_measured_before(shared, area):
    session = np.load(shared / "data/allen_neuropixels_791319847_movie1/counts_1s.npz")
    x = np.sqrt(
        session["counts"][session["area"] == area].astype(np.float64).transpose(1, 2, 0)
    )  # repeat, segment, unit
    n_repeats, n_segments, n_units = x.shape
    nearest, classified = [], []
    for fold in range(5):
        tested = np.arange(n_repeats) % 5 == fold
        train, test = x[~tested].reshape(-1, n_units), x[tested].reshape(-1, n_units)
        scale = scale_of(train)
        train, test = standardise(train, scale), standardise(test, scale)
        segment = np.tile(np.arange(n_segments), np.sum(~tested))
        shown = np.tile(np.arange(n_segments), np.sum(tested))

        means = train.reshape(-1, n_segments, n_units).mean(0)
        nearest.append(np.mean(correlation(means, test).argmax(0) == shown))
        fit = ridge.fit(
            train,
            np.eye(n_segments),
            y_row=segment,
            group_size=np.array([n_segments]),
            alphas=[1000.0],
            alpha_scope="global",
            folds="image",
            seed=0,
            budget=Budget(devices=jax.devices()[:1]),
        )
        classified.append(np.mean(ridge.predict(fit, test).argmax(1) == shown))
    assert (np.mean(nearest), np.mean(classified)) == pytest.approx(MOVIE[area], abs=0.05)
